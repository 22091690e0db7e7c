//! The cameras and cards of this machine, as participants.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use covalent_alloc::backend::devicetree;
use covalent_alloc::backend::drm::{Card, PlaneKind};
use covalent_alloc::backend::v4l2::{Device, Direction, Error, Queue};
use covalent_alloc::constraint::Participant;
use covalent_alloc::machine::devicetree::Tree;
pub(crate) use covalent_alloc::machine::unique_names;
use covalent_alloc::machine::{Machine, ReservedMemory};
use covalent_alloc::prove::{Fact, FactBook, FactError, FactStore};
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

/// Reads a recorded machine; no more of the file than a machine may have.
pub(crate) fn recorded(path: &Path) -> Result<Machine> {
    let bytes = read_up_to(path, Machine::MAXIMUM_BYTES)?;
    Machine::from_json(&bytes).with_context(|| path.display().to_string())
}

/// Reads what a devicetree sets aside: that of a file, or of this machine; none where that has no tree.
pub(crate) fn reserved_memory(file: Option<&Path>) -> Result<Option<ReservedMemory>> {
    let tree = match file {
        Some(path) if path.is_dir() => {
            Some(devicetree::read(path).with_context(|| format!("reading {}", path.display()))?)
        }
        Some(path) => {
            let bytes = read_up_to(path, Tree::MAXIMUM_BYTES)?;
            Some(Tree::from_flat(&bytes).with_context(|| path.display().to_string())?)
        }
        None => devicetree::here().context("reading /proc/device-tree")?,
    };
    Ok(tree.map(|tree| ReservedMemory::of(&tree)))
}

/// Reads a file, and one byte more of it than there may be at the most.
fn read_up_to(path: &Path, most: usize) -> Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    let file = fs::File::open(path).with_context(reading)?;
    let most = u64::try_from(most)?.saturating_add(1);
    let mut bytes = Vec::new();
    file.take(most)
        .read_to_end(&mut bytes)
        .with_context(reading)?;
    Ok(bytes)
}

/// Opens the user's facts. What is wrong with them is told, and the facts that ship serve then.
pub(crate) fn facts() -> FactBook {
    match FactStore::of_user() {
        Ok(store) => {
            let (book, read) = store.book();
            if let Err(error) = read {
                tell(&error);
            }
            book
        }
        Err(error) => {
            tell(&error);
            FactBook::well_known(covalent_alloc::prove::Environment::here(), FactStore::now())
        }
    }
}

/// Keeps what was learnt. That it could not be kept is told; what was found out stands.
pub(crate) fn keep(learnt: &[Fact]) {
    if learnt.is_empty() {
        return;
    }
    let kept = FactStore::of_user().and_then(|store| {
        store.update(|book| learnt.iter().for_each(|fact| book.add(fact.clone())))
    });
    if let Err(error) = kept {
        tell(&error);
    }
}

fn tell(error: &FactError) {
    // Nobody is left to tell where stderr itself fails.
    let _ = writeln!(io::stderr(), "covalent: {error}");
}
