//! How the pixels of dma-bufs lie by what a compositor has written with `--report`: a line of JSON a frame.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use covalent_alloc::files;
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Modifier};
use serde::Deserialize;

use super::report::{Picture, PicturePlane, ToldBy};
use crate::input;

/// How much of a report is read, from its end: hours of frames. A report grows as long as its compositor runs.
const LONGEST: u64 = 64 << 20;

/// The longest line that is read. One has some hundred bytes for each buffer that was shown.
const LONGEST_LINE: usize = 256 << 10;

/// What of a line of the compositor's report is of interest here.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(flatten)]
    shown: ReportedBuffer,
    #[serde(default)]
    others: Vec<ReportedBuffer>,
}

#[derive(Clone, Debug, Deserialize)]
struct ReportedBuffer {
    buffer: Option<u64>,
    fourcc: Option<Fourcc>,
    modifier: Option<Modifier>,
    size: Option<Extent>,
    #[serde(default)]
    planes: Vec<ReportedPlane>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct ReportedPlane {
    buffer: u64,
    offset_bytes: u32,
    stride_bytes: u32,
}

/// Reads what a compositor has reported last of these dma-bufs, of the last 64 MiB of its report.
///
/// # Errors
/// Those of the file.
pub(super) fn read(path: &Path, wanted: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, Picture>> {
    let mut file = files::open(path)?;
    if let Some(beyond) = file.metadata()?.len().checked_sub(LONGEST) {
        // The line that is cut into is none, and passed over.
        file.seek(SeekFrom::Start(beyond))?;
    }
    of_report(BufReader::new(file.take(LONGEST)), wanted)
}

/// Takes what was reported last of these dma-bufs. Lines that are none are passed over: the last one may be half written.
fn of_report(report: impl BufRead, wanted: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, Picture>> {
    let mut told = BTreeMap::new();
    input::each_line(report, LONGEST_LINE, |line| {
        let Ok(line) = serde_json::from_slice::<Line>(line) else {
            return;
        };
        let mut seen = BTreeSet::new();
        for reported in std::iter::once(line.shown).chain(line.others) {
            // The first of a line is the one that counts.
            let buffer = reported.buffer.filter(|buffer| wanted.contains(buffer));
            let Some(buffer) = buffer.filter(|buffer| seen.insert(*buffer)) else {
                continue;
            };
            if let Some(picture) = picture(&reported, buffer) {
                told.insert(buffer, picture);
            }
        }
    })?;
    Ok(told)
}

fn picture(reported: &ReportedBuffer, buffer: u64) -> Option<Picture> {
    // Planes in several dma-bufs are left to options, which name their fds.
    let is_one = reported.planes.iter().all(|plane| plane.buffer == buffer);
    let planes = reported.planes.iter().filter(|_| is_one);
    Some(Picture {
        told_by: ToldBy::Report,
        size: reported.size?,
        format: FormatModifier::new(reported.fourcc?, reported.modifier?),
        planes: planes
            .map(|plane| PicturePlane {
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

    fn told(report: &str, inode: u64) -> Option<Picture> {
        of_report(report.as_bytes(), &BTreeSet::from([inode]))
            .unwrap()
            .remove(&inode)
    }

    fn line(inode: u64, stride: u32) -> String {
        format!(
            r#"{{"frame":1,"buffer":{inode},"fourcc":"XR24","modifier":"LINEAR","size":"640x480","planes":[{{"buffer":{inode},"offset_bytes":0,"stride_bytes":{stride}}}],"stride_bytes":1}}"#
        )
    }

    #[test]
    fn report_is_read_to_its_end_and_damage_is_passed_over() {
        let report = format!(
            "{}\n{}\nnonsense\n{{\"buffer\":17}}\n{{\"buffer\":17,\"fou",
            line(17, 1),
            line(17, 2560)
        );
        let picture = told(&report, 17).unwrap();
        assert_eq!(
            (
                picture.planes[0].stride_bytes,
                picture.planes[0].offset_bytes
            ),
            (2560, 0)
        );
        assert_eq!(picture.told_by, ToldBy::Report);
        assert_eq!(told(&report, 18), None);
        let other = r#"{"buffer":null,"others":[{"buffer":18,"fourcc":"NV12","modifier":"LINEAR","size":"2x2","planes":[]}]}"#;
        assert!(told(other, 18).unwrap().planes.is_empty());
    }

    #[test]
    fn report_of_any_length_takes_memory_of_a_line_and_is_read_once() {
        let wanted: BTreeSet<u64> = (0..64).collect();
        let mut asked = Vec::new();
        for count in [2000, 8000] {
            let report: String = (0..count)
                .map(|number| line(number % 128, 4) + "\n")
                .collect();
            let (found, usage) = measured(|| of_report(report.as_bytes(), &wanted).unwrap());
            assert_eq!(found.len(), 64);
            assert!(usage.peak_bytes < 64 << 10, "{}", usage.peak_bytes);
            asked.push(usage.allocations);
        }
        assert!(asked[1] <= 4 * asked[0] + 64, "{asked:?}");
        // Numbers in a field that nobody knows cost most: a place for each, of two bytes.
        for item in ["1,", "[],", "{},", "\"\","] {
            let items = item.repeat(LONGEST_LINE / item.len() - 8);
            let long = format!("{{\"x\":[{items}1]}}\n").repeat(4);
            let (_, usage) = measured(|| of_report(long.as_bytes(), &wanted).unwrap());
            assert!(
                usage.peak_bytes < 64 * LONGEST_LINE,
                "{item}: {}",
                usage.peak_bytes
            );
        }
    }

    #[test]
    fn report_of_a_terabyte_is_read_from_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let mut file = File::create(&path).unwrap();
        // Nothing of the beginning is stored on the disk.
        file.set_len(1 << 40).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        io::Write::write_all(&mut file, format!("\n{}\n", line(17, 2560)).as_bytes()).unwrap();
        let (found, usage) = measured(|| read(&path, &BTreeSet::from([17])).unwrap());
        assert_eq!(found[&17].planes[0].stride_bytes, 2560);
        assert!(usage.peak_bytes < 4 * LONGEST_LINE, "{}", usage.peak_bytes);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*", inode: u64) {
            let _ = told(&text, inode);
        }
    }
}
