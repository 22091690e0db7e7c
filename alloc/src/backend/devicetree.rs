//! The devicetree of this machine in procfs: a directory for each node, a file for each property.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use crate::constraint::{Participant, Source};
use crate::machine::ReservedMemory;
use crate::machine::devicetree::{Tree, TreeBuildError, TreeBuilder, TreeError, is_name};
use crate::model::DeviceIdentity;

/// The devicetree in procfs.
const TREE: &str = "/proc/device-tree";

/// The directory to which the `of_node` links of devices in sysfs point.
const BASE: &str = "/sys/firmware/devicetree/base";

/// Reads the devicetree of this machine; `None` if the machine has none, like most x86 machines.
///
/// # Errors
/// The error of the file system, and [`io::ErrorKind::InvalidData`] for a tree that exceeds the limits.
pub fn here() -> io::Result<Option<Tree>> {
    if Path::new(TREE).exists() {
        read(TREE).map(Some)
    } else {
        Ok(None)
    }
}

/// Reads the reserved memory of this machine from its devicetree and its kernel's command line; `None` if it has no devicetree.
///
/// The kernel's command line takes precedence over the devicetree: see [`ReservedMemory::with_command_line`].
///
/// # Errors
/// The errors of [`here`].
pub fn reserved_memory() -> io::Result<Option<ReservedMemory>> {
    // If procfs is not mounted, there is no devicetree either, and the function returns `None`.
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let tree = here()?;
    Ok(tree.map(|tree| ReservedMemory::of(&tree).with_command_line(&command_line)))
}

/// Reads a devicetree from directories and files, such as a copy of `/proc/device-tree`.
///
/// Symbolic links and special files such as FIFOs are skipped, so that no file outside of the directory is opened, and no open
/// blocks. Names that are not valid in a devicetree and files without read permission are skipped too. At most
/// [`Tree::MAXIMUM_BYTES`] of names and values are read, and at most [`Tree::MAXIMUM_NODES`] entries.
///
/// # Errors
/// The error of the file system, and [`io::ErrorKind::InvalidData`] with a [`TreeError`] for a tree that exceeds the limits.
pub fn read(folder: impl AsRef<Path>) -> io::Result<Tree> {
    let folder = fs::canonicalize(folder)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&folder, flags, Mode::empty())?;
    let mut reader = TreeReader {
        builder: TreeBuilder::new(Vec::new()),
        entries: Tree::MAXIMUM_NODES,
        path: String::new(),
    };
    reader.node(&root, "")?;
    let built = reader.builder.finish();
    built
        .map_err(|excess| tree_error_at(excess, "/"))
        .and_then(Tree::checked)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Returns the path of a device's node in the devicetree, such as `/soc/csi@7e801000`; `None` if the device has none.
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

/// Adds to participants and sources the constraints and guarantees that follow from `reserved`: the reserved memory of this
/// machine's devicetree, or of another devicetree for this machine.
pub fn refine(reserved: &ReservedMemory, participants: &mut [Participant], sources: &mut [Source]) {
    reserved.refine_declared(participants, sources, |participant| {
        node_of(&participant.device)
    });
}

/// Reads nested directories as the nodes of a devicetree.
struct TreeReader {
    builder: TreeBuilder,
    /// The number of entries that may still be read.
    entries: usize,
    /// The path of the current node.
    path: String,
}

impl TreeReader {
    /// Adds a directory as a node, with its properties and the nodes below it.
    fn node(&mut self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        let start = self.builder.text().len();
        self.builder.text().extend(name.as_bytes());
        let begun = self.builder.begin(TreeBuilder::span(start, name.len()));
        begun.map_err(|excess| self.refused(excess))?;
        let mut below: Vec<String> = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            // The names in procfs are valid UTF-8. Another directory can contain other names, which are skipped.
            let Some(text) = name.to_str().ok().filter(|text| is_node_name(text)) else {
                continue;
            };
            let left = self.entries.checked_sub(1);
            self.entries = left.ok_or_else(|| {
                let most = Tree::MAXIMUM_NODES;
                let what = "entries";
                self.refused(TreeBuildError::TooMany { what, most })
            })?;
            match entry.file_type() {
                FileType::Directory => below.push(text.to_owned()),
                FileType::RegularFile => self.property(folder.as_fd(), text)?,
                // Some file systems do not report the type of an entry.
                FileType::Unknown => match entry_type(folder.as_fd(), text)? {
                    FileType::Directory => below.push(text.to_owned()),
                    FileType::RegularFile => self.property(folder.as_fd(), text)?,
                    _ => {}
                },
                _ => {}
            }
        }
        below.sort_unstable();
        for name in below {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let Some(folder) = open_entry(folder.as_fd(), &name, flags)? else {
                continue;
            };
            let length = self.path.len();
            self.path.push('/');
            self.path.push_str(&name);
            self.node(&folder, &name)?;
            self.path.truncate(length);
        }
        self.builder.end();
        Ok(())
    }

    /// Reads a file as a property. Files that only root may read, such as keys, do not concern buffers and are skipped.
    fn property(&mut self, folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        // The file can have been replaced by a FIFO since it was listed, and O_NONBLOCK prevents a wait.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let Some(file) = open_entry(folder, name, flags)? else {
            return Ok(());
        };
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let text = self.builder.text();
        let name_at = text.len();
        text.extend(name.as_bytes());
        let value_at = text.len();
        let left = Tree::MAXIMUM_BYTES.saturating_sub(value_at);
        let most = u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1);
        File::from(file).take(most).read_to_end(text)?;
        let length = text.len().saturating_sub(value_at);
        if length > left {
            let most = Tree::MAXIMUM_BYTES;
            let what = "bytes of names and values";
            return Err(self.refused(TreeBuildError::TooMany { what, most }));
        }
        let name = TreeBuilder::span(name_at, name.len());
        let added = self
            .builder
            .property(name, TreeBuilder::span(value_at, length));
        added.map_err(|excess| self.refused(excess))
    }

    /// Makes the error for a devicetree that exceeds a limit, with the path of the current node.
    fn refused(&self, excess: TreeBuildError) -> io::Error {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        io::Error::new(io::ErrorKind::InvalidData, tree_error_at(excess, path))
    }
}

/// Opens an entry of a directory; `None` if it may not be opened, is a symbolic link, or was removed.
fn open_entry(folder: BorrowedFd<'_>, name: &str, flags: OFlags) -> io::Result<Option<OwnedFd>> {
    match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        // The errno is ENXIO for a FIFO or socket, ELOOP for a link, and ENOTDIR for a file instead of a directory.
        Err(
            Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::NOTDIR | Errno::NOENT | Errno::NXIO,
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn entry_type(folder: BorrowedFd<'_>, name: &str) -> io::Result<FileType> {
    let name = CString::new(name)?;
    let status = rustix::fs::statat(folder, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(status.st_mode))
}

fn is_node_name(name: &str) -> bool {
    is_name(name.as_bytes()) && !matches!(name, "" | "." | "..")
}

fn tree_error_at(excess: TreeBuildError, path: &str) -> TreeError {
    let (what, most) = match excess {
        TreeBuildError::TooMany { what, most } => (what, most),
        // The file system guarantees that no two entries of a directory have the same name, so this does not occur.
        TreeBuildError::Duplicate { .. } => ("properties of one name", 1),
    };
    TreeError::TooMany {
        what,
        most,
        place: path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_of_directories_is_read_with_its_properties() {
        let folder = tempfile::tempdir().unwrap();
        let pool = folder.path().join("reserved-memory/isp@90000000");
        fs::create_dir_all(&pool).unwrap();
        fs::write(pool.join("compatible"), b"shared-dma-pool\0").unwrap();
        fs::write(pool.join("reusable"), b"").unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("loop")).unwrap();
        let tree = read(folder.path()).unwrap();
        assert_eq!(tree.root().children().count(), 1);
        let node = tree
            .root()
            .child("reserved-memory")
            .unwrap()
            .child("isp")
            .unwrap();
        assert_eq!(node.path(), "/reserved-memory/isp@90000000");
        let compatible: Vec<&str> = node.texts("compatible").collect();
        assert_eq!(compatible, ["shared-dma-pool"]);
        assert!(node.has("reusable") && !node.has("no-map"));
        assert!(read(folder.path().join("absent")).is_err());
    }

    #[test]
    fn links_fifos_and_invalid_names_are_skipped() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), b"secret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let entry_path = |name: &str| folder.path().join(name);
        fs::write(entry_path("model"), b"board\0").unwrap();
        fs::write(entry_path("odd\x1b[2J"), b"").unwrap();
        fs::create_dir(entry_path("odd name")).unwrap();
        std::os::unix::fs::symlink(outside.path(), entry_path("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), entry_path("file")).unwrap();
        // An `open` of a FIFO for reading without O_NONBLOCK would block until there is a writer.
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, entry_path("fifo"), FileType::Fifo, mode, 0).unwrap();
        let tree = read(folder.path()).unwrap();
        let names: Vec<&str> = tree.root().properties().map(|(name, _)| name).collect();
        assert_eq!(names, ["model"]);
        assert_eq!(tree.root().children().count(), 0);
        assert!(read(entry_path("fifo")).is_err() && read(entry_path("model")).is_err());
    }

    #[test]
    fn directory_that_exceeds_the_limits_is_refused_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().to_owned();
        for _ in 0..Tree::MAXIMUM_DEPTH {
            deep.push("n");
        }
        fs::create_dir_all(&deep).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let message = error.to_string();
        assert!(message.contains("more than 64 levels"), "{message}");
        assert!(message.contains("/n/n"), "{message}");
        // The file is sparse, so no block is allocated on the disk.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("soc")).unwrap();
        let long = File::create(folder.path().join("soc/blob")).unwrap();
        long.set_len(1 << 40).unwrap();
        let message = read(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("16777216 bytes") && message.contains("/soc"),
            "{message}"
        );
    }

    #[test]
    fn device_without_a_devicetree_node_has_none() {
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
