//! Compares the extensions and features that an application has enabled, and those that the physical device supports, with the
//! requirements.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fmt;

use ash::vk;

use super::{
    Capabilities, Feature, MINIMUM_API_VERSION, optional_device_extensions,
    required_device_extensions, required_features, required_instance_extensions,
};

/// One flag for each of [`FEATURES`](super::FEATURES): whether a device has enabled the feature, or whether a physical device
/// supports it.
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

/// The extensions and features that an application has enabled in its instance and its device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enabled<'a> {
    /// The version that the instance requested: VkApplicationInfo::apiVersion.
    pub api_version: u32,
    /// The instance's ppEnabledExtensionNames.
    pub instance_extensions: &'a [&'a CStr],
    /// The device's ppEnabledExtensionNames.
    pub device_extensions: &'a [&'a CStr],
    /// The features that the device has enabled.
    pub features: Features,
}

/// What a physical device supports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Supported {
    /// The device's name for display.
    pub name: String,
    /// The Vulkan version that the device supports.
    pub api_version: u32,
    /// The device extensions that the device supports.
    pub extensions: BTreeSet<CString>,
    /// The features that the device supports.
    pub features: Features,
}

impl Supported {
    /// Lists the device extensions to enable for `wanted`: the required ones, and the optional ones that the device supports.
    /// A required extension that the device does not support is listed too: [`missing_requirements`] reports it.
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

/// The kind of a missing requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingKind {
    /// The instance's API version is too old.
    InstanceVersion,
    /// The physical device's API version is too old.
    DeviceVersion,
    /// An extension of the instance.
    InstanceExtension,
    /// An extension of the device.
    DeviceExtension,
    /// A feature of the device.
    Feature,
}

/// One missing requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The kind of the requirement.
    pub kind: MissingKind,
    /// The name of the version, extension or feature in Vulkan.
    pub name: String,
    /// Why it is required.
    pub reason: &'static str,
    /// How to provide it.
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

/// Lists every requirement of `wanted` that is missing, each with its reason and remedy; empty if none is missing.
///
/// An extension or feature that is enabled although the physical device does not support it is not reported, because
/// vkCreateDevice fails in that case.
#[must_use]
pub fn missing_requirements(
    wanted: Capabilities,
    enabled: &Enabled<'_>,
    supported: &Supported,
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
            supported.api_version,
            "the driver supports no newer version; use another device",
        ),
    ] {
        if version < MINIMUM_API_VERSION {
            found.push(Missing {
                kind,
                name: "1.1".to_owned(),
                reason: "Vulkan 1.1 has the queries for external memory and image formats",
                remedy: format!("the version is {}; {remedy}", version_text(version)),
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
    let version = enabled.api_version.min(supported.api_version);
    for one in required_device_extensions(wanted, version) {
        if !enabled.device_extensions.contains(&one.name) {
            found.push(Missing {
                kind: MissingKind::DeviceExtension,
                name: text(one.name),
                reason: one.reason,
                remedy: if supported.extensions.contains(one.name) {
                    "the driver supports it; enable it in VkDeviceCreateInfo".to_owned()
                } else {
                    format!("the driver of {} does not support it", supported.name)
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
                remedy: if supported.features.of(one) {
                    "the driver supports it; chain the structure to VkDeviceCreateInfo".to_owned()
                } else {
                    format!("the driver of {} does not support it", supported.name)
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

    fn lavapipe() -> Supported {
        Supported {
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
    fn every_missing_requirement_is_listed_with_its_remedy() {
        let mut supported = lavapipe();
        supported
            .extensions
            .remove(ext::image_drm_format_modifier::NAME);
        supported.features.sampler_ycbcr_conversion = false;
        let enabled = Enabled {
            api_version: vk::API_VERSION_1_1,
            device_extensions: &[khr::external_memory_fd::NAME],
            ..Enabled::default()
        };
        let found = missing_requirements(Capabilities::all(), &enabled, &supported);
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "device extension VK_EXT_external_memory_dma_buf (imports and exports memory as dma-bufs, which other drivers can import): \
                 the driver supports it; enable it in VkDeviceCreateInfo",
                "device extension VK_EXT_image_drm_format_modifier (makes the tiling of an image explicit): the driver of llvmpipe does \
                 not support it",
                "device extension VK_KHR_image_format_list (is a dependency of VK_EXT_image_drm_format_modifier): the driver supports it; \
                 enable it in VkDeviceCreateInfo",
                "device extension VK_KHR_external_semaphore_fd (imports and exports semaphores as sync_files, and shares timelines): the \
                 driver supports it; enable it in VkDeviceCreateInfo",
                "device extension VK_KHR_external_fence_fd (imports and exports fences as sync_files): the driver supports it; enable it \
                 in VkDeviceCreateInfo",
                "device extension VK_KHR_timeline_semaphore (provides timeline semaphores, which share points with the syncobj timelines of compositors): the \
                 driver supports it; enable it in VkDeviceCreateInfo",
                "feature VkPhysicalDeviceTimelineSemaphoreFeatures::timelineSemaphore (is required to create timeline semaphores): the \
                 driver supports it; chain the structure to VkDeviceCreateInfo",
                "feature VkPhysicalDeviceSamplerYcbcrConversionFeatures::samplerYcbcrConversion (is required for samplers that convert from \
                 Y'CbCr): the driver of llvmpipe does not support it",
            ]
        );
    }

    #[test]
    fn instance_of_an_old_version_lacks_the_version_and_its_extensions() {
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
    fn device_that_enables_the_listed_extensions_lacks_nothing() {
        let (supported, wanted) = (lavapipe(), Capabilities::all());
        for version in [
            vk::API_VERSION_1_1,
            vk::API_VERSION_1_2,
            vk::API_VERSION_1_3,
        ] {
            let names: Vec<&CStr> = supported.to_enable(wanted, version).collect();
            let enabled = Enabled {
                api_version: version,
                device_extensions: &names,
                features: supported.features,
                ..Enabled::default()
            };
            assert_eq!(
                missing_requirements(wanted, &enabled, &supported),
                Vec::new()
            );
            assert!(names.contains(&ext::queue_family_foreign::NAME));
        }
    }
}
