//! `covalent-alloc-bench`: what allocating through `covalent-alloc` costs beside the bare ioctls, and what a pool saves. Runs
//! in the guest, as root.
//!
//! In a guest whose clock counts instructions (`./x vm run --counted`) its nanoseconds are instructions, and repeat.

mod bench_case;
mod calls;
mod cost;
mod sys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// Holds allocations through covalent-alloc against the bare ioctls.
#[derive(Debug, Parser)]
struct Arguments {
    /// As one line of JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Allocates and frees, both ways in turn, and tells the medians in nanoseconds.
    Cost {
        /// How many rounds; the first is not counted.
        #[arg(long, default_value_t = 12)]
        rounds: usize,
        /// Only sources whose identifier begins so.
        #[arg(long, default_value = "")]
        source: String,
    },
    /// Tells the system calls of one allocation beside those of the bare ioctls. Needs strace.
    Calls,
    /// Allocates once each way, with a word on stderr before and after: what `calls` runs under strace.
    #[command(hide = true)]
    Once,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Cost { rounds, source } => cost::measure(&source, rounds).and_then(|costs| {
            if arguments.json {
                return print(&costs);
            }
            cost::table(&costs);
            Ok(())
        }),
        Verb::Calls => calls::compare().and_then(|calls| {
            if arguments.json {
                return print(&calls);
            }
            calls::table(&calls);
            Ok(())
        }),
        Verb::Once => calls::once(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
