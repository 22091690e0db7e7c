//! The unsafe calls to EGL and OpenGL ES.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use smithay::backend::allocator::gbm::GbmDevice;
use smithay::backend::egl::{EGLContext, EGLDisplay};
use smithay::backend::renderer::gles::{GlesError, GlesFrame, GlesRenderer, GlesTexture, ffi};

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

/// Creates a renderer with a new context.
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
/// Smithay does not set the wrap mode of imported buffers, so OpenGL ES would repeat the texture, and the edges of a scaled
/// texture would show pixels of the opposite edge. Smithay does not check the import for errors either.
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

/// Returns whether textures with one and two bytes per texel are supported. OpenGL ES 3 and later support them.
pub(super) fn supports_planes(renderer: &mut GlesRenderer) -> bool {
    let major = renderer.with_context(|gl| {
        let mut major = 0;
        // OpenGL ES 2 does not know MAJOR_VERSION and sets an error, which is cleared before the next check for errors.
        // SAFETY: the context is current, and one number is written.
        unsafe { gl.GetIntegerv(ffi::MAJOR_VERSION, &raw mut major) };
        major
    });
    matches!(major, Ok(3..))
}

/// Creates a texture with one, two or four bytes per texel from `bytes`.
///
/// # Errors
///
/// When `bytes` is too short, or the driver has no memory.
pub(super) fn upload(
    renderer: &mut GlesRenderer,
    (width, height): (usize, usize),
    texel_bytes: usize,
    bytes: &[u8],
) -> Result<GlesTexture, GlesError> {
    let (internal, format) = match texel_bytes {
        1 => (ffi::R8, ffi::RED),
        2 => (ffi::RG8, ffi::RG),
        _ => (ffi::RGBA8, ffi::RGBA),
    };
    let needed = width
        .checked_mul(height)
        .and_then(|texels| texels.checked_mul(texel_bytes.min(4)));
    let sides = i32::try_from(width).ok().zip(i32::try_from(height).ok());
    let Some((width, height)) = sides.filter(|_| needed.is_some_and(|most| most <= bytes.len()))
    else {
        return Err(GlesError::UnexpectedSize);
    };
    let internal_number = i32::try_from(internal).unwrap_or_default();
    let texture = renderer.with_context(|gl| {
        let mut texture = 0;
        // SAFETY: the context is current. `bytes` has all texels without padding between rows, as checked above and as
        // UNPACK_ALIGNMENT states, which is set back to the value that Smithay relies on. The binding is what Smithay leaves
        // between calls.
        unsafe {
            gl.GenTextures(1, &raw mut texture);
            gl.BindTexture(ffi::TEXTURE_2D, texture);
            for wrap in [ffi::TEXTURE_WRAP_S, ffi::TEXTURE_WRAP_T] {
                gl.TexParameteri(ffi::TEXTURE_2D, wrap, WRAP_CLAMP);
            }
            gl.PixelStorei(ffi::UNPACK_ALIGNMENT, 1);
            gl.TexImage2D(
                ffi::TEXTURE_2D,
                0,
                internal_number,
                width,
                height,
                0,
                format,
                ffi::UNSIGNED_BYTE,
                bytes.as_ptr().cast(),
            );
            gl.PixelStorei(ffi::UNPACK_ALIGNMENT, 4);
            gl.BindTexture(ffi::TEXTURE_2D, 0);
        }
        texture
    })?;
    let size = (width, height).into();
    // Smithay selects a shader by the format, and supports only formats with four channels.
    let format = Some(ffi::RGBA8);
    // SAFETY: the texture was created above in the renderer's context and belongs to nobody else.
    Ok(unsafe { GlesTexture::from_raw(renderer, format, false, texture, size) })
}

/// Binds the chroma textures to their texture units. With `None` it unbinds them.
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn bind_chroma(
    frame: &mut GlesFrame<'_, '_>,
    chroma: Option<&[GlesTexture; 2]>,
) -> Result<(), GlesError> {
    let textures = chroma.map_or([0; 2], |textures| {
        [textures[0].tex_id(), textures[1].tex_id()]
    });
    frame.with_context(|gl| {
        for (unit, texture) in [ffi::TEXTURE1, ffi::TEXTURE2].into_iter().zip(textures) {
            // SAFETY: the context is current while a frame is drawn, and the textures belong to it. Smithay uses only the first
            // unit, which is active again afterwards.
            unsafe {
                gl.ActiveTexture(unit);
                gl.BindTexture(ffi::TEXTURE_2D, texture);
                if texture != 0 {
                    for filter in [ffi::TEXTURE_MIN_FILTER, ffi::TEXTURE_MAG_FILTER] {
                        gl.TexParameteri(ffi::TEXTURE_2D, filter, FILTER_LINEAR);
                    }
                }
                gl.ActiveTexture(ffi::TEXTURE0);
            }
        }
    })
}

/// Clears the errors of earlier OpenGL ES calls.
///
/// # Errors
///
/// When the context cannot be made current.
pub(super) fn clear_errors(renderer: &mut GlesRenderer) -> Result<(), GlesError> {
    renderer.with_context(|gl| {
        // The loop is bounded, because a lost context may return errors for ever.
        for _ in 0..8 {
            // SAFETY: the context is current.
            if unsafe { gl.GetError() } == ffi::NO_ERROR {
                break;
            }
        }
    })
}

/// The value of `GL_CLAMP_TO_EDGE` for `glTexParameteri`.
const WRAP_CLAMP: i32 = 0x812F;

/// The value of `GL_LINEAR` for `glTexParameteri`. At the centre of a texel it samples exactly this texel.
const FILTER_LINEAR: i32 = 0x2601;

/// Creates a renderer with Mesa's software rasteriser, on machines with and without a GPU.
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
    // SAFETY: no other code in this process terminates this EGL display, see `renderer`.
    let display = unsafe { EGLDisplay::new(device) }.map_err(|error| OpenError::egl(&error))?;
    let context = EGLContext::new(&display).map_err(|error| OpenError::egl(&error))?;
    with_context(context)
}
