//! A TEST_ONLY commit of a framebuffer, for a process that can become DRM master.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::ErrorKind;
use std::path::PathBuf;

use covalent_machine::trial_results::Outcome;
use drm::Device as _;
use drm::control::atomic::AtomicModeReq;
use drm::control::{
    AtomicCommitFlags, Device as _, Mode, RawResourceHandle, ResourceHandle, connector, crtc,
    plane, property,
};

use super::{Card, DrmError, Framebuffer, PlaneKind};
use crate::backend::BackendError;
use crate::buffer::Buffer;

/// Makes a framebuffer of a buffer and tests a commit with it.
pub(super) fn test_commit(
    card: &Card,
    buffer: &Buffer,
    name: &str,
    plane: Option<(plane::Handle, PlaneKind)>,
    properties: &mut PropertyNames,
) -> Outcome {
    let framebuffer = match card.framebuffer(buffer) {
        Ok(framebuffer) => framebuffer,
        Err(error) => return BackendError::from(error).outcome(),
    };
    let untested = |why: String| {
        Outcome::Untestable(format!(
            "{why}; PRIME import and ADDFB2 of the buffer succeeded"
        ))
    };
    let Some((plane, kind)) = plane else {
        return untested(format!(
            "the card {} does not list {name} at present",
            card.path().display()
        ));
    };
    let commit = match Commit::prepare(card, plane, &framebuffer, properties) {
        Ok(commit) => commit,
        Err(why) => return untested(why),
    };
    // A commit needs DRM master, which this process gets only if the card has no other master. The process is master until the
    // TEST_ONLY commit returns; the commit displays nothing.
    if let Err(error) = card.acquire_master_lock() {
        commit.discard(card);
        return untested(format!(
            "another process is DRM master of {} ({error})",
            card.path().display()
        ));
    }
    let tested = loop {
        let tested = card.atomic_commit(
            AtomicCommitFlags::TEST_ONLY | AtomicCommitFlags::ALLOW_MODESET,
            commit.request.clone(),
        );
        // A signal interrupts the commit while it waits for the locks of KMS. It would otherwise count as a refusal.
        if !matches!(&tested, Err(error) if error.kind() == ErrorKind::Interrupted) {
            break tested;
        }
    };
    let dropped_master = card.release_master_lock();
    commit.discard(card);
    if let Err(error) = dropped_master {
        tracing::error!(%error, "DROP_MASTER failed");
    }
    match tested {
        Ok(()) => Outcome::Accepted,
        // The driver's error counts as a rejection of the buffer only if the plane is a primary plane and the connector lists the
        // mode. Other TEST_ONLY commits can fail for reasons that do not concern the buffer.
        Err(error) if kind == PlaneKind::Primary && commit.is_listed => {
            BackendError::from(DrmError::Request {
                card: card.path().to_owned(),
                driver: card.driver().to_owned(),
                operation: "ATOMIC (TEST_ONLY)",
                source: error,
            })
            .outcome()
        }
        Err(error) => untested(format!(
            "the TEST_ONLY commit failed, and the cause need not be the buffer ({error})"
        )),
    }
}

/// `struct drm_mode_modeinfo`.
///
/// # References
/// `drm_mode.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ModeInfo {
    clock: u32,
    horizontal: [u16; 5],
    vertical: [u16; 5],
    refresh: u32,
    flags: u32,
    kind: u32,
    name: [u8; 32],
}

/// An atomic commit of one plane that covers the whole CRTC, with the mode for it.
struct Commit {
    request: AtomicModeReq,
    mode_blob: u64,
    is_listed: bool,
}

impl Commit {
    /// Chooses a connector and a CRTC for the plane, and reads the properties that a test commit sets.
    fn prepare(
        card: &Card,
        plane: plane::Handle,
        framebuffer: &Framebuffer,
        properties: &mut PropertyNames,
    ) -> Result<Self, String> {
        let failed =
            |error: std::io::Error| format!("the KMS state of the card cannot be read ({error})");
        let resources = card.resource_handles().map_err(failed)?;
        let possible = card.get_plane(plane).map_err(failed)?.possible_crtcs();
        let crtcs = resources.filter_crtcs(possible);
        let source = framebuffer.source_properties();
        let extent = framebuffer.buffer().layout().visible().extent();
        let (connector, crtc, modes) = connected_output(card, &resources, &crtcs)
            .ok_or("the plane cannot be attached to the CRTC of a connected display".to_owned())?;
        let listed = modes.iter().find(|mode| {
            let (width, height) = mode.size();
            (u32::from(width), u32::from(height)) == (extent.width(), extent.height())
        });
        let (width, height) = (u64::from(extent.width()), u64::from(extent.height()));
        let blob = match listed {
            Some(mode) => card.create_property_blob(mode),
            None => card.create_property_blob(
                &mode_of_size(extent.width(), extent.height())
                    .ok_or("the picture is larger than the largest possible mode".to_owned())?,
            ),
        };
        let property::Value::Blob(mode_blob) = blob.map_err(failed)? else {
            return Err("CREATEPROPBLOB returned no blob".to_owned());
        };
        let mut request = AtomicModeReq::new();
        let number = |handle: RawResourceHandle| u64::from(u32::from(handle));
        let framebuffer = number(framebuffer.handle().into());
        let connector_values = [("CRTC_ID", number(crtc.into()))];
        let crtc_values = [("MODE_ID", mode_blob), ("ACTIVE", 1)];
        let plane_values = [
            ("FB_ID", framebuffer),
            ("CRTC_ID", number(crtc.into())),
            ("CRTC_X", 0),
            ("CRTC_Y", 0),
            ("CRTC_W", width),
            ("CRTC_H", height),
        ];
        let filled = properties
            .set(card, &mut request, connector, &connector_values)
            .and_then(|()| properties.set(card, &mut request, crtc, &crtc_values))
            .and_then(|()| properties.set(card, &mut request, plane, &plane_values))
            .and_then(|()| properties.set(card, &mut request, plane, &source));
        let commit = Self {
            request,
            mode_blob,
            is_listed: listed.is_some(),
        };
        match filled {
            Ok(()) => Ok(commit),
            Err(why) => {
                commit.discard(card);
                Err(why)
            }
        }
    }

    /// Destroys the property blob with the mode.
    fn discard(&self, card: &Card) {
        if let Err(error) = card.destroy_property_blob(self.mode_blob) {
            tracing::debug!(%error, "DESTROYPROPBLOB failed");
        }
    }
}

fn connected_output(
    card: &Card,
    resources: &drm::control::ResourceHandles,
    crtcs: &[crtc::Handle],
) -> Option<(connector::Handle, crtc::Handle, Vec<Mode>)> {
    resources.connectors().iter().find_map(|connector| {
        // The connector is not probed, because reading the EDID can take long. The compositor that is DRM master probes it.
        let info = card.get_connector(*connector, false).ok()?;
        if info.state() != connector::State::Connected {
            return None;
        }
        let crtc = info
            .encoders()
            .iter()
            .filter_map(|encoder| card.get_encoder(*encoder).ok())
            .flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs()))
            .find(|crtc| crtcs.contains(crtc))?;
        Some((*connector, crtc, info.modes().to_vec()))
    })
}

/// Makes a mode with exactly this size at about 60 Hz, for displays that accept any mode, such as those of virtual machines.
fn mode_of_size(width: u32, height: u32) -> Option<ModeInfo> {
    let timings = |active: u32| -> Option<[u16; 5]> {
        let active = u16::try_from(active).ok()?;
        Some([
            active,
            active.checked_add(16)?,
            active.checked_add(32)?,
            active.checked_add(48)?,
            0,
        ])
    };
    let (horizontal, vertical) = (timings(width)?, timings(height)?);
    let total = u32::from(*horizontal.get(3)?).checked_mul(u32::from(*vertical.get(3)?))?;
    Some(ModeInfo {
        // The pixel clock in kHz.
        clock: total.checked_mul(60)?.checked_div(1000)?.max(1),
        horizontal,
        vertical,
        refresh: 60,
        ..ModeInfo::default()
    })
}

/// The property handles of KMS objects, by property name. Each object is queried once, because a query takes two ioctls for each
/// property, and the properties of an object do not change.
#[derive(Debug, Default)]
pub(super) struct PropertyNames {
    /// The property handles of each KMS object, by device node and object id.
    by_object: BTreeMap<(PathBuf, RawResourceHandle), BTreeMap<String, property::Handle>>,
}

impl PropertyNames {
    /// Adds values of an object's properties to a commit.
    fn set(
        &mut self,
        card: &Card,
        request: &mut AtomicModeReq,
        object: impl ResourceHandle,
        values: &[(&str, u64)],
    ) -> Result<(), String> {
        let by_name = match self
            .by_object
            .entry((card.path().to_owned(), object.into()))
        {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(query(card, object)?),
        };
        for (name, value) in values {
            let handle = by_name.get(*name).ok_or_else(|| {
                format!("the card does not support atomic commits (no property {name})")
            })?;
            request.add_raw_property(object.into(), *handle, *value);
        }
        Ok(())
    }
}

/// Reads the property handles of a KMS object, by the properties' names.
fn query(
    card: &Card,
    object: impl ResourceHandle,
) -> Result<BTreeMap<String, property::Handle>, String> {
    let properties = card
        .get_properties(object)
        .map_err(|error| format!("the properties of a KMS object cannot be read ({error})"))?;
    let mut by_name = BTreeMap::new();
    for (handle, _) in &properties {
        if let Ok(info) = card.get_property(*handle) {
            by_name.insert(info.name().to_string_lossy().into_owned(), *handle);
        }
    }
    Ok(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_has_the_layout_of_the_kernel_structure() {
        assert_eq!(size_of::<ModeInfo>(), 68);
        let mode = mode_of_size(640, 480).unwrap();
        assert_eq!(mode.horizontal[0], 640);
        assert_eq!(mode.vertical[3], 528);
        assert!(mode_of_size(1 << 16, 1).is_none());
    }
}
