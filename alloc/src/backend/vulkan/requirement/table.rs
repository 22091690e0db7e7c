//! The tables of what sharing needs.

use ash::{ext, khr, vk};

use super::{Capabilities, Extension, Feature};

/// What instances need. All of it is in Vulkan 1.1, so an instance of [`LEAST_API_VERSION`](super::LEAST_API_VERSION) enables none.
pub const INSTANCE_EXTENSIONS: &[Extension] = &[
    Extension {
        name: khr::get_physical_device_properties2::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "asks a device for the modifiers of its formats",
        core_since: Some(vk::API_VERSION_1_1),
    },
    Extension {
        name: khr::external_memory_capabilities::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "asks which images a device imports and exports, and names the device by its UUID",
        core_since: Some(vk::API_VERSION_1_1),
    },
    Extension {
        name: khr::external_semaphore_capabilities::NAME,
        needed_for: Capabilities::SYNC_FILE,
        reason: "asks in which files semaphores travel",
        core_since: Some(vk::API_VERSION_1_1),
    },
    Extension {
        name: khr::external_fence_capabilities::NAME,
        needed_for: Capabilities::FENCE_SYNC_FILE,
        reason: "asks in which files fences travel",
        core_since: Some(vk::API_VERSION_1_1),
    },
];

/// What devices need or use.
///
/// # References
/// Vulkan, "List of Extensions", with the dependencies of each; VUID-vkCreateDevice-ppEnabledExtensionNames-01387.
pub const DEVICE_EXTENSIONS: &[Extension] = &[
    Extension {
        name: khr::external_memory_fd::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "takes memory from a file descriptor and gives it out as one",
        core_since: None,
    },
    Extension {
        name: ext::external_memory_dma_buf::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "makes that file descriptor a dma-buf, which drivers other than this one take",
        core_since: None,
    },
    Extension {
        name: ext::image_drm_format_modifier::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "says how pixels lie, so that nobody guesses a layout",
        core_since: None,
    },
    Extension {
        name: khr::image_format_list::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "VK_EXT_image_drm_format_modifier depends on it",
        core_since: Some(vk::API_VERSION_1_2),
    },
    Extension {
        name: khr::external_semaphore_fd::NAME,
        needed_for: Capabilities::SYNC_FILE,
        reason: "hands semaphores over as sync_files, and shares timelines",
        core_since: None,
    },
    Extension {
        name: khr::external_fence_fd::NAME,
        needed_for: Capabilities::FENCE_SYNC_FILE,
        reason: "hands fences over as sync_files",
        core_since: None,
    },
    Extension {
        name: khr::timeline_semaphore::NAME,
        needed_for: Capabilities::TIMELINE,
        reason: "numbers the points of a semaphore, as compositors' syncobj timelines do",
        core_since: Some(vk::API_VERSION_1_2),
    },
    Extension {
        name: ext::queue_family_foreign::NAME,
        needed_for: Capabilities::empty(),
        reason: "names a camera, a display or another driver as the owner of an image (VK_QUEUE_FAMILY_FOREIGN_EXT); \
                 without it the owner is VK_QUEUE_FAMILY_EXTERNAL, which promises nothing of drivers other than this one",
        core_since: None,
    },
    Extension {
        name: ext::physical_device_drm::NAME,
        needed_for: Capabilities::empty(),
        reason: "tells which DRM node the device is, so that the solver knows its memory; it is only asked and need not be enabled",
        core_since: None,
    },
];

/// Which features have to be switched on.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: "timelineSemaphore",
        structure: "VkPhysicalDeviceTimelineSemaphoreFeatures",
        needed_for: Capabilities::TIMELINE,
        reason: "without it no timeline semaphore is made",
    },
    Feature {
        name: "samplerYcbcrConversion",
        structure: "VkPhysicalDeviceSamplerYcbcrConversionFeatures",
        needed_for: Capabilities::YCBCR,
        reason: "without it no sampler converts from Y'CbCr",
    },
];
