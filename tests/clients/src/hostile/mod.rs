//! Clients that try to crash a compositor or to keep it from serving others. A well-behaved client beside them, the bystander,
//! measures how the compositor serves it.
//!
//! The clients encode the wire format themselves. Each client has random numbers from a seed. The clients with a behaviour of
//! [`Behaviour::WITHIN_LIMITS`] send only requests that the protocols permit, in the most expensive ways, and have to stay
//! connected. The other clients also send requests that are not permitted, file descriptors of all kinds, and too many or too few
//! bytes. The compositor disconnects these clients, and they connect again.

mod behaviour;
mod bystander;
mod connection;
mod files;
mod interfaces;
mod message;
mod process;
mod random;
mod random_requests;
mod scripted;
mod window;
mod within_limits;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use behaviour::{Behaviour, HostileReport};
pub use bystander::{BystanderStats, percentile};
pub use process::{Resources, terminate_beside_clients};
pub use scripted::{ScriptedClient, ScriptedFiles};

/// The number of hostile clients that run at the same time.
const CLIENTS: usize = 10;

/// The thread of a running hostile client.
type ClientThread = JoinHandle<anyhow::Result<HostileReport>>;

/// The bounds that the bystander's measurements must not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The CPU time of the compositor that 99 of 100 round trips do not exceed.
    pub cpu_time: Option<Duration>,
    /// The duration that 99 of 100 round trips do not exceed.
    pub round_trip: Option<Duration>,
    /// The fraction of the frames that may be lost in addition to the frames that are lost without hostile clients.
    pub lost_frames: Option<f64>,
}

/// The measurements of the bystander without and with the hostile clients, and the reports of the hostile clients.
#[derive(Debug)]
pub struct Outcome {
    /// The measurement without the hostile clients.
    pub before: BystanderStats,
    /// The measurement with the hostile clients.
    pub during: BystanderStats,
    /// The behaviour of each client and its report.
    pub clients: Vec<(Behaviour, HostileReport)>,
}

/// Measures a bystander of the compositor `pid`, first alone and then beside ten hostile clients, half of which stay within their
/// limits.
///
/// # Errors
///
/// The bystander or a client that stays within its limits is disconnected.
pub fn run(
    socket: &Path,
    pid: u32,
    seed: u64,
    alone: Duration,
    beside: Duration,
) -> anyhow::Result<Outcome> {
    let before = bystander::measure(socket, pid, alone)?;
    let stop = Arc::new(AtomicBool::new(false));
    let threads = start_clients(socket, seed, &stop)?;
    let during = bystander::measure(socket, pid, beside);
    stop.store(true, Ordering::Relaxed);
    let mut clients = Vec::new();
    for (behaviour, thread) in threads {
        let report = thread
            .join()
            .map_err(|_| anyhow::anyhow!("the client {behaviour:?} panicked"))??;
        clients.push((behaviour, report));
    }
    let during = during?;
    Ok(Outcome {
        before,
        during,
        clients,
    })
}

/// Starts the hostile clients, which run until `stop` is set.
fn start_clients(
    socket: &Path,
    seed: u64,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Vec<(Behaviour, ClientThread)>> {
    let mut threads = Vec::new();
    for number in 0..CLIENTS {
        let behaviour = Behaviour::of_client(number, seed);
        let (socket, stop) = (socket.to_owned(), stop.clone());
        let seed = seed.wrapping_add(u64::try_from(number)?);
        let thread = std::thread::spawn(move || behaviour.run(&socket, seed, &stop));
        threads.push((behaviour, thread));
    }
    Ok(threads)
}

impl Outcome {
    /// Checks that the measurements are within the bounds, and that the clients within their limits stayed connected.
    ///
    /// # Errors
    ///
    /// A text that names the exceeded bound, or the client that was disconnected or sent nothing.
    pub fn check(&self, bounds: Bounds) -> anyhow::Result<()> {
        let slowest = percentile(&self.during.round_trips, 99);
        let most_used = percentile(&self.during.cpu_times, 99);
        let (alone, beside) = (self.before.lost_frames(), self.during.lost_frames());
        anyhow::ensure!(
            bounds.round_trip.is_none_or(|bound| slowest < bound),
            "one of a hundred round trips of the bystander took {slowest:?} or longer: {self}"
        );
        anyhow::ensure!(
            bounds.cpu_time.is_none_or(|bound| most_used < bound),
            "one of a hundred round trips of the bystander took {most_used:?} of the compositor's CPU time or more: {self}"
        );
        anyhow::ensure!(
            bounds
                .lost_frames
                .is_none_or(|bound| beside <= alone + bound),
            "the bystander lost {:.1} % of the frames beside the hostile clients, and {:.1} % without them: {self}",
            beside * 100.0,
            alone * 100.0
        );
        for (behaviour, report) in &self.clients {
            anyhow::ensure!(
                report.requests > 0,
                "the client {behaviour:?} sent nothing: {self}"
            );
            anyhow::ensure!(
                !behaviour.stays_connected() || report.connections == 1,
                "the client {behaviour:?} was disconnected: {:?}",
                report.last_error
            );
        }
        Ok(())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(to, "alone: {}", self.before)?;
        writeln!(to, "beside: {}", self.during)?;
        for (behaviour, report) in &self.clients {
            writeln!(
                to,
                "{behaviour:?}: {} requests, {} connections, last error {:?}",
                report.requests, report.connections, report.last_error
            )?;
        }
        Ok(())
    }
}

/// Waits until `done` returns true; returns false after the time limit.
pub fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}
