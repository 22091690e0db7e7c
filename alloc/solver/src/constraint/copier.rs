//! Devices that copy frames: between buffers that participants do not share, and into memory of their own.

use serde::{Deserialize, Serialize};

use super::formats::FormatSet;
use crate::model::{DeviceIdentity, FormatModifier, Modifier};
use crate::reading::{ExtraFields, keeps_extra_fields};

keeps_extra_fields! {
    /// A device that copies frames, and converts them on the way. The CPU can always copy, and is not listed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CopyDevice {
        /// The name that messages use.
        pub name: String,
        /// The device.
        pub device: DeviceIdentity,
        /// What kind of device it is.
        pub kind: CopierKind,
        /// The pairs that it reads.
        pub reads: FormatSet,
        /// The pairs that it writes.
        pub writes: FormatSet,
        /// What a copy costs, relative to [`CopyDevice::PROCESSOR_COST`]. Less is better.
        #[serde(default = "usual_cost", skip_serializing_if = "is_usual_cost")]
        pub cost: u32,
        /// Fields that a newer version wrote. The solver does not use a copier that has such a field, unless the field is
        /// optional.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

fn usual_cost() -> u32 {
    CopyDevice::USUAL_COST
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_usual_cost(cost: &u32) -> bool {
    *cost == CopyDevice::USUAL_COST
}

impl CopyDevice {
    /// The cost of a device that states none.
    pub const USUAL_COST: u32 = 10;
    /// The cost of a copy by the CPU. A device copies instead of the CPU if it does not cost more.
    pub const PROCESSOR_COST: u32 = 100;

    /// Returns whether the device reads each of `from` and writes each of `to`.
    pub(crate) fn converts(
        &self,
        mut from: impl Iterator<Item = FormatModifier>,
        mut to: impl Iterator<Item = FormatModifier>,
    ) -> bool {
        self.extra_fields.required().is_empty()
            && from.all(|pair| self.reads.contains(pair))
            && to.all(|pair| self.writes.contains(pair))
    }
}

keeps_extra_fields! {
    /// A copy of each frame that a participant's device makes for itself, because it does not work on the shared buffer's layout.
    ///
    /// A texture unit that reads only tiled images is an example: its driver copies each linear frame into a tiled image before
    /// it is sampled. Such a participant accepts the pairs. A plan reports the copy, and another pair is preferred.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct InternalCopy {
        /// The pairs of which the device makes a copy.
        pub from: FormatSet,
        /// The modifier of the copy, which has the same format.
        pub to: Modifier,
        /// Why it copies, as a clause that follows "because".
        pub reason: String,
        /// Fields of a newer version.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// What kind of device copies. If devices of several kinds have the same cost, the first kind in this order copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CopierKind {
    /// A 2D engine, or a V4L2 memory-to-memory device.
    Engine,
    /// A GPU, by Vulkan or GL.
    Gpu,
    /// The compositor, which draws the frame into its own.
    Compositor,
}

impl CopierKind {
    /// Returns the kind's name for people, such as `2D engine`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Engine => "2D engine",
            Self::Gpu => "GPU",
            Self::Compositor => "compositor",
        }
    }
}
