//! The cameras and cards of this machine, as participants.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use covalent_alloc::backend::devicetree;
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction, Error, Queue, VideoDevices};
use covalent_alloc::constraint::Participant;
use covalent_alloc::machine::devicetree::Tree;
pub(crate) use covalent_alloc::machine::unique_names;
use covalent_alloc::machine::{Machine, ReservedMemory};
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::{
    TrialResult, TrialResultError, TrialResults, keep_trial_results, load_trial_results,
};

use crate::file;
use crate::out::{self, line};

/// Lists the nodes of all video devices, by number.
pub(crate) fn video_nodes() -> Vec<PathBuf> {
    VideoDevices::list()
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

/// Declares a card as a display: its first primary plane, or what it imports as a whole where it has none.
pub(crate) fn display(card: &Card) -> Result<Participant> {
    card.display().with_context(|| {
        format!(
            "asking {} for its primary plane",
            printable_path(card.path())
        )
    })
}

/// Reads a recorded machine; no more of the file than a machine may have.
pub(crate) fn recorded(path: &Path) -> Result<Machine> {
    let bytes = file::read(path, Machine::MAXIMUM_BYTES)?;
    Machine::from_json(&bytes).with_context(|| printable_path(path))
}

/// Reads what a devicetree sets aside: that of a file, or of this machine; none where that has no tree.
pub(crate) fn reserved_memory(file: Option<&Path>) -> Result<Option<ReservedMemory>> {
    let tree = match file {
        Some(path) if path.is_dir() => Some(
            devicetree::read(path)
                .with_context(|| format!("cannot read {}", printable_path(path)))?,
        ),
        Some(path) => {
            let bytes = file::read(path, Tree::MAXIMUM_BYTES)?;
            Some(Tree::from_flat(&bytes).with_context(|| printable_path(path))?)
        }
        None => devicetree::here().context("reading /proc/device-tree")?,
    };
    Ok(tree.map(|tree| ReservedMemory::of(&tree)))
}

/// Opens the user's facts. What is wrong with them is told, and the facts that ship serve then.
pub(crate) fn facts() -> TrialResults {
    load_trial_results(tell)
}

/// Keeps what was learnt. That it could not be kept is told; what was found out stands.
pub(crate) fn keep(learnt: &[TrialResult]) {
    keep_trial_results(learnt, tell);
}

fn tell(error: &TrialResultError) {
    // Nobody is left to tell where stderr itself fails.
    let _ = line!(out::stderr(), "covalent: {error}");
}
