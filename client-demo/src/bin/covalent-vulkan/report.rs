//! The report that `--json` prints at the end.

use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::{Buffer, cpu_traffic};
use covalent_client_demo::frame_stats::{DisplayPath, Ending, FrameStats, bytes_per_frame};
use covalent_client_demo::latency::Percentiles;
use covalent_client_demo::shm_copy::CopyReport;
use serde::Serialize;

use crate::camera::Camera;
use crate::submission_tracker::Completion;
use crate::swapchain::Swapchain;

/// Why a swapchain was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SwapchainReason {
    /// It is the first swapchain.
    Begin,
    /// The window's size changed.
    Size,
    /// The compositor sent new dma-buf feedback.
    Feedback,
}

/// The report of one swapchain.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SwapchainReport {
    why: SwapchainReason,
    source: String,
    format: String,
    modifier: String,
    stride_bytes: u32,
    size: String,
    /// What the compositor does with the buffers, according to the tranche of its feedback.
    purpose: String,
    /// The number of the first frame that was rendered to this swapchain.
    first_frame: u32,
    /// The inode of each buffer's dma-buf.
    buffers: Vec<u64>,
}

impl SwapchainReport {
    pub(crate) fn new(swapchain: &Swapchain, why: SwapchainReason, first_frame: u32) -> Self {
        let layout = swapchain.layout();
        Self {
            why,
            source: swapchain.plan.source_name().to_owned(),
            format: layout.format().fourcc.to_string(),
            modifier: layout.format().modifier.to_string(),
            stride_bytes: layout
                .planes()
                .first()
                .map_or(0, |plane| plane.stride_bytes),
            size: layout.visible().extent().to_string(),
            purpose: swapchain.usage_label.clone(),
            first_frame,
            buffers: inodes(swapchain.buffers()),
        }
    }
}

/// The report of `--camera`.
#[derive(Clone, Debug, Serialize)]
struct CameraReport {
    captured: u64,
    dropped_by_camera: u64,
    dropped_by_client: u64,
    source: String,
    format: String,
    size: String,
    /// YUV matrix and range; absent for RGB.
    conversion: Option<String>,
    buffers: Vec<u64>,
}

/// The object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The number of frames that were presented on the display.
    frames: u64,
    /// The number of committed frames.
    committed: u64,
    /// The number of frames that the compositor discarded.
    discarded: u64,
    /// The number of frames that were presented after a newer frame.
    out_of_order: u64,
    /// How the frames reached the display, as the compositor's presentation feedback reports it.
    path: Option<DisplayPath>,
    /// The name of the Vulkan device.
    device: String,
    /// The name of the Vulkan device's driver.
    driver: String,
    /// Whether the Vulkan device is a CPU driver.
    is_processor: bool,
    /// The synchronisation with the compositor: `explicit` or `implicit`.
    sync: &'static str,
    /// What signalled that a frame was rendered: a fence of the device, or a thread that waited for the device.
    completion: Completion,
    /// The source that allocated the last swapchain's buffers.
    source: Option<String>,
    /// The modifier of the last swapchain's buffers.
    modifier: Option<String>,
    /// How often the program waited for the fences of a buffer that the compositor had released.
    waits: u64,
    /// The number of buffer imports into the device.
    imports: u64,
    /// The number of imports after the first frame of the last swapchain.
    imports_in_steady_state: u64,
    /// Bytes of the buffers that the CPU read or wrote in this process.
    client_copied_bytes: u64,
    /// The same number for this process and the compositor together. It is null if the compositor composed a frame or did not
    /// report how the frame was shown, because the compositor does not tell its clients how many bytes it copied.
    cpu_copied_bytes: Option<u64>,
    /// `client_copied_bytes`, divided by the number of presented frames. Where no frame was presented, or the compositor lacks
    /// presentation-time, they are divided by the number of committed frames.
    client_copied_bytes_per_frame: f64,
    /// `cpu_copied_bytes`, divided by the number of presented frames.
    cpu_copied_bytes_per_frame: Option<f64>,
    /// Why this process copies every frame of the last swapchain, and how many bytes it copies; null where it copies none.
    copied: Option<CopyReport>,
    /// The number of swapchains after the first one.
    reallocations: usize,
    /// The reports of all swapchains, in order of creation.
    swapchains: Vec<SwapchainReport>,
    /// The report of `--camera`.
    camera: Option<CameraReport>,
    /// The time from the camera's timestamp, or the start of the rendering, to the presentation.
    latency_ms: Option<Percentiles>,
    /// How the run of the program ended.
    ended: Ending,
    /// The plan of the last swapchain.
    plan: serde_json::Value,
}

/// The values from which the report of the program is made.
pub(crate) struct ReportInputs<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) stats: &'a FrameStats,
    pub(crate) camera: Option<&'a Camera>,
    pub(crate) swapchain: Option<&'a Swapchain>,
    pub(crate) swapchain_reports: &'a [SwapchainReport],
    pub(crate) is_explicit: bool,
    pub(crate) completion: Completion,
    pub(crate) waits: u64,
    pub(crate) imports: u64,
    pub(crate) imports_at_first_frame: u64,
    /// Bytes that were written to shared memory.
    pub(crate) shm_bytes: u64,
    pub(crate) copied: Option<&'a CopyReport>,
    pub(crate) ended: Ending,
}

impl Report {
    pub(crate) fn new(inputs: &ReportInputs<'_>) -> Self {
        let stats = inputs.stats;
        let last = inputs.swapchain_reports.last();
        let client_bytes = cpu_traffic().total_bytes().saturating_add(inputs.shm_bytes);
        let cpu_bytes = stats.copied_bytes(client_bytes);
        Self {
            frames: stats.frames_presented(),
            committed: stats.frames_committed(),
            discarded: stats.frames_discarded(),
            out_of_order: stats.frames_out_of_order(),
            path: stats.path(),
            device: inputs.gpu.name().to_owned(),
            driver: inputs.gpu.identity().driver.clone(),
            is_processor: inputs.gpu.is_cpu(),
            sync: if inputs.is_explicit {
                "explicit"
            } else {
                "implicit"
            },
            completion: inputs.completion,
            source: last.map(|swapchain| swapchain.source.clone()),
            modifier: last.map(|swapchain| swapchain.modifier.clone()),
            waits: inputs.waits,
            imports: inputs.imports,
            imports_in_steady_state: inputs.imports.saturating_sub(inputs.imports_at_first_frame),
            client_copied_bytes: client_bytes,
            cpu_copied_bytes: cpu_bytes,
            client_copied_bytes_per_frame: bytes_per_frame(client_bytes, stats.frames_shown()),
            cpu_copied_bytes_per_frame: cpu_bytes
                .map(|bytes| bytes_per_frame(bytes, stats.frames_presented())),
            copied: inputs.copied.cloned(),
            reallocations: inputs.swapchain_reports.len().saturating_sub(1),
            swapchains: inputs.swapchain_reports.to_vec(),
            camera: inputs.camera.map(|camera| {
                let layout = camera.layout();
                CameraReport {
                    captured: stats.frames_captured(),
                    dropped_by_camera: stats.frames_missed(),
                    dropped_by_client: stats.frames_skipped(),
                    source: camera.source_name().to_owned(),
                    format: layout.format().fourcc.to_string(),
                    size: layout.visible().extent().to_string(),
                    conversion: camera.conversion(),
                    buffers: inodes(camera.buffers()),
                }
            }),
            latency_ms: stats.latency_ms(),
            ended: inputs.ended,
            plan: inputs
                .swapchain
                .and_then(|swapchain| serde_json::to_value(&swapchain.plan).ok())
                .unwrap_or_default(),
        }
    }
}

/// Returns the inode of each buffer's dma-buf.
fn inodes(buffers: &[Buffer]) -> Vec<u64> {
    buffers.iter().map(|buffer| buffer.identity().0).collect()
}
