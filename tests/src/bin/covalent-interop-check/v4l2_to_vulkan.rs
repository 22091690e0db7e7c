//! A camera's pictures as images of Vulkan: the device reads each picture where the camera wrote it.
//!
//! V4L2 has no fences: a picture is complete when DQBUF gives it, and the queue is given a buffer only when everybody is done with
//! it, which is polled for.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::v4l2::{Device, Direction, Queue, Stream};
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::sync::Access;
use covalent_tests::sw_sync::SwSyncTimeline;
use covalent_tests::witness::codec::wait;
use covalent_tests::witness::pixels::{pattern, read, same, write};

use super::exchange::{self, after, finished, goes_on, polls_as};
use super::rows::{Rows, Seen};
use super::world::{Planned, World, judge};

/// Cameras that are tried: of the guest's, one takes pages from anywhere and one memory in one piece.
const CAMERAS: usize = 4;

/// The least of a webcam's sizes; their strides are no powers of two.
fn size() -> Result<Extent> {
    Ok(Extent::new(320, 180)?)
}

pub(crate) fn run(world: &World, rows: &mut Rows) {
    let cameras = cameras();
    if cameras.is_empty() {
        rows.skip("any", "no V4L2 device here captures pictures of this size");
    }
    for (gpu, formats) in &world.gpus {
        let device = &gpu.identity().driver;
        for path in &cameras {
            for fourcc in world.formats(formats) {
                rows.row(format!("{path} to {device} in {fourcc}"), || {
                    streamed(world, gpu, path, fourcc, &look)
                });
            }
            rows.row(format!("{path} to {device} behind a held fence"), || {
                match exchange::cannot_hold(gpu) {
                    Some(seen) => Ok(seen),
                    None => streamed(world, gpu, path, Fourcc::XRGB8888, &early),
                }
            });
            rows.row(
                format!("{path} waits in poll until {device} has read"),
                || match exchange::cannot_hold(gpu) {
                    Some(seen) => Ok(seen),
                    None => streamed(world, gpu, path, Fourcc::XRGB8888, &late),
                },
            );
        }
    }
}

/// Nodes that capture pictures by themselves: not those of devices that convert.
fn cameras() -> Vec<String> {
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

fn streamed(
    world: &World,
    gpu: &Gpu,
    path: &str,
    fourcc: Fourcc,
    look: &dyn Fn(&Gpu, &mut Stream) -> Result<Seen>,
) -> Result<Seen> {
    let queue: Queue = Device::open(path.as_ref())?.queue(Direction::Capture)?;
    let extent = size()?;
    let camera = queue.participant(extent, Some(fourcc))?;
    let own = queue.source(&camera)?;
    let participants = vec![camera, gpu.participant(extent, Some(fourcc))?];
    let mut sources = world.sources.declarations();
    sources.retain(|source| !source.id.as_str().starts_with("gbm:"));
    sources.extend(own.clone());
    let plan = match world.plan(extent, participants, sources) {
        Planned::Plan(plan) => plan,
        Planned::Impossible(why) => return Ok(Seen::Skipped(why)),
    };
    let is_own = own.is_some_and(|own| own.id == *plan.source());
    let stream = if is_own {
        queue.allocate(&plan).map_err(anyhow::Error::from)
    } else {
        world
            .sources
            .allocate(&plan)
            .map_err(anyhow::Error::from)
            .and_then(|buffers| Ok(queue.import(&buffers)?))
    };
    judge(&plan, stream.and_then(|mut stream| look(gpu, &mut stream)))
}

/// Reads a picture with the device and with the processor.
fn look(gpu: &Gpu, stream: &mut Stream) -> Result<Seen> {
    let buffer = first(stream)?;
    let before = pattern(&buffer, 7)?;
    write(&buffer, &before)?;
    let image = gpu.import(&buffer)?;
    for _ in 0..2 {
        stream.queue(0)?;
        stream.start()?;
        wait(stream)?;
        let seen = image.read()?;
        ensure!(seen != before, "the camera wrote nothing");
        same(&seen, &read(&buffer)?).context("device and processor see the camera's picture")?;
        stream.stop()?;
    }
    Ok(Seen::Passed)
}

/// The device is told to read before the camera has written, behind a fence that signals when the picture is complete.
fn early(gpu: &Gpu, stream: &mut Stream) -> Result<Seen> {
    let buffer = first(stream)?;
    let before = pattern(&buffer, 8)?;
    write(&buffer, &before)?;
    let image = gpu.import(&buffer)?;
    let held = SwSyncTimeline::new()?;
    let reading = image.begin_read(after(held.fence(1)?))?;
    goes_on(&reading)?;
    stream.queue(0)?;
    stream.start()?;
    wait(stream)?;
    goes_on(&reading)?;
    held.advance(1)?;
    let seen = finished(&reading)?;
    ensure!(
        seen != before,
        "the device read before the camera had written"
    );
    same(&seen, &read(&buffer)?).context("device and processor see the camera's picture")?;
    Ok(Seen::Passed)
}

/// A reader that is not done keeps the camera away: the queue is deaf, so the buffer's fences are polled before QBUF.
fn late(gpu: &Gpu, stream: &mut Stream) -> Result<Seen> {
    let buffer = first(stream)?;
    let image = gpu.import(&buffer)?;
    stream.queue(0)?;
    stream.start()?;
    wait(stream)?;
    let picture = read(&buffer)?;
    let (slow, done) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    let reading = image.begin_read(after(slow.fence(1)?))?;
    let reservation = buffer.reservation();
    reservation.add(&done.fence(1)?, Access::Read)?;
    ensure!(
        !reservation.is_ready(Access::Write)?,
        "the camera would be given a buffer that is read"
    );
    polls_as(&buffer, true).context("readers do not wait for readers")?;
    slow.advance(1)?;
    same(&finished(&reading)?, &picture)?;
    done.advance(1)?;
    ensure!(reservation.is_ready(Access::Write)?, "it stays busy");
    stream.queue(0)?;
    wait(stream)?;
    Ok(Seen::Passed)
}

fn first(stream: &Stream) -> Result<Buffer> {
    Ok(stream.buffers().first().context("no buffer")?.clone())
}
