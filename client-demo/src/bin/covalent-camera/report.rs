//! What the program says of a run at its end.

use covalent_alloc::buffer::{Buffer, cpu_traffic};
use covalent_client_demo::frame_stats::{Ending, FrameStats, Path};
use covalent_client_demo::latency::Percentiles;
use serde::Serialize;

use crate::setup::CameraBuffers;

/// The object that `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Frames that came to the display.
    frames: u64,
    /// Frames that the camera delivered.
    captured: u64,
    /// Frames that the camera made and nobody saw.
    dropped: u64,
    /// Of these, those for which the camera had no buffer.
    dropped_by_camera: u64,
    /// Of these, those that this program passed over for a newer one, or that came damaged.
    dropped_by_client: u64,
    /// Of these, those that a newer one replaced in the compositor.
    dropped_by_compositor: u64,
    /// Frames that came to the display after a newer one.
    out_of_order: u64,
    /// How the frames went, as the compositor's presentation feedback says.
    path: Option<Path>,
    /// Bytes that this process read from or wrote to buffers, divided by the frames shown.
    cpu_copied_bytes_per_frame: f64,
    /// How buffers were handed over: `explicit` or `implicit`.
    sync: &'static str,
    /// Who allocated.
    source: String,
    /// Format of the buffers.
    format: String,
    /// Modifier of the buffers.
    modifier: String,
    /// Bytes from row to row in the first plane.
    stride_bytes: u32,
    /// Width and height in pixels.
    size: String,
    /// From the camera's timestamp to the display.
    latency_ms: Option<Percentiles>,
    /// Frames whose timestamp lay ahead of their delivery; their latency counts from there.
    timestamps_ahead: u64,
    /// Inode of each buffer's first dma-buf, by its index in the camera's queue.
    buffers: Vec<u64>,
    /// How the run ended.
    ended: Ending,
    /// The plan.
    plan: serde_json::Value,
}

impl Report {
    pub(crate) fn new(
        camera_buffers: &CameraBuffers,
        stats: &FrameStats,
        is_explicit: bool,
        ended: Ending,
    ) -> Self {
        let layout = camera_buffers.layout();
        let by = [
            stats.frames_missed(),
            stats.frames_skipped(),
            stats.frames_discarded(),
        ];
        Self {
            frames: stats.frames_presented(),
            captured: stats.frames_captured(),
            dropped: by.iter().fold(0, |sum, part| sum.saturating_add(*part)),
            dropped_by_camera: by[0],
            dropped_by_client: by[1],
            dropped_by_compositor: by[2],
            out_of_order: stats.frames_out_of_order(),
            path: stats.path(),
            cpu_copied_bytes_per_frame: mean(cpu_traffic().total_bytes(), stats.frames_presented()),
            sync: if is_explicit { "explicit" } else { "implicit" },
            source: camera_buffers.source_name(),
            format: layout.format().fourcc.to_string(),
            modifier: layout.format().modifier.to_string(),
            stride_bytes: layout
                .planes()
                .first()
                .map_or(0, |plane| plane.stride_bytes),
            size: layout.extent().to_string(),
            latency_ms: stats.latency_ms(),
            timestamps_ahead: stats.timestamps_ahead(),
            buffers: camera_buffers
                .buffers()
                .iter()
                .map(|buffer: &Buffer| buffer.identity().0)
                .collect(),
            ended,
            plan: camera_buffers.plan_data(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a mean: what is lost beyond 2^53 bytes is less than it can show"
)]
fn mean(bytes: u64, frames: u64) -> f64 {
    bytes as f64 / frames.max(1) as f64
}
