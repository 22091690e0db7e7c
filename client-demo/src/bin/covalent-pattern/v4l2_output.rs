//! Sends frames to a V4L2 output instead of a compositor. A capture device whose input is connected to the output captures them.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use covalent_alloc::backend::v4l2::{Device, Direction, Error, Stream};
use covalent_alloc::buffer::{CpuAccess, Mapping};
use covalent_alloc::constraint::{CpuUse, Participant, Role};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::pattern::Pattern;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::options::Options;

/// The number of buffers: one that the device reads, five that are queued, and [`IDLE_BUFFERS`] that are idle.
const BUFFERS: u32 = 6 + IDLE_BUFFERS;

/// The number of returned buffers that stay idle before they are drawn into again. vivid's capture device copies a frame from the
/// buffer of its output device and may still copy after the output device has returned the buffer. On a busy machine a frame
/// would be torn if its buffer were drawn into at once.
const IDLE_BUFFERS: u32 = 6;

/// The longest time that the device may take for one frame. The slowest rate of a video output is one frame per second.
const FRAME_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends numbered frames to the device at the device's own rate.
pub(crate) fn run(options: &Options, node: &Path) -> Result<(), Failure> {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, stop.clone()).map_err(Failure::unexpected)?;
    }
    let mut stream = open(options, node)?;
    let extent = stream
        .buffers()
        .first()
        .ok_or_else(|| {
            Failure::new(
                Exit::Allocation,
                anyhow!("no buffers were allocated for the video output device"),
            )
        })?
        .layout()
        .visible()
        .extent();
    let pattern = Pattern::new(extent.width(), extent.height())
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let mappings = stream
        .buffers()
        .iter()
        .map(|buffer| buffer.map())
        .collect::<Result<Vec<_>, _>>()
        .map_err(Failure::unexpected)?;
    let mut number = options.first;
    // The frames are counted apart from their numbers, because the numbers wrap.
    let mut queued_frames = 0_u64;
    let ended = |queued: u64| options.frames.is_some_and(|frames| queued >= frames);
    for (index, mapping) in mappings.iter().enumerate() {
        if ended(queued_frames) {
            break;
        }
        draw(pattern, number, mapping)?;
        stream.queue(index).map_err(device_failure)?;
        number = number.wrapping_add(1);
        queued_frames = queued_frames.saturating_add(1);
    }
    stream.start().map_err(device_failure)?;
    let mut idle = VecDeque::new();
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        if !wait(&stream, node)? {
            continue;
        }
        while let Some(frame) = stream.dequeue().map_err(device_failure)? {
            if ended(queued_frames) {
                if stream.queued_count() == 0 {
                    return Ok(());
                }
                continue;
            }
            idle.push_back(frame.index);
            if idle.len() <= IDLE_BUFFERS as usize {
                continue;
            }
            let Some(index) = idle.pop_front() else {
                continue;
            };
            let mapping = mappings.get(index).ok_or_else(|| {
                Failure::new(
                    Exit::Unexpected,
                    anyhow!("a buffer of the video output device is not mapped into this process"),
                )
            })?;
            draw(pattern, number, mapping)?;
            stream.queue(index).map_err(device_failure)?;
            number = number.wrapping_add(1);
            queued_frames = queued_frames.saturating_add(1);
        }
    }
    Ok(())
}

/// Plans and allocates buffers of the device's own memory, which the CPU writes.
fn open(options: &Options, node: &Path) -> Result<Stream, Failure> {
    let queue = Device::open(node)
        .and_then(|device| device.queue(Direction::Output))
        .map_err(device_failure)?;
    let extent = match options.size {
        Some(size) => Extent::new(size.width, size.height)
            .map_err(|error| Failure::new(Exit::Usage, error))?,
        None => queue.current_format().map_err(device_failure)?.extent,
    };
    let device = queue
        .participant(extent, Some(Fourcc::XRGB8888))
        .map_err(device_failure)?;
    let device_source = queue.source(&device).map_err(device_failure)?;
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|choice| choice.memory.cpu = CpuUse::Often);
    let mut request = Request::new(extent);
    request.count = BUFFERS;
    request.participants = vec![device, processor];
    request.sources = device_source.into_iter().collect();
    match solve(&request) {
        Solution::Share(plan) => queue.allocate(&plan).map_err(device_failure),
        other => Err(Failure::new(Exit::NoPlan, anyhow!("{}", other.explain()))),
    }
}

/// Waits until the device has consumed a frame; returns `false` after a signal.
fn wait(stream: &Stream, node: &Path) -> Result<bool, Failure> {
    let timeout = Timespec::try_from(FRAME_TIMEOUT).map_err(Failure::unexpected)?;
    let fd = stream.as_fd();
    let mut watched = [PollFd::new(&fd, PollFlags::OUT)];
    match poll(&mut watched, Some(&timeout)) {
        Ok(0) => Err(Failure::new(
            Exit::CameraGone,
            anyhow!(
                "{}: the video output device has consumed no frame for {} s; check that its output is connected",
                node.display(),
                FRAME_TIMEOUT.as_secs()
            ),
        )),
        Ok(_) => Ok(true),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(Failure::new(Exit::Unexpected, error)),
    }
}

/// Draws the frame `number` of the pattern into a buffer.
fn draw(pattern: Pattern, number: u32, mapping: &Mapping) -> Result<(), Failure> {
    let rows = pattern.rows(number);
    let picture = mapping.buffer().layout().visible_bytes(0);
    let picture = picture
        .context("the layout of the buffer has no rows to draw")
        .map_err(Failure::unexpected)?;
    let written = mapping.access(CpuAccess::Write).and_then(|guard| {
        let mut all = (picture.first_row..).zip(0..picture.rows);
        all.try_for_each(|(row, y)| guard.write_row(0, row, picture.first_byte.into(), rows.row(y)))
    });
    written
        .context("a frame cannot be drawn into a buffer of the video output device")
        .map_err(Failure::unexpected)
}

/// Makes the failure for an error of the device, with the exit code for it.
fn device_failure(error: Error) -> Failure {
    let exit = match error {
        Error::Open { .. } | Error::NotVideo { .. } | Error::NoQueue { .. } => Exit::NoCamera,
        Error::Busy { .. } => Exit::CameraBusy,
        Error::Gone { .. } => Exit::CameraGone,
        Error::Count { .. } | Error::Pool { .. } | Error::Unusable { .. } => Exit::Allocation,
        _ => Exit::Unexpected,
    };
    Failure::new(exit, error)
}
