//! Kernel mode setting on one display: which connector, which mode, which framebuffer, and when it was shown.
//!
//! It knows nothing of Wayland: everything works on a DRM device and on framebuffers that somebody else made.
//!
//! # References
//!
//! The kernel's "Kernel Mode Setting (KMS)" and "Atomic Mode Setting".

mod mode;
mod pipeline;
mod property;
mod sys;
mod writeback;

use std::io;

pub use mode::select_mode;
pub use pipeline::{Event, FrameState, Pipeline};
pub use property::Properties;
pub use writeback::{WritebackConnector, WritebackJob};

/// Why a display cannot be driven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The kernel refused.
    #[error("{operation} failed: {error}{}", remedy(error))]
    Kernel {
        /// What was asked of it.
        operation: &'static str,
        /// What it answered.
        error: io::Error,
    },
    /// The memory that the picture is to be written back to cannot be prepared.
    #[error("the buffer for the writeback connector cannot be prepared: {0}")]
    Picture(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The card cannot change everything at once.
    #[error("the card does not support atomic mode setting: use a card whose driver does")]
    NoAtomic,
    /// No display is connected.
    #[error("no display is connected to the card (connectors: {0})")]
    NoDisplay(String),
    /// No CRTC and primary plane are free for the connector.
    #[error("connector {0} has no CRTC with a primary plane")]
    NoPipeline(String),
    /// The display does not have the mode.
    #[error("{connector} has no mode {wanted}; it has {available}")]
    NoMode {
        /// Name of the connector.
        connector: String,
        /// The mode asked for.
        wanted: String,
        /// The modes there are.
        available: String,
    },
    /// An object lacks a property.
    #[error("{object} has no property {name}")]
    NoProperty {
        /// The object.
        object: &'static str,
        /// The property.
        name: &'static str,
    },
}

/// Says what helps against an error of the kernel, where something does.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (another program drives the display: end it, or switch to a free console)"
        }
        _ => "",
    }
}

pub(crate) fn kernel(operation: &'static str) -> impl FnOnce(io::Error) -> KmsError {
    move |error| KmsError::Kernel { operation, error }
}
