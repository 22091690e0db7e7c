//! The `covalent-compositor` binary: reads the command line, opens the output, serves clients until it is told to end.

use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use covalent_alloc::text::{LineWriter, PrintableWriter, print_panics};
use covalent_alloc::trace::{ChromeTrace, TARGET};
use covalent_compositor::command_line::parse;
use covalent_compositor::options::Options;
use covalent_compositor::run::{exit, run};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    print_panics();
    let options: Options = match parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if let Err(error) = options.check_files() {
        return refuse(&error);
    }
    // A file that reaches its limit (ulimit -f) fails to grow like one on a full disk; without this it would end the compositor.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let has_colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt::layer()
        .with_writer(move || LineWriter::new(std::io::stderr(), has_colours))
        .with_ansi(has_colours)
        .with_filter(filter);
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
    let traced = trace.map_or(Ok(()), |trace| trace.finish());
    if let Err(error) = &traced {
        say(&error.to_string());
    }
    match ended {
        Ok(0) if traced.is_err() => ExitCode::from(exit::UNEXPECTED),
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // The log may be silenced; why the program ended may not.
            tracing::debug!(?failure, "ends with an error");
            say(&format!("{:#}", failure.error));
            ExitCode::from(failure.code)
        }
    }
}

/// Ends because of a file.
fn refuse(error: &dyn std::error::Error) -> ExitCode {
    say(&error.to_string());
    ExitCode::from(exit::UNEXPECTED)
}

fn say(words: &str) {
    // Nobody is left to tell where stderr itself fails.
    let _ = writeln!(
        PrintableWriter::new(std::io::stderr()),
        "covalent-compositor: {words}"
    );
}
