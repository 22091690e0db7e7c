//! The report of the demo: a JSON object that summarises a run, and a table for the terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CameraRecord, FrameRecord, Path, Percentiles};

/// The versions of the software in a run, so that reports of different machines can be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The version of the guest's kernel.
    pub kernel: String,
    /// The version of Mesa in the guest.
    pub mesa: String,
    /// The version of QEMU.
    pub qemu: String,
    /// The accelerator of QEMU: `kvm` or `tcg`.
    pub accelerator: String,
}

/// The summary of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The number of presented frames.
    pub frames: u64,
    /// The number of captured frames that were not presented.
    pub dropped: u64,
    /// `direct` if every frame was scanned out directly, `composited` if none was, otherwise `mixed`.
    pub path: String,
    /// The number of frames that were scanned out directly from the camera's buffers.
    pub direct_frames: u64,
    /// The distinct reasons why the other frames were not scanned out directly.
    pub why_not_direct: Vec<String>,
    /// The number of bytes that the CPU copied for each frame, in client and compositor together.
    pub cpu_copied_bytes_per_frame: f64,
    /// The source that allocated the buffers.
    pub source: String,
    /// The format, as four characters.
    pub format: String,
    /// The modifier.
    pub modifier: String,
    /// The width and height in pixels.
    pub size: String,
    /// The stride in bytes.
    pub stride: u32,
    /// The time from the V4L2 timestamp to the presentation.
    pub latency_ms: Option<Percentiles>,
    /// The inode of each shared buffer.
    pub buffers: Vec<u64>,
    /// The versions of the software.
    pub versions: Stack,
}

impl Report {
    /// Summarises the reports of the client and the compositor.
    ///
    /// Only frames that show a buffer of the client count for the path and the copied bytes. The compositor's first frame shows
    /// no client's buffer.
    #[must_use]
    pub fn new(camera: CameraRecord, frames: &[FrameRecord], versions: Stack) -> Self {
        let own: Vec<&FrameRecord> = frames
            .iter()
            .filter(|frame| {
                frame
                    .buffer
                    .is_some_and(|buffer| camera.buffers.contains(&buffer))
            })
            .collect();
        let direct = own
            .iter()
            .filter(|frame| frame.path == Path::Direct)
            .count();
        let mut why_not_direct: Vec<String> = own
            .iter()
            .filter_map(|frame| frame.why_not_direct.clone())
            .collect();
        why_not_direct.sort();
        why_not_direct.dedup();
        let path = match direct {
            0 => "composited",
            all if all == own.len() => "direct",
            _ => "mixed",
        };
        let compositor_bytes: u64 = own.iter().map(|frame| frame.cpu_copied_bytes).sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a mean in a report; 2^53 bytes are never copied in a run"
        )]
        let compositor_mean = if own.is_empty() {
            0.0
        } else {
            compositor_bytes as f64 / own.len() as f64
        };
        Self {
            frames: camera.frames,
            dropped: camera.dropped,
            path: path.to_owned(),
            direct_frames: u64::try_from(direct).unwrap_or(u64::MAX),
            why_not_direct,
            cpu_copied_bytes_per_frame: camera.client_copied_bytes_per_frame + compositor_mean,
            source: camera.source,
            format: camera.format,
            modifier: camera.modifier,
            size: camera.size,
            stride: camera.stride_bytes,
            latency_ms: camera.latency_ms,
            buffers: camera.buffers,
            versions,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = self.latency_ms.map_or("not known".to_owned(), |times| {
            format!("{:.1} ms median, {:.1} ms at 99 %", times.p50, times.p99)
        });
        let rows = [
            (
                "frames shown",
                format!("{} ({} captured and not shown)", self.frames, self.dropped),
            ),
            (
                "path",
                format!(
                    "{} ({} frames scanned out from the camera's buffers)",
                    self.path, self.direct_frames
                ),
            ),
            (
                "copied by a CPU",
                format!("{} bytes a frame", self.cpu_copied_bytes_per_frame),
            ),
            (
                "memory",
                format!("{}, {} buffers", self.source, self.buffers.len()),
            ),
            (
                "picture",
                format!(
                    "{} {} {}, {} bytes a row",
                    self.size, self.format, self.modifier, self.stride
                ),
            ),
            ("camera to display", latency),
            (
                "ran on",
                format!(
                    "Linux {}, Mesa {}, QEMU {} ({})",
                    self.versions.kernel,
                    self.versions.mesa,
                    self.versions.qemu,
                    self.versions.accelerator
                ),
            ),
        ];
        for (name, value) in rows {
            writeln!(out, "  {name:<18} {value}")?;
        }
        for reason in &self.why_not_direct {
            writeln!(out, "  {:<18} {reason}", "not direct")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> CameraRecord {
        CameraRecord {
            frames: 4,
            sync: "explicit".to_owned(),
            captured: 5,
            dropped: 1,
            client_copied_bytes_per_frame: 0.0,
            cpu_copied_bytes_per_frame: None,
            source: "virtio_gpu dumb".into(),
            format: "XR24".into(),
            modifier: "LINEAR".into(),
            stride_bytes: 2560,
            size: "640x480".into(),
            latency_ms: Some(Percentiles {
                p50: 20.25,
                p99: 33.0,
            }),
            buffers: vec![7, 8],
        }
    }

    fn frame(number: u64, buffer: u64, path: Path, copied: u64) -> FrameRecord {
        FrameRecord {
            frame: number,
            surface: None,
            buffer: Some(buffer),
            fourcc: Some("XR24".into()),
            modifier: None,
            stride_bytes: None,
            path,
            why_not_direct: (path == Path::Composited).then(|| "a window".to_owned()),
            kms_plane: None,
            renderer: None,
            why_not_gles: None,
            cpu_copied_bytes: copied,
            acquired_ns: None,
            flipped_ns: None,
            released_ns: None,
            sequence: None,
        }
    }

    fn stack() -> Stack {
        Stack {
            kernel: "7".into(),
            mesa: "26".into(),
            qemu: "11".into(),
            accelerator: "tcg".into(),
        }
    }

    #[test]
    fn report_of_direct_frames_excludes_other_buffers() {
        let frames = [
            frame(0, 99, Path::Composited, 5000),
            frame(1, 7, Path::Direct, 0),
            frame(2, 8, Path::Direct, 0),
        ];
        let report = Report::new(camera(), &frames, stack());
        assert_eq!((report.path.as_str(), report.direct_frames), ("direct", 2));
        assert_eq!(report.cpu_copied_bytes_per_frame, 0.0);
    }

    #[test]
    fn report_of_mixed_frames_has_copies_and_reasons() {
        let frames = [
            frame(1, 7, Path::Direct, 0),
            frame(2, 8, Path::Composited, 1000),
        ];
        let report = Report::new(camera(), &frames, stack());
        assert_eq!(
            (report.path.as_str(), report.cpu_copied_bytes_per_frame),
            ("mixed", 500.0)
        );
        assert_eq!(report.why_not_direct, ["a window"]);
        assert!(
            report.to_string().contains("not direct         a window"),
            "{report}"
        );
    }
}
