//! Every dma-buf of the machine, as debugfs lists them.

use std::{fs, io};

use thiserror::Error;

pub use covalent_alloc::kernel::Object;
use covalent_alloc::kernel::{self, bufinfo};

/// Where the kernel lists dma-bufs.
pub const PATH: &str = "/sys/kernel/debug/dma_buf/bufinfo";

/// Why the list could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BufinfoError {
    /// The file cannot be read.
    #[error("{PATH} cannot be read: {0}; it needs root, CONFIG_DEBUG_FS and a mounted debugfs")]
    Read(#[from] io::Error),
    /// Its text is not understood whole.
    #[error(transparent)]
    Text(#[from] kernel::BufinfoError),
}

/// Reads the list of this machine.
///
/// # Errors
/// [`BufinfoError`].
pub fn read() -> Result<Vec<Object>, BufinfoError> {
    // A name may be any bytes.
    let text = fs::read(PATH)?;
    Ok(bufinfo(&String::from_utf8_lossy(&text))?)
}
