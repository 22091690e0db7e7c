//! Reads and writes files that are named on the command line.

use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::files::{self, FileError, FileKind};

/// The path that means the standard input.
const STREAM: &str = "-";

/// Reads a whole file of at most `max_bytes` bytes, or the standard input if the path is `-`.
///
/// # Errors
/// The file cannot be read, is not a regular file, or is longer than `max_bytes`.
pub(crate) fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>> {
    if path.as_os_str() != STREAM {
        return files::read(path, max_bytes).map_err(with_stream);
    }
    let limit = u64::try_from(max_bytes)?.saturating_add(1);
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.context("cannot read the standard input")?;
    if bytes.len() > max_bytes {
        bail!("cannot read the standard input: it has more than {max_bytes} bytes");
    }
    Ok(bytes)
}

/// Writes a file that only its owner can read. An existing file is replaced only when the new one is complete.
///
/// # Errors
/// The file cannot be written, or the path is a link, a device or another user's file.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(files::replace(path, bytes)?)
}

/// Extends the error for a pipe, device or socket with the advice to give `-` for the standard input.
fn with_stream(error: FileError) -> anyhow::Error {
    let is_stream = matches!(
        error,
        FileError::Kind {
            kind: FileKind::Fifo | FileKind::Device | FileKind::Socket,
            ..
        }
    );
    let error = anyhow::Error::new(error);
    if is_stream {
        anyhow::anyhow!("{error}, or `-` for the standard input")
    } else {
        error
    }
}
