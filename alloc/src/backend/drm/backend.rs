//! DRM cards: PRIME import; for a plane also ADDFB2, and a commit that is only tested, where this process can be master.

use std::collections::BTreeMap;
use std::path::Path;

use drm::control::atomic::AtomicModeReq;
use drm::control::{
    AtomicCommitFlags, Device as _, Mode, RawResourceHandle, ResourceHandle, connector, crtc,
    plane, property,
};
use drm::{ClientCapability, Device as _};

use super::{Backend, Held, Importer, Machine};
use crate::backend::drm::{Card, DrmError, Framebuffer, PlaneKind};
use crate::buffer::Buffer;
use crate::constraint::{Interface, Participant, Role};
use crate::solve::Plan;
use covalent_machine::facts::{Outcome, Refusal, RefusalKind};

pub(super) const BACKEND: Backend = Backend {
    allocate: |_, _| None,
    attempt,
    importer,
    redeclare: |_, _, _| None,
    redeclare_source: |_, _, _| None,
    declare: |_, _, _| None,
};

fn attempt(
    machine: &mut Machine,
    _: &Plan,
    held: &mut Held,
    participant: &Participant,
) -> Option<Outcome> {
    if !is_own(participant) {
        return None;
    }
    let buffer = held.buffer()?;
    let card = match card(machine, &participant.device.node) {
        Ok(card) => card,
        Err(error) => return Some(outcome(&error)),
    };
    Some(if participant.role == Role::Display {
        let plane = machine.plane(&card, participant);
        show(&card, buffer, &participant.name, plane)
    } else {
        import(&card, buffer)
    })
}

/// Whether a participant is a card or a plane of one, asked through the kernel.
fn is_own(participant: &Participant) -> bool {
    Interface::of(participant) == Interface::Kernel
        && participant.device.node.starts_with("/dev/dri/card")
        && matches!(participant.role, Role::Display | Role::Import)
}

fn importer(
    machine: &mut Machine,
    held: &Held,
    participant: &Participant,
) -> Option<Result<Importer, Outcome>> {
    if !is_own(participant) {
        return None;
    }
    let buffer = held.buffer()?.clone();
    let card = match card(machine, &participant.device.node) {
        Ok(card) => card,
        Err(error) => return Some(Err(outcome(&error))),
    };
    let is_display = participant.role == Role::Display;
    Some(Ok(Box::new(move || {
        Ok(if is_display {
            Box::new(card.framebuffer(&buffer).map_err(|error| outcome(&error))?)
        } else {
            Box::new(Handles::import(&card, &buffer).map_err(|error| outcome(&error))?)
        })
    })))
}

impl Machine {
    /// Finds the plane that was declared, by its number. Once: asking a card for all of its planes takes long.
    fn plane(
        &mut self,
        card: &Card,
        participant: &Participant,
    ) -> Option<(plane::Handle, PlaneKind)> {
        let id = participant.plane?.id?;
        let key = (card.identity().node.clone(), id);
        if let Some(known) = self.planes.get(&key) {
            return Some(*known);
        }
        let found = plane_of(card, id)?;
        self.planes.insert(key, found);
        Some(found)
    }
}

fn card(machine: &mut Machine, node: &str) -> Result<Card, DrmError> {
    if let Some(card) = machine.cards.get(node) {
        return Ok(card.clone());
    }
    let card = Card::open(Path::new(node))?;
    // Without these only overlays are listed, and no commit can be tested. A card that lacks one says so then.
    let _ = card.set_client_capability(ClientCapability::UniversalPlanes, true);
    let _ = card.set_client_capability(ClientCapability::Atomic, true);
    machine.cards.insert(node.to_owned(), card.clone());
    Ok(card)
}

/// Imports every memory and lets go of it again.
fn import(card: &Card, buffer: &Buffer) -> Outcome {
    match Handles::import(card, buffer) {
        Ok(_) => Outcome::Proved,
        Err(error) => outcome(&error),
    }
}

/// The handles of a buffer's memories; closed on drop.
struct Handles {
    card: Card,
    open: Vec<drm::buffer::Handle>,
}

impl Handles {
    fn import(card: &Card, buffer: &Buffer) -> Result<Self, DrmError> {
        let mut handles = Self {
            card: card.clone(),
            open: Vec::new(),
        };
        for memory in 0..buffer.memory_count() {
            let Some(fd) = buffer.memory_fd(memory) else {
                continue;
            };
            let handle = card.import_memory(buffer, fd)?;
            handles.open.push(handle);
        }
        Ok(handles)
    }
}

impl Drop for Handles {
    fn drop(&mut self) {
        // One buffer that was imported twice has one handle.
        self.open.sort_unstable_by_key(|handle| u32::from(*handle));
        self.open.dedup();
        for handle in self.open.drain(..) {
            if let Err(error) = self.card.close_buffer(handle) {
                tracing::error!(%error, "GEM_CLOSE failed; a handle leaks");
            }
        }
    }
}

/// Makes a framebuffer of it and tests a commit with it.
fn show(
    card: &Card,
    buffer: &Buffer,
    name: &str,
    plane: Option<(plane::Handle, PlaneKind)>,
) -> Outcome {
    let framebuffer = match card.framebuffer(buffer) {
        Ok(framebuffer) => framebuffer,
        Err(error) => return outcome(&error),
    };
    let untested = |why: String| {
        Outcome::Untestable(format!(
            "{why}; the buffer was imported and is a framebuffer"
        ))
    };
    let Some((plane, kind)) = plane else {
        return untested(format!("{} has no {name} now", card.path().display()));
    };
    let commit = match Commit::prepare(card, plane, &framebuffer) {
        Ok(commit) => commit,
        Err(why) => return untested(why),
    };
    // Only where nobody drives the card: then for the length of one test, in which nothing is shown.
    if let Err(error) = card.acquire_master_lock() {
        commit.discard(card);
        return untested(format!(
            "{} has another DRM master ({error})",
            card.path().display()
        ));
    }
    let tested = card.atomic_commit(
        AtomicCommitFlags::TEST_ONLY | AtomicCommitFlags::ALLOW_MODESET,
        commit.request.clone(),
    );
    let given_back = card.release_master_lock();
    commit.discard(card);
    if let Err(error) = given_back {
        tracing::error!(%error, "DROP_MASTER failed");
    }
    match tested {
        Ok(()) => Outcome::Proved,
        // Only a primary plane in a mode that the display lists must take its picture. Others depend on what is below.
        Err(error) if kind == PlaneKind::Primary && commit.is_listed => {
            outcome(&DrmError::Request {
                card: card.path().to_owned(),
                driver: card.driver().to_owned(),
                operation: "ATOMIC (TEST_ONLY)",
                source: error,
            })
        }
        Err(error) => untested(format!(
            "no commit could be tested that says something of the plane ({error})"
        )),
    }
}

fn plane_of(card: &Card, id: u32) -> Option<(plane::Handle, PlaneKind)> {
    let mut planes = card.plane_handles().ok()?.into_iter();
    let plane = planes.find(|plane| u32::from(*plane) == id)?;
    Some((plane, card.plane_kind(plane).ok()?))
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

/// A commit of one plane that covers its CRTC.
struct Commit {
    request: AtomicModeReq,
    mode_blob: u64,
    is_listed: bool,
}

impl Commit {
    fn prepare(
        card: &Card,
        plane: plane::Handle,
        framebuffer: &Framebuffer,
    ) -> Result<Self, String> {
        let asked = |error: std::io::Error| format!("{} is not told ({error})", "a display");
        let resources = card.resource_handles().map_err(asked)?;
        let possible = card.get_plane(plane).map_err(asked)?.possible_crtcs();
        let crtcs = resources.filter_crtcs(possible);
        let extent = framebuffer.buffer().layout().extent();
        let (connector, crtc, modes) = connected(card, &resources, &crtcs)
            .ok_or("no connected display reaches this plane".to_owned())?;
        let listed = modes.iter().find(|mode| {
            let (width, height) = mode.size();
            (u32::from(width), u32::from(height)) == (extent.width(), extent.height())
        });
        let (width, height) = (u64::from(extent.width()), u64::from(extent.height()));
        let blob = match listed {
            Some(mode) => card.create_property_blob(mode),
            None => card.create_property_blob(
                &made_mode(extent.width(), extent.height())
                    .ok_or("no mode is so large".to_owned())?,
            ),
        };
        let property::Value::Blob(mode_blob) = blob.map_err(asked)? else {
            return Err("CREATEPROPBLOB gave no blob".to_owned());
        };
        let mut request = AtomicModeReq::new();
        let number = |handle: RawResourceHandle| u64::from(u32::from(handle));
        let framebuffer = number(framebuffer.handle().into());
        let filled = set(
            card,
            &mut request,
            connector,
            &[("CRTC_ID", number(crtc.into()))],
        )
        .and_then(|()| {
            set(
                card,
                &mut request,
                crtc,
                &[("MODE_ID", mode_blob), ("ACTIVE", 1)],
            )
        })
        .and_then(|()| {
            set(
                card,
                &mut request,
                plane,
                &[
                    ("FB_ID", framebuffer),
                    ("CRTC_ID", number(crtc.into())),
                    ("SRC_X", 0),
                    ("SRC_Y", 0),
                    ("SRC_W", width << 16),
                    ("SRC_H", height << 16),
                    ("CRTC_X", 0),
                    ("CRTC_Y", 0),
                    ("CRTC_W", width),
                    ("CRTC_H", height),
                ],
            )
        });
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

    fn discard(&self, card: &Card) {
        if let Err(error) = card.destroy_property_blob(self.mode_blob) {
            tracing::debug!(%error, "DESTROYPROPBLOB failed");
        }
    }
}

fn connected(
    card: &Card,
    resources: &drm::control::ResourceHandles,
    crtcs: &[crtc::Handle],
) -> Option<(connector::Handle, crtc::Handle, Vec<Mode>)> {
    resources.connectors().iter().find_map(|connector| {
        // Not probed anew: reading EDID can take long, and only a compositor that has the card should cause it.
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

/// A mode of exactly one size at about 60 Hz, for displays that take any, as those of virtual machines do.
fn made_mode(width: u32, height: u32) -> Option<ModeInfo> {
    let sides = |active: u32| -> Option<[u16; 5]> {
        let active = u16::try_from(active).ok()?;
        Some([
            active,
            active.checked_add(16)?,
            active.checked_add(32)?,
            active.checked_add(48)?,
            0,
        ])
    };
    let (horizontal, vertical) = (sides(width)?, sides(height)?);
    let total = u32::from(*horizontal.get(3)?).checked_mul(u32::from(*vertical.get(3)?))?;
    Some(ModeInfo {
        // In kHz.
        clock: total.checked_mul(60)?.checked_div(1000)?.max(1),
        horizontal,
        vertical,
        refresh: 60,
        ..ModeInfo::default()
    })
}

fn set(
    card: &Card,
    request: &mut AtomicModeReq,
    object: impl ResourceHandle,
    values: &[(&str, u64)],
) -> Result<(), String> {
    let properties = card
        .get_properties(object)
        .map_err(|error| format!("properties are not told ({error})"))?;
    let mut by_name = BTreeMap::new();
    for (handle, _) in &properties {
        if let Ok(info) = card.get_property(*handle) {
            by_name.insert(info.name().to_string_lossy().into_owned(), *handle);
        }
    }
    for (name, value) in values {
        let handle = by_name
            .get(*name)
            .ok_or_else(|| format!("the card has no atomic commits (no property {name})"))?;
        request.add_raw_property(object.into(), *handle, *value);
    }
    Ok(())
}

fn outcome(error: &DrmError) -> Outcome {
    let words = error.to_string();
    let of = |card: &Path, operation: &str, source: &std::io::Error| match source.raw_os_error() {
        Some(errno) => {
            Refusal::of_errno(card.display().to_string(), operation, errno, words.clone())
        }
        None => Refusal::structural(card.display().to_string(), operation, words.clone()),
    };
    Outcome::Refused(match error {
        DrmError::Open { card, source } => of(card, "open", source),
        DrmError::Import { card, source, .. } => of(card, "PRIME_FD_TO_HANDLE", source),
        DrmError::Request {
            card,
            operation,
            source,
            ..
        } => of(card, operation, source),
        DrmError::Budget { card, .. } => Refusal {
            kind: RefusalKind::Transient,
            ..Refusal::structural(card.display().to_string(), "CREATE_DUMB", words.clone())
        },
        error => super::of_error("DRM", "framebuffer", error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_that_is_made_is_laid_out_as_the_kernels() {
        assert_eq!(size_of::<ModeInfo>(), 68);
        let mode = made_mode(640, 480).unwrap();
        assert_eq!(mode.horizontal[0], 640);
        assert_eq!(mode.vertical[3], 528);
        assert!(made_mode(1 << 16, 1).is_none());
    }
}
