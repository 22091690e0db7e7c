//! The requests of fences, reservations and syncobjs that no crate has.
#![allow(
    unsafe_code,
    reason = "ioctls, some of which answer with a new file descriptor"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{self, Errno};
use rustix::ioctl::{self, Opcode, Updater, opcode};

/// Bytes of a name, its closing zero counted.
const NAME_BYTES: usize = 32;

/// `struct sync_merge_data`.
#[repr(C)]
struct MergeData {
    name: [u8; NAME_BYTES],
    fd2: RawFd,
    fence: RawFd,
    flags: u32,
    pad: u32,
}

/// `struct sync_file_info`.
#[repr(C)]
struct FileInfo {
    name: [u8; NAME_BYTES],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    sync_fence_info: u64,
}

/// `struct sync_fence_info`: one of the fences that a sync_file was merged from.
#[repr(C)]
#[derive(Clone, Copy)]
struct FenceInfo {
    obj_name: [u8; NAME_BYTES],
    driver_name: [u8; NAME_BYTES],
    status: i32,
    flags: u32,
    timestamp_ns: u64,
}

/// What the kernel says of one of the fences in a sync_file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The timeline's name.
    pub(super) timeline: String,
    /// The driver's name.
    pub(super) driver: String,
    /// 0: unsignalled; 1: signalled; below 0: signalled with that error.
    pub(super) status: i32,
    /// On CLOCK_MONOTONIC; means nothing while unsignalled.
    pub(super) timestamp_ns: u64,
}

const SYNC_MERGE: Opcode = opcode::read_write::<MergeData>(b'>', 3);
const SYNC_FILE_INFO: Opcode = opcode::read_write::<FileInfo>(b'>', 4);

/// Asks again after a signal, and where the kernel could not wait.
fn restarting(mut request: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match request() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            done => return done,
        }
    }
}

/// Takes over the fd that a request has answered with.
fn received(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: a request that succeeds has just made this fd, and nobody else knows of it. It was -1 before, so that a request
    // which did not answer is not taken for one that answered 0.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a sync_file that signals when both have.
///
/// # References
/// `linux/sync_file.h`, SYNC_IOC_MERGE.
pub(super) fn merge(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut name = [0; NAME_BYTES];
    name[..8].copy_from_slice(b"covalent");
    let mut request = MergeData {
        name,
        fd2: other.as_raw_fd(),
        fence: -1,
        flags: 0,
        pad: 0,
    };
    restarting(|| {
        // SAFETY: the request is of the size in its opcode and holds no pointers.
        unsafe { ioctl::ioctl(one, Updater::<SYNC_MERGE, MergeData>::new(&mut request)) }
    })?;
    received(request.fence)
}

fn file_info(sync_file: BorrowedFd<'_>, parts: &mut [FenceInfo]) -> io::Result<FileInfo> {
    let mut request = FileInfo {
        name: [0; NAME_BYTES],
        status: 0,
        flags: 0,
        num_fences: u32::try_from(parts.len()).map_err(|_| Errno::OVERFLOW)?,
        pad: 0,
        sync_fence_info: parts.as_mut_ptr().expose_provenance() as u64,
    };
    restarting(|| {
        // SAFETY: the request is of the size in its opcode. The kernel writes no more than `num_fences` structures of 80 bytes to
        // `parts`, which has that many and outlives the call.
        unsafe {
            ioctl::ioctl(
                sync_file,
                Updater::<SYNC_FILE_INFO, FileInfo>::new(&mut request),
            )
        }
    })?;
    Ok(request)
}

/// The status of a sync_file as a whole, and how many fences it was merged from.
///
/// # References
/// `linux/sync_file.h`, SYNC_IOC_FILE_INFO with no room for parts.
pub(super) fn status(sync_file: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let info = file_info(sync_file, &mut [])?;
    Ok((info.status, info.num_fences))
}

/// The fences that a sync_file was merged from: one, or several.
///
/// # References
/// `linux/sync_file.h`, SYNC_IOC_FILE_INFO.
pub(super) fn parts(sync_file: BorrowedFd<'_>) -> io::Result<Vec<Part>> {
    let (_, count) = status(sync_file)?;
    let empty = FenceInfo {
        obj_name: [0; NAME_BYTES],
        driver_name: [0; NAME_BYTES],
        status: 0,
        flags: 0,
        timestamp_ns: 0,
    };
    let mut parts = vec![empty; usize::try_from(count).map_err(|_| Errno::OVERFLOW)?];
    let info = file_info(sync_file, &mut parts)?;
    parts.truncate(usize::try_from(info.num_fences).map_err(|_| Errno::OVERFLOW)?);
    Ok(parts
        .iter()
        .map(|part| Part {
            timeline: text(&part.obj_name),
            driver: text(&part.driver_name),
            status: part.status,
            timestamp_ns: part.timestamp_ns,
        })
        .collect())
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(end.and_then(|end| bytes.get(..end)).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_are_the_headers() {
        assert_eq!(SYNC_MERGE, 0xc030_3e03);
        assert_eq!(SYNC_FILE_INFO, 0xc038_3e04);
        assert_eq!(size_of::<FenceInfo>(), 80);
    }
}
