//! Wayland protocol data that the compositor and the clients of Covalent share.
//!
//! Both sides of `linux-dmabuf` feedback speak of the same three things: a table of formats in shared memory, tranches that
//! point into it, and the feedback that holds them together. They are written once, here, so that what one side encodes is
//! what the other decodes.
//!
//! Fourccs and modifiers are plain numbers here: this crate knows nobody of ours.

mod collector;
pub mod feedback;
pub mod table;

#[cfg(feature = "client")]
mod client;
#[cfg(feature = "server")]
mod server;

pub use collector::Collector;
pub use feedback::{Device, Feedback, FeedbackError, Tranche, TrancheFlags};
pub use table::{FormatEntry, FormatTable, SealedTable, TableError};

#[cfg(feature = "client")]
pub use client::CollectError;
