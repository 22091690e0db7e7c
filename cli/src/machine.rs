//! The cameras and cards of this machine, as participants.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use covalent_alloc::backend::drm::{Card, PlaneKind};
use covalent_alloc::backend::v4l2::{Device, Direction, Error, Queue};
use covalent_alloc::constraint::Participant;
use drm::control::{Device as _, plane};

/// Lists the nodes of all video devices, by number.
pub(crate) fn video_nodes() -> Vec<PathBuf> {
    let mut nodes: Vec<(u32, PathBuf)> = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix("video")?
                .parse()
                .ok()?;
            Some((number, entry.path()))
        })
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

/// Opens every streaming queue of a video device.
pub(crate) fn queues(path: &Path) -> Result<Vec<Queue>> {
    let device = Device::open(path)?;
    let mut queues = Vec::new();
    for direction in [Direction::Capture, Direction::Output] {
        match device.queue(direction) {
            Ok(queue) => queues.push(queue),
            Err(Error::NoQueue { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(queues)
}

/// Lists the planes of a card; none where it drives no display.
pub(crate) fn planes(card: &Card) -> Vec<plane::Handle> {
    // Without this capability only overlays are listed; a card that lacks it lists what it can.
    let _ = drm::Device::set_client_capability(card, drm::ClientCapability::UniversalPlanes, true);
    card.plane_handles().unwrap_or_default()
}

/// Declares a card as a display: its first primary plane, or what it imports as a whole where it has none.
pub(crate) fn display(card: &Card) -> Result<Participant> {
    for plane in planes(card) {
        if card.plane_kind(plane)? == PlaneKind::Primary {
            return card.participant(plane).with_context(|| {
                format!("asking {} for its primary plane", card.path().display())
            });
        }
    }
    Ok(card.importer())
}
