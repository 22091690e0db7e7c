//! The declarations of a machine that are valid at one size, and the search by name for a participant in them.

use super::{label, pairs_in_format};
use crate::error::MachineError;
use crate::interface::{interface_of, plane_kind};
use crate::trial_results::Interface;
use crate::{Declared, RecordedParticipant, RecordedSource};
use covalent_solver::constraint::{CopyDevice, Participant, PlaneKind, Role, Source, SourceKind};
use covalent_solver::model::{DeviceIdentity, Fourcc};
use covalent_solver::solve::Request;

/// All declarations of a machine that are valid at one size.
pub(super) struct DeclaredAtSize<'machine> {
    pub(super) declared: Vec<&'machine Declared>,
}

impl<'machine> DeclaredAtSize<'machine> {
    pub(super) fn participants(&self) -> impl Iterator<Item = &'machine RecordedParticipant> {
        self.declared
            .iter()
            .flat_map(|declared| &declared.participants)
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &'machine RecordedSource> {
        self.declared.iter().flat_map(|declared| &declared.sources)
    }

    /// Returns the devices that copy frames, at most as many as a request may have.
    pub(super) fn copiers(&self) -> impl Iterator<Item = &'machine CopyDevice> {
        let all = self.declared.iter().flat_map(|declared| &declared.copiers);
        all.take(Request::MAXIMUM_COPIERS)
    }

    /// Returns the path of a participant's device in the devicetree; `None` if no declaration states it.
    pub(super) fn node_of(&self, participant: &Participant) -> Option<String> {
        let of_device = |recorded: &&RecordedParticipant| {
            recorded.participant.device == participant.device && recorded.tree_node.is_some()
        };
        self.participants()
            .find(of_device)
            .and_then(|recorded| recorded.tree_node.clone())
    }

    /// Finds the participant of this name among those for which `filter` returns true.
    pub(super) fn find(
        &self,
        name: &str,
        what: &'static str,
        filter: impl Fn(&Participant) -> bool,
    ) -> Result<&'machine RecordedParticipant, MachineError> {
        let all: Vec<_> = self
            .participants()
            .filter(|recorded| filter(&recorded.participant))
            .collect();
        for matches in [matches_exactly, matches_prefix] {
            let found: Vec<_> = all
                .iter()
                .filter(|recorded| matches(&recorded.participant, name))
                .collect();
            match found.as_slice() {
                [] => {}
                [one] => return Ok(**one),
                several => {
                    let found: Vec<String> = several
                        .iter()
                        .map(|recorded| label(&recorded.participant))
                        .collect();
                    let mut nodes = several.iter().map(|one| &one.participant.device.node);
                    let first = nodes.next();
                    let has_one_node = nodes.all(|node| Some(node) == first);
                    return Err(MachineError::Ambiguous {
                        what,
                        name: name.to_owned(),
                        found: found.join(", "),
                        distinction: if has_one_node { "name" } else { "node" },
                    });
                }
            }
        }
        Err(MachineError::NotFound {
            what,
            name: name.to_owned(),
            known: self.available_labels(filter),
        })
    }

    /// Returns the planes that can show a display's frames. For a card these are its planes, the primary planes first, or its
    /// import through PRIME if it has no planes. A name that is no card's is the name of a single plane.
    pub(super) fn planes(
        &self,
        name: &str,
    ) -> Result<Vec<&'machine RecordedParticipant>, MachineError> {
        let is_display = |other: &Participant| other.role == Role::Display;
        let of_card =
            |other: &Participant| is_node(&other.device, name) || other.device.driver == name;
        let of_this_card = |recorded: &&RecordedParticipant| {
            is_display(&recorded.participant) && of_card(&recorded.participant)
        };
        let mut planes: Vec<_> = self.participants().filter(of_this_card).collect();
        if let Some(first) = planes.first().map(|first| &first.participant.device) {
            // If several cards have the same driver, the name of the driver means the first of these cards.
            planes.retain(|plane| plane.participant.device.same_device(first));
            planes
                .sort_by_key(|plane| plane_kind(&plane.participant).unwrap_or(PlaneKind::Overlay));
            return Ok(planes);
        }
        let importer = self.participants().find(|recorded| {
            let other = &recorded.participant;
            of_card(other) && other.role == Role::Import && interface_of(other) == Interface::Kernel
        });
        match importer {
            Some(importer) => Ok(vec![importer]),
            None => Ok(vec![self.find(name, "display", is_display)?]),
        }
    }

    /// Finds the GBM device of a card. The name may be the primary node, even if GBM uses the card's render node.
    pub(super) fn gbm(&self, name: &str) -> Result<&'machine RecordedParticipant, MachineError> {
        let is_gbm = |other: &Participant| interface_of(other) == Interface::Gbm;
        let card = self
            .participants()
            .map(|recorded| &recorded.participant.device)
            .find(|device| is_node(device, name));
        let of_card = card.and_then(|card| {
            self.participants().find(|recorded| {
                let other = &recorded.participant;
                is_gbm(other) && other.device.same_device(card)
            })
        });
        match of_card {
            Some(found) => Ok(found),
            None => self.find(name, "GBM device", is_gbm),
        }
    }

    /// Returns the labels of the participants for which `filter` returns true, and the devices that are not available.
    pub(super) fn available_labels(&self, filter: impl Fn(&Participant) -> bool) -> String {
        let known: Vec<String> = self
            .participants()
            .map(|recorded| &recorded.participant)
            .filter(|participant| filter(participant))
            .map(label)
            .collect();
        let missing = self.declared.iter().flat_map(|declared| &declared.missing);
        let missing: String = missing
            .map(|missing| format!("; {} is not available: {}", missing.name, missing.reason))
            .collect();
        if known.is_empty() {
            format!("none{missing}")
        } else {
            format!("{}{missing}", known.join(", "))
        }
    }

    /// Returns the source that allocates a queue's own buffers (`V4L2_MEMORY_MMAP`), limited to the job's format.
    pub(super) fn source_of_queue(
        &self,
        queue: &Participant,
        format: Option<Fourcc>,
    ) -> Option<RecordedSource> {
        let direction = if queue.role == Role::Output {
            ":output"
        } else {
            ":capture"
        };
        let mut found = self
            .sources()
            .find(|recorded| {
                let source = &recorded.source;
                is_of_queue(source)
                    && source.device.as_ref() == Some(&queue.device)
                    && source.id.as_str().ends_with(direction)
            })?
            .clone();
        if let Some(wanted) = format {
            let constraints = &mut found.source.constraints;
            constraints.formats = Some(pairs_in_format(constraints.formats.as_ref(), wanted));
            constraints.per_fourcc.retain(|own, _| *own == wanted);
        }
        Some(found)
    }

    pub(super) fn kernel_sources(&self) -> Vec<RecordedSource> {
        self.sources()
            .filter(|recorded| !is_of_queue(&recorded.source) && !is_of_driver(&recorded.source))
            .cloned()
            .collect()
    }

    pub(super) fn driver_sources(&self) -> Vec<RecordedSource> {
        self.sources()
            .filter(|recorded| is_of_driver(&recorded.source))
            .cloned()
            .collect()
    }
}

fn matches_exactly(participant: &Participant, name: &str) -> bool {
    participant.name == name || is_node(&participant.device, name) || label(participant) == name
}

/// Returns whether a name is the device's node, with or without the folder: `/dev/dri/card0` or `card0`.
fn is_node(device: &DeviceIdentity, name: &str) -> bool {
    device.node == name
        || device
            .node
            .rsplit_once('/')
            .is_some_and(|(_, last)| !last.is_empty() && last == name)
}

fn matches_prefix(participant: &Participant, name: &str) -> bool {
    !name.is_empty() && (participant.name.starts_with(name) || participant.device.location == name)
}

fn is_of_queue(source: &Source) -> bool {
    SourceKind::of(&source.id) == SourceKind::Queue
}

fn is_of_driver(source: &Source) -> bool {
    SourceKind::of(&source.id).is_of_driver()
}
