//! The report that `--json` prints at the end.

use anyhow::Context as _;
use covalent_alloc::buffer::{Buffer, CpuTraffic, cpu_traffic};
use covalent_client_demo::encoder::EncodingReport;
use covalent_client_demo::frame_converter::ConversionReport;
use covalent_client_demo::frame_sharing::SharingReport;
use covalent_client_demo::frame_stats::{DisplayPath, Ending, FrameStats, bytes_per_frame};
use covalent_client_demo::latency::Percentiles;
use covalent_client_demo::print;
use covalent_client_demo::recorder::Recording;
use covalent_client_demo::shm_copy::CopyReport;
use serde::Serialize;

use crate::camera_buffers::CameraBuffers;
use crate::consumers::ConsumerReports;

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// The path of the camera's device node.
    camera: String,
    /// The number of frames that were presented on the display.
    frames: u64,
    /// The number of frames that were dequeued from the camera.
    captured: u64,
    /// The sum of `dropped_by_camera`, `dropped_by_client` and `dropped_by_compositor`.
    dropped: u64,
    /// The number of frames that the camera dropped because no buffer was queued.
    dropped_by_camera: u64,
    /// The number of dequeued frames that the program skipped, because they were damaged, were dequeued together with a newer
    /// frame, or came while an earlier one was converted.
    dropped_by_client: u64,
    /// The number of skipped frames that had less data than their format needs, although the driver did not set
    /// `V4L2_BUF_FLAG_ERROR`.
    short: u64,
    /// The number of committed frames that the compositor discarded.
    dropped_by_compositor: u64,
    /// The number of frames that were presented after a newer frame.
    out_of_order: u64,
    /// How the frames reached the display, as the compositor's presentation feedback reports it.
    path: Option<DisplayPath>,
    /// Bytes of the buffers that the CPU read or wrote in this process, divided by the number of presented frames. Where no frame
    /// was presented, or the compositor lacks presentation-time, they are divided by the number of committed frames. It is null where
    /// this process shows several cameras and copied for one of them, because the bytes are counted for the whole process.
    client_copied_bytes_per_frame: Option<f64>,
    /// The same quotient for this process and the compositor together. It is null where the compositor composed a frame or did
    /// not report how the frame was shown, because the compositor does not tell its clients how many bytes it copied.
    cpu_copied_bytes_per_frame: Option<f64>,
    /// Why this process copies every frame, and how many bytes it copied; null if it copies none.
    copied: Option<CopyReport>,
    /// Why this process converts every frame, and how many bytes of pictures it writes; null where it converts none.
    converted: Option<ConversionReport>,
    /// The recording of `--record`; null without the option.
    recorded: Option<Recording>,
    /// The encoding of `--encode`; null without the option.
    encoded: Option<EncodingReport>,
    /// The frames that `--share` gave to other processes; null without the option.
    shared: Option<SharingReport>,
    /// The kind of display: `wayland` or `kms`.
    display: &'static str,
    /// The synchronisation with the compositor or display: `explicit` or `implicit`.
    sync: &'static str,
    /// The source that allocated the buffers.
    source: String,
    /// Format of the buffers.
    format: String,
    /// Modifier of the buffers.
    modifier: String,
    /// Bytes from row to row in the first plane.
    stride_bytes: u32,
    /// Matrix and range of YUV, such as `BT.601 limited range`; null for RGB.
    colours: Option<String>,
    /// Transfer function of the pixels, according to the camera.
    transfer_function: String,
    /// Width and height of the frames in pixels.
    size: String,
    /// The time from the camera's timestamp to the presentation.
    latency_ms: Option<Percentiles>,
    /// The number of frames whose timestamp was later than their commit; their latency is measured from the commit.
    timestamps_ahead: u64,
    /// How often the buffers were replaced after new dma-buf feedback.
    reallocations: u64,
    /// Inode of each current buffer's first dma-buf, by its index in the camera's queue.
    buffers: Vec<u64>,
    /// How the run of the program ended.
    ended: Ending,
    /// The plan of the buffers.
    plan: serde_json::Value,
}

/// The values from which the report of a stream is made.
pub(crate) struct ReportInputs<'a> {
    pub(crate) camera_buffers: &'a CameraBuffers,
    pub(crate) stats: &'a FrameStats,
    pub(crate) display: &'static str,
    pub(crate) sync: &'static str,
    /// The bytes that the CPU had copied in this process before the stream began. With `--reconnect` a process has several
    /// streams.
    pub(crate) earlier_traffic: CpuTraffic,
    /// Whether this process shows other cameras too.
    pub(crate) has_other_cameras: bool,
    /// Bytes that were written to shared memory.
    pub(crate) shm_bytes: u64,
    pub(crate) copied: Option<CopyReport>,
    pub(crate) converted: Option<ConversionReport>,
    pub(crate) consumers: ConsumerReports,
    pub(crate) reallocations: u64,
    pub(crate) ended: Ending,
}

impl Report {
    fn new(inputs: ReportInputs<'_>) -> Self {
        let ReportInputs {
            camera_buffers,
            stats,
            display,
            sync,
            earlier_traffic,
            has_other_cameras,
            shm_bytes,
            copied,
            converted,
            consumers,
            reallocations,
            ended,
        } = inputs;
        let layout = camera_buffers.layout();
        let dropped_by = [
            stats.frames_missed(),
            stats.frames_skipped(),
            stats.frames_discarded(),
        ];
        let traffic = cpu_traffic().since(earlier_traffic);
        let is_own_traffic = !has_other_cameras || traffic.total_bytes() == 0;
        let client_bytes = traffic.total_bytes().saturating_add(shm_bytes);
        let client_bytes = is_own_traffic.then_some(client_bytes);
        let frames = stats.frames_presented();
        Self {
            camera: camera_buffers.camera_name().to_owned(),
            frames,
            captured: stats.frames_captured(),
            dropped: dropped_by
                .iter()
                .fold(0, |sum, part| sum.saturating_add(*part)),
            dropped_by_camera: dropped_by[0],
            dropped_by_client: dropped_by[1],
            short: stats.frames_incomplete(),
            dropped_by_compositor: dropped_by[2],
            out_of_order: stats.frames_out_of_order(),
            path: stats.path(),
            client_copied_bytes_per_frame: client_bytes
                .map(|bytes| bytes_per_frame(bytes, stats.frames_shown())),
            cpu_copied_bytes_per_frame: client_bytes
                .and_then(|bytes| stats.copied_bytes(bytes))
                .map(|bytes| bytes_per_frame(bytes, frames)),
            copied,
            converted,
            recorded: consumers.recorded,
            encoded: consumers.encoded,
            shared: consumers.shared,
            display,
            sync,
            source: camera_buffers.source_name(),
            format: layout.format().fourcc.to_string(),
            modifier: layout.format().modifier.to_string(),
            stride_bytes: layout
                .planes()
                .first()
                .map_or(0, |plane| plane.stride_bytes),
            colours: camera_buffers
                .is_yuv()
                .then(|| camera_buffers.colours().to_string()),
            transfer_function: camera_buffers.transfer_function().to_string(),
            size: layout.visible().extent().to_string(),
            latency_ms: stats.latency_ms(),
            timestamps_ahead: stats.timestamps_ahead(),
            reallocations,
            buffers: camera_buffers
                .buffers()
                .iter()
                .map(|buffer: &Buffer| buffer.identity().0)
                .collect(),
            ended,
            plan: camera_buffers.plan_json(),
        }
    }

    /// Returns the counts of a running stream as one line of text.
    fn line(&self) -> String {
        let path = match self.path {
            None => "",
            Some(DisplayPath::Direct) => ", scanned out",
            Some(DisplayPath::Composited) => ", composited",
            Some(DisplayPath::Mixed) => ", some scanned out and some composited",
        };
        let latency = self.latency_ms.map_or_else(String::new, |latency| {
            format!(
                "; latency {:.1} ms in the median, {:.1} ms at the 99th percentile",
                latency.p50, latency.p99
            )
        });
        format!(
            "{} frames shown{path}; {} dropped (camera {}, program {}, compositor {}){latency}; {} {} from {}",
            self.frames,
            self.dropped,
            self.dropped_by_camera,
            self.dropped_by_client,
            self.dropped_by_compositor,
            self.size,
            self.format,
            self.source
        )
    }
}

/// Prints the report. With `--json` it is an object on stdout. Without `--json` it is a line on stderr, which is printed only
/// while the stream runs.
///
/// # Errors
/// Stdout or stderr cannot be written.
pub(crate) fn print(inputs: ReportInputs<'_>, is_json: bool) -> anyhow::Result<()> {
    let is_running = inputs.ended == Ending::Running;
    if !is_json && !is_running {
        return Ok(());
    }
    let report = Report::new(inputs);
    if is_json {
        print::json(&report).context("writing the report on stdout")
    } else {
        let line = format!("covalent-camera: {}\n", report.line());
        print::text(&line, true).context("writing the statistics on stderr")
    }
}
