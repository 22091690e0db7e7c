//! Imports the output of other tools, which people paste into reports, as a recorded machine.
//!
//! Each parser reads the output of one tool into the devices that it describes. [`import`] declares these devices as the machine
//! itself would. Values that a dump states have the provenance [`Provenance::Reported`](crate::Provenance::Reported), with the
//! file and the tool. Values that no dump states have [`Provenance::Unknown`](crate::Provenance::Unknown), and a plan that
//! depends on such a value lists it.
//!
//! ```text
//! text ──▶ lines without what pasting adds ──▶ Card, Video … ──▶ DumpedDevices ──▶ Machine
//! ```
//!
//! # Names
//! Participants and sources have the names that the machine's own backends give them: `amdgpu primary plane 40`, `uvcvideo
//! capture`, `dumb:amdgpu@card0`. The dumps do not have the bus address of a card, so identifiers contain the card's node
//! instead.
//!
//! # Memory
//! A dump of `n` bytes takes at most 64 `n` bytes and 64 KiB, also while it is read, and time proportional to `n log n`. The most
//! expensive lines are the formats of a plane, which the machine keeps several times.

mod card;
mod drm_json;
mod drm_text;
mod error;
mod evidence;
mod exporters;
mod found;
mod gpu;
mod json;
mod kind;
mod text;
mod v4l2_text;
mod video;
mod vulkan_json;
mod vulkan_text;
mod wayland_text;

pub use error::DumpError;
pub use kind::DumpKind;

use crate::Machine;
use crate::devicetree::{Tree, TreeError};
use error::LineError;
use evidence::Evidence;
use found::DumpedDevices;

/// A file with the output of a tool.
#[derive(Clone, Copy, Debug)]
pub struct DumpFile<'bytes> {
    /// The name of the file, for provenance and errors.
    pub name: &'bytes str,
    /// The content of the file.
    pub bytes: &'bytes [u8],
}

/// Makes one recorded machine from the dumps of its devices.
///
/// # Errors
/// [`DumpError`], with the file, the line and what was expected on that line.
pub fn import(files: &[DumpFile<'_>]) -> Result<Machine, DumpError> {
    let mut found = DumpedDevices::default();
    for file in files {
        read(file, &mut found)?;
    }
    found.into_machine()
}

fn read(file: &DumpFile<'_>, found: &mut DumpedDevices) -> Result<(), DumpError> {
    let name = || file.name.to_owned();
    if file.bytes.len() > DumpKind::MAXIMUM_BYTES {
        return Err(DumpError::TooLong {
            file: name(),
            bytes: file.bytes.len(),
        });
    }
    let kind =
        DumpKind::detect(file.bytes).ok_or_else(|| DumpError::UnknownKind { file: name() })?;
    let evidence = Evidence(format!("{}, {}", file.name, kind.label()));
    let text = String::from_utf8_lossy(file.bytes);
    read_kind(kind, file.bytes, &text, &evidence, found)
        .map_err(|error| error.in_file(file.name))?;
    found.add_file(&evidence);
    Ok(())
}

fn read_kind(
    kind: DumpKind,
    bytes: &[u8],
    text: &str,
    evidence: &Evidence,
    found: &mut DumpedDevices,
) -> Result<(), LineError> {
    match kind {
        DumpKind::DrmInfoJson => {
            let cards = drm_json::read(text)?.into_iter();
            cards.for_each(|card| found.add_card(card, evidence));
        }
        DumpKind::DrmInfoText => {
            let cards = drm_text::read(text)?.into_iter();
            cards.for_each(|card| found.add_card(card, evidence));
        }
        DumpKind::V4l2Ctl => {
            let videos = v4l2_text::read(text)?.into_iter();
            videos.for_each(|video| found.add_video(video, evidence));
        }
        DumpKind::VulkaninfoJson => {
            let gpus = vulkan_json::read(text)?.into_iter();
            gpus.for_each(|gpu| found.add_gpu(gpu, evidence));
        }
        DumpKind::VulkaninfoText => {
            let gpus = vulkan_text::read(text)?.into_iter();
            gpus.for_each(|gpu| found.add_gpu(gpu, evidence));
        }
        DumpKind::WaylandInfo => found.add_compositor(wayland_text::read(text)?, evidence),
        DumpKind::Bufinfo => found.add_exporters(exporters::read(text)?, evidence),
        DumpKind::DevicetreeBlob => found.add_tree(Tree::from_flat(bytes).map_err(of_tree)?),
        DumpKind::DevicetreeSource => {
            let (before, source) = below_prompt(text);
            let tree = Tree::from_source(source).map_err(of_tree);
            found.add_tree(tree.map_err(|error| error.add_lines(before))?);
        }
    }
    Ok(())
}

/// Removes the lines before the first line of a devicetree's source. Returns their number and the remaining text.
fn below_prompt(text: &str) -> (usize, &str) {
    let mut at = 0_usize;
    for (before, line) in text.split_inclusive('\n').enumerate() {
        let own = line.trim_start();
        let is_first = own.starts_with("/dts-v1/")
            || own.trim_end() == "/ {"
            || own.starts_with("//")
            || own.starts_with("/*");
        if is_first {
            let source = text.get(at..).unwrap_or_default();
            let source = source.trim_end();
            return (before, source.strip_suffix("```").unwrap_or(source));
        }
        at = at.saturating_add(line.len());
    }
    (0, text)
}

/// Converts an error of a devicetree. A source's error has a line. A flattened tree has no lines, so the new error names the
/// byte.
fn of_tree(error: TreeError) -> LineError {
    match error {
        TreeError::Source {
            line,
            expected,
            found,
        } => LineError::new(line, expected, &found),
        other => LineError::new(1, "a devicetree", &other.to_string()),
    }
}
