//! The `covalent-compositor` binary: reads the command line, opens the output, serves clients until it is told to end.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use covalent_compositor::options::Options;
use covalent_compositor::run::run;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(&options) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            // The log may be silenced; why the program ended may not.
            tracing::debug!(?failure, "ends with an error");
            let message = format!("covalent-compositor: {:#}\n", failure.error);
            let _ = rustix::io::write(rustix::stdio::stderr(), message.as_bytes());
            ExitCode::from(failure.code)
        }
    }
}
