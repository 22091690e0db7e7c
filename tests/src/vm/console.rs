//! The log of a guest's console, and the extract of it for an error about a guest that has ended or hangs.

use std::fmt::Display;
use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::config::Config;
use super::qemu::Qemu;
use super::qmp::Qmp;

/// The number of bytes of a log that an error contains. The stack trace of a panic with its first line takes 3 KB.
const TAIL_BYTES: usize = 4096;

/// Reads the registers of a guest that does not answer from QEMU's monitor, and appends them to the guest's log. Returns the
/// instruction pointers.
pub(super) fn append_registers(monitor: UnixStream, log: &Path) -> Option<String> {
    let mut monitor = Qmp::new(monitor).ok()?;
    let command = serde_json::json!({"command-line": "info registers -a"});
    let answer = monitor.execute("human-monitor-command", &command).ok()?;
    let registers = answer.as_str()?;
    if let Ok(mut file) = fs::File::options().append(true).open(log) {
        // The registers only help a person. If they cannot be written, the earlier failure is still reported.
        let _ = writeln!(file, "\nThe CPUs at the end:\n{registers}");
    }
    let pointers: Vec<&str> = registers
        .split_whitespace()
        .filter(|word| matches!(word.split('=').next(), Some("RIP" | "PC" | "HLT")))
        .collect();
    Some(format!("its CPUs are at {}", pointers.join(" ")))
}

/// Writes the log of a guest to the cache. Returns the last lines of the log and the path.
pub(super) fn save_log(qemu: &Qemu, config: Config) -> (String, PathBuf) {
    let unavailable = |error: &dyn Display| {
        (
            format!("(the log cannot be read or saved: {error})"),
            PathBuf::from("/dev/null"),
        )
    };
    let bytes = match qemu.log() {
        Ok(bytes) => bytes,
        Err(error) => return unavailable(&error),
    };
    let tail = &bytes[bytes.len().saturating_sub(TAIL_BYTES)..];
    let tail = String::from_utf8_lossy(tail)
        .replace('\r', "")
        .trim()
        .to_owned();
    let folder = match Cache::from_environment() {
        Ok(cache) => cache.folder().join("logs"),
        Err(error) => return unavailable(&error),
    };
    let path = folder.join(format!("guest-{config}.log"));
    match fs::create_dir_all(&folder)
        .and_then(|()| Ok(covalent_alloc::files::replace(&path, &bytes)?))
    {
        Ok(()) => (tail, path),
        Err(error) => (tail, PathBuf::from(format!("(not saved: {error})"))),
    }
}
