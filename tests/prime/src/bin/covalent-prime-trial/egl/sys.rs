//! Calls of libEGL, which is loaded at run time.
#![allow(
    unsafe_code,
    reason = "the functions of libEGL are called through pointers that are loaded at run time"
)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use super::super::gbm::Device;
use super::super::message::Failure;

/// EGL_PLATFORM_GBM_KHR.
const PLATFORM_GBM: c_uint = 0x31d7;
/// EGL_LINUX_DMA_BUF_EXT.
const LINUX_DMA_BUF: c_uint = 0x3270;
/// EGL_NONE.
const NONE: i32 = 0x3038;

type GetProcAddress = unsafe extern "C" fn(*const c_char) -> *mut c_void;
type GetPlatformDisplay = unsafe extern "C" fn(c_uint, *mut c_void, *const i32) -> *mut c_void;
type Initialize = unsafe extern "C" fn(*mut c_void, *mut c_int, *mut c_int) -> c_uint;
type Terminate = unsafe extern "C" fn(*mut c_void) -> c_uint;
type CreateImage =
    unsafe extern "C" fn(*mut c_void, *mut c_void, c_uint, *mut c_void, *const i32) -> *mut c_void;
type DestroyImage = unsafe extern "C" fn(*mut c_void, *mut c_void) -> c_uint;
type GetError = unsafe extern "C" fn() -> c_int;

fn missing(name: &CStr) -> Failure {
    Failure {
        operation: "dlopen of libEGL",
        why: format!("{} was not found", name.to_string_lossy()),
    }
}

/// Returns the address of a function of libEGL or of its driver.
fn function(name: &'static CStr) -> Result<*mut c_void, Failure> {
    // SAFETY: the library is the system's, by its fixed name. It stays loaded, because the handle is never closed.
    let library = unsafe { libc::dlopen(c"libEGL.so.1".as_ptr(), libc::RTLD_NOW) };
    if library.is_null() {
        return Err(missing(name));
    }
    // SAFETY: the library is loaded, and the name ends with a zero.
    let get = unsafe { libc::dlsym(library, c"eglGetProcAddress".as_ptr()) };
    if get.is_null() {
        return Err(missing(name));
    }
    // SAFETY: EGL declares the function with this parameter.
    let get = unsafe { std::mem::transmute::<*mut c_void, GetProcAddress>(get) };
    // SAFETY: the name ends with a zero.
    let found = unsafe { get(name.as_ptr()) };
    if found.is_null() {
        return Err(missing(name));
    }
    Ok(found)
}

/// Imports a dma-buf as an EGLImage with these attributes, and destroys the image.
pub(super) fn import(device: &Device, attributes: &[i32]) -> Result<(), Failure> {
    // SAFETY: EGL and its extensions declare the functions with these parameters.
    let (display_of, initialize, terminate, create, destroy, error) = unsafe {
        (
            std::mem::transmute::<*mut c_void, GetPlatformDisplay>(function(
                c"eglGetPlatformDisplayEXT",
            )?),
            std::mem::transmute::<*mut c_void, Initialize>(function(c"eglInitialize")?),
            std::mem::transmute::<*mut c_void, Terminate>(function(c"eglTerminate")?),
            std::mem::transmute::<*mut c_void, CreateImage>(function(c"eglCreateImageKHR")?),
            std::mem::transmute::<*mut c_void, DestroyImage>(function(c"eglDestroyImageKHR")?),
            std::mem::transmute::<*mut c_void, GetError>(function(c"eglGetError")?),
        )
    };
    let failed = |operation| Failure {
        operation,
        // SAFETY: the function has no parameters.
        why: format!("EGL error {:#x}", unsafe { error() }),
    };
    let ended: Vec<i32> = attributes.iter().copied().chain([NONE]).collect();
    // SAFETY: the GBM device is valid and outlives the display.
    let display = unsafe { display_of(PLATFORM_GBM, device.raw(), std::ptr::null()) };
    if display.is_null() {
        return Err(failed("eglGetPlatformDisplayEXT"));
    }
    // SAFETY: the display is valid, and EGL takes null pointers for versions that are not wanted.
    if unsafe { initialize(display, std::ptr::null_mut(), std::ptr::null_mut()) } == 0 {
        return Err(failed("eglInitialize"));
    }
    let none = std::ptr::null_mut();
    // SAFETY: the display is initialised, and the list of attributes ends with EGL_NONE.
    let image = unsafe { create(display, none, LINUX_DMA_BUF, none, ended.as_ptr()) };
    let done = if image.is_null() {
        Err(failed("eglCreateImageKHR"))
    } else {
        // SAFETY: the image is of this display.
        unsafe { destroy(display, image) };
        Ok(())
    };
    // SAFETY: the display is initialised, and has no image.
    unsafe { terminate(display) };
    done
}
