//! What everybody declared for pictures of one size, and how that is known.

use serde::{Deserialize, Serialize};

use super::error::MachineError;
use super::grounds::{Grounds, GroundsByPlace};
use super::{Machine, interface, job};
use crate::constraint::{Participant, Source, Unknown, keeps_unknown};
use crate::model::Extent;

/// What was declared for pictures of one size, or for those of any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Declared {
    /// The size; none for what holds at every size.
    pub size: Option<Extent>,
    /// Who takes buffers.
    #[serde(default)]
    pub participants: Vec<RecordedParticipant>,
    /// Who gives them.
    #[serde(default)]
    pub sources: Vec<RecordedSource>,
    /// What could not be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Fields of a newer version; demands on every request of this size.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// A participant, and how it is known what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct RecordedParticipant {
    /// The participant.
    pub participant: Participant,
    /// Its device's node in the devicetree; none where it has none, or nothing tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree_node: Option<String>,
    /// How its values are known.
    #[serde(default)]
    pub grounds: GroundsByPlace,
    /// Fields of a newer version; demands like those of the participant.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// A source, and how it is known what it promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct RecordedSource {
    /// The source.
    pub source: Source,
    /// How its values are known.
    #[serde(default)]
    pub grounds: GroundsByPlace,
    /// Fields of a newer version; demands like those of the source.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// What could not be asked: it is there and says nothing, or it is not there and would be looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Missing {
    /// What it is; on a board that nobody asked `encoder`, `decoder` and the like.
    pub name: String,
    /// Why it could not be asked.
    pub why: String,
    /// How that is known; none where the machine itself gave the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grounds: Option<Grounds>,
    /// Fields of a newer version, kept and no more: nobody is asked here.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Missing, Declared, RecordedParticipant, RecordedSource);

impl RecordedParticipant {
    /// Takes what a participant said of itself on this machine.
    #[must_use]
    pub fn measured(participant: Participant) -> Self {
        Self {
            participant,
            tree_node: None,
            grounds: GroundsByPlace::measured(),
            unknown: Unknown::default(),
        }
    }

    /// Returns the participant; fields of a newer version beside it are demands of its own.
    #[must_use]
    pub fn to_participant(&self) -> Participant {
        let mut participant = self.participant.clone();
        take_over(&self.unknown, &mut participant.unknown);
        interface::fill_in(&mut participant);
        participant
    }
}

impl RecordedSource {
    /// Takes what a source said of itself on this machine.
    #[must_use]
    pub fn measured(source: Source) -> Self {
        Self {
            source,
            grounds: GroundsByPlace::measured(),
            unknown: Unknown::default(),
        }
    }

    /// Returns the source; fields of a newer version beside it are demands of its own.
    #[must_use]
    pub fn to_source(&self) -> Source {
        let mut source = self.source.clone();
        take_over(&self.unknown, &mut source.unknown);
        source
    }
}

impl Declared {
    /// The size in words.
    #[must_use]
    pub fn size_words(&self) -> String {
        self.size
            .map_or_else(|| "every size".to_owned(), |size| size.to_string())
    }

    /// How many there are of everything, and may be.
    pub(super) fn counts(
        &self,
        most: usize,
    ) -> impl Iterator<Item = (&'static str, usize, usize)> + '_ {
        let own = [
            ("participants of a size", self.participants.len(), most),
            ("sources of a size", self.sources.len(), most),
            (
                "participants and sources that could not be asked",
                self.missing.len(),
                most,
            ),
        ];
        let choices = self
            .participants
            .iter()
            .flat_map(|recorded| recorded.participant.choices())
            .chain(
                self.sources
                    .iter()
                    .map(|recorded| &recorded.source.constraints),
            );
        let pairs = choices.map(|choice| {
            let pairs = choice.formats.as_ref().map_or(0, |formats| formats.len());
            (
                "pairs of format and modifier",
                pairs,
                Machine::MAXIMUM_PAIRS,
            )
        });
        let alternatives = self.participants.iter().map(|recorded| {
            (
                "alternatives of a participant",
                recorded.participant.alternatives.len(),
                Machine::MAXIMUM_ALTERNATIVES,
            )
        });
        own.into_iter().chain(pairs).chain(alternatives)
    }

    pub(super) fn check_names(&self) -> Result<(), MachineError> {
        for (place, own) in self.participants.iter().enumerate() {
            let own = &own.participant;
            let again = self.participants.iter().take(place).any(|other| {
                other.participant.name == own.name && other.participant.device == own.device
            });
            if again {
                return Err(MachineError::Twice {
                    what: "participant",
                    name: job::called(own),
                });
            }
        }
        for (place, own) in self.sources.iter().enumerate() {
            let mut before = self.sources.iter().take(place);
            if before.any(|other| other.source.id == own.source.id) {
                return Err(MachineError::Twice {
                    what: "source",
                    name: own.source.id.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Makes what must be met of some fields a demand among others.
pub(super) fn take_over(from: &Unknown, into: &mut Unknown) {
    for (name, value) in &from.fields {
        into.fields
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    for (name, unknown) in &from.within {
        take_over(unknown, into.within.entry(name.clone()).or_default());
    }
}
