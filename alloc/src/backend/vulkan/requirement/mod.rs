//! What an application's Vulkan instance and device must have enabled to share images, and a check that lists what is missing.
//!
//! The requirements are tables: [`INSTANCE_EXTENSIONS`], [`DEVICE_EXTENSIONS`] and [`FEATURES`]. Each entry names the
//! [`Capabilities`] that require it. An entry is required if the application wants one of its capabilities, and otherwise
//! optional.

mod missing;
mod table;

use std::ffi::CStr;

use ash::vk;

pub use missing::{Enabled, Features, Missing, MissingKind, Supported, missing_requirements};
pub use table::{DEVICE_EXTENSIONS, FEATURES, INSTANCE_EXTENSIONS};

/// The minimum Vulkan version of instance and device: version 1.1 has the queries for external memory and image formats.
pub const MINIMUM_API_VERSION: u32 = vk::API_VERSION_1_1;

bitflags::bitflags! {
    /// What an application wants to do with shared images.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Capabilities: u32 {
        /// Import dma-bufs as images, and allocate images that are exported as dma-bufs. This capability is always wanted,
        /// because the others depend on it.
        const IMAGES = 1;
        /// Semaphores that import and export sync_files.
        const SYNC_FILE = 1 << 1;
        /// Fences (VkFence) that import and export sync_files.
        const FENCE_SYNC_FILE = 1 << 2;
        /// Timeline semaphores.
        const TIMELINE = 1 << 3;
        /// Samplers that convert Y'CbCr formats such as NV12 to RGB.
        const YCBCR = 1 << 4;
    }
}

/// A Vulkan extension that is required or used for sharing images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extension {
    /// The name, as in ppEnabledExtensionNames.
    pub name: &'static CStr,
    /// The capabilities that require the extension; empty for an extension that is always optional.
    pub needed_for: Capabilities,
    /// The purpose of the extension; for an optional extension, its advantage.
    pub reason: &'static str,
    /// The Vulkan version from which on the extension is a part of Vulkan and need not be enabled; `None` if it is in no version.
    pub core_since: Option<u32>,
}

impl Extension {
    /// Returns whether the extension is a part of this Vulkan version, so that it need not be enabled.
    #[must_use]
    fn is_core_in(&self, api_version: u32) -> bool {
        self.core_since.is_some_and(|since| since <= api_version)
    }
}

/// A feature of the device that has to be enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Feature {
    /// The name of the field in the structure.
    pub name: &'static str,
    /// The Vulkan structure with the field. If VkPhysicalDeviceVulkan12Features has the field too, it can be used instead.
    pub structure: &'static str,
    /// The capabilities that require the feature.
    pub needed_for: Capabilities,
    /// The purpose of the feature.
    pub reason: &'static str,
}

/// Lists the extensions that an instance of this version must enable for `wanted`; none from 1.1 on.
pub fn required_instance_extensions(
    wanted: Capabilities,
    api_version: u32,
) -> impl Iterator<Item = &'static Extension> {
    required(INSTANCE_EXTENSIONS, wanted, api_version)
}

/// Lists the extensions that a device must enable for `wanted`. `api_version` is the lower of the version that the instance
/// requested (VkApplicationInfo::apiVersion) and the device's version.
pub fn required_device_extensions(
    wanted: Capabilities,
    api_version: u32,
) -> impl Iterator<Item = &'static Extension> {
    required(DEVICE_EXTENSIONS, wanted, api_version)
}

/// Lists the extensions that are used if the device has enabled them, and are not required for `wanted`.
pub fn optional_device_extensions(
    wanted: Capabilities,
    api_version: u32,
) -> impl Iterator<Item = &'static Extension> {
    DEVICE_EXTENSIONS.iter().filter(move |one| {
        !one.needed_for.intersects(with_images(wanted)) && !one.is_core_in(api_version)
    })
}

/// Lists the features that a device must enable for `wanted`.
pub fn required_features(wanted: Capabilities) -> impl Iterator<Item = &'static Feature> {
    FEATURES
        .iter()
        .filter(move |one| one.needed_for.intersects(wanted))
}

/// Returns the extensions of a table that the capabilities need and that are not part of this API version.
fn required(
    table: &'static [Extension],
    wanted: Capabilities,
    api_version: u32,
) -> impl Iterator<Item = &'static Extension> {
    table.iter().filter(move |one| {
        one.needed_for.intersects(with_images(wanted)) && !one.is_core_in(api_version)
    })
}

fn with_images(wanted: Capabilities) -> Capabilities {
    wanted | Capabilities::IMAGES
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ash::{ext, khr};

    use super::*;

    #[test]
    fn every_extension_is_listed_once_with_a_reason() {
        let names: BTreeSet<&CStr> = DEVICE_EXTENSIONS
            .iter()
            .chain(INSTANCE_EXTENSIONS)
            .map(|one| one.name)
            .collect();
        assert_eq!(
            names.len(),
            DEVICE_EXTENSIONS.len() + INSTANCE_EXTENSIONS.len()
        );
        for one in DEVICE_EXTENSIONS.iter().chain(INSTANCE_EXTENSIONS) {
            assert!(!one.reason.is_empty(), "{:?}", one.name);
        }
        assert_eq!(
            required_features(Capabilities::all()).count(),
            FEATURES.len()
        );
    }

    #[test]
    fn extension_that_the_version_contains_is_not_required() {
        let named = |version| {
            required_device_extensions(Capabilities::TIMELINE, version)
                .map(|one| one.name)
                .collect::<Vec<_>>()
        };
        assert!(named(vk::API_VERSION_1_1).contains(&khr::timeline_semaphore::NAME));
        assert!(named(vk::API_VERSION_1_1).contains(&khr::image_format_list::NAME));
        assert_eq!(named(vk::API_VERSION_1_2).len(), 3);
        let wanted = Capabilities::all();
        assert_eq!(
            required_instance_extensions(wanted, vk::API_VERSION_1_1).count(),
            0
        );
        assert_eq!(
            required_instance_extensions(wanted, vk::API_VERSION_1_0).count(),
            INSTANCE_EXTENSIONS.len()
        );
    }

    #[test]
    fn extension_is_optional_where_its_capability_is_not_wanted() {
        let optional = |wanted| {
            optional_device_extensions(wanted, vk::API_VERSION_1_3)
                .map(|one| one.name)
                .collect::<Vec<_>>()
        };
        assert!(optional(Capabilities::IMAGES).contains(&khr::external_semaphore_fd::NAME));
        assert!(!optional(Capabilities::SYNC_FILE).contains(&khr::external_semaphore_fd::NAME));
        assert!(optional(Capabilities::all()).contains(&ext::queue_family_foreign::NAME));
    }
}
