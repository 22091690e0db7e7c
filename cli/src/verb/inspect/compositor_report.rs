//! Reads pixel layouts of dma-bufs from a compositor's `--report` file, which has one line of JSON for each frame.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use covalent_alloc::files;
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use serde::Deserialize;

use super::report::{LayoutOrigin, PixelLayout, PixelPlane};
use crate::input;

/// The maximum number of bytes that are read from the end of the report file, which is enough for hours of frames. The file grows
/// while the compositor runs.
const LONGEST: u64 = 64 << 20;

/// The longest line that is read, in bytes. A line has a few hundred bytes for each buffer that was shown.
const LONGEST_LINE: usize = 256 << 10;

/// The fields of a line that this module reads.
#[derive(Debug, Deserialize)]
struct FrameLine {
    #[serde(flatten)]
    shown: ReportedBuffer,
    #[serde(default)]
    others: Vec<ReportedBuffer>,
}

/// A buffer in a line of the report.
#[derive(Clone, Debug, Deserialize)]
struct ReportedBuffer {
    buffer: Option<u64>,
    fourcc: Option<Fourcc>,
    modifier: Option<Modifier>,
    size: Option<Extent>,
    #[serde(default)]
    planes: Vec<ReportedPlane>,
}

/// A plane of a buffer, with the inode of its dma-buf.
#[derive(Clone, Copy, Debug, Deserialize)]
struct ReportedPlane {
    buffer: u64,
    offset_bytes: u32,
    stride_bytes: u32,
}

/// Returns the last reported layout of each of these dma-bufs, from the last 64 MiB of the file.
///
/// # Errors
/// The file cannot be opened or read.
pub(super) fn read(path: &Path, inodes: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, PixelLayout>> {
    let mut file = files::open(path)?;
    if let Some(start) = file.metadata()?.len().checked_sub(LONGEST) {
        // The read may start within a line. This incomplete line does not parse and is skipped.
        file.seek(SeekFrom::Start(start))?;
    }
    last_layouts(BufReader::new(file.take(LONGEST)), inodes)
}

/// Returns the last layout of each of these dma-bufs. Lines that do not parse are skipped: the last line may be incomplete.
fn last_layouts(
    report: impl BufRead,
    inodes: &BTreeSet<u64>,
) -> io::Result<BTreeMap<u64, PixelLayout>> {
    let mut layouts = BTreeMap::new();
    input::each_line(report, LONGEST_LINE, |line| {
        let Ok(line) = serde_json::from_slice::<FrameLine>(line) else {
            return;
        };
        let mut seen = BTreeSet::new();
        for reported in std::iter::once(line.shown).chain(line.others) {
            // If a line lists a buffer several times, the first entry is used.
            let buffer = reported.buffer.filter(|buffer| inodes.contains(buffer));
            let Some(buffer) = buffer.filter(|buffer| seen.insert(*buffer)) else {
                continue;
            };
            if let Some(layout) = pixel_layout(&reported, buffer) {
                layouts.insert(buffer, layout);
            }
        }
    })?;
    Ok(layouts)
}

/// Returns the layout of a reported buffer; `None` if the line lacks its size or format.
fn pixel_layout(reported: &ReportedBuffer, buffer: u64) -> Option<PixelLayout> {
    // Layouts with planes in several dma-bufs have no planes here, because only `--layout` can name the fds of the other
    // dma-bufs.
    let is_single_dmabuf = reported.planes.iter().all(|plane| plane.buffer == buffer);
    let planes = reported.planes.iter().filter(|_| is_single_dmabuf);
    Some(PixelLayout {
        origin: LayoutOrigin::Report,
        size: reported.size?,
        format: FormatModifier::new(reported.fourcc?, reported.modifier?),
        planes: planes
            .map(|plane| PixelPlane {
                offset_bytes: plane.offset_bytes,
                stride_bytes: plane.stride_bytes,
                fd: None,
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::fs::File;

    use super::*;
    use crate::sys::measured;

    fn layout_of(report: &str, inode: u64) -> Option<PixelLayout> {
        last_layouts(report.as_bytes(), &BTreeSet::from([inode]))
            .unwrap()
            .remove(&inode)
    }

    fn line(inode: u64, stride: u32) -> String {
        format!(
            r#"{{"frame":1,"buffer":{inode},"fourcc":"XR24","modifier":"LINEAR","size":"640x480","planes":[{{"buffer":{inode},"offset_bytes":0,"stride_bytes":{stride}}}],"stride_bytes":1}}"#
        )
    }

    #[test]
    fn report_with_damaged_lines_gives_the_last_valid_layout() {
        let report = format!(
            "{}\n{}\nnonsense\n{{\"buffer\":17}}\n{{\"buffer\":17,\"fou",
            line(17, 1),
            line(17, 2560)
        );
        let layout = layout_of(&report, 17).unwrap();
        assert_eq!(
            (layout.planes[0].stride_bytes, layout.planes[0].offset_bytes),
            (2560, 0)
        );
        assert_eq!(layout.origin, LayoutOrigin::Report);
        assert_eq!(layout_of(&report, 18), None);
        let other = r#"{"buffer":null,"others":[{"buffer":18,"fourcc":"NV12","modifier":"LINEAR","size":"2x2","planes":[]}]}"#;
        assert!(layout_of(other, 18).unwrap().planes.is_empty());
    }

    #[test]
    fn report_of_any_length_takes_memory_of_one_line_and_is_read_once() {
        let inodes: BTreeSet<u64> = (0..64).collect();
        let mut allocations = Vec::new();
        for count in [2000, 8000] {
            let report: String = (0..count)
                .map(|number| line(number % 128, 4) + "\n")
                .collect();
            let (found, usage) = measured(|| last_layouts(report.as_bytes(), &inodes).unwrap());
            assert_eq!(found.len(), 64);
            assert!(usage.peak_bytes < 64 << 10, "{}", usage.peak_bytes);
            allocations.push(usage.allocations);
        }
        assert!(allocations[1] <= 4 * allocations[0] + 64, "{allocations:?}");
        // Short values in an unknown field need the most memory: one entry for each two bytes of the text.
        for item in ["1,", "[],", "{},", "\"\","] {
            let items = item.repeat(LONGEST_LINE / item.len() - 8);
            let long = format!("{{\"x\":[{items}1]}}\n").repeat(4);
            let (_, usage) = measured(|| last_layouts(long.as_bytes(), &inodes).unwrap());
            assert!(
                usage.peak_bytes < 64 * LONGEST_LINE,
                "{item}: {}",
                usage.peak_bytes
            );
        }
    }

    #[test]
    fn report_of_a_tebibyte_is_read_from_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let mut file = File::create(&path).unwrap();
        // The file is sparse: its beginning takes no space on the disk.
        file.set_len(1 << 40).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        io::Write::write_all(&mut file, format!("\n{}\n", line(17, 2560)).as_bytes()).unwrap();
        let (found, usage) = measured(|| read(&path, &BTreeSet::from([17])).unwrap());
        assert_eq!(found[&17].planes[0].stride_bytes, 2560);
        assert!(usage.peak_bytes < 4 * LONGEST_LINE, "{}", usage.peak_bytes);
    }

    proptest! {
        #[test]
        fn text_of_any_kind_is_read_without_a_panic(text in ".*", inode: u64) {
            let _ = layout_of(&text, inode);
        }
    }
}
