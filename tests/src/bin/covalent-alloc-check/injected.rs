//! A vivid camera with error injection: each error is reported once, and the stream can continue afterwards.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, Error, FrameInfo, Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Fourcc;
use covalent_alloc::solve::{Request, Solution, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::vga;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{CheckOutcome, CheckRunner};

/// The node of vivid's camera, which fails on request.
const CAMERA: &str = "/dev/video0";
const BUFFERS: u32 = 4;
/// The time limit to capture frames.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    runner.check(
        "injected::reqbufs_error_is_reported_and_a_retry_succeeds",
        || {
            let (queue, buffers) = camera(&sources)?;
            control("inject_vidioc_reqbufs_error=1")?;
            check_injected_error(queue.import(&buffers).map(|_| ()), "VIDIOC_REQBUFS")?;
            stream(&mut queue.import(&buffers)?, 8).map(|_| CheckOutcome::Passed)
        },
    );
    runner.check("injected::qbuf_error_leaves_the_stream_unchanged", || {
        let (queue, buffers) = camera(&sources)?;
        let mut stream = queue.import(&buffers)?;
        control("inject_vidioc_qbuf_error=1")?;
        check_injected_error(stream.queue(0), "VIDIOC_QBUF")?;
        ensure!(
            stream.queued_count() == 0,
            "a buffer is queued although VIDIOC_QBUF failed"
        );
        self::stream(&mut stream, 8).map(|_| CheckOutcome::Passed)
    });
    runner.check(
        "injected::requeue_error_is_reported_by_the_next_call_and_a_retry_succeeds",
        || requeue(&sources),
    );
    runner.check("injected::streamon_after_an_error_succeeds", || {
        let (queue, buffers) = camera(&sources)?;
        let mut stream = queue.import(&buffers)?;
        fill(&mut stream)?;
        control("inject_vidioc_streamon_error=1")?;
        check_injected_error(stream.start(), "VIDIOC_STREAMON")?;
        stream.start().context("the retry")?;
        frames(&mut stream, 8).map(|_| CheckOutcome::Passed)
    });
    runner.check(
        "injected::damaged_frame_is_marked_and_the_next_is_not",
        || {
            let (queue, buffers) = camera(&sources)?;
            let mut stream = queue.import(&buffers)?;
            fill(&mut stream)?;
            stream.start()?;
            frames(&mut stream, 4)?;
            control("inject_v4l2_buf_flag_error=1")?;
            let after = frames(&mut stream, 12)?;
            let damaged = after.iter().filter(|frame| frame.is_damaged).count();
            ensure!(
                damaged == 1,
                "{damaged} of {} frames are marked as damaged instead of one",
                after.len()
            );
            Ok(CheckOutcome::Passed)
        },
    );
    runner.check(
        "injected::fatal_error_ends_the_stream_and_a_new_start_resumes",
        || {
            let (queue, buffers) = camera(&sources)?;
            let mut stream = queue.import(&buffers)?;
            fill(&mut stream)?;
            stream.start()?;
            frames(&mut stream, 4)?;
            control("inject_fatal_streaming_error=1")?;
            let until = Instant::now() + TIMEOUT;
            loop {
                ensure!(
                    Instant::now() < until,
                    "the stream did not report the fatal error"
                );
                match stream.dequeue() {
                    Ok(Some(frame)) => {
                        // This frame was captured before the injected error. Queueing its buffer may fail.
                        let _ = stream.queue(frame.index);
                    }
                    Ok(None) => wait(&stream)?,
                    Err(Error::StreamError { .. }) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            stream.stop()?;
            self::stream(&mut stream, 8).map(|_| CheckOutcome::Passed)
        },
    );
    runner.check(
        "injected::dropped_frames_leave_sequence_gaps_and_repeat_no_frame",
        || {
            let (queue, buffers) = camera(&sources)?;
            let mut stream = queue.import(&buffers)?;
            control("percentage_of_dropped_buffers=50")?;
            let seen = self::stream(&mut stream, 40);
            control("percentage_of_dropped_buffers=0")?;
            let seen = seen?;
            let gaps = seen
                .windows(2)
                .filter(|pair| matches!(pair, [one, two] if two.sequence > one.sequence + 1))
                .count();
            ensure!(
                gaps > 0,
                "the sequence numbers have no gap although vivid dropped frames"
            );
            ensure!(
                seen.windows(2)
                    .all(|pair| matches!(pair, [one, two] if two.timestamp > one.timestamp)),
                "the timestamp of a frame is not later than that of the frame before"
            );
            Ok(CheckOutcome::Passed)
        },
    );
    runner.check("injected::sequence_number_wraps_to_0", || {
        let (queue, buffers) = camera(&sources)?;
        let mut stream = queue.import(&buffers)?;
        control("wrap_sequence_number=1")?;
        let seen = stream_through(&mut stream);
        control("wrap_sequence_number=0")?;
        seen
    });
}

/// The driver drops a frame, and its buffer cannot be queued again. The stream reports the buffer once, and the caller can queue
/// it.
fn requeue(sources: &Sources) -> Result<CheckOutcome> {
    let (queue, buffers) = camera(sources)?;
    let mut stream = queue.import(&buffers)?;
    fill(&mut stream)?;
    stream.start()?;
    let until = Instant::now() + TIMEOUT;
    let frame = loop {
        ensure!(Instant::now() < until, "the camera delivered no frame");
        match stream.next_frame()? {
            Some(frame) => break frame,
            None => wait(&stream)?,
        }
    };
    let expected = frame.info().index;
    control("inject_vidioc_qbuf_error=1")?;
    drop(frame);
    match stream.next_frame() {
        Err(Error::Requeue { index, source, .. }) => {
            ensure!(
                index == expected,
                "the error names buffer {index}, but buffer {expected} could not be queued"
            );
            check_injected_error(Err(*source), "VIDIOC_QBUF")?;
        }
        Err(error) => {
            return Err(error).context("dequeuing failed with an unexpected error");
        }
        Ok(_) => bail!("the stream did not report that VIDIOC_QBUF failed"),
    }
    stream.queue(expected).context("the retry")?;
    frames(&mut stream, 8).map(|_| CheckOutcome::Passed)
}

/// Streams while the sequence number wraps around: it starts near its largest value.
fn stream_through(stream: &mut Stream) -> Result<CheckOutcome> {
    fill(stream)?;
    stream.start()?;
    let first = frames(stream, 1)?.first().map_or(0, |frame| frame.sequence);
    ensure!(
        first >= 0xffff_ff00,
        "the first sequence number is {first:#x}, which is not near the largest"
    );
    let until = Instant::now() + TIMEOUT;
    let mut last = first;
    while last >= first {
        ensure!(
            Instant::now() < until,
            "the sequence number did not wrap around, and is {last:#x}"
        );
        let next = frames(stream, 1)?.first().map_or(0, |frame| frame.sequence);
        // On a busy machine vivid may give two frames the same sequence number.
        last = next;
    }
    ensure!(
        last < 0x100,
        "the sequence number after the wrap is {last:#x}"
    );
    Ok(CheckOutcome::Passed)
}

/// Opens the camera, and allocates buffers for it from the system heap.
fn camera(sources: &Sources) -> Result<(Queue, Vec<Buffer>)> {
    let queue = Device::open(CAMERA.as_ref())?.queue(Direction::Capture)?;
    let mut request = Request {
        count: BUFFERS,
        participants: vec![queue.participant(vga()?, Some(Fourcc::XRGB8888))?],
        sources: sources.declarations(),
        ..Request::new(vga()?)
    };
    request
        .sources
        .retain(|source| source.id.as_str() == "heap:system");
    match solve(&request) {
        Solution::Share(plan) => Ok((queue, sources.allocate(&plan)?)),
        solution => bail!("{}", solution.explain()),
    }
}

/// Sets a control of the camera, such as one that injects an error.
pub(super) fn control(setting: &str) -> Result<()> {
    let output = Command::new("v4l2-ctl")
        .args(["-d", CAMERA, "-c", setting])
        .output()?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && message.is_empty(),
        "v4l2-ctl -c {setting} failed: {message}"
    );
    Ok(())
}

fn check_injected_error(answer: Result<(), Error>, expected: &str) -> Result<()> {
    match answer {
        Err(Error::Request { operation, .. }) if operation == expected => Ok(()),
        Err(error) => Err(error).with_context(|| {
            format!("an error of {expected} was injected, but another error was reported")
        }),
        Ok(()) => bail!("{expected} did not fail although an error was injected"),
    }
}

/// Queues all buffers.
fn fill(stream: &mut Stream) -> Result<()> {
    for index in 0..stream.buffers().len() {
        stream.queue(index)?;
    }
    Ok(())
}

/// Starts the stream, and captures `count` frames.
fn stream(stream: &mut Stream, count: usize) -> Result<Vec<FrameInfo>> {
    fill(stream)?;
    stream.start()?;
    frames(stream, count)
}

/// Waits up to a second for a frame.
fn wait(stream: &Stream) -> Result<()> {
    let mut fds = [PollFd::new(stream, PollFlags::IN)];
    let wait = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&wait))?;
    Ok(())
}

/// Captures `count` frames. Each buffer is queued again.
fn frames(stream: &mut Stream, count: usize) -> Result<Vec<FrameInfo>> {
    let until = Instant::now() + TIMEOUT;
    let mut seen = Vec::new();
    while seen.len() < count {
        ensure!(
            Instant::now() < until,
            "the camera delivered {} of {count} frames",
            seen.len()
        );
        match stream.dequeue()? {
            Some(frame) => {
                seen.push(frame);
                stream.queue(frame.index)?;
            }
            None => wait(stream)?,
        }
    }
    Ok(seen)
}
