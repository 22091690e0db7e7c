//! Writes the log on stderr, and the trace to the file of `--trace`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Arc;

use covalent_alloc::text::{LineWriter, print_panics};
use covalent_alloc::trace::{ChromeTrace, TARGET, TraceError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::{Exit, Failure};

/// Runs `program` with a log on stderr, filtered by `RUST_LOG` or else at the level of warnings, and with a trace in the file
/// `trace`. `name` is the program's name in the trace.
///
/// # Errors
///
/// The failure of `program`, or [`Exit::Unexpected`] if the trace file cannot be written.
pub fn run_with_log(
    name: &str,
    trace: Option<&Path>,
    program: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    print_panics();
    // SIGXFSZ would kill the program when the trace reaches the limit of `ulimit -f`. With a handler, write() returns EFBIG
    // instead.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let has_colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let trace_failure = |error: TraceError| Failure::new(Exit::Unexpected, error);
    let trace = trace
        .map(|path| ChromeTrace::create(path, name))
        .transpose()
        .map_err(trace_failure)?;
    // Warnings are shown by default.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt::layer()
        .with_writer(move || LineWriter::new(std::io::stderr(), has_colours))
        .with_ansi(has_colours)
        .with_filter(filter);
    let steps = trace
        .clone()
        .map(|trace| trace.with_filter(filter_fn(|metadata| metadata.target() == TARGET)));
    tracing_subscriber::registry().with(log).with(steps).init();
    let ended = program();
    // The trace is completed even after a failure, because it helps to find the cause.
    let finished = trace.map_or(Ok(()), |trace| trace.finish().map_err(trace_failure));
    ended.and(finished)
}
