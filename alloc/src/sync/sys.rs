//! The ioctls of sync_files, dma-buf fences and syncobjs that no crate wraps.
#![allow(
    unsafe_code,
    reason = "ioctls, some of which return a new file descriptor"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{self, Errno};
use rustix::ioctl::{self, Opcode, Setter, Updater, opcode};

use super::Access;

/// The size of a name in bytes, with its terminating zero.
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

/// One of the fences from which a sync_file was merged: the fields of `struct sync_fence_info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RawFencePart {
    /// The timeline's name.
    pub(super) timeline: String,
    /// The driver's name.
    pub(super) driver: String,
    /// 0 for an unsignalled fence, 1 for a signalled fence, and a negative errno for a fence that signalled with an error.
    pub(super) status: i32,
    /// The time of the signal on CLOCK_MONOTONIC. The value has no meaning while the fence is unsignalled.
    pub(super) timestamp_ns: u64,
}

const SYNC_MERGE: Opcode = opcode::read_write::<MergeData>(b'>', 3);
const SYNC_FILE_INFO: Opcode = opcode::read_write::<FileInfo>(b'>', 4);

/// Repeats an ioctl as long as it returns EINTR or EAGAIN.
fn retry_interrupted(mut request: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match request() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            done => return done,
        }
    }
}

/// Takes ownership of the file descriptor that an ioctl returned.
fn owned_fd(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the ioctl succeeded and has just created this file descriptor, which no other value owns. The field was -1 before
    // the call, so an ioctl that did not write the field is an error and not the fd 0.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Creates a sync_file that signals when both have signalled.
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
    retry_interrupted(|| {
        // SAFETY: the structure has the size that the opcode encodes, and contains no pointers.
        unsafe { ioctl::ioctl(one, Updater::<SYNC_MERGE, MergeData>::new(&mut request)) }
    })?;
    owned_fd(request.fence)
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
    retry_interrupted(|| {
        // SAFETY: the structure has the size that the opcode encodes. The kernel writes at most `num_fences` structures of 80
        // bytes to `parts`, which has that many elements and outlives the call.
        unsafe {
            ioctl::ioctl(
                sync_file,
                Updater::<SYNC_FILE_INFO, FileInfo>::new(&mut request),
            )
        }
    })?;
    Ok(request)
}

/// Returns the status of a sync_file as a whole, and the number of fences that it was merged from.
///
/// # References
/// `linux/sync_file.h`, SYNC_IOC_FILE_INFO with `num_fences` 0.
pub(super) fn status(sync_file: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let info = file_info(sync_file, &mut [])?;
    Ok((info.status, info.num_fences))
}

/// Lists the fences from which a sync_file was merged: one fence if it was not merged.
///
/// # References
/// `linux/sync_file.h`, SYNC_IOC_FILE_INFO.
pub(super) fn parts(sync_file: BorrowedFd<'_>) -> io::Result<Vec<RawFencePart>> {
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
        .map(|part| RawFencePart {
            timeline: text(&part.obj_name),
            driver: text(&part.driver_name),
            status: part.status,
            timestamp_ns: part.timestamp_ns,
        })
        .collect())
}

/// `struct dma_buf_export_sync_file` and `struct dma_buf_import_sync_file`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SyncFile {
    flags: u32,
    fd: RawFd,
}

const EXPORT_SYNC_FILE: Opcode = opcode::read_write::<SyncFile>(b'b', 2);
const IMPORT_SYNC_FILE: Opcode = opcode::write::<SyncFile>(b'b', 3);

/// Returns `DMA_BUF_SYNC_READ` for a read. For a write it returns `DMA_BUF_SYNC_RW`, because an access that writes may read too.
const fn direction(access: Access) -> u32 {
    match access {
        Access::Read => 1,
        Access::Write => 3,
    }
}

/// Exports the implicit fences of a dma-buf, for which an access has to wait, as one sync_file.
///
/// # References
/// `linux/dma-buf.h`, DMA_BUF_IOCTL_EXPORT_SYNC_FILE.
pub(super) fn export_sync_file(dmabuf: BorrowedFd<'_>, access: Access) -> io::Result<OwnedFd> {
    let mut request = SyncFile {
        flags: direction(access),
        fd: -1,
    };
    retry_interrupted(|| {
        // SAFETY: the structure has the size that the opcode encodes, and contains no pointers.
        unsafe {
            ioctl::ioctl(
                dmabuf,
                Updater::<EXPORT_SYNC_FILE, SyncFile>::new(&mut request),
            )
        }
    })?;
    owned_fd(request.fd)
}

/// Adds a fence to the implicit fences of a dma-buf.
///
/// # References
/// `linux/dma-buf.h`, DMA_BUF_IOCTL_IMPORT_SYNC_FILE.
pub(super) fn import_sync_file(
    dmabuf: BorrowedFd<'_>,
    sync_file: BorrowedFd<'_>,
    access: Access,
) -> io::Result<()> {
    let request = SyncFile {
        flags: direction(access),
        fd: sync_file.as_raw_fd(),
    };
    retry_interrupted(|| {
        // SAFETY: the structure has the size that the opcode encodes, and contains no pointers.
        unsafe { ioctl::ioctl(dmabuf, Setter::<IMPORT_SYNC_FILE, SyncFile>::new(request)) }
    })
}

/// `struct drm_syncobj_handle` without the field `point` of Linux 6.16. The kernel accepts both sizes.
#[cfg(feature = "syncobj")]
#[repr(C)]
struct SyncobjHandle {
    handle: u32,
    flags: u32,
    fd: RawFd,
    pad: u32,
}

#[cfg(feature = "syncobj")]
const SYNCOBJ_FD_TO_HANDLE: Opcode = opcode::read_write::<SyncobjHandle>(b'd', 0xc2);

/// Sets the fence of a syncobj from a sync_file. The `drm` crate's wrapper has no parameter for the destination syncobj.
///
/// # References
/// `drm/drm.h`, DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE with DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE.
#[cfg(feature = "syncobj")]
pub(super) fn syncobj_import_sync_file(
    card: BorrowedFd<'_>,
    handle: u32,
    sync_file: BorrowedFd<'_>,
) -> io::Result<()> {
    /// `DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE`.
    const IMPORT: u32 = 1;
    let mut request = SyncobjHandle {
        handle,
        flags: IMPORT,
        fd: sync_file.as_raw_fd(),
        pad: 0,
    };
    retry_interrupted(|| {
        // SAFETY: the structure has the size that the opcode encodes, and contains no pointers.
        unsafe {
            ioctl::ioctl(
                card,
                Updater::<SYNCOBJ_FD_TO_HANDLE, SyncobjHandle>::new(&mut request),
            )
        }
    })
}

/// Returns the text before the first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(end.and_then(|end| bytes.get(..end)).unwrap_or(bytes)).into_owned()
}

/// Returns whether two descriptors refer to the same open file description; `false` if the kernel cannot compare them.
///
/// # References
/// fcntl(2), F_DUPFD_QUERY (Linux 6.10); kcmp(2), KCMP_FILE.
pub(super) fn is_same_file(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    /// `linux/kcmp.h`.
    const KCMP_FILE: libc::c_long = 0;
    /// `linux/fcntl.h`.
    const F_DUPFD_QUERY: libc::c_int = 1027;
    let (one, other) = (one.as_raw_fd(), other.as_raw_fd());
    // SAFETY: both descriptors are borrowed, so they are open during the call, which changes neither.
    let answer = unsafe { libc::fcntl(one, F_DUPFD_QUERY, other) };
    if answer >= 0 {
        return answer == 1;
    }
    let process = libc::c_long::from(rustix::process::getpid().as_raw_nonzero().get());
    let (one, other) = (libc::c_long::from(one), libc::c_long::from(other));
    // SAFETY: the arguments are integers, and the call only compares two descriptors of this process.
    unsafe { libc::syscall(libc::SYS_kcmp, process, process, KCMP_FILE, one, other) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcodes_equal_the_kernel_headers() {
        assert_eq!(SYNC_MERGE, 0xc030_3e03);
        assert_eq!(SYNC_FILE_INFO, 0xc038_3e04);
        assert_eq!(EXPORT_SYNC_FILE, 0xc008_6202);
        assert_eq!(IMPORT_SYNC_FILE, 0x4008_6203);
        #[cfg(feature = "syncobj")]
        assert_eq!(SYNCOBJ_FD_TO_HANDLE, 0xc010_64c2);
        assert_eq!(size_of::<FenceInfo>(), 80);
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    #[test]
    fn structures_and_opcodes_equal_the_headers_of_this_target() {
        let mut ours = crate::abi::layouts! {
            MergeData => "sync_merge_data" { fd2 => "fd2", fence => "fence", flags => "flags" }
            FileInfo => "sync_file_info" {
                status => "status", flags => "flags", num_fences => "num_fences",
                sync_fence_info => "sync_fence_info",
            }
            FenceInfo => "sync_fence_info" {
                driver_name => "driver_name", status => "status", flags => "flags",
                timestamp_ns => "timestamp_ns",
            }
            SyncFile => "dma_buf_export_sync_file" { fd => "fd" }
            SyncFile => "dma_buf_import_sync_file" { fd => "fd" }
        };
        ours.extend([
            ("request SYNC_IOC_MERGE", SYNC_MERGE.into()),
            ("request SYNC_IOC_FILE_INFO", SYNC_FILE_INFO.into()),
            (
                "request DMA_BUF_IOCTL_EXPORT_SYNC_FILE",
                EXPORT_SYNC_FILE.into(),
            ),
            (
                "request DMA_BUF_IOCTL_IMPORT_SYNC_FILE",
                IMPORT_SYNC_FILE.into(),
            ),
        ]);
        let prefixes = [
            "sync_",
            "SYNC_",
            "dma_buf_export_",
            "dma_buf_import_",
            "DMA_BUF_IOCTL_EXPORT_",
            "DMA_BUF_IOCTL_IMPORT_",
        ];
        crate::abi::assert_equals_headers(&prefixes, &ours);
    }
}
