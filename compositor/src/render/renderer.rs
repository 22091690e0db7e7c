//! Selects the renderer: the card's GPU or the CPU.

use std::path::Path;

use super::format::PixelFormat;
use super::gles::{Gles, OpenError, SampledFormat};
use super::software::Software;
use crate::options::RendererKind;

/// The renderer of an output.
#[derive(Debug)]
pub enum Renderer {
    /// The CPU renderer.
    Software(Software),
    /// The GPU renderer, and the CPU renderer for frames that the GPU renderer cannot compose.
    Gles(Box<Gles>, Software),
}

impl Default for Renderer {
    fn default() -> Self {
        Self::Software(Software::default())
    }
}

impl Renderer {
    /// Opens the requested renderer; with [`RendererKind::Auto`], the GPU renderer if the card has a GPU, or else the CPU
    /// renderer.
    ///
    /// # Errors
    ///
    /// When the GPU was requested and cannot be used.
    pub fn open(kind: RendererKind, card: Option<&Path>) -> Result<Self, OpenError> {
        let gles = |gles: Gles| Self::Gles(Box::new(gles), Software::default());
        match (kind, card) {
            (RendererKind::Software, _) => Ok(Self::default()),
            (RendererKind::Gles, None) => Err(OpenError::NoCard),
            (RendererKind::Gles, Some(card)) => Gles::open(card).map(gles),
            (RendererKind::Auto, None) => {
                tracing::info!("the CPU renderer composes: the output is virtual");
                Ok(Self::default())
            }
            (RendererKind::Auto, Some(card)) => match Gles::open(card) {
                Ok(opened) if opened.is_software() => {
                    let name = opened.name();
                    tracing::info!("the CPU renderer composes: {name} is a software renderer");
                    Ok(Self::default())
                }
                Ok(opened) => {
                    tracing::info!("the GPU renderer composes: {}", opened.name());
                    Ok(gles(opened))
                }
                Err(error) => {
                    tracing::info!("the CPU renderer composes: {error}");
                    Ok(Self::default())
                }
            },
        }
    }

    /// Returns the name of the renderer in the report.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Software(_) => SOFTWARE,
            Self::Gles(..) => GLES,
        }
    }

    /// Returns the CPU renderer, which is always available.
    pub const fn software(&mut self) -> &mut Software {
        match self {
            Self::Software(software) | Self::Gles(_, software) => software,
        }
    }

    /// Returns the GPU renderer, if it is used.
    pub fn gles(&mut self) -> Option<&mut Gles> {
        match self {
            Self::Software(_) => None,
            Self::Gles(gles, _) => Some(gles),
        }
    }

    /// Returns the formats that the GPU imports without a copy; empty without the GPU renderer.
    pub fn sampled(&self) -> Vec<SampledFormat> {
        match self {
            Self::Software(_) => Vec::new(),
            Self::Gles(gles, _) => gles.formats(),
        }
    }

    /// Returns the modifiers with which the GPU both samples buffers of a format and renders to them; empty without the GPU
    /// renderer.
    pub fn rendered_modifiers(&self, format: PixelFormat) -> Vec<u64> {
        match self {
            Self::Software(_) => Vec::new(),
            Self::Gles(gles, _) => gles.rendered_modifiers(format),
        }
    }

    /// Returns the number of bytes that the CPU copied to textures so far.
    pub fn uploaded_bytes(&self) -> u64 {
        match self {
            Self::Software(_) => 0,
            Self::Gles(gles, _) => gles.uploaded_bytes(),
        }
    }
}

/// The name of the CPU renderer in the report.
pub const SOFTWARE: &str = "software";
/// The name of the GPU renderer in the report.
pub const GLES: &str = "gles";
