//! Wayland protocol data that the compositor and the clients of Covalent share.
//!
//! Both sides of `linux-dmabuf` feedback use the same three types: a format table in shared memory, tranches with indices into
//! the table, and the feedback that contains both. This crate defines them once, so that one side decodes exactly what the other
//! side encodes.
//!
//! ```text
//! compositor: Feedback ─ send ─▶ format_table, main_device, tranche_*, done ─ Collector ─▶ Feedback :client
//! ```
//!
//! The feature `control` adds the messages of the compositor's control socket.
//!
//! Fourcc codes and modifiers are plain numbers here, because this crate depends on no other crate of Covalent.

mod collector;
#[cfg(feature = "control")]
pub mod control;
pub mod feedback;
pub mod linux_dmabuf;
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
