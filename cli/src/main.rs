//! `covalent`: what shares memory with what on this machine, and why not.

mod args;
mod input;
mod json;
mod machine;
mod pixels;
mod progress;
#[cfg(test)]
#[path = "../../alloc/tests/parsers/sys.rs"]
mod sys;
mod text;
mod verb;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use args::{Command, Options};

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        // Without a word of the user warnings are shown.
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(io::stderr)
        .init();
    let outcome = match options.command {
        Command::Probe(options) => verb::probe::run(&options),
        Command::Plan(options) => verb::plan::run(&options),
        Command::Alloc(options) => verb::alloc::run(&options),
        Command::Matrix(options) => verb::matrix::run(&options),
        Command::Inspect(options) => verb::inspect::run(&options),
        Command::Diff(options) => verb::diff::run(&options),
        Command::Doctor(options) => verb::doctor::run(&options),
        Command::Bench(options) => verb::bench::run(&options),
        Command::Facts(options) => verb::facts::run(&options),
        Command::Completions(options) => verb::completions::run(&options),
        Command::Man(options) => verb::man::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        // Nobody is left to tell where stderr itself fails.
        let _ = writeln!(io::stderr(), "covalent: {error:#}");
        ExitCode::FAILURE
    })
}
