//! Every dma-buf of the machine, as debugfs lists them.

use std::{fs, io};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where the kernel lists dma-bufs.
pub const PATH: &str = "/sys/kernel/debug/dma_buf/bufinfo";

/// One dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Size in bytes.
    pub size_bytes: u64,
    /// References to its file.
    pub references: u64,
    /// The driver that made it.
    pub exporter: String,
    /// Its inode: what identifies it.
    pub inode: u64,
    /// Devices that have it attached.
    pub attached: Vec<String>,
}

/// Why the list could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BufinfoError {
    /// The file cannot be read.
    #[error("{PATH} cannot be read: {0}; it needs root, CONFIG_DEBUG_FS and a mounted debugfs")]
    Read(#[from] io::Error),
    /// The kernel counts another number of objects than were understood.
    #[error("{PATH} says that it lists {claimed} objects, and {found} were found in it")]
    Count {
        /// The kernel's own total.
        claimed: usize,
        /// Lines that were understood.
        found: usize,
    },
    /// There is no total, so the text is not what it should be.
    #[error("{PATH} ends without its total of objects")]
    NoTotal,
}

/// Reads the list of this machine.
///
/// # Errors
/// [`BufinfoError`].
pub fn read() -> Result<Vec<Object>, BufinfoError> {
    parse(&fs::read_to_string(PATH)?)
}

/// Parses the text of the list.
///
/// # Errors
/// [`BufinfoError::Count`] and [`BufinfoError::NoTotal`] when the text is not understood whole.
///
/// # References
/// Linux, `drivers/dma-buf/dma-buf.c`, `dma_buf_debug_show`.
pub fn parse(text: &str) -> Result<Vec<Object>, BufinfoError> {
    let mut objects: Vec<Object> = Vec::new();
    let mut claimed = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Total ") {
            if let Some(number) = rest
                .split(" objects")
                .next()
                .filter(|_| rest.contains(" objects"))
            {
                claimed = number.trim().parse::<usize>().ok();
            }
        } else if let Some(object) = object(line) {
            objects.push(object);
        } else if line.starts_with('\t')
            && !line.trim().is_empty()
            && line.trim() != "Attached Devices:"
        {
            // Reservation fences are listed with the same indent; they name a kind before a colon or a driver after it.
            if let Some(last) = objects.last_mut().filter(|_| !line.contains("fence")) {
                last.attached.push(line.trim().to_owned());
            }
        }
    }
    match claimed {
        None => Err(BufinfoError::NoTotal),
        Some(claimed) if claimed != objects.len() => Err(BufinfoError::Count {
            claimed,
            found: objects.len(),
        }),
        Some(_) => Ok(objects),
    }
}

fn object(line: &str) -> Option<Object> {
    if line.starts_with(char::is_whitespace) {
        return None;
    }
    let mut fields = line.split_whitespace();
    let size_bytes = fields.next()?.parse().ok()?;
    let _flags = fields.next()?;
    let _mode = fields.next()?;
    let references = fields.next()?.parse().ok()?;
    let exporter = fields.next()?.to_owned();
    let inode = fields.next()?.parse().ok()?;
    Some(Object {
        size_bytes,
        references,
        exporter,
        inode,
        attached: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\nDma-buf Objects:\nsize    \tflags   \tmode    \tcount   \texp_name\tino     \tname\n\
        01228800\t00000002\t00080007\t00000003\tvirtio_gpu\t00000017\t<none>\n\
        \twrite fence:virtio_gpu timeline seq 3 signalled\n\
        \tAttached Devices:\n\tvivid-000\nTotal 1 devices attached\n\n\
        00004096\t00000002\t00080007\t00000001\tudmabuf\t00000018\tname\n\tAttached Devices:\nTotal 0 devices attached\n\n\
        \nTotal 2 objects, 1232896 bytes\n";

    #[test]
    fn list_with_attachments_is_parsed() {
        let objects = parse(TEXT).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(
            objects[0],
            Object {
                size_bytes: 1_228_800,
                references: 3,
                exporter: "virtio_gpu".into(),
                inode: 17,
                attached: vec!["vivid-000".into()]
            }
        );
        assert!(objects[1].attached.is_empty());
    }

    #[test]
    fn list_whose_total_disagrees_is_refused() {
        let text = TEXT.replace("Total 2 objects", "Total 3 objects");
        assert!(matches!(
            parse(&text),
            Err(BufinfoError::Count {
                claimed: 3,
                found: 2
            })
        ));
        assert!(matches!(parse("nothing\n"), Err(BufinfoError::NoTotal)));
    }
}
