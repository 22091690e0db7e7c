//! Parses the reports of the compositor and the camera client.
//!
//! A report contains only what the program itself states. The suite compares it with QEMU's screendump, debugfs and `strace`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The way of a frame to the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The KMS plane scans out the client's own buffer.
    Direct,
    /// The compositor drew the frame into a buffer of its own.
    Composited,
}

/// One line of the compositor's `--report`: one presented frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// The number of the presented frame. The first is 0 or 1, and the numbers have no gaps.
    pub frame: u64,
    /// The name that the client gave its surface.
    pub surface: Option<String>,
    /// The inode of the dma-buf that the client attached.
    pub buffer: Option<u64>,
    /// The format of that buffer, as four characters.
    pub fourcc: Option<String>,
    /// The modifier of that buffer, by the name in `drm_fourcc.h`.
    pub modifier: Option<String>,
    /// The stride in bytes.
    pub stride_bytes: Option<u32>,
    /// The way of the frame to the display.
    pub path: Path,
    /// The reason why the frame was not scanned out directly.
    pub why_not_direct: Option<String>,
    /// The KMS plane that shows the buffer, for example `overlay 33`.
    #[serde(default)]
    pub kms_plane: Option<String>,
    /// The renderer that composited the frame: `gles` or `software`.
    #[serde(default)]
    pub renderer: Option<String>,
    /// The reason why the `gles` renderer did not composite the frame.
    #[serde(default)]
    pub why_not_gles: Option<String>,
    /// The number of bytes that the CPU wrote in the compositor for this frame.
    pub cpu_copied_bytes: u64,
    /// The time at which the acquire fence was signalled, on CLOCK_MONOTONIC.
    pub acquired_ns: Option<u64>,
    /// The time at which the display began to show the frame, on CLOCK_MONOTONIC.
    pub flipped_ns: Option<u64>,
    /// The time at which the compositor released the buffer, on CLOCK_MONOTONIC.
    pub released_ns: Option<u64>,
    /// The value of the CRTC's frame counter at the page flip.
    pub sequence: Option<u64>,
}

/// The percentiles of a duration, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// The JSON object that `covalent-camera --json` prints when it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraRecord {
    /// The number of presented frames.
    pub frames: u64,
    /// The number of frames that were dequeued from the camera.
    pub captured: u64,
    /// The number of captured frames that were not presented.
    pub dropped: u64,
    /// The number of bytes that the CPU read and wrote in the client, divided by the number of frames.
    pub client_copied_bytes_per_frame: f64,
    /// The number of bytes that the CPU read and wrote in client and compositor, divided by the number of frames; `None` if the
    /// client cannot know it.
    pub cpu_copied_bytes_per_frame: Option<f64>,
    /// The synchronisation mechanism between client and compositor: `explicit` or `implicit`.
    #[serde(default)]
    pub sync: String,
    /// The source that allocated the buffers.
    pub source: String,
    /// The format, as four characters.
    pub format: String,
    /// The modifier.
    pub modifier: String,
    /// The stride in bytes.
    pub stride_bytes: u32,
    /// Width and height in pixels, such as `640x480`.
    pub size: String,
    /// The time from the V4L2 timestamp to the presentation.
    pub latency_ms: Option<Percentiles>,
    /// The inode of each buffer, in the order of the indices in the V4L2 queue.
    pub buffers: Vec<u64>,
}

/// An error in the records of a run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A line is not a frame record.
    #[error(
        "line {line} of the compositor's report is not a frame record: {source}; the line is: {text}"
    )]
    Line {
        /// The number of the line, from 1 on.
        line: usize,
        /// The text of the line.
        text: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The frame numbers have a gap or are out of order.
    #[error("frame {found} follows frame {previous}; a frame is missing or out of order")]
    Numbering {
        /// The number of the frame before.
        previous: u64,
        /// The number of the frame that follows it.
        found: u64,
    },
    /// The times of a frame are out of order, or one of them is missing.
    #[error(
        "frame {frame}: the times of acquire, flip and release are {times:?}, which are missing or out of order"
    )]
    Times {
        /// The number of the frame.
        frame: u64,
        /// The times of acquire, flip and release in nanoseconds.
        times: [Option<u64>; 3],
    },
    /// A buffer was released while the display could still read it.
    #[error(
        "frame {frame}: buffer {buffer} was released at {released_ns} ns, before the next frame was flipped at {next_flip_ns} ns"
    )]
    ReleasedEarly {
        /// The number of the frame.
        frame: u64,
        /// The inode of the buffer.
        buffer: u64,
        /// The time at which the buffer was released.
        released_ns: u64,
        /// The time of the next flip, after which the display no longer reads the buffer.
        next_flip_ns: u64,
    },
}

/// The refresh period of the slowest display in the guest (50 Hz), in nanoseconds.
///
/// The timestamp of a flip is that of a vblank. virtio-gpu completes a commit at once, and `drm_crtc_send_vblank_event` then
/// reports the vblank before the commit. So the timestamp of a flip can be up to one refresh period earlier than the signal of
/// the acquire fence.
const REFRESH_NS: u64 = 20_000_000;

/// Parses the report of a compositor, which has one JSON object in each line. Lines that are not about a frame are skipped.
///
/// # Errors
/// [`RecordError::Line`] for a line that is not a JSON object, and for a frame without a required field. A truncated last line is
/// no error, because the compositor may have been killed.
pub fn parse_frames(text: &str) -> Result<Vec<FrameRecord>, RecordError> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut frames = Vec::new();
    for (line, text) in complete.lines().enumerate() {
        let fail = |source| RecordError::Line {
            line: line + 1,
            text: text.to_owned(),
            source,
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(fail)?;
        if value.get("frame").is_some() {
            frames.push(serde_json::from_value(value).map_err(fail)?);
        }
    }
    Ok(frames)
}

/// Checks that the frame numbers have no gaps, that each frame was acquired, flipped and released in this order, and that a
/// directly scanned out buffer is not released before the next flip.
///
/// The buffers of the last two frames need not be released, because the display may still show them.
///
/// # Errors
/// The first frame that is out of order.
pub fn check_order(frames: &[FrameRecord]) -> Result<(), RecordError> {
    for pair in frames.windows(2) {
        let [previous, next] = pair else { continue };
        if next.frame != previous.frame + 1 {
            return Err(RecordError::Numbering {
                previous: previous.frame,
                found: next.frame,
            });
        }
        let flips = (previous.flipped_ns, next.flipped_ns);
        if !matches!(flips, (Some(earlier), Some(later)) if earlier < later) {
            return Err(RecordError::Times {
                frame: next.frame,
                times: [None, flips.0, flips.1],
            });
        }
        if let (Path::Direct, Some(released_ns), Some(next_flip_ns), Some(buffer)) = (
            previous.path,
            previous.released_ns,
            next.flipped_ns,
            previous.buffer,
        ) {
            if released_ns < next_flip_ns && next.buffer != previous.buffer {
                return Err(RecordError::ReleasedEarly {
                    frame: previous.frame,
                    buffer,
                    released_ns,
                    next_flip_ns,
                });
            }
        }
    }
    let settled = frames.len().saturating_sub(2);
    for (index, frame) in frames.iter().enumerate() {
        let times = [frame.acquired_ns, frame.flipped_ns, frame.released_ns];
        let ordered = match times {
            [Some(acquired), Some(flipped), Some(released)] => {
                acquired <= flipped + REFRESH_NS && acquired < released && flipped < released
            }
            [Some(acquired), Some(flipped), None] => {
                index >= settled && acquired <= flipped + REFRESH_NS
            }
            _ => false,
        };
        if !ordered {
            return Err(RecordError::Times {
                frame: frame.frame,
                times,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64) -> FrameRecord {
        let start = number * 100;
        FrameRecord {
            frame: number,
            surface: Some("camera".into()),
            buffer: Some(40 + number % 4),
            fourcc: Some("XR24".into()),
            modifier: Some("LINEAR".into()),
            stride_bytes: Some(2560),
            path: Path::Direct,
            why_not_direct: None,
            kms_plane: None,
            renderer: None,
            why_not_gles: None,
            cpu_copied_bytes: 0,
            acquired_ns: Some(start + 10),
            flipped_ns: Some(start + 50),
            released_ns: Some(start + 155),
            sequence: Some(number),
        }
    }

    fn frames() -> Vec<FrameRecord> {
        (0..10).map(frame).collect()
    }

    #[test]
    fn order_of_a_correct_run_is_accepted() {
        let mut frames = frames();
        frames[9].released_ns = None;
        frames[8].released_ns = None;
        check_order(&frames).unwrap();
    }

    #[test]
    fn order_with_a_missing_frame_is_refused() {
        let mut frames = frames();
        frames.remove(4);
        assert!(matches!(
            check_order(&frames),
            Err(RecordError::Numbering {
                previous: 3,
                found: 5
            })
        ));
    }

    #[test]
    fn order_with_a_release_before_the_next_flip_is_refused() {
        let mut frames = frames();
        frames[4].released_ns = Some(460);
        assert!(matches!(
            check_order(&frames),
            Err(RecordError::ReleasedEarly {
                frame: 4,
                buffer: 40,
                ..
            })
        ));
    }

    #[test]
    fn order_without_a_release_is_refused() {
        let mut frames = frames();
        frames[4].released_ns = None;
        assert!(matches!(
            check_order(&frames),
            Err(RecordError::Times { frame: 4, .. })
        ));
    }

    #[test]
    fn order_with_a_flip_more_than_a_refresh_before_its_buffer_is_refused() {
        let mut frames = frames();
        frames[4].acquired_ns = frames[4].flipped_ns.map(|time| time + REFRESH_NS + 1);
        assert!(matches!(
            check_order(&frames),
            Err(RecordError::Times { frame: 4, .. })
        ));
    }

    #[test]
    fn report_with_a_truncated_last_line_is_parsed_up_to_it() {
        let mut text = String::from("{\"kind\":\"output\"}\n");
        for frame in frames() {
            text.push_str(&serde_json::to_string(&frame).unwrap());
            text.push('\n');
        }
        text.push_str("{\"frame\":10,\"surf");
        assert_eq!(parse_frames(&text).unwrap(), frames());
    }

    #[test]
    fn report_with_an_invalid_line_is_refused_with_its_number() {
        let error = parse_frames("{}\n{\"frame\":1}\n").unwrap_err();
        assert!(
            matches!(error, RecordError::Line { line: 2, .. }),
            "{error}"
        );
    }
}
