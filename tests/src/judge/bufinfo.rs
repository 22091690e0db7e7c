//! Lists every dma-buf of the machine, from debugfs.

use std::{fs, io};

use thiserror::Error;

pub use covalent_alloc::kernel::Object;
use covalent_alloc::kernel::{self, bufinfo};

/// The file in which the kernel lists dma-bufs.
pub const PATH: &str = "/sys/kernel/debug/dma_buf/bufinfo";

/// The reason why the list cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BufinfoError {
    /// The file cannot be read.
    #[error("{PATH} cannot be read: {0}; it needs root, CONFIG_DEBUG_FS and a mounted debugfs")]
    Read(#[from] io::Error),
    /// The text cannot be parsed.
    #[error(transparent)]
    Text(#[from] kernel::BufinfoError),
}

/// Reads the list of this machine. Needs root and a mounted debugfs.
///
/// # Errors
/// [`BufinfoError`].
///
/// # References
/// Linux, `Documentation/driver-api/dma-buf.rst`; `dma_buf_debug_show` in `drivers/dma-buf/dma-buf.c`.
pub fn read() -> Result<Vec<Object>, BufinfoError> {
    // The name of a dma-buf may contain any bytes, so the text may not be UTF-8.
    let text = fs::read(PATH)?;
    Ok(bufinfo(&String::from_utf8_lossy(&text))?)
}
