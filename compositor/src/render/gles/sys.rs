//! The calls of EGL and OpenGL ES whose rules no compiler checks.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use smithay::backend::allocator::gbm::GbmDevice;
use smithay::backend::egl::{EGLContext, EGLDisplay};
use smithay::backend::renderer::gles::{GlesError, GlesRenderer, GlesTexture, ffi};

use super::OpenError;

/// Makes a renderer for a GBM device.
///
/// # Errors
///
/// What EGL or OpenGL ES lack.
pub(super) fn renderer(device: GbmDevice<Arc<OwnedFd>>) -> Result<GlesRenderer, OpenError> {
    // SAFETY: nothing else in this process makes EGL displays, so none is terminated behind Smithay's back.
    let display = unsafe { EGLDisplay::new(device) }.map_err(|error| OpenError::egl(&error))?;
    let context = EGLContext::new(&display).map_err(|error| OpenError::egl(&error))?;
    with_context(context)
}

/// Makes a renderer of a context that was just made.
///
/// # Errors
///
/// What OpenGL ES lacks.
pub(super) fn with_context(context: EGLContext) -> Result<GlesRenderer, OpenError> {
    // SAFETY: the context was just made, so it is current in no thread, and the renderer that owns it cannot change threads.
    unsafe { GlesRenderer::new(context) }.map_err(|error| OpenError::gles(&error))
}

/// Returns what the driver calls itself (`GL_RENDERER`).
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn name(renderer: &mut GlesRenderer) -> Result<String, GlesError> {
    renderer.with_context(|gl| {
        // SAFETY: the context is current; the string belongs to the driver, ends with a zero, and is copied at once.
        let name = unsafe {
            let name = gl.GetString(ffi::RENDERER);
            (!name.is_null()).then(|| CStr::from_ptr(name.cast()).to_string_lossy().into_owned())
        };
        name.unwrap_or_default()
    })
}

/// Makes a texture go on with its border pixels outside, and tells whether the driver took it as a texture at all.
///
/// Smithay neither sets the wrap mode of imported buffers (OpenGL ES repeats the picture, so that scaled edges show the
/// opposite side) nor asks for the error of the import.
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn settle(
    renderer: &mut GlesRenderer,
    texture: &GlesTexture,
    external: bool,
) -> Result<bool, GlesError> {
    let target = if external {
        ffi::TEXTURE_EXTERNAL_OES
    } else {
        ffi::TEXTURE_2D
    };
    renderer.with_context(|gl| {
        // SAFETY: the context is current, the texture belongs to it, and the binding is what Smithay leaves between calls.
        unsafe {
            let error = gl.GetError();
            gl.BindTexture(target, texture.tex_id());
            for wrap in [ffi::TEXTURE_WRAP_S, ffi::TEXTURE_WRAP_T] {
                gl.TexParameteri(target, wrap, WRAP_CLAMP);
            }
            gl.BindTexture(target, 0);
            error == ffi::NO_ERROR && gl.GetError() == ffi::NO_ERROR
        }
    })
}

/// Forgets errors of calls before.
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn clear_errors(renderer: &mut GlesRenderer) -> Result<(), GlesError> {
    renderer.with_context(|gl| {
        // A context that is lost answers with errors for ever.
        for _ in 0..8 {
            // SAFETY: the context is current.
            if unsafe { gl.GetError() } == ffi::NO_ERROR {
                break;
            }
        }
    })
}

/// `GL_CLAMP_TO_EDGE` as `glTexParameteri` takes it.
const WRAP_CLAMP: i32 = 0x812F;

/// Makes a renderer that draws by the CPU, on a machine with or without a GPU.
///
/// # Errors
///
/// What EGL or OpenGL ES lack.
#[cfg(test)]
pub(super) fn drawn_by_cpu() -> Result<GlesRenderer, OpenError> {
    let device = smithay::backend::egl::EGLDevice::enumerate()
        .map_err(|error| OpenError::egl(&error))?
        .find(smithay::backend::egl::EGLDevice::is_software)
        .ok_or_else(|| OpenError::Egl("there is no software device".to_owned()))?;
    // SAFETY: as in `renderer`.
    let display = unsafe { EGLDisplay::new(device) }.map_err(|error| OpenError::egl(&error))?;
    let context = EGLContext::new(&display).map_err(|error| OpenError::egl(&error))?;
    with_context(context)
}
