//! Participants that share a buffer, and their constraints.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use super::copier::InternalCopy;
use super::formats::FormatSet;
use super::image::ImageConstraints;
use super::memory::MemoryConstraints;
use super::pool::OwnMemory;
use super::source::DeviceGroup;
use crate::model::{DeviceIdentity, Fourcc};
use crate::reading::budget::{list, map};
use crate::reading::{ExtraFields, keeps_extra_fields};
use crate::text::printable;

keeps_extra_fields! {
    whole
    /// One use of one device. The same card can be two participants.
    ///
    /// A participant has one or more alternative sets of constraints, called choices, in order of preference. A plan satisfies one
    /// choice as a whole, never a mixture. A constraint that always applies has to be in every choice, so
    /// [`Participant::for_each_choice`] edits them all.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Participant {
        /// The name that messages use; unique within a request.
        pub name: String,
        /// The device that accesses the buffer.
        pub device: DeviceIdentity,
        /// What it does with the pixels.
        pub role: Role,
        /// The interface through which the participant imports buffers; `None` is the kernel's interface for its role.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub interface: Option<Interface>,
        /// The KMS plane; `None` if the participant is not a plane.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plane: Option<Plane>,
        /// Whether the device is the processor, as a software renderer's is: it maps the memory, and no device attaches to it. So it
        /// uses memory on a card too, as long as that can be mapped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub maps: bool,
        /// The groups of devices to which the device belongs, which sources name in their
        /// [scope](super::MemoryScope::Groups).
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub groups: BTreeSet<DeviceGroup>,
        /// The preferred choice. It is private, as the others are, so that nothing edits one choice and forgets the others.
        #[serde(default)]
        constraints: Constraints,
        /// The other choices, in order of preference.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "alternatives")]
        alternatives: Vec<Constraints>,
        /// Fields that a newer version wrote, including those of `device`. Each is a demand that nothing meets, unless it is
        /// optional; the same holds for unknown fields of the constraints.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl<'de> Deserialize<'de> for Participant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut participant = Self::read_fields(deserializer)?;
        // A codec of a GPU is not a V4L2 queue: it imports images as the GPU does.
        let is_queue = matches!(participant.role, Role::Capture | Role::Output)
            && Interface::of(&participant) == Interface::Kernel
            && !participant.device.node.starts_with("/dev/dri/");
        participant.for_each_choice(|choice| choice.upgrade(is_queue));
        Ok(participant)
    }
}

impl Participant {
    /// The most alternatives that a description may have.
    pub const MAXIMUM_ALTERNATIVES: usize = 64;

    /// Makes a participant that accepts everything. The name is made printable, because it usually contains a device's name.
    pub fn new(name: impl Into<String>, device: DeviceIdentity, role: Role) -> Self {
        Self {
            name: printable(&name.into()),
            device,
            role,
            interface: None,
            plane: None,
            maps: false,
            groups: BTreeSet::new(),
            constraints: Constraints::default(),
            alternatives: Vec::new(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// Makes the participant for CPU access, without constraints. The caller adds how often the CPU accesses the buffer.
    #[must_use]
    pub fn processor(role: Role) -> Self {
        let identity = DeviceIdentity {
            driver: "cpu".to_owned(),
            location: String::new(),
            node: String::new(),
        };
        Self::new("processor", identity, role)
    }

    /// Returns the preferred choice.
    #[must_use]
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// Returns the choices after the preferred one, in order of preference.
    #[must_use]
    pub fn alternatives(&self) -> &[Constraints] {
        &self.alternatives
    }

    /// Returns all choices in order of preference; there is at least one.
    pub fn choices(&self) -> impl Iterator<Item = &Constraints> {
        std::iter::once(&self.constraints).chain(&self.alternatives)
    }

    /// Returns all choices for editing, in order of preference; there is at least one.
    pub fn choices_mut(&mut self) -> impl Iterator<Item = &mut Constraints> {
        std::iter::once(&mut self.constraints).chain(&mut self.alternatives)
    }

    /// Edits every choice.
    pub fn for_each_choice(&mut self, edit: impl FnMut(&mut Constraints)) {
        self.choices_mut().for_each(edit);
    }

    /// Makes these constraints the only choice.
    pub fn set_constraints(&mut self, only: Constraints) {
        self.set_choices(only, Vec::new());
    }

    /// Replaces all choices by the preferred one and the others in order of preference.
    pub fn set_choices(&mut self, best: Constraints, alternatives: Vec<Constraints>) {
        self.constraints = best;
        self.alternatives = alternatives;
    }

    /// Appends a choice that is less preferred than all others.
    ///
    /// A description with more than [`Participant::MAXIMUM_ALTERNATIVES`] of them cannot be read again.
    pub fn push_alternative(&mut self, worse: Constraints) {
        self.alternatives.push(worse);
    }
}

/// What a participant does with the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// A device writes them: a camera or a decoder.
    Capture,
    /// A device reads them: a V4L2 output or an encoder.
    Output,
    /// A display scans them out.
    Display,
    /// A GPU or another importer reads them.
    Import,
    /// A GPU draws them.
    Render,
    /// A compositor advertises formats, and does not access the pixels itself.
    Compositor,
    /// The CPU writes them.
    CpuWrite,
    /// The CPU reads them.
    CpuRead,
}

impl Role {
    /// Returns the role's name for people, such as `processor writing`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Output => "output",
            Self::Display => "display",
            Self::Import => "import",
            Self::Render => "render",
            Self::Compositor => "compositor",
            Self::CpuWrite => "processor writing",
            Self::CpuRead => "processor reading",
        }
    }

    /// Returns whether this participant produces pixels.
    pub fn writes(self) -> bool {
        matches!(self, Self::Capture | Self::Render | Self::CpuWrite)
    }

    /// Returns whether the participant is a device that attaches to the memory.
    pub fn imports(self) -> bool {
        !matches!(self, Self::Compositor | Self::CpuWrite | Self::CpuRead)
    }
}

/// The interface through which a participant imports.
///
/// One card can be three participants, by PRIME, GBM and Vulkan. A buffer that one of these interfaces rejects may be accepted by
/// the others.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interface {
    /// The kernel's interface for the participant's role: KMS, PRIME or V4L2.
    #[default]
    Kernel,
    /// GBM.
    Gbm,
    /// A Vulkan image.
    Vulkan,
}

impl Interface {
    /// Returns a participant's interface.
    #[must_use]
    pub fn of(participant: &Participant) -> Self {
        participant.interface.unwrap_or_default()
    }
}

/// A KMS plane of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Plane {
    /// The plane's type.
    pub kind: PlaneKind,
    /// The KMS object ID; `None` for a machine that was written from documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// The CRTCs on which it can be shown, as KMS has it (`possible_crtcs`): bit 0 is the card's first one. 0 if that is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub possible_crtcs: u32,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_zero(mask: &u32) -> bool {
    *mask == 0
}

/// The type of a KMS plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaneKind {
    /// The primary plane.
    Primary,
    /// An overlay plane.
    Overlay,
    /// The cursor plane.
    Cursor,
}

impl PlaneKind {
    /// Returns the type's name for people, such as `primary`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Overlay => "overlay",
            Self::Cursor => "cursor",
        }
    }
}

keeps_extra_fields! {
    /// What a participant accepts, or what a source can allocate. [`Default`] is everything.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(default)]
    pub struct Constraints {
        /// The version of this description. A version that is not from 1 to [`Constraints::VERSION`] is a demand that nothing meets.
        pub version: u32,
        /// The format and modifier pairs; all if this is `None`.
        pub formats: Option<FormatSet>,
        /// Constraints on images of every format.
        pub image: ImageConstraints,
        /// Further constraints on images of one format. A format may be written by several names, but occurs once.
        #[serde(deserialize_with = "map")]
        pub per_fourcc: BTreeMap<Fourcc, ImageConstraints>,
        /// Constraints on memory.
        pub memory: MemoryConstraints,
        /// The participant's synchronisation mechanisms. If it has none, the CPU waits for its accesses to finish.
        pub sync: BTreeSet<SyncMechanism>,
        /// How many buffers the participant holds at a time. A plan has at least the sum over all participants, up to 1024.
        pub buffers_held: u32,
        /// The memory that the participant allocates from pools for itself, in addition to the shared buffers. For a source this
        /// has no meaning.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "own_memory")]
        pub own_memory: Vec<OwnMemory>,
        /// The copies that the device makes of each frame for itself. The first one that has the buffer's pair counts. This has
        /// no meaning for a participant that writes, for a source, and if no participant writes.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "internal_copies")]
        pub internal_copies: Vec<InternalCopy>,
        /// Fields of a newer version.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl Constraints {
    /// The version of the descriptions that this crate writes.
    ///
    /// In version 1, a stride alignment of a V4L2 queue is what drivers mean by it, the first plane's; such a description is read into
    /// [`first_plane_alignment`](super::StrideConstraints::first_plane_alignment). From version 2 on, the alignment is every plane's.
    pub const VERSION: u32 = 2;
    /// The most entries of [`Constraints::own_memory`].
    pub const MAXIMUM_OWN_MEMORY: usize = 64;
    /// The most entries of [`Constraints::internal_copies`].
    pub const MAXIMUM_INTERNAL_COPIES: usize = 64;

    /// Gives a description of version 1 the meaning of the present version. `is_queue` is true for what a V4L2 queue demands or gives.
    pub(super) fn upgrade(&mut self, is_queue: bool) {
        if self.version != 1 {
            return;
        }
        self.version = Self::VERSION;
        if is_queue {
            for image in std::iter::once(&mut self.image).chain(self.per_fourcc.values_mut()) {
                let stride = &mut image.stride;
                if stride.first_plane_alignment <= 1 {
                    stride.first_plane_alignment = std::mem::replace(&mut stride.alignment, 1);
                }
            }
        }
    }
}

impl Default for Constraints {
    fn default() -> Self {
        Self {
            version: Self::VERSION,
            formats: None,
            image: ImageConstraints::default(),
            per_fourcc: BTreeMap::new(),
            memory: MemoryConstraints::default(),
            sync: BTreeSet::new(),
            buffers_held: 0,
            own_memory: Vec::new(),
            internal_copies: Vec::new(),
            extra_fields: ExtraFields::default(),
        }
    }
}

/// Reads what a participant allocates for itself.
fn own_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OwnMemory>, D::Error> {
    list(
        deserializer,
        Constraints::MAXIMUM_OWN_MEMORY,
        "allocations of a participant",
    )
}

/// Reads the copies that a participant's device makes for itself.
fn internal_copies<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<InternalCopy>, D::Error> {
    list(
        deserializer,
        Constraints::MAXIMUM_INTERNAL_COPIES,
        "internal copies of a participant",
    )
}

/// Reads the list of alternatives.
fn alternatives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Constraints>, D::Error> {
    list(
        deserializer,
        Participant::MAXIMUM_ALTERNATIVES,
        "alternatives of a participant",
    )
}

/// How a participant waits for others and signals that its own access has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncMechanism {
    /// Implicit fences in the dma-buf's reservation object.
    Implicit,
    /// Fences as sync_file descriptors.
    SyncFile,
    /// Points of a DRM timeline syncobj.
    Timeline,
}
