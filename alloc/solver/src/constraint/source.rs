//! Where memory comes from, and what can be relied on of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::memory::AddressWindow;
use super::participant::Constraints;
use crate::model::DeviceIdentity;
use crate::reading::{ExtraFields, keeps_extra_fields};
use crate::text::printable;

/// Names one source on one machine, like `heap:system`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(String);

impl SourceId {
    /// Makes a name of a text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

keeps_extra_fields! {
    /// Where memory comes from.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Source {
        /// What plans call it.
        pub id: SourceId,
        /// What to call it in words.
        pub name: String,
        /// The device whose memory it is; none for memory that belongs to no device.
        pub device: Option<DeviceIdentity>,
        /// The formats and layouts that it can give: linear ones where no formats are named. Its memory constraints have no meaning.
        #[serde(default)]
        pub constraints: Constraints,
        /// What can be relied on.
        #[serde(default)]
        pub guarantees: Guarantees,
        /// Fields of a newer version, those of the device too; demands like those of the constraints.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl Source {
    /// Names a source that can give any layout and guarantees nothing yet. The name is made printable.
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

    /// Returns whether the memory belongs to this device.
    #[must_use]
    pub fn is_of(&self, device: &DeviceIdentity) -> bool {
        self.device
            .as_ref()
            .is_some_and(|own| own.same_device(device))
    }
}

keeps_extra_fields! {
    /// What can be relied on of a source's memory. [`Default`] is nothing.
    ///
    /// A guarantee is what the source promises for every allocation, never what one allocation happened to be.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(default)]
    pub struct Guarantees {
        /// Buffers up to this size come in one piece; 0 where none does.
        pub contiguous_up_to_bytes: u64,
        /// All of the memory lies here.
        pub address: AddressWindow,
        /// Whether the processor reads it through its cache; none where nothing tells.
        pub cached: Option<bool>,
        /// Whether processor and devices see what the other wrote without being told; none where nothing tells.
        pub coherent: Option<bool>,
        /// Whether the source's device works on a shadow copy of this memory. Such a device sees what others write, and others see
        /// what it draws, only after a transfer that its driver is asked for (a virtio-gpu that renders on the host); `None` if
        /// that is unknown.
        #[serde(rename = "device_copy")]
        pub has_shadow_copy: Option<bool>,
        /// Whether the processor cannot map it.
        pub unmappable: bool,
        /// Whether it is kept from the processor and from devices that are not trusted.
        pub protected: bool,
        /// What taking this memory costs others.
        pub cost: MemoryCost,
        /// The largest buffer that can be had; none where nothing tells.
        pub maximum_bytes: Option<u64>,
        /// What can be had of it in all at this time; none where nothing tells.
        pub available_bytes: Option<u64>,
        /// Fields of a newer version: promises that nobody here can rely on, kept and no more.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// What taking memory from a source costs others, cheapest first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum MemoryCost {
    /// Pages of which there are plenty.
    #[default]
    System,
    /// A share of a region that was set aside and that others need.
    Reserved,
    /// Memory that lives no longer than a queue's buffers and stops others from using it.
    Queue,
}
