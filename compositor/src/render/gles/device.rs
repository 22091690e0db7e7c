//! Opens the GPU of a card.

use covalent_alloc::text::printable_path;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use covalent_alloc::backend::drm::Card;
use smithay::backend::allocator::gbm::GbmDevice;
use smithay::backend::egl::{self, EGLDevice};
use smithay::backend::renderer::gles::GlesError;

use super::{Gles, sys};

/// The reason why a card's GPU cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The output is virtual.
    #[error("the output is virtual and has no GPU; use --renderer software")]
    NoCard,
    /// The device node cannot be opened.
    #[error("{node} cannot be opened: {source}; check that the user is in the group `render`", node = printable_path(node))]
    Open {
        /// The device node.
        node: PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// GBM has no driver for the device.
    #[error("GBM has no driver for {node}: {source}; install the Mesa driver of the card", node = printable_path(node))]
    Gbm {
        /// The device node.
        node: PathBuf,
        /// The error of GBM.
        source: std::io::Error,
    },
    /// EGL is not available, or does not support the device.
    #[error("EGL: {0}")]
    Egl(String),
    /// OpenGL ES is not available, or lacks a required extension.
    #[error("OpenGL ES: {0}")]
    Gles(String),
}

impl OpenError {
    pub(super) fn egl(error: &egl::Error) -> Self {
        Self::Egl(error.to_string())
    }

    pub(super) fn gles(error: &GlesError) -> Self {
        Self::Gles(error.to_string())
    }
}

impl Gles {
    /// Opens the GPU of a card with a separate file descriptor.
    ///
    /// Mesa counts references to GEM handles per file descriptor. If it shared the display's descriptor, which is also used for
    /// raw PRIME imports, a handle could be closed while Mesa uses it. The render node is preferred, because it needs no
    /// privileges and never becomes DRM master. A display controller without a GPU has no render node; Mesa finds the GPU for its
    /// card node.
    ///
    /// # Errors
    ///
    /// When the node, GBM, EGL or OpenGL ES cannot be opened.
    pub fn open(card: &Path) -> Result<Self, OpenError> {
        let node = Card::render_node(card).unwrap_or_else(|| card.to_owned());
        let file = fs::OpenOptions::new().read(true).write(true).open(&node);
        let fd: OwnedFd = file
            .map_err(|source| OpenError::Open {
                node: node.clone(),
                source,
            })?
            .into();
        let device = GbmDevice::new(Arc::new(fd)).map_err(|source| OpenError::Gbm {
            node: node.clone(),
            source,
        })?;
        let mut renderer = sys::renderer(device.clone())?;
        let name = sys::name(&mut renderer).map_err(|error| OpenError::gles(&error))?;
        let is_software_device = EGLDevice::device_for_display(renderer.egl_context().display())
            .is_ok_and(|device| device.is_software());
        let software = is_software_device || is_software(&name);
        tracing::info!(node = %node.display(), name, software, "the card's GPU was opened");
        Self::new(renderer, Some(device), name, software).map_err(|error| OpenError::gles(&error))
    }
}

/// Returns whether the renderer of that name is a software renderer.
///
/// Only the start of the name is compared. The name of virgl contains the name of the host's renderer in brackets, which may be
/// llvmpipe, but virgl counts as a GPU.
fn is_software(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let software_drivers = ["llvmpipe", "softpipe", "swrast", "software rasterizer"];
    software_drivers
        .iter()
        .any(|software| name.starts_with(software))
        || (name.starts_with("zink") && name.contains("llvmpipe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_renderer_is_detected_by_the_start_of_its_name() {
        assert!(is_software("llvmpipe (LLVM 19.1.7, 256 bits)"));
        assert!(is_software("softpipe"));
        assert!(is_software(
            "zink Vulkan 1.4(llvmpipe (LLVM 19.1.7, 256 bits) (MESA_LLVMPIPE))"
        ));
        assert!(!is_software("virgl (LLVMPIPE (LLVM 19.1.7, 256 bits))"));
        assert!(!is_software("AMD Radeon Graphics (radeonsi, renoir)"));
    }
}
