//! `covalent-alloc-bench`: compares allocations through `covalent-alloc` with the bare ioctls, and measures how long a buffer
//! pool takes instead. It runs in the guest, as root.
//!
//! In a guest whose clock counts instructions (`./x vm run --counted`), each instruction takes a nanosecond, so the results are
//! reproducible.

mod bench_case;
mod calls;
mod cost;
mod sys;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// Compares allocations through covalent-alloc with the bare ioctls.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print one line of JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Allocate and free alternately through covalent-alloc and with the bare ioctls, and print the medians in nanoseconds.
    Cost {
        /// The number of rounds; the first is not counted.
        #[arg(long, default_value_t = 12)]
        rounds: usize,
        /// Measure only sources whose identifier begins with this text.
        #[arg(long, default_value = "")]
        source: String,
    },
    /// Print the system calls of one allocation compared with the bare ioctls. Needs strace.
    Calls,
    /// Allocate once through covalent-alloc and once with the bare ioctls, with a marker on stderr before and after each. `calls`
    /// runs this under strace.
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

/// Prints a value as one line of JSON.
fn print(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
