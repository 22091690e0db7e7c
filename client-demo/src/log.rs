//! What a program says on stderr, and the trace that it writes where one is asked for.

use std::path::Path;

use covalent_alloc::trace::{ChromeTrace, TARGET, TraceError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::exit::{Exit, Failure};

/// Runs `program`, which logs to stderr what `RUST_LOG` asks for, and writes the steps of its buffers to the file `trace`; `name`
/// is what the file calls it.
///
/// # Errors
///
/// The program's own, or that the file cannot be written.
pub fn traced(
    name: &str,
    trace: Option<&Path>,
    program: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let unwritten = |error: TraceError| Failure::new(Exit::Unexpected, error);
    let trace = trace
        .map(|path| ChromeTrace::create(path, name))
        .transpose()
        .map_err(unwritten)?;
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(EnvFilter::from_default_env());
    let steps = trace
        .clone()
        .map(|trace| trace.with_filter(filter_fn(|metadata| metadata.target() == TARGET)));
    tracing_subscriber::registry().with(log).with(steps).init();
    program()?;
    trace.map_or(Ok(()), |trace| trace.finish().map_err(unwritten))
}
