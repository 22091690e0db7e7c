//! Kernel mode setting of one display: connector, CRTC, planes, mode, framebuffers and page-flip events.
//!
//! This module does not depend on Wayland. It works on a DRM device and on framebuffers that the caller has created. The formats
//! and sizes that the planes support come from the allocator's model of the card.
//!
//! # References
//!
//! The kernel's "Kernel Mode Setting (KMS)" and "Atomic Mode Setting".

mod changes;
mod mode;
mod pipeline;
mod plane;
mod property;
mod sys;
mod takeover;
mod writeback;

use std::io;

pub use mode::select_mode;
pub use pipeline::{ConnectedDisplay, Event, FrameState, Pipeline, UsedObjects, read_events};
pub use plane::{
    Plane, PlaneDescription, PlaneFrame, PlaneState, SourceRect, YuvEncoding, YuvMatrix,
};
pub use property::Properties;
pub use writeback::{WritebackConnector, WritebackJob};

/// An error of mode setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// The kernel rejected an operation.
    #[error("{operation} failed: {error}{}", remedy(error))]
    Kernel {
        /// The operation, as a phrase for messages.
        operation: &'static str,
        /// The kernel's error of the operation.
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
        /// The requested mode, as in `--mode`.
        requested: String,
        /// The modes that the display has.
        available: String,
    },
    /// The planes of the card cannot be read.
    #[error(transparent)]
    Model(Box<dyn std::error::Error + Send + Sync>),
    /// An enumeration property of a plane lacks a required value.
    #[error("the property {name} of a plane has no value \"{value}\"")]
    NoValue {
        /// The name of the property.
        name: &'static str,
        /// The name of the missing value.
        value: &'static str,
    },
    /// A mode-setting object lacks a property.
    #[error("{object} has no property {name}")]
    NoProperty {
        /// The object that lacks the property.
        object: &'static str,
        /// The name of the property.
        name: &'static str,
    },
}

/// Returns the remedy for an error of the kernel, or an empty string if none is known.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (another program drives the display: end that program, or switch to a free console)"
        }
        _ => "",
    }
}

/// Returns a function that makes the error for a failed operation of the kernel.
pub(crate) fn kernel(operation: &'static str) -> impl FnOnce(io::Error) -> KmsError {
    move |error| KmsError::Kernel { operation, error }
}
