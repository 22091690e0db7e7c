//! What an instance and a device have, and what is missing of it.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fmt;

use ash::vk;

use super::{
    Capabilities, Feature, LEAST_API_VERSION, optional_device_extensions,
    required_device_extensions, required_features, required_instance_extensions,
};

/// Which of [`FEATURES`](super::FEATURES) are switched on, or there to be switched on.
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
    use ash::{ext, khr};

    use super::super::DEVICE_EXTENSIONS;
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
