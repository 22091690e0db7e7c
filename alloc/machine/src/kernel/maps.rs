//! The parser of `/proc/PID/maps`, which lists the memory mappings of a process.

use serde::{Deserialize, Serialize};

/// One memory mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapLine {
    /// The first address of the mapping.
    pub start: u64,
    /// The length of the mapping in bytes.
    pub length_bytes: u64,
    /// The permissions of the mapping, such as `rw-s`.
    pub permissions: String,
    /// The offset of the mapping in the file, in bytes.
    pub offset_bytes: u64,
    /// The major and minor number of the file system that contains the mapped file. All dma-bufs are in one file system.
    pub device: (u32, u32),
    /// The inode number of the mapped file.
    pub inode: u64,
    /// The path of the mapped file, as the kernel prints it. For a dma-buf it is `/dmabuf:` and the dma-buf's name.
    pub what: String,
}

impl MapLine {
    /// The prefix of the path of every dma-buf.
    const DMABUF: &str = "/dmabuf:";

    /// Returns whether the mapped file is a dma-buf. `device` is the file system of dma-bufs, if it is known.
    ///
    /// Without `device` only the path is checked, so a file called `dmabuf:` in the root folder is taken for a dma-buf.
    #[must_use]
    pub fn is_dmabuf(&self, device: Option<(u32, u32)>) -> bool {
        device.map_or_else(
            || self.what.starts_with(Self::DMABUF),
            |device| device == self.device,
        )
    }
}

/// Parses one line of `/proc/PID/maps`; `None` for any other line. The kernel escapes line breaks in paths, so each mapping is
/// one line.
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
