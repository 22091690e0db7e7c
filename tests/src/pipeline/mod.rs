//! Runs the pipeline of camera, compositor and display in the guest, and parses the reports of a run.

mod record;
mod report;
mod run;

pub use record::{
    CameraRecord, FrameRecord, Path, Percentiles, RecordError, check_order, parse_frames,
};
pub use report::{Report, Stack};
pub use run::{Pipeline, PipelineProgress, PipelineReports, RunningPipeline};
