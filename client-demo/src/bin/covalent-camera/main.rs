//! Shows a V4L2 camera on a Wayland compositor or on a KMS display without a copy: the camera fills the buffers that are
//! displayed.

mod camera_buffers;
mod cameras;
mod consumers;
mod controls;
mod conversion;
#[cfg(feature = "deliberate-copy")]
mod deliberate_copy;
mod display_buffers;
mod kms;
mod list;
mod options;
mod rate;
mod reconnect;
mod remembered;
mod replan;
mod report;
mod setup;
mod setup_links;
mod stream;

use std::process::ExitCode;

use covalent_client_demo::command_line::parse;
use covalent_client_demo::exit::{Failure, run_to_exit_code};
use covalent_client_demo::log::run_with_log;

use crate::options::{Display, Options};

/// Does what the options say for one camera.
fn run(options: &Options) -> Result<(), Failure> {
    match options.display {
        _ if options.list => list::run(options),
        _ if options.setup_links => setup_links::run(options),
        _ if options.controls => controls::list(options),
        Display::Wayland => reconnect::run(options, stream::run),
        Display::Kms => reconnect::run(options, kms::run),
    }
}

fn main() -> ExitCode {
    let options: Options = match parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    run_to_exit_code("covalent-camera", || {
        run_with_log("covalent-camera", options.trace.as_deref(), || {
            cameras::run(&options, run)
        })
    })
}
