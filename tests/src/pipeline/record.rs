//! What the compositor and the camera client report of themselves, parsed.
//!
//! These are claims. The suite compares them with what others see: QEMU's screendump, the kernel's debugfs, `strace`.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How a frame reached the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// The plane reads the client's own buffer.
    Direct,
    /// The compositor drew it into a buffer of its own.
    Composited,
}

/// One line of the compositor's `--report`: one presented frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRecord {
    /// Number of the presented frame, from 0 or 1, without gaps.
    pub frame: u64,
    /// What the client calls its surface.
    pub surface: Option<String>,
    /// Inode of the dma-buf that the client attached.
    pub buffer: Option<u64>,
    /// Format of that buffer, four characters.
    pub fourcc: Option<String>,
    /// Layout of that buffer, in the kernel's words.
    pub modifier: Option<String>,
    /// Bytes from one row to the next.
    pub stride_bytes: Option<u32>,
    /// How it reached the display.
    pub path: Path,
    /// Why it was not scanned out, in words.
    pub why_not_direct: Option<String>,
    /// What composited it, `gles` or `software`.
    #[serde(default)]
    pub renderer: Option<String>,
    /// Why the GPU that composites did not.
    #[serde(default)]
    pub why_not_gles: Option<String>,
    /// Bytes that the compositor's CPU wrote for this frame.
    pub cpu_copied_bytes: u64,
    /// When the buffer was ready to be read, CLOCK_MONOTONIC.
    pub acquired_ns: Option<u64>,
    /// When the display began to show it, CLOCK_MONOTONIC.
    pub flipped_ns: Option<u64>,
    /// When the client got the buffer back, CLOCK_MONOTONIC.
    pub released_ns: Option<u64>,
    /// The display's own count of frames at the flip.
    pub sequence: Option<u64>,
}

/// Percentiles of a time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of the frames were faster.
    pub p50: f64,
    /// 99 of 100 frames were faster.
    pub p99: f64,
}

/// What `covalent-camera --json` says at its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraRecord {
    /// Frames that the display showed.
    pub frames: u64,
    /// Frames that the camera delivered.
    pub captured: u64,
    /// Frames captured and not shown.
    pub dropped: u64,
    /// Bytes that the client's CPU read and wrote, divided by the frames.
    pub cpu_copied_bytes_per_frame: f64,
    /// How buffers were handed over: `explicit` or `implicit`.
    #[serde(default)]
    pub sync: String,
    /// Where the plan took the memory from.
    pub source: String,
    /// Format, four characters.
    pub format: String,
    /// Layout.
    pub modifier: String,
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
    /// Width and height in pixels, `640x480`.
    pub size: String,
    /// From the V4L2 timestamp to the presentation.
    pub latency_ms: Option<Percentiles>,
    /// Inode of each buffer, by its index in the V4L2 queue.
    pub buffers: Vec<u64>,
}

/// Why the records do not describe a pipeline in order.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A line is not a record.
    #[error(
        "line {line} of the compositor's report is no frame record: {source}; it reads: {text}"
    )]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The line itself.
        text: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Frames are not counted one by one.
    #[error("frame {found} follows frame {previous}; a frame is missing or out of order")]
    Numbering {
        /// The frame before.
        previous: u64,
        /// The one that follows.
        found: u64,
    },
    /// A frame's own times are not in order, or one is missing.
    #[error(
        "frame {frame}: acquired, flipped and released are {times:?}, which is not an order in time"
    )]
    Times {
        /// The frame.
        frame: u64,
        /// Acquire, flip and release in nanoseconds.
        times: [Option<u64>; 3],
    },
    /// A buffer went back to the client while the display could still read it.
    #[error(
        "frame {frame}: buffer {buffer} was released at {released_ns} ns, before the next frame was shown at {next_flip_ns} ns"
    )]
    ReleasedEarly {
        /// The frame.
        frame: u64,
        /// Inode of the buffer.
        buffer: u64,
        /// When it was released.
        released_ns: u64,
        /// When the display stopped reading it.
        next_flip_ns: u64,
    },
}

/// One refresh of the slowest display in the guest (50 Hz), in nanoseconds.
///
/// The kernel stamps a flip with the refresh that it counts for. A driver that completes a commit at once, as virtio-gpu
/// does, is stamped with the refresh before the commit (`drm_crtc_send_vblank_event`), so that a flip can seem to be up to a
/// refresh older than the buffer that it shows.
const REFRESH_NS: u64 = 20_000_000;

/// Parses a compositor's report: one JSON object a line; lines of other kinds than frames are left out.
///
/// # Errors
/// [`RecordError::Line`] for a line that is no JSON object or a frame with fields missing. A last line that was cut off in
/// the middle (the compositor was killed) is no error.
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

/// Checks that frames are counted without gaps, and that each was acquired, flipped and released in this order; a buffer
/// that was scanned out is released at the next flip at the earliest.
///
/// The last two frames may still be on the display, hence not released.
///
/// # Errors
/// The first frame that breaks the order.
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
    fn order_of_a_sound_pipeline_is_accepted() {
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
    fn order_with_a_release_that_never_came_is_refused() {
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
    fn report_cut_off_in_the_last_line_is_read_up_to_there() {
        let mut text = String::from("{\"kind\":\"output\"}\n");
        for frame in frames() {
            text.push_str(&serde_json::to_string(&frame).unwrap());
            text.push('\n');
        }
        text.push_str("{\"frame\":10,\"surf");
        assert_eq!(parse_frames(&text).unwrap(), frames());
    }

    #[test]
    fn report_with_a_broken_line_names_it() {
        let error = parse_frames("{}\n{\"frame\":1}\n").unwrap_err();
        assert!(
            matches!(error, RecordError::Line { line: 2, .. }),
            "{error}"
        );
    }
}
