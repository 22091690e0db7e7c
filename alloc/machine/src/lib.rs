//! A machine on paper: who is there, what each asks and promises, and how each of that is known. Solved anywhere.
//!
//! `covalent probe --record` writes such a file, and `covalent plan --machine` and `covalent diff` read it. Boards that nobody
//! has at hand are written down from what others published; every value says where it is from.
//!
//! # The file
//!
//! One JSON object, written and read by [`Machine`]:
//!
//! | field | is |
//! | --- | --- |
//! | `format` | `covalent-machine` |
//! | `version` | [`Machine::VERSION`]; a file of a greater one is refused as a whole |
//! | `name`, `origin` | what machine it is, and who wrote the file from what |
//! | `recorded_at` | the second since 1970 in which it was asked; 0 where nobody asked it |
//! | `environment` | [`Environment`]: kernel, Mesa, memory, and all else that facts depend on |
//! | `facts` | what its drivers had refused by then ([`Fact`]) |
//! | `devicetree` | reserved memory and who is given it ([`ReservedMemory`]); absent where there is no tree |
//! | `declared` | what was declared, by the size that was asked for ([`Declared`]) |
//!
//! Each participant and source stands beside the `grounds` of its values: an object from a value's place, such as
//! `constraints.image.stride`, to one of [`Provenance`]. The grounds of the nearest place above a value are its own; those under
//! the empty name are everybody's.
//!
//! A participant's `interface` (`kernel`, `gbm` or `vulkan`) and `plane` (an object of its `kind`, `primary`, `overlay` or `cursor`,
//! and of its KMS `id`) say what it is. In a file that is older than these fields the participant's name does.
//!
//! A field of a newer version is kept, and a demand that nothing meets unless it is an object with `"optional": true`, as
//! everywhere ([`ExtraFields`]). A file over [`Machine::MAXIMUM_BYTES`], one that is damaged and one that has the same
//! participant, source or key twice are refused with the place and a reason.
//!
//! A file is read in one pass. That takes at most 16 times the file's length and 64 MiB more, and is refused beyond.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod declared;
pub mod devicetree;
mod difference;
mod error;
pub mod facts;
mod interface;
mod job;
pub mod kernel;
mod provenance;
mod region;
mod resolved_request;
mod unverified_value;

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use covalent_solver::constraint::FormatSet;
use covalent_solver::reading::{ExtraFields, Reader, budget, keeps_extra_fields, with_path};
use facts::{Environment, TrialResult, TrialResults};

pub use declared::{Declared, Missing, RecordedParticipant, RecordedSource};
pub use difference::{Change, Difference};
pub use error::MachineError;
pub use job::{Job, unique_names};
pub use provenance::{Provenance, ProvenanceByPath};
pub use region::{Region, RegionUser, ReservedMemory};
pub use resolved_request::ResolvedRequest;
pub use unverified_value::UnverifiedValue;

/// What a file of this kind calls itself.
const FORMAT: &str = "covalent-machine";

keeps_extra_fields! {
    whole
    /// Everybody of one machine, as they declared themselves.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Machine {
        /// The kind of the file.
        format: String,
        /// The version of the file.
        version: u32,
        /// What machine it is.
        pub name: String,
        /// Who wrote it down, and from what.
        pub origin: String,
        /// The second since 1970 in which it was asked; 0 where it was written down from what others published.
        #[serde(default)]
        pub recorded_at: u64,
        /// What facts depend on.
        #[serde(default)]
        pub environment: Environment,
        /// What its drivers had refused by then.
        #[serde(
            default,
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "understood"
        )]
        pub facts: Vec<TrialResult>,
        /// Memory that its devicetree sets aside.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub devicetree: Option<ReservedMemory>,
        /// What was declared, by size.
        #[serde(deserialize_with = "sizes")]
        pub declared: Vec<Declared>,
        /// Fields of a newer version; demands on every request.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// The first lines of a file: enough to tell whether the rest can be understood.
#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "budget::value")]
    format: Value,
    #[serde(default, deserialize_with = "budget::value")]
    version: Value,
}

/// The same as [`Machine::from_json`] for whatever holds the fields, without the bound on the file's length.
impl<'de> Deserialize<'de> for Machine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let machine = with_path(deserializer, |inner| Self::read_fields(inner))?;
        machine.check().map_err(D::Error::custom)?;
        Ok(machine)
    }
}

impl Machine {
    /// The version that this crate writes, and the greatest that it reads.
    pub const VERSION: u32 = 1;
    /// The longest file that is read.
    pub const MAXIMUM_BYTES: usize = 16 << 20;
    /// The most sizes in a file, and the most participants and sources of a size.
    pub const MAXIMUM_ENTRIES: usize = 256;
    /// The most pairs of format and modifier of one participant or source.
    pub const MAXIMUM_PAIRS: usize = FormatSet::MAXIMUM_PAIRS;
    /// The most alternatives of one participant: the solver tries every combination of them.
    pub const MAXIMUM_ALTERNATIVES: usize = 8;

    /// Begins a machine on which nobody is yet.
    pub fn new(name: impl Into<String>, origin: impl Into<String>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: Self::VERSION,
            name: name.into(),
            origin: origin.into(),
            recorded_at: 0,
            environment: Environment::default(),
            facts: Vec::new(),
            devicetree: None,
            declared: Vec::new(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Reads a file, whoever wrote it.
    ///
    /// # Errors
    /// [`MachineError`]: too long, another kind of file, of a newer version, damaged, or with more entries than a machine has.
    pub fn from_json(bytes: &[u8]) -> Result<Self, MachineError> {
        if bytes.len() > Self::MAXIMUM_BYTES {
            return Err(MachineError::TooLong { bytes: bytes.len() });
        }
        let header: Header = serde_json::from_slice(bytes).map_err(MachineError::Damaged)?;
        Self::check_kind(header.format.as_str(), header.version.as_u64())?;
        let mut text = serde_json::Deserializer::from_slice(bytes);
        let machine = with_path(&mut text, |inner| Self::read_fields(inner))
            .and_then(|machine| text.end().map(|()| machine))
            .map_err(MachineError::Damaged)?;
        machine.check()?;
        Ok(machine)
    }

    fn check_kind(format: Option<&str>, version: Option<u64>) -> Result<(), MachineError> {
        match (format, version) {
            (Some(FORMAT), Some(version)) if version > u64::from(Self::VERSION) => {
                Err(MachineError::Newer { version })
            }
            (Some(FORMAT), Some(version)) if version > 0 => Ok(()),
            _ => Err(MachineError::OtherKind),
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`MachineError::Unwritable`], where a field of a newer version stands in the place of one of this.
    pub fn to_json(&self) -> Result<String, MachineError> {
        serde_json::to_string_pretty(self).map_err(MachineError::Unwritable)
    }

    /// The facts that hold on this machine: those that ship with the crate, and its own.
    #[must_use]
    pub fn fact_book(&self) -> TrialResults {
        let mut book = TrialResults::well_known(self.environment.clone(), self.recorded_at);
        self.facts.iter().cloned().for_each(|fact| book.add(fact));
        book
    }

    fn check(&self) -> Result<(), MachineError> {
        Self::check_kind(Some(&self.format), Some(self.version.into()))?;
        let most = Self::MAXIMUM_ENTRIES;
        let regions = self.devicetree.as_ref();
        let counts = [
            ("declared", "sizes", self.declared.len(), most),
            (
                "devicetree.regions",
                "reserved regions",
                regions.map_or(0, |tree| tree.regions.len()),
                most,
            ),
            (
                "devicetree.users",
                "users of reserved regions",
                regions.map_or(0, |tree| tree.users.len()),
                most,
            ),
            ("facts", "facts", self.facts.len(), Self::MAXIMUM_PAIRS),
        ];
        for (place, what, count, most) in counts {
            if count > most {
                return Err(MachineError::TooMany {
                    place: place.to_owned(),
                    what,
                    count,
                    most,
                });
            }
        }
        let mut sizes = BTreeSet::new();
        let every: Vec<&Declared> = self
            .declared
            .iter()
            .filter(|own| own.size.is_none())
            .collect();
        for (number, declared) in self.declared.iter().enumerate() {
            if !sizes.insert(declared.size) {
                return Err(MachineError::Twice {
                    place: format!("declared[{number}].size"),
                    what: "size",
                    name: declared.size_words(),
                });
            }
            declared.check(&format!("declared[{number}]"), &every)?;
        }
        Ok(())
    }
}

/// Reads what is declared, by size.
fn sizes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Declared>, D::Error> {
    budget::list(deserializer, Machine::MAXIMUM_ENTRIES, "sizes")
}

/// Reads a list whose items have no place for what a newer version says more of them, and refuses an item with more.
///
/// To drop it would be to promise what was not understood: a fact may hold elsewhere, a range may mean something else.
fn understood<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    struct Item<T>(T);
    impl<'de, T: DeserializeOwned> Deserialize<'de> for Item<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            budget::charge_one::<T, D::Error>()?;
            let mut extra_fields = ExtraFields::default();
            let item = T::deserialize(Reader::new(deserializer, &mut extra_fields))?;
            match extra_fields.first_name() {
                None => Ok(Self(item)),
                Some(name) => Err(D::Error::custom(format!(
                    "there is a field `{name}`, which this version does not know"
                ))),
            }
        }
    }
    let items = budget::list::<D, Item<T>>(deserializer, Machine::MAXIMUM_PAIRS, "items")?;
    Ok(items.into_iter().map(|Item(item)| item).collect())
}
