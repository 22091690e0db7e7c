//! Vulkan devices, which allocate images and export them as dma-bufs, and import dma-bufs as images.
//!
//! [`Vulkan::load`] loads the Vulkan loader at run time and creates an instance. On a machine without Vulkan it returns an error,
//! and the other backends still work. An engine that already has an instance, a device and a queue passes them to [`Gpu::adopt`].
//!
//! Every image has an explicit modifier (VK_EXT_image_drm_format_modifier). A device without that extension cannot share images:
//! [`Vulkan::gpus`] returns it with the reason, and [`Gpu::adopt`] fails with [`VulkanError::Missing`]. Then the CPU has to copy
//! the pixels, and a request contains the CPU as a participant
//! ([`Participant::processor`](crate::constraint::Participant::processor)) instead of the device. The extension is missing in old
//! drivers (Mesa before 21 for some hardware), in drivers that render on the CPU if the machine has no `/dev/udmabuf`, and in
//! Venus if the host's driver does not have it.
//!
//! Drivers run in this process and can end it: Mesa's Venus aborts when it imports a virtio dumb buffer. [`Vulkan::load`],
//! [`Vulkan::gpus`], [`Gpu::adopt`] and the declarations only make calls that end the process with no known driver. Try
//! [`Gpu::allocate`], [`Gpu::import`] and operations on an [`Image`] in a child process first.
//!
//! # Copies of a split
//!
//! If no buffer satisfies all participants, the solver splits them into groups, and names the device that copies between the
//! buffers of two groups ([`Split::copies`](crate::solve::Split::copies)). [`Gpu::copiers`] declares which copies a Vulkan device
//! can make, and [`Gpu::begin_copy`] makes such a copy:
//!
//! ```no_run
//! use covalent_alloc::backend::vulkan::{Gpu, Submission, VulkanError};
//! use covalent_alloc::buffer::Buffer;
//! use covalent_alloc::solve::{Copier, Split};
//! use covalent_alloc::sync::Fence;
//!
//! /// Copies a frame after it was filled, if the split's first copy is this device's. Returns the fence for the readers.
//! fn copy(
//!     gpu: &Gpu,
//!     split: &Split,
//!     (made, shown): (&Buffer, &Buffer),
//!     filled: Fence,
//! ) -> Result<Option<Fence>, VulkanError> {
//!     let Some(Copier::Device(copier)) = split.copies().next().map(|copy| copy.by) else {
//!         return Ok(None); // the CPU copies
//!     };
//!     if !gpu.is_copier(copier) {
//!         return Ok(None); // another device copies
//!     }
//!     let (from, to) = (gpu.import(made)?, gpu.import(shown)?);
//!     let submission = Submission {
//!         wait_fences: vec![filled],
//!         exported: true,
//!         ..Submission::default()
//!     };
//!     gpu.begin_copy(&from, &to, submission)?.export()
//! }
//! ```
//!
//! # An engine's own device
//!
//! 1. Before vkCreateDevice, [`Supported::to_enable`] lists the extensions to enable: the required ones, and the optional ones
//!    that the driver has. [`DEVICE_EXTENSIONS`] gives the purpose of each.
//! 2. [`Gpu::adopt`] checks that the required extensions and features are enabled, and lists everything that is missing in one
//!    error.
//! 3. The [`Gpu`] then declares, allocates and imports like one of [`Vulkan::gpus`]. It submits to the engine's queue under the
//!    engine's lock ([`QueueLock`]).
//! 4. The engine's command buffers acquire ownership of an image before they use it ([`Image::acquire`]) and release it
//!    afterwards ([`Image::release`]). The engine's submission waits for the producer's fence ([`Gpu::semaphore_from_sync_file`])
//!    and signals a semaphore for the consumer ([`Gpu::semaphore`]).
//! 5. Before the engine destroys the device, it drops every object of this module and calls [`Gpu::finish`].
//!
//! ```no_run
//! use std::ffi::CStr;
//! use std::sync::{Arc, Mutex};
//!
//! use covalent_alloc::backend::vulkan::ash::{self, vk};
//! use covalent_alloc::backend::vulkan::{
//!     ApplicationDevice, Capabilities, Contents, Enabled, Gpu, ImageAccess, Supported, Purpose, VulkanError, YcbcrColours,
//! };
//! use covalent_alloc::buffer::Buffer;
//! use covalent_alloc::sync::Fence;
//!
//! /// The API version of the engine's instance.
//! const VERSION: u32 = vk::API_VERSION_1_2;
//! const WANTED: Capabilities = Capabilities::SYNC_FILE.union(Capabilities::YCBCR);
//!
//! /// Creates the engine's device with the extensions and features that sharing needs.
//! unsafe fn open(
//!     instance: &ash::Instance,
//!     physical: vk::PhysicalDevice,
//!     family: u32,
//! ) -> Result<Gpu, Box<dyn std::error::Error>> {
//!     let supported = unsafe { Supported::of(instance, physical, VERSION) }?;
//!     let extensions: Vec<&CStr> = supported.to_enable(WANTED, VERSION).collect();
//!     // The engine appends its own extensions here.
//!     let pointers: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
//!     let queues = [vk::DeviceQueueCreateInfo::default()
//!         .queue_family_index(family)
//!         .queue_priorities(&[1.0])];
//!     let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default()
//!         .sampler_ycbcr_conversion(supported.features.sampler_ycbcr_conversion);
//!     let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default()
//!         .timeline_semaphore(supported.features.timeline_semaphore);
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
//!             features: supported.features,
//!             ..Enabled::default()
//!         },
//!         owner: None,
//!     };
//!     // The error lists everything that is missing, with what helps.
//!     Ok(unsafe { Gpu::adopt(application, WANTED) }?)
//! }
//!
//! /// Samples a frame of a camera in the engine's own command buffer.
//! unsafe fn draw(
//!     gpu: &Gpu,
//!     commands: vk::CommandBuffer,
//!     frame: &Buffer,
//!     filled: Fence,
//! ) -> Result<Option<Fence>, VulkanError> {
//!     // An engine keeps the image with the buffer: a camera returns the same few buffers for every frame.
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
//!     let before = gpu.semaphore_from_sync_file(filled)?;
//!     let mut after = gpu.semaphore()?;
//!     // … the engine submits `commands`, which wait for `before.handle()` and signal `after.handle()` …
//!     unsafe { after.assume_signal_submitted() };
//!     // Signalled when the GPU has finished reading; the camera may reuse the buffer after this fence.
//!     let read = after.export()?;
//!     // … when the work has finished, the engine drops `image`, `conversion`, `before` and `after`, and destroys `view` …
//! #   let _ = view;
//!     Ok(read)
//! }
//! ```

mod adopt;
mod allocate;
mod backend;
mod copier;
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

/// The crate `ash`, whose types occur in the signatures of this module.
pub use ash;

pub use crate::backend::prime::ImportAbility;
pub use adopt::{ApplicationDevice, QueueLock, check};
pub use backend::Gpus;
pub use copy::PendingCopy;
pub use format::of as format_of;
pub use gpu::{Gpu, Vulkan};
pub use image::Image;
pub use member::GpuMember;
pub use ownership::{Contents, ImageAccess, OwnershipTransfer};
pub use purpose::Purpose;
pub use requirement::{
    Capabilities, DEVICE_EXTENSIONS, Enabled, Extension, FEATURES, Feature, Features,
    INSTANCE_EXTENSIONS, MINIMUM_API_VERSION, Missing, MissingKind, Supported,
    missing_requirements, optional_device_extensions, required_device_extensions,
    required_features, required_instance_extensions,
};
pub use sync::{DeviceFence, DeviceSync, DeviceTimeline, Semaphore, Submission, Submitted};
pub use validation::ValidationMessages;
pub use ycbcr::{ChromaSupport, YcbcrColours, YcbcrConversion};

use ash::vk;
use thiserror::Error;

use crate::model::{Extent, FormatModifier};

/// Why a Vulkan operation failed.
#[derive(Error)]
#[non_exhaustive]
pub enum VulkanError {
    /// The machine has no Vulkan loader.
    #[error(
        "cannot load the Vulkan loader: {why}; Debian's package libvulkan1 contains the loader, and mesa-vulkan-drivers contains the drivers"
    )]
    Loader {
        /// The message of the dynamic linker.
        why: String,
    },
    /// The device does not have an extension, a feature or a Vulkan version that is required.
    #[error("{device} has no {lacks}, which this operation requires")]
    Lacks {
        /// The name of the Vulkan device.
        device: String,
        /// The extension, feature or version that is missing.
        lacks: String,
    },
    /// The application's instance or device was created without extensions or features that sharing images requires.
    #[error("{device} was created without extensions or features that sharing images requires; {} missing:{}", count(.missing.len()), adopt::missing_list(.missing))]
    Missing {
        /// The name of the Vulkan device.
        device: String,
        /// All missing extensions and features.
        missing: Vec<Missing>,
    },
    /// A Vulkan call failed.
    #[error("{device}: {operation} returned {result}{hint}")]
    Call {
        /// The name of the Vulkan device.
        device: String,
        /// The Vulkan function that failed.
        operation: &'static str,
        /// The result code of the function.
        result: vk::Result,
        /// The probable cause; empty if none is known.
        hint: String,
    },
    /// The device does not support images of this size, format or layout.
    #[error("{device} has no images of {extent} in {format}: {why}")]
    Unsuitable {
        /// The name of the Vulkan device.
        device: String,
        /// The size of the image.
        extent: Extent,
        /// The format of the image.
        format: FormatModifier,
        /// Why the device does not support such an image.
        why: String,
    },
    /// The device cannot sample the format with these parameters.
    #[error("{device} cannot sample {format} with these parameters: {why}")]
    Sampling {
        /// The name of the Vulkan device.
        device: String,
        /// The format of the image.
        format: FormatModifier,
        /// Why the device cannot sample with these parameters.
        why: String,
    },
    /// The driver rejected the memory of a buffer.
    #[error("{device} refused to import a buffer from {origin}: {operation} returned {why}")]
    Import {
        /// The name of the Vulkan device.
        device: String,
        /// The source that allocated the buffer.
        origin: String,
        /// The Vulkan function that rejected the memory.
        operation: &'static str,
        /// The result code; `None` if the call succeeded and its result cannot be used.
        result: Option<vk::Result>,
        /// The reason in words.
        why: String,
    },
    /// The buffer is smaller than the image requires.
    #[error(
        "{device} needs {needed_bytes} bytes in dma-buf {memory}, and that of the buffer from {origin} has {found_bytes}"
    )]
    TooSmall {
        /// The name of the Vulkan device.
        device: String,
        /// The source that allocated the buffer.
        origin: String,
        /// Index of the buffer's dma-buf.
        memory: usize,
        /// The size that the driver requires, in bytes.
        needed_bytes: u64,
        /// The size of the dma-buf, in bytes.
        found_bytes: u64,
    },
    /// The allocation would exceed the available memory.
    #[error(
        "{device}: {needed_bytes} bytes are needed, and only {available_bytes} are available without harm to other programs; nothing was allocated"
    )]
    Budget {
        /// The name of the Vulkan device.
        device: String,
        /// The size of all buffers of the plan, in bytes.
        needed_bytes: u64,
        /// The available memory, in bytes.
        available_bytes: u64,
    },
    /// The plan is for another source than this device's.
    #[error(
        "{device} cannot allocate this plan, which is for the source {planned}; allocate from that source"
    )]
    NotPlanned {
        /// The name of the Vulkan device.
        device: String,
        /// The source that the plan names.
        planned: String,
    },
    /// The memory that the driver allocated cannot be used for the plan.
    #[error("{device}: the allocated memory cannot be used: {why}")]
    Unusable {
        /// The name of the Vulkan device.
        device: String,
        /// Why the memory cannot be used.
        why: String,
    },
    /// An export was requested of a semaphore or fence for which no signal operation was submitted.
    #[error(
        "{device}: no submitted work signals this semaphore or fence; submit such work first, and export once for each signal"
    )]
    NotSubmitted {
        /// The name of the Vulkan device.
        device: String,
    },
    /// A timeline would be signalled with a value that is not larger than its current value.
    #[error(
        "{device}: a timeline at {current} cannot be signalled with {requested}; signal a larger value"
    )]
    NotIncreasing {
        /// The name of the Vulkan device.
        device: String,
        /// The value that the call requested to signal.
        requested: u64,
        /// The current value of the timeline.
        current: u64,
    },
    /// The device cannot copy one image to the other.
    #[error("{device} cannot copy an image in {from} to one in {to}: {why}")]
    Copy {
        /// The name of the Vulkan device.
        device: String,
        /// The format of the image that would be read.
        from: FormatModifier,
        /// The format of the image that would be written.
        to: FormatModifier,
        /// The reason, and the remedy.
        why: String,
    },
    /// The size of the pixel data does not match the image.
    #[error(
        "{device}: plane {plane} has {expected_bytes} bytes of pixels, and {found_bytes} bytes were passed"
    )]
    Pixels {
        /// The name of the Vulkan device.
        device: String,
        /// The index of the plane.
        plane: usize,
        /// The size of the plane's pixels without padding.
        expected_bytes: u64,
        /// The size of the data that was passed.
        found_bytes: u64,
    },
}

crate::debug_as_display!(VulkanError);

/// Returns the beginning of a sentence about the missing requirements: "this is" or "these N are".
fn count(missing: usize) -> String {
    if missing == 1 {
        "this is".to_owned()
    } else {
        format!("these {missing} are")
    }
}

impl VulkanError {
    /// Returns the name of the device; `None` for [`VulkanError::Loader`].
    pub(super) fn device(&self) -> Option<&str> {
        match self {
            Self::Loader { .. } => None,
            Self::Lacks { device, .. }
            | Self::Missing { device, .. }
            | Self::Sampling { device, .. }
            | Self::Call { device, .. }
            | Self::Unsuitable { device, .. }
            | Self::Copy { device, .. }
            | Self::Import { device, .. }
            | Self::TooSmall { device, .. }
            | Self::Budget { device, .. }
            | Self::NotPlanned { device, .. }
            | Self::Unusable { device, .. }
            | Self::NotSubmitted { device }
            | Self::NotIncreasing { device, .. }
            | Self::Pixels { device, .. } => Some(device),
        }
    }

    fn result(&self) -> Option<vk::Result> {
        match self {
            Self::Call { result, .. } => Some(*result),
            Self::Import { result, .. } => *result,
            _ => None,
        }
    }

    /// Whether the driver reported too little memory, so that a later attempt can succeed. Drivers also report that if the
    /// process can open no more file descriptors.
    #[must_use]
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(
            self.result(),
            Some(
                vk::Result::ERROR_OUT_OF_HOST_MEMORY
                    | vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
                    | vk::Result::ERROR_TOO_MANY_OBJECTS
            )
        )
    }

    /// Whether the device is lost, and must be opened again.
    #[must_use]
    pub(crate) fn is_device_lost(&self) -> bool {
        self.result() == Some(vk::Result::ERROR_DEVICE_LOST)
    }
}
