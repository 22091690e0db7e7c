//! The `covalent-compositor` binary.

use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use covalent_alloc::text::{LineWriter, PrintableWriter, print_panics, printable_path};
use covalent_alloc::trace::{ChromeTrace, TARGET};
use covalent_compositor::command_line::parse;
use covalent_compositor::config::{ConfigError, ConfigFile, DEFAULTS};
use covalent_compositor::log::RateLimit;
use covalent_compositor::options::Options;
use covalent_compositor::run::{exit, run};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    print_panics();
    let options: Options = match parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if options.print_config {
        // An error of stdout cannot be reported.
        let _ = std::io::stdout().write_all(DEFAULTS.as_bytes());
        return ExitCode::SUCCESS;
    }
    if let Some(path) = &options.check_config {
        return check_config(&options, path.as_deref());
    }
    if let Err(error) = options.check_files() {
        return exit_with_error(&error);
    }
    // SIGXFSZ is handled, so that a write beyond the file size limit (ulimit -f) fails with EFBIG instead of ending the
    // compositor.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    let has_colours = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt::layer()
        .with_writer(move || LineWriter::new(std::io::stderr(), has_colours))
        .with_ansi(has_colours)
        .with_filter(filter.and(RateLimit::default()));
    let trace = options
        .trace
        .as_deref()
        .map(|path| ChromeTrace::create(path, "covalent-compositor"))
        .transpose();
    let trace = match trace {
        Ok(trace) => trace,
        Err(error) => return exit_with_error(&error),
    };
    let trace_layer = trace
        .clone()
        .map(|trace| trace.with_filter(filter_fn(|metadata| metadata.target() == TARGET)));
    tracing_subscriber::registry()
        .with(log)
        .with(trace_layer)
        .init();
    let result = run(&options);
    let trace_result = trace.map_or(Ok(()), |trace| trace.finish());
    if let Err(error) = &trace_result {
        print_error(&error.to_string());
    }
    match result {
        Ok(0) if trace_result.is_err() => ExitCode::from(exit::UNEXPECTED),
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // The error is printed even if the log is disabled.
            tracing::debug!(?failure, "the compositor ends with an error");
            print_error(&failure.to_string());
            ExitCode::from(failure.code)
        }
    }
}

/// Checks a configuration file, the one of `--check-config` or else the one that would be read, and prints its problems.
fn check_config(options: &Options, path: Option<&Path>) -> ExitCode {
    let specified = path.map(ConfigFile::specified);
    let Some(file) = specified.or_else(|| ConfigFile::of_options(options)) else {
        print_error("there is no configuration file to check: name one, or set XDG_CONFIG_HOME");
        return ExitCode::from(exit::UNEXPECTED);
    };
    let path = printable_path(file.path());
    let result = match file.load() {
        Ok(_) => format!("{path}: the configuration is valid"),
        Err(error) if error.is_not_found() && !file.is_specified() => {
            format!("{path} does not exist, so that the defaults apply")
        }
        Err(error @ ConfigError::Content(_)) => {
            // Editors understand lines that begin with the file, the line and the column.
            for line in error.lines() {
                let _ = writeln!(PrintableWriter::new(std::io::stderr()), "{line}");
            }
            return ExitCode::from(exit::UNEXPECTED);
        }
        Err(error) => {
            print_error(&error.to_string());
            return ExitCode::from(exit::UNEXPECTED);
        }
    };
    // An error of stdout cannot be reported.
    let _ = writeln!(std::io::stdout(), "{result}");
    ExitCode::SUCCESS
}

/// Prints an error and returns the exit code for it.
fn exit_with_error(error: &dyn std::error::Error) -> ExitCode {
    print_error(&error.to_string());
    ExitCode::from(exit::UNEXPECTED)
}

/// Prints an error with the name of the program on stderr.
fn print_error(words: &str) {
    // An error of stderr cannot be reported.
    let _ = writeln!(
        PrintableWriter::new(std::io::stderr()),
        "covalent-compositor: {words}"
    );
}
