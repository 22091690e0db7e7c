//! Renders with Vulkan into buffers that are negotiated with a Wayland compositor. With `--camera` it renders over a camera's
//! pictures.

mod camera;
mod draw;
mod gpus;
mod negotiations;
mod options;
mod planner;
mod render;
mod report;
mod setup;
mod show;
mod submission_tracker;
mod swapchain;
mod swapchain_update;

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
    run_to_exit_code("covalent-vulkan", || {
        run_with_log("covalent-vulkan", options.trace.as_deref(), || {
            show::run(&options)
        })
    })
}
