//! Reports which information could not be read, the reason, and what would make the information available.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;

use covalent_alloc::kernel::{Object, bufinfo};
use covalent_alloc::text::printable_bytes;

use super::options::Options;
use super::process_scan::ProcessScan;
use super::report::MissingInfo;
use crate::input;
use crate::out::Lines;

/// The kernel's list of all dma-bufs.
const BUFINFO: &str = "/sys/kernel/debug/dma_buf/bufinfo";

/// The maximum number of bytes of `bufinfo` that are read. They describe half a million dma-bufs.
const LONGEST: u64 = 64 << 20;

/// The remedy if this process lacks the permission to inspect another process.
pub(super) const TRACE: &str = "run as root, or with CAP_SYS_PTRACE";

/// Reads the kernel's list of dma-bufs in debugfs. If it cannot be read, adds the reason to `missing` and returns `None`.
pub(super) fn read_bufinfo(missing: &mut Vec<MissingInfo>) -> Option<Vec<Object>> {
    let read = input::read_file(BUFINFO, LONGEST).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::NotFound => {
                "mount -t debugfs none /sys/kernel/debug, on a kernel with CONFIG_DEBUG_FS"
            }
            ErrorKind::FileTooLarge => "inspect one process with --pid",
            _ => "run as root",
        };
        (error.to_string(), remedy)
    });
    let parsed = read.and_then(|text| {
        bufinfo(&String::from_utf8_lossy(&text)).map_err(|error| {
            (
                error.to_string(),
                "report this as a bug, with the text of bufinfo",
            )
        })
    });
    match parsed {
        Ok(objects) => Some(objects),
        Err((why, remedy)) => {
            missing.push(MissingInfo {
                what: "attached devices, the list of all fences, and dma-bufs without an fd in any process"
                    .to_owned(),
                why: format!("{BUFINFO}: {why}"),
                remedy: remedy.to_owned(),
            });
            None
        }
    }
}

/// Reports the processes that this process has no permission to inspect.
pub(super) fn inaccessible_processes(scan: &ProcessScan) -> MissingInfo {
    let count = scan.inaccessible.len();
    let plural = if count == 1 { "process" } else { "processes" };
    MissingInfo {
        what: format!("fds and mappings of {count} {plural}"),
        why: "they belong to other users, or are protected from tracing".to_owned(),
        remedy: TRACE.to_owned(),
    }
}

/// Returns the error for options that select no dma-buf, with the information that could not be read.
pub(super) fn no_buffer_found(options: &Options, missing: &[MissingInfo]) -> Lines {
    let mut words = "no dma-buf".to_owned();
    if let Some(fd) = options.fd {
        words.push_str(&format!(" with fd number {fd}"));
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
    for one in missing {
        lines.push(format!("not seen: {}: {}", one.what, one.why));
    }
    Lines(lines)
}
