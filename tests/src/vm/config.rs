//! The guest's configurations: their displays, kernel modules and sizes.
//!
//! Every configuration of the PC has cameras, the CMA heap, udmabuf, the system heap and vgem:
//!
//! | node | device |
//! | --- | --- |
//! | `/dev/video0` | vivid, capture: input 0 a webcam, input 1 HDMI. Its queue imports scattered memory (vmalloc) |
//! | `/dev/video1` | vivid, output over HDMI; it can be looped back into the capture's HDMI input |
//! | `/dev/video2`, `/dev/video3` | a second instance of vivid, capture and output, whose queues import only contiguous memory (dma-contig) |
//!
//! Cards have the same number in every boot. The displays of the configuration come first, and vgem is the last card.
//!
//! The board has the dma-heaps of the memory that its devicetree reserves. If the devicetree has a node for a camera, the board
//! has the camera `/dev/video0`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use crate::wire::Module;

/// A configuration of the guest's hardware.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Config {
    /// A virtio-gpu without 3D. If the *host* has `/dev/udmabuf`, it has `blob=on` and imports buffers of other devices.
    /// Otherwise QEMU refuses this option.
    Virtio,
    /// A bochs display: a framebuffer in PCI memory, without a GPU.
    Bochs,
    /// vkms with writeback and overlay planes, without a PCI display.
    Vkms,
    /// A virtio-gpu with virgl and Venus (GL and Vulkan through the host's drivers), under an X server inside the root file
    /// system.
    Venus,
    /// virtio-gpu, bochs and vkms together. virgl is left out, because QEMU makes no picture of a display that GL draws.
    Full,
    /// An aarch64 board with a devicetree, a camera with reserved memory, and a bochs display. It is always emulated.
    Board,
}

impl Config {
    /// All configurations of the PC, in the order in which the suite runs them.
    pub const ALL: [Self; 5] = [
        Self::Virtio,
        Self::Bochs,
        Self::Vkms,
        Self::Venus,
        Self::Full,
    ];

    /// Returns the platform of the configuration.
    #[must_use]
    pub fn platform(self) -> Platform {
        match self {
            Self::Board => Platform::Board,
            _ => Platform::Pc,
        }
    }

    /// Returns the name of the configuration on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Bochs => "bochs",
            Self::Vkms => "vkms",
            Self::Venus => "venus",
            Self::Full => "full",
            Self::Board => "board",
        }
    }

    /// Returns whether QEMU draws the display with GL, which requires an X server.
    #[must_use]
    pub fn needs_x_server(self) -> bool {
        self == Self::Venus
    }

    /// Returns whether QEMU's monitor can take a picture of the display.
    #[must_use]
    pub fn has_screendump(self) -> bool {
        matches!(self, Self::Virtio | Self::Bochs | Self::Full | Self::Board)
    }

    /// Returns the kernel drivers of the guest's cards, in the order of the cards' numbers.
    #[must_use]
    pub fn cards(self) -> &'static [&'static str] {
        match self {
            Self::Virtio | Self::Venus => &["virtio_gpu", "vgem"],
            Self::Bochs | Self::Board => &["bochs-drm", "vgem"],
            Self::Vkms => &["vkms", "vgem"],
            Self::Full => &["virtio_gpu", "bochs-drm", "vkms", "vgem"],
        }
    }

    /// Returns the arguments of QEMU's option `-device` for the displays. `in_window` is whether a window shows them.
    #[must_use]
    pub fn devices(self, size: Size, host: Host, in_window: bool) -> Vec<String> {
        let Size { width, height } = size;
        let blob = if host.udmabuf { ",blob=on" } else { "" };
        // A window reports its own size to virtio-gpu, and QEMU's EDID then lacks the requested size. Without EDID the kernel
        // offers all usual sizes.
        let edid = if in_window { ",edid=off" } else { "" };
        let virtio = format!("virtio-gpu-pci,id=display,xres={width},yres={height}{blob}{edid}");
        let bochs = |id| format!("bochs-display,id={id},xres={width},yres={height}");
        match self {
            Self::Virtio => vec![virtio],
            Self::Bochs | Self::Board => vec![bochs("display")],
            Self::Vkms => Vec::new(),
            Self::Venus => vec![format!(
                "virtio-gpu-gl-pci,id=display,xres={width},yres={height},hostmem=1G,blob=on,venus=on"
            )],
            Self::Full => vec![virtio, bochs("second")],
        }
    }

    /// Returns the name of the kernel module that drives the first display.
    pub(super) fn display_module(self) -> &'static str {
        match self {
            Self::Virtio | Self::Venus | Self::Full => "virtio_gpu",
            Self::Bochs | Self::Board => "bochs",
            Self::Vkms => "vkms",
        }
    }

    /// Returns the kernel modules that the guest loads, in loading order.
    #[must_use]
    pub fn modules(self) -> Vec<Module> {
        let vkms: &[(&str, &[&str])] = &[
            ("configfs", &[]),
            ("drm_shmem_helper", &[]),
            ("vkms", &["enable_writeback=1", "enable_overlay=1"]),
        ];
        let displays: Vec<(&str, &[&str])> = match self {
            Self::Virtio | Self::Venus => vec![("virtio_gpu", &[])],
            Self::Bochs | Self::Board => vec![("bochs", &[])],
            Self::Vkms => vkms.to_vec(),
            Self::Full => [&[("virtio_gpu", &[] as &[&str]), ("bochs", &[])], vkms].concat(),
        };
        let common: [(&str, &[&str]); 7] = [
            ("configfs", &[]),
            ("vgem", &[]),
            ("cma_heap", &[]),
            ("virtio_rng", &[]),
            ("virtio_input", &[]),
            ("evdev", &[]),
            ("vivid", &VIVID),
        ];
        let board: [(&str, &[&str]); 7] = [
            ("configfs", &[]),
            ("vgem", &[]),
            ("dma-heap", &[]),
            ("system_heap", &[]),
            ("cma_heap", &[]),
            ("virtio_rng", &[]),
            ("board_camera", &BOARD_CAMERA),
        ];
        let others = match self.platform() {
            Platform::Pc => common,
            Platform::Board => board,
        };
        displays
            .into_iter()
            .chain(others)
            .map(|(name, options)| Module {
                name: name.to_owned(),
                options: options.iter().map(|option| (*option).to_owned()).collect(),
            })
            .collect()
    }
}

/// The options for two instances of vivid: the first has vmalloc queues, the second dma-contig queues. Each has a capture node
/// (0x1) with a webcam input (0) and an HDMI input (3), with two bits for each input from the lowest bit, and an output node
/// (0x100) over HDMI.
///
/// # References
/// Linux, `Documentation/admin-guide/media/vivid.rst`.
const VIVID: [&str; 7] = [
    "n_devs=2",
    "allocators=0,1",
    "node_types=0x101,0x101",
    "num_inputs=2,2",
    "input_types=0xc,0xc",
    "num_outputs=1,1",
    "output_types=1,1",
];

/// The options for the board's camera: one webcam whose queue imports only contiguous memory.
const BOARD_CAMERA: [&str; 5] = [
    "n_devs=1",
    "allocators=1",
    "node_types=0x1",
    "num_inputs=1",
    "input_types=0",
];

impl fmt::Display for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// Properties of the host on which a configuration depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// Whether the host has `/dev/udmabuf`.
    pub udmabuf: bool,
}

impl Host {
    /// Reads the properties of this host.
    #[must_use]
    pub fn here() -> Self {
        Self {
            udmabuf: Path::new("/dev/udmabuf").exists(),
        }
    }
}

/// The size of a display in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Size {
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
}

impl Size {
    /// 640x480, which is also a size of vivid's webcam. Larger pictures only take an emulated guest longer.
    pub const SMALL: Self = Self {
        width: 640,
        height: 480,
    };
}

impl Default for Size {
    fn default() -> Self {
        Self::SMALL
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.parse()
                .ok()
                .filter(|pixels| (1..=16384).contains(pixels))
        };
        text.split_once('x')
            .and_then(|(width, height)| {
                Some(Self {
                    width: number(width)?,
                    height: number(height)?,
                })
            })
            .ok_or_else(|| format!("{text:?} is not a size: write WIDTHxHEIGHT, such as 640x480, each from 1 to 16384"))
    }
}

/// The size of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Memory {
    mebibytes: u32,
}

impl Memory {
    /// 2 GiB. All of this memory is below 4 GiB, where 32-bit devices can address it.
    pub const TWO_GIBIBYTES: Self = Self { mebibytes: 2048 };
    /// 4 GiB. A part of this memory is above 4 GiB, where 32-bit devices cannot address it.
    pub const FOUR_GIBIBYTES: Self = Self { mebibytes: 4096 };
    /// 6 GiB. 32-bit devices cannot address half of this memory.
    pub const SIX_GIBIBYTES: Self = Self { mebibytes: 6144 };

    /// The smallest memory with which the guest boots, in MiB.
    const MIN_MEBIBYTES: u32 = 512;
    /// The largest accepted memory size, in MiB. It is more than a host has.
    const MAX_MEBIBYTES: u32 = 1 << 20;

    /// Returns a memory size of this many MiB; `None` if no guest can have it.
    #[must_use]
    pub fn mebibytes(mebibytes: u32) -> Option<Self> {
        (Self::MIN_MEBIBYTES..=Self::MAX_MEBIBYTES)
            .contains(&mebibytes)
            .then_some(Self { mebibytes })
    }

    /// Returns the size in MiB.
    #[must_use]
    pub fn as_mebibytes(self) -> u32 {
        self.mebibytes
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::TWO_GIBIBYTES
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mebibytes % 1024 == 0 {
            formatter.pad(&format!("{}G", self.mebibytes / 1024))
        } else {
            formatter.pad(&format!("{}M", self.mebibytes))
        }
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, factor) = match text.strip_suffix(['G', 'g']) {
            Some(digits) => (digits, 1024),
            None => (text.strip_suffix(['M', 'm']).unwrap_or(text), 1),
        };
        digits
            .parse::<u32>()
            .ok()
            .and_then(|number| Self::mebibytes(number.checked_mul(factor)?))
            .ok_or_else(|| {
                format!("{text:?} is not a memory size: give a number with M or G, such as 1536M or 2G, from 512M to 1024G")
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_text_is_parsed_as_mebibytes() {
        for (text, mebibytes) in [("2G", 2048), ("1536M", 1536), ("4g", 4096), ("512", 512)] {
            assert_eq!(text.parse::<Memory>().unwrap().as_mebibytes(), mebibytes);
        }
        for text in ["", "G", "-1G", "100M", "4294967295G", "2T"] {
            assert!(text.parse::<Memory>().is_err(), "{text}");
        }
        assert_eq!(Memory::default().to_string(), "2G");
    }

    #[test]
    fn size_text_is_parsed_as_pixels() {
        assert_eq!("640x480".parse(), Ok(Size::default()));
        for text in ["", "640", "0x480", "640x-1", "640x99999", "x"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn virtio_has_blobs_only_where_the_host_has_udmabuf() {
        let blob = |udmabuf| {
            Config::Virtio.devices(Size::default(), Host { udmabuf }, false)[0].contains("blob=on")
        };
        assert!(blob(true));
        assert!(!blob(false));
    }

    #[test]
    fn modules_load_the_display_before_other_cards() {
        for config in Config::ALL {
            let modules = config.modules();
            let at = |name: &str| modules.iter().position(|module| module.name == name);
            let first = config.cards()[0].trim_end_matches("-drm");
            assert!(at(first) < at("vgem"), "{config}");
        }
    }
}
