//! Control groups: one for each command, so that all descendants of a command can be killed, also those that left its session.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const HIERARCHY: &str = "/sys/fs/cgroup";

/// The cgroup v2 hierarchy.
#[derive(Debug)]
pub(crate) struct Groups {
    folder: PathBuf,
}

impl Groups {
    /// Opens the guest's hierarchy; returns `None` where it is not mounted.
    pub(crate) fn open() -> Option<Self> {
        let folder = PathBuf::from(HIERARCHY);
        folder
            .join("cgroup.procs")
            .exists()
            .then_some(Self { folder })
    }

    /// Creates the group of command `id`.
    pub(crate) fn make(&self, id: u32) -> io::Result<Group> {
        let folder = self.folder.join(format!("command-{id}"));
        fs::create_dir(&folder)?;
        Ok(Group { folder })
    }
}

/// The control group of one command.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
}

impl Group {
    /// Returns the path of `cgroup.procs`. A process that writes 0 to it joins the group.
    pub(crate) fn join_file(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Kills all processes of the group.
    pub(crate) fn kill(&self) {
        if let Err(error) = fs::write(self.folder.join("cgroup.kill"), "1") {
            eprintln!("covalent-guest: kill {}: {error}", self.folder.display());
        }
    }

    /// Removes the group; returns false while a process of it is still ending.
    pub(crate) fn remove(&self) -> bool {
        remove(&self.folder)
    }
}

fn remove(folder: &Path) -> bool {
    // A command may have created groups inside its own.
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
