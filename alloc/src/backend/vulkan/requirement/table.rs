//! The tables of Vulkan extensions and features that are required or used for sharing images.

use ash::{ext, khr, vk};

use super::{Capabilities, Extension, Feature};

/// The instance extensions. Vulkan 1.1 contains all of them, so an instance of
/// [`MINIMUM_API_VERSION`](super::MINIMUM_API_VERSION) enables none.
pub const INSTANCE_EXTENSIONS: &[Extension] = &[
    Extension {
        name: khr::get_physical_device_properties2::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "is required to query the modifiers of a format",
        core_since: Some(vk::API_VERSION_1_1),
    },
    Extension {
        name: khr::external_memory_capabilities::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "is required to query which images a device imports and exports, and the UUID of the device",
        core_since: Some(vk::API_VERSION_1_1),
    },
    Extension {
        name: khr::external_semaphore_capabilities::NAME,
        needed_for: Capabilities::SYNC_FILE,
        reason: "is required to query the handle types of semaphores",
        core_since: Some(vk::API_VERSION_1_1),
    },
    Extension {
        name: khr::external_fence_capabilities::NAME,
        needed_for: Capabilities::FENCE_SYNC_FILE,
        reason: "is required to query the handle types of fences",
        core_since: Some(vk::API_VERSION_1_1),
    },
];

/// The device extensions.
///
/// # References
/// Vulkan, "List of Extensions", with the dependencies of each; VUID-vkCreateDevice-ppEnabledExtensionNames-01387.
pub const DEVICE_EXTENSIONS: &[Extension] = &[
    Extension {
        name: khr::external_memory_fd::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "imports and exports memory as file descriptors",
        core_since: None,
    },
    Extension {
        name: ext::external_memory_dma_buf::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "imports and exports memory as dma-bufs, which other drivers can import",
        core_since: None,
    },
    Extension {
        name: ext::image_drm_format_modifier::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "makes the tiling of an image explicit",
        core_since: None,
    },
    Extension {
        name: khr::image_format_list::NAME,
        needed_for: Capabilities::IMAGES,
        reason: "is a dependency of VK_EXT_image_drm_format_modifier",
        core_since: Some(vk::API_VERSION_1_2),
    },
    Extension {
        name: khr::external_semaphore_fd::NAME,
        needed_for: Capabilities::SYNC_FILE,
        reason: "imports and exports semaphores as sync_files, and shares timelines",
        core_since: None,
    },
    Extension {
        name: khr::external_fence_fd::NAME,
        needed_for: Capabilities::FENCE_SYNC_FILE,
        reason: "imports and exports fences as sync_files",
        core_since: None,
    },
    Extension {
        name: khr::timeline_semaphore::NAME,
        needed_for: Capabilities::TIMELINE,
        reason: "provides timeline semaphores, which share points with the syncobj timelines of compositors",
        core_since: Some(vk::API_VERSION_1_2),
    },
    Extension {
        name: ext::queue_family_foreign::NAME,
        needed_for: Capabilities::empty(),
        reason: "names a camera, a display or another driver as the owner of an image (VK_QUEUE_FAMILY_FOREIGN_EXT); \
                 without it the owner is VK_QUEUE_FAMILY_EXTERNAL, which covers only drivers of the same kind",
        core_since: None,
    },
    Extension {
        name: ext::physical_device_drm::NAME,
        needed_for: Capabilities::empty(),
        reason: "names the DRM node of the device, so that the solver knows its memory; it is only queried and need not be enabled",
        core_since: None,
    },
];

/// The device features.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: "timelineSemaphore",
        structure: "VkPhysicalDeviceTimelineSemaphoreFeatures",
        needed_for: Capabilities::TIMELINE,
        reason: "is required to create timeline semaphores",
    },
    Feature {
        name: "samplerYcbcrConversion",
        structure: "VkPhysicalDeviceSamplerYcbcrConversionFeatures",
        needed_for: Capabilities::YCBCR,
        reason: "is required for samplers that convert from Y'CbCr",
    },
];
