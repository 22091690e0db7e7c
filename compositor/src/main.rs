//! The `covalent-compositor` binary: reads the command line, opens the output, serves clients until it is told to end.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use covalent_alloc::trace::{ChromeTrace, TARGET, TraceError};
use covalent_compositor::log::RateLimit;
use covalent_compositor::options::Options;
use covalent_compositor::run::{exit, run};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(filter.and(RateLimit::default()));
    let trace = options
        .trace
        .as_deref()
        .map(|path| ChromeTrace::create(path, "covalent-compositor"))
        .transpose();
    let trace = match trace {
        Ok(trace) => trace,
        Err(error) => return refuse(&error),
    };
    let steps = trace
        .clone()
        .map(|trace| trace.with_filter(filter_fn(|metadata| metadata.target() == TARGET)));
    tracing_subscriber::registry().with(log).with(steps).init();
    let ended = run(&options);
    if let Some(Err(error)) = trace.map(|trace| trace.finish()) {
        return refuse(&error);
    }
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // The log may be silenced; why the program ended may not.
            tracing::debug!(?failure, "ends with an error");
            say(&format!("{:#}", failure.error));
            ExitCode::from(failure.code)
        }
    }
}

/// Ends because of the trace's file.
fn refuse(error: &TraceError) -> ExitCode {
    say(&error.to_string());
    ExitCode::from(exit::UNEXPECTED)
}

fn say(words: &str) {
    let message = format!("covalent-compositor: {words}\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), message.as_bytes());
}
