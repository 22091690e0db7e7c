//! Runs ten hostile clients beside a well-behaved client, which measures how a running compositor serves it.
//!
//! The exit status is 1 if a bound was exceeded, if a client that stays within its limits was disconnected, or if the compositor
//! has not freed everything that its clients held. With `--terminate`, the test also ends the compositor while hostile clients
//! are connected.

#[allow(dead_code, unreachable_pub, unused_imports)]
// The tests of the compositor include this module too. Each program uses only some of its items.
mod hostile;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

/// Tests whether hostile clients can keep the compositor of `WAYLAND_DISPLAY` from serving a well-behaved client.
#[derive(Debug, Parser)]
#[command(name = "covalent-hostile-check", version)]
struct Arguments {
    /// The process id of the compositor, whose CPU time is reported.
    #[arg(long)]
    pid: u32,
    /// How many seconds the hostile clients run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many milliseconds 99 of 100 round trips may take.
    #[arg(long)]
    round_trip: Option<u64>,
    /// The percentage of the frames that may be lost in addition to the frames that are lost without hostile clients.
    #[arg(long)]
    lost_frames: Option<f64>,
    /// How many milliseconds of CPU time of the compositor 99 of 100 round trips may take.
    #[arg(long)]
    cpu_time: Option<u64>,
    /// How many MiB the resident memory may have grown at the end. The allocator keeps freed memory for later use.
    #[arg(long, default_value_t = 32)]
    memory: u64,
    /// At the end, start the hostile clients again and send SIGTERM to the compositor, which has to end within this many
    /// milliseconds.
    #[arg(long)]
    terminate: Option<u64>,
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let name = std::env::var_os("WAYLAND_DISPLAY").context("WAYLAND_DISPLAY is not set")?;
    let directory = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
    let socket = PathBuf::from(directory).join(name);
    let pid = arguments.pid;
    let beside = Duration::from_secs(arguments.seconds);
    let alone = beside.min(Duration::from_secs(10));
    // Memory that the compositor allocates once and keeps is not a leak, so the hostile clients run once before the baseline is
    // measured.
    let warm_up = Duration::from_secs(arguments.seconds.div_ceil(8));
    hostile::run(
        &socket,
        pid,
        arguments.seed,
        Duration::from_millis(100),
        warm_up,
    )?;
    std::thread::sleep(Duration::from_secs(1));
    let baseline = hostile::Resources::of(pid)?;
    let outcome = hostile::run(&socket, pid, arguments.seed.wrapping_add(1), alone, beside)?;
    println!("{outcome}");
    let returned = baseline.wait_for_return(pid, arguments.memory.saturating_mul(1024))?;
    println!("before: {baseline:?}, afterwards: {returned:?}");
    outcome.check(hostile::Bounds {
        cpu_time: arguments.cpu_time.map(Duration::from_millis),
        round_trip: arguments.round_trip.map(Duration::from_millis),
        lost_frames: arguments.lost_frames.map(|lost| lost / 100.0),
    })?;
    if let Some(limit) = arguments.terminate {
        let seed = arguments.seed.wrapping_add(2);
        let took = hostile::terminate_beside_clients(&socket, pid, seed, warm_up)?;
        println!("SIGTERM: {took:?}");
        anyhow::ensure!(
            took <= Duration::from_millis(limit),
            "the compositor ended {took:?} after SIGTERM"
        );
    }
    Ok(())
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("covalent-hostile-check: {error:#}");
            ExitCode::FAILURE
        }
    }
}
