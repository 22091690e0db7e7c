//! The devicetree of this machine, as the kernel gives it out: a folder a node, a file a property.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::constraint::{Participant, Source};
use crate::machine::ReservedMemory;
use crate::machine::devicetree::{Node, Tree};
use crate::model::DeviceIdentity;

/// Where the kernel gives it out.
const TREE: &str = "/proc/device-tree";

/// Where links to its nodes lead.
const BASE: &str = "/sys/firmware/devicetree/base";

/// Reads the devicetree of this machine; `None` where it has none, as most of x86.
///
/// # Errors
/// What the file system answers, and [`io::ErrorKind::InvalidData`] for a tree that is larger than any board's.
pub fn here() -> io::Result<Option<Tree>> {
    if Path::new(TREE).exists() {
        read(TREE).map(Some)
    } else {
        Ok(None)
    }
}

/// Reads a tree that is given out as folders and files, such as a copy of `/proc/device-tree`. Links are left out.
///
/// # Errors
/// What the file system answers, and [`io::ErrorKind::InvalidData`] for a tree that is larger than any board's.
pub fn read(folder: impl AsRef<Path>) -> io::Result<Tree> {
    let folder = fs::canonicalize(folder)?;
    let mut room = Room {
        entries: Tree::MAXIMUM_NODES,
        bytes: Tree::MAXIMUM_BYTES,
    };
    Ok(Tree {
        root: room.node(&folder, String::new(), Tree::MAXIMUM_DEPTH)?,
    })
}

/// Returns the node of a device in the devicetree of this machine, such as `/soc/csi@7e801000`; `None` where it has none.
#[must_use]
pub fn node_of(device: &DeviceIdentity) -> Option<String> {
    let status = rustix::fs::stat(device.node.as_str()).ok()?;
    let (major, minor) = (
        rustix::fs::major(status.st_rdev),
        rustix::fs::minor(status.st_rdev),
    );
    let link = PathBuf::from(format!("/sys/dev/char/{major}:{minor}/device/of_node"));
    let node = fs::canonicalize(link).ok()?;
    let path = node.strip_prefix(BASE).ok()?.to_str()?;
    Some(format!("/{path}"))
}

/// Makes demands and promises of what the tree of this machine, or another for it, sets aside for its devices.
pub fn refine(reserved: &ReservedMemory, participants: &mut [Participant], sources: &mut [Source]) {
    reserved.refine_declared(participants, sources, |participant| {
        node_of(&participant.device)
    });
}

/// How much more is read.
struct Room {
    entries: usize,
    bytes: usize,
}

impl Room {
    fn node(&mut self, folder: &Path, name: String, depth: usize) -> io::Result<Node> {
        let deeper = depth.checked_sub(1).ok_or_else(too_large)?;
        let mut node = Node {
            name,
            ..Node::default()
        };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            self.entries = self.entries.checked_sub(1).ok_or_else(too_large)?;
            // The kernel's names are texts.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                node.children.push(self.node(&entry.path(), name, deeper)?);
            } else if kind.is_file() {
                // What only root may read, as keys for updates are, has nothing to do with buffers.
                if let Some(value) = self.property(&entry.path())? {
                    node.properties.insert(name, value);
                }
            }
        }
        node.children.sort_by(|one, two| one.name.cmp(&two.name));
        Ok(node)
    }

    fn property(&mut self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error),
        };
        let most = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        let mut value = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut value)?;
        self.bytes = self.bytes.checked_sub(value.len()).ok_or_else(too_large)?;
        Ok(Some(value))
    }
}

fn too_large() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the devicetree is larger than any board's",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_of_folders_is_read_with_its_properties() {
        let folder = tempfile::tempdir().unwrap();
        let pool = folder.path().join("reserved-memory/isp@90000000");
        fs::create_dir_all(&pool).unwrap();
        fs::write(pool.join("compatible"), b"shared-dma-pool\0").unwrap();
        fs::write(pool.join("reusable"), b"").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("loop")).unwrap();
        let tree = read(folder.path()).unwrap();
        assert_eq!(tree.root.children.len(), 1);
        let node = tree
            .root
            .child("reserved-memory")
            .unwrap()
            .child("isp")
            .unwrap();
        assert_eq!(node.texts("compatible"), ["shared-dma-pool"]);
        assert!(node.has("reusable") && !node.has("no-map"));
        assert!(read(folder.path().join("absent")).is_err());
    }

    #[test]
    fn device_without_a_node_has_none() {
        let device = |node: &str| DeviceIdentity {
            driver: String::new(),
            location: String::new(),
            node: node.to_owned(),
        };
        for node in ["/dev/null", "/dev/absent", ""] {
            assert_eq!(node_of(&device(node)), None);
        }
    }
}
