//! Finds the dma-bufs of all processes that this process may inspect, in `/proc`.
//!
//! Processes start and exit during the scan, so a missing file below `/proc` is not an error.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use covalent_alloc::kernel::{Fdinfo, MapLine, fdinfo, map_line};
use rustix::fs::{major, minor};

use crate::input;

/// The maximum number of bytes that are read of an `fdinfo` file. The `fdinfo` file of an epoll or inotify fd has a line for each
/// watched item.
const LONGEST_FDINFO: u64 = 64 << 10;

/// The longest line of a `maps` file that is read, in bytes: a path of 4 KiB in which each byte is written as an escape sequence
/// of four bytes.
const LONGEST_LINE: usize = 32 << 10;

/// The processes that were found.
#[derive(Debug, Default)]
pub(super) struct ProcessScan {
    /// Processes that this process may inspect, by pid.
    pub(super) processes: Vec<Process>,
    /// Processes that this process has no permission to inspect, by pid and command.
    pub(super) inaccessible: Vec<(u32, String)>,
}

/// One process with its dma-bufs, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// The start time of the process in clock ticks since boot. The kernel reuses pids, so only the pid and the start time
    /// together identify a process.
    pub(super) start_ticks: Option<u64>,
    /// The first 15 bytes of the process's name (`comm`), which need not be UTF-8.
    pub(super) name: Vec<u8>,
    /// The name as text.
    pub(super) command: String,
    pub(super) dmabuf_fds: Vec<DmabufFd>,
    pub(super) mappings: Vec<MapLine>,
}

/// One fd of a process that refers to a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DmabufFd {
    pub(super) fd: u32,
    pub(super) info: Fdinfo,
    /// The time at which the dma-buf was created, by CLOCK_REALTIME.
    pub(super) created_at: Option<SystemTime>,
}

/// Why a process could not be inspected.
enum ScanError {
    Exited,
    PermissionDenied,
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied => Self::PermissionDenied,
            // ENOENT and ESRCH mean that the process has exited. The files of a process that is exiting may return other errors.
            _ => Self::Exited,
        }
    }
}

impl ProcessScan {
    /// Scans every process below `proc`, which is `/proc`.
    ///
    /// # Errors
    /// The folder itself cannot be listed.
    pub(super) fn run(proc: &Path) -> io::Result<Self> {
        let mut scan = Self::default();
        let mut folders = Vec::new();
        let mut file_system = None;
        for entry in fs::read_dir(proc)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let folder = entry.path();
            match process(&folder, pid, &mut file_system) {
                Ok(process) => {
                    scan.processes.push(process);
                    folders.push(folder);
                }
                Err(ScanError::PermissionDenied) if !is_kernel_thread(&folder) => {
                    let name = self::name(&folder).unwrap_or_default();
                    scan.inaccessible.push((pid, text_of(&name)));
                }
                Err(_) => {}
            }
        }
        // A mapping belongs to a dma-buf if its device number is that of the dma-buf file system. The fds that were read above
        // have this number.
        for (process, folder) in scan.processes.iter_mut().zip(folders) {
            process.mappings = mappings(&folder, file_system).unwrap_or_default();
        }
        scan.processes.sort_by_key(|process| process.pid);
        Ok(scan)
    }
}

/// Reads the dma-bufs of one process from its folder in `/proc`.
fn process(
    folder: &Path,
    pid: u32,
    file_system: &mut Option<(u32, u32)>,
) -> Result<Process, ScanError> {
    let start_ticks = start_ticks(folder);
    let name = name(folder)?;
    let mut dmabuf_fds = Vec::new();
    for entry in fs::read_dir(folder.join("fdinfo"))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // The process may have closed the fd since the folder was listed.
        let text = first_bytes(&entry.path(), LONGEST_FDINFO).ok();
        let Some(info) = text.and_then(|text| fdinfo(&text)) else {
            continue;
        };
        let status = fs::metadata(folder.join("fd").join(fd.to_string())).ok();
        // The process may have closed the fd and reused its number for another file since its fdinfo was read.
        let status = status.filter(|status| status.ino() == info.inode);
        if let Some(status) = &status {
            *file_system = Some((major(status.dev()), minor(status.dev())));
        }
        dmabuf_fds.push(DmabufFd {
            fd,
            info,
            created_at: status.and_then(|status| created_at(&status)),
        });
    }
    dmabuf_fds.sort_by_key(|dmabuf| dmabuf.fd);
    if self::start_ticks(folder) != start_ticks {
        // The process exited during the scan and another process got its pid, so the data that was read belongs to both
        // processes.
        return Err(ScanError::Exited);
    }
    Ok(Process {
        pid,
        start_ticks,
        command: text_of(&name),
        name,
        dmabuf_fds,
        mappings: Vec::new(),
    })
}

/// Reads a process's name. A process can choose any bytes as its name, even line breaks and blanks at the end.
fn name(folder: &Path) -> io::Result<Vec<u8>> {
    // The kernel keeps 15 bytes and appends a line break.
    let mut name = first_bytes(&folder.join("comm"), 64)?;
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Ok(name)
}

/// Converts bytes of a name to text. Bytes that are not UTF-8 are replaced.
fn text_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Returns a process's start time in clock ticks since boot; `None` if it cannot be read.
///
/// # References
/// proc_pid_stat(5): the name in parentheses may itself contain blanks and parentheses; the time is the 20th field after it.
pub(super) fn start_ticks(folder: &Path) -> Option<u64> {
    let stat = first_bytes(&folder.join("stat"), 4096).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end.checked_add(1)?..)?).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Returns the time at which an inode was created. A dma-buf inode never changes, so its change time (`ctime`) is the time of
/// creation.
fn created_at(status: &fs::Metadata) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(status.ctime()).ok()?);
    let rest = Duration::from_nanos(u64::try_from(status.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds.checked_add(rest)?)
}

/// Reads the mappings of dma-bufs into one process.
fn mappings(folder: &Path, file_system: Option<(u32, u32)>) -> io::Result<Vec<MapLine>> {
    let maps = BufReader::new(File::open(folder.join("maps"))?);
    let mut mappings = Vec::new();
    input::each_line(maps, LONGEST_LINE, |line| {
        let line = map_line(&String::from_utf8_lossy(line));
        mappings.extend(line.filter(|line| line.is_dmabuf(file_system)));
    })?;
    Ok(mappings)
}

/// Reads at most `max_bytes` bytes from the beginning of a file.
fn first_bytes(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns whether a process is a kernel thread. A kernel thread has an empty command line and no fds.
fn is_kernel_thread(folder: &Path) -> bool {
    first_bytes(&folder.join("cmdline"), 1).is_ok_and(|words| words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::measured;

    const FDINFO: &str =
        "pos:\t0\nino:\t42\nsize:\t4096\ncount:\t2\nexp_name:\tudmabuf\nname:\tring\n";

    /// A folder like `/proc` with two processes, one process that is exiting, and an entry that is not a process.
    fn proc() -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &[u8]| {
            let path = proc.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("12/comm", b"camera\n");
        write("12/fdinfo/10", FDINFO.as_bytes());
        write("12/fdinfo/9", FDINFO.as_bytes());
        write("12/fdinfo/2", b"pos:\t0\nino:\t7\n");
        write("12/fdinfo/x", FDINFO.as_bytes());
        write(
            "12/maps",
            b"1000-2000 rw-s 0 00:0c 42    /dmabuf:ring\n1000-2000 rw-p 0 00:00 0\ngarbage\xff\n",
        );
        write("7/comm", b"\xffodd\n");
        write("7/fdinfo/3", b"\xff\xfe");
        write("30/comm", b"ending\n");
        write("self/comm", b"no number\n");
        proc
    }

    #[test]
    fn scan_of_a_proc_folder_finds_fds_and_mappings_and_skips_the_rest() {
        let proc = proc();
        let scan = ProcessScan::run(proc.path()).unwrap();
        let ids: Vec<u32> = scan.processes.iter().map(|process| process.pid).collect();
        assert_eq!(ids, [7, 12], "30 has no fdinfo folder");
        let camera = &scan.processes[1];
        let fds: Vec<u32> = camera.dmabuf_fds.iter().map(|dmabuf| dmabuf.fd).collect();
        assert_eq!(fds, [9, 10]);
        assert_eq!(camera.dmabuf_fds[0].info.name.as_deref(), Some("ring"));
        assert_eq!(camera.mappings.len(), 1);
        assert_eq!(
            (camera.mappings[0].inode, camera.mappings[0].length_bytes),
            (42, 4096)
        );
        assert_eq!(scan.processes[0].command, "\u{fffd}odd");
        assert_eq!(scan.processes[0].name, b"\xffodd");
        assert!(scan.inaccessible.is_empty());
    }

    #[test]
    fn start_time_of_a_process_with_any_name_is_read() {
        let proc = tempfile::tempdir().unwrap();
        let fields = "S 1 1 1 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 7345 1 1";
        for name in ["a", "a b", ") S 1 1", "((", "a\nb", ")"] {
            fs::write(proc.path().join("stat"), format!("12 ({name}) {fields}\n")).unwrap();
            assert_eq!(start_ticks(proc.path()), Some(7345), "{name}");
        }
        for text in [
            "",
            "12 (a",
            "12 (a) S",
            "12 (a) S 1 1 1 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 x",
        ] {
            fs::write(proc.path().join("stat"), text).unwrap();
            assert_eq!(start_ticks(proc.path()), None, "{text}");
        }
    }

    #[test]
    fn name_with_a_line_break_and_blanks_is_kept_whole() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir_all(proc.path().join("9/fdinfo")).unwrap();
        fs::write(proc.path().join("9/comm"), b"a\nb \n\n").unwrap();
        let scan = ProcessScan::run(proc.path()).unwrap();
        assert_eq!(scan.processes[0].name, b"a\nb \n");
    }

    #[test]
    fn process_with_long_paths_takes_memory_of_its_dma_bufs_alone() {
        // A process chooses the paths of the files that it maps, and so the length of its `maps` file.
        let proc = tempfile::tempdir().unwrap();
        let folder = proc.path().join("12");
        fs::create_dir_all(folder.join("fdinfo")).unwrap();
        fs::write(folder.join("comm"), b"hostile\n").unwrap();
        let path = "a".repeat(4000);
        let mut maps = format!("1000-2000 r--p 0 08:01 42 /{path}\n").repeat(4096);
        maps.push_str("1000-2000 rw-s 0 00:0c 42    /dmabuf:ring\n");
        fs::write(folder.join("maps"), maps).unwrap();
        fs::write(folder.join("fdinfo/3"), "x".repeat(1 << 20)).unwrap();
        let (scan, usage) = measured(|| ProcessScan::run(proc.path()).unwrap());
        assert_eq!(scan.processes[0].mappings.len(), 1);
        assert!(usage.peak_bytes < 256 << 10, "{}", usage.peak_bytes);
    }

    #[test]
    fn scan_of_this_machine_finds_this_process() {
        let scan = ProcessScan::run(Path::new("/proc")).unwrap();
        let pid = std::process::id();
        assert!(scan.processes.iter().any(|process| process.pid == pid));
    }
}
