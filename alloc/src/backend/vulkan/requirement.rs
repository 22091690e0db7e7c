//! What an application's own instance and device need so that they share images, and what is missing of it.
//!
//! The tables are data: [`INSTANCE_EXTENSIONS`], [`DEVICE_EXTENSIONS`] and [`FEATURES`]. Each entry names the [`Capabilities`] that
//! are not there without it. What an application wants is then required, and the rest of a table is optional.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fmt;

use ash::{ext, khr, vk};

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

/// What instances need. All of it is in Vulkan 1.1, so an instance of [`LEAST_API_VERSION`] enables none.
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

/// Which of [`FEATURES`] are switched on, or there to be switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// VkPhysicalDeviceTimelineSemaphoreFeatures::timelineSemaphore.
    pub timeline_semaphore: bool,
    /// VkPhysicalDeviceSamplerYcbcrConversionFeatures::samplerYcbcrConversion.
    pub sampler_ycbcr_conversion: bool,
}

impl Features {
    fn of(self, feature: &Feature) -> bool {
        match feature.needed_for {
            Capabilities::TIMELINE => self.timeline_semaphore,
            Capabilities::YCBCR => self.sampler_ycbcr_conversion,
            _ => false,
        }
    }
}

/// What an application has enabled in its instance and in its device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enabled<'a> {
    /// What the instance was asked for: VkApplicationInfo::apiVersion.
    pub api_version: u32,
    /// The instance's ppEnabledExtensionNames.
    pub instance_extensions: &'a [&'a CStr],
    /// The device's ppEnabledExtensionNames.
    pub device_extensions: &'a [&'a CStr],
    /// What was switched on in the device.
    pub features: Features,
}

/// What a physical device has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offered {
    /// What it calls itself to people.
    pub name: String,
    /// The version of Vulkan that it has.
    pub api_version: u32,
    /// The extensions that a device made of it can enable.
    pub extensions: BTreeSet<CString>,
    /// The features that can be switched on.
    pub features: Features,
}

impl Offered {
    /// Lists what a device of this kind should enable for what is wanted: what is required, and what is optional and there.
    /// What is required and not there is listed too: [`missing_requirements`] tells of it.
    pub fn to_enable(
        &self,
        wanted: Capabilities,
        api_version: u32,
    ) -> impl Iterator<Item = &'static CStr> + '_ {
        let version = api_version.min(self.api_version);
        let optional = optional_device_extensions(wanted, version)
            .filter(|one| self.extensions.contains(one.name));
        required_device_extensions(wanted, version)
            .chain(optional)
            .map(|one| one.name)
    }
}

/// Of which kind something is that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingKind {
    /// The instance is of too old a version.
    InstanceVersion,
    /// The physical device is of too old a version.
    DeviceVersion,
    /// An extension of the instance.
    InstanceExtension,
    /// An extension of the device.
    DeviceExtension,
    /// A feature of the device.
    Feature,
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Of which kind it is.
    pub kind: MissingKind,
    /// Its name, as Vulkan has it.
    pub name: String,
    /// What it is for.
    pub reason: &'static str,
    /// What helps.
    pub remedy: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            MissingKind::InstanceVersion => "instance version",
            MissingKind::DeviceVersion => "device version",
            MissingKind::InstanceExtension => "instance extension",
            MissingKind::DeviceExtension => "device extension",
            MissingKind::Feature => "feature",
        };
        write!(
            out,
            "{kind} {} ({}): {}",
            self.name, self.reason, self.remedy
        )
    }
}

/// Lists everything that is missing for what is wanted, each with its reason and with what helps; nothing where all is there.
///
/// A feature or extension that is enabled and that the physical device does not have is not looked for: vkCreateDevice has
/// refused it.
#[must_use]
pub fn missing_requirements(
    wanted: Capabilities,
    enabled: &Enabled<'_>,
    offered: &Offered,
) -> Vec<Missing> {
    let mut found = Vec::new();
    for (kind, version, remedy) in [
        (
            MissingKind::InstanceVersion,
            enabled.api_version,
            "raise VkApplicationInfo::apiVersion",
        ),
        (
            MissingKind::DeviceVersion,
            offered.api_version,
            "the driver has no newer one; take another device",
        ),
    ] {
        if version < LEAST_API_VERSION {
            found.push(Missing {
                kind,
                name: "1.1".to_owned(),
                reason: "what asks a device for its memory and its images is in it",
                remedy: format!("it is {}; {remedy}", version_text(version)),
            });
        }
    }
    for one in required_instance_extensions(wanted, enabled.api_version) {
        if !enabled.instance_extensions.contains(&one.name) {
            found.push(Missing {
                kind: MissingKind::InstanceExtension,
                name: text(one.name),
                reason: one.reason,
                remedy: "Vulkan 1.1 contains it".to_owned(),
            });
        }
    }
    let version = enabled.api_version.min(offered.api_version);
    for one in required_device_extensions(wanted, version) {
        if !enabled.device_extensions.contains(&one.name) {
            found.push(Missing {
                kind: MissingKind::DeviceExtension,
                name: text(one.name),
                reason: one.reason,
                remedy: if offered.extensions.contains(one.name) {
                    "the driver has it; enable it in VkDeviceCreateInfo".to_owned()
                } else {
                    format!("the driver of {} does not have it", offered.name)
                },
            });
        }
    }
    for one in required_features(wanted) {
        if !enabled.features.of(one) {
            found.push(Missing {
                kind: MissingKind::Feature,
                name: format!("{}::{}", one.structure, one.name),
                reason: one.reason,
                remedy: if offered.features.of(one) {
                    "the driver has it; chain the structure to VkDeviceCreateInfo".to_owned()
                } else {
                    format!("the driver of {} does not have it", offered.name)
                },
            });
        }
    }
    found
}

fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}

fn version_text(version: u32) -> String {
    format!(
        "{}.{}",
        vk::api_version_major(version),
        vk::api_version_minor(version)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lavapipe() -> Offered {
        Offered {
            name: "llvmpipe".to_owned(),
            api_version: vk::API_VERSION_1_3,
            extensions: DEVICE_EXTENSIONS
                .iter()
                .map(|one| one.name.to_owned())
                .collect(),
            features: Features {
                timeline_semaphore: true,
                sampler_ycbcr_conversion: true,
            },
        }
    }

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

    #[test]
    fn everything_that_is_missing_is_listed_with_what_helps() {
        let mut offered = lavapipe();
        offered
            .extensions
            .remove(ext::image_drm_format_modifier::NAME);
        offered.features.sampler_ycbcr_conversion = false;
        let enabled = Enabled {
            api_version: vk::API_VERSION_1_1,
            device_extensions: &[khr::external_memory_fd::NAME],
            ..Enabled::default()
        };
        let found = missing_requirements(Capabilities::all(), &enabled, &offered);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "device extension VK_EXT_external_memory_dma_buf (makes that file descriptor a dma-buf, which drivers other than \
                 this one take): the driver has it; enable it in VkDeviceCreateInfo",
                "device extension VK_EXT_image_drm_format_modifier (says how pixels lie, so that nobody guesses a layout): the \
                 driver of llvmpipe does not have it",
                "device extension VK_KHR_image_format_list (VK_EXT_image_drm_format_modifier depends on it): the driver has it; \
                 enable it in VkDeviceCreateInfo",
                "device extension VK_KHR_external_semaphore_fd (hands semaphores over as sync_files, and shares timelines): the \
                 driver has it; enable it in VkDeviceCreateInfo",
                "device extension VK_KHR_external_fence_fd (hands fences over as sync_files): the driver has it; enable it in \
                 VkDeviceCreateInfo",
                "device extension VK_KHR_timeline_semaphore (numbers the points of a semaphore, as compositors' syncobj \
                 timelines do): the driver has it; enable it in VkDeviceCreateInfo",
                "feature VkPhysicalDeviceTimelineSemaphoreFeatures::timelineSemaphore (without it no timeline semaphore is made): \
                 the driver has it; chain the structure to VkDeviceCreateInfo",
                "feature VkPhysicalDeviceSamplerYcbcrConversionFeatures::samplerYcbcrConversion (without it no sampler converts \
                 from Y'CbCr): the driver of llvmpipe does not have it",
            ]
        );
    }

    #[test]
    fn instance_of_an_old_version_is_told_its_version_and_its_extensions() {
        let names = [khr::get_physical_device_properties2::NAME];
        let enabled = Enabled {
            api_version: vk::API_VERSION_1_0,
            instance_extensions: &names,
            ..Enabled::default()
        };
        let found = missing_requirements(Capabilities::IMAGES, &enabled, &lavapipe());
        let of = |kind| {
            found
                .iter()
                .filter(|one| one.kind == kind)
                .map(|one| one.name.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(MissingKind::InstanceVersion), ["1.1"]);
        assert_eq!(
            of(MissingKind::InstanceExtension),
            ["VK_KHR_external_memory_capabilities"]
        );
        assert!(of(MissingKind::DeviceVersion).is_empty());
    }

    #[test]
    fn device_with_all_that_should_be_enabled_lacks_nothing() {
        let (offered, wanted) = (lavapipe(), Capabilities::all());
        for version in [
            vk::API_VERSION_1_1,
            vk::API_VERSION_1_2,
            vk::API_VERSION_1_3,
        ] {
            let names: Vec<&CStr> = offered.to_enable(wanted, version).collect();
            let enabled = Enabled {
                api_version: version,
                device_extensions: &names,
                features: offered.features,
                ..Enabled::default()
            };
            assert_eq!(missing_requirements(wanted, &enabled, &offered), Vec::new());
            assert!(names.contains(&ext::queue_family_foreign::NAME));
        }
    }
}
