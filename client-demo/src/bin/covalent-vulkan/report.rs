//! What the program says of a run at its end.

use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::{Buffer, cpu_traffic};
use covalent_client_demo::frame_stats::{Ending, FrameStats, Path};
use covalent_client_demo::latency::Percentiles;
use serde::Serialize;

use crate::camera::Camera;
use crate::chain::Chain;
use crate::submission_tracker::Completion;

/// Why a swapchain was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// It is the first.
    Begin,
    /// The window's size changed.
    Size,
    /// The compositor sent new dma-buf feedback.
    Feedback,
}

/// One swapchain that frames were shown of.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ChainReport {
    why: Why,
    source: String,
    format: String,
    modifier: String,
    stride_bytes: u32,
    size: String,
    /// What the compositor said that it would do with the buffers.
    purpose: String,
    /// Number of the first frame in it.
    first_frame: u32,
    /// Inode of each buffer.
    buffers: Vec<u64>,
}

impl ChainReport {
    pub(crate) fn new(chain: &Chain, why: Why, first_frame: u32) -> Self {
        let layout = chain.layout();
        Self {
            why,
            source: chain.plan.source_name().to_owned(),
            format: layout.format().fourcc.to_string(),
            modifier: layout.format().modifier.to_string(),
            stride_bytes: layout
                .planes()
                .first()
                .map_or(0, |plane| plane.stride_bytes),
            size: layout.extent().to_string(),
            purpose: chain.usage_label.clone(),
            first_frame,
            buffers: inodes(chain.buffers()),
        }
    }
}

/// What the camera gave.
#[derive(Clone, Debug, Serialize)]
struct CameraReport {
    captured: u64,
    dropped_by_camera: u64,
    dropped_by_client: u64,
    source: String,
    format: String,
    size: String,
    /// How its numbers become colours; none for RGB.
    conversion: Option<String>,
    buffers: Vec<u64>,
}

/// The object that `--json` prints.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Frames that came to the display.
    frames: u64,
    /// Frames given to the compositor.
    committed: u64,
    /// Frames that a newer one replaced before they came to the display.
    discarded: u64,
    /// Frames that came to the display after a newer one.
    out_of_order: u64,
    /// How the frames went, as the compositor's presentation feedback says.
    path: Option<Path>,
    /// The Vulkan device.
    device: String,
    /// Its driver.
    driver: String,
    /// Whether it works on the processor.
    is_processor: bool,
    /// How buffers were handed over: `explicit` or `implicit`.
    sync: &'static str,
    /// What told that a frame was drawn: a fence of the device, or a thread that waited for it.
    completion: Completion,
    /// Who allocated the last swapchain's buffers.
    source: Option<String>,
    /// Their modifier.
    modifier: Option<String>,
    /// How often a buffer that the compositor gave back was still in use, so that this program waited for it.
    waits: u64,
    /// Buffers that were imported into the device in all.
    imports: u64,
    /// Of these, those after the first frame of the last swapchain was drawn.
    imports_in_steady_state: u64,
    /// Bytes that this process read from or wrote to buffers.
    cpu_copied_bytes: u64,
    /// How often swapchains were made after the first.
    reallocations: usize,
    /// Every swapchain that frames were shown of, in order.
    swapchains: Vec<ChainReport>,
    /// What the camera gave.
    camera: Option<CameraReport>,
    /// From the camera's timestamp, or the beginning of the drawing, to the display.
    latency_ms: Option<Percentiles>,
    /// How the run ended.
    ended: Ending,
    /// The last plan.
    plan: serde_json::Value,
}

/// What a report is made of.
pub(crate) struct Facts<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) stats: &'a FrameStats,
    pub(crate) camera: Option<&'a Camera>,
    pub(crate) chain: Option<&'a Chain>,
    pub(crate) swapchains: &'a [ChainReport],
    pub(crate) is_explicit: bool,
    pub(crate) completion: Completion,
    pub(crate) waits: u64,
    pub(crate) imports: u64,
    pub(crate) imports_at_first_frame: u64,
    pub(crate) ended: Ending,
}

impl Report {
    pub(crate) fn new(facts: &Facts<'_>) -> Self {
        let stats = facts.stats;
        let last = facts.swapchains.last();
        Self {
            frames: stats.frames_presented(),
            committed: stats.frames_committed(),
            discarded: stats.frames_discarded(),
            out_of_order: stats.frames_out_of_order(),
            path: stats.path(),
            device: facts.gpu.name().to_owned(),
            driver: facts.gpu.identity().driver.clone(),
            is_processor: facts.gpu.is_processor(),
            sync: if facts.is_explicit {
                "explicit"
            } else {
                "implicit"
            },
            completion: facts.completion,
            source: last.map(|chain| chain.source.clone()),
            modifier: last.map(|chain| chain.modifier.clone()),
            waits: facts.waits,
            imports: facts.imports,
            imports_in_steady_state: facts.imports.saturating_sub(facts.imports_at_first_frame),
            cpu_copied_bytes: cpu_traffic().total_bytes(),
            reallocations: facts.swapchains.len().saturating_sub(1),
            swapchains: facts.swapchains.to_vec(),
            camera: facts.camera.map(|camera| {
                let layout = camera.layout();
                CameraReport {
                    captured: stats.frames_captured(),
                    dropped_by_camera: stats.frames_missed(),
                    dropped_by_client: stats.frames_skipped(),
                    source: camera.source_name().to_owned(),
                    format: layout.format().fourcc.to_string(),
                    size: layout.extent().to_string(),
                    conversion: camera.conversion(),
                    buffers: inodes(camera.buffers()),
                }
            }),
            latency_ms: stats.latency_ms(),
            ended: facts.ended,
            plan: facts
                .chain
                .and_then(|chain| serde_json::to_value(&chain.plan).ok())
                .unwrap_or_default(),
        }
    }
}

fn inodes(buffers: &[Buffer]) -> Vec<u64> {
    buffers.iter().map(|buffer| buffer.identity().0).collect()
}
