//! The parser of the text that `vulkaninfo` prints.
//!
//! ```text
//! GPU0:
//! VkPhysicalDeviceProperties:
//!         deviceType        = PHYSICAL_DEVICE_TYPE_DISCRETE_GPU
//!         deviceName        = AMD Radeon RX 6800
//! VkPhysicalDeviceDrmPropertiesEXT:
//!         primaryMinor = 1
//! Device Extensions: count = 2
//!         VK_EXT_external_memory_dma_buf : extension revision 1
//! Common Format Group[0]:
//!         FORMAT_R8G8B8A8_UNORM
//!         Properties:
//!                 linearTilingFeatures: count = 1
//!                         FORMAT_FEATURE_2_SAMPLED_IMAGE_BIT
//! ```
//! Older versions name a format with a colon, and its features `linear:`, `linearTiling` or `linearTilingFeatures`.

use super::error::LineError;
use super::gpu::Gpu;
use super::text::{Line, last_line, lines, value_of};

/// The maximum number of devices in a file, and the maximum number of formats of a group.
const MAXIMUM: usize = 64;
const MAXIMUM_GROUP: usize = 1024;

/// Returns whether a line is the first line of vulkaninfo's text.
pub(super) fn is_first(line: &str) -> bool {
    line == "VULKANINFO"
        || line.starts_with("Vulkan Instance Version:")
        || line == "VkPhysicalDeviceProperties:"
}

/// Reads the devices of a text, in memory and time proportional to its length.
pub(super) fn read(text: &str) -> Result<Vec<Gpu>, LineError> {
    let mut reader = Reader {
        found: Vec::new(),
        group: Vec::new(),
        features: None,
    };
    for line in lines(text) {
        reader.line(line)?;
    }
    reader.finish_group();
    let Some(unnamed) = reader.found.iter().position(|own| own.name.is_empty()) else {
        if reader.found.is_empty() {
            let expected = "a device with its deviceName, as vulkaninfo prints it";
            return Err(LineError::new(last_line(text), expected, ""));
        }
        return Ok(reader.found);
    };
    let expected = format!("the deviceName of GPU{unnamed}");
    Err(LineError::new(last_line(text), expected, ""))
}

struct Reader<'text> {
    found: Vec<Gpu>,
    /// The formats whose features are being read.
    group: Vec<&'text str>,
    /// Whether linear images of the group have a feature that Covalent uses; `None` before the features are read.
    features: Option<Features>,
}

/// The tiling whose features are being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Features {
    Linear {
        are_used: bool,
    },
    /// Features of images that are not linear. They follow the features of linear images.
    Other {
        are_used: bool,
    },
}

impl<'text> Reader<'text> {
    /// Reads a line of vulkaninfo's output, as the current device and group require.
    fn line(&mut self, line: Line<'text>) -> Result<(), LineError> {
        let text = line.text;
        if is_device(text) {
            self.finish_group();
            return self.add_device(line);
        }
        if self.found.is_empty() {
            // The text of a single device may begin after its heading `GPU0:`.
            if text == "VkPhysicalDeviceProperties:" {
                self.add_device(line)?;
            }
            return Ok(());
        }
        let Some(gpu) = self.found.last_mut() else {
            return Ok(());
        };
        let minor = |value: &str| {
            let none = || LineError::new(line.number, "a minor number", value);
            value
                .parse::<i64>()
                .map_err(|_| none())
                .map(|own| u32::try_from(own).ok())
        };
        if let Some(value) = value_of(text, "deviceName") {
            if gpu.name.is_empty() {
                gpu.name = value.to_owned();
            }
        } else if let Some(value) = value_of(text, "driverName") {
            gpu.driver = value.to_owned();
        } else if let Some(value) = value_of(text, "deviceType") {
            gpu.is_cpu = value.contains("TYPE_CPU");
        } else if let Some(value) = value_of(text, "hasPrimary") {
            gpu.lacks_primary = value == "false";
        } else if let Some(value) = value_of(text, "hasRender") {
            gpu.lacks_render = value == "false";
        } else if let Some(value) = value_of(text, "primaryMinor") {
            gpu.primary = minor(value)?;
        } else if let Some(value) = value_of(text, "renderMinor") {
            gpu.render = minor(value)?;
        } else if text.starts_with("Device Extensions") {
            gpu.extensions.get_or_insert_default();
        } else if text.starts_with("VK_") && text.contains("extension revision") {
            let name = text.split([' ', ':']).next().unwrap_or_default();
            // The extensions of the instance precede all devices, so no device gets them.
            gpu.add_extension(name);
        } else {
            self.format_line(line)?;
        }
        Ok(())
    }

    fn add_device(&mut self, line: Line<'_>) -> Result<(), LineError> {
        if self.found.len() >= MAXIMUM {
            let expected = format!("at most {MAXIMUM} devices");
            return Err(LineError::new(line.number, expected, line.text));
        }
        self.found.push(Gpu::default());
        Ok(())
    }

    fn format_line(&mut self, line: Line<'text>) -> Result<(), LineError> {
        let text = line.text;
        let is_feature = text.contains("_BIT");
        let own = text.strip_prefix("VK_").unwrap_or(text);
        if own.starts_with("FORMAT_") && !own.starts_with("FORMAT_FEATURE") && !is_feature {
            if self.features.is_some() {
                self.finish_group();
            }
            if self.group.len() >= MAXIMUM_GROUP {
                let expected = format!("at most {MAXIMUM_GROUP} formats of a group");
                return Err(LineError::new(line.number, expected, text));
            }
            let end = text.find([':', ' ']).unwrap_or(text.len());
            self.group.extend(text.get(..end));
            return Ok(());
        }
        let are_used = match self.features {
            Some(Features::Linear { are_used } | Features::Other { are_used }) => are_used,
            None => false,
        };
        if text.starts_with("linear") {
            self.features = Some(Features::Linear { are_used });
        } else if text.starts_with("optimal") || text.starts_with("buffer") {
            self.features = Some(Features::Other { are_used });
        }
        let is_linear = matches!(self.features, Some(Features::Linear { .. }));
        if is_linear && is_feature && Gpu::is_used_feature(text) {
            self.features = Some(Features::Linear { are_used: true });
        }
        Ok(())
    }

    fn finish_group(&mut self) {
        let features = self.features.take();
        let are_used = matches!(
            features,
            Some(Features::Linear { are_used: true } | Features::Other { are_used: true })
        );
        let group = std::mem::take(&mut self.group);
        if let Some(gpu) = self.found.last_mut() {
            for name in group {
                gpu.add_format(name, are_used);
            }
        }
    }
}

/// Returns whether a line is the heading of a device, such as `GPU0:`.
fn is_device(text: &str) -> bool {
    let number = text
        .strip_prefix("GPU")
        .and_then(|rest| rest.strip_suffix(':'));
    number.is_some_and(|number| number.parse::<u16>().is_ok())
}
