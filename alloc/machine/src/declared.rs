//! What everybody declared for pictures of one size, and how that is known.

use std::collections::BTreeSet;

use serde::Deserializer;

use super::error::MachineError;
use super::provenance::{Provenance, ProvenanceByPath};
use super::{Machine, interface, job};
use covalent_solver::constraint::{Participant, Source, SourceId};
use covalent_solver::model::{DeviceIdentity, Extent};
use covalent_solver::reading::budget::list;
use covalent_solver::reading::{ExtraFields, keeps_extra_fields, value};

keeps_extra_fields! {
    /// What was declared for pictures of one size, or for those of any.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Declared {
        /// The size; none for what holds at every size.
        pub size: Option<Extent>,
        /// Who takes buffers.
        #[serde(default, deserialize_with = "participants")]
        pub participants: Vec<RecordedParticipant>,
        /// Who gives them.
        #[serde(default, deserialize_with = "sources")]
        pub sources: Vec<RecordedSource>,
        /// What could not be asked.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "missing")]
        pub missing: Vec<Missing>,
        /// Fields of a newer version; demands on every request of this size.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A participant, and how it is known what it takes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RecordedParticipant {
        /// The participant.
        pub participant: Participant,
        /// Its device's node in the devicetree; none where it has none, or nothing tells.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tree_node: Option<String>,
        /// How its values are known.
        #[serde(default)]
        pub grounds: ProvenanceByPath,
        /// Fields of a newer version; demands like those of the participant.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A source, and how it is known what it promises.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RecordedSource {
        /// The source.
        pub source: Source,
        /// How its values are known.
        #[serde(default)]
        pub grounds: ProvenanceByPath,
        /// Fields of a newer version; demands like those of the source.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// What could not be asked: it is there and says nothing, or it is not there and would be looked for.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Missing {
        /// What it is; on a board that nobody asked `encoder`, `decoder` and the like.
        pub name: String,
        /// Why it could not be asked.
        pub why: String,
        /// How that is known; none where the machine itself gave the reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub grounds: Option<Provenance>,
        /// Fields of a newer version, kept and no more: nobody is asked here.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

fn participants<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<RecordedParticipant>, D::Error> {
    list(
        deserializer,
        Machine::MAXIMUM_ENTRIES,
        "participants of a size",
    )
}

fn sources<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RecordedSource>, D::Error> {
    list(deserializer, Machine::MAXIMUM_ENTRIES, "sources of a size")
}

fn missing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Missing>, D::Error> {
    let what = "participants and sources that could not be asked";
    list(deserializer, Machine::MAXIMUM_ENTRIES, what)
}

impl RecordedParticipant {
    /// Takes what a participant said of itself on this machine.
    #[must_use]
    pub fn measured(participant: Participant) -> Self {
        Self {
            participant,
            tree_node: None,
            grounds: ProvenanceByPath::measured(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns the participant; fields of a newer version beside it are demands of its own.
    #[must_use]
    pub fn to_participant(&self) -> Participant {
        let mut participant = self.participant.clone();
        take_over(&self.extra_fields, &mut participant.extra_fields);
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
            grounds: ProvenanceByPath::measured(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns the source; fields of a newer version beside it are demands of its own.
    #[must_use]
    pub fn to_source(&self) -> Source {
        let mut source = self.source.clone();
        take_over(&self.extra_fields, &mut source.extra_fields);
        source
    }
}

impl Declared {
    /// The size in words.
    pub(super) fn size_words(&self) -> String {
        self.size
            .map_or_else(|| "every size".to_owned(), |size| size.to_string())
    }

    /// Checks participants and sources, those too of `every` size; `at` is where they are in the file.
    pub(super) fn check(&self, at: &str, every: &[&Self]) -> Result<(), MachineError> {
        let others = every.iter().filter(|other| !std::ptr::eq(**other, self));
        let mut names: BTreeSet<(&str, &DeviceIdentity)> = others
            .clone()
            .flat_map(|other| &other.participants)
            .map(|other| (other.participant.name.as_str(), &other.participant.device))
            .collect();
        for (number, recorded) in self.participants.iter().enumerate() {
            let own = &recorded.participant;
            let at = format!("{at}.participants[{number}].participant");
            value::participant(&at, own).map_err(MachineError::Value)?;
            let most = Machine::MAXIMUM_ALTERNATIVES;
            if own.alternatives().len() > most {
                return Err(MachineError::TooMany {
                    place: format!("{at}.alternatives"),
                    what: "alternatives of a participant",
                    count: own.alternatives().len(),
                    most,
                });
            }
            if !names.insert((&own.name, &own.device)) {
                return Err(MachineError::Twice {
                    place: format!("{at}.name"),
                    what: "participant",
                    name: job::called(own),
                });
            }
        }
        let mut ids: BTreeSet<&SourceId> = others
            .flat_map(|other| &other.sources)
            .map(|other| &other.source.id)
            .collect();
        for (number, recorded) in self.sources.iter().enumerate() {
            let own = &recorded.source;
            let at = format!("{at}.sources[{number}].source");
            value::source(&at, own).map_err(MachineError::Value)?;
            if !ids.insert(&own.id) {
                return Err(MachineError::Twice {
                    place: format!("{at}.id"),
                    what: "source",
                    name: own.id.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Makes what must be met of some fields a demand among others.
pub(super) fn take_over(from: &ExtraFields, into: &mut ExtraFields) {
    for (name, value) in &from.fields {
        into.fields
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    for (name, extra_fields) in &from.nested {
        take_over(extra_fields, into.nested.entry(name.clone()).or_default());
    }
}
