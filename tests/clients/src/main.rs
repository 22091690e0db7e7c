//! Talks linux-drm-syncobj to a running compositor, rightly and wrongly, and says what came of it.
//!
//! Every check prints a line: `passed NAME`, or `failed NAME: WHY`. The exit status is 1 where one failed.

mod errors;
mod held;
mod order;
mod peer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Talks linux-drm-syncobj to the compositor that `WAYLAND_DISPLAY` names.
#[derive(Debug, Parser)]
#[command(name = "covalent-syncobj-check", version)]
struct Arguments {
    #[command(subcommand)]
    theme: Theme,
}

#[derive(Debug, Clone, Subcommand)]
enum Theme {
    /// Makes every error of the protocol, each on a connection of its own.
    Errors,
    /// Holds points back, signals them late and in any order, and watches the display.
    Order,
    /// Fills the screen with frames whose fences sw_sync holds back, and looks at what the display reads. As root.
    Held {
        /// How many frames, each way.
        #[arg(long, default_value_t = 60)]
        frames: u32,
        /// Where their memory comes from: how the name of a source begins.
        #[arg(long, required = true)]
        source: Vec<String>,
        /// Tell the compositor of no fence, so that everything has to fail.
        #[arg(long)]
        planted: bool,
    },
    /// Commits a buffer whose acquire point nobody signals, says so, and stays until it is killed.
    Hang,
}

/// Prints what came of a check; tells whether it passed.
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
            planted,
        } => held::run(frames, &source, planted),
        Theme::Hang => check("hang", order::hang),
    };
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
