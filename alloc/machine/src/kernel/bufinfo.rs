//! The parser of debugfs' `dma_buf/bufinfo`, which lists every dma-buf of the machine.
//!
//! ```text
//! 01228800  00000002  00080007  00000003  virtio_gpu  00000017  camera's        an object; tabs separate the columns
//! write fence:12:3 vgem vgem unsignalled                                 the object's fences
//!         Attached Devices:
//! vivid-000                                                             attached devices, followed by their number
//! Total 1 devices attached
//! ```
//! A process can give a dma-buf a name with line breaks, of at most 31 bytes. Such a name cannot imitate the line of an object,
//! which is longer because its numbers are padded to 8 digits. It cannot imitate a device either, because devices are counted
//! backwards from the last total of an object. It can imitate a fence.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One dma-buf in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The size of the dma-buf in bytes.
    pub size_bytes: u64,
    /// The number of references to the dma-buf's file.
    pub references: u64,
    /// The name of the exporter, which is a driver or a dma-buf heap.
    pub exporter: String,
    /// The inode number of the dma-buf's file, which identifies the dma-buf.
    pub inode: u64,
    /// The name that a process set with `DMA_BUF_SET_NAME`, up to its first line break.
    #[serde(default)]
    pub name: Option<String>,
    /// The fences in the dma-buf's reservation object, including those of usage `kernel`.
    #[serde(default)]
    pub fences: Vec<ListedFence>,
    /// The devices that are attached to the dma-buf.
    pub attached: Vec<String>,
}

/// A fence in the reservation object of a dma-buf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFence {
    /// The fence's usage (`dma_resv_usage`): `kernel`, `write`, `read` or `bookkeep`.
    pub usage: String,
    /// The context, sequence number, timeline and driver of the fence, as this kernel prints them.
    pub words: String,
    /// Whether the fence has signalled.
    pub is_signalled: bool,
}

/// Why `bufinfo` cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BufinfoError {
    /// The number of objects in the list differs from the kernel's total.
    #[error(
        "line {line} of bufinfo states a total of {claimed} objects, but bufinfo lists {found}"
    )]
    Count {
        /// The total number of objects that the kernel printed.
        claimed: usize,
        /// The number of objects that the parser found.
        found: usize,
        /// The number of the line with the total, counted from 1.
        line: usize,
    },
    /// The list ends without a total of objects, so it is incomplete.
    #[error("bufinfo ends after line {line} without its total of objects")]
    NoTotal {
        /// The number of the last line, counted from 1.
        line: usize,
    },
    /// The devices of an object are not listed as the kernel lists them: their heading, a line for each, and their total.
    #[error(
        "bufinfo does not list the devices of inode {inode} as the kernel does: expected \"Attached Devices:\", a line for each device and their total below line {line}"
    )]
    Devices {
        /// The inode number of the object.
        inode: u64,
        /// The number of the object's line, counted from 1.
        line: usize,
    },
}

/// Parses the list, in time proportional to its length.
///
/// The result takes at most 12 bytes for each byte of the text. The smallest object takes a line of 46 bytes and 44 bytes of
/// further lines; the smallest fence takes 22 bytes and the smallest device 3.
///
/// # Errors
/// [`BufinfoError`] if the list is incomplete or an object is not as the kernel prints it.
///
/// # References
/// Linux, `drivers/dma-buf/dma-buf.c`, `dma_buf_debug_show`; `drivers/dma-buf/dma-resv.c`, `dma_resv_describe`.
pub fn bufinfo(text: &str) -> Result<Vec<Object>, BufinfoError> {
    let mut objects: Vec<Object> = Vec::new();
    let mut claimed = None;
    // `below` is the start of the lines that belong to the latest object, `own` is the number of that object's line, and `at` is
    // the current offset.
    let (mut below, mut own, mut at) = (0_usize, 0_usize, 0_usize);
    let mut number = 0_usize;
    for whole in text.split_inclusive('\n') {
        let line = without_end(whole);
        number = number.saturating_add(1);
        let start = at;
        at = at.saturating_add(whole.len());
        if let Some(object) = object(line) {
            let block = &text[below..start];
            finish(&mut objects, block, own)?;
            objects.push(object);
            (below, own) = (at, number);
        } else if let Some(total) = total(line, " objects, ") {
            claimed = Some((total, number));
        }
    }
    finish(&mut objects, &text[below..], own)?;
    let found = objects.len();
    match claimed {
        None => Err(BufinfoError::NoTotal { line: number }),
        Some((claimed, line)) if claimed != found => Err(BufinfoError::Count {
            claimed,
            found,
            line,
        }),
        Some(_) => Ok(objects),
    }
}

/// Removes the line break from a line, as `str::lines` does.
fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Reads the number in a line such as `Total 3 objects, …` or `Total 3 devices attached`.
fn total(line: &str, unit: &str) -> Option<usize> {
    let (number, _) = line.strip_prefix("Total ")?.split_once(unit)?;
    number.parse().ok()
}

/// Adds fences and devices to the last object, from the lines that follow its own line.
///
/// The text is split into lines again for each pass, because a list of the lines would take more memory than the lines
/// themselves.
fn finish(objects: &mut [Object], below: &str, line: usize) -> Result<(), BufinfoError> {
    let Some(object) = objects.last_mut() else {
        // The text before the first object is the heading of the list.
        return Ok(());
    };
    let inode = object.inode;
    let broken = || BufinfoError::Devices { inode, line };
    let lines = || below.split_inclusive('\n').map(without_end);
    // Devices are counted backwards from the last total in these lines, because a name could imitate an earlier total.
    let (end, count) = lines()
        .enumerate()
        .filter_map(|(place, line)| Some((place, total(line, " devices attached")?)))
        .last()
        .ok_or_else(broken)?;
    let first = end.checked_sub(count).ok_or_else(broken)?;
    let head = first.checked_sub(1).ok_or_else(broken)?;
    if lines().nth(head) != Some("\tAttached Devices:") {
        return Err(broken());
    }
    // There are at least `count` lines, so a count that a name imitates cannot make this allocate more than the text's length.
    let mut attached = Vec::with_capacity(count);
    for line in lines().skip(first).take(count) {
        let name = line.strip_prefix('\t').map(str::trim);
        let name = name.filter(|name| !name.is_empty()).ok_or_else(broken)?;
        attached.push(name.to_owned());
    }
    object.attached = attached;
    object.fences = lines().take(head).filter_map(fence).collect();
    Ok(())
}

/// Parses the line of an object; `None` if the line is not that of an object, or its numbers are not padded to 8 digits.
fn object(line: &str) -> Option<Object> {
    /// Returns the text if it has at least the eight characters to which the kernel pads numbers.
    fn padded(text: &str) -> Option<&str> {
        (text.len() >= 8).then_some(text)
    }
    let mut fields = line.splitn(7, '\t');
    let size_bytes = padded(fields.next()?)?.parse().ok()?;
    let (flags, mode) = (padded(fields.next()?)?, padded(fields.next()?)?);
    for number in [flags, mode] {
        u32::from_str_radix(number, 16).ok()?;
    }
    let references = padded(fields.next()?)?.parse().ok()?;
    let exporter = fields.next()?.to_owned();
    let inode = padded(fields.next()?)?.trim_end().parse().ok()?;
    let name = fields.next().filter(|name| *name != "<none>");
    Some(Object {
        size_bytes,
        references,
        exporter,
        inode,
        name: name.map(str::to_owned),
        fences: Vec::new(),
        attached: Vec::new(),
    })
}

/// Parses the line of a fence. The order of context, sequence number, timeline and driver depends on the kernel's version, so
/// they stay one text.
fn fence(line: &str) -> Option<ListedFence> {
    let (usage, rest) = line.strip_prefix('\t')?.split_once(" fence:")?;
    if !["kernel", "write", "read", "bookkeep"].contains(&usage) {
        return None;
    }
    let rest = rest.strip_suffix("signalled")?;
    let words = rest.strip_suffix("un").unwrap_or(rest);
    Some(ListedFence {
        usage: usage.to_owned(),
        words: words.trim().to_owned(),
        is_signalled: rest == words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\nDma-buf Objects:\nsize    \tflags   \tmode    \tcount   \texp_name\tino     \tname\n\
        01228800\t00000002\t00080007\t00000003\tvirtio_gpu\t00000017\t<none>\n\
        \twrite fence:virtio_gpu timeline seq 3 signalled\n\
        \tbookkeep fence:12:4 vgem vgem unsignalled\n\
        \tAttached Devices:\n\tvivid-000\nTotal 1 devices attached\n\n\
        00004096\t00000002\t00080007\t00000001\tudmabuf\t00000018\tname\n\tAttached Devices:\nTotal 0 devices attached\n\n\
        \nTotal 2 objects, 1232896 bytes\n";

    #[test]
    fn list_with_attachments_and_fences_is_parsed() {
        let objects = bufinfo(TEXT).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(
            objects[0],
            Object {
                size_bytes: 1_228_800,
                references: 3,
                exporter: "virtio_gpu".into(),
                inode: 17,
                name: None,
                fences: vec![
                    ListedFence {
                        usage: "write".into(),
                        words: "virtio_gpu timeline seq 3".into(),
                        is_signalled: true
                    },
                    ListedFence {
                        usage: "bookkeep".into(),
                        words: "12:4 vgem vgem".into(),
                        is_signalled: false
                    },
                ],
                attached: vec!["vivid-000".into()]
            }
        );
        assert_eq!(objects[1].name.as_deref(), Some("name"));
        assert!(objects[1].attached.is_empty() && objects[1].fences.is_empty());
    }

    #[test]
    fn list_whose_total_disagrees_is_refused() {
        let text = TEXT.replace("Total 2 objects", "Total 3 objects");
        assert_eq!(
            bufinfo(&text),
            Err(BufinfoError::Count {
                claimed: 3,
                found: 2,
                line: 16
            })
        );
        assert_eq!(bufinfo("nothing\n"), Err(BufinfoError::NoTotal { line: 1 }));
        let text = TEXT.replace("Total 1 devices", "Total 2 devices");
        assert_eq!(
            bufinfo(&text),
            Err(BufinfoError::Devices { inode: 17, line: 4 })
        );
        // A device line consists of a tab and the device's name. None of these texts is a device line.
        for device in ["\t", "\t \t", "vivid-000", ""] {
            let text = TEXT.replace("\tvivid-000", device);
            assert!(bufinfo(&text).is_err(), "{device:?}");
        }
    }

    #[test]
    fn name_with_line_breaks_adds_no_object_device_or_total() {
        let names = [
            "x\n00004096\t00000002\t00080007\t0",
            "x\n1\t1\t1\t1\tx\t99\tx",
            "x\n\tAttached Devices:\n\tevil",
            "x\nTotal 9 objects, 1 bytes",
            "x\nTotal 0 devices attached",
            "x\n\tAttached Devices:\n",
        ];
        for name in names {
            assert!(
                name.len() <= 31,
                "the kernel keeps at most 31 bytes of a name"
            );
            let text = TEXT.replace("<none>", name);
            let objects = bufinfo(&text).unwrap();
            assert_eq!(objects.len(), 2, "{name:?}");
            assert_eq!(objects[0].attached, ["vivid-000"], "{name:?}");
            assert_eq!(objects[0].name.as_deref(), Some("x"), "{name:?}");
        }
    }

    #[test]
    fn list_that_is_cut_off_anywhere_is_refused() {
        for end in 0..TEXT.len() {
            // The parser ignores everything after the number of objects, so a text that is cut off there is complete.
            let cut = &TEXT[..end];
            let is_whole = cut.contains("Total 2 objects, ");
            assert_eq!(bufinfo(cut).is_ok(), is_whole, "{end}");
        }
    }
}
