//! What an application's own instance and device need so that they share images, and what is missing of it.
//!
//! The tables are data: [`INSTANCE_EXTENSIONS`], [`DEVICE_EXTENSIONS`] and [`FEATURES`]. Each entry names the [`Capabilities`] that
//! are not there without it. What an application wants is then required, and the rest of a table is optional.

mod missing;
mod table;

use std::ffi::CStr;

use ash::vk;

pub use missing::{Enabled, Features, Missing, MissingKind, Offered, missing_requirements};
pub use table::{DEVICE_EXTENSIONS, FEATURES, INSTANCE_EXTENSIONS};

/// The least version of Vulkan, of the instance and of the device: what asks a device for its memory and its images is in it.
pub const LEAST_API_VERSION: u32 = vk::API_VERSION_1_1;

bitflags::bitflags! {
    /// What an application wants to do with images that it shares.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Capabilities: u32 {
        /// Importing dma-bufs as images, and allocating images that leave as dma-bufs. Everything else builds on it, so it is
        /// always wanted.
        const IMAGES = 1;
        /// Semaphores that take sync_files and leave as such.
        const SYNC_FILE = 1 << 1;
        /// Fences (VkFence) that take sync_files and leave as such.
        const FENCE_SYNC_FILE = 1 << 2;
        /// Timeline semaphores.
        const TIMELINE = 1 << 3;
        /// Samplers that convert pictures such as NV12 to RGB.
        const YCBCR = 1 << 4;
    }
}

/// An extension that sharing needs or uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extension {
    /// Its name, as ppEnabledExtensionNames takes it.
    pub name: &'static CStr,
    /// What is not there without it; empty for an extension that is optional in any case.
    pub needed_for: Capabilities,
    /// What it is for; of an optional one, what it buys.
    pub reason: &'static str,
    /// The version of Vulkan that contains it, so that it need not be enabled; `None` where none does.
    pub core_since: Option<u32>,
}

impl Extension {
    /// Whether an instance or device of this version contains it.
    #[must_use]
    pub fn is_core_in(&self, api_version: u32) -> bool {
        self.core_since.is_some_and(|since| since <= api_version)
    }
}

/// A feature of the device that has to be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Feature {
    /// Its field.
    pub name: &'static str,
    /// The structure that has the field. Vulkan 1.2's summary of it serves too.
    pub structure: &'static str,
    /// What is not there without it.
    pub needed_for: Capabilities,
    /// What it is for.
    pub reason: &'static str,
}

/// Lists the extensions that an instance of this version has to enable for what is wanted; none from 1.1 on.
pub fn required_instance_extensions(
    wanted: Capabilities,
    api_version: u32,
) -> impl Iterator<Item = &'static Extension> {
    required(INSTANCE_EXTENSIONS, wanted, api_version)
}

/// Lists the extensions that a device has to enable for what is wanted. `api_version` is the lower one of what the application
/// asked the instance for (VkApplicationInfo::apiVersion) and what the device has.
pub fn required_device_extensions(
    wanted: Capabilities,
    api_version: u32,
) -> impl Iterator<Item = &'static Extension> {
    required(DEVICE_EXTENSIONS, wanted, api_version)
}

/// Lists the extensions that are used where a device has enabled them, beside those that are required.
pub fn optional_device_extensions(
    wanted: Capabilities,
    api_version: u32,
) -> impl Iterator<Item = &'static Extension> {
    DEVICE_EXTENSIONS.iter().filter(move |one| {
        !one.needed_for.intersects(with_images(wanted)) && !one.is_core_in(api_version)
    })
}

/// Lists the features that a device has to switch on for what is wanted.
pub fn required_features(wanted: Capabilities) -> impl Iterator<Item = &'static Feature> {
    FEATURES
        .iter()
        .filter(move |one| one.needed_for.intersects(wanted))
}

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
    fn tables_name_each_extension_once_and_give_a_reason() {
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
