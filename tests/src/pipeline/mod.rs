//! The whole pipeline in the guest: camera, compositor, display; and what each says of a run.

mod record;
mod report;
mod run;

pub use record::{
    CameraRecord, FrameRecord, Path, Percentiles, RecordError, check_order, parse_frames,
};
pub use report::{Report, Stack};
pub use run::{Finished, Pipeline, Reached, Running};
