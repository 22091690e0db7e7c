//! `covalent watch`: shows the state of a running compositor, which the compositor sends through its control socket.

mod connection;
mod growth;
mod report;
mod socket_search;
mod table;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use covalent_alloc::text::printable;
use covalent_protocols::control::{INTERVAL_MIN_MS, Request, VERSION};

use self::connection::Connection;
use self::report::Report;
use crate::{json, out};

/// Show the outputs, surfaces and buffers of a running compositor, and why frames are not scanned out.
#[derive(Args, Debug)]
#[command(after_help = "\
This connects to the control socket of a running covalent-compositor. The socket is
covalent-$WAYLAND_DISPLAY in $XDG_RUNTIME_DIR; without WAYLAND_DISPLAY, the only one there that
answers. Only the user that runs the compositor, and root, may connect.

For each output: the mode, the rate of frames, the share of frames that were scanned out, the time
from a commit to its presentation (median, 90th and 99th percentile of the latest frames), and how
the frame on the display was shown: scanned out, or composed by which renderer and for which
reason. For each surface: its client, its rate and latency, its window, and its buffer. A commit
counts from the time at which its acquire point or fences were signalled.

--leaks lists what each client holds: dma-bufs, shared memory, syncobj timelines, file descriptors
and objects, and in parentheses how each number has grown since this began to watch. A number that
grows while the picture of the client stays the same is a leak.

Examples:
  covalent watch
      a table that is refreshed each second, until Ctrl-C
  covalent watch --once
      the state now, for example to see why a window is not scanned out
  covalent watch --leaks --interval 10 --for 600
      what clients hold, for ten minutes
  covalent watch --once --json | jq '.snapshot.outputs[].last.why_not_direct'
  covalent watch --socket /run/user/1000/covalent-wayland-1
      a certain compositor; its `ready` line has the path as `control`

Exit codes: 0 done, 1 no compositor answers, 2 wrong usage.")]
pub(crate) struct Options {
    /// Connect to this control socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Refresh after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Print the state once.
    #[arg(long)]
    once: bool,
    /// End after this many seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds, conflicts_with = "once")]
    duration: Option<Duration>,
    /// List the dma-bufs, shared memory, timelines, file descriptors and objects of each client, and how they have grown since
    /// the start.
    #[arg(long)]
    leaks: bool,
    /// Print one JSON object in a line for each refresh.
    #[arg(long)]
    json: bool,
}

/// Parses a number of seconds, which may have decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| format!("`{text}` is not a number of seconds"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// Parses an interval. It must be at least the compositor's shortest interval and at most a day.
fn interval(text: &str) -> Result<Duration, String> {
    let shortest = Duration::from_millis(INTERVAL_MIN_MS.into());
    let longest = Duration::from_secs(24 * 60 * 60);
    let interval = seconds(text)?;
    if interval < shortest || interval > longest {
        return Err(format!(
            "an interval is {} to {} seconds",
            shortest.as_secs_f64(),
            longest.as_secs()
        ));
    }
    Ok(interval)
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let (path, mut connection) = match &options.socket {
        Some(path) => (path.clone(), Connection::open(path)?),
        None => socket_search::find()?,
    };
    let interval_ms = u32::try_from(options.interval.as_millis()).unwrap_or(u32::MAX);
    connection.request(Request {
        version: VERSION,
        interval_ms: (!options.once).then_some(interval_ms),
        holdings: options.leaks,
    })?;
    let start = Instant::now();
    let mut first = None;
    loop {
        let Some(snapshot) = connection.snapshot(options.interval)? else {
            if options.once || first.is_none() {
                bail!("the compositor at {} closed the connection", path.display());
            }
            // The compositor has ended, so the watch ends too.
            return Ok(ExitCode::SUCCESS);
        };
        let before = first.get_or_insert_with(|| snapshot.clone());
        let report = Report::new(&path, before, snapshot);
        match print(&report, options) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            printed => printed?,
        }
        let is_over = |limit: Duration| start.elapsed().saturating_add(options.interval) > limit;
        if options.once || options.duration.is_some_and(is_over) {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Prints a report as JSON or as a table.
fn print(report: &Report, options: &Options) -> io::Result<()> {
    if options.json {
        return json::print_line(report);
    }
    let size = terminal_size();
    let mut lines = table::render(report, options.leaks, size.map(|(columns, _)| columns));
    let Some((_, rows)) = size.filter(|_| !options.once) else {
        let mut to = out::stdout();
        for line in &lines {
            out::line!(to, "{line}")?;
        }
        if !options.once {
            out::line!(to, "")?;
        }
        return to.flush();
    };
    // A table that is higher than the terminal would scroll, and the next table would be printed below it.
    lines.truncate(rows.saturating_sub(1));
    // The cursor goes to the upper left corner; the rest of each line, and what is below the last line, is erased.
    let mut text = String::from("\x1b[H");
    for line in &lines {
        text.push_str(&printable(line));
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    let mut to = io::stdout().lock();
    to.write_all(text.as_bytes())?;
    to.flush()
}

/// Returns the columns and rows of the terminal; `None` if the standard output is not a terminal.
fn terminal_size() -> Option<(usize, usize)> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let is_known = size.ws_col > 0 && size.ws_row > 0;
    is_known.then_some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_outside_of_its_bounds_is_refused() {
        assert_eq!(interval("0.05"), Ok(Duration::from_millis(50)));
        for text in ["0", "0.01", "-1", "NaN", "1e9", "x"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
