//! The kinds of output that can be imported, and how a file's kind is recognised.

use super::{drm_text, exporters, json, text, v4l2_text, vulkan_text, wayland_text};

/// The kind of a dump: the output of a tool in one of its formats, a list of the kernel, or a devicetree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DumpKind {
    /// The output of `drm_info -j`.
    DrmInfoJson,
    /// The output of `drm_info`.
    DrmInfoText,
    /// The output of `v4l2-ctl --all` or `v4l2-ctl --list-formats-ext`.
    V4l2Ctl,
    /// The output of `vulkaninfo --json`.
    VulkaninfoJson,
    /// The output of `vulkaninfo`.
    VulkaninfoText,
    /// The output of `wayland-info`.
    WaylandInfo,
    /// The kernel's list of dma-bufs, `/sys/kernel/debug/dma_buf/bufinfo`.
    Bufinfo,
    /// A flattened devicetree (`.dtb`).
    DevicetreeBlob,
    /// A devicetree's source (`.dts`).
    DevicetreeSource,
}

impl DumpKind {
    /// The longest file that is read, in bytes.
    pub const MAXIMUM_BYTES: usize = 16 << 20;

    /// All kinds of output that can be imported.
    pub const ALL: [Self; 9] = [
        Self::DrmInfoJson,
        Self::DrmInfoText,
        Self::V4l2Ctl,
        Self::VulkaninfoJson,
        Self::VulkaninfoText,
        Self::WaylandInfo,
        Self::Bufinfo,
        Self::DevicetreeBlob,
        Self::DevicetreeSource,
    ];

    /// Determines the kind of a file by its content; `None` for a file of no listed kind, such as a recorded machine.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&[0xd0, 0x0d, 0xfe, 0xed]) {
            return Some(Self::DevicetreeBlob);
        }
        // All other kinds are recognised by text. Bytes that are not UTF-8, such as those of a name in another encoding, are
        // replaced and do not prevent that.
        let text = String::from_utf8_lossy(bytes);
        if let Some((at, _)) = json::start(&text) {
            return Self::of_json(text.get(at..).unwrap_or_default());
        }
        text::lines(&text).find_map(|line| Self::of_line(line.text))
    }

    /// Determines the kind of a JSON object by its first key, or by text that only vulkaninfo writes.
    fn of_json(json: &str) -> Option<Self> {
        const KEYS: [&str; 3] = [
            "\"VkPhysicalDevice",
            "\"Vulkan Instance Version\"",
            "khronos.org/vulkan",
        ];
        let key = json.trim_start_matches(['{', '\u{feff}', ' ', '\t', '\r', '\n']);
        if key.starts_with("\"/dev/dri/") {
            return Some(Self::DrmInfoJson);
        }
        // Covalent's own files begin with the key `format` or `version`.
        let is_own = key.starts_with("\"format\"") || key.starts_with("\"version\"");
        let is_profile = key.starts_with("\"capabilities\"");
        let is_vulkan = is_profile || !is_own && KEYS.iter().any(|own| json.contains(own));
        is_vulkan.then_some(Self::VulkaninfoJson)
    }

    /// Determines the kind of a text by one of its lines.
    fn of_line(line: &str) -> Option<Self> {
        if v4l2_text::is_first(line) {
            Some(Self::V4l2Ctl)
        } else if drm_text::is_first(line) {
            Some(Self::DrmInfoText)
        } else if vulkan_text::is_first(line) {
            Some(Self::VulkaninfoText)
        } else if exporters::is_first(line) {
            Some(Self::Bufinfo)
        } else if line.starts_with("/dts-v1/") || line == "/ {" {
            Some(Self::DevicetreeSource)
        } else if wayland_text::is_first(line) {
            Some(Self::WaylandInfo)
        } else {
            None
        }
    }

    /// Returns the name of this kind in messages, such as `drm_info's JSON`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::DrmInfoJson => "drm_info's JSON",
            Self::DrmInfoText => "drm_info's text",
            Self::V4l2Ctl => "v4l2-ctl's text",
            Self::VulkaninfoJson => "vulkaninfo's JSON",
            Self::VulkaninfoText => "vulkaninfo's text",
            Self::WaylandInfo => "wayland-info's text",
            Self::Bufinfo => "the kernel's list of dma-bufs",
            Self::DevicetreeBlob => "a flattened devicetree",
            Self::DevicetreeSource => "a devicetree's source",
        }
    }

    /// Returns the command line that makes such a file on another machine.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::DrmInfoJson => "drm_info -j > card.json",
            Self::DrmInfoText => "drm_info > card.txt",
            Self::V4l2Ctl => "v4l2-ctl -d /dev/video0 --all --list-formats-ext > camera.txt",
            // Without `--output`, vulkaninfo since 1.3 writes to a file that it names after the GPU, and not to its output.
            Self::VulkaninfoJson => "vulkaninfo --json --output gpu.json",
            Self::VulkaninfoText => "vulkaninfo > gpu.txt",
            Self::WaylandInfo => "wayland-info > compositor.txt",
            Self::Bufinfo => "sudo cat /sys/kernel/debug/dma_buf/bufinfo > bufinfo.txt",
            Self::DevicetreeBlob => "sudo cp /sys/firmware/fdt board.dtb",
            Self::DevicetreeSource => "dtc -I fs -O dts /proc/device-tree > board.dts",
        }
    }

    /// Returns the labels of all kinds as text for a message.
    pub(super) fn list() -> String {
        let labels: Vec<&str> = Self::ALL.iter().map(|kind| kind.label()).collect();
        labels.join(", ")
    }
}
