//! `--reconnect`: waits until an unplugged camera is plugged in again, and restarts the stream.

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

/// How often the camera's node is checked without an inotify event. The folder `/dev/v4l/by-id` exists only while a camera is
/// plugged in, so inotify cannot always watch it.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs a stream. With `--reconnect` it waits after the camera was unplugged and runs the stream again, until the stream ends for
/// another reason.
pub(crate) fn run(
    options: &Options,
    stream: impl Fn(&Options) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut was_there = false;
    loop {
        match stream(options) {
            Err(failure) if options.reconnect && is_unplugged(failure.exit(), was_there) => {
                was_there = true;
                tracing::warn!("{failure}; waiting until it is plugged in again");
                let came = wait(&options.device)
                    .context("waiting for the camera")
                    .map_err(Failure::unexpected)?;
                if !came {
                    return Ok(());
                }
                tracing::warn!("{} is plugged in again", options.device.display());
            }
            end => return end,
        }
    }
}

/// Returns whether a stream that failed with this exit code failed because the camera is unplugged. A camera that was there
/// before can be unplugged again before the next stream has opened it; then there is no camera to open.
fn is_unplugged(exit: Exit, was_there: bool) -> bool {
    exit == Exit::CameraGone || was_there && exit == Exit::NoCamera
}

/// Waits until the device node exists and can be opened, and returns `true`; returns `false` after SIGINT or SIGTERM.
fn wait(node: &Path) -> std::io::Result<bool> {
    let signals = SignalPipe::new(&[SIGINT, SIGTERM])?;
    let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    // ATTRIB is watched because udev changes the owner of a node after the node was created. A folder that does not exist is not
    // watched.
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
        // The events are read and ignored, because the loop opens the node again after any of them.
        while rustix::io::read(&changes, &mut [0; 4096]).is_ok_and(|bytes| bytes > 0) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_camera_is_unplugged_only_if_it_was_there_before() {
        for was_there in [false, true] {
            assert!(is_unplugged(Exit::CameraGone, was_there));
            assert_eq!(is_unplugged(Exit::NoCamera, was_there), was_there);
            assert!(!is_unplugged(Exit::CameraBusy, was_there));
        }
    }

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
