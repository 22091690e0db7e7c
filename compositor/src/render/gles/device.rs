//! Opening the GPU of a card.

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

/// Why a card's GPU cannot draw.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no card.
    #[error("the output is virtual and has no GPU; use --renderer software")]
    NoCard,
    /// The node cannot be opened.
    #[error("{node} cannot be opened: {source}; check that the user is in the group `render`", node = printable_path(node))]
    Open {
        /// The node.
        node: PathBuf,
        /// What the kernel answered.
        source: std::io::Error,
    },
    /// The library that allocates has no driver for it.
    #[error("GBM has no driver for {node}: {source}; install the Mesa driver of the card", node = printable_path(node))]
    Gbm {
        /// The node.
        node: PathBuf,
        /// What it answered.
        source: std::io::Error,
    },
    /// There is no EGL, or it does not take the device.
    #[error("EGL: {0}")]
    Egl(String),
    /// There is no OpenGL ES that is good enough.
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
    /// Opens the GPU of a card, by a descriptor of its own.
    ///
    /// Mesa counts GEM handles by descriptor: one that it shared with raw PRIME imports, as the display's is, would have
    /// handles closed under it. The render node is taken where there is one, since it asks for no rights and never becomes
    /// DRM master; a display controller without a GPU has none, and Mesa finds the GPU beside it by the card's own node.
    ///
    /// # Errors
    ///
    /// What is missing for it.
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
        let by_egl = EGLDevice::device_for_display(renderer.egl_context().display())
            .is_ok_and(|device| device.is_software());
        let software = by_egl || is_software(&name);
        tracing::info!(node = %node.display(), name, software, "the card's GPU was opened");
        Ok(Self::new(renderer, Some(device), name, software))
    }
}

/// Tells whether the driver of that name draws by the CPU.
///
/// The name's beginning counts: virgl, whose device is a GPU to this machine, goes on with the host's renderer in brackets,
/// which may be llvmpipe.
fn is_software(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let drawn_by = ["llvmpipe", "softpipe", "swrast", "software rasterizer"];
    drawn_by.iter().any(|software| name.starts_with(software))
        || (name.starts_with("zink") && name.contains("llvmpipe"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_is_known_by_the_beginning_of_its_name() {
        assert!(is_software("llvmpipe (LLVM 19.1.7, 256 bits)"));
        assert!(is_software("softpipe"));
        assert!(is_software(
            "zink Vulkan 1.4(llvmpipe (LLVM 19.1.7, 256 bits) (MESA_LLVMPIPE))"
        ));
        assert!(!is_software("virgl (LLVMPIPE (LLVM 19.1.7, 256 bits))"));
        assert!(!is_software("AMD Radeon Graphics (radeonsi, renoir)"));
    }
}
