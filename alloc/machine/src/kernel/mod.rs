//! Parsers of the kernel's text about dma-bufs: `/proc/PID/fdinfo`, `/proc/PID/maps`, and debugfs' `bufinfo`. They are pure
//! functions of the text.
//!
//! A process that has a file descriptor of a dma-buf can set the dma-buf's name to any text, including line breaks, so a name
//! could imitate other lines of these files. The parsers accept only lines that the kernel itself wrote, as each parser
//! documents. The exceptions are the name, and the fences in `bufinfo`, which a name can imitate.

mod bufinfo;
mod fdinfo;
mod maps;

pub use bufinfo::{BufinfoError, ListedFence, Object, bufinfo};
pub use fdinfo::{Fdinfo, fdinfo};
pub use maps::{MapLine, map_line};
