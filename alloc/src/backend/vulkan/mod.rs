//! Vulkan devices: images as a source of dma-bufs, and as importers of them.
//!
//! [`Vulkan::load`] opens the loader at run time and makes an instance and devices of its own: a machine without Vulkan has no such
//! sources and everything else. An engine that has an instance, a device and a queue already lends them by [`Gpu::adopt`].
//!
//! Images have their arrangement by modifier (VK_EXT_image_drm_format_modifier), so that nothing is implicit. A device without
//! that extension takes no part: [`Vulkan::gpus`] leaves it out with the reason, and [`Gpu::adopt`] refuses it with
//! [`VulkanError::Missing`]. Its pictures then go through memory that the processor copies, which a plan for the processor
//! ([`Participant::processor`](crate::constraint::Participant::processor)) counts. Drivers without it are old ones (Mesa before 21 for
//! some hardware), those that work on the processor on a machine without `/dev/udmabuf`, and Venus over one of those.
//!
//! Drivers run in this process, and one of them was seen to end it: Mesa's Venus aborts when it imports a virtio dumb buffer.
//! [`Vulkan::load`], [`Vulkan::gpus`], [`Gpu::adopt`] and the declarations ask harmless questions only; [`Gpu::allocate`],
//! [`Gpu::import`] and what is done with an [`Image`] should first be tried in a child process that may die.
//!
//! # An engine's own device
//!
//! 1. Before vkCreateDevice, [`Offered::to_enable`] lists the extensions to enable, those that are required and those that are
//!    optional and there; [`DEVICE_EXTENSIONS`] says what each is for.
//! 2. [`Gpu::adopt`] checks what is enabled, and lists everything that is missing in one error.
//! 3. The [`Gpu`] then declares, allocates and imports as any other does. It submits to the engine's queue under the engine's
//!    lock ([`QueueLock`]).
//! 4. In its own command buffers the engine takes an image over before it uses the image ([`Image::acquire`]) and hands it back
//!    ([`Image::release`]). Its submission waits for the producer's fence ([`Gpu::semaphore_after`]) and signals one for the
//!    consumer ([`Gpu::semaphore`]).
//! 5. Before the engine destroys the device, it drops what it got here and calls [`Gpu::finish`].
//!
//! ```no_run
//! use std::ffi::CStr;
//! use std::sync::{Arc, Mutex};
//!
//! use covalent_alloc::backend::vulkan::ash::{self, vk};
//! use covalent_alloc::backend::vulkan::{
//!     ApplicationDevice, Capabilities, Contents, Enabled, Gpu, ImageAccess, Offered, Purpose, VulkanError, YcbcrColours,
//! };
//! use covalent_alloc::buffer::Buffer;
//! use covalent_alloc::sync::Fence;
//!
//! /// What the engine asked its instance for.
//! const VERSION: u32 = vk::API_VERSION_1_2;
//! const WANTED: Capabilities = Capabilities::SYNC_FILE.union(Capabilities::YCBCR);
//!
//! /// The device as the engine makes it, with what sharing needs.
//! unsafe fn open(
//!     instance: &ash::Instance,
//!     physical: vk::PhysicalDevice,
//!     family: u32,
//! ) -> Result<Gpu, Box<dyn std::error::Error>> {
//!     let offered = unsafe { Offered::of(instance, physical, VERSION) }?;
//!     let extensions: Vec<&CStr> = offered.to_enable(WANTED, VERSION).collect();
//!     // SyncPoint them come the engine's own.
//!     let pointers: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
//!     let queues = [vk::DeviceQueueCreateInfo::default()
//!         .queue_family_index(family)
//!         .queue_priorities(&[1.0])];
//!     let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default()
//!         .sampler_ycbcr_conversion(offered.features.sampler_ycbcr_conversion);
//!     let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default()
//!         .timeline_semaphore(offered.features.timeline_semaphore);
//!     let info = vk::DeviceCreateInfo::default()
//!         .queue_create_infos(&queues)
//!         .enabled_extension_names(&pointers)
//!         .push_next(&mut ycbcr)
//!         .push_next(&mut timeline);
//!     let device = unsafe { instance.create_device(physical, &info, None) }?;
//!     let queue = unsafe { device.get_device_queue(family, 0) };
//!     let application = ApplicationDevice {
//!         instance: instance.clone(),
//!         physical_device: physical,
//!         device,
//!         // The engine locks the same mutex for its own submissions.
//!         queue: Arc::new(Mutex::new(queue)),
//!         queue_family: family,
//!         enabled: Enabled {
//!             api_version: VERSION,
//!             device_extensions: &extensions,
//!             features: offered.features,
//!             ..Enabled::default()
//!         },
//!         owner: None,
//!     };
//!     // The error lists everything that is missing, with what helps.
//!     Ok(unsafe { Gpu::adopt(application, WANTED) }?)
//! }
//!
//! /// A frame of a camera, sampled in the engine's own commands.
//! unsafe fn draw(
//!     gpu: &Gpu,
//!     commands: vk::CommandBuffer,
//!     frame: &Buffer,
//!     filled: Fence,
//! ) -> Result<Option<Fence>, VulkanError> {
//!     // Kept with the buffer: a camera gives the same few back for every frame.
//!     let image = gpu.import_for(Purpose::Sample, frame)?;
//!     let format = frame.layout().format();
//!     let conversion = gpu.ycbcr_conversion(format, YcbcrColours::default(), vk::Filter::LINEAR)?;
//!     let view = conversion.view(&image)?;
//!
//!     let acquire = image.acquire(ImageAccess::SAMPLE, Contents::Keep)?;
//!     let release = image.release(ImageAccess::SAMPLE)?;
//!     // An engine that batches barriers takes `acquire.barriers()` or `acquire.barriers2()` instead.
//!     unsafe { acquire.record(gpu, commands) };
//!     // … the engine draws with `view` and `conversion.sampler()` …
//!     unsafe { release.record(gpu, commands) };
//!
//!     let before = gpu.semaphore_after(filled)?;
//!     let mut after = gpu.semaphore()?;
//!     // … the engine submits `commands`, which wait for `before.handle()` and signal `after.handle()` …
//!     unsafe { after.assume_signal_submitted() };
//!     // When the GPU is done reading: the camera gets the buffer again behind this fence.
//!     let read = after.export()?;
//!     // … and drops `image`, `conversion`, `before`, `after` and destroys `view` when the work is over.
//! #   let _ = view;
//!     Ok(read)
//! }
//! ```

mod adopt;
mod allocate;
mod backend;
mod copy;
mod format;
mod gpu;
mod handles;
mod image;
mod member;
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
pub use backend::Gpus;
pub use copy::Copying;
pub use format::of as format_of;
pub use gpu::{Gpu, Vulkan};
pub use image::Image;
pub use member::GpuUse;
pub use ownership::{Contents, ImageAccess, OwnershipTransfer};
pub use purpose::Purpose;
pub use requirement::{
    Capabilities, DEVICE_EXTENSIONS, Enabled, Extension, FEATURES, Feature, Features,
    INSTANCE_EXTENSIONS, LEAST_API_VERSION, Missing, MissingKind, Offered, missing_requirements,
    optional_device_extensions, required_device_extensions, required_features,
    required_instance_extensions,
};
pub use sync::{DeviceFence, DeviceSync, DeviceTimeline, Semaphore, Submission, Submitted};
pub use validation::Complaints;
pub use ycbcr::{ChromaSupport, YcbcrColours, YcbcrConversion};

use ash::vk;
use thiserror::Error;

use crate::model::{Extent, FormatModifier};

/// Why Vulkan did not do what was asked.
#[derive(Error)]
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

crate::debug_as_display!(VulkanError);

fn count(missing: usize) -> String {
    if missing == 1 {
        "this is".to_owned()
    } else {
        format!("these {missing} are")
    }
}

impl VulkanError {
    /// Returns the device; `None` where there is no loader.
    pub(super) fn device(&self) -> Option<&str> {
        match self {
            Self::Loader { .. } => None,
            Self::Lacks { device, .. }
            | Self::Missing { device, .. }
            | Self::Sampling { device, .. }
            | Self::Call { device, .. }
            | Self::Unsuitable { device, .. }
            | Self::Import { device, .. }
            | Self::TooSmall { device, .. }
            | Self::Budget { device, .. }
            | Self::NotPlanned { device, .. }
            | Self::Unusable { device, .. }
            | Self::NotSubmitted { device }
            | Self::Backwards { device, .. }
            | Self::Pixels { device, .. } => Some(device),
        }
    }

    fn answer(&self) -> Option<vk::Result> {
        match self {
            Self::Call { answer, .. } => Some(*answer),
            Self::Import { answer, .. } => *answer,
            _ => None,
        }
    }

    /// Whether the driver said that memory is out, as it also does where fds are: another moment may be better.
    #[must_use]
    pub(crate) fn is_out_of_memory(&self) -> bool {
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
    pub(crate) fn is_device_lost(&self) -> bool {
        self.answer() == Some(vk::Result::ERROR_DEVICE_LOST)
    }
}
