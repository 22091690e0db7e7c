//! Every dma-buf of the machine, as debugfs lists them.
//!
//! ```text
//! 01228800  00000002  00080007  00000003  virtio_gpu  00000017  camera's        an object; columns are tabs
//!         write fence:12:3 vgem vgem unsignalled                                 its fences
//!         Attached Devices:
//!         vivid-000                                                             its devices, and then their number
//! Total 1 devices attached
//! ```
//! A name has 31 bytes at the most, and no line of an object fits into that: its numbers are padded to 8 digits. Devices are
//! counted back from the last total of an object. So a name with line ends can look like a fence and like nothing else.

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    /// What somebody named it, up to its first line end.
    #[serde(default)]
    pub name: Option<String>,
    /// Fences that it carries, those of the kernel's own among them.
    #[serde(default)]
    pub fences: Vec<ListedFence>,
    /// Devices that have it attached.
    pub attached: Vec<String>,
}

/// A fence that a dma-buf carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedFence {
    /// Who has to wait for it: `kernel`, `write`, `read` or `bookkeep`.
    pub usage: String,
    /// Which it is: numbers, timeline and driver, as this kernel writes them.
    pub words: String,
    /// Whether it is over.
    pub is_signalled: bool,
}

/// Why the list is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BufinfoError {
    /// The kernel counts another number of objects than were understood.
    #[error(
        "bufinfo says in line {line} that it lists {claimed} objects, and {found} were found in it"
    )]
    Count {
        /// The kernel's own total.
        claimed: usize,
        /// Lines that were understood.
        found: usize,
        /// The line of the total, the first being 1.
        line: usize,
    },
    /// There is no total, so the text is not what it should be.
    #[error("bufinfo ends after line {line} without its total of objects")]
    NoTotal {
        /// The last line.
        line: usize,
    },
    /// The devices of an object are not as many as the kernel counts.
    #[error(
        "bufinfo does not list the devices of inode {inode} as it counts them: expected \"Attached Devices:\", a line for each and their total below line {line}"
    )]
    Devices {
        /// The object's inode.
        inode: u64,
        /// The object's line, the first being 1.
        line: usize,
    },
}

/// Parses the text of the list, in time that grows with its length.
///
/// It takes at most 12 bytes for each byte of the text: an object of the least size is a line of 46 bytes with 44 below it, a fence
/// has 22 and a device 3.
///
/// # Errors
/// [`BufinfoError`] when the text is not understood whole.
///
/// # References
/// Linux, `drivers/dma-buf/dma-buf.c`, `dma_buf_debug_show`; `drivers/dma-buf/dma-resv.c`, `dma_resv_describe`.
pub fn bufinfo(text: &str) -> Result<Vec<Object>, BufinfoError> {
    let mut objects: Vec<Object> = Vec::new();
    let mut claimed = None;
    // Where what stands below the object begins that was read last, and that object's line.
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

/// A line as `str::lines` gives it.
fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

/// Reads the number in `Total 3 objects, …` or `Total 3 devices attached`.
fn total(line: &str, behind: &str) -> Option<usize> {
    let (number, _) = line.strip_prefix("Total ")?.split_once(behind)?;
    number.parse().ok()
}

/// Gives the last object what stands below it.
///
/// Lines are gone through again rather than kept: a place to keep one in is larger than most lines.
fn finish(objects: &mut [Object], below: &str, line: usize) -> Result<(), BufinfoError> {
    let Some(object) = objects.last_mut() else {
        // The head of the list.
        return Ok(());
    };
    let inode = object.inode;
    let broken = || BufinfoError::Devices { inode, line };
    let lines = || below.split_inclusive('\n').map(without_end);
    // Devices are counted back from the last total.
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
    // There are as many lines, so no count of a name's making asks for more.
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

/// Reads the line of an object; `None` for any other, and for what is not padded as the kernel's own numbers are.
fn object(line: &str) -> Option<Object> {
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

/// Reads the line of a fence; kernels write the middle of it in different orders.
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
        // A device has a name, and a tab before it.
        for device in ["\t", "\t \t", "vivid-000", ""] {
            let text = TEXT.replace("\tvivid-000", device);
            assert!(bufinfo(&text).is_err(), "{device:?}");
        }
    }

    #[test]
    fn name_with_line_ends_makes_no_object_device_or_total() {
        let names = [
            "x\n00004096\t00000002\t00080007\t0",
            "x\n1\t1\t1\t1\tx\t99\tx",
            "x\n\tAttached Devices:\n\tevil",
            "x\nTotal 9 objects, 1 bytes",
            "x\nTotal 0 devices attached",
            "x\n\tAttached Devices:\n",
        ];
        for name in names {
            assert!(name.len() <= 31, "the kernel keeps no more");
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
            // Behind the number of objects nothing is of interest.
            let cut = &TEXT[..end];
            let is_whole = cut.contains("Total 2 objects, ");
            assert_eq!(bufinfo(cut).is_ok(), is_whole, "{end}");
        }
    }
}
