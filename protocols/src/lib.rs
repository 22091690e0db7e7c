//! Wayland protocol data that the compositor and the clients of Covalent share.
//!
//! The compositor and the clients use the same three types for `linux-dmabuf` feedback: a format table in shared memory, tranches
//! with indices into the table, and the feedback that contains both. This crate defines the types once, so that a client decodes
//! exactly what the compositor encodes.
//!
//! ```text
//! compositor: Feedback ─ send ─▶ format_table, main_device, tranche_*, done ─ Collector ─▶ Feedback :client
//! ```
//!
//! The feature `control` adds the messages of the compositor's control socket.
//!
//! Fourcc codes and modifiers are plain numbers in this crate, because it depends on no other crate of Covalent.

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
