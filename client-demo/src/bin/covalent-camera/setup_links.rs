//! `--setup-links`: sets up the pipeline of a media-controller camera, and prints what was changed.

use anyhow::Context as _;
use covalent_alloc::backend::v4l2::{
    Device, MediaDevice, MediaError, PipelineChange, PipelineReport, PipelineRequest,
};
use covalent_alloc::text::{printable, printable_path};
use covalent_client_demo::exit::Failure;
use covalent_client_demo::{exit_code, print, xrgb};
use serde::Serialize;

use crate::options::Options;

/// The object that `--setup-links --json` prints.
#[derive(Debug, Serialize)]
struct Done {
    changes: Vec<PipelineChange>,
    pipeline: PipelineReport,
}

/// Sets up the pipeline for `--format` and `--size`. Without `--format`, the camera gets the first possible format of
/// [`xrgb::FORMATS`], which are in order of increasing cost of conversion.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let device = Device::open(&options.device).map_err(exit_code::camera_failure)?;
    let media = MediaDevice::of(&device).map_err(exit_code::media_failure)?;
    let mut media = media.ok_or_else(|| {
        let device = options.device.clone();
        exit_code::media_failure(MediaError::NoMediaDevice { device })
    })?;
    let request = PipelineRequest {
        extent: options.size,
        formats: match options.format {
            Some(format) => vec![format],
            None => xrgb::FORMATS.to_vec(),
        },
    };
    let changes = media.set_up(&request).map_err(exit_code::media_failure)?;
    let pipeline = media.report().map_err(exit_code::media_failure)?;
    let done = Done { changes, pipeline };
    let printed = match options.json {
        true => print::json(&done),
        false => print::text(&lines(&done), false),
    };
    printed
        .context("printing what was changed")
        .map_err(Failure::unexpected)
}

/// Returns a line for each change, and one for the pipeline.
fn lines(done: &Done) -> String {
    let mut text: String = done
        .changes
        .iter()
        .map(|change| format!("{change}\n"))
        .collect();
    let pipeline = &done.pipeline;
    let entities: Vec<String> = pipeline
        .entities
        .iter()
        .map(|name| printable(name))
        .collect();
    text.push_str(&format!(
        "{}{} is ready: {}\n",
        if text.is_empty() {
            "nothing to change; "
        } else {
            ""
        },
        printable_path(&pipeline.node),
        entities.join(" -> ")
    ));
    text
}
