//! A camera's buffers are imported as Vulkan images, and the device reads each picture in the buffer that the camera wrote.
//!
//! V4L2 has no fences. A picture is complete when VIDIOC_DQBUF returns it. Before VIDIOC_QBUF the program polls the dma-buf until
//! all readers of the buffer have completed.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, Queue, Stream};
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::sync::Access;
use covalent_tests::check_support::codec::wait;
use covalent_tests::check_support::pixels::{pattern, read, same, write};
use covalent_tests::sw_sync::SwSyncTimeline;

use super::exchange::{self, expect_pending, expect_ready, pixels_when_done, submission_after};
use super::rows::{RowOutcome, Rows};
use super::test_machine::{PlanResult, TestMachine, classify};

/// The maximum number of cameras that are used. One camera of the guest supports scattered memory; another camera needs
/// contiguous memory.
const CAMERAS: usize = 4;

/// Returns the smallest size of vivid's webcam input. Its strides are no powers of two.
fn size() -> Result<Extent> {
    Ok(Extent::new(320, 180)?)
}

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    let cameras = cameras();
    if cameras.is_empty() {
        rows.skip("any", "no V4L2 device of this machine captures pictures");
    }
    for (gpu, formats) in &machine.gpus {
        let device = &gpu.identity().driver;
        for path in &cameras {
            for fourcc in machine.formats(formats) {
                rows.row(format!("{path} to {device} in {fourcc}"), || {
                    streamed(machine, gpu, path, fourcc, &read_captured)
                });
            }
            rows.row(format!("{path} to {device} after a pending fence"), || {
                match exchange::fences_unavailable(gpu) {
                    Some(skipped) => Ok(skipped),
                    None => streamed(
                        machine,
                        gpu,
                        path,
                        Fourcc::XRGB8888,
                        &read_submitted_before_capture,
                    ),
                }
            });
            rows.row(
                format!("{path} waits in poll until {device} has read"),
                || match exchange::fences_unavailable(gpu) {
                    Some(skipped) => Ok(skipped),
                    None => streamed(
                        machine,
                        gpu,
                        path,
                        Fourcc::XRGB8888,
                        &queue_polled_after_read,
                    ),
                },
            );
        }
    }
}

/// Returns the nodes of cameras: video nodes that capture and, unlike mem-to-mem devices, have no output queue.
pub(crate) fn cameras() -> Vec<String> {
    (0..64)
        .map(|number| format!("/dev/video{number}"))
        .filter(|path| {
            Device::open(path.as_ref()).is_ok_and(|device| {
                let is_there = |direction| device.queue(direction).is_ok();
                is_there(Direction::Capture) && !is_there(Direction::Output)
            })
        })
        .take(CAMERAS)
        .collect()
}

/// Streams from a camera into a buffer that the device has imported, and calls `check`.
fn streamed(
    machine: &TestMachine,
    gpu: &Gpu,
    path: &str,
    fourcc: Fourcc,
    check: &dyn Fn(&Gpu, &mut Stream) -> Result<RowOutcome>,
) -> Result<RowOutcome> {
    let queue: Queue = Device::open(path.as_ref())?.queue(Direction::Capture)?;
    let extent = size()?;
    let camera = queue.participant(extent, Some(fourcc))?;
    let own = queue.source(&camera)?;
    let participants = vec![camera, gpu.participant(extent, Some(fourcc))?];
    let mut sources = machine.sources.declarations();
    sources.retain(|source| !source.id.as_str().starts_with("gbm:"));
    sources.extend(own.clone());
    let plan = match machine.plan(extent, participants, sources) {
        PlanResult::Plan(plan) => plan,
        PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
    };
    let is_own = own.is_some_and(|own| own.id == *plan.source());
    let stream = if is_own {
        queue.allocate(&plan).map_err(anyhow::Error::from)
    } else {
        machine
            .sources
            .allocate(&plan)
            .map_err(anyhow::Error::from)
            .and_then(|buffers| Ok(queue.import(&buffers)?))
    };
    classify(&plan, stream.and_then(|mut stream| check(gpu, &mut stream)))
}

/// Checks that the device and the CPU read the same picture.
fn read_captured(gpu: &Gpu, stream: &mut Stream) -> Result<RowOutcome> {
    let buffer = first_buffer(stream)?;
    let before = pattern(&buffer, 7)?;
    write(&buffer, &before)?;
    let image = gpu.import(&buffer)?;
    for _ in 0..2 {
        stream.queue(0)?;
        stream.start()?;
        wait(stream)?;
        let picture = image.read()?;
        ensure!(picture != before, "the camera did not write to the buffer");
        same(&picture, &read(&buffer)?)
            .context("the device and the CPU must read the same picture of the camera")?;
        stream.stop()?;
    }
    Ok(RowOutcome::Passed)
}

/// Submits the device's read before the camera writes, with a fence that is signalled when the picture is complete.
fn read_submitted_before_capture(gpu: &Gpu, stream: &mut Stream) -> Result<RowOutcome> {
    let buffer = first_buffer(stream)?;
    let before = pattern(&buffer, 8)?;
    write(&buffer, &before)?;
    let image = gpu.import(&buffer)?;
    let sw_sync = SwSyncTimeline::new()?;
    let reading = image.begin_read(submission_after(sw_sync.fence(1)?))?;
    expect_pending(&reading)?;
    stream.queue(0)?;
    stream.start()?;
    wait(stream)?;
    expect_pending(&reading)?;
    sw_sync.advance(1)?;
    let picture = pixels_when_done(&reading)?;
    ensure!(
        picture != before,
        "the device read before the camera had written"
    );
    same(&picture, &read(&buffer)?)
        .context("the device and the CPU must read the same picture of the camera")?;
    Ok(RowOutcome::Passed)
}

/// Checks that the dma-buf of a pending reader polls as busy. The queue does not wait for fences, so the program polls the
/// dma-buf before VIDIOC_QBUF.
fn queue_polled_after_read(gpu: &Gpu, stream: &mut Stream) -> Result<RowOutcome> {
    let buffer = first_buffer(stream)?;
    let image = gpu.import(&buffer)?;
    stream.queue(0)?;
    stream.start()?;
    wait(stream)?;
    let picture = read(&buffer)?;
    let (slow, done) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    let reading = image.begin_read(submission_after(slow.fence(1)?))?;
    let reservation = buffer.reservation();
    reservation.add(&done.fence(1)?, Access::Read)?;
    ensure!(
        !reservation.is_ready(Access::Write)?,
        "the dma-buf polls as ready for writing while the device reads it"
    );
    expect_ready(&buffer, true).context("a reader must not wait for another reader")?;
    slow.advance(1)?;
    same(&pixels_when_done(&reading)?, &picture)?;
    done.advance(1)?;
    ensure!(
        reservation.is_ready(Access::Write)?,
        "the dma-buf polls as busy after the last reader"
    );
    stream.queue(0)?;
    wait(stream)?;
    Ok(RowOutcome::Passed)
}

fn first_buffer(stream: &Stream) -> Result<Buffer> {
    Ok(stream
        .buffers()
        .first()
        .context("the source allocated no buffer")?
        .clone())
}
