//! Sources of memory and their guarantees.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::memory::AddressWindow;
use super::participant::{Constraints, Participant};
use super::pool::PoolId;
use super::source_kind::SourceKind;
use crate::model::DeviceIdentity;
use crate::reading::{ExtraFields, keeps_extra_fields};
use crate::text::printable;

/// Identifies one source on one machine, such as `heap:system`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(String);

impl SourceId {
    /// Makes an identifier of a text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// Returns the identifier's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names a group of devices that reach each other's memory, such as `iommu:14` or `p2p:0000:00:01.0`.
///
/// A participant states the groups of its device, and a source the groups that its memory serves. The names mean nothing to the
/// solver; they only have to be the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceGroup(String);

impl DeviceGroup {
    /// Makes a group's name of a text.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

keeps_extra_fields! {
    whole
    /// A source of memory: a dma-heap, udmabuf, a DRM card's dumb buffers, GBM, Vulkan or a V4L2 queue.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Source {
        /// The identifier, which plans refer to.
        pub id: SourceId,
        /// The name that messages use.
        pub name: String,
        /// The device that owns the memory; `None` for memory that belongs to no device, such as a dma-heap's.
        pub device: Option<DeviceIdentity>,
        /// The formats and layouts that it can allocate; only linear ones if `formats` is `None`. Memory constraints in here have no
        /// meaning.
        #[serde(default)]
        pub constraints: Constraints,
        /// What the source guarantees of every allocation.
        #[serde(default)]
        pub guarantees: Guarantees,
        /// Fields that a newer version wrote, including those of `device`. Each is a demand that nothing meets, unless it is
        /// optional; the same holds for unknown fields of the constraints.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut source = Self::read_fields(deserializer)?;
        let is_queue = SourceKind::of(&source.id) == SourceKind::Queue;
        source.constraints.upgrade(is_queue);
        Ok(source)
    }
}

impl Source {
    /// Makes a source that can allocate any linear layout and guarantees nothing. The name is made printable.
    pub fn new(id: SourceId, name: impl Into<String>) -> Self {
        Self {
            id,
            name: printable(&name.into()),
            device: None,
            constraints: Constraints::default(),
            guarantees: Guarantees::default(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Returns whether a participant's device can use the memory, as far as the source tells: it is the source's own, or is within
    /// its scope.
    #[must_use]
    pub fn serves(&self, participant: &Participant) -> bool {
        let device = &participant.device;
        let is_named = match &self.guarantees.scope {
            MemoryScope::Everybody => true,
            MemoryScope::Device => false,
            MemoryScope::Devices(devices) => devices.iter().any(|one| one.same_device(device)),
            MemoryScope::Groups(groups) => !groups.is_disjoint(&participant.groups),
        };
        is_named || self.is_of(device)
    }

    /// Returns whether the memory belongs to `device`.
    #[must_use]
    pub fn is_of(&self, device: &DeviceIdentity) -> bool {
        self.device
            .as_ref()
            .is_some_and(|own| own.same_device(device))
    }
}

keeps_extra_fields! {
    /// The guarantees of a source's memory. [`Default`] guarantees nothing.
    ///
    /// A guarantee holds for every allocation. What one allocation happened to be is no guarantee.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(default)]
    pub struct Guarantees {
        /// Allocations up to this many bytes are physically contiguous; 0 if none is.
        pub contiguous_up_to_bytes: u64,
        /// The range of physical addresses in which all of the memory lies.
        pub address: AddressWindow,
        /// Whether the CPU maps the memory cached; `None` if unknown.
        pub cached: Option<bool>,
        /// Whether CPU and devices see each other's writes without cache maintenance; `None` if unknown.
        pub coherent: Option<bool>,
        /// Whether the source's device works on a shadow copy of this memory. Such a device sees what others write, and others see
        /// what it draws, only after a transfer that its driver is asked for (a virtio-gpu that renders on the host); `None` if
        /// that is unknown.
        #[serde(rename = "device_copy")]
        pub has_shadow_copy: Option<bool>,
        /// Whether the CPU cannot map the memory.
        pub unmappable: bool,
        /// Whether the memory is protected from the CPU and from untrusted devices.
        pub protected: bool,
        /// Whether nothing is known of the memory, as for a heap whose name says nothing: it may be protected, or out of reach of
        /// devices. A plan with it has a caveat.
        #[serde(rename = "unknown", skip_serializing_if = "is_false")]
        pub is_unknown: bool,
        /// Which devices the memory serves.
        #[serde(skip_serializing_if = "MemoryScope::is_everybody")]
        pub scope: MemoryScope,
        /// How scarce the memory is.
        pub cost: MemoryCost,
        /// The largest allocation in bytes; `None` if unknown.
        pub maximum_bytes: Option<u64>,
        /// The sum of the bytes that are free at this time; `None` if unknown. For a source with pools, the pools state the free
        /// memory.
        pub available_bytes: Option<u64>,
        /// The pools from which every allocation is taken. All sources of a pool share its capacity.
        #[serde(skip_serializing_if = "BTreeSet::is_empty")]
        pub pools: BTreeSet<PoolId>,
        /// Fields of a newer version. This version cannot rely on them, so it only keeps them.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// Which devices a source's memory serves. Another device may be able to import a dma-buf of memory on a card, and then fail when
/// it uses the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemoryScope {
    /// Every device, as system memory does.
    #[default]
    Everybody,
    /// Only the source's own device, as for memory on a card that no other device reaches. A participant that maps the memory can
    /// use it too, as the CPU can.
    Device,
    /// The source's own device and these.
    Devices(BTreeSet<DeviceIdentity>),
    /// The source's own device and those of these groups: devices behind the same IOMMU, on the same bus, or peers that reach the
    /// memory of a card by PCI peer-to-peer transfers.
    Groups(BTreeSet<DeviceGroup>),
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl MemoryScope {
    fn is_everybody(&self) -> bool {
        *self == Self::Everybody
    }

    /// Returns how many devices or groups it lists.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Everybody | Self::Device => 0,
            Self::Devices(devices) => devices.len(),
            Self::Groups(groups) => groups.len(),
        }
    }

    /// Describes the scope, as a noun that follows `allocates memory only for`; it names at most `most` devices or groups.
    pub(crate) fn describe(&self, most: usize) -> String {
        let listed: Vec<String> = match self {
            Self::Everybody => return "every device".to_owned(),
            Self::Device => return "its own device".to_owned(),
            Self::Devices(devices) => devices.iter().take(most).map(ToString::to_string).collect(),
            Self::Groups(groups) => groups.iter().take(most).map(ToString::to_string).collect(),
        };
        let what = match self {
            Self::Groups(groups) if groups.len() == 1 => "devices of the group ",
            Self::Groups(_) => "devices of the groups ",
            _ => "",
        };
        let more = match self.len().saturating_sub(listed.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("its own device and {what}{}{more}", listed.join(", "))
    }
}

/// The cost of a source's memory, which is higher for scarcer memory. The cheapest kind is first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum MemoryCost {
    /// Ordinary system pages.
    #[default]
    System,
    /// Memory of a reserved region, such as a CMA area, which others need too.
    Reserved,
    /// A V4L2 queue's own buffers. They are freed with the queue's buffers, and no other program can use the queue until then.
    Queue,
}
