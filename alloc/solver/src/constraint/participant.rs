//! Who touches the buffer, and what each accepts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use super::formats::FormatSet;
use super::image::ImageConstraints;
use super::memory::MemoryConstraints;
use crate::model::{DeviceIdentity, Fourcc};
use crate::reading::budget::{list, map};
use crate::reading::{ExtraFields, keeps_extra_fields};
use crate::text::printable;

keeps_extra_fields! {
    /// One use of one device: the same card can be two participants.
    ///
    /// What it accepts is a list of choices that is never empty, the best first. Each choice is complete in itself: a plan meets
    /// one of them as a whole, never a mixture. Whatever is asked of the participant is asked in every choice, so
    /// [`Participant::for_each_choice`] edits them all.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Participant {
        /// What to call it in words; names are unique within a request.
        pub name: String,
        /// The device.
        pub device: DeviceIdentity,
        /// What it does with the pixels.
        pub role: Role,
        /// Through what it is given buffers; the kernel's interface for its role where there is none.
        ///
        /// Names are for people: nothing is told by them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub interface: Option<Interface>,
        /// Which plane of its card it is; none for what is no plane.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plane: Option<Plane>,
        /// The best choice. Private, like the others, so that nothing edits one choice and forgets the others.
        #[serde(default)]
        constraints: Constraints,
        /// The other choices, best first.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "alternatives")]
        alternatives: Vec<Constraints>,
        /// Fields of a newer version, those of the device too; demands like those of the constraints.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl Participant {
    /// The most alternatives that are read.
    pub const MAXIMUM_ALTERNATIVES: usize = 64;

    /// Names a participant that accepts everything yet. The name is made printable: a part of it is a device's own, as a rule.
    pub fn new(name: impl Into<String>, device: DeviceIdentity, role: Role) -> Self {
        Self {
            name: printable(&name.into()),
            device,
            role,
            interface: None,
            plane: None,
            constraints: Constraints::default(),
            alternatives: Vec::new(),
            extra_fields: ExtraFields::default(),
        }
    }

    /// The processor, which is asked nothing: what it touches, and how often, is its user's to say.
    #[must_use]
    pub fn processor(role: Role) -> Self {
        let identity = DeviceIdentity {
            driver: "cpu".to_owned(),
            location: String::new(),
            node: String::new(),
        };
        Self::new("processor", identity, role)
    }

    /// Returns the best of its choices.
    #[must_use]
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// Returns the choices that are worse than the best, best first; none where there is one choice.
    #[must_use]
    pub fn alternatives(&self) -> &[Constraints] {
        &self.alternatives
    }

    /// Returns the choices, best first; there is at least one.
    pub fn choices(&self) -> impl Iterator<Item = &Constraints> {
        std::iter::once(&self.constraints).chain(&self.alternatives)
    }

    /// Returns the choices to be edited, best first; there is at least one.
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

    /// Replaces all choices: the best one, and those that are worse, best first.
    pub fn set_choices(&mut self, best: Constraints, alternatives: Vec<Constraints>) {
        self.constraints = best;
        self.alternatives = alternatives;
    }

    /// Appends a choice that is worse than those that there are.
    ///
    /// A description is read with at most [`Participant::MAXIMUM_ALTERNATIVES`] of them.
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
    /// A display reads them.
    Display,
    /// A GPU or another importer reads them.
    Import,
    /// A GPU draws them.
    Render,
    /// A compositor's advertised formats: it does nothing itself.
    Compositor,
    /// The processor writes them.
    CpuWrite,
    /// The processor reads them.
    CpuRead,
}

impl Role {
    /// Returns what people read for it, such as `processor writing`.
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

    /// Returns whether the pixels come from here.
    pub fn writes(self) -> bool {
        matches!(self, Self::Capture | Self::Render | Self::CpuWrite)
    }

    /// Returns whether the participant attaches to the memory as a device does.
    pub fn imports(self) -> bool {
        !matches!(self, Self::Compositor | Self::CpuWrite | Self::CpuRead)
    }
}

/// The interface through which a participant imports.
///
/// One card can be three participants that import: by PRIME, by GBM and by Vulkan. What one of them refuses says nothing of
/// the others.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interface {
    /// The kernel's own, whichever it is for the participant's role.
    #[default]
    Kernel,
    /// GBM.
    Gbm,
    /// An image of Vulkan.
    Vulkan,
}

impl Interface {
    /// Returns the interface of a participant, as its field says it.
    #[must_use]
    pub fn of(participant: &Participant) -> Self {
        participant.interface.unwrap_or_default()
    }
}

/// A plane of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Plane {
    /// What it is for.
    pub kind: PlaneKind,
    /// The number of its KMS object; none on a machine that nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
}

/// What a plane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaneKind {
    /// It shows the picture behind all others.
    Primary,
    /// It shows a picture above.
    Overlay,
    /// It shows the cursor.
    Cursor,
}

impl PlaneKind {
    /// Returns what people read for it, such as `primary`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Overlay => "overlay",
            Self::Cursor => "cursor",
        }
    }
}

keeps_extra_fields! {
    /// What a participant accepts, or a source can give. [`Default`] is everything.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(default)]
    pub struct Constraints {
        /// The version of this description. Another than [`Constraints::VERSION`] is a demand that nothing meets.
        pub version: u32,
        /// Format and modifier pairs; all where there is none.
        pub formats: Option<FormatSet>,
        /// What is asked of every picture.
        pub image: ImageConstraints,
        /// What is asked beyond that of pictures in one format. A format has several names, and is there once.
        #[serde(deserialize_with = "map")]
        pub per_fourcc: BTreeMap<Fourcc, ImageConstraints>,
        /// What is asked of the memory.
        pub memory: MemoryConstraints,
        /// How the participant can wait and signal; the processor waits for it, and has it wait, where there is none.
        pub sync: BTreeSet<SyncMechanism>,
        /// How many buffers it holds at a time; they sum, and a plan has at most 1024.
        pub buffers_held: u32,
        /// Fields of a newer version.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

impl Constraints {
    /// The version that this crate writes.
    pub const VERSION: u32 = 1;
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
            extra_fields: ExtraFields::default(),
        }
    }
}

/// Reads what a participant accepts instead of its constraints.
fn alternatives<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Constraints>, D::Error> {
    list(
        deserializer,
        Participant::MAXIMUM_ALTERNATIVES,
        "alternatives of a participant",
    )
}

/// How a participant waits for others and tells them that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncMechanism {
    /// Fences that the dma-buf itself carries.
    Implicit,
    /// Fences as file descriptors.
    SyncFile,
    /// Points on a DRM timeline.
    Timeline,
}
