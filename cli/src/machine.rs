//! Access to this machine's V4L2 queues, cards, devicetree and stored trial results, and to recorded machines.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use covalent_alloc::backend::devicetree;
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::v4l2::{Device, Direction, Error, Queue, VideoDevices};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CopyDevice, Participant};
use covalent_alloc::machine::devicetree::Tree;
pub(crate) use covalent_alloc::machine::unique_names;
use covalent_alloc::machine::{Machine, ReservedMemory};
use covalent_alloc::model::Extent;
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::{
    Helper, TrialResult, TrialResultError, TrialResults, keep_trial_results, load_trial_results,
};

use crate::file;
use crate::foreign::{self, CovalentFileKind};
use crate::out::{self, line};
use crate::vendor_gpus;

/// Starts the helper process, which loads the drivers of GBM and Vulkan.
///
/// # Errors
/// There is no helper program, or it cannot be started.
pub(crate) fn started_helper() -> Result<Helper> {
    let mut helper = Helper::find()?;
    helper.start()?;
    Ok(helper)
}

/// Returns the devices of this machine that can copy frames. The helper process loads the Vulkan drivers. If the helper is
/// missing or a driver crashes it, only devices with a kernel driver are returned.
pub(crate) fn copiers(size: Extent) -> Vec<CopyDevice> {
    let mut collection = BufferCollection::new(size);
    let declared = started_helper().map(|mut helper| helper.declare_copiers(size));
    for copier in declared.into_iter().flatten().flatten() {
        collection.add_copier(copier);
    }
    collection.copiers()
}

/// Returns the paths of all V4L2 device nodes, ordered by number.
pub(crate) fn video_nodes() -> Vec<PathBuf> {
    VideoDevices::list()
}

/// Opens every streaming queue of a video device.
///
/// # Errors
/// The device or one of its queues cannot be opened.
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

/// Returns the first primary plane of a card as a participant. For a card without a primary plane, returns the card's PRIME
/// import as the participant.
///
/// # Errors
/// A request to the card fails.
pub(crate) fn display(card: &Card) -> Result<Participant> {
    card.display().with_context(|| {
        format!(
            "cannot read the primary plane of {}",
            printable_path(card.path())
        )
    })
}

/// Declares the planes of a card. The first primary plane comes first; if the card has no primary plane, its PRIME import comes
/// first.
///
/// # Errors
/// A request to the card fails.
pub(crate) fn planes(card: &Card) -> Result<Vec<Participant>> {
    let first = display(card)?;
    let mut planes = vec![first];
    let listed = card
        .planes()
        .with_context(|| format!("cannot list the planes of {}", printable_path(card.path())))?;
    for plane in listed {
        let other = plane.participant()?;
        if planes.iter().all(|own| own.plane != other.plane) {
            planes.push(other);
        }
    }
    Ok(planes)
}

/// Reads a recorded machine from a file. The path `gpu:navi31` is not a file: it selects a machine with this GPU, whose
/// constraints its driver declares.
///
/// # Errors
/// The file cannot be read, is too long, or is not a recorded machine; the GPU's driver cannot be run.
pub(crate) fn recorded(path: &Path) -> Result<Machine> {
    if let Some(machine) = path.to_str().and_then(vendor_gpus::machine_of_name) {
        return machine;
    }
    let bytes = file::read(path, Machine::MAXIMUM_BYTES)?;
    foreign::read_as(
        CovalentFileKind::Machine,
        path,
        &bytes,
        Machine::from_json(CovalentFileKind::Machine.within(&bytes)),
    )
}

/// Reads the reserved memory of a devicetree. `file` is a .dtb file or a copy of /proc/device-tree; `None` reads the devicetree
/// of this machine. Returns `None` if this machine has no devicetree.
///
/// # Errors
/// The devicetree cannot be read.
pub(crate) fn reserved_memory(file: Option<&Path>) -> Result<Option<ReservedMemory>> {
    let tree = match file {
        None => return devicetree::reserved_memory().context("cannot read /proc/device-tree"),
        Some(path) if path.is_dir() => devicetree::read(path)
            .with_context(|| format!("cannot read {}", printable_path(path)))?,
        Some(path) => {
            let bytes = file::read(path, Tree::MAXIMUM_BYTES)?;
            Tree::from_flat(&bytes).with_context(|| printable_path(path))?
        }
    };
    Ok(Some(ReservedMemory::of(&tree)))
}

/// Returns the stored trial results of this user, and those that ship with Covalent. An error of the user's file is printed, and
/// only the shipped results are used then.
pub(crate) fn trial_results() -> TrialResults {
    load_trial_results(print_error)
}

/// Stores new trial results. An error is printed, and the program continues without storing them.
pub(crate) fn store_trial_results(learnt: &[TrialResult]) {
    keep_trial_results(learnt, print_error);
}

/// Prints an error of the stored trial results on stderr. The command goes on without them.
fn print_error(error: &TrialResultError) {
    // If stderr fails, there is no other place to report that.
    let _ = line!(out::stderr(), "covalent: {error}");
}
