//! Tests linux-drm-syncobj of a running compositor with valid and invalid requests.
//!
//! Every check prints a line: `passed NAME`, or `failed NAME: WHY`. The exit status is 1 if a check failed.

mod delayed_fences;
mod errors;
mod order;
mod test_client;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tests linux-drm-syncobj of the compositor that `WAYLAND_DISPLAY` names.
#[derive(Debug, Parser)]
#[command(name = "covalent-syncobj-check", version)]
struct Arguments {
    #[command(subcommand)]
    theme: Theme,
}

#[derive(Debug, Clone, Subcommand)]
enum Theme {
    /// Cause every protocol error, each on a connection of its own.
    Errors,
    /// Signal points late, out of order or never, and check what is presented.
    Order,
    /// Show frames whose sw_sync fences are signalled late, and read what the display scans out. Needs root.
    Held {
        /// How many frames to show with each fence path.
        #[arg(long, default_value_t = 60)]
        frames: u32,
        /// Allocate the buffers from the source whose identifier begins with this text.
        #[arg(long, required = true)]
        source: Vec<String>,
        /// Give the compositor no fence, so that every check must fail.
        #[arg(long)]
        without_fences: bool,
    },
    /// Commit a buffer whose acquire point is never signalled, print `hangs`, and run until killed.
    Hang,
}

/// Runs a check and prints its result; returns whether it passed.
fn check(name: &str, check: impl FnOnce() -> anyhow::Result<()>) -> bool {
    match check() {
        Ok(()) => {
            println!("passed {name}");
            true
        }
        Err(error) => {
            println!("failed {name}: {error:#}");
            false
        }
    }
}

fn main() -> ExitCode {
    let passed = match Arguments::parse().theme {
        Theme::Errors => errors::run(),
        Theme::Order => order::run(),
        Theme::Held {
            frames,
            source,
            without_fences,
        } => delayed_fences::run(frames, &source, without_fences),
        Theme::Hang => check("hang", order::hang),
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
