//! Parsers of the kernel's text about dma-bufs: `/proc/PID/fdinfo`, `/proc/PID/maps`, and debugfs' `bufinfo`. They are pure
//! functions of the text.
//!
//! A process that has a file descriptor of a dma-buf can set its name, to any text with line breaks too. So a name could imitate
//! other lines of these files. The parsers return values of the kernel only; just a name, and the description of a fence in
//! `bufinfo`, can be chosen by a process. Each parser documents why.

mod bufinfo;
mod fdinfo;
mod maps;

pub use bufinfo::{BufinfoError, ListedFence, Object, bufinfo};
pub use fdinfo::{Fdinfo, fdinfo};
pub use maps::{MapLine, map_line};
