//! What is asked of the memory: where it lies, in how many pieces, whose it is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::bound::Bound;
use super::demand::Field;
use super::field_table::{Clause, FieldTable, Reason, field_table, group, merged_type};
use super::kind::{Agree, Answer, Apart, Intersect, Kind, Max, Min, NotMerged, Union, Within};
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;
use super::source::{Source, SourceId};
use crate::model::DeviceIdentity;
use crate::reading::{ExtraFields, keeps_extra_fields};

field_table! {
    kept;
    /// Demands on memory. [`Default`] demands nothing.
    ///
    /// A device's own source meets that device's demands by definition.
    MemoryConstraints,
    /// What several ask of memory.
    MergedMemory;

    /// In how many pieces the memory may come.
    contiguity: Contiguity = Contiguity::Scattered, Max, "", Contiguity, blamed for [],
        says |own, _| match own.contiguity {
            Contiguity::Scattered => None,
            Contiguity::Unknown => Some(Clause::whole("may need memory in one piece")),
            Contiguity::Contiguous => Some(Clause::whole("needs memory in one piece")),
        };
    /// Where the device reaches.
    address: AddressWindow = AddressWindow::default(), Within as MergedAddress, "address", Address, blamed for [],
        says |own, _| {
            let AddressWindow { lowest, highest } = own.address;
            (own.address != AddressWindow::default()).then(|| {
                Clause::whole(format!("reaches only addresses from {lowest:#x} to {highest:#x}"))
            })
        };
    /// Whose memory is taken.
    imports: Imports = Imports::Any, Apart, "", Imports, blamed for [],
        says |own, _| own.imports.words().map(Clause::whole);
    /// Whether the device's own memory can be had by others.
    exports: Exports = Exports::Declared, Apart, "", Exports, blamed for [],
        says |own, _| match &own.exports {
            Exports::Declared => None,
            Exports::Nothing { reason } => Some(Clause::whole(format!(
                "lets nobody have its own memory, because {reason}"
            ))),
        };
    /// The only sources whose memory is taken, whoever's they are; all where there is none.
    permitted: Option<BTreeSet<SourceId>> = None, Intersect, "sources", Permitted, blamed for [],
        says |own, _| own.permitted.as_ref().map(|permitted| {
            let names: Vec<_> = permitted.iter().map(ToString::to_string).collect();
            Clause::whole(if names.is_empty() {
                "takes memory of no source at all".to_owned()
            } else {
                format!("takes only memory of {}", names.join(", "))
            })
        });
    /// Sources whose memory is better than others': a wish, not a demand.
    preferred: BTreeSet<SourceId> = BTreeSet::new(), Union, "sources", Preference, blamed for [];
    /// How much the processor reads or writes.
    cpu: CpuUse = CpuUse::None, Max, "", Cpu, blamed for [],
        says |own, role| {
            let verb = if role.writes() { "writes" } else { "reads" };
            match own.cpu {
                CpuUse::None => None,
                CpuUse::Rarely => Some(Clause::whole(format!(
                    "{verb} frames with the processor now and then"
                ))),
                CpuUse::Often => Some(Clause::whole(format!(
                    "{verb} every frame with the processor"
                ))),
            }
        };
    /// How the processor's reads and writes reach the device.
    coherency: Coherency = Coherency::Synced, Max, "", Coherency, blamed for [],
        says |own, _| match own.coherency {
            Coherency::Synced => None,
            Coherency::Untransferred => Some(Clause::whole(
                "needs memory of which no device keeps a copy",
            )),
            Coherency::Coherent => Some(Clause::whole(
                "needs memory that processor and devices see alike without a sync",
            )),
        };
    /// Whether it may or must be memory that the processor and other devices are kept from.
    protection: Protection = Protection::Unsaid, Agree, "", Protection, blamed for [],
        says |own, _| match own.protection {
            Protection::Unsaid | Protection::Taken => None,
            Protection::Refused => Some(Clause::whole("takes no protected memory")),
            Protection::Needed => Some(Clause::whole("needs protected memory")),
            Protection::Neither => Some(Clause::whole(
                "takes neither protected memory nor any other",
            )),
        };
}

field_table! {
    plain + Copy + Hash;
    /// The physical addresses, first and last included, in which memory lies or must lie. [`Default`] is all of them.
    AddressWindow,
    /// The addresses that all reach.
    MergedAddress;

    /// The lowest address.
    lowest: u64 = 0, Max, "address", Address, blamed for [];
    /// The highest address.
    highest: u64 = u64::MAX, Min, "address", Address, blamed for [];
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
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
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

    /// Says whose memory is taken; `None` where anyone's is.
    fn words(&self) -> Option<String> {
        match self {
            Self::Any => None,
            Self::OnlyFrom {
                devices,
                sources,
                reason,
            } => {
                let devices = devices.iter().map(ToString::to_string);
                let whose: Vec<_> = devices
                    .chain(sources.iter().map(ToString::to_string))
                    .collect();
                let whose = whose.join(", ");
                Some(format!("imports only memory of {whose}, because {reason}"))
            }
            Self::Nothing { reason } => Some(format!("imports no memory, because {reason}")),
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

impl Answer for Protection {
    fn and(self, other: Self) -> Self {
        Self::and(self, other)
    }

    fn is_demand(self) -> bool {
        !matches!(self, Self::Unsaid | Self::Taken)
    }
}
