//! Who has which dma-buf: all processes that this one may look into, at one moment.
//!
//! Processes come and go meanwhile: what is not there any more is no error.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use covalent_alloc::kernel::{Fdinfo, MapLine, fdinfo, map_line};
use rustix::fs::{major, minor};

use crate::input;

/// The longest text of one fd that is read: those of some files have a line for each thing that is watched.
const LONGEST_FDINFO: u64 = 64 << 10;

/// The longest line of a mapping that is read: a path of 4 KiB, each byte escaped by four.
const LONGEST_LINE: usize = 32 << 10;

/// All that was seen.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) processes: Vec<Process>,
    /// Processes that this one may not look into, by number and command.
    pub(super) closed: Vec<(u32, String)>,
}

/// A process that has dma-bufs, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) id: u32,
    /// When it began, in the kernel's ticks: a number alone is another process's after a while.
    pub(super) started: Option<u64>,
    /// The first 15 bytes of its name, whatever they are.
    pub(super) name: Vec<u8>,
    /// The name as text.
    pub(super) command: String,
    pub(super) held: Vec<Held>,
    pub(super) mapped: Vec<MapLine>,
}

/// A dma-buf that a process has an fd of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) fd: u32,
    pub(super) buffer: Fdinfo,
    /// When it was made, by the clock on the wall.
    pub(super) made: Option<SystemTime>,
}

/// Why a process is not among those that were looked into.
enum Absent {
    Gone,
    Closed,
}

impl From<io::Error> for Absent {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Closed,
            // ENOENT and ESRCH, and whatever else a process answers that is about to end.
            _ => Self::Gone,
        }
    }
}

impl Census {
    /// Looks into every process below `proc`, which is `/proc`.
    ///
    /// # Errors
    /// When the folder itself cannot be listed.
    pub(super) fn take(proc: &Path) -> io::Result<Self> {
        let mut census = Self::default();
        let mut folders = Vec::new();
        let mut file_system = None;
        for entry in fs::read_dir(proc)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let folder = entry.path();
            match process(&folder, id, &mut file_system) {
                Ok(process) => {
                    census.processes.push(process);
                    folders.push(folder);
                }
                Err(Absent::Closed) if !is_kernel_thread(&folder) => {
                    let name = self::name(&folder).unwrap_or_default();
                    census.closed.push((id, text_of(&name)));
                }
                Err(_) => {}
            }
        }
        // Only now is it known in which file system dma-bufs are.
        for (process, folder) in census.processes.iter_mut().zip(folders) {
            process.mapped = mapped(&folder, file_system).unwrap_or_default();
        }
        census.processes.sort_by_key(|process| process.id);
        Ok(census)
    }
}

fn process(
    folder: &Path,
    id: u32,
    file_system: &mut Option<(u32, u32)>,
) -> Result<Process, Absent> {
    let started = started(folder);
    let name = name(folder)?;
    let mut held = Vec::new();
    for entry in fs::read_dir(folder.join("fdinfo"))? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // An fd may be closed between the listing and this.
        let text = first_bytes(&entry.path(), LONGEST_FDINFO).ok();
        let Some(buffer) = text.and_then(|text| fdinfo(&text)) else {
            continue;
        };
        let status = fs::metadata(folder.join("fd").join(fd.to_string())).ok();
        // The number may be another file's by now.
        let status = status.filter(|status| status.ino() == buffer.inode);
        if let Some(status) = &status {
            *file_system = Some((major(status.dev()), minor(status.dev())));
        }
        held.push(Held {
            fd,
            buffer,
            made: status.and_then(|status| made(&status)),
        });
    }
    held.sort_by_key(|held| held.fd);
    if self::started(folder) != started {
        // It ended meanwhile, and another one has its number: this is neither's.
        return Err(Absent::Gone);
    }
    Ok(Process {
        id,
        started,
        command: text_of(&name),
        name,
        held,
        mapped: Vec::new(),
    })
}

/// A process's name: bytes that it chose, line breaks and blanks at the end included.
fn name(folder: &Path) -> io::Result<Vec<u8>> {
    // The kernel keeps 15 bytes.
    let mut name = first_bytes(&folder.join("comm"), 64)?;
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Ok(name)
}

fn text_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// When a process began, in ticks since the boot; none where nothing tells.
///
/// # References
/// proc_pid_stat(5): the name in parentheses may hold blanks and parentheses itself; the time is the 20th field behind it.
pub(super) fn started(folder: &Path) -> Option<u64> {
    let stat = first_bytes(&folder.join("stat"), 4096).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end.checked_add(1)?..)?).ok()?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// When an inode was made: nobody writes to those of dma-bufs.
fn made(status: &fs::Metadata) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(status.ctime()).ok()?);
    let rest = Duration::from_nanos(u64::try_from(status.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds.checked_add(rest)?)
}

fn mapped(folder: &Path, file_system: Option<(u32, u32)>) -> io::Result<Vec<MapLine>> {
    let maps = BufReader::new(File::open(folder.join("maps"))?);
    let mut mapped = Vec::new();
    input::each_line(maps, LONGEST_LINE, |line| {
        let line = map_line(&String::from_utf8_lossy(line));
        mapped.extend(line.filter(|line| line.is_dmabuf(file_system)));
    })?;
    Ok(mapped)
}

/// Reads no more of a file than so many bytes.
fn first_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Threads of the kernel have no words of a command line, and no fds.
fn is_kernel_thread(folder: &Path) -> bool {
    first_bytes(&folder.join("cmdline"), 1).is_ok_and(|words| words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::measured;

    const FDINFO: &str =
        "pos:\t0\nino:\t42\nsize:\t4096\ncount:\t2\nexp_name:\tudmabuf\nname:\tring\n";

    /// A folder like `/proc`, with two processes, one that is ending, and what is no process.
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
    fn census_finds_fds_and_mappings_and_survives_the_rest() {
        let proc = proc();
        let census = Census::take(proc.path()).unwrap();
        let ids: Vec<u32> = census.processes.iter().map(|process| process.id).collect();
        assert_eq!(ids, [7, 12], "30 has no fds any more");
        let camera = &census.processes[1];
        let fds: Vec<u32> = camera.held.iter().map(|held| held.fd).collect();
        assert_eq!(fds, [9, 10]);
        assert_eq!(camera.held[0].buffer.name.as_deref(), Some("ring"));
        assert_eq!(camera.mapped.len(), 1);
        assert_eq!(
            (camera.mapped[0].inode, camera.mapped[0].length_bytes),
            (42, 4096)
        );
        assert_eq!(census.processes[0].command, "\u{fffd}odd");
        assert_eq!(census.processes[0].name, b"\xffodd");
        assert!(census.closed.is_empty());
    }

    #[test]
    fn process_with_any_name_tells_when_it_began() {
        let proc = tempfile::tempdir().unwrap();
        let fields = "S 1 1 1 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 7345 1 1";
        for name in ["a", "a b", ") S 1 1", "((", "a\nb", ")"] {
            fs::write(proc.path().join("stat"), format!("12 ({name}) {fields}\n")).unwrap();
            assert_eq!(started(proc.path()), Some(7345), "{name}");
        }
        for text in [
            "",
            "12 (a",
            "12 (a) S",
            "12 (a) S 1 1 1 0 -1 4194304 1 0 0 0 1 2 0 0 20 0 1 0 x",
        ] {
            fs::write(proc.path().join("stat"), text).unwrap();
            assert_eq!(started(proc.path()), None, "{text}");
        }
    }

    #[test]
    fn name_with_a_line_break_and_blanks_is_kept_whole() {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir_all(proc.path().join("9/fdinfo")).unwrap();
        fs::write(proc.path().join("9/comm"), b"a\nb \n\n").unwrap();
        let census = Census::take(proc.path()).unwrap();
        assert_eq!(census.processes[0].name, b"a\nb \n");
    }

    #[test]
    fn process_with_long_paths_takes_memory_of_its_dma_bufs_alone() {
        // A process chooses the paths that it maps, and so how much there is to read of it.
        let proc = tempfile::tempdir().unwrap();
        let folder = proc.path().join("12");
        fs::create_dir_all(folder.join("fdinfo")).unwrap();
        fs::write(folder.join("comm"), b"hostile\n").unwrap();
        let path = "a".repeat(4000);
        let mut maps = format!("1000-2000 r--p 0 08:01 42 /{path}\n").repeat(4096);
        maps.push_str("1000-2000 rw-s 0 00:0c 42    /dmabuf:ring\n");
        fs::write(folder.join("maps"), maps).unwrap();
        fs::write(folder.join("fdinfo/3"), "x".repeat(1 << 20)).unwrap();
        let (census, usage) = measured(|| Census::take(proc.path()).unwrap());
        assert_eq!(census.processes[0].mapped.len(), 1);
        assert!(usage.peak_bytes < 256 << 10, "{}", usage.peak_bytes);
    }

    #[test]
    fn census_of_this_machine_finds_this_process() {
        let census = Census::take(Path::new("/proc")).unwrap();
        let own = std::process::id();
        assert!(census.processes.iter().any(|process| process.id == own));
    }
}
