//! `--reconnect`: waits until a camera that was unplugged is plugged in again, and goes on.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use covalent_alloc::backend::v4l2::{Device, Direction};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::signal_pipe::SignalPipe;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::options::Options;

/// How often the camera is looked for without a change of its folder: `/dev/v4l/by-id` exists only while a camera is there.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs a stream; with `--reconnect` again each time that its camera went away and came back, until the stream ends otherwise.
pub(crate) fn run(
    options: &Options,
    stream: impl Fn(&Options) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        match stream(options) {
            Err(failure) if options.reconnect && failure.exit() == Exit::CameraGone => {
                tracing::warn!("{failure}; waiting until it is plugged in again");
                let came = wait(&options.device)
                    .context("waiting for the camera")
                    .map_err(Failure::unexpected)?;
                if !came {
                    return Ok(());
                }
                tracing::warn!("{} is there again", options.device.display());
            }
            end => return end,
        }
    }
}

/// Waits until a camera is at a path, and returns true; returns false after SIGINT or SIGTERM.
fn wait(node: &Path) -> std::io::Result<bool> {
    let signals = SignalPipe::new(&[SIGINT, SIGTERM])?;
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // udev changes the owner of a node after it was created. A folder that is missing is not watched.
    let flags = WatchFlags::CREATE | WatchFlags::ATTRIB | WatchFlags::MOVED_TO;
    if let Some(folder) = node.parent() {
        let _ = inotify::add_watch(&changes, folder, flags);
    }
    let interval = Timespec::try_from(INTERVAL).map_err(std::io::Error::other)?;
    loop {
        let is_camera =
            Device::open(node).is_ok_and(|device| device.queue(Direction::Capture).is_ok());
        if is_camera {
            return Ok(true);
        }
        let mut fds = [
            PollFd::new(&signals, PollFlags::IN),
            PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&interval)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            return Ok(false);
        }
        // What changed does not matter, since the node is opened again.
        while rustix::io::read(&changes, &mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_that_ends_otherwise_is_not_run_again() {
        use clap::Parser as _;
        let options = Options::parse_from(["covalent-camera", "--reconnect"]);
        let runs = std::cell::Cell::new(0);
        let result = run(&options, |_| {
            runs.set(runs.get() + 1);
            Err(Failure::new(Exit::CameraBusy, anyhow::anyhow!("busy")))
        });
        assert_eq!(result.unwrap_err().exit(), Exit::CameraBusy);
        assert_eq!(runs.get(), 1);
    }
}
