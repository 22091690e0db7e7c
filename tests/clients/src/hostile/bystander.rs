//! A well-behaved client (the bystander) that measures how long the compositor takes to serve it.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::PollFlags;

use super::connection::Connection;
use super::files::Files;
use super::message::Argument;
use super::window::Window;

/// The pause after a round trip.
const PAUSE: Duration = Duration::from_millis(4);

/// The measurements of the bystander during one period.
#[derive(Clone, Debug)]
pub struct BystanderStats {
    /// The duration of each round trip, sorted.
    pub round_trips: Vec<Duration>,
    /// The CPU time of the compositor during each round trip, sorted. Other programs on the machine do not affect it.
    pub cpu_times: Vec<Duration>,
    /// The number of frame callbacks that the bystander received.
    pub frames: u64,
    /// The duration of the measurement.
    pub elapsed: Duration,
    /// The refresh period of the output.
    pub period: Duration,
}

/// Returns the duration that this percentage of the sorted durations does not exceed.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let index = sorted.len().saturating_mul(percent) / 100;
    let found = sorted.get(index.min(last));
    found.copied().unwrap_or(Duration::MAX)
}

impl BystanderStats {
    /// Returns the fraction of the output's frames for which the bystander received no frame callback.
    pub fn lost_frames(&self) -> f64 {
        let expected = self.elapsed.as_secs_f64() / self.period.as_secs_f64();
        #[allow(clippy::cast_precision_loss)] // a test shows fewer frames than 2^52
        let shown = self.frames as f64;
        ((expected - shown) / expected).max(0.0)
    }
}

impl fmt::Display for BystanderStats {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{} round trips, half of them within {:?}, 99 % within {:?} ({:?} of CPU time), all within {:?} ({:?}); {} frames in {:?}, {:.1} % lost",
            self.round_trips.len(),
            percentile(&self.round_trips, 50),
            percentile(&self.round_trips, 99),
            percentile(&self.cpu_times, 99),
            percentile(&self.round_trips, 100),
            percentile(&self.cpu_times, 100),
            self.frames,
            self.elapsed,
            self.lost_frames() * 100.0
        )
    }
}

/// Shows an animated window and measures round trips for `duration`.
///
/// # Errors
///
/// The bystander is disconnected.
pub(super) fn measure(
    socket: &Path,
    pid: u32,
    duration: Duration,
) -> anyhow::Result<BystanderStats> {
    let mut connection = Connection::open(socket)?;
    let unknown = connection.unknown_globals();
    anyhow::ensure!(
        unknown.is_empty(),
        "the hostile clients do not know the globals {unknown:?}"
    );
    let files = Files::open()?;
    // The window is larger than the windows of the hostile clients, so they never hide it completely. A hidden window would get
    // no frame callbacks.
    let window = Window::map(&mut connection, &files, (480, 480))?;
    let mut frame = show_next(&mut connection, window);
    let mut sync: Option<(u32, Instant, Duration)> = None;
    let mut measured = BystanderStats {
        round_trips: Vec::new(),
        cpu_times: Vec::new(),
        frames: 0,
        elapsed: Duration::ZERO,
        period: Duration::from_nanos(16_666_667),
    };
    let start = Instant::now();
    let mut next_sync = start;
    while start.elapsed() < duration {
        if sync.is_none() && Instant::now() >= next_sync {
            sync = Some((connection.sync(), Instant::now(), cpu_time(pid)?));
        }
        connection.flush();
        connection.wait(PollFlags::IN, PAUSE);
        connection.read();
        window.acknowledge(&mut connection);
        for callback in std::mem::take(&mut connection.done) {
            if let Some((_, sent, used)) = sync.filter(|(awaited, _, _)| *awaited == callback) {
                measured.round_trips.push(sent.elapsed());
                measured.cpu_times.push(cpu_time(pid)?.saturating_sub(used));
                sync = None;
                next_sync = Instant::now() + PAUSE;
            } else if callback == frame {
                measured.frames += 1;
                frame = show_next(&mut connection, window);
            }
        }
        anyhow::ensure!(
            !connection.closed,
            "the bystander was disconnected: {:?}",
            connection.error
        );
    }
    // The compositor has not answered the last round trip, so its duration is at least the time until now.
    if let Some((_, sent, used)) = sync {
        measured.round_trips.push(sent.elapsed());
        measured.cpu_times.push(cpu_time(pid)?.saturating_sub(used));
    }
    measured.round_trips.sort_unstable();
    measured.cpu_times.sort_unstable();
    measured.elapsed = start.elapsed();
    Ok(measured)
}

/// Returns the CPU time of the main thread of a process.
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/schedstat");
    let text = std::fs::read_to_string(&path).context(path)?;
    let nanoseconds = text.split_whitespace().next().unwrap_or_default();
    Ok(Duration::from_nanos(nanoseconds.parse()?))
}

/// Commits the buffer of the window again, and returns the frame callback.
fn show_next(connection: &mut Connection, window: Window) -> u32 {
    let callback = connection.call(window.surface, "frame", &[], &[]);
    let buffer = [window.buffer, 0, 0].map(Argument::Word);
    connection.call(window.surface, "attach", &buffer, &[]);
    let damage = [0, 0, 8, 8].map(Argument::Word);
    connection.call(window.surface, "damage_buffer", &damage, &[]);
    window.commit(connection);
    callback
}
