//! Kernel mode setting of one display: connector, CRTC, primary plane, mode, framebuffers and page-flip events.
//!
//! This module does not depend on Wayland. It works on a DRM device and on framebuffers that the caller has created.
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

/// An error of mode setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The kernel rejected an operation.
    #[error("{operation} failed: {error}{}", remedy(error))]
    Kernel {
        /// The operation.
        operation: &'static str,
        /// The kernel's error.
        error: io::Error,
    },
    /// The buffer for the writeback connector cannot be prepared.
    #[error("the buffer for the writeback connector cannot be prepared: {0}")]
    Picture(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The card does not support atomic mode setting.
    #[error("the card does not support atomic mode setting: use a card whose driver does")]
    NoAtomic,
    /// No display is connected.
    #[error("no display is connected to the card (connectors: {0})")]
    NoDisplay(String),
    /// No CRTC of the connector has a primary plane.
    #[error("connector {0} has no CRTC with a primary plane")]
    NoPipeline(String),
    /// The display does not have the mode.
    #[error("{connector} has no mode {requested}; it has {available}")]
    NoMode {
        /// Name of the connector.
        connector: String,
        /// The requested mode.
        requested: String,
        /// The modes that the display has.
        available: String,
    },
    /// A mode-setting object lacks a property.
    #[error("{object} has no property {name}")]
    NoProperty {
        /// The object.
        object: &'static str,
        /// The property.
        name: &'static str,
    },
}

/// Returns the remedy for an error of the kernel, or an empty string where none is known.
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
