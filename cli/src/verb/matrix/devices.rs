//! The participants and sources of the matrix, with their constraints at one size.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;
use covalent_alloc::backend::devicetree;
use covalent_alloc::backend::drm::Card;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, FormatSet, Participant, Role, Source};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::Request;
use covalent_alloc::text::printable_path;
use covalent_alloc::trial::{Helper, pair};

use super::cell::Cell;
use crate::{machine, out, vendor_gpus};

/// Participants and sources with their constraints at one size.
pub(crate) struct DeclaredDevices {
    pub(crate) size: Extent,
    pub(crate) participants: Vec<Participant>,
    pub(crate) sources: Vec<Source>,
    /// Devices that could not be queried, with the reason.
    pub(crate) unavailable: Vec<String>,
}

impl DeclaredDevices {
    /// Queries every device of this machine. The helper process loads the drivers of GBM and Vulkan, because they may abort their
    /// process.
    ///
    /// # Errors
    /// A card cannot list its planes, or the devicetree cannot be read.
    pub(crate) fn discover(size: Extent, helper: &mut Helper) -> Result<Self> {
        let mut collection = BufferCollection::new(size);
        let sources = collection.sources();
        let mut declared = Self {
            size,
            participants: vec![
                processor("processor reading", Role::CpuRead),
                processor("processor writing", Role::CpuWrite),
            ],
            sources,
            unavailable: collection
                .unavailable()
                .iter()
                .map(ToString::to_string)
                .collect(),
        };
        drop(collection);
        for path in machine::video_nodes() {
            if let Err(error) = declared.add_video(&path) {
                let mut words = printable_path(&path);
                write!(words, ": {}", out::error_text(&error))?;
                declared.unavailable.push(words);
            }
        }
        for path in Card::list() {
            // A card that cannot be opened is already listed as an unavailable source.
            if let Ok(card) = Card::open(&path) {
                declared.participants.push(card.importer());
                for plane in card.planes()? {
                    declared.participants.push(plane.participant()?);
                }
            }
        }
        let drivers = helper.declare_drivers(size);
        declared.participants.extend(drivers.participants);
        declared.sources.extend(drivers.sources);
        let words = drivers.unavailable.iter().map(ToString::to_string);
        declared.unavailable.extend(words);
        machine::unique_names(&mut declared.participants);
        if let Some(reserved) = machine::reserved_memory(None)? {
            devicetree::refine(&reserved, &mut declared.participants, &mut declared.sources);
        }
        Ok(declared)
    }

    /// Declares the participants and sources of GPUs that this machine does not have. Their drivers run on Mesa's drm-shims.
    ///
    /// # Errors
    /// The name of a GPU is not known, or its driver cannot be run.
    pub(super) fn of_gpus(size: Extent, names: &[String]) -> Result<Self> {
        let mut declared = Self {
            size,
            participants: Vec::new(),
            sources: Vec::new(),
            unavailable: Vec::new(),
        };
        for name in names {
            let gpu = vendor_gpus::declare(name, size)?;
            declared.participants.extend(gpu.participants);
            declared.sources.extend(gpu.sources);
            let words = gpu.unavailable.iter().map(ToString::to_string);
            declared.unavailable.extend(words);
        }
        machine::unique_names(&mut declared.participants);
        Ok(declared)
    }

    /// Returns all pairs of format and modifier that a participant lists and whose plane layout is known. If `fourccs` is not
    /// empty, only these formats are returned.
    pub(super) fn formats(&self, fourccs: &[Fourcc]) -> Vec<FormatModifier> {
        let all: BTreeSet<FormatModifier> = self
            .participants
            .iter()
            .flat_map(Participant::choices)
            .filter_map(|choice| choice.formats.as_ref())
            .flat_map(FormatSet::iter)
            .chain(fourccs.iter().map(|fourcc| FormatModifier::linear(*fourcc)))
            .filter(|format| format.fourcc.info().is_some())
            .filter(|format| fourccs.is_empty() || fourccs.contains(&format.fourcc))
            .collect();
        if all.is_empty() {
            vec![FormatModifier::linear(Fourcc::XRGB8888)]
        } else {
            all.into_iter().collect()
        }
    }

    /// Returns whether a format is tried on a participant, and whether the participant lists the format. The outcome for a format
    /// that is not listed does not depend on the source, so such a format is tried only with the first source.
    pub(super) fn is_tried(
        participant: &Participant,
        format: FormatModifier,
        is_first: bool,
    ) -> (bool, bool) {
        let is_listed = participant.choices().any(|choice| {
            let listed = choice.formats.as_ref();
            listed.is_none_or(|listed| listed.contains(format))
        });
        (is_listed || is_first, is_listed)
    }

    /// Returns the number of cells that will be measured.
    pub(super) fn count(&self, formats: &[FormatModifier]) -> usize {
        let in_row = |is_first: bool| {
            self.participants
                .iter()
                .flat_map(|participant| formats.iter().map(move |format| (participant, *format)))
                .filter(|(participant, format)| Self::is_tried(participant, *format, is_first).0)
                .count()
        };
        match self.sources.len().checked_sub(1) {
            Some(others) => in_row(true).saturating_add(in_row(false).saturating_mul(others)),
            None => 0,
        }
    }

    /// Adds the queues of a V4L2 device that share pictures.
    fn add_video(&mut self, path: &std::path::Path) -> Result<()> {
        for queue in machine::queues(path)? {
            let participant = queue.participant(self.size, None)?;
            // A queue for compressed streams has no pixel format, so it shares no pictures.
            if participant
                .constraints()
                .formats
                .as_ref()
                .is_some_and(|formats| formats.is_empty())
            {
                continue;
            }
            if let Some(source) = queue.source(&participant)? {
                self.sources.push(source);
            }
            self.participants.push(participant);
        }
        Ok(())
    }

    /// Returns the request for the source and participant of a cell; `None` if the cell has another size.
    pub(super) fn pair(&self, cell: &Cell) -> Option<Request> {
        if cell.size != self.size {
            return None;
        }
        let participant = self
            .participants
            .iter()
            .find(|participant| participant.name == cell.participant)?;
        let source = self
            .sources
            .iter()
            .find(|source| source.id == cell.source)?;
        Some(pair(participant, source, cell.format, cell.size))
    }
}

/// Declares the CPU as a participant that accesses every frame.
fn processor(name: &str, role: Role) -> Participant {
    let mut participant = Participant::processor(role);
    participant.name = name.to_owned();
    participant.for_each_choice(|choice| choice.memory.cpu = CpuUse::Often);
    participant
}
