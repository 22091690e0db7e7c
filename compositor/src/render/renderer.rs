//! Which renderer composes: the card's GPU, or the CPU.

use std::path::Path;

use covalent_protocols::FormatEntry;

use super::gles::{Gles, OpenError};
use super::software::Software;
use crate::options::RendererKind;

/// What composes frames.
#[derive(Debug)]
pub enum Renderer {
    /// The CPU.
    Software(Software),
    /// The GPU; the CPU draws whole frames that hold something which the GPU cannot import.
    Gles(Box<Gles>, Software),
}

impl Default for Renderer {
    fn default() -> Self {
        Self::Software(Software::default())
    }
}

impl Renderer {
    /// Takes the renderer asked for; with [`RendererKind::Auto`] the card's GPU where there is one, else the CPU.
    ///
    /// # Errors
    ///
    /// When the GPU was asked for and cannot draw.
    pub fn open(kind: RendererKind, card: Option<&Path>) -> Result<Self, OpenError> {
        let gles = |gles: Gles| Self::Gles(Box::new(gles), Software::default());
        match (kind, card) {
            (RendererKind::Software, _) => Ok(Self::default()),
            (RendererKind::Gles, None) => Err(OpenError::NoCard),
            (RendererKind::Gles, Some(card)) => Gles::open(card).map(gles),
            (RendererKind::Auto, None) => {
                tracing::info!("the CPU composes: the output is virtual");
                Ok(Self::default())
            }
            (RendererKind::Auto, Some(card)) => match Gles::open(card) {
                Ok(opened) if opened.is_software() => {
                    let name = opened.name();
                    tracing::info!("the CPU composes: {name} would do it by the CPU as well");
                    Ok(Self::default())
                }
                Ok(opened) => {
                    tracing::info!("the GPU composes: {}", opened.name());
                    Ok(gles(opened))
                }
                Err(error) => {
                    tracing::info!("the CPU composes: {error}");
                    Ok(Self::default())
                }
            },
        }
    }

    /// Returns what reports call it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Software(_) => SOFTWARE,
            Self::Gles(..) => GLES,
        }
    }

    /// Returns the CPU's renderer, which both have.
    pub const fn software(&mut self) -> &mut Software {
        match self {
            Self::Software(software) | Self::Gles(_, software) => software,
        }
    }

    /// Returns the GPU's renderer, where it composes.
    pub fn gles(&mut self) -> Option<&mut Gles> {
        match self {
            Self::Software(_) => None,
            Self::Gles(gles, _) => Some(gles),
        }
    }

    /// Lists what the GPU reads without a copy; nothing where it does not compose.
    pub fn sampled(&self) -> Vec<FormatEntry> {
        match self {
            Self::Software(_) => Vec::new(),
            Self::Gles(gles, _) => gles.formats(),
        }
    }

    /// Counts the bytes that the CPU ever copied for the GPU to read.
    pub fn uploaded_bytes(&self) -> u64 {
        match self {
            Self::Software(_) => 0,
            Self::Gles(gles, _) => gles.uploaded_bytes(),
        }
    }
}

/// The CPU's renderer in reports.
pub const SOFTWARE: &str = "software";
/// The GPU's renderer in reports.
pub const GLES: &str = "gles";
