//! Devices that copy frames. They copy between buffers if participants share no buffer, or into a device's own memory.

use serde::{Deserialize, Serialize};

use super::formats::FormatSet;
use crate::model::{DeviceIdentity, FormatModifier, Modifier};
use crate::reading::{ExtraFields, keeps_extra_fields};

keeps_extra_fields! {
    /// A device that copies frames and can convert them to another format. The CPU can always copy, and is not listed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CopyDevice {
        /// The name of the copier in messages.
        pub name: String,
        /// The device that copies.
        pub device: DeviceIdentity,
        /// The kind of the device.
        pub kind: CopierKind,
        /// The pairs of format and modifier that the device reads.
        pub reads: FormatSet,
        /// The pairs of format and modifier that the device writes.
        pub writes: FormatSet,
        /// The cost of a copy, relative to [`CopyDevice::PROCESSOR_COST`]. Less is better.
        #[serde(default = "usual_cost", skip_serializing_if = "is_usual_cost")]
        pub cost: u32,
        /// JSON fields that a newer version wrote. The solver does not use a copier that has such a field, unless the field is
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
    reason = "serde calls this function with a reference"
)]
fn is_usual_cost(cost: &u32) -> bool {
    *cost == CopyDevice::USUAL_COST
}

impl CopyDevice {
    /// The cost of a copier that states no cost.
    pub const USUAL_COST: u32 = 10;
    /// The cost of a copy by the CPU. A device copies instead of the CPU if the device's cost is not greater.
    pub const PROCESSOR_COST: u32 = 100;

    /// Returns whether the device reads all pairs of `from` and writes all pairs of `to`.
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
    /// A copy of each frame that a participant's device makes for itself, because the device cannot use the layout of the shared
    /// buffer.
    ///
    /// A texture unit that reads only tiled images is an example: its driver copies each linear frame into a tiled image before
    /// the frame is sampled. Such a participant accepts buffers of these pairs. A plan reports the copy, and the solver prefers
    /// another pair.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct InternalCopy {
        /// The pairs of format and modifier for which the device makes a copy.
        pub from: FormatSet,
        /// The modifier of the copy. The copy has the same format as the frame.
        pub to: Modifier,
        /// The reason for the copy, as a clause that follows "because".
        pub reason: String,
        /// JSON fields that a newer version wrote.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// The kind of a device that copies. If devices of several kinds have the same cost, the first kind in this order is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CopierKind {
    /// A 2D engine or a V4L2 memory-to-memory device.
    Engine,
    /// A GPU that copies with Vulkan or GL.
    Gpu,
    /// The compositor, which draws the frame into its own buffer.
    Compositor,
}

impl CopierKind {
    /// Returns the name of the kind for people, such as `2D engine`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Engine => "2D engine",
            Self::Gpu => "GPU",
            Self::Compositor => "compositor",
        }
    }
}
