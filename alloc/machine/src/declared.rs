//! The declarations of participants and sources for one size, with their provenance.

use std::collections::BTreeSet;

use serde::Deserializer;

use super::error::MachineError;
use super::provenance::{Provenance, ProvenanceByPath};
use super::{Machine, interface, job};
use covalent_solver::constraint::{CopyDevice, Participant, Pool, Source, SourceId};
use covalent_solver::model::{DeviceIdentity, Extent};
use covalent_solver::reading::budget::list;
use covalent_solver::reading::{ExtraFields, keeps_extra_fields, value};
use covalent_solver::solve::Request;

keeps_extra_fields! {
    /// The declarations for buffers of one size, or for buffers of every size.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Declared {
        /// The size in pixels; `None` for declarations that are valid at every size.
        pub size: Option<Extent>,
        /// The participants, which use buffers.
        #[serde(default, deserialize_with = "participants")]
        pub participants: Vec<RecordedParticipant>,
        /// The sources, which allocate buffers.
        #[serde(default, deserialize_with = "sources")]
        pub sources: Vec<RecordedSource>,
        /// The devices that can copy frames between participants that share no buffer.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "copiers")]
        pub copiers: Vec<CopyDevice>,
        /// The devices that could not be queried or do not exist.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "missing")]
        pub missing: Vec<MissingDevice>,
        /// JSON fields that a newer version of Covalent wrote. Each is a constraint that nothing meets, in every request of this
        /// size.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A participant with the provenance of its constraints.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RecordedParticipant {
        /// The participant.
        pub participant: Participant,
        /// The path of the participant's device in the devicetree; `None` if the device has no node or the node is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tree_node: Option<String>,
        /// Where the values of the participant come from.
        #[serde(default, rename = "grounds")]
        pub provenance: ProvenanceByPath,
        /// JSON fields that a newer version of Covalent wrote. Each is a constraint that nothing meets, as if it were a field of
        /// the participant.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A source with the provenance of its guarantees.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RecordedSource {
        /// The source.
        pub source: Source,
        /// Where the values of the source come from.
        #[serde(default, rename = "grounds")]
        pub provenance: ProvenanceByPath,
        /// JSON fields that a newer version of Covalent wrote. Each is a constraint that nothing meets, as if it were a field of
        /// the source.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A pool with the provenance of its values.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RecordedPool {
        /// The pool.
        pub pool: Pool,
        /// Where the values of the pool come from.
        #[serde(default, rename = "grounds")]
        pub provenance: ProvenanceByPath,
        /// JSON fields that a newer version of Covalent wrote. Each is a constraint that nothing meets, as if it were a field of
        /// the pool.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

keeps_extra_fields! {
    /// A device that is not declared, because it could not be queried or the board does not have it.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct MissingDevice {
        /// The name of the device. For a board that was not recorded on the board itself, it is `camera`, `encoder` or `decoder`.
        pub name: String,
        /// The reason why the device is not declared, as a sentence without a full stop.
        #[serde(rename = "why")]
        pub reason: String,
        /// Where the reason comes from; `None` where the recorded machine itself reported it.
        #[serde(default, rename = "grounds", skip_serializing_if = "Option::is_none")]
        pub provenance: Option<Provenance>,
        /// JSON fields that a newer version of Covalent wrote. They are kept when the file is written again, and constrain
        /// nothing.
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

fn copiers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<CopyDevice>, D::Error> {
    list(deserializer, Request::MAXIMUM_COPIERS, "copiers of a size")
}

fn missing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MissingDevice>, D::Error> {
    let what = "missing devices";
    list(deserializer, Machine::MAXIMUM_ENTRIES, what)
}

impl RecordedParticipant {
    /// Records a participant that this machine declares. All its values get the provenance "measured".
    #[must_use]
    pub fn measured(participant: Participant) -> Self {
        Self {
            participant,
            tree_node: None,
            provenance: ProvenanceByPath::measured(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns the participant. The unknown JSON fields of this record become constraints of the participant.
    #[must_use]
    pub fn to_participant(&self) -> Participant {
        let mut participant = self.participant.clone();
        merge_extra_fields(&self.extra_fields, &mut participant.extra_fields);
        interface::fill_in(&mut participant);
        participant
    }
}

impl RecordedSource {
    /// Records a source that this machine declares. All its values get the provenance "measured".
    #[must_use]
    pub fn measured(source: Source) -> Self {
        Self {
            source,
            provenance: ProvenanceByPath::measured(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns the source. The unknown JSON fields of this record become constraints of the source.
    #[must_use]
    pub fn to_source(&self) -> Source {
        let mut source = self.source.clone();
        merge_extra_fields(&self.extra_fields, &mut source.extra_fields);
        source
    }
}

impl RecordedPool {
    /// Records a pool that this machine declares. All its values get the provenance "measured".
    #[must_use]
    pub fn measured(pool: Pool) -> Self {
        Self {
            pool,
            provenance: ProvenanceByPath::measured(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns the pool. The unknown JSON fields of this record become constraints of the pool.
    #[must_use]
    pub fn to_pool(&self) -> Pool {
        let mut pool = self.pool.clone();
        merge_extra_fields(&self.extra_fields, &mut pool.extra_fields);
        pool
    }
}

impl Declared {
    /// Returns the size as text for a message.
    pub(super) fn size_label(&self) -> String {
        self.size
            .map_or_else(|| "every size".to_owned(), |size| size.to_string())
    }

    /// Checks the values of participants and sources. Their names must be unique within this declaration and within `every_size`,
    /// the declarations that are valid at every size. `at` is the path of this declaration in the file.
    pub(super) fn check(&self, at: &str, every_size: &[&Self]) -> Result<(), MachineError> {
        let others = every_size
            .iter()
            .filter(|other| !std::ptr::eq(**other, self));
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
                return Err(MachineError::Duplicate {
                    place: format!("{at}.name"),
                    what: "participant",
                    name: job::label(own),
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
                return Err(MachineError::Duplicate {
                    place: format!("{at}.id"),
                    what: "source",
                    name: own.id.to_string(),
                });
            }
        }
        Ok(())
    }
}

/// Adds the unknown fields of `from` to those of `into`. If both have a field, the value in `into` stays.
pub(super) fn merge_extra_fields(from: &ExtraFields, into: &mut ExtraFields) {
    for (name, value) in &from.fields {
        into.fields
            .entry(name.clone())
            .or_insert_with(|| value.clone());
    }
    for (name, extra_fields) in &from.nested {
        merge_extra_fields(extra_fields, into.nested.entry(name.clone()).or_default());
    }
}
