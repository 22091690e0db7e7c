//! The unsafe calls of EGL and OpenGL ES.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use smithay::backend::allocator::gbm::GbmDevice;
use smithay::backend::egl::{EGLContext, EGLDisplay};
use smithay::backend::renderer::gles::{GlesError, GlesRenderer, GlesTexture, ffi};

use super::OpenError;

/// Creates a renderer for a GBM device.
///
/// # Errors
///
/// When EGL or OpenGL ES is not available or lacks a required extension.
pub(super) fn renderer(device: GbmDevice<Arc<OwnedFd>>) -> Result<GlesRenderer, OpenError> {
    // SAFETY: nothing else in this process creates EGL displays, so no other code can terminate this one.
    let display = unsafe { EGLDisplay::new(device) }.map_err(|error| OpenError::egl(&error))?;
    let context = EGLContext::new(&display).map_err(|error| OpenError::egl(&error))?;
    with_context(context)
}

/// Creates a renderer of a new context.
///
/// # Errors
///
/// When OpenGL ES lacks a required extension.
pub(super) fn with_context(context: EGLContext) -> Result<GlesRenderer, OpenError> {
    // SAFETY: the context is new, so it is not current in any thread, and the renderer that owns it cannot be sent to another
    // thread.
    unsafe { GlesRenderer::new(context) }.map_err(|error| OpenError::gles(&error))
}

/// Returns the name of the driver (`GL_RENDERER`).
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn name(renderer: &mut GlesRenderer) -> Result<String, GlesError> {
    renderer.with_context(|gl| {
        // SAFETY: the context is current; the string belongs to the driver, ends with a zero byte, and is copied at once.
        let name = unsafe {
            let name = gl.GetString(ffi::RENDERER);
            (!name.is_null()).then(|| CStr::from_ptr(name.cast()).to_string_lossy().into_owned())
        };
        name.unwrap_or_default()
    })
}

/// Sets the wrap mode of an imported texture to clamp to edge; returns whether the driver accepted the import.
///
/// Smithay does not set the wrap mode of imported buffers, so OpenGL ES would repeat the texture and scaled edges would show the
/// opposite side. Smithay does not query the error of the import either.
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn finish_import(
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

/// Clears the errors of earlier calls.
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn clear_errors(renderer: &mut GlesRenderer) -> Result<(), GlesError> {
    renderer.with_context(|gl| {
        // The loop is bounded, because a lost context returns errors forever.
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

/// Creates a renderer with Mesa's software renderer, on a machine with or without a GPU.
///
/// # Errors
///
/// When EGL or OpenGL ES is not available or lacks a required extension.
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
