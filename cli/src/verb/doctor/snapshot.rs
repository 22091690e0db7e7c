//! The data of a machine that the checks use. The data can be written to a file and checked on another machine.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::input::{self, JsonError};

/// The version of the file format.
pub(crate) const VERSION: u32 = 1;

/// The data of one machine. The serialised field names are those of the file format.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    pub(crate) version: u32,
    pub(crate) kernel: Kernel,
    pub(crate) user: User,
    /// The sign that this is a container, such as `/.dockerenv`; `None` if there is no sign.
    pub(crate) container: Option<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cards: Vec<CardInfo>,
    pub(crate) queues: Vec<QueueInfo>,
    /// The pipelines of media-controller cameras; empty in recordings without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pipelines: Vec<PipelineInfo>,
    /// PCI graphics devices to which no driver is bound.
    #[serde(rename = "driverless")]
    pub(crate) unbound_devices: Vec<UnboundDevice>,
    pub(crate) limits: Limits,
    /// udmabuf's limits; `None` if the module is not loaded.
    pub(crate) udmabuf: Option<UdmabufLimits>,
    pub(crate) huge_pages: Vec<HugePagePool>,
    /// The total size of CMA memory in KiB; `None` if the kernel has no CMA.
    pub(crate) cma_kibibytes: Option<u64>,
    pub(crate) vulkan: Vulkan,
    /// The state of the seat managers; `None` in a recording without this field.
    pub(crate) seat: Option<Seat>,
    /// Devices for which the devicetree has no suitable memory pool; empty if there is no devicetree.
    #[serde(rename = "lacking_pools", skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing_pools: Vec<MissingPool>,
    /// Why the helper program cannot be found; `None` if it was found.
    #[serde(rename = "no_helper")]
    pub(crate) helper_error: Option<String>,
    /// The IDs of the distribution and of those that it is derived from (`ID` and `ID_LIKE` of os-release), such as `debian`,
    /// `fedora` or `arch`.
    pub(crate) distribution: Vec<String>,
}

/// The running kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kernel {
    pub(crate) release: String,
    /// The values of the kernel options that concern buffer sharing, by name without `CONFIG_`; `None` if no readable file has
    /// the options.
    pub(crate) options: Option<BTreeMap<String, String>>,
    /// The modules that concern buffer sharing, by name.
    pub(crate) modules: BTreeMap<String, ModuleState>,
}

/// The state of a kernel module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModuleState {
    BuiltIn,
    Loaded,
    /// The module is installed but not loaded.
    Available,
}

/// The user that runs this program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) id: u32,
    pub(crate) name: Option<String>,
    /// The groups of this process.
    pub(crate) groups: BTreeSet<String>,
    /// The groups of the user in `/etc/group`. They take effect at the next login.
    pub(crate) listed_groups: BTreeSet<String>,
}

/// The kind of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodeKind {
    Udmabuf,
    Heap,
    Card,
    Render,
    Video,
}

/// A device node that exists, or that should exist because the kernel has the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) kind: NodeKind,
    /// The major and minor device number, if the kernel has a device for this node.
    pub(crate) number: Option<(u32, u32)>,
    /// The node in the file system; `None` if it is missing.
    pub(crate) file: Option<NodeFile>,
}

/// A node in the file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeFile {
    pub(crate) owner: u32,
    /// The name of the group, or its number if it has no name.
    pub(crate) group: String,
    /// The permission bits. If the node has an access control list, the group bits are the list's mask, and not the permissions
    /// of the owning group.
    pub(crate) mode: u32,
    /// The access control list; empty if the node has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) acl: Vec<AclEntry>,
    /// The error of opening the node; `None` if it could be opened.
    #[serde(rename = "refusal")]
    pub(crate) open_error: Option<OpenError>,
}

/// An entry of an access control list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AclEntry {
    pub(crate) subject: AclSubject,
    /// The permission bits, 0 to 7, with the list's mask applied.
    pub(crate) permissions: u32,
}

/// The user or group whose permissions an entry has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AclSubject {
    /// The user with this ID; udev's `uaccess` adds the user of the active session.
    User(u32),
    /// The group that owns the node.
    OwningGroup,
    /// The group with this name, or with this number if it has no name.
    Group(String),
}

/// An error number and its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenError {
    pub(crate) errno: i32,
    pub(crate) words: String,
}

/// A DRM card whose node can be opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CardInfo {
    pub(crate) node: String,
    pub(crate) driver: String,
    pub(crate) imports_foreign: bool,
    /// A text that states which buffers of other devices the card can import.
    pub(crate) import: String,
    /// Whether the card has KMS planes.
    #[serde(rename = "shows")]
    pub(crate) drives_display: bool,
    pub(crate) has_timelines: bool,
    pub(crate) has_render_node: bool,
}

/// A V4L2 queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueInfo {
    pub(crate) name: String,
    pub(crate) node: String,
    /// Whether the queue imports only contiguous memory; `None` if that is not known.
    pub(crate) needs_contiguous: Option<bool>,
}

/// The pipeline of a media-controller camera.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PipelineInfo {
    pub(crate) node: String,
    /// The media device, and its driver.
    pub(crate) media: String,
    pub(crate) driver: String,
    /// The entities from the sensor to the node.
    pub(crate) entities: Vec<String>,
    /// The pad that fails, and why; `None` if the pipeline can stream.
    pub(crate) fault: Option<String>,
    /// Why the pipeline could not be checked; `None` if it was checked.
    pub(crate) error: Option<String>,
}

/// A PCI graphics device to which no driver is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnboundDevice {
    pub(crate) address: String,
    pub(crate) alias: String,
}

/// Resource limits of this process; `None` means unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) files: Option<u64>,
    pub(crate) files_hard: Option<u64>,
    pub(crate) locked_bytes: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    /// The memory limit of the control group.
    pub(crate) group_bytes: Option<u64>,
}

/// The values of udmabuf's module parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UdmabufLimits {
    pub(crate) size_mebibytes: u64,
    pub(crate) list_entries: u64,
}

/// The pool of huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HugePagePool {
    pub(crate) kibibytes: u64,
    pub(crate) total: u64,
    pub(crate) free: u64,
}

/// A device that needs contiguous memory, with the devicetree source of a pool for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MissingPool {
    pub(crate) words: String,
    pub(crate) snippet: String,
}

/// The seat managers and sessions of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seat {
    pub(crate) socket_path: String,
    /// seatd's socket; `None` if it does not exist.
    pub(crate) socket: Option<NodeFile>,
    /// Whether logind is running.
    pub(crate) has_logind: bool,
    /// The seat of this process's logind session, if any.
    pub(crate) session: Option<String>,
    /// The display server in whose session this process runs, if any.
    pub(crate) desktop: Option<String>,
    /// Whether seatd is installed.
    pub(crate) has_seatd: bool,
    /// Whether systemd is the init system.
    pub(crate) has_systemd: bool,
}

/// The installed Vulkan loader and drivers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Vulkan {
    pub(crate) has_loader: bool,
    /// The manifest files of the Vulkan drivers.
    pub(crate) drivers: Vec<String>,
}

/// The reason why a recording cannot be read.
#[derive(Debug, Error)]
pub(crate) enum SnapshotError {
    /// The text is not JSON, or it lacks a required field.
    #[error("the file is not a recording of `covalent doctor --record`: {0}")]
    Damaged(#[from] JsonError),
    /// The recording has another version.
    #[error("the recording has version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// A list has more than [`Snapshot::MAXIMUM_ENTRIES`] entries.
    #[error("the recording has {count} entries in {field}, and at most {max} are read", max = Snapshot::MAXIMUM_ENTRIES)]
    TooMany { field: &'static str, count: usize },
}

impl Snapshot {
    /// The longest recording that is read, in bytes; a usual one has about ten KiB.
    pub(crate) const MAXIMUM_BYTES: usize = 1 << 20;
    /// The maximum number of entries that a list may have. Some checks compare each entry of a list with all others, so longer
    /// lists would take too long.
    pub(crate) const MAXIMUM_ENTRIES: usize = 1024;

    /// Reads a recording. It takes at most 48 bytes of memory for each byte of the text.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub(crate) fn read(text: impl AsRef<[u8]>) -> Result<Self, SnapshotError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = input::json(text.as_ref())?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let snapshot: Self = input::json(text.as_ref())?;
        snapshot.check()?;
        Ok(snapshot)
    }

    /// Returns an error if a list has more than [`Self::MAXIMUM_ENTRIES`] entries.
    fn check(&self) -> Result<(), SnapshotError> {
        let options = self.kernel.options.as_ref();
        let counts = [
            ("kernel.options", options.map_or(0, BTreeMap::len)),
            ("kernel.modules", self.kernel.modules.len()),
            ("user.groups", self.user.groups.len()),
            ("user.listed_groups", self.user.listed_groups.len()),
            ("nodes", self.nodes.len()),
            ("cards", self.cards.len()),
            ("queues", self.queues.len()),
            ("pipelines", self.pipelines.len()),
            ("driverless", self.unbound_devices.len()),
            ("huge_pages", self.huge_pages.len()),
            ("vulkan.drivers", self.vulkan.drivers.len()),
            ("lacking_pools", self.missing_pools.len()),
            ("distribution", self.distribution.len()),
        ];
        let too_many = counts
            .into_iter()
            .find(|(_, count)| *count > Self::MAXIMUM_ENTRIES);
        match too_many {
            Some((field, count)) => Err(SnapshotError::TooMany { field, count }),
            None => Ok(()),
        }
    }

    /// Returns the nodes of a kind.
    pub(crate) fn of_kind(&self, kind: NodeKind) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.kind == kind)
    }

    /// Returns whether this user can allocate memory that belongs to no device: from a dma-heap or udmabuf.
    pub(crate) fn has_memory(&self) -> bool {
        self.of_kind(NodeKind::Heap)
            .chain(self.of_kind(NodeKind::Udmabuf))
            .any(Node::is_usable)
    }

    /// Returns the nodes of the queues that import only contiguous memory.
    pub(crate) fn contiguous_queues(&self) -> Vec<&str> {
        self.queues
            .iter()
            .filter(|queue| queue.needs_contiguous == Some(true))
            .map(|queue| queue.node.as_str())
            .collect()
    }

    /// Prepends `sudo` to a command line unless the user is root.
    pub(crate) fn as_root(&self, line: &str) -> String {
        if self.user.id == 0 {
            line.to_owned()
        } else {
            format!("sudo {line}")
        }
    }

    /// Returns the command line that installs packages, whose names differ between distributions.
    pub(crate) fn install(&self, debian: &str, fedora: &str, arch: &str) -> String {
        let is = |name: &str| self.distribution.iter().any(|id| id == name);
        let line = if is("fedora") || is("rhel") {
            format!("dnf install -y {fedora}")
        } else if is("arch") {
            format!("pacman -S --noconfirm {arch}")
        } else {
            format!("apt-get install -y {debian}")
        };
        self.as_root(&line)
    }
}

impl Node {
    /// Returns whether the node can be opened.
    pub(crate) fn is_usable(&self) -> bool {
        self.file
            .as_ref()
            .is_some_and(|file| file.open_error.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::measured;

    /// Returns a recording of about `bytes` bytes with one list of repeated items.
    fn filled(field: &str, item: &str, bytes: usize) -> String {
        let (before, after) = match field.split_once('.') {
            Some((object, field)) => (format!("\"{object}\": {{\"{field}\": ["), "]}"),
            None => (format!("\"{field}\": ["), "]"),
        };
        let items = vec![item; bytes / (item.len() + 1)].join(",");
        format!("{{\"version\": 1, {before}{items}{after}}}")
    }

    #[test]
    fn recording_of_any_length_takes_bounded_memory() {
        let node = r#"{"path":"","kind":"udmabuf","number":null,"file":null}"#;
        let pages = r#"{"kibibytes":0,"total":0,"free":0}"#;
        let queue = r#"{"name":"","node":""}"#;
        let pool = r#"{"words":"","snippet":""}"#;
        let pipeline =
            r#"{"node":"","media":"","driver":"","entities":[],"fault":null,"error":null}"#;
        let alias = r#"{"address":"","alias":""}"#;
        for (field, item) in [
            ("nodes", node),
            ("huge_pages", pages),
            ("queues", queue),
            ("lacking_pools", pool),
            ("pipelines", pipeline),
            ("driverless", alias),
            ("distribution", "\"\""),
            ("vulkan.drivers", "\"\""),
            ("user.groups", "\"\""),
        ] {
            let mut allocations = Vec::new();
            for bytes in [1 << 18, 1 << 20] {
                let text = filled(field, item, bytes);
                let (read, usage) = measured(|| Snapshot::read(&text));
                let max = 48 * text.len() + (16 << 10);
                assert!(
                    usage.peak_bytes <= max,
                    "{field}: {} of {max}",
                    usage.peak_bytes
                );
                allocations.push(usage.allocations);
                if field != "user.groups" {
                    let error = read.unwrap_err().to_string();
                    assert!(
                        error.contains(field) && error.contains("at most 1024"),
                        "{error}"
                    );
                }
            }
            assert!(
                allocations[1] <= 4 * allocations[0] + 64,
                "{field}: {allocations:?}"
            );
        }
    }

    #[test]
    fn recording_that_is_damaged_is_refused_with_line_column_and_field() {
        let text = "{\"version\": 1,\n\"nodes\": [{\"path\": \"/dev/x\", \"kind\": \"odd\"}]}";
        let error = Snapshot::read(text).unwrap_err().to_string();
        for words in [
            "covalent doctor --record",
            "line 2 column",
            "in nodes[0].kind",
        ] {
            assert!(error.contains(words), "{error}");
        }
    }
}
