//! Vulkan devices: images as a source of dma-bufs, and as importers of them.
//!
//! The loader is opened at run time: a machine without Vulkan has no such sources and everything else. Of a device only
//! what dma-bufs need is switched on. Images have their arrangement by modifier (VK_EXT_image_drm_format_modifier), so
//! that nothing is implicit; a device without that extension takes no part.
//!
//! Drivers run in this process, and one of them was seen to end it: Mesa's Venus aborts when it imports a virtio dumb buffer.
//! [`Vulkan::load`], [`Vulkan::gpus`] and the declarations ask harmless questions only; [`Gpu::allocate`], [`Gpu::import`]
//! and what is done with an [`Image`] should first be tried in a child process that may die.

mod adopt;
mod allocate;
mod copy;
mod format;
mod gpu;
mod handles;
mod image;
mod ownership;
mod participant;
mod purpose;
mod requirement;
mod sync;
mod sys;
mod validation;
mod ycbcr;

/// The bindings of Vulkan whose types are in this module's signatures.
pub use ash;

pub use crate::backend::prime::ImportAbility;
pub use adopt::{ApplicationDevice, QueueLock, check};
pub use copy::Copying;
pub use format::of as format_of;
pub use gpu::{Gpu, Vulkan};
pub use image::Image;
pub use ownership::{Contents, ImageAccess, OwnershipTransfer};
pub use purpose::Purpose;
pub use requirement::{
    Capabilities, DEVICE_EXTENSIONS, Enabled, Extension, FEATURES, Feature, Features,
    INSTANCE_EXTENSIONS, LEAST_API_VERSION, Missing, MissingKind, Offered, missing_requirements,
    optional_device_extensions, required_device_extensions, required_features,
    required_instance_extensions,
};
pub use sync::{DeviceFence, DeviceTimeline, Moments, Semaphore, Submission, Submitted};
pub use validation::Complaints;
pub use ycbcr::{ChromaSupport, YcbcrColours, YcbcrConversion};

use ash::vk;
use thiserror::Error;

use crate::model::{Extent, FormatModifier};

/// Why Vulkan did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VulkanError {
    /// There is no loader.
    #[error(
        "this machine has no Vulkan loader: {why}; Debian's package libvulkan1 brings it, mesa-vulkan-drivers the drivers"
    )]
    Loader {
        /// What the dynamic linker said.
        why: String,
    },
    /// The device cannot share memory.
    #[error("{device} has no {lacks}, without which it shares no images")]
    Lacks {
        /// The device.
        device: String,
        /// The extension, or what else.
        lacks: String,
    },
    /// The application's instance or device was made without what sharing needs.
    #[error("{device} shares no images as it is; {} missing:{}", count(.missing.len()), adopt::lines(.missing))]
    Missing {
        /// The device.
        device: String,
        /// All that is missing.
        missing: Vec<Missing>,
    },
    /// A call failed.
    #[error("{device}: {operation} answered {answer}{hint}")]
    Call {
        /// The device.
        device: String,
        /// The call, as Vulkan names it.
        operation: &'static str,
        /// What the driver answered.
        answer: vk::Result,
        /// What may stand behind it.
        hint: String,
    },
    /// The device has no such images.
    #[error("{device} has no images of {extent} in {format}: {why}")]
    Unsuitable {
        /// The device.
        device: String,
        /// The size.
        extent: Extent,
        /// The format.
        format: FormatModifier,
        /// What stands in the way.
        why: String,
    },
    /// The device does not sample pictures so.
    #[error("{device} does not sample {format} so: {why}")]
    Sampling {
        /// The device.
        device: String,
        /// The format of the pictures.
        format: FormatModifier,
        /// What stands in the way.
        why: String,
    },
    /// The driver does not take this memory.
    #[error("{device} refused to import a buffer from {origin}: {operation} answered {why}")]
    Import {
        /// The device.
        device: String,
        /// Where the buffer came from.
        origin: String,
        /// The call, as Vulkan names it.
        operation: &'static str,
        /// What the driver answered; none where it answered well and nothing serves.
        answer: Option<vk::Result>,
        /// The same in words.
        why: String,
    },
    /// The buffer is smaller than the image needs.
    #[error(
        "{device} needs {needed_bytes} bytes in memory {memory}, and the buffer from {origin} has {found_bytes}"
    )]
    TooSmall {
        /// The device.
        device: String,
        /// Where the buffer came from.
        origin: String,
        /// Index of the memory.
        memory: usize,
        /// What the driver asks for.
        needed_bytes: u64,
        /// What is there.
        found_bytes: u64,
    },
    /// More than the machine can give.
    #[error(
        "{device} was not asked for {needed_bytes} bytes: only {available_bytes} can be taken without harm to others"
    )]
    Budget {
        /// The device.
        device: String,
        /// What all buffers need.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
    },
    /// The plan names another source.
    #[error("{device}: the plan is for {planned}, which has to allocate it")]
    NotPlanned {
        /// The device.
        device: String,
        /// The source that the plan names.
        planned: String,
    },
    /// What the driver allocated is not what was planned.
    #[error("{device}: what it allocated is not usable: {why}")]
    Unusable {
        /// The device.
        device: String,
        /// What is wrong with it.
        why: String,
    },
    /// A moment was asked for that nobody has said when it comes.
    #[error(
        "{device}: no work was submitted that signals this; submit it first, to be exported once"
    )]
    NotSubmitted {
        /// The device.
        device: String,
    },
    /// A timeline would not rise.
    #[error(
        "{device}: a timeline at {found} cannot be signalled at {asked}: its numbers only rise"
    )]
    Backwards {
        /// The device.
        device: String,
        /// The number that was to be signalled.
        asked: u64,
        /// The number that it has come to.
        found: u64,
    },
    /// Pixels do not fit the image.
    #[error(
        "{device}: plane {plane} has {expected_bytes} bytes of pixels, and {found_bytes} were given"
    )]
    Pixels {
        /// The device.
        device: String,
        /// Index of the plane.
        plane: usize,
        /// What the plane has.
        expected_bytes: u64,
        /// What was given.
        found_bytes: u64,
    },
}

fn count(missing: usize) -> String {
    if missing == 1 {
        "this is".to_owned()
    } else {
        format!("these {missing} are")
    }
}

impl VulkanError {
    fn answer(&self) -> Option<vk::Result> {
        match self {
            Self::Call { answer, .. } => Some(*answer),
            Self::Import { answer, .. } => *answer,
            _ => None,
        }
    }

    /// Whether the driver said that memory is out, as it also does where fds are: another moment may be better.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        matches!(
            self.answer(),
            Some(
                vk::Result::ERROR_OUT_OF_HOST_MEMORY
                    | vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
                    | vk::Result::ERROR_TOO_MANY_OBJECTS
            )
        )
    }

    /// Whether the device is lost: it has to be opened anew.
    #[must_use]
    pub fn is_device_lost(&self) -> bool {
        self.answer() == Some(vk::Result::ERROR_DEVICE_LOST)
    }
}
