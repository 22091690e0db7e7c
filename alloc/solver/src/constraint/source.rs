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

/// The identifier of a source on one machine, such as `heap:system`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(String);

impl SourceId {
    /// Makes an identifier from a text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// Returns the identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a group of devices that can access each other's memory, such as `iommu:14` or `p2p:0000:00:01.0`.
///
/// A participant states the groups of its device. A source states the groups that can use its memory. The solver only compares
/// the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceGroup(String);

impl DeviceGroup {
    /// Makes the name of a group from a text.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the name as text.
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
        /// The identifier of the source. Plans refer to it.
        pub id: SourceId,
        /// The name of the source in messages.
        pub name: String,
        /// The device that owns the memory; `None` for memory that belongs to no device, such as the memory of a dma-heap.
        pub device: Option<DeviceIdentity>,
        /// The formats and layouts that the source can allocate. If `formats` is `None`, it can allocate only linear layouts.
        /// Memory constraints in this field have no meaning.
        #[serde(default)]
        pub constraints: Constraints,
        /// The properties of memory that the source guarantees for every allocation.
        #[serde(default)]
        pub guarantees: Guarantees,
        /// JSON fields that a newer version wrote, including those of `device`. Each is a demand that nothing meets, unless the
        /// field is optional. The same applies to unknown fields of the constraints.
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
    /// Makes a source that can allocate any linear layout and guarantees nothing. Characters of the name that are not printable
    /// are replaced.
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

    /// Returns whether a participant's device can use the source's memory. That is so if the device owns the source, or is in the
    /// source's scope.
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

    /// Returns whether `device` owns the source.
    #[must_use]
    pub fn is_of(&self, device: &DeviceIdentity) -> bool {
        self.device
            .as_ref()
            .is_some_and(|own| own.same_device(device))
    }
}

keeps_extra_fields! {
    /// The guarantees of a source for its memory. The [`Default`] guarantees nothing.
    ///
    /// A guarantee holds for every allocation. A property that one allocation has by chance is no guarantee.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(default)]
    pub struct Guarantees {
        /// Allocations up to this many bytes are physically contiguous. 0 means that contiguity is not guaranteed.
        pub contiguous_up_to_bytes: u64,
        /// The range of physical addresses that contains all memory of the source.
        pub address: AddressWindow,
        /// Whether the CPU's mapping of the memory is cached; `None` if unknown.
        pub cached: Option<bool>,
        /// Whether the CPU and devices see each other's writes without cache maintenance; `None` if unknown.
        pub coherent: Option<bool>,
        /// Whether the source's device works on a shadow copy of the memory; `None` if unknown. An example is a virtio-gpu that
        /// renders on the host. Writes of other devices and of the CPU become visible to such a device, and its writes to them,
        /// only after its driver was asked for a transfer.
        #[serde(rename = "device_copy")]
        pub has_shadow_copy: Option<bool>,
        /// Whether the CPU cannot map the memory.
        pub unmappable: bool,
        /// Whether the memory is protected from the CPU and from untrusted devices.
        pub protected: bool,
        /// Whether the properties of the memory are not known, as for a heap whose name is not known. The memory may be
        /// protected, or devices may not reach it. A plan with this memory has a caveat.
        #[serde(rename = "unknown", skip_serializing_if = "is_false")]
        pub is_unknown: bool,
        /// The devices that can use the memory.
        #[serde(skip_serializing_if = "MemoryScope::is_everybody")]
        pub scope: MemoryScope,
        /// The cost of the memory, which is higher for scarcer memory.
        pub cost: MemoryCost,
        /// The size of the largest possible allocation in bytes; `None` if unknown.
        pub maximum_bytes: Option<u64>,
        /// The number of bytes that are free; `None` if unknown. For a source with pools, the pools state the free memory
        /// instead.
        pub available_bytes: Option<u64>,
        /// The pools from which the source allocates. All sources of a pool share its capacity.
        #[serde(skip_serializing_if = "BTreeSet::is_empty")]
        pub pools: BTreeSet<PoolId>,
        /// JSON fields that a newer version wrote. This version does not know their meaning, so it only keeps them.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// The devices that can use a source's memory. A device that is not in the scope may be able to import a dma-buf of a card's
/// memory, and then fail when it uses the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MemoryScope {
    /// Every device can use the memory, as for system memory.
    #[default]
    Everybody,
    /// Only the source's own device can use the memory, as for memory on a card that no other device reaches. A participant that
    /// maps the memory with the CPU can also use it.
    Device,
    /// The source's own device and these devices can use the memory.
    Devices(BTreeSet<DeviceIdentity>),
    /// The source's own device and the devices of these groups can use the memory. A group consists of devices behind the same
    /// IOMMU, on the same bus, or with PCI peer-to-peer access to the memory of a card.
    Groups(BTreeSet<DeviceGroup>),
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls this function with a reference"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

impl MemoryScope {
    fn is_everybody(&self) -> bool {
        *self == Self::Everybody
    }

    /// Returns the number of devices or groups in the scope.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Everybody | Self::Device => 0,
            Self::Devices(devices) => devices.len(),
            Self::Groups(groups) => groups.len(),
        }
    }

    /// Describes the scope, as a noun that follows `allocates memory only for`. At most `most` devices or groups are named.
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
    /// Ordinary pages of the system's memory.
    #[default]
    System,
    /// Memory of a reserved region, such as a CMA area, which other devices need too.
    Reserved,
    /// A V4L2 queue's own buffers. While they are allocated, no other program can use the queue.
    Queue,
}
