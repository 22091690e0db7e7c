//! Shows numbered frames on a Wayland compositor or a V4L2 output, so that a test can read the number of a frame from its pixels.

mod frame_buffers;
mod options;
mod show;
mod v4l2_output;

use std::process::ExitCode;

use covalent_client_demo::command_line::parse;
use covalent_client_demo::exit::run_to_exit_code;
use covalent_client_demo::log::run_with_log;

use crate::options::Options;

fn main() -> ExitCode {
    let options: Options = match parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    run_to_exit_code("covalent-pattern", || {
        run_with_log(
            "covalent-pattern",
            options.trace.as_deref(),
            || match &options.v4l2_output {
                Some(node) => v4l2_output::run(&options, node),
                None => show::run(&options),
            },
        )
    })
}
