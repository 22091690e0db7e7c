//! The parser of the JSON of `vulkaninfo --json`: the form of Vulkan profiles, and two older forms.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use covalent_solver::reading::budget::BudgetScope;

use super::error::LineError;
use super::gpu::Gpu;
use super::json::{self, Number};

/// The input that this parser expects, as its errors name it.
const EXPECTED: &str = "the JSON of vulkaninfo --json";

#[derive(Deserialize)]
struct Document {
    /// The form of Vulkan profiles has the device in `capabilities.device`.
    #[serde(default)]
    capabilities: Option<Capabilities>,
    /// The oldest form has the structures of the device as members of the outermost object.
    #[serde(default, rename = "VkPhysicalDeviceProperties")]
    properties: Option<DeviceProperties>,
    #[serde(default, rename = "ArrayOfVkExtensionProperties")]
    extensions: Vec<NamedExtension>,
    #[serde(default, rename = "Device Properties and Extensions")]
    by_device: Option<BTreeMap<String, ByDevice>>,
}

#[derive(Deserialize)]
struct Capabilities {
    device: Capability,
}

#[derive(Deserialize)]
struct Capability {
    #[serde(default)]
    extensions: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default)]
    formats: Option<BTreeMap<String, Format>>,
    #[serde(default)]
    properties: Option<Properties>,
}

#[derive(Default, Deserialize)]
struct Properties {
    #[serde(default, rename = "VkPhysicalDeviceProperties")]
    device: Option<DeviceProperties>,
    #[serde(
        default,
        rename = "VkPhysicalDeviceDriverProperties",
        alias = "VkPhysicalDeviceDriverPropertiesKHR"
    )]
    driver: Option<DriverProperties>,
    #[serde(default, rename = "VkPhysicalDeviceVulkan12Properties")]
    vulkan12: Option<DriverProperties>,
    #[serde(default, rename = "VkPhysicalDeviceDrmPropertiesEXT")]
    nodes: Option<Nodes>,
}

#[derive(Deserialize)]
struct DeviceProperties {
    #[serde(default, rename = "deviceName")]
    name: String,
    #[serde(default, rename = "deviceType")]
    kind: Option<Kind>,
}

/// The type of a device (`VkPhysicalDeviceType`), by name or by number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kind {
    Name(String),
    Number(u64),
}

impl Kind {
    fn is_cpu(&self) -> bool {
        /// `VK_PHYSICAL_DEVICE_TYPE_CPU`.
        const CPU: u64 = 4;
        match self {
            Self::Name(name) => name.contains("TYPE_CPU"),
            Self::Number(number) => *number == CPU,
        }
    }
}

#[derive(Default, Deserialize)]
struct DriverProperties {
    #[serde(default, rename = "driverName")]
    name: String,
}

#[derive(Deserialize)]
struct Nodes {
    #[serde(default, rename = "hasPrimary")]
    has_primary: Option<Number>,
    #[serde(default, rename = "hasRender")]
    has_render: Option<Number>,
    #[serde(default, rename = "primaryMinor")]
    primary: Option<Number>,
    #[serde(default, rename = "renderMinor")]
    render: Option<Number>,
}

#[derive(Default, Deserialize)]
struct Format {
    #[serde(default, rename = "VkFormatProperties")]
    properties: Option<LinearFeatures>,
    #[serde(
        default,
        rename = "VkFormatProperties3",
        alias = "VkFormatProperties3KHR"
    )]
    properties3: Option<LinearFeatures>,
}

#[derive(Deserialize)]
struct LinearFeatures {
    #[serde(default, rename = "linearTilingFeatures", alias = "linearTiling")]
    linear: Vec<String>,
}

#[derive(Deserialize)]
struct NamedExtension {
    #[serde(default, rename = "extensionName")]
    name: String,
}

/// A device in the older form that has the object `Device Properties and Extensions`, with a member such as `GPU0` for each
/// device.
#[derive(Deserialize)]
struct ByDevice {
    #[serde(default, rename = "VkPhysicalDeviceProperties")]
    device: Option<DeviceProperties>,
    #[serde(
        default,
        rename = "VkPhysicalDeviceDriverProperties",
        alias = "VkPhysicalDeviceDriverPropertiesKHR"
    )]
    driver: Option<DriverProperties>,
    #[serde(default, rename = "Device Extensions")]
    extensions: Option<BTreeMap<String, IgnoredAny>>,
    #[serde(default, rename = "Format Properties")]
    formats: Option<BTreeMap<String, LinearFeatures>>,
}

/// Reads the devices, in memory and time proportional to the length of the text.
pub(super) fn read(text: &str) -> Result<Vec<Gpu>, LineError> {
    let _scope = BudgetScope::begin();
    let document: Document = json::read(text, EXPECTED)?;
    let mut found = Vec::new();
    if let Some(capabilities) = document.capabilities {
        found.push(of_profile(capabilities.device));
    }
    for (label, own) in document.by_device.into_iter().flatten() {
        let mut gpu = with_properties(Properties {
            device: own.device,
            driver: own.driver,
            ..Properties::default()
        });
        if gpu.name.is_empty() {
            gpu.name = label;
        }
        add_extensions(&mut gpu, own.extensions);
        for (name, features) in own.formats.into_iter().flatten() {
            gpu.add_format(&name, are_used(&features));
        }
        found.push(gpu);
    }
    if let Some(device) = document.properties {
        let properties = Properties {
            device: Some(device),
            ..Properties::default()
        };
        let mut gpu = with_properties(properties);
        gpu.extensions.get_or_insert_default();
        let names = document.extensions.iter();
        names.for_each(|own| gpu.add_extension(&own.name));
        found.push(gpu);
    }
    if found.is_empty() {
        let expected = format!("{EXPECTED} with the capabilities of a device");
        return Err(LineError::new(
            1,
            expected,
            text.lines().next().unwrap_or(""),
        ));
    }
    for gpu in &mut found {
        if gpu.name.is_empty() {
            gpu.name = "a Vulkan device".to_owned();
        }
    }
    Ok(found)
}

fn of_profile(capability: Capability) -> Gpu {
    let mut gpu = with_properties(capability.properties.unwrap_or_default());
    add_extensions(&mut gpu, capability.extensions);
    for (name, format) in capability.formats.into_iter().flatten() {
        let all = [format.properties, format.properties3];
        let has_features = all.iter().flatten().any(are_used);
        gpu.add_format(&name, has_features);
    }
    gpu
}

fn with_properties(properties: Properties) -> Gpu {
    let named = [properties.driver, properties.vulkan12]
        .into_iter()
        .flatten();
    let nodes = properties.nodes;
    let minor = |own: Option<Number>| own.and_then(|own| u32::try_from(own.0).ok());
    let mut gpu = Gpu {
        driver: named.map(|own| own.name).next().unwrap_or_default(),
        primary: minor(nodes.as_ref().and_then(|own| own.primary)),
        render: minor(nodes.as_ref().and_then(|own| own.render)),
        lacks_primary: nodes.as_ref().and_then(|own| own.has_primary) == Some(Number(0)),
        lacks_render: nodes.as_ref().and_then(|own| own.has_render) == Some(Number(0)),
        ..Gpu::default()
    };
    if let Some(device) = properties.device {
        gpu.is_cpu = device.kind.is_some_and(|own| own.is_cpu());
        gpu.name = device.name;
    }
    gpu
}

fn add_extensions(gpu: &mut Gpu, extensions: Option<BTreeMap<String, IgnoredAny>>) {
    if let Some(extensions) = extensions {
        gpu.extensions.get_or_insert_default();
        extensions.keys().for_each(|name| gpu.add_extension(name));
    }
}

fn are_used(features: &LinearFeatures) -> bool {
    features.linear.iter().any(|own| Gpu::is_used_feature(own))
}
