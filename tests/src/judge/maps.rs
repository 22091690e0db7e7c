//! Finds mappings of frame memory in a process's `/proc/PID/maps`.

use std::{fs, io};

use covalent_alloc::kernel::{MapLine, map_line};
use serde::{Deserialize, Serialize};

/// A mapping through which the CPU could read or write frames.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FrameMapping {
    /// The length in bytes.
    pub length_bytes: u64,
    /// The mapped file, as the kernel names it.
    pub what: String,
}

/// Texts that the names of mappings of dma-bufs, cards and cameras contain.
const DEVICES: [&str; 4] = ["/dmabuf:", "anon_inode:dmabuf", "/dev/dri/", "/dev/video"];

/// Returns the mappings in `text` that can be frame memory: every mapping of a dma-buf, a card or a camera, and shared or
/// anonymous memory of the size of a frame, to which frames could be copied. If `frame_bytes` is 0, only mappings of devices and
/// dma-bufs are returned.
#[must_use]
pub fn frame_mappings(text: &str, frame_bytes: u64) -> Vec<FrameMapping> {
    text.lines()
        .filter_map(|line| mapping(line, frame_bytes))
        .collect()
}

/// Returns the mapping of a line if it is of a device, or as large as a frame and of shared or anonymous memory.
fn mapping(line: &str, frame_bytes: u64) -> Option<FrameMapping> {
    let MapLine {
        length_bytes, what, ..
    } = map_line(line)?;
    let device = DEVICES.iter().any(|name| what.contains(name));
    // An allocator may round a large block up by a few pages, so memory for a copy may be slightly larger than a frame.
    let sized = frame_bytes > 0
        && (frame_bytes..=frame_bytes.saturating_add(2 * 4096)).contains(&length_bytes)
        && (what.is_empty()
            || what.contains("memfd:")
            || what.starts_with("/dev/shm")
            || what.contains("SYSV"));
    (device || sized).then_some(FrameMapping { length_bytes, what })
}

/// Reads the mappings of a process once.
///
/// # Errors
/// The kernel's error: ENOENT or ESRCH if the process has ended.
pub fn read(process: u32, frame_bytes: u64) -> io::Result<Vec<FrameMapping>> {
    Ok(frame_mappings(
        &fs::read_to_string(format!("/proc/{process}/maps"))?,
        frame_bytes,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 640 * 480 * 4;

    fn found(line: &str) -> Vec<String> {
        frame_mappings(line, FRAME)
            .into_iter()
            .map(|mapping| mapping.what)
            .collect()
    }

    #[test]
    fn mapping_of_a_device_counts_whatever_its_size() {
        assert_eq!(
            found("7f00-8f00 rw-s 00000000 00:0c 17                         /dmabuf:"),
            ["/dmabuf:"]
        );
        assert_eq!(
            found("7f00-8f00 rw-s 00000000 00:06 17    /dev/dri/card0"),
            ["/dev/dri/card0"]
        );
        assert_eq!(
            found("7f00-8f00 rw-s 00000000 00:06 17    /dev/video0"),
            ["/dev/video0"]
        );
    }

    #[test]
    fn mapping_of_ordinary_memory_counts_when_a_frame_fits_exactly() {
        let line = |bytes: u64, what: &str| {
            format!(
                "{:x}-{:x} rw-p 00000000 00:00 0 {what}",
                0x1000,
                0x1000 + bytes
            )
        };
        assert_eq!(found(&line(FRAME, "")), [""]);
        assert_eq!(found(&line(FRAME + 4096, "")), [""]);
        assert_eq!(
            found(&line(FRAME, "   /memfd:pool (deleted)")),
            ["/memfd:pool (deleted)"]
        );
        assert!(found(&line(FRAME * 2, "")).is_empty());
        assert!(found(&line(FRAME, "   /usr/lib/libLLVM.so")).is_empty());
        assert!(found(&line(8192, "   [stack]")).is_empty());
    }

    #[test]
    fn line_that_is_not_valid_is_no_mapping() {
        for line in ["", "x", "zz-yy rw-p", "9000-1000 rw-p 0 00:00 0 /dmabuf:"] {
            assert!(found(line).is_empty(), "{line}");
        }
    }
}
