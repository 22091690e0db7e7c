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
    /// One use of a buffer by one device. The same card can be two participants, such as a renderer and a display.
    ///
    /// A participant has one or more alternative sets of constraints, called choices, in order of preference. A plan satisfies
    /// one complete choice, never a mixture of several. A constraint that always applies has to be in every choice, so
    /// [`Participant::for_each_choice`] edits all choices.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Participant {
        /// The name of the participant in messages. It is unique within a request.
        pub name: String,
        /// The device that accesses the buffer.
        pub device: DeviceIdentity,
        /// What the participant does with the pixels.
        pub role: Role,
        /// The interface through which the participant imports buffers. `None` means the kernel's interface for the participant's
        /// role.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub interface: Option<Interface>,
        /// The KMS plane; `None` if the participant is not a plane.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plane: Option<Plane>,
        /// Whether the device is the CPU, as for a software renderer: the CPU maps the memory, and no device attaches to it. Such
        /// a participant can also use memory on a card, if that memory can be mapped.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub maps: bool,
        /// The groups to which the device belongs. A source names groups in its [scope](super::MemoryScope::Groups).
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        pub groups: BTreeSet<DeviceGroup>,
        /// The preferred choice. This field and `alternatives` are private, so that no code edits one choice and omits the
        /// others.
        #[serde(default)]
        constraints: Constraints,
        /// The other choices, in order of preference.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "alternatives")]
        alternatives: Vec<Constraints>,
        /// JSON fields that a newer version wrote, including those of `device`. Each is a demand that nothing meets, unless the
        /// field is optional. The same applies to unknown fields of the constraints.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl<'de> Deserialize<'de> for Participant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut participant = Self::read_fields(deserializer)?;
        // A codec of a GPU is not a V4L2 queue. It imports images through the GPU's interface.
        let is_queue = matches!(participant.role, Role::Capture | Role::Output)
            && Interface::of(&participant) == Interface::Kernel
            && !participant.device.node.starts_with("/dev/dri/");
        participant.for_each_choice(|choice| choice.upgrade(is_queue));
        Ok(participant)
    }
}

impl Participant {
    /// The maximum number of alternatives that a participant in a file may have.
    pub const MAXIMUM_ALTERNATIVES: usize = 64;

    /// Makes a participant that accepts any buffer. Characters of the name that are not printable are replaced, because the name
    /// usually contains a device's name.
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

    /// Makes the participant for access by the CPU, without constraints. The caller sets how often the CPU accesses the buffer.
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

    /// Returns all choices in order of preference. There is at least one.
    pub fn choices(&self) -> impl Iterator<Item = &Constraints> {
        std::iter::once(&self.constraints).chain(&self.alternatives)
    }

    /// Returns all choices for editing, in order of preference. There is at least one.
    pub fn choices_mut(&mut self) -> impl Iterator<Item = &mut Constraints> {
        std::iter::once(&mut self.constraints).chain(&mut self.alternatives)
    }

    /// Calls `edit` for each choice.
    pub fn for_each_choice(&mut self, edit: impl FnMut(&mut Constraints)) {
        self.choices_mut().for_each(edit);
    }

    /// Replaces all choices by these constraints.
    pub fn set_constraints(&mut self, only: Constraints) {
        self.set_choices(only, Vec::new());
    }

    /// Replaces all choices by a preferred choice and further choices in order of preference.
    pub fn set_choices(&mut self, best: Constraints, alternatives: Vec<Constraints>) {
        self.constraints = best;
        self.alternatives = alternatives;
    }

    /// Appends a choice that is less preferred than all other choices.
    ///
    /// A participant with more than [`Participant::MAXIMUM_ALTERNATIVES`] alternatives can be written, but not read again.
    pub fn push_alternative(&mut self, worse: Constraints) {
        self.alternatives.push(worse);
    }
}

/// What a participant does with the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// A device writes the pixels, such as a camera or a decoder.
    Capture,
    /// A device reads the pixels, such as a V4L2 output or an encoder.
    Output,
    /// A display scans out the pixels.
    Display,
    /// A GPU or another importer reads the pixels.
    Import,
    /// A GPU draws the pixels.
    Render,
    /// A compositor advertises formats, and does not access the pixels itself.
    Compositor,
    /// The CPU writes the pixels.
    CpuWrite,
    /// The CPU reads the pixels.
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

    /// Returns whether a participant with this role writes pixels.
    pub fn writes(self) -> bool {
        matches!(self, Self::Capture | Self::Render | Self::CpuWrite)
    }

    /// Returns whether a participant with this role is a device that attaches to the buffer's dma-bufs.
    pub fn imports(self) -> bool {
        !matches!(self, Self::Compositor | Self::CpuWrite | Self::CpuRead)
    }
}

/// The interface through which a participant imports buffers.
///
/// One card can be three participants: through PRIME, GBM and Vulkan. A buffer that one of these interfaces rejects may be
/// accepted by another one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interface {
    /// The kernel's interface for the participant's role: KMS, PRIME or V4L2.
    #[default]
    Kernel,
    /// GBM, which imports the buffer as a `gbm_bo`.
    Gbm,
    /// Vulkan, which imports the buffer as a `VkImage`.
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
    /// The CRTCs that can show the plane, as KMS's bit mask `possible_crtcs`: bit 0 is the card's first CRTC. The value is 0 if
    /// the CRTCs are not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub possible_crtcs: u32,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls this function with a reference"
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
    /// The buffers that a participant accepts, or that a source can allocate. The [`Default`] is any buffer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(default)]
    pub struct Constraints {
        /// The version of the constraints. A version that is not from 1 to [`Constraints::VERSION`] is a demand that nothing
        /// meets.
        pub version: u32,
        /// The pairs of format and modifier. `None` means all pairs.
        pub formats: Option<FormatSet>,
        /// Constraints on images of every format.
        pub image: ImageConstraints,
        /// Further constraints on images of single formats. JSON may name a format in several ways, but must not contain the same
        /// format twice.
        #[serde(deserialize_with = "map")]
        pub per_fourcc: BTreeMap<Fourcc, ImageConstraints>,
        /// Constraints on memory.
        pub memory: MemoryConstraints,
        /// The synchronisation mechanisms of the participant. If it has none, the CPU waits until the participant's accesses have
        /// finished.
        pub sync: BTreeSet<SyncMechanism>,
        /// The number of buffers that the participant holds at a time. A plan has at least as many buffers as all participants
        /// hold together, up to 1024.
        pub buffers_held: u32,
        /// The memory that the participant allocates from pools for itself, in addition to the shared buffers. This has no
        /// meaning for a source.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "own_memory")]
        pub own_memory: Vec<OwnMemory>,
        /// The copies that the device makes of each frame for itself. The first entry that contains the buffer's pair of format
        /// and modifier applies. The list has no meaning for a source, for a participant that writes, and in a request without a
        /// writer.
        #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "internal_copies")]
        pub internal_copies: Vec<InternalCopy>,
        /// JSON fields that a newer version wrote.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl Constraints {
    /// The version of constraints that this crate writes.
    ///
    /// In version 1, a stride alignment of a V4L2 queue applies to the first plane, as drivers mean it. Constraints of version 1
    /// are converted to [`first_plane_alignment`](super::StrideConstraints::first_plane_alignment) when they are read. From
    /// version 2 on, the alignment applies to every plane.
    pub const VERSION: u32 = 2;
    /// The maximum number of entries of [`Constraints::own_memory`].
    pub const MAXIMUM_OWN_MEMORY: usize = 64;
    /// The maximum number of entries of [`Constraints::internal_copies`].
    pub const MAXIMUM_INTERNAL_COPIES: usize = 64;

    /// Converts constraints of version 1 to the present version. `is_queue` is true for the constraints of a V4L2 queue, as a
    /// participant or as a source.
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

/// Reads the list of memory that a participant allocates for itself.
fn own_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OwnMemory>, D::Error> {
    list(
        deserializer,
        Constraints::MAXIMUM_OWN_MEMORY,
        "allocations of a participant",
    )
}

/// Reads the list of copies that a participant's device makes for itself.
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

/// A mechanism by which a participant waits for accesses of others, and signals that its own access has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncMechanism {
    /// Implicit fences in the dma-buf's reservation object.
    Implicit,
    /// Fences in sync_file descriptors.
    SyncFile,
    /// Points of a DRM timeline syncobj.
    Timeline,
}
