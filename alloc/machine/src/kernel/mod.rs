//! What the kernel writes of dma-bufs, parsed: `fdinfo`, `maps`, and debugfs' `bufinfo`. Pure functions of the text.
//!
//! A dma-buf's name is set by whoever has an fd of it and may hold anything, line ends too. So nothing that these functions
//! return, but for a name and what is said of fences, can be of a name's making; each says how.

mod bufinfo;
mod fdinfo;
mod maps;

pub use bufinfo::{BufinfoError, ListedFence, Object, bufinfo};
pub use fdinfo::{Fdinfo, fdinfo};
pub use maps::{MapLine, map_line};
