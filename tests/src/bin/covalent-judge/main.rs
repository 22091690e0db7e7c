//! `covalent-judge`: the independent checker. It reads which dma-bufs, mappings and planes the kernel reports, and is not one of
//! the processes under test. It runs in the guest.

use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::{Parser, Subcommand};
use covalent_tests::judge::{bufinfo, maps, process, scanout};
use serde::Serialize;

mod mappings;

/// Reads which dma-bufs, mappings and planes the kernel reports, independently of the processes under test; prints JSON.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the dma-buf that each primary plane scans out: GETFB2, PRIME_HANDLE_TO_FD, then its inode and exporter.
    Scanout {
        /// How many times to read the planes.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// Milliseconds between two reads.
        #[arg(long, default_value_t = 20)]
        every_ms: u64,
    },
    /// Print the dma-bufs to which a process has fds, and the number of all its fds.
    Held {
        /// The name of the program. Every process with this name is listed.
        name: String,
    },
    /// Print every dma-buf that debugfs lists.
    Bufinfo,
    /// Run a command, and sample the memory mappings of the command and all its descendants until the command ends.
    Watch {
        /// The size of a frame in bytes. Memory of this size counts as frame memory, even if it is no dma-buf.
        #[arg(long)]
        frame_bytes: u64,
        /// The file to which the JSON result is written.
        #[arg(long)]
        output: std::path::PathBuf,
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// A process in the output of `held`.
#[derive(Debug, Serialize)]
struct ProcessDmabufs {
    process: u32,
    fds: usize,
    dma_bufs: Vec<process::HeldDmabuf>,
    mappings: Vec<maps::FrameMapping>,
}

/// Prints a value as JSON.
fn print(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Scanout { times, every_ms } => {
            for look in 0..times {
                if look > 0 {
                    std::thread::sleep(Duration::from_millis(every_ms));
                }
                print(&scanout::read()?)?;
            }
        }
        Verb::Held { name } => {
            let mut all = Vec::new();
            for process in process::processes_named(&name)? {
                all.push(ProcessDmabufs {
                    process,
                    fds: process::fd_count(process)?,
                    dma_bufs: process::held(process)?,
                    mappings: maps::read(process, 0)?,
                });
            }
            print(&all)?;
        }
        Verb::Bufinfo => print(&bufinfo::read()?)?,
        Verb::Watch {
            frame_bytes,
            output,
            command,
        } => {
            let (program, arguments) = command
                .split_first()
                .ok_or_else(|| anyhow::anyhow!("no command was given"))?;
            let child = Command::new(program).args(arguments).spawn()?;
            let (seen, status) = mappings::until_exit(child, frame_bytes)?;
            serde_json::to_writer(std::fs::File::create(output)?, &seen)?;
            return Ok(status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .map_or(ExitCode::FAILURE, ExitCode::from));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn main() -> ExitCode {
    run(Arguments::parse().verb).unwrap_or_else(|error| {
        eprintln!("covalent-judge: {error:#}");
        ExitCode::FAILURE
    })
}
