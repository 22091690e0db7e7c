//! Constraints on memory: contiguity, physical addresses, import policy, CPU access, coherency and protection.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::bound::Bound;
use super::demand::Field;
use super::field_kind::{
    Agree, AgreeValue, FieldKind, Intersect, Max, Min, Nested, NotMerged, PerParticipant, Union,
};
use super::field_table::{FieldTable, Phrase, Reason, field_table, group, merged_type};
use super::merge::MergeRule;
use super::owners::Owners;
use super::participant::Role;
use super::source::{Source, SourceId};
use crate::model::DeviceIdentity;
use crate::reading::{ExtraFields, keeps_extra_fields};

field_table! {
    kept;
    /// Constraints on memory. The [`Default`] demands nothing.
    ///
    /// A source on the participant's own device satisfies that device's constraints on contiguity, addresses and imports.
    MemoryConstraints,
    /// The merged memory constraints of several participants.
    MergedMemory;

    /// Whether memory has to be physically contiguous.
    contiguity: Contiguity = Contiguity::Scattered, Max, "", Contiguity, limits [],
        describe |own, _| match own.contiguity {
            Contiguity::Scattered => None,
            Contiguity::Unknown => Some(Phrase::standalone("may need physically contiguous memory")),
            Contiguity::Contiguous => Some(Phrase::standalone("needs physically contiguous memory")),
        };
    /// The physical addresses that the device reaches.
    address: AddressWindow = AddressWindow::default(), Nested as MergedAddress, "address", Address, limits [],
        describe |own, _| {
            let AddressWindow { lowest, highest } = own.address;
            (own.address != AddressWindow::default()).then(|| {
                Phrase::standalone(format!("can access only addresses from {lowest:#x} to {highest:#x}"))
            })
        };
    /// The devices and sources whose memory is imported.
    imports: Imports = Imports::Any, PerParticipant, "", Imports, limits [],
        describe |own, _| own.imports.describe().map(Phrase::standalone);
    /// Whether the memory of the participant's device can be exported.
    exports: Exports = Exports::Declared, PerParticipant, "", Exports, limits [],
        describe |own, _| match &own.exports {
            Exports::Declared => None,
            Exports::Nothing { reason } => Some(Phrase::standalone(format!(
                "cannot export its own memory, because {reason}"
            ))),
        };
    /// The only sources whose memory is permitted, whichever device owns them. `None` permits all sources.
    permitted: Option<BTreeSet<SourceId>> = None, Intersect, "sources", Permitted, limits [],
        describe |own, _| own.permitted.as_ref().map(|permitted| {
            let names: Vec<_> = permitted.iter().map(ToString::to_string).collect();
            Phrase::standalone(if names.is_empty() {
                "permits no source".to_owned()
            } else {
                format!("permits only the sources {}", names.join(", "))
            })
        });
    /// The preferred sources. This is a preference, not a demand.
    preferred: BTreeSet<SourceId> = BTreeSet::new(), Union, "sources", Preference, limits [];
    /// How often the CPU reads or writes pixels.
    cpu: CpuUse = CpuUse::None, Max, "", Cpu, limits [],
        describe |own, role| {
            let verb = if role.writes() { "writes" } else { "reads" };
            match own.cpu {
                CpuUse::None => None,
                CpuUse::Rarely => Some(Phrase::standalone(format!(
                    "{verb} some frames with the CPU"
                ))),
                CpuUse::Often => Some(Phrase::standalone(format!(
                    "{verb} every frame with the CPU"
                ))),
            }
        };
    /// The way in which accesses by the CPU become visible to the device.
    coherency: Coherency = Coherency::Synced, Max, "", Coherency, limits [],
        describe |own, _| match own.coherency {
            Coherency::Synced => None,
            Coherency::Untransferred => Some(Phrase::standalone(
                "needs memory without a shadow copy on a device",
            )),
            Coherency::Coherent => Some(Phrase::standalone(
                "needs memory that is coherent between CPU and devices",
            )),
        };
    /// Whether the participant accepts or requires protected memory.
    protection: Protection = Protection::Unspecified, Agree, "", Protection, limits [],
        describe |own, _| match own.protection {
            Protection::Unspecified | Protection::Accepted => None,
            Protection::Rejected => Some(Phrase::standalone("does not accept protected memory")),
            Protection::Required => Some(Phrase::standalone("needs protected memory")),
            Protection::Conflicting => Some(Phrase::standalone(
                "accepts neither protected nor unprotected memory",
            )),
        };
}

field_table! {
    plain + Copy + Hash;
    /// A range of physical addresses, including the first and the last one. The [`Default`] is all addresses.
    AddressWindow,
    /// The range of addresses that all participants reach.
    MergedAddress;

    /// The lowest address.
    lowest: u64 = 0, Max, "address", Address, limits [];
    /// The highest address.
    highest: u64 = u64::MAX, Min, "address", Address, limits [];
}

/// Whether the memory of one dma-buf has to be contiguous in the addresses that the device uses.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Contiguity {
    /// The device accepts scattered memory.
    #[default]
    Scattered,
    /// It is unknown whether the device needs contiguous memory.
    Unknown,
    /// The device needs contiguous memory.
    Contiguous,
}

impl AddressWindow {
    /// Returns the range that a device with this number of address bits reaches.
    pub fn of_bits(bits: u32) -> Self {
        let highest = 1_u64
            .checked_shl(bits)
            .map_or(u64::MAX, |end| end.wrapping_sub(1));
        Self { lowest: 0, highest }
    }

    /// Returns whether every address of `inner` is in this range.
    pub fn contains(&self, inner: &Self) -> bool {
        self.lowest <= inner.lowest && inner.highest <= self.highest
    }

    /// Returns whether the two ranges have an address in common.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.lowest.max(other.lowest) <= self.highest.min(other.highest)
    }
}

/// The devices and sources whose memory a participant imports. The [`Default`] is any memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Imports {
    /// The participant imports any memory.
    #[default]
    Any,
    /// The participant imports only memory of these devices and sources.
    OnlyFrom {
        /// The devices whose memory is imported. A device with extra fields is an error, because a set cannot keep these fields.
        devices: BTreeSet<DeviceIdentity>,
        /// The sources whose memory is imported.
        sources: BTreeSet<SourceId>,
        /// The reason for this limit, as a clause that follows "because".
        reason: String,
    },
    /// The participant imports memory of its own device. Whether it imports memory of other devices is unknown.
    Unknown {
        /// The reason why this is unknown, as a clause that follows "because".
        reason: String,
    },
    /// The participant imports no memory. It can only use the memory of its own device.
    Nothing {
        /// The reason for this limit, as a clause that follows "because".
        reason: String,
    },
}

impl Imports {
    /// Makes the policy of a participant that imports only memory of one device.
    pub fn only_from(device: DeviceIdentity, reason: &str) -> Self {
        Self::OnlyFrom {
            devices: BTreeSet::from([device]),
            sources: BTreeSet::new(),
            reason: reason.to_owned(),
        }
    }

    /// Describes the import policy; `None` if any memory is imported.
    fn describe(&self) -> Option<String> {
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
            Self::Unknown { reason } => Some(format!(
                "may refuse memory of other devices, because {reason}"
            )),
            Self::Nothing { reason } => Some(format!("imports no memory, because {reason}")),
        }
    }

    /// Returns whether a participant on `device` imports memory of `source`, or its device owns the source.
    pub fn takes(&self, source: &Source, device: &DeviceIdentity) -> bool {
        if source.is_of(device) {
            return true;
        }
        match self {
            Self::Any | Self::Unknown { .. } => true,
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

/// How often the CPU reads or writes the pixels.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CpuUse {
    /// The CPU never accesses the pixels.
    #[default]
    None,
    /// The CPU accesses some frames, for example for a screenshot.
    Rarely,
    /// The CPU accesses every frame.
    Often,
}

/// Whether the memory of a participant's own device can be exported. The [`Default`] relies on what the device's sources declare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Exports {
    /// The memory of every source on the device can be exported.
    #[default]
    Declared,
    /// The device's memory cannot be exported, although the device may have a source.
    Nothing {
        /// The reason why the memory cannot be exported, as a clause that follows "because".
        reason: String,
    },
}

/// The way in which accesses by the CPU become visible to the device. The least demanding way is first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Coherency {
    /// Each access by the CPU is bracketed by `DMA_BUF_IOCTL_SYNC`, which maintains the caches. If the device has a shadow copy,
    /// its driver is asked to transfer the pixels.
    #[default]
    Synced,
    /// Each access by the CPU is bracketed by `DMA_BUF_IOCTL_SYNC`, but no driver is asked for transfers. A device with a shadow
    /// copy then never sees the writes of other devices and of the CPU, and they never see the writes of this device.
    Untransferred,
    /// Accesses by the CPU are not bracketed, so the memory has to be coherent without cache maintenance.
    Coherent,
}

/// Whether a participant accepts or requires protected memory. The CPU and untrusted devices cannot access protected memory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protection {
    /// It is unknown whether the participant accepts protected memory.
    #[default]
    #[serde(rename = "unsaid")]
    Unspecified,
    /// The participant accepts protected memory like other memory.
    #[serde(rename = "taken")]
    Accepted,
    /// The participant rejects protected memory.
    #[serde(rename = "refused")]
    Rejected,
    /// The participant accepts only protected memory.
    #[serde(rename = "needed")]
    Required,
    /// One participant rejects protected memory and another requires it, so no memory serves both.
    #[serde(rename = "neither")]
    Conflicting,
}

impl Protection {
    /// Merges the demands of two participants.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unspecified, one) | (one, Self::Unspecified) => one,
            (Self::Accepted, one) | (one, Self::Accepted) => one,
            (one, two) if one == two => one,
            _ => Self::Conflicting,
        }
    }
}

impl AgreeValue for Protection {
    fn and(self, other: Self) -> Self {
        Self::and(self, other)
    }

    fn is_demand(self) -> bool {
        !matches!(self, Self::Unspecified | Self::Accepted)
    }
}
