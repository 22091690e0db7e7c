//! Shows numbered frames on a Wayland compositor or a V4L2 output, so that a judge can tell which frame a picture is of.

mod canvas;
mod feed;
mod options;
mod show;

use std::process::ExitCode;

use clap::Parser;
use covalent_client_demo::exit::conclude;

use crate::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    conclude("covalent-pattern", || match &options.v4l2_output {
        Some(node) => feed::run(&options, node),
        None => show::run(&options),
    })
}
