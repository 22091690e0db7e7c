//! Checks every capture queue with the buffers of every source. If a plan is guaranteed, the queue must be able to stream.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, Error, Frame, FrameRate, Queue, Stream};
use covalent_alloc::buffer::{Buffer, CpuAccess, Descriptor, DescriptorError, PlaneDescriptor};
use covalent_alloc::constraint::{Contiguity, Participant};
use covalent_alloc::model::{Extent, Fourcc, LayoutError};
use covalent_alloc::solve::{Plan, Request, Solution, Verdict, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::{processor, vga};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{CheckOutcome, CheckRunner};

/// The longest time for the first frames of a camera. The camera and the CPU are emulated.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A minimum size of a buffer in bytes: more than a frame of 640x480 pixels with four bytes a pixel, and a multiple of the page
/// size.
const PADDED_BYTES: u64 = 2 << 20;

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    for (node, contiguity) in [
        ("/dev/video0", Contiguity::Scattered),
        ("/dev/video2", Contiguity::Contiguous),
    ] {
        let open =
            || -> Result<Queue> { Ok(Device::open(node.as_ref())?.queue(Direction::Capture)?) };
        runner.check(&format!("queues::{node}::contiguity_is_detected"), || {
            let participant = open()?.participant(vga()?, None)?;
            let found = participant.constraints().memory.contiguity;
            ensure!(found == contiguity, "{found:?}");
            ensure!(
                contiguity == Contiguity::Scattered
                    || participant.constraints().memory.address.highest == u64::from(u32::MAX),
                "the queue's DMA addresses are not limited to 32 bits"
            );
            let formats = participant
                .constraints()
                .formats
                .as_ref()
                .map_or(0, |formats| formats.len());
            ensure!(formats > 10, "only {formats} formats");
            Ok(CheckOutcome::Passed)
        });
        for source in sources.declarations() {
            for fourcc in [Fourcc::XRGB8888, Fourcc::NV12] {
                runner.check(
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
                                return Ok(CheckOutcome::Skipped(
                                    solution.explain().replace('\n', "; "),
                                ));
                            }
                        };
                        let verdict = plan.verdict();
                        let buffers = sources.allocate(&plan)?;
                        let streamed = queue.import(&buffers).map_err(Into::into).and_then(stream);
                        match (verdict, streamed) {
                            (_, Ok(())) => Ok(CheckOutcome::Passed),
                            (Verdict::Guaranteed, Err(error)) => {
                                Err(error
                                    .context("streaming failed although the plan is guaranteed"))
                            }
                            (_, Err(error)) => Ok(CheckOutcome::Skipped(format!(
                                "streaming is possible but not guaranteed, and failed: {error:#}"
                            ))),
                        }
                    },
                );
            }
        }
        runner.check(&format!("queues::{node}::own_memory_streams"), || {
            let queue = open()?;
            let plan = plan_own_memory(&queue, 3, None)?;
            ensure!(
                plan.verdict() == Verdict::Guaranteed,
                "the plan for the queue's own memory is not guaranteed"
            );
            stream(queue.allocate(&plan)?)?;
            Ok(CheckOutcome::Passed)
        });
        runner.check(
            &format!("queues::{node}::own_memory_has_the_size_that_others_need"),
            || {
                let queue = open()?;
                // A codec that writes bytes after the last row declares a minimum size of its buffers.
                let mut codec = processor(Fourcc::XRGB8888);
                codec.for_each_choice(|own| own.image.minimum_size_bytes = PADDED_BYTES);
                let plan = plan_own_memory(&queue, 3, Some(codec))?;
                let stream = queue.allocate(&plan)?;
                for buffer in stream.buffers() {
                    let memory = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
                    let bytes = rustix::fs::seek(memory, rustix::fs::SeekFrom::End(0))?;
                    ensure!(
                        bytes >= PADDED_BYTES,
                        "a buffer has {bytes} bytes, less than the codec needs"
                    );
                }
                self::stream(stream)?;
                Ok(CheckOutcome::Passed)
            },
        );
        runner.check(
            &format!("queues::{node}::buffer_that_is_too_small_is_refused_by_the_crate"),
            || {
                let queue = open()?;
                let small = allocate_for_cpu(&sources, Extent::new(320, 180)?, Fourcc::XRGB8888)?;
                let large = allocate_for_cpu(&sources, vga()?, Fourcc::XRGB8888)?;
                // The kernel would accept such a buffer in REQBUFS and leak it in QBUF. covalent-alloc refuses a descriptor whose
                // dma-buf is smaller than its layout, so no such buffer reaches the kernel.
                for buffer in small.iter().cycle().take(20) {
                    let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
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
                        Err(error) => {
                            return Err(error)
                                .context("the import failed with an unexpected error");
                        }
                        Ok(_) => bail!("a descriptor whose dma-buf is too small was accepted"),
                    }
                }
                if node == "/dev/video0" {
                    stream(queue.import(&large)?)
                        .context("stream after the descriptors were refused")?;
                }
                Ok(CheckOutcome::Passed)
            },
        );
        runner.check(
            &format!("queues::{node}::buffers_of_two_layouts_are_refused_by_the_crate"),
            || {
                let queue = open()?;
                let mut mixed = allocate_for_cpu(&sources, vga()?, Fourcc::XRGB8888)?;
                mixed.extend(allocate_for_cpu(
                    &sources,
                    Extent::new(320, 180)?,
                    Fourcc::XRGB8888,
                )?);
                match queue.import(&mixed) {
                    Err(Error::Layouts { index: 2, .. }) => {}
                    Err(error) => {
                        return Err(error).context("the import failed with an unexpected error");
                    }
                    Ok(_) => bail!("the queue accepted buffers of two layouts"),
                }
                ensure!(
                    matches!(queue.import(&[]), Err(Error::NoBuffers { .. })),
                    "the queue accepted an empty list of buffers"
                );
                Ok(CheckOutcome::Passed)
            },
        );
        runner.check(
            &format!("queues::{node}::invalid_index_leaves_the_stream_unchanged"),
            || {
                let queue = open()?;
                let plan = plan_own_memory(&queue, 3, None)?;
                let mut own = queue.allocate(&plan)?;
                ensure!(
                    matches!(own.queue(99), Err(Error::Index { .. })),
                    "a buffer with index 99 was queued"
                );
                own.queue(0)?;
                ensure!(
                    matches!(own.queue(0), Err(Error::Index { .. })),
                    "the buffer with index 0 was queued twice"
                );
                own.stop()?;
                stream(own)?;
                Ok(CheckOutcome::Passed)
            },
        );
        runner.check(
            &format!("queues::{node}::frame_that_is_held_keeps_its_buffer_from_the_device"),
            || frame_in_use(&open()?),
        );
        runner.check(
            &format!("queues::{node}::frame_that_outlives_its_stream_harms_nothing"),
            || outliving_frame(&open()?),
        );
        runner.check(
            &format!("queues::{node}::listed_frame_rate_can_be_set"),
            || {
                let queue = open()?;
                let format = queue.current_format()?;
                let rates = queue.frame_rates(format.pixel_format, format.extent)?;
                ensure!(
                    rates.windows(2).all(|pair| pair.first() >= pair.last()),
                    "the frame rates are not sorted from the fastest on: {rates:?}"
                );
                let fastest = *rates.first().context("the queue lists no frame rate")?;
                // The camera keeps the rate that was set last. The last rate of this list is one that an emulated CPU can
                // sustain.
                let usual = FrameRate::new(30, 1).filter(|rate| rates.contains(rate));
                for rate in [
                    fastest,
                    usual.context("the queue does not list 30 frames a second")?,
                ] {
                    let set = queue.set_frame_rate(rate)?;
                    ensure!(
                        set == Some(rate),
                        "the driver set {set:?} instead of {rate}"
                    );
                }
                Ok(CheckOutcome::Passed)
            },
        );
        runner.check(&format!("queues::{node}::second_owner_gets_busy"), || {
            let queue = open()?;
            let plan = plan_own_memory(&queue, 1, None)?;
            let _own = queue.allocate(&plan)?;
            let second = open()?;
            ensure!(
                matches!(second.allocate(&plan), Err(Error::Busy { .. })),
                "a second open file allocated buffers of a busy queue"
            );
            let unknown = second.participant(vga()?, Some(Fourcc::XRGB8888))?;
            ensure!(
                unknown.constraints().memory.contiguity == Contiguity::Unknown,
                "the contiguity of a busy queue is not unknown"
            );
            Ok(CheckOutcome::Passed)
        });
    }
}

/// Allocates two buffers that only the CPU accesses.
fn allocate_for_cpu(sources: &Sources, extent: Extent, fourcc: Fourcc) -> Result<Vec<Buffer>> {
    let request = Request {
        count: 2,
        participants: vec![processor(fourcc)],
        sources: sources.declarations(),
        ..Request::new(extent)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan for the CPU")
    };
    Ok(sources.allocate(&plan)?)
}

/// Plans buffers of the queue's own memory for the queue, and for `other` if it is given.
fn plan_own_memory(queue: &Queue, count: u32, other: Option<Participant>) -> Result<Plan> {
    let camera = queue.participant(vga()?, Some(Fourcc::XRGB8888))?;
    let source = queue
        .source(&camera)?
        .context("the queue exports no dma-bufs")?;
    let request = Request {
        count,
        participants: std::iter::once(camera).chain(other).collect(),
        sources: vec![source],
        ..Request::new(vga()?)
    };
    let Solution::Share(plan) = solve(&request) else {
        bail!("the solver has no plan for the queue's own memory")
    };
    Ok(plan)
}

/// Streams two frames for each buffer, and checks their timestamps and that their first row is not empty.
fn stream(mut stream: Stream) -> Result<()> {
    let count = stream.buffers().len();
    fill(&mut stream)?;
    let mut last = None;
    for _ in 0..count.saturating_mul(2) {
        let frame = wait_for_frame(&mut stream)?;
        let info = frame.info();
        ensure!(!info.is_damaged, "a frame is damaged");
        ensure!(
            info.is_monotonic,
            "a frame's timestamp is not of CLOCK_MONOTONIC"
        );
        // On a busy machine vivid may give two frames the same sequence number, but not the same timestamp.
        let now = (info.sequence, info.timestamp);
        ensure!(
            last.is_none_or(|(sequence, timestamp)| now.0 >= sequence && now.1 > timestamp),
            "sequence and timestamp are {now:?} after {last:?}"
        );
        last = Some(now);
        ensure!(
            row(&frame)?.iter().any(|byte| *byte != 0),
            "the first row of a frame is empty"
        );
    }
    Ok(())
}

/// Queues every buffer and starts the stream.
fn fill(stream: &mut Stream) -> Result<()> {
    for index in 0..stream.buffers().len() {
        stream.queue(index)?;
    }
    Ok(stream.start()?)
}

/// Waits for a frame.
fn wait_for_frame(stream: &mut Stream) -> Result<Frame> {
    let until = Instant::now() + TIMEOUT;
    loop {
        ensure!(Instant::now() < until, "the camera delivered no frame");
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

/// Reads the first 640 bytes of a frame.
fn row(frame: &Frame) -> Result<Vec<u8>> {
    let mut row = vec![0; 640];
    frame
        .buffer()
        .map()?
        .access(CpuAccess::Read)?
        .read(0, 0, &mut row)?;
    Ok(row)
}

/// Checks that the buffer of a frame is queued only after the last clone of the frame is dropped, on any thread.
fn frame_in_use(queue: &Queue) -> Result<CheckOutcome> {
    let mut stream = queue.allocate(&plan_own_memory(queue, 3, None)?)?;
    fill(&mut stream)?;
    let held = wait_for_frame(&mut stream)?;
    let (index, clone) = (held.info().index, held.clone());
    drop(held);
    let written = row(&clone)?;
    for _ in 0..6 {
        let frame = wait_for_frame(&mut stream)?;
        ensure!(
            frame.info().index != index,
            "the buffer of a frame in use was captured into"
        );
    }
    ensure!(
        matches!(stream.queue(index), Err(Error::Index { .. })),
        "the buffer of a frame in use was queued"
    );
    ensure!(
        row(&clone)? == written,
        "the device wrote to the buffer of a frame in use"
    );
    let before = stream.queued_count();
    std::thread::spawn(move || drop(clone))
        .join()
        .map_err(|_| anyhow!("the thread that drops the frame panicked"))?;
    ensure!(
        stream.queued_count() == before + 1,
        "the dropped frame's buffer was not queued: {before} buffers were queued before, and {} after",
        stream.queued_count()
    );
    for _ in 0..9 {
        if wait_for_frame(&mut stream)?.info().index == index {
            return Ok(CheckOutcome::Passed);
        }
    }
    bail!("the camera never captures into the dropped frame's buffer")
}

/// Checks frames that are dropped after their stream was stopped, was started again, or was dropped.
fn outliving_frame(queue: &Queue) -> Result<CheckOutcome> {
    let plan = plan_own_memory(queue, 3, None)?;
    let mut stream = queue.allocate(&plan)?;
    fill(&mut stream)?;
    let (stopped, again) = (wait_for_frame(&mut stream)?, wait_for_frame(&mut stream)?);
    stream.stop()?;
    let index = stopped.info().index;
    drop(stopped);
    ensure!(
        stream.queued_count() == 0,
        "dropping a frame of a stopped stream queued its buffer"
    );
    stream
        .queue(index)
        .context("queue the buffer of a frame that was dropped after the stop")?;
    stream.start()?;
    drop(again);
    ensure!(
        stream.queued_count() == 2,
        "dropping a frame after the restart did not queue its buffer"
    );
    let last = wait_for_frame(&mut stream)?;
    drop(stream);
    let written = row(&last).context("read the frame of a dropped stream")?;
    ensure!(
        written.iter().any(|byte| *byte != 0),
        "the first row of a frame is empty"
    );
    // While the frame is in use, the queue and its other buffers can be used again.
    self::stream(
        queue
            .allocate(&plan)
            .context("start a new stream while the frame is in use")?,
    )?;
    drop(last);
    self::stream(
        queue
            .allocate(&plan)
            .context("start a new stream after the frame was dropped")?,
    )?;
    Ok(CheckOutcome::Passed)
}
