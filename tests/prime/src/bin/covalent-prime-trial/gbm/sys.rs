//! Calls of libgbm, which is loaded at run time: a machine without it has no GBM, and everything else still works.
#![allow(
    unsafe_code,
    reason = "the functions of libgbm are called through pointers that are loaded at run time"
)]

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::super::message::{Failure, Kind, Plane};

/// GBM_BO_USE_RENDERING.
const USE_RENDERING: u32 = 1 << 2;
/// GBM_BO_IMPORT_FD_MODIFIER.
const IMPORT_FD_MODIFIER: u32 = 0x5504;
/// GBM_MAX_PLANES.
const MAX_PLANES: usize = 4;

/// `struct gbm_import_fd_modifier_data`.
#[repr(C)]
struct ImportData {
    width: u32,
    height: u32,
    format: u32,
    fd_count: u32,
    fds: [c_int; MAX_PLANES],
    strides: [c_int; MAX_PLANES],
    offsets: [c_int; MAX_PLANES],
    modifier: u64,
}

/// Returns the address of a function of libgbm.
fn function(name: &'static CStr) -> Result<*mut c_void, Failure> {
    // SAFETY: the library is the system's, by its fixed name. It stays loaded, because the handle is never closed.
    let library = unsafe { libc::dlopen(c"libgbm.so.1".as_ptr(), libc::RTLD_NOW) };
    let found = if library.is_null() {
        std::ptr::null_mut()
    } else {
        // SAFETY: the library is loaded, and the name ends with a zero.
        unsafe { libc::dlsym(library, name.as_ptr()) }
    };
    if found.is_null() {
        return Err(Failure {
            operation: "dlopen of libgbm",
            why: format!("{} was not found", name.to_string_lossy()),
        });
    }
    Ok(found)
}

macro_rules! functions {
    ($($field:ident: $name:literal ($($kind:ty),*) -> $result:ty;)*) => {
        /// The functions of libgbm.
        #[derive(Clone, Copy)]
        struct Functions {
            $($field: unsafe extern "C" fn($($kind),*) -> $result,)*
        }

        impl Functions {
            fn load() -> Result<Self, Failure> {
                Ok(Self {
                    $(
                        // SAFETY: `gbm.h` declares the function with these parameters.
                        $field: unsafe {
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($kind),*) -> $result>(function($name)?)
                        },
                    )*
                })
            }
        }
    };
}

functions! {
    create_device: c"gbm_create_device" (c_int) -> *mut c_void;
    destroy_device: c"gbm_device_destroy" (*mut c_void) -> ();
    create: c"gbm_bo_create_with_modifiers2" (*mut c_void, u32, u32, u32, *const u64, c_uint, u32) -> *mut c_void;
    import: c"gbm_bo_import" (*mut c_void, u32, *mut c_void, u32) -> *mut c_void;
    destroy: c"gbm_bo_destroy" (*mut c_void) -> ();
    modifier: c"gbm_bo_get_modifier" (*mut c_void) -> u64;
    plane_count: c"gbm_bo_get_plane_count" (*mut c_void) -> c_int;
    stride: c"gbm_bo_get_stride_for_plane" (*mut c_void, c_int) -> u32;
    offset: c"gbm_bo_get_offset" (*mut c_void, c_int) -> u32;
    fd: c"gbm_bo_get_fd" (*mut c_void) -> c_int;
}

fn failed(operation: &'static str) -> Failure {
    Failure {
        operation,
        why: std::io::Error::last_os_error().to_string(),
    }
}

/// A GBM device.
pub(crate) struct Device {
    functions: Functions,
    raw: *mut c_void,
    /// The file of the device, which is closed after the device is destroyed.
    _file: OwnedFd,
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the device is valid, and its images borrow this value and are gone.
        unsafe { (self.functions.destroy_device)(self.raw) };
    }
}

impl Device {
    pub(super) fn new(file: OwnedFd) -> Result<Self, Failure> {
        let functions = Functions::load()?;
        // SAFETY: the fd is open, and stays open as long as the device.
        let raw = unsafe { (functions.create_device)(file.as_raw_fd()) };
        if raw.is_null() {
            return Err(failed("gbm_create_device"));
        }
        Ok(Self {
            functions,
            raw,
            _file: file,
        })
    }

    /// Returns the `struct gbm_device`, which lives as long as this value.
    pub(crate) fn raw(&self) -> *mut c_void {
        self.raw
    }

    pub(super) fn allocate(
        &self,
        kind: Kind,
        (width, height): (u32, u32),
    ) -> Result<Image<'_>, Failure> {
        let modifiers = [kind.modifier];
        // SAFETY: the device is valid, and the array has one modifier.
        let raw = unsafe {
            (self.functions.create)(
                self.raw,
                width,
                height,
                kind.fourcc,
                modifiers.as_ptr(),
                1,
                USE_RENDERING,
            )
        };
        self.image(raw, "gbm_bo_create_with_modifiers2")
    }

    pub(super) fn import(
        &self,
        kind: Kind,
        (width, height): (u32, u32),
        planes: &[Plane],
        fd: BorrowedFd<'_>,
    ) -> Result<Image<'_>, Failure> {
        let invalid = || Failure {
            operation: "gbm_bo_import",
            why: "the layout cannot be described".to_owned(),
        };
        let mut data = ImportData {
            width,
            height,
            format: kind.fourcc,
            fd_count: u32::try_from(planes.len()).map_err(|_| invalid())?,
            fds: [-1; MAX_PLANES],
            strides: [0; MAX_PLANES],
            offsets: [0; MAX_PLANES],
            modifier: kind.modifier,
        };
        if planes.len() > MAX_PLANES {
            return Err(invalid());
        }
        for (index, plane) in planes.iter().enumerate() {
            let slots = (
                data.fds.get_mut(index),
                data.strides.get_mut(index),
                data.offsets.get_mut(index),
            );
            if let (Some(number), Some(stride), Some(offset)) = slots {
                *number = fd.as_raw_fd();
                *stride = c_int::try_from(plane.pitch).map_err(|_| invalid())?;
                *offset = c_int::try_from(plane.offset).map_err(|_| invalid())?;
            }
        }
        let pointer = std::ptr::from_mut(&mut data).cast();
        // SAFETY: the device is valid, the structure is the one of this type of import, and its fds are open.
        let raw = unsafe {
            (self.functions.import)(self.raw, IMPORT_FD_MODIFIER, pointer, USE_RENDERING)
        };
        self.image(raw, "gbm_bo_import")
    }

    fn image(&self, raw: *mut c_void, operation: &'static str) -> Result<Image<'_>, Failure> {
        if raw.is_null() {
            return Err(failed(operation));
        }
        Ok(Image { device: self, raw })
    }
}

/// A buffer object of GBM.
pub(super) struct Image<'a> {
    device: &'a Device,
    raw: *mut c_void,
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // SAFETY: the buffer object is valid, and its device too.
        unsafe { (self.device.functions.destroy)(self.raw) };
    }
}

impl Image<'_> {
    pub(super) fn modifier(&self) -> u64 {
        // SAFETY: the buffer object is valid.
        unsafe { (self.device.functions.modifier)(self.raw) }
    }

    pub(super) fn planes(&self) -> Vec<Plane> {
        let functions = &self.device.functions;
        // SAFETY: the buffer object is valid.
        let count = unsafe { (functions.plane_count)(self.raw) };
        let planes = (0..count).map(|plane| {
            // SAFETY: the buffer object is valid and has this plane.
            let (offset, pitch) = unsafe {
                (
                    (functions.offset)(self.raw, plane),
                    (functions.stride)(self.raw, plane),
                )
            };
            Plane {
                offset: offset.into(),
                pitch: pitch.into(),
            }
        });
        planes.take(MAX_PLANES).collect()
    }

    pub(super) fn export(&self) -> Result<OwnedFd, Failure> {
        // SAFETY: the buffer object is valid.
        let number = unsafe { (self.device.functions.fd)(self.raw) };
        if number < 0 {
            return Err(failed("gbm_bo_get_fd"));
        }
        // SAFETY: the call succeeded, so the number is a new fd that no other value owns.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }
}
