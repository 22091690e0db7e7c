//! What is not seen, and what would let it be seen.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;

use covalent_alloc::kernel::{Object, bufinfo};
use covalent_alloc::text::printable_bytes;

use super::census::Census;
use super::options::Options;
use super::report::Hidden;
use crate::input;
use crate::out::Lines;

/// Where the kernel lists dma-bufs.
const BUFINFO: &str = "/sys/kernel/debug/dma_buf/bufinfo";

/// The longest list that is read: of half a million dma-bufs.
const LONGEST: u64 = 64 << 20;

pub(super) const TRACE: &str = "run as root, or with CAP_SYS_PTRACE";

/// Reads what debugfs lists; where it cannot, that is said.
pub(super) fn listed(hidden: &mut Vec<Hidden>) -> Option<Vec<Object>> {
    let read = input::whole(BUFINFO, LONGEST).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => {
                "mount -t debugfs none /sys/kernel/debug, on a kernel with CONFIG_DEBUG_FS"
            }
            ErrorKind::FileTooLarge => "look at one process with --pid",
            _ => "run as root",
        };
        (error.to_string(), remedy)
    });
    let parsed = read.and_then(|text| {
        bufinfo(&String::from_utf8_lossy(&text))
            .map_err(|error| (error.to_string(), "report it with the file's text"))
    });
    match parsed {
        Ok(objects) => Some(objects),
        Err((why, remedy)) => {
            hidden.push(Hidden {
                what: "attached devices, the kernel's own fences, and dma-bufs that no process has"
                    .to_owned(),
                why: format!("{BUFINFO}: {why}"),
                remedy: remedy.to_owned(),
            });
            None
        }
    }
}

pub(super) fn closed(census: &Census) -> Hidden {
    let count = census.closed.len();
    let plural = if count == 1 { "process" } else { "processes" };
    Hidden {
        what: format!("fds and mappings of {count} {plural}"),
        why: "they are other users', or keep others out".to_owned(),
        remedy: TRACE.to_owned(),
    }
}

pub(super) fn nothing(options: &Options, hidden: &[Hidden]) -> Lines {
    let mut words = "no dma-buf".to_owned();
    if let Some(fd) = options.fd {
        words.push_str(&format!(" by the number {fd}"));
    }
    if let Some(inode) = options.inode {
        words.push_str(&format!(" with inode {inode}"));
    }
    match &options.pid {
        Some(named) => words.push_str(&format!(
            " in process {}",
            printable_bytes(named.as_bytes())
        )),
        None if options.fd.is_some() => words.push_str(" in this process"),
        None => {}
    }
    let mut lines = vec![words];
    for one in hidden {
        lines.push(format!("not seen: {}: {}", one.what, one.why));
    }
    Lines(lines)
}
