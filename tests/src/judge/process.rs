//! The file descriptors of a process, and the dma-bufs among them.

use std::{fs, io};

use covalent_alloc::kernel::fdinfo;
use serde::{Deserialize, Serialize};

/// A dma-buf to which a process has an fd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDmabuf {
    /// The number of the fd in the process.
    pub fd: u32,
    /// The inode of the dma-buf.
    pub inode: u64,
    /// The size in bytes.
    pub size_bytes: u64,
    /// The driver that exported the dma-buf.
    pub exporter: String,
}

/// Returns the number of fds that a process has open.
///
/// # Errors
/// The kernel's error: ENOENT if the process has ended, EACCES without permission.
pub fn fd_count(process: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// Returns the dma-bufs among a process's fds, in the order of the fds.
///
/// # Errors
/// As [`fd_count`].
pub fn held(process: u32) -> io::Result<Vec<HeldDmabuf>> {
    let mut held = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        let entry = entry?;
        let Some(fd) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The process may close the fd after it was listed and before it is read.
        let Ok(text) = fs::read(entry.path()) else {
            continue;
        };
        held.extend(parse(fd, &text));
    }
    held.sort_by_key(|held| held.fd);
    Ok(held)
}

/// Parses an fdinfo file; returns `None` if the fd is not a dma-buf.
fn parse(fd: u32, text: &[u8]) -> Option<HeldDmabuf> {
    let found = fdinfo(text)?;
    Some(HeldDmabuf {
        fd,
        exporter: found.exporter,
        size_bytes: found.size_bytes,
        inode: found.inode,
    })
}

/// Returns the processes whose name (`comm`) is `name`.
///
/// # Errors
/// `/proc` cannot be listed.
pub fn processes_named(name: &str) -> io::Result<Vec<u32>> {
    // The kernel truncates the name of a process to 15 characters (TASK_COMM_LEN).
    let short: String = name.chars().take(15).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim_end() == short)
        {
            found.push(process);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Returns a process and all its descendants; the process is the first.
#[must_use]
pub fn with_descendants(root: u32) -> Vec<u32> {
    let mut processes = vec![root];
    let mut next = 0;
    while let Some(&process) = processes.get(next) {
        next += 1;
        let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            processes.extend(
                children
                    .split_whitespace()
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
        }
    }
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_found_with_its_fds() {
        let me = std::process::id();
        assert!(fd_count(me).unwrap() >= 3);
        assert!(held(me).unwrap().is_empty());
        assert_eq!(with_descendants(me).first(), Some(&me));
    }
}
