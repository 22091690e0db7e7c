//! Selects the connector, mode, CRTC and planes of a display.

use covalent_alloc::backend::drm::{Card, CardPlane, PlaneKind};
use drm::control::{Device as _, Mode, ResourceHandles, connector, crtc, from_u32, plane};
use drm::{ClientCapability, Device as _, DriverCapability, VblankWaitFlags, VblankWaitTarget};

use super::{InitialState, Pipeline, blob};
use crate::edid::Monitor;
use crate::kms::mode::{format_mode, select_mode};
use crate::kms::plane::{Plane, stack_planes};
use crate::kms::property::Properties;
use crate::kms::writeback::WritebackConnector;
use crate::kms::{KmsError, kernel};
use crate::transient::{FaultKind, retry_transient};

/// A connector with a display.
#[derive(Debug)]
pub struct ConnectedDisplay {
    info: connector::Info,
    name: String,
}

/// The CRTCs and planes of a card that displays use already.
#[derive(Clone, Debug, Default)]
pub struct UsedObjects {
    /// The CRTCs that drive a display.
    pub crtcs: Vec<crtc::Handle>,
    /// The planes of these CRTCs.
    pub planes: Vec<plane::Handle>,
}

impl ConnectedDisplay {
    /// Returns the name of the connector, for example `Virtual-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the identity of the monitor.
    pub fn monitor(&self, card: &Card) -> Monitor {
        let properties = Properties::read(card, self.info.handle(), "connector").ok();
        let blob = properties.and_then(|properties| properties.value("EDID"));
        let edid = blob.filter(|id| *id != 0).and_then(|blob| {
            let read = retry_transient(|| card.get_property_blob(blob));
            read.ok()
        });
        edid.and_then(|edid| Monitor::parse(&edid))
            .unwrap_or_else(|| Monitor::unknown(&self.name))
    }

    /// Probes all connectors of a card; returns those whose display has modes.
    ///
    /// # Errors
    ///
    /// When the kernel rejects a request, or no display is connected.
    pub fn list(card: &Card) -> Result<Vec<Self>, KmsError> {
        let resources = card
            .resource_handles()
            .map_err(kernel("listing the resources of the card"))?;
        let mut connected = Vec::new();
        let mut others = Vec::new();
        for handle in resources.connectors() {
            let info = card
                .get_connector(*handle, true)
                .map_err(kernel("probing a connector"))?;
            let name = format!("{}-{}", info.interface().as_str(), info.interface_id());
            if info.interface() == connector::Interface::Writeback {
                continue;
            }
            if info.state() == connector::State::Connected && !info.modes().is_empty() {
                connected.push(Self { info, name });
            } else {
                others.push(format!("{name} {:?}", info.state()));
            }
        }
        if connected.is_empty() {
            return Err(KmsError::NoDisplay(others.join(", ")));
        }
        Ok(connected)
    }
}

impl Pipeline {
    /// Selects mode, CRTC and planes of a display.
    ///
    /// The pipeline uses a CRTC and its planes, except those in `used`, which other displays of the card use. The state of the
    /// display does not change before the first [`submit`](Self::submit), for which the device must be DRM master.
    ///
    /// # Errors
    ///
    /// When the card does not support atomic mode setting, the card has no free CRTC for the display, or the display lacks the
    /// requested mode.
    pub fn open(
        card: Card,
        display: &ConnectedDisplay,
        size: Option<(u16, u16)>,
        refresh_millihertz: Option<u32>,
        with_writeback: bool,
        used: &UsedObjects,
    ) -> Result<Self, KmsError> {
        card.set_client_capability(ClientCapability::UniversalPlanes, true)
            .and_then(|()| card.set_client_capability(ClientCapability::Atomic, true))
            .map_err(|error| match FaultKind::of_io(&error) {
                FaultKind::Permanent => KmsError::NoAtomic,
                _ => kernel("enabling atomic mode setting")(error),
            })?;
        // For a virtual GPU, the kernel hides the cursor plane from clients that do not set this capability. Other drivers reject
        // the capability, so the error is ignored.
        let _ = card.set_client_capability(ClientCapability::CursorPlaneHotspot, true);
        if with_writeback {
            card.set_client_capability(ClientCapability::WritebackConnectors, true)
                .map_err(kernel("enabling writeback connectors"))?;
        }
        let resources = card
            .resource_handles()
            .map_err(kernel("listing the resources of the card"))?;
        let ConnectedDisplay { info, name } = display;
        let name = name.clone();
        let mode = requested_mode(info, &name, size, refresh_millihertz)?;
        let (crtc, planes) = find_planes(&card, &resources, info, &name, used)?;
        let primary = planes
            .iter()
            .position(|plane| plane.description().kind == PlaneKind::Primary)
            .ok_or_else(|| KmsError::NoPipeline(name.clone()))?;
        let initial_state = InitialState {
            mode: card
                .get_crtc(crtc)
                .map_err(kernel("reading the mode of the CRTC"))?
                .mode(),
        };
        let counts_vblanks = counts_vblanks(&card, resources.crtcs(), crtc);
        let writeback = if with_writeback {
            WritebackConnector::find(&card, &resources, crtc)?
        } else {
            None
        };
        let mode_blob = blob(&card, &mode)?;
        Ok(Self {
            connector_properties: Properties::read(&card, info.handle(), "the connector")?,
            crtc_properties: Properties::read(&card, crtc, "the CRTC")?,
            connector: info.handle(),
            name,
            crtc,
            committed: vec![None; planes.len()],
            planes,
            primary,
            modes: info.modes().to_vec(),
            mode,
            mode_blob,
            counts_vblanks,
            needs_modeset: true,
            initial_state,
            writeback,
            card,
        })
    }
}

/// Returns the requested mode, or the preferred mode of the display.
fn requested_mode(
    info: &connector::Info,
    name: &str,
    size: Option<(u16, u16)>,
    refresh_millihertz: Option<u32>,
) -> Result<Mode, KmsError> {
    select_mode(info.modes(), size, refresh_millihertz).ok_or_else(|| {
        let available: Vec<_> = info.modes().iter().map(format_mode).collect();
        KmsError::NoMode {
            connector: name.to_owned(),
            requested: size.map_or_else(String::new, |(width, height)| {
                let rate = refresh_millihertz.map_or_else(String::new, |rate| {
                    format!("@{}.{:02}", rate / 1000, rate % 1000 / 10)
                });
                format!("{width}x{height}{rate}")
            }),
            available: available.join(", "),
        }
    })
}

/// Returns a CRTC that can drive the connector, and its planes from the bottom to the top of the stacking order. One of them is a
/// primary plane.
fn find_planes(
    card: &Card,
    resources: &ResourceHandles,
    connector: &connector::Info,
    name: &str,
    used: &UsedObjects,
) -> Result<(crtc::Handle, Vec<Plane>), KmsError> {
    let mut crtcs = Vec::new();
    for encoder in connector.encoders() {
        match retry_transient(|| card.get_encoder(*encoder)) {
            Ok(encoder) => crtcs.extend(resources.filter_crtcs(encoder.possible_crtcs())),
            Err(error) => tracing::debug!(%error, "an encoder cannot be read and is not used"),
        }
    }
    let listed = card
        .planes()
        .map_err(|error| KmsError::Model(Box::new(error)))?;
    let expected = card
        .plane_handles()
        .map_err(kernel("listing the planes of the card"))?;
    // The allocator's model has no planes for a card whose planes it could not list, even if the request failed only transiently.
    // The missing planes are reported as a transient error.
    if listed.len() < expected.len() {
        let interrupted = std::io::Error::from(rustix::io::Errno::INTR);
        return Err(kernel("listing the planes of the card")(interrupted));
    }
    let handles: Vec<(&CardPlane, plane::Handle)> = listed
        .iter()
        .filter_map(|plane| Some((plane, from_u32(u32::from(plane.id()))?)))
        .collect();
    // The primary planes of some drivers, such as msm, can be used with every CRTC. So a CRTC that drives another display is
    // skipped even if a primary plane for it is free.
    for crtc in crtcs.into_iter().filter(|crtc| !used.crtcs.contains(crtc)) {
        let mut pipeline_planes: Vec<(&CardPlane, plane::Handle)> = Vec::new();
        for (plane, handle) in &handles {
            let info = card
                .get_plane(*handle)
                .map_err(kernel("reading the properties of a plane"))?;
            let possible = resources.filter_crtcs(info.possible_crtcs());
            let is_first = pipeline_planes
                .iter()
                .all(|(other, _)| other.kind() != plane.kind());
            // A pipeline uses one primary plane and one cursor plane of its CRTC, and any number of overlay planes.
            let fits = plane.kind() == PlaneKind::Overlay || is_first;
            if possible.contains(&crtc) && !used.planes.contains(handle) && fits {
                pipeline_planes.push((plane, *handle));
            }
        }
        if pipeline_planes
            .iter()
            .any(|(plane, _)| plane.kind() == PlaneKind::Primary)
        {
            let mut planes = pipeline_planes
                .into_iter()
                .map(|(plane, handle)| Plane::read(card, plane, handle))
                .collect::<Result<Vec<_>, _>>()?;
            stack_planes(&mut planes);
            return Ok((crtc, planes));
        }
    }
    Err(KmsError::NoPipeline(name.to_owned()))
}

/// Returns whether the CRTC has a vblank counter.
fn counts_vblanks(card: &Card, all: &[crtc::Handle], crtc: crtc::Handle) -> bool {
    let index = all.iter().position(|other| *other == crtc);
    let Some(index) = index.and_then(|index| u32::try_from(index).ok()) else {
        return false;
    };
    // The CRTC is usually off here, so the error of the request decides: EINVAL means that the CRTC is off, and EOPNOTSUPP that
    // it has no vblank counter.
    let monotonic =
        retry_transient(|| card.get_driver_capability(DriverCapability::MonotonicTimestamp))
            .is_ok_and(|value| value == 1);
    let query = retry_transient(|| {
        card.wait_vblank(
            VblankWaitTarget::Relative(0),
            VblankWaitFlags::empty(),
            index,
            0,
        )
    });
    monotonic
        && query.map_or_else(
            |error| error.raw_os_error() != Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()),
            |_| true,
        )
}
