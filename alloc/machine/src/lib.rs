//! Recorded machines: the participants and sources of a machine as a file, for which a request can be solved anywhere.
//!
//! `covalent probe --record` writes such a file; `covalent plan --machine` and `covalent diff` read it. A file can also be
//! written by hand from published facts, for a board that nobody has recorded. In both cases each value has a [`Provenance`].
//!
//! # The file
//!
//! One JSON object, written and read by [`Machine`]:
//!
//! | field | content |
//! | --- | --- |
//! | `format` | `covalent-machine` |
//! | `version` | [`Machine::VERSION`]; a file of a greater version is refused |
//! | `name`, `origin` | the machine, and who wrote the file from which information |
//! | `recorded_at` | the time of the recording in seconds since 1970; 0 for a file that was written by hand |
//! | `environment` | [`Environment`]: kernel, Mesa, memory, and everything else that trial results depend on |
//! | `facts` | the trial results that were learnt on the machine ([`TrialResult`]) |
//! | `devicetree` | reserved memory and the devices that use it ([`ReservedMemory`]); absent for a machine without a devicetree |
//! | `pools` | the pools of which sources take memory, with their sizes ([`RecordedPool`]); absent if none is known
//! | `declared` | the declarations, by size ([`Declared`]) |
//!
//! Each participant and source has `grounds` beside it: an object that maps the path of a value, such as
//! `constraints.image.stride`, to a [`Provenance`]. A path covers every value below it that has no entry of its own. The empty
//! path covers all values.
//!
//! The `interface` of a participant is `kernel`, `gbm` or `vulkan`. Its `plane` is an object with the `kind` (`primary`,
//! `overlay` or `cursor`) and the KMS `id`. In a file that is older than these two fields, the participant's name states both.
//!
//! Fields that this version does not know are kept and written again. Because the meaning of such a field is not known, the
//! solver treats it as a constraint that nothing meets. An object with `"optional": true` constrains nothing ([`ExtraFields`]). A
//! file is refused, with the path and the reason, if it is longer than [`Machine::MAXIMUM_BYTES`], is damaged, or has the same
//! participant, source or key twice.
//!
//! A file is read in one pass. A file that takes more memory than 16 times its length plus 64 MiB is refused.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod declared;
pub mod devicetree;
mod difference;
pub mod dump;
mod error;
mod interface;
mod job;
pub mod kernel;
mod kernel_interface;
mod kernel_version;
mod kms_plane;
pub mod memory_manager;
mod partial_plane;
mod plane_choice;
mod provenance;
mod region;
mod resolved_request;
pub mod trial_results;
mod unverified_value;
pub mod v4l2;

use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use covalent_solver::constraint::{FormatSet, PoolId, ValueError};
use covalent_solver::reading::{ExtraFields, Reader, budget, keeps_extra_fields, value, with_path};
use covalent_solver::text::printable;
use trial_results::{Environment, TrialResult, TrialResults};

pub use declared::{Declared, MissingDevice, RecordedParticipant, RecordedPool, RecordedSource};
pub use difference::{Change, Difference};
pub use error::MachineError;
pub use job::{Job, unique_names};
pub use kernel_interface::{InterfacePurpose, KernelInterface, missing_interfaces};
pub use kernel_version::KernelVersion;
pub use kms_plane::PlaneSizes;
pub use partial_plane::{PartialPlane, partial_planes};
pub use plane_choice::{ChosenPlanes, TooManyDisplays, choose_planes};
pub use provenance::{Provenance, ProvenanceByPath};
pub use region::{Region, RegionUser, ReservedMemory};
pub use resolved_request::ResolvedRequest;
pub use unverified_value::UnverifiedValue;

/// The value of the field `format` that identifies a recorded machine.
const FORMAT: &str = "covalent-machine";

keeps_extra_fields! {
    whole
    /// A recorded machine: the declarations of its participants and sources.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Machine {
        /// The value of the file's field `format`, which is always `covalent-machine`.
        format: String,
        /// The version of the file format.
        version: u32,
        /// The name of the machine.
        pub name: String,
        /// The author of the file, and the information from which the file was written.
        pub origin: String,
        /// The time of the recording in seconds since 1970; 0 for a file that was written from published facts.
        #[serde(default)]
        pub recorded_at: u64,
        /// The properties of the machine that trial results depend on.
        #[serde(default)]
        pub environment: Environment,
        /// The trial results that were learnt on the machine.
        #[serde(
            default,
            rename = "facts",
            skip_serializing_if = "Vec::is_empty",
            deserialize_with = "strict_list"
        )]
        pub trial_results: Vec<TrialResult>,
        /// The reserved memory of its devicetree; `None` for a machine without a devicetree.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub devicetree: Option<ReservedMemory>,
        /// The pools from which the sources allocate.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "pools")]
        pub pools: Vec<RecordedPool>,
        /// The declarations, one entry for each size.
        #[serde(deserialize_with = "sizes")]
        pub declared: Vec<Declared>,
        /// JSON fields that a newer version of Covalent wrote. Each is a constraint that nothing meets, in every request.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// The two fields that decide whether this version can read a file.
#[derive(Deserialize)]
struct Header {
    #[serde(default, deserialize_with = "budget::value")]
    format: Value,
    #[serde(default, deserialize_with = "budget::value")]
    version: Value,
}

/// Reads and checks a machine like [`Machine::from_json`], but from any serde format and without the limit on the length.
impl<'de> Deserialize<'de> for Machine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let machine = with_path(deserializer, |inner| Self::read_fields(inner))?;
        machine.check().map_err(D::Error::custom)?;
        Ok(machine)
    }
}

impl Machine {
    /// The version that this crate writes, and the highest version that it reads.
    pub const VERSION: u32 = 1;
    /// The longest file that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 16 << 20;
    /// The maximum number of sizes in a file, and the maximum number of participants and the maximum number of sources at one
    /// size.
    pub const MAXIMUM_ENTRIES: usize = 256;
    /// The maximum number of pairs of format and modifier of one participant or source.
    pub const MAXIMUM_PAIRS: usize = FormatSet::MAXIMUM_PAIRS;
    /// The maximum number of alternatives of one participant. There is a limit because the solver tries every combination of
    /// alternatives.
    pub const MAXIMUM_ALTERNATIVES: usize = 8;

    /// Makes a machine without declarations.
    pub fn new(name: impl Into<String>, origin: impl Into<String>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: Self::VERSION,
            name: name.into(),
            origin: origin.into(),
            recorded_at: 0,
            environment: Environment::default(),
            trial_results: Vec::new(),
            devicetree: None,
            pools: Vec::new(),
            declared: Vec::new(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Reads a machine from the content of a file. The file is not trusted.
    ///
    /// # Errors
    /// [`MachineError`] if the file is too long, of another kind, of a newer version or damaged, or has more entries or greater
    /// values than a machine may have.
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

    /// Returns the machine as the text of a file.
    ///
    /// # Errors
    /// [`MachineError::Unwritable`] if an extra field has the name of a field that this version knows.
    pub fn to_json(&self) -> Result<String, MachineError> {
        serde_json::to_string_pretty(self).map_err(MachineError::Unwritable)
    }

    /// Returns the trial results of this machine and the quirks that ship with the crate. Whether a result has expired is decided
    /// at the time of the recording.
    #[must_use]
    pub fn trial_results_and_quirks(&self) -> TrialResults {
        let mut results = TrialResults::with_quirks(self.environment.clone(), self.recorded_at);
        self.trial_results
            .iter()
            .cloned()
            .for_each(|result| results.add(result));
        results
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
            (
                "facts",
                "trial results",
                self.trial_results.len(),
                Self::MAXIMUM_PAIRS,
            ),
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
        let mut pools: BTreeSet<&PoolId> = BTreeSet::new();
        for (number, recorded) in self.pools.iter().enumerate() {
            let at = format!("pools[{number}].pool");
            value::pool(&at, &recorded.pool).map_err(MachineError::Value)?;
            if !pools.insert(&recorded.pool.id) {
                return Err(MachineError::Duplicate {
                    place: format!("{at}.id"),
                    what: "pool",
                    name: recorded.pool.id.to_string(),
                });
            }
        }
        let mut sizes = BTreeSet::new();
        let every_size: Vec<&Declared> = self
            .declared
            .iter()
            .filter(|own| own.size.is_none())
            .collect();
        for (number, declared) in self.declared.iter().enumerate() {
            if !sizes.insert(declared.size) {
                return Err(MachineError::Duplicate {
                    place: format!("declared[{number}].size"),
                    what: "size",
                    name: declared.size_label(),
                });
            }
            declared.check(&format!("declared[{number}]"), &every_size)?;
            for (place, recorded) in declared.sources.iter().enumerate() {
                let own = &recorded.source.guarantees.pools;
                let unlisted = own
                    .iter()
                    .find(|id| !pools.is_empty() && !pools.contains(id));
                if let Some(id) = unlisted {
                    return Err(MachineError::Value(ValueError::new(
                        format!("declared[{number}].sources[{place}].source.guarantees.pools"),
                        format!(
                            "the machine has no pool with the identifier {}",
                            printable(id.as_str())
                        ),
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Reads the pools.
fn pools<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RecordedPool>, D::Error> {
    budget::list(deserializer, Machine::MAXIMUM_ENTRIES, "pools")
}

/// Reads the declarations, by size.
fn sizes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Declared>, D::Error> {
    budget::list(deserializer, Machine::MAXIMUM_ENTRIES, "sizes")
}

/// Reads a list of items that cannot keep unknown fields, and refuses an item with an unknown field.
///
/// An unknown field may change the meaning of an item. For example, it may be a further condition of a trial result, and to
/// ignore the condition would be wrong.
fn strict_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
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
                    "unknown field `{name}`: this version does not know its meaning"
                ))),
            }
        }
    }
    let items = budget::list::<D, Item<T>>(deserializer, Machine::MAXIMUM_PAIRS, "items")?;
    Ok(items.into_iter().map(|Item(item)| item).collect())
}
