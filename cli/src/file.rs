//! Files that a person names on the command line.

use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::files::{self, FileError, FileKind};

/// The path that stands for the standard input.
const STREAM: &str = "-";

/// Reads a file whole, or the standard input where `-` is named; no more than `most` bytes.
pub(crate) fn read(path: &Path, most: usize) -> Result<Vec<u8>> {
    if path.as_os_str() != STREAM {
        return files::read(path, most).map_err(with_stream);
    }
    let limit = u64::try_from(most)?.saturating_add(1);
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(limit).read_to_end(&mut bytes);
    read.context("cannot read the standard input")?;
    if bytes.len() > most {
        bail!("cannot read the standard input: it has more than {most} bytes");
    }
    Ok(bytes)
}

/// Writes a file whole in the place of what is there; its owner alone may read it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(files::replace(path, bytes)?)
}

/// Says how a stream is read, to who names one by a path.
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
