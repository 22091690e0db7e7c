//! What is asked of the memory: where it lies, in how many pieces, whose it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::source::{Source, SourceId};
use super::unknown::Unknown;
use crate::model::DeviceIdentity;

/// Demands on memory. [`Default`] demands nothing.
///
/// A device's own source meets that device's demands by definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryTerms {
    /// In how many pieces the memory may come.
    pub contiguity: Contiguity,
    /// Where the device reaches.
    pub address: AddressWindow,
    /// Whose memory is taken.
    pub imports: Imports,
    /// How much the processor reads or writes.
    pub cpu: CpuUse,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// In how many pieces, as the device sees it, the memory of one plane may come.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Contiguity {
    /// In any number.
    #[default]
    Scattered,
    /// Nothing tells whether it must be one.
    Unknown,
    /// In one.
    Contiguous,
}

/// The physical addresses, first and last included, in which memory lies or must lie. [`Default`] is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AddressWindow {
    /// The lowest address.
    pub lowest: u64,
    /// The highest address.
    pub highest: u64,
}

impl Default for AddressWindow {
    fn default() -> Self {
        Self {
            lowest: 0,
            highest: u64::MAX,
        }
    }
}

impl AddressWindow {
    /// Returns what a device reaches that drives this many address bits.
    pub fn of_bits(bits: u32) -> Self {
        let highest = 1_u64
            .checked_shl(bits)
            .map_or(u64::MAX, |end| end.wrapping_sub(1));
        Self { lowest: 0, highest }
    }

    /// Returns whether every address of `inner` is in this window.
    pub fn contains(&self, inner: &Self) -> bool {
        self.lowest <= inner.lowest && inner.highest <= self.highest
    }

    /// Returns whether any address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lowest.max(other.lowest) <= self.highest.min(other.highest)
    }
}

/// Whose memory a participant takes. [`Default`] is anyone's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Imports {
    /// Anyone's.
    #[default]
    Any,
    /// That of these alone.
    OnlyFrom {
        /// Devices whose sources are taken.
        devices: BTreeSet<DeviceIdentity>,
        /// Sources that are taken.
        sources: BTreeSet<SourceId>,
        /// Why, in words that end a sentence after "because".
        reason: String,
    },
    /// Nobody's: the participant works on its own memory and exports it.
    Nothing {
        /// Why, in words that end a sentence after "because".
        reason: String,
    },
}

impl Imports {
    /// Takes the memory of one device alone.
    pub fn only_from(device: DeviceIdentity, reason: &str) -> Self {
        Self::OnlyFrom {
            devices: BTreeSet::from([device]),
            sources: BTreeSet::new(),
            reason: reason.to_owned(),
        }
    }

    /// Returns whether memory of `source` is taken by a participant that sits on `device`.
    pub fn takes(&self, source: &Source, device: &DeviceIdentity) -> bool {
        if source.is_of(device) {
            return true;
        }
        match self {
            Self::Any => true,
            Self::OnlyFrom {
                devices, sources, ..
            } => {
                sources.contains(&source.id)
                    || source
                        .device
                        .as_ref()
                        .is_some_and(|own| devices.iter().any(|device| device.same_device(own)))
            }
            Self::Nothing { .. } => false,
        }
    }
}

/// How much the processor reads or writes the pixels.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CpuUse {
    /// Not at all.
    #[default]
    None,
    /// Now and then, as for a screenshot.
    Rarely,
    /// Every frame.
    Often,
}
