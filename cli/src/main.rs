//! `covalent`: finds out which devices of this machine can share buffers, and why others cannot.

mod args;
mod file;
mod foreign;
mod input;
mod json;
mod machine;
mod out;
mod pixels;
mod progress;
mod report_part;
#[cfg(test)]
#[path = "../../alloc/solver/tests/common/sys.rs"]
mod sys;
mod text;
mod vendor_gpus;
mod verb;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use covalent_alloc::text::{LineWriter, print_panics};
use tracing_subscriber::EnvFilter;

use args::{Command, Options};

fn main() -> ExitCode {
    print_panics();
    let options: Options = match out::parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    // With a handler for SIGXFSZ, a write past the limit of file sizes (ulimit -f) fails with EFBIG. Without one, the signal
    // would end the tool.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let has_colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    tracing_subscriber::fmt()
        // Without RUST_LOG, warnings are printed.
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_ansi(has_colours)
        .with_writer(move || LineWriter::new(io::stderr(), has_colours))
        .init();
    let outcome = match options.command {
        Command::Probe(options) => verb::probe::run(&options),
        Command::Plan(options) => verb::plan::run(&options),
        Command::Alloc(options) => verb::alloc::run(&options),
        Command::Matrix(options) => verb::matrix::run(&options),
        Command::Inspect(options) => verb::inspect::run(&options),
        Command::Import(options) => verb::import::run(&options),
        Command::Report(options) => verb::report::run(&options),
        Command::Watch(options) => verb::watch::run(&options),
        Command::Diff(options) => verb::diff::run(&options),
        Command::Doctor(options) => verb::doctor::run(&options),
        Command::Bench(options) => verb::bench::run(&options),
        Command::Facts(options) => verb::facts::run(&options),
        Command::Completions(options) => verb::completions::run(&options),
        Command::Man(options) => verb::man::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        // If stderr fails, there is no other place to report that.
        let _ = writeln!(out::stderr(), "covalent: {}", out::error_text(&error));
        ExitCode::FAILURE
    })
}
