//! Every capture queue against every source: what is guaranteed streams, and what is refused was said to be impossible.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, Error, Frame, FrameRate, Queue, Stream};
use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor, DescriptorError, PlaneDescriptor};
use covalent_alloc::constraint::{Contiguity, Participant};
use covalent_alloc::model::{Extent, Fourcc, LayoutError};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_tests::witness::Sources;
use covalent_tests::witness::{processor, vga};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Seen, Tally};

/// How long a camera may take for its first frames: it and the processor are emulated.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than a frame of 640x480 in four bytes a pixel has, and in whole pages.
const WASTEFUL_BYTES: u64 = 2 << 20;

pub(crate) fn run(tally: &mut Tally) {
    let sources = Sources::discover();
    for (node, contiguity) in [
        ("/dev/video0", Contiguity::Scattered),
        ("/dev/video2", Contiguity::Contiguous),
    ] {
        let open =
            || -> Result<Queue> { Ok(Device::open(node.as_ref())?.queue(Direction::Capture)?) };
        tally.check(
            &format!("queues::{node}::memory_is_judged_by_evidence"),
            || {
                let participant = open()?.participant(vga()?, None)?;
                let found = participant.constraints().memory.contiguity;
                ensure!(found == contiguity, "{found:?}");
                ensure!(
                    contiguity == Contiguity::Scattered
                        || participant.constraints().memory.address.highest == u64::from(u32::MAX),
                    "its reach is not 32 bits"
                );
                let formats = participant
                    .constraints()
                    .formats
                    .as_ref()
                    .map_or(0, |formats| formats.len());
                ensure!(formats > 10, "only {formats} formats");
                Ok(Seen::Passed)
            },
        );
        for source in sources.declarations() {
            for fourcc in [Fourcc::XRGB8888, Fourcc::NV12] {
                tally.check(
                    &format!("queues::{node}::{fourcc}_from_{}", source.id),
                    || {
                        let queue = open()?;
                        let camera = queue.participant(vga()?, Some(fourcc))?;
                        let request = Request {
                            count: 3,
                            participants: vec![camera],
                            sources: vec![source.clone()],
                            ..Request::new(vga()?)
                        };
                        let plan = match solve(&request) {
                            Solution::Share(plan) => plan,
                            solution => {
                                return Ok(Seen::Skipped(solution.explain().replace('\n', "; ")));
                            }
                        };
                        let verdict = plan.verdict();
                        let buffers = sources.allocate(&plan)?;
                        let streamed = queue.import(&buffers).map_err(Into::into).and_then(stream);
                        match (verdict, streamed) {
                            (_, Ok(())) => Ok(Seen::Passed),
                            (Verdict::Guaranteed, Err(error)) => {
                                Err(error.context("guaranteed, and yet"))
                            }
                            (_, Err(error)) => Ok(Seen::Skipped(format!(
                                "possible, and not this time: {error:#}"
                            ))),
                        }
                    },
                );
            }
        }
        tally.check(&format!("queues::{node}::own_memory_streams"), || {
            let queue = open()?;
            let plan = own(&queue, 3, None)?;
            ensure!(
                plan.verdict() == Verdict::Guaranteed,
                "its own memory is not sure"
            );
            stream(queue.allocate(&plan)?)?;
            Ok(Seen::Passed)
        });
        tally.check(
            &format!("queues::{node}::own_memory_is_as_large_as_others_need"),
            || {
                let queue = open()?;
                // As a codec does that writes past the last row.
                let mut wasteful = processor(Fourcc::XRGB8888);
                wasteful.for_each_choice(|own| own.image.minimum_size_bytes = WASTEFUL_BYTES);
                let plan = own(&queue, 3, Some(wasteful))?;
                let stream = queue.allocate(&plan)?;
                for buffer in stream.buffers() {
                    let memory = buffer.dmabuf_fd(0).context("no memory")?;
                    let bytes = rustix::fs::seek(memory, rustix::fs::SeekFrom::End(0))?;
                    ensure!(bytes >= WASTEFUL_BYTES, "{bytes} bytes");
                }
                self::stream(stream)?;
                Ok(Seen::Passed)
            },
        );
        tally.check(
            &format!("queues::{node}::buffer_too_small_is_refused_before_the_kernel"),
            || {
                let queue = open()?;
                let small = plain(&sources, Extent::new(320, 180)?, Fourcc::XRGB8888)?;
                let large = plain(&sources, vga()?, Fourcc::XRGB8888)?;
                // The kernel would take such a buffer at REQBUFS and leak it at QBUF. No buffer of ours is smaller than its
                // layout, so it is refused where it is described.
                for buffer in small.iter().cycle().take(20) {
                    let fd = buffer.dmabuf_fd(0).context("no memory")?;
                    let described = Descriptor {
                        extent: vga()?,
                        format: buffer.layout().format(),
                        planes: vec![PlaneDescriptor {
                            fd: fd.try_clone_to_owned()?,
                            offset_bytes: 0,
                            stride_bytes: 640 * 4,
                        }],
                    };
                    match Buffer::import(described) {
                        Err(DescriptorError::Layout(LayoutError::OutOfBounds { .. })) => {}
                        Err(error) => return Err(error).context("another error"),
                        Ok(_) => bail!("it was taken"),
                    }
                }
                if node == "/dev/video0" {
                    stream(queue.import(&large)?).context("after that")?;
                }
                Ok(Seen::Passed)
            },
        );
        tally.check(
            &format!("queues::{node}::buffers_of_two_layouts_are_refused_before_the_kernel"),
            || {
                let queue = open()?;
                let mut mixed = plain(&sources, vga()?, Fourcc::XRGB8888)?;
                mixed.extend(plain(&sources, Extent::new(320, 180)?, Fourcc::XRGB8888)?);
                match queue.import(&mixed) {
                    Err(Error::Layouts { index: 2, .. }) => {}
                    Err(error) => return Err(error).context("another error"),
                    Ok(_) => bail!("they were taken"),
                }
                ensure!(
                    matches!(queue.import(&[]), Err(Error::NoBuffers { .. })),
                    "a stream of no buffers"
                );
                Ok(Seen::Passed)
            },
        );
        tally.check(
            &format!("queues::{node}::index_that_is_wrong_leaves_the_stream_as_it_was"),
            || {
                let queue = open()?;
                let plan = own(&queue, 3, None)?;
                let mut own = queue.allocate(&plan)?;
                ensure!(
                    matches!(own.queue(99), Err(Error::Index { .. })),
                    "index 99 was taken"
                );
                own.queue(0)?;
                ensure!(
                    matches!(own.queue(0), Err(Error::Index { .. })),
                    "index 0 was taken twice"
                );
                own.stop()?;
                stream(own)?;
                Ok(Seen::Passed)
            },
        );
        tally.check(
            &format!("queues::{node}::frame_that_is_held_keeps_its_buffer_from_the_device"),
            || held(&open()?),
        );
        tally.check(
            &format!("queues::{node}::frame_that_outlives_its_stream_harms_nothing"),
            || outlives(&open()?),
        );
        tally.check(
            &format!("queues::{node}::frame_rate_that_is_set_is_one_that_was_listed"),
            || {
                let queue = open()?;
                let format = queue.current_format()?;
                let rates = queue.frame_rates(format.pixel_format, format.extent)?;
                ensure!(
                    rates.windows(2).all(|pair| pair.first() >= pair.last()),
                    "the fastest is not first: {rates:?}"
                );
                let fastest = *rates.first().context("no rate is listed")?;
                // The last one is what the camera keeps, and what an emulated processor can do.
                let usual = FrameRate::new(30, 1).filter(|rate| rates.contains(rate));
                for rate in [fastest, usual.context("30 is not listed")?] {
                    let set = queue.set_frame_rate(rate)?;
                    ensure!(set == Some(rate), "{rate} was asked, {set:?} set");
                }
                Ok(Seen::Passed)
            },
        );
        tally.check(
            &format!("queues::{node}::second_owner_is_told_busy"),
            || {
                let queue = open()?;
                let plan = own(&queue, 1, None)?;
                let _own = queue.allocate(&plan)?;
                let second = open()?;
                ensure!(
                    matches!(second.allocate(&plan), Err(Error::Busy { .. })),
                    "two owners"
                );
                let unknown = second.participant(vga()?, Some(Fourcc::XRGB8888))?;
                ensure!(
                    unknown.constraints().memory.contiguity == Contiguity::Unknown,
                    "the memory of a busy queue cannot be known"
                );
                Ok(Seen::Passed)
            },
        );
    }
}

/// Two buffers that the processor alone has asked for.
fn plain(sources: &Sources, extent: Extent, fourcc: Fourcc) -> Result<Vec<Buffer>> {
    let request = Request {
        count: 2,
        participants: vec![processor(fourcc)],
        sources: sources.declarations(),
        ..Request::new(extent)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan")
    };
    Ok(sources.allocate(&plan)?)
}

/// A plan for the queue's own memory, which another may use too.
fn own(queue: &Queue, count: u32, other: Option<Participant>) -> Result<Plan> {
    let camera = queue.participant(vga()?, Some(Fourcc::XRGB8888))?;
    let source = queue.source(&camera)?.context("it exports nothing")?;
    let request = Request {
        count,
        participants: std::iter::once(camera).chain(other).collect(),
        sources: vec![source],
        ..Request::new(vga()?)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("no plan from its own memory")
    };
    Ok(plan)
}

/// Streams some frames, each buffer twice at least, and looks whether there is something in them.
fn stream(mut stream: Stream) -> Result<()> {
    let count = stream.buffers().len();
    fill(&mut stream)?;
    let mut last = None;
    for _ in 0..count.saturating_mul(2) {
        let frame = next(&mut stream)?;
        let info = frame.info();
        ensure!(!info.is_damaged, "a damaged frame");
        ensure!(info.is_monotonic, "a timestamp of an unknown clock");
        // A driver that is late on a busy machine gives two frames one number, but never one time.
        let now = (info.sequence, info.timestamp);
        ensure!(
            last.is_none_or(|(sequence, timestamp)| now.0 >= sequence && now.1 > timestamp),
            "frame {now:?} after {last:?}"
        );
        last = Some(now);
        ensure!(
            row(&frame)?.iter().any(|byte| *byte != 0),
            "the first row is empty"
        );
    }
    Ok(())
}

/// Gives the device every buffer, and lets it begin.
fn fill(stream: &mut Stream) -> Result<()> {
    for index in 0..stream.buffers().len() {
        stream.queue(index)?;
    }
    Ok(stream.start()?)
}

/// Waits for a frame.
fn next(stream: &mut Stream) -> Result<Frame> {
    let until = Instant::now() + PATIENCE;
    loop {
        ensure!(Instant::now() < until, "no frame came");
        let mut fds = [PollFd::new(&*stream, PollFlags::IN)];
        let wait = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&wait))?;
        if let Some(frame) = stream.next_frame()? {
            return Ok(frame);
        }
    }
}

/// The first row of a frame.
fn row(frame: &Frame) -> Result<Vec<u8>> {
    let mut row = vec![0; 640];
    frame
        .buffer()
        .map()?
        .access(CpuAccess::Read)?
        .read(0, 0, &mut row)?;
    Ok(row)
}

/// A frame keeps its buffer from the device until its last clone is dropped, on whatever thread that is.
fn held(queue: &Queue) -> Result<Seen> {
    let mut stream = queue.allocate(&own(queue, 3, None)?)?;
    fill(&mut stream)?;
    let held = next(&mut stream)?;
    let (index, clone) = (held.info().index, held.clone());
    drop(held);
    let written = row(&clone)?;
    for _ in 0..6 {
        let frame = next(&mut stream)?;
        ensure!(frame.info().index != index, "it was lent twice");
    }
    ensure!(
        matches!(stream.queue(index), Err(Error::Index { .. })),
        "the buffer of a frame was taken"
    );
    ensure!(row(&clone)? == written, "the device wrote to it");
    let before = stream.queued_count();
    std::thread::spawn(move || drop(clone))
        .join()
        .map_err(|_| anyhow!("the thread that drops it panicked"))?;
    ensure!(
        stream.queued_count() == before + 1,
        "it did not go back: {before}, then {}",
        stream.queued_count()
    );
    for _ in 0..9 {
        if next(&mut stream)?.info().index == index {
            return Ok(Seen::Passed);
        }
    }
    bail!("its buffer never comes again")
}

/// A frame that is dropped when its stream has stopped, streams again or is gone.
fn outlives(queue: &Queue) -> Result<Seen> {
    let plan = own(queue, 3, None)?;
    let mut stream = queue.allocate(&plan)?;
    fill(&mut stream)?;
    let (stopped, again) = (next(&mut stream)?, next(&mut stream)?);
    stream.stop()?;
    let index = stopped.info().index;
    drop(stopped);
    ensure!(
        stream.queued_count() == 0,
        "a device that has stopped was given a buffer"
    );
    stream.queue(index).context("it is the caller's")?;
    stream.start()?;
    drop(again);
    ensure!(
        stream.queued_count() == 2,
        "a device that streams again was not given the frame's buffer"
    );
    let last = next(&mut stream)?;
    drop(stream);
    let written = row(&last).context("the memory of a stream that is gone")?;
    ensure!(written.iter().any(|byte| *byte != 0), "its row is empty");
    // The frame keeps neither the queue nor its buffers.
    self::stream(queue.allocate(&plan).context("while it is held")?)?;
    drop(last);
    self::stream(queue.allocate(&plan).context("afterwards")?)?;
    Ok(Seen::Passed)
}
