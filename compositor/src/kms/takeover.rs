//! Finds the state that another program has left on the card, so that the first commit can reset it.
//!
//! The kernel keeps the state of planes, CRTCs and connectors when another DRM master takes over. A cursor, an overlay, a gamma
//! table or a rotation of the previous program would stay on the display. A connector that the previous program drove with
//! another CRTC would make the kernel reject the commit.

use std::collections::HashMap;

use drm::control::atomic::AtomicModeReq;
use drm::control::{Device, RawResourceHandle, connector, crtc, plane};

use super::property::Properties;
use super::{KmsError, kernel};

/// The objects of a card that the first commit of a display has to turn off, with their properties.
#[derive(Debug, Default)]
pub(super) struct StaleObjects {
    planes: Vec<Properties>,
    connectors: Vec<Properties>,
    crtcs: Vec<Properties>,
}

/// The id of the CRTC to which each plane and connector of a card is attached; 0 for none.
#[derive(Debug, Default, PartialEq, Eq)]
struct CrtcAssignments {
    planes: HashMap<RawResourceHandle, u32>,
    connectors: HashMap<RawResourceHandle, u32>,
}

/// The ids of the objects that have to be turned off: the planes and connectors that are attached to the CRTC of a display, and
/// the CRTC that loses its connector to this display.
#[derive(Debug, Default, PartialEq, Eq)]
struct StaleObjectIds {
    planes: Vec<RawResourceHandle>,
    connectors: Vec<RawResourceHandle>,
    crtcs: Vec<u32>,
}

impl CrtcAssignments {
    /// Returns the objects that have to be turned off, so that `crtc` can drive `connector` with only `own_planes` and
    /// `own_connectors`.
    fn stale_objects(
        &self,
        crtc: u32,
        connector: RawResourceHandle,
        own_planes: &[RawResourceHandle],
        own_connectors: &[RawResourceHandle],
    ) -> StaleObjectIds {
        // A CRTC that loses its last connector has to be turned off, because the kernel rejects an active CRTC without a
        // connector.
        let before = self.connectors.get(&connector).copied().unwrap_or(0);
        let keeps_one = self
            .connectors
            .iter()
            .any(|(other, its_crtc)| *other != connector && *its_crtc == before);
        let crtcs: Vec<u32> = (before != 0 && before != crtc && !keeps_one)
            .then_some(before)
            .into_iter()
            .collect();
        let is_off = |its_crtc: u32| its_crtc == crtc || crtcs.contains(&its_crtc);
        let mut planes: Vec<_> = self
            .planes
            .iter()
            .filter(|(plane, its_crtc)| is_off(**its_crtc) && !own_planes.contains(plane))
            .map(|(plane, _)| *plane)
            .collect();
        planes.sort_unstable();
        let mut connectors: Vec<_> = self
            .connectors
            .iter()
            .filter(|(other, its_crtc)| {
                **its_crtc == crtc && **other != connector && !own_connectors.contains(other)
            })
            .map(|(other, _)| *other)
            .collect();
        connectors.sort_unstable();
        StaleObjectIds {
            planes,
            connectors,
            crtcs,
        }
    }
}

impl StaleObjects {
    /// Reads the state of the card, and finds the objects that have to be turned off, so that `crtc` can drive `connector`.
    ///
    /// Objects of other displays stay unchanged, including the displays that this compositor drives.
    ///
    /// # Errors
    ///
    /// When the kernel rejects a request.
    pub(super) fn read<C: Device>(
        card: &C,
        (connector, crtc): (connector::Handle, crtc::Handle),
        own_planes: &[plane::Handle],
        own_connectors: &[RawResourceHandle],
    ) -> Result<Self, KmsError> {
        let resources = card
            .resource_handles()
            .map_err(kernel("listing the resources of the card"))?;
        let handles = card
            .plane_handles()
            .map_err(kernel("listing the planes of the card"))?;
        let mut attached = CrtcAssignments::default();
        let mut planes = HashMap::new();
        for handle in handles {
            let info = card
                .get_plane(handle)
                .map_err(kernel("reading the state of a plane"))?;
            let its_crtc = info.crtc().map_or(0, u32::from);
            attached.planes.insert(handle.into(), its_crtc);
            planes.insert(RawResourceHandle::from(handle), handle);
        }
        let mut connectors = HashMap::new();
        for handle in resources.connectors() {
            let properties = Properties::read(card, *handle, "a connector")?;
            let its_crtc = properties.value("CRTC_ID").unwrap_or(0);
            let its_crtc = u32::try_from(its_crtc).unwrap_or(0);
            attached.connectors.insert((*handle).into(), its_crtc);
            connectors.insert(RawResourceHandle::from(*handle), properties);
        }
        let own_planes: Vec<_> = own_planes.iter().map(|plane| (*plane).into()).collect();
        let off =
            attached.stale_objects(crtc.into(), connector.into(), &own_planes, own_connectors);
        let planes = off.planes.iter().filter_map(|plane| planes.get(plane));
        let crtcs = resources.crtcs().iter();
        let crtcs = crtcs.filter(|crtc| off.crtcs.contains(&u32::from(**crtc)));
        Ok(Self {
            planes: planes
                .map(|plane| Properties::read(card, *plane, "a plane"))
                .collect::<Result<_, _>>()?,
            connectors: off
                .connectors
                .iter()
                .filter_map(|handle| connectors.remove(handle))
                .collect(),
            crtcs: crtcs
                .map(|crtc| Properties::read(card, *crtc, "a CRTC"))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Adds the properties that turn these objects off to an atomic request.
    pub(super) fn fill_disabled(&self, request: &mut AtomicModeReq) -> Result<(), KmsError> {
        for plane in &self.planes {
            plane.set(request, "FB_ID", 0)?;
            plane.set(request, "CRTC_ID", 0)?;
        }
        for connector in &self.connectors {
            connector.set(request, "CRTC_ID", 0)?;
        }
        for crtc in &self.crtcs {
            crtc.set(request, "MODE_ID", 0)?;
            crtc.set(request, "ACTIVE", 0)?;
        }
        Ok(())
    }
}

/// Adds the neutral values of a CRTC's properties to an atomic request: no colour tables, no colour matrix, and a fixed refresh
/// rate.
///
/// # References
///
/// The kernel's "Color Management Properties" and "Variable Refresh Properties".
pub(super) fn fill_neutral_crtc(crtc: &Properties, request: &mut AtomicModeReq) {
    for name in ["GAMMA_LUT", "DEGAMMA_LUT", "CTM", "VRR_ENABLED"] {
        crtc.set_if_present(request, name, 0);
    }
    if let Some(filter) = crtc.named_value("SCALING_FILTER", "Default") {
        crtc.set_if_present(request, "SCALING_FILTER", filter);
    }
}

/// Adds the values of a connector's properties for SDR content in sRGB to an atomic request.
///
/// # References
///
/// The kernel's "Standard Connector Properties" and "HDMI Specific Connector Properties".
pub(super) fn fill_neutral_connector(connector: &Properties, request: &mut AtomicModeReq) {
    connector.set_if_present(request, "HDR_OUTPUT_METADATA", 0);
    for (name, value) in [("Colorspace", "Default"), ("content type", "No Data")] {
        if let Some(number) = connector.named_value(name, value) {
            connector.set_if_present(request, name, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(id: u32) -> RawResourceHandle {
        RawResourceHandle::new(id).unwrap()
    }

    fn attached(planes: &[(u32, u32)], connectors: &[(u32, u32)]) -> CrtcAssignments {
        let of = |pairs: &[(u32, u32)]| {
            let pairs = pairs.iter();
            pairs.map(|(id, crtc)| (handle(*id), *crtc)).collect()
        };
        CrtcAssignments {
            planes: of(planes),
            connectors: of(connectors),
        }
    }

    #[test]
    fn planes_and_connectors_of_the_crtc_that_are_not_used_are_turned_off() {
        let card = attached(
            &[(31, 50), (32, 50), (33, 51), (34, 0)],
            &[(40, 50), (41, 50), (42, 51)],
        );
        let off = card.stale_objects(50, handle(40), &[handle(31)], &[]);
        assert_eq!(off.planes, [handle(32)]);
        assert_eq!(off.connectors, [handle(41)]);
        assert!(off.crtcs.is_empty());
    }

    #[test]
    fn crtc_that_loses_its_only_connector_is_turned_off_with_its_planes() {
        let card = attached(&[(31, 50), (32, 51)], &[(40, 51), (41, 0)]);
        let off = card.stale_objects(50, handle(40), &[handle(31)], &[]);
        assert_eq!(off.crtcs, [51]);
        assert_eq!(off.planes, [handle(32)]);
        // A CRTC that has another connector stays on, with its planes.
        let card = attached(&[(31, 50), (32, 51)], &[(40, 51), (41, 51)]);
        let off = card.stale_objects(50, handle(40), &[handle(31)], &[]);
        assert_eq!(off, StaleObjectIds::default());
    }

    #[test]
    fn writeback_connector_of_the_display_stays_on() {
        let card = attached(&[], &[(40, 50), (45, 50)]);
        let off = card.stale_objects(50, handle(40), &[], &[handle(45)]);
        assert_eq!(off, StaleObjectIds::default());
    }
}
