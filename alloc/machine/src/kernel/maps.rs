//! The parser of `/proc/PID/maps`, which lists the memory mappings of a process.

use serde::{Deserialize, Serialize};

/// One memory mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapLine {
    /// Its first address.
    pub start: u64,
    /// Its length in bytes.
    pub length_bytes: u64,
    /// Its permissions, such as `rw-s`.
    pub permissions: String,
    /// Its offset in the file, in bytes.
    pub offset_bytes: u64,
    /// The major and minor number of the file's file system. All dma-bufs are in one file system.
    pub device: (u32, u32),
    /// The inode number of the file.
    pub inode: u64,
    /// The path of the file, as the kernel prints it: `/dmabuf:` and the name for a dma-buf.
    pub what: String,
}

impl MapLine {
    /// The beginning of the path of every dma-buf.
    const DMABUF: &str = "/dmabuf:";

    /// Returns whether it is a mapping of a dma-buf. `device` is the file system of dma-bufs, where it is known.
    ///
    /// Without `device` the path decides, so a file called `dmabuf:` in the root folder is taken for a dma-buf.
    #[must_use]
    pub fn is_dmabuf(&self, device: Option<(u32, u32)>) -> bool {
        device.map_or_else(
            || self.what.starts_with(Self::DMABUF),
            |device| device == self.device,
        )
    }
}

/// Parses one line; `None` where it is not a line of this file. The kernel escapes line breaks in paths.
///
/// The result takes no more memory than the bytes of the line, in addition to the [`MapLine`] itself. A caller should read the
/// file line by line, because a process can have 65,530 mappings with paths of 4 KiB.
///
/// # References
/// Linux, `fs/proc/task_mmu.c`, `show_map_vma`.
#[must_use]
pub fn map_line(line: &str) -> Option<MapLine> {
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let start = hexadecimal(start)?;
    let permissions = fields.next()?.to_owned();
    let offset_bytes = hexadecimal(fields.next()?)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?.parse().ok()?;
    Some(MapLine {
        start,
        length_bytes: hexadecimal(end)?.checked_sub(start)?,
        permissions,
        offset_bytes,
        device: (
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        ),
        inode,
        what: fields.next().map_or("", str::trim).to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_dma_buf_is_parsed() {
        let line = map_line(
            "7f0000001000-7f000012d000 rw-s 00001000 00:0c 17                         /dmabuf:a name",
        )
        .unwrap();
        assert_eq!(
            line,
            MapLine {
                start: 0x7f00_0000_1000,
                length_bytes: 0x12_c000,
                permissions: "rw-s".to_owned(),
                offset_bytes: 4096,
                device: (0, 12),
                inode: 17,
                what: "/dmabuf:a name".to_owned(),
            }
        );
        assert!(line.is_dmabuf(None) && line.is_dmabuf(Some((0, 12))));
        assert!(!line.is_dmabuf(Some((0, 13))));
        let anonymous = map_line("1000-2000 rw-p 00000000 00:00 0 ").unwrap();
        assert_eq!(anonymous.what, "");
        assert!(!anonymous.is_dmabuf(None));
    }

    #[test]
    fn line_that_is_damaged_is_none() {
        for line in [
            "",
            "x",
            "1000-2000",
            "zz-yy rw-p 0 00:00 0",
            "9000-1000 rw-p 0 00:00 0 /dmabuf:",
            "1000-2000 rw-p 0 0000 0",
            "1000-2000 rw-p 0 00:00 -1",
            "1000-fffffffffffffffff rw-p 0 00:00 0",
        ] {
            assert_eq!(map_line(line), None, "{line}");
        }
    }
}
