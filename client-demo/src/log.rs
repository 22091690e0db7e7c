//! What a program says on stderr, and the trace that it writes where one is asked for.

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

/// Runs `program`, which logs to stderr what `RUST_LOG` asks for, or else warnings, and writes the steps of its buffers to the file `trace`; `name`
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
    print_panics();
    // A file that reaches its limit (ulimit -f) fails to grow like one on a full disk; without this it would end the program.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let has_colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let unwritten = |error: TraceError| Failure::new(Exit::Unexpected, error);
    let trace = trace
        .map(|path| ChromeTrace::create(path, name))
        .transpose()
        .map_err(unwritten)?;
    // Without a word of the user warnings are shown: what the program waits for, and what is not as it should be.
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
    // What was traced until a failure is of most interest.
    let finished = trace.map_or(Ok(()), |trace| trace.finish().map_err(unwritten));
    ended.and(finished)
}
