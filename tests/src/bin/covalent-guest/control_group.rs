//! Control groups. Each command has its own control group, so that all descendants of the command can be killed, even those that
//! have left its session.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const HIERARCHY: &str = "/sys/fs/cgroup";

/// The cgroup v2 hierarchy of the guest.
#[derive(Debug)]
pub(crate) struct Groups {
    folder: PathBuf,
}

impl Groups {
    /// Opens the cgroup hierarchy of the guest; returns `None` if it is not mounted.
    pub(crate) fn open() -> Option<Self> {
        let folder = PathBuf::from(HIERARCHY);
        folder
            .join("cgroup.procs")
            .exists()
            .then_some(Self { folder })
    }

    /// Creates the control group of command `id`.
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
    /// Returns the path of `cgroup.procs`. A process that writes 0 to this file joins the group.
    pub(crate) fn join_file(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// Kills all processes of the group.
    pub(crate) fn kill(&self) {
        if let Err(error) = fs::write(self.folder.join("cgroup.kill"), "1") {
            eprintln!("covalent-guest: kill {}: {error}", self.folder.display());
        }
    }

    /// Removes the group; returns false if a process of the group has not ended yet.
    pub(crate) fn remove(&self) -> bool {
        remove(&self.folder)
    }
}

/// Removes a control group and those inside it; returns false if a process of the group has not ended yet.
fn remove(folder: &Path) -> bool {
    // A command may have created control groups inside its own group, which are removed first.
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
