//! This machine as far as the checks look at it: plain data, so that a machine that is not here can be examined too.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::input::{self, JsonError};

/// The version of the data.
pub(crate) const VERSION: u32 = 1;

/// All that is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Snapshot {
    pub(crate) version: u32,
    pub(crate) kernel: Kernel,
    pub(crate) user: User,
    /// How it shows that this is a container; none where nothing does.
    pub(crate) container: Option<String>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) cards: Vec<Card>,
    pub(crate) queues: Vec<Queue>,
    /// PCI graphics devices without a driver: their addresses and aliases.
    pub(crate) driverless: Vec<Driverless>,
    pub(crate) limits: Limits,
    /// udmabuf's limits; none where it is not there.
    pub(crate) udmabuf: Option<UdmabufLimits>,
    pub(crate) huge_pages: Vec<HugePages>,
    /// All memory for contiguous buffers in KiB; none where the kernel has no CMA.
    pub(crate) cma_kibibytes: Option<u64>,
    pub(crate) vulkan: Vulkan,
    /// Who could give a display; none where nobody looked.
    pub(crate) seat: Option<Seat>,
    /// Pools that the devicetree lacks; none where there is no tree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) lacking_pools: Vec<LackingPool>,
    /// Why the helper process cannot be had; none where it can.
    pub(crate) no_helper: Option<String>,
    /// Which family of distributions this is, as os-release has it: `debian`, `fedora`, `arch`.
    pub(crate) distribution: Vec<String>,
}

/// The kernel that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kernel {
    pub(crate) release: String,
    /// Its options without `CONFIG_`, as far as they concern sharing; none where no file has them.
    pub(crate) options: Option<BTreeMap<String, String>>,
    /// Its modules, as far as they concern sharing.
    pub(crate) modules: BTreeMap<String, Module>,
}

/// What there is of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Module {
    BuiltIn,
    Loaded,
    /// It is on the disk.
    Available,
}

/// Who runs this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct User {
    pub(crate) id: u32,
    pub(crate) name: Option<String>,
    /// The groups of this session.
    pub(crate) groups: BTreeSet<String>,
    /// The groups that the user is in from the next login on.
    pub(crate) listed_groups: BTreeSet<String>,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Udmabuf,
    Heap,
    Card,
    Render,
    Video,
}

/// A device node that is there, or should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    /// Its number, where the kernel says that there is such a device.
    pub(crate) number: Option<(u32, u32)>,
    /// What there is in the file system; none where nothing is.
    pub(crate) file: Option<NodeFile>,
}

/// A node in the file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeFile {
    pub(crate) owner: u32,
    /// The group's name, or its number where it has none.
    pub(crate) group: String,
    /// The permission bits.
    pub(crate) mode: u32,
    /// What opening it for reading and writing is answered; none where it opens.
    pub(crate) refusal: Option<Refusal>,
}

/// An error number and its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) errno: i32,
    pub(crate) words: String,
}

/// A card that opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) node: String,
    pub(crate) driver: String,
    pub(crate) imports_foreign: bool,
    /// What it says of importing.
    pub(crate) import: String,
    /// Whether it drives displays.
    pub(crate) shows: bool,
    pub(crate) has_timelines: bool,
    pub(crate) has_render_node: bool,
}

/// A camera's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) node: String,
    /// Whether it takes memory in one piece alone; none where nothing tells.
    pub(crate) needs_contiguous: Option<bool>,
}

/// A graphics device that no driver has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Driverless {
    pub(crate) address: String,
    pub(crate) alias: String,
}

/// Limits of this process; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) files: Option<u64>,
    pub(crate) files_hard: Option<u64>,
    pub(crate) locked_bytes: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    /// The control group's limit of memory.
    pub(crate) group_bytes: Option<u64>,
}

/// udmabuf's module parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UdmabufLimits {
    pub(crate) size_mebibytes: u64,
    pub(crate) list_entries: u64,
}

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HugePages {
    pub(crate) kibibytes: u64,
    pub(crate) total: u64,
    pub(crate) free: u64,
}

/// A device that wants memory in one piece, and source of a devicetree that gives it a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LackingPool {
    pub(crate) words: String,
    pub(crate) snippet: String,
}

/// Who could give this process a display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Seat {
    pub(crate) socket_path: String,
    /// seatd's socket; none where there is none.
    pub(crate) socket: Option<NodeFile>,
    /// Whether logind runs.
    pub(crate) has_logind: bool,
    /// The seat of this process's session, where logind gave it one.
    pub(crate) session: Option<String>,
    /// The display server that this process would show in.
    pub(crate) desktop: Option<String>,
    /// Whether seatd is installed.
    pub(crate) has_seatd: bool,
    /// Whether systemd starts services.
    pub(crate) has_systemd: bool,
}

/// What there is of Vulkan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Vulkan {
    pub(crate) has_loader: bool,
    /// The files that name drivers.
    pub(crate) drivers: Vec<String>,
}

/// Why a recording is not read.
#[derive(Debug, Error)]
pub(crate) enum SnapshotError {
    /// It is no JSON, or not of this shape.
    #[error("it is no machine as `covalent doctor --record` writes it: {0}")]
    Damaged(#[from] JsonError),
    /// It has another version.
    #[error("it is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// It has more of something than is judged.
    #[error("it has {count} entries in {field}, and at most {most} are read", most = Snapshot::MAXIMUM_ENTRIES)]
    TooMany { field: &'static str, count: usize },
}

impl Snapshot {
    /// The longest recording that is read; one has some ten KiB.
    pub(crate) const MAXIMUM_BYTES: usize = 1 << 20;
    /// The most nodes, cards, groups and so on of each: checks hold them against one another.
    pub(crate) const MAXIMUM_ENTRIES: usize = 1024;

    /// Reads what was recorded. It takes at most 48 bytes for each byte of the text.
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
            ("driverless", self.driverless.len()),
            ("huge_pages", self.huge_pages.len()),
            ("vulkan.drivers", self.vulkan.drivers.len()),
            ("lacking_pools", self.lacking_pools.len()),
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

    /// Returns the nodes of one kind.
    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.kind == kind)
    }

    /// Returns whether memory of no device can be had: from a heap, or as a udmabuf.
    pub(crate) fn has_memory(&self) -> bool {
        self.of_kind(Kind::Heap)
            .chain(self.of_kind(Kind::Udmabuf))
            .any(Node::is_usable)
    }

    /// Returns the queues that take memory in one piece alone.
    pub(crate) fn contiguous_queues(&self) -> Vec<&str> {
        self.queues
            .iter()
            .filter(|queue| queue.needs_contiguous == Some(true))
            .map(|queue| queue.node.as_str())
            .collect()
    }

    /// Begins a line with `sudo` for who is not root.
    pub(crate) fn as_root(&self, line: &str) -> String {
        if self.user.id == 0 {
            line.to_owned()
        } else {
            format!("sudo {line}")
        }
    }

    /// Returns the line that installs packages; each distribution has its own names.
    pub(crate) fn install(&self, debian: &str, fedora: &str, arch: &str) -> String {
        let is = |name: &str| self.distribution.iter().any(|own| own == name);
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
    /// Returns whether it opens.
    pub(crate) fn is_usable(&self) -> bool {
        self.file
            .as_ref()
            .is_some_and(|file| file.refusal.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::measured;

    /// A recording with one list of this item, again and again, of about so many bytes.
    fn filled(field: &str, item: &str, bytes: usize) -> String {
        let (before, after) = match field.split_once('.') {
            Some((object, field)) => (format!("\"{object}\": {{\"{field}\": ["), "]}"),
            None => (format!("\"{field}\": ["), "]"),
        };
        let items = vec![item; bytes / (item.len() + 1)].join(",");
        format!("{{\"version\": 1, {before}{items}{after}}}")
    }

    #[test]
    fn recording_takes_a_multiple_of_its_bytes() {
        let node = r#"{"path":"","kind":"udmabuf","number":null,"file":null}"#;
        let pages = r#"{"kibibytes":0,"total":0,"free":0}"#;
        let queue = r#"{"name":"","node":""}"#;
        let pool = r#"{"words":"","snippet":""}"#;
        let alias = r#"{"address":"","alias":""}"#;
        for (field, item) in [
            ("nodes", node),
            ("huge_pages", pages),
            ("queues", queue),
            ("lacking_pools", pool),
            ("driverless", alias),
            ("distribution", "\"\""),
            ("vulkan.drivers", "\"\""),
            ("user.groups", "\"\""),
        ] {
            let mut asked = Vec::new();
            for bytes in [1 << 18, 1 << 20] {
                let text = filled(field, item, bytes);
                let (read, usage) = measured(|| Snapshot::read(&text));
                let most = 48 * text.len() + (16 << 10);
                assert!(
                    usage.peak_bytes <= most,
                    "{field}: {} of {most}",
                    usage.peak_bytes
                );
                asked.push(usage.allocations);
                if field != "user.groups" {
                    let error = read.unwrap_err().to_string();
                    assert!(
                        error.contains(field) && error.contains("at most 1024"),
                        "{error}"
                    );
                }
            }
            assert!(asked[1] <= 4 * asked[0] + 64, "{field}: {asked:?}");
        }
    }

    #[test]
    fn recording_that_is_damaged_is_told_with_line_column_and_field() {
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
