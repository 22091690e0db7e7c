//! Control groups: one for each command, so that all that a command has started can be ended, wherever it has gone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const HIERARCHY: &str = "/sys/fs/cgroup";

/// The place where groups are made.
#[derive(Debug)]
pub(crate) struct Groups {
    folder: PathBuf,
}

impl Groups {
    /// The guest's own hierarchy, `None` where there is none.
    pub(crate) fn open() -> Option<Self> {
        let folder = PathBuf::from(HIERARCHY);
        folder
            .join("cgroup.procs")
            .exists()
            .then_some(Self { folder })
    }

    /// Makes the group of command `id`.
    pub(crate) fn make(&self, id: u32) -> io::Result<Group> {
        let folder = self.folder.join(format!("command-{id}"));
        fs::create_dir(&folder)?;
        Ok(Group { folder })
    }
}

/// One command's group.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
}

impl Group {
    /// The file that a process writes 0 into to join.
    pub(crate) fn door(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Ends all that is in the group.
    pub(crate) fn kill(&self) {
        if let Err(error) = fs::write(self.folder.join("cgroup.kill"), "1") {
            eprintln!("covalent-guest: end {}: {error}", self.folder.display());
        }
    }

    /// Removes the group; false while something in it is still ending.
    pub(crate) fn remove(&self) -> bool {
        remove(&self.folder)
    }
}

fn remove(folder: &Path) -> bool {
    // A command may have made groups inside its own.
    if let Ok(entries) = fs::read_dir(folder) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
