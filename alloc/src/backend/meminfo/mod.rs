//! The memory of this machine: how much is available, and its physical addresses.

#[cfg(any(
    feature = "drm",
    feature = "heap",
    feature = "udmabuf",
    feature = "v4l2"
))]
mod addresses;
#[cfg(any(
    feature = "drm",
    feature = "gbm",
    feature = "heap",
    feature = "udmabuf",
    feature = "vulkan"
))]
mod available;

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

#[cfg(any(
    feature = "drm",
    feature = "heap",
    feature = "udmabuf",
    feature = "v4l2"
))]
pub(super) use addresses::{memory_window, page_bytes, read_number};
#[cfg(any(
    feature = "drm",
    feature = "gbm",
    feature = "heap",
    feature = "udmabuf",
    feature = "vulkan"
))]
pub(super) use available::available_bytes;
#[cfg(any(feature = "heap", feature = "udmabuf"))]
pub(super) use available::available_if_insufficient;
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
pub(super) use available::shortage;

/// Returns the kernel's error if this process can open no more files. Userspace drivers report this condition as too little
/// memory, so the error is added to the message of the driver's error.
#[cfg(any(feature = "gbm", feature = "vulkan"))]
pub(crate) fn fd_limit_error() -> Option<std::io::Error> {
    fs::File::open("/proc/self/stat")
        .err()
        .filter(|error| error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()))
}

/// Returns the size of all CMA regions together, in bytes; `None` if the kernel has no CMA.
pub(super) fn cma_total_bytes() -> Option<u64> {
    field_bytes(&read("/proc/meminfo")?, "CmaTotal")
}

/// Returns the free bytes of all CMA regions together; `None` if the kernel has no CMA.
#[cfg(any(feature = "heap", feature = "v4l2", feature = "drm"))]
pub(super) fn cma_free_bytes() -> Option<u64> {
    field_bytes(&read("/proc/meminfo")?, "CmaFree")
}

/// Reads a file of procfs or sysfs; `None` if it cannot be read or is larger than `MAX_BYTES`. `fs::read_to_string` needs twice
/// as many system calls, because such a file reports the size 0.
fn read(path: impl AsRef<Path>) -> Option<String> {
    const CHUNK_BYTES: usize = 8192;
    // The longest file that is read is `/proc/zoneinfo`, with half a KiB for each CPU and zone.
    const MAX_BYTES: usize = 16 << 20;
    let mut file = fs::File::open(path).ok()?;
    let (mut bytes, mut read) = (Vec::new(), 0_usize);
    loop {
        bytes.resize(read.checked_add(CHUNK_BYTES)?, 0);
        match file.read(bytes.get_mut(read..)?) {
            Ok(0) => break,
            Ok(more) => read = read.checked_add(more).filter(|read| *read <= MAX_BYTES)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    bytes.truncate(read);
    String::from_utf8(bytes).ok()
}

fn field_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meminfo");
        // The file is sparse, so no block is allocated on the disk.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&path), None);
        fs::write(&path, "MemTotal: 4 kB\n").unwrap();
        assert_eq!(read(&path).as_deref(), Some("MemTotal: 4 kB\n"));
    }
}
