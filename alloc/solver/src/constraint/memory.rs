//! What is asked of the memory: where it lies, in how many pieces, whose it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::source::{Source, SourceId};
use crate::model::DeviceIdentity;
use crate::reading::{Unknown, keeps_unknown};

keeps_unknown! {
    /// Demands on memory. [`Default`] demands nothing.
    ///
    /// A device's own source meets that device's demands by definition.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(default)]
    pub struct MemoryTerms {
        /// In how many pieces the memory may come.
        pub contiguity: Contiguity,
        /// Where the device reaches.
        pub address: AddressWindow,
        /// Whose memory is taken.
        pub imports: Imports,
        /// Whether the device's own memory can be had by others.
        pub exports: Exports,
        /// The only sources whose memory is taken, whoever's they are; all where there is none.
        pub permitted: Option<BTreeSet<SourceId>>,
        /// Sources whose memory is better than others': a wish, not a demand.
        pub preferred: BTreeSet<SourceId>,
        /// How much the processor reads or writes.
        pub cpu: CpuUse,
        /// How the processor's reads and writes reach the device.
        pub coherency: Coherency,
        /// Whether it may or must be memory that the processor and other devices are kept from.
        pub protection: Protection,
        /// Fields of a newer version, those of the address window and of the imports too.
        #[serde(skip)]
        pub unknown: Unknown,
    }
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
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Imports {
    /// Anyone's.
    #[default]
    Any,
    /// That of these alone.
    OnlyFrom {
        /// Devices whose sources are taken. One of which a newer version says more is refused: a set has no place to keep it in.
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

/// Whether a device's own memory can be had by others. [`Default`] is where sources declare it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Exports {
    /// Where a source declares it.
    #[default]
    Declared,
    /// It cannot, whatever source there is.
    Nothing {
        /// Why, in words that end a sentence after "because".
        reason: String,
    },
}

/// How the processor's reads and writes reach the device, the least demanding first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Coherency {
    /// Each access is begun and ended (`DMA_BUF_IOCTL_SYNC`), which cleans the caches where that is needed, and a device that
    /// keeps a copy of its own is asked to transfer it.
    #[default]
    Synced,
    /// Each access is begun and ended, but nobody asks for transfers: a device that keeps a copy of its own never sees what
    /// others write, nor they what it draws.
    Untransferred,
    /// Accesses are not told to the kernel, so caches must never stand between processor and device.
    Coherent,
}

/// Whether memory is or must be protected: kept from the processor and from devices that are not trusted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// Nothing tells whether protected memory is taken.
    #[default]
    Unsaid,
    /// Protected memory is taken like any other.
    Taken,
    /// It is not taken.
    Refused,
    /// No other is taken.
    Needed,
    /// Asked for both by two who never agree.
    Neither,
}

impl Protection {
    /// Returns what serves both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsaid, one) | (one, Self::Unsaid) => one,
            (Self::Taken, one) | (one, Self::Taken) => one,
            (one, two) if one == two => one,
            _ => Self::Neither,
        }
    }
}
