//! The functions of the C library that this library replaces, the memory of the callers of ioctl, and calls of the shim.
//!
//! The replaced functions call the next ones in the order of preloading: those of the shim. Rust's standard library and rustix
//! are used for everything else; rustix makes system calls and calls no replaced function.
#![allow(
    unsafe_code,
    reason = "functions of the C library are replaced, and their arguments are pointers"
)]
#![cfg_attr(
    test,
    allow(dead_code, reason = "a program of unit tests replaces no functions")
)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::ioctl::{self as rustix_ioctl, Ioctl, IoctlOutput, Opcode, opcode};

use crate::driver::{amdgpu, asahi, msm, nouveau, radeon};
use crate::prime::{self, Answer};

/// The type of DRM ioctls.
const DRM: c_ulong = b'd' as c_ulong;
/// The number of DRM_IOCTL_VERSION.
const VERSION: u32 = 0x00;
/// The description that all shims return for DRM_IOCTL_VERSION.
const SHIM_DESCRIPTION: &[u8] = b"shim";
/// The name of the memfd that has the memory of all objects of a shim.
const SHIM_MEMORY: &CStr = c"shim mem";
/// How many bytes of an argument are kept from before the call.
const KEPT_BYTES: usize = 32;
/// The maximum length of the strings of DRM_IOCTL_VERSION.
const NAME_BYTES: usize = 32;

/// A structure of integers: every pattern of bits is a value, and it has no padding.
///
/// # Safety
/// The type fulfils that.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:path),* $(,)?) => {
        $(
            // SAFETY: the structure is `repr(C)` and has only integers, and its fields fill it.
            unsafe impl Plain for $name {}
        )*
    };
}

plain!(
    amdgpu::CreateIn,
    amdgpu::CreateOut,
    amdgpu::Mmap,
    amdgpu::Metadata,
    amdgpu::Op,
    asahi::GemCreate,
    asahi::MmapOffset,
    msm::GemNew,
    msm::GemInfo,
    nouveau::GemInfo,
    nouveau::GemNew,
    radeon::GemCreate,
    radeon::GemMmap,
    radeon::Tiling,
    radeon::Op,
    prime::GemClose,
    prime::GetCap,
    prime::PrimeHandle,
);

/// The argument of an ioctl, which is in the memory of its caller.
pub(crate) struct Argument {
    request: c_ulong,
    pointer: *mut c_void,
    /// The first bytes of the argument before the call.
    before: [u8; KEPT_BYTES],
}

impl Argument {
    /// # Safety
    /// `pointer` is the argument of an ioctl with this request, and the value does not outlive the call.
    unsafe fn new(request: c_ulong, pointer: *mut c_void) -> Self {
        let mut before = [0; KEPT_BYTES];
        let bytes = argument_bytes(request).min(KEPT_BYTES);
        if !pointer.is_null() {
            // SAFETY: the caller of ioctl passes an argument of at least as many bytes as the request says.
            unsafe {
                std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), before.as_mut_ptr(), bytes);
            }
        }
        Self {
            request,
            pointer,
            before,
        }
    }

    /// Returns the argument of an ioctl that reads and writes this structure, which outlives the argument.
    #[cfg(test)]
    pub(crate) fn of<T: Plain>(number: u32, value: &mut T) -> Self {
        // SAFETY: the request says the size of the structure.
        unsafe { Self::new(request::<T>(number), std::ptr::from_mut(value).cast()) }
    }

    fn has_room_for<T: Plain>(&self) -> bool {
        !self.pointer.is_null() && size_of::<T>() <= argument_bytes(self.request)
    }

    /// Reads the argument; `None` if it is smaller than the structure.
    pub(crate) fn read<T: Plain>(&self) -> Option<T> {
        self.has_room_for::<T>().then(|| {
            // SAFETY: the argument has at least as many bytes as the structure, for which all bytes are valid.
            unsafe { self.pointer.cast::<T>().read_unaligned() }
        })
    }

    /// Reads the argument as it was before the call; `None` if it is smaller than the structure.
    pub(crate) fn before<T: Plain>(&self) -> Option<T> {
        let is_kept = self.has_room_for::<T>() && size_of::<T>() <= KEPT_BYTES;
        is_kept.then(|| {
            // SAFETY: the kept bytes are as many as the structure has, and all bytes are valid for it.
            unsafe { self.before.as_ptr().cast::<T>().read_unaligned() }
        })
    }

    /// Writes the argument. An argument that is smaller than the structure is left as it is.
    pub(crate) fn write<T: Plain>(&self, value: &T) {
        if self.has_room_for::<T>() {
            // SAFETY: the argument has at least as many bytes as the structure, and the ioctl writes it.
            unsafe { self.pointer.cast::<T>().write_unaligned(*value) };
        }
    }

    /// Writes a structure to an address that the argument contains.
    pub(crate) fn write_at<T: Plain>(&self, address: u64, value: &T) {
        if let Some(pointer) = pointer_to(address) {
            // SAFETY: the caller of ioctl has put the address of such a structure into the argument, as the ioctl requires it.
            unsafe { pointer.cast::<T>().write_unaligned(*value) };
        }
    }

    /// Reads bytes from an address that the argument contains.
    pub(crate) fn read_bytes_at(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        if let Some(pointer) = pointer_to(address) {
            // SAFETY: the caller of ioctl has put the address of so many bytes into the argument, as the ioctl requires it.
            unsafe { std::ptr::copy_nonoverlapping(pointer, bytes.as_mut_ptr(), length) };
        }
        bytes
    }

    /// Writes bytes to an address that the argument contains. The caller has room for them.
    pub(crate) fn write_bytes_at(&self, address: u64, bytes: &[u8]) {
        if let Some(pointer) = pointer_to(address) {
            // SAFETY: the caller of ioctl has put the address and the size of its memory into the argument, and the size was
            // checked.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), pointer, bytes.len()) };
        }
    }
}

fn pointer_to(address: u64) -> Option<*mut u8> {
    let address = usize::try_from(address)
        .ok()
        .filter(|address| *address != 0)?;
    Some(std::ptr::with_exposed_provenance_mut(address))
}

/// Returns the size of the argument of an ioctl in bytes.
fn argument_bytes(request: c_ulong) -> usize {
    usize::try_from(request >> 16 & 0x3fff).unwrap_or(0)
}

/// Returns the request of a DRM ioctl that reads and writes a structure.
pub(crate) fn request<T>(number: u32) -> c_ulong {
    let size = c_ulong::try_from(size_of::<T>()).unwrap_or(0);
    0b11 << 30 | size << 16 | DRM << 8 | c_ulong::from(number)
}

/// A file descriptor of a shim.
pub(crate) struct Shim(pub(crate) RawFd);

impl Shim {
    /// Calls an ioctl of the shim.
    pub(crate) fn ioctl<T: Plain>(&self, request: c_ulong, value: &mut T) -> Result<(), Errno> {
        // SAFETY: the request says the size of the structure, to which the pointer points.
        unsafe { self.call(request, std::ptr::from_mut(value).cast()) }
    }

    /// Calls the shim's ioctl with the request and the argument of the caller.
    pub(crate) fn forward(&self, argument: &Argument) -> Result<(), Errno> {
        // SAFETY: request and argument are those that the caller passed to ioctl.
        unsafe { self.call(argument.request, argument.pointer) }
    }

    /// # Safety
    /// The argument is one that the request requires.
    unsafe fn call(&self, request: c_ulong, argument: *mut c_void) -> Result<(), Errno> {
        // SAFETY: the requirement of this function.
        match unsafe { next_ioctl(self.0, request, argument) } {
            result if result >= 0 => Ok(()),
            -1 => Err(errno()),
            // The functions of a shim return the negative error number, as those of the kernel do.
            result => Err(Errno::from_raw_os_error(result.saturating_neg())),
        }
    }
}

/// `struct drm_version`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Version {
    numbers: [c_int; 3],
    name_length: usize,
    name: *mut c_char,
    date_length: usize,
    date: *mut c_char,
    description_length: usize,
    description: *mut c_char,
}

/// Returns the name of the kernel driver that a shim stands in for; `None` if the file is not a shim's.
pub(crate) fn shim_driver(fd: RawFd) -> Option<Vec<u8>> {
    let mut name = [0_u8; NAME_BYTES];
    let mut description = [0_u8; NAME_BYTES];
    let mut version = Version {
        numbers: [0; 3],
        name_length: NAME_BYTES,
        name: name.as_mut_ptr().cast(),
        date_length: 0,
        date: std::ptr::null_mut(),
        description_length: NAME_BYTES,
        description: description.as_mut_ptr().cast(),
    };
    let pointer = std::ptr::from_mut(&mut version).cast();
    // SAFETY: the structure has the lengths of the arrays to which it points.
    unsafe { Shim(fd).call(request::<Version>(VERSION), pointer) }.ok()?;
    let description = description.get(..version.description_length)?;
    let name = name.get(..version.name_length)?;
    (description == SHIM_DESCRIPTION).then(|| name.to_vec())
}

/// Borrows a file descriptor that the caller of an ioctl has passed; `None` for a negative number.
pub(crate) fn borrow<'a>(fd: RawFd) -> Option<BorrowedFd<'a>> {
    // SAFETY: the number is not -1, and the caller keeps the file descriptor open until its ioctl returns. If it is not open,
    // every system call fails with EBADF.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The memfd with the memory of the shim; -1 before the shim has created it.
static MEMORY: AtomicI32 = AtomicI32::new(-1);

/// Returns the memfd with the memory of the shim.
pub(crate) fn shim_memory() -> Option<BorrowedFd<'static>> {
    // A shim keeps its memfd open until the process ends.
    borrow(MEMORY.load(Ordering::Acquire))
}

/// Returns a memfd like that of a shim.
#[cfg(test)]
pub(crate) fn shim_memory_for_tests(size_bytes: u64) -> OwnedFd {
    let fd = rustix::fs::memfd_create(SHIM_MEMORY, rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, size_bytes).unwrap();
    fd
}

/// `struct udmabuf_create`.
#[repr(C)]
struct UdmabufCreate {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

// SAFETY: the opcode reads one `struct udmabuf_create`, which `UdmabufCreate` equals, and returns a new fd.
unsafe impl Ioctl for UdmabufCreate {
    type Output = OwnedFd;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::write::<Self>(b'u', 0x42)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<OwnedFd> {
        // SAFETY: the ioctl succeeded, so its result is a new fd that no other value owns.
        Ok(unsafe { OwnedFd::from_raw_fd(output) })
    }
}

/// Makes a dma-buf of a range of a memfd. Offset and size are in bytes, and are multiples of the page size.
pub(crate) fn create_udmabuf(
    udmabuf: &OwnedFd,
    memfd: BorrowedFd<'_>,
    offset: u64,
    size: u64,
) -> Result<OwnedFd, Errno> {
    /// UDMABUF_FLAGS_CLOEXEC.
    const CLOEXEC: u32 = 1;
    let call = UdmabufCreate {
        memfd: u32::try_from(memfd.as_raw_fd()).map_err(|_| Errno::BADF)?,
        flags: CLOEXEC,
        offset,
        size,
    };
    // SAFETY: the fd is of the udmabuf device, to which the opcode belongs.
    unsafe { rustix_ioctl::ioctl(udmabuf, call) }
}

thread_local! {
    /// Whether this thread runs code of this library, whose own calls are passed on at once.
    static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of this library; `None` if this thread already does.
fn inside<T>(run: impl FnOnce() -> T) -> Option<T> {
    IS_INSIDE.with(|is_inside| {
        (!is_inside.replace(true)).then(|| {
            let result = run();
            is_inside.set(false);
            result
        })
    })
}

fn errno() -> Errno {
    // SAFETY: the function returns the address of this thread's errno.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

fn set_errno(error: Errno) {
    // SAFETY: the function returns the address of this thread's errno.
    unsafe { *libc::__errno_location() = error.raw_os_error() };
}

/// Returns the address of the next function with this name, or ends the process, which cannot continue without it.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with a zero.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    if found.is_null() {
        std::process::abort();
    }
    found
}

/// Defines a function that calls the next function of the same name in the order of preloading.
macro_rules! next_function {
    ($function:ident, $name:literal, ($($argument:ident: $kind:ty),*) -> $result:ty) => {
        /// # Safety
        /// As for the function of the C library.
        unsafe fn $function($($argument: $kind),*) -> $result {
            static FOUND: OnceLock<usize> = OnceLock::new();
            let address = *FOUND.get_or_init(|| next($name).expose_provenance());
            let pointer = std::ptr::with_exposed_provenance::<c_void>(address);
            // SAFETY: the C library and the shims define the function with these parameters. A function with `...` takes the
            // third argument where one without takes it, on x86-64 and aarch64 with Linux.
            let function = unsafe {
                std::mem::transmute::<*const c_void, unsafe extern "C" fn($($kind),*) -> $result>(pointer)
            };
            // SAFETY: the requirement of this function.
            unsafe { function($($argument),*) }
        }
    };
}

next_function!(next_ioctl, c"ioctl", (fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int);
next_function!(next_mmap, c"mmap", (address: *mut c_void, length: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> *mut c_void);
next_function!(next_close, c"close", (fd: c_int) -> c_int);
next_function!(next_dup, c"dup", (fd: c_int) -> c_int);
next_function!(next_fcntl, c"fcntl", (fd: c_int, command: c_int, argument: *mut c_void) -> c_int);

/// Replaces `ioctl`, and answers those DRM ioctls of a shim that share memory.
///
/// # Safety
/// As for `ioctl`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    let is_drm = request >> 8 & 0xff == DRM;
    let number = u32::try_from(request & 0xff).unwrap_or(0);
    // The version is queried to find out whether a file is a shim's.
    if is_drm && number != VERSION {
        let answer = inside(|| {
            // SAFETY: request and argument are those of the caller.
            let argument = unsafe { Argument::new(request, argument) };
            prime::ioctl(fd, number, &argument)
        });
        match answer {
            Some(Answer::Done(Ok(()))) => return 0,
            Some(Answer::Done(Err(error))) => {
                set_errno(error);
                return -1;
            }
            Some(Answer::Shim) | None => {}
        }
    }
    // SAFETY: the arguments are those of the caller.
    unsafe { next_ioctl(fd, request, argument) }
}

/// Replaces `mmap`: a mapping of an imported object is one of its dma-buf.
///
/// # Safety
/// As for `mmap`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    let is_file = fd >= 0 && flags & libc::MAP_ANONYMOUS == 0;
    let imported = is_file
        .then(|| inside(|| prime::mapped_file(fd, u64::try_from(offset).ok()?)))
        .flatten()
        .flatten();
    let (fd, offset) = imported.map_or((fd, offset), |file| (file, 0));
    // SAFETY: the arguments are those of the caller, or name the file with the memory of the object that the caller maps.
    unsafe { next_mmap(address, length, protection, flags, fd, offset) }
}

/// Replaces `mmap64` as [`mmap`] does.
///
/// # Safety
/// As for `mmap64`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: usize,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: i64,
) -> *mut c_void {
    // SAFETY: `off_t` has 64 bits on the machines that Mesa's shims support.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}

/// Replaces `close`, after which a file descriptor is not a shim's.
///
/// # Safety
/// As for `close`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    inside(|| prime::closed(fd));
    // SAFETY: the argument is that of the caller.
    unsafe { next_close(fd) }
}

/// Replaces `dup`: the duplicate has the objects of the file.
///
/// # Safety
/// As for `dup`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn dup(fd: c_int) -> c_int {
    // SAFETY: the argument is that of the caller.
    let new = unsafe { next_dup(fd) };
    if new >= 0 {
        inside(|| prime::duplicated(fd, new));
    }
    new
}

/// Replaces `fcntl`: the duplicate has the objects of the file.
///
/// # Safety
/// As for `fcntl`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: the arguments are those of the caller.
    let result = unsafe { next_fcntl(fd, command, argument) };
    if result >= 0 && matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) {
        inside(|| prime::duplicated(fd, result));
    }
    result
}

/// Replaces `fcntl64` as [`fcntl`] does.
///
/// # Safety
/// As for `fcntl64`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: the arguments are those of the caller.
    unsafe { fcntl(fd, command, argument) }
}

/// Replaces `memfd_create`: the memory of a shim can be sealed, which UDMABUF_CREATE requires.
///
/// # Safety
/// As for `memfd_create`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub(crate) unsafe extern "C" fn memfd_create(name: *const c_char, flags: c_uint) -> c_int {
    // SAFETY: the caller passes a string that ends with a zero.
    let is_memory = !name.is_null() && unsafe { CStr::from_ptr(name) } == SHIM_MEMORY;
    let flags = if is_memory {
        flags | libc::MFD_ALLOW_SEALING
    } else {
        flags
    };
    // SAFETY: the arguments are those of the caller.
    let result: c_long = unsafe { libc::syscall(libc::SYS_memfd_create, name, flags) };
    let fd = c_int::try_from(result).unwrap_or(-1);
    if is_memory {
        MEMORY.store(fd, Ordering::Release);
    }
    fd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_equal_those_of_the_headers() {
        // DRM_IOCTL_AMDGPU_GEM_METADATA, DRM_IOCTL_MSM_GEM_NEW, DRM_IOCTL_NOUVEAU_GEM_NEW, DRM_IOCTL_RADEON_GEM_CREATE.
        assert_eq!(request::<amdgpu::Metadata>(0x46), 0xc120_6446);
        assert_eq!(request::<msm::GemNew>(0x42), 0xc010_6442);
        assert_eq!(request::<nouveau::GemNew>(0x80), 0xc030_6480);
        assert_eq!(request::<radeon::GemCreate>(0x5d), 0xc020_645d);
        assert_eq!(request::<prime::PrimeHandle>(0x2d), 0xc00c_642d);
        assert_eq!(request::<Version>(VERSION), 0xc040_6400);
    }

    #[test]
    fn argument_that_is_too_small_is_not_read() {
        let mut value = 0_u64;
        let pointer = std::ptr::from_mut(&mut value).cast();
        // SAFETY: the argument has the eight bytes of the request.
        let argument = unsafe { Argument::new(request::<u64>(0), pointer) };
        assert!(argument.read::<prime::GetCap>().is_none());
        assert!(argument.read::<prime::GemClose>().is_some());
    }

    #[test]
    fn file_that_is_not_a_shims_has_no_driver() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(shim_driver(file.as_raw_fd()), None);
    }
}
