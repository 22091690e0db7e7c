//! What Vulkan draws goes into a video output: the queue reads the buffer where the device wrote it.
//!
//! vim2m is such an output that gives back what it was given, and vivid's HDMI output leads to a camera; a real output shows it to
//! nobody who could compare.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Queue};
use covalent_alloc::backend::vulkan::{Gpu, Image};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Verdict};
use covalent_tests::sw_sync::SwSyncTimeline;
use covalent_tests::witness::codec::{node, queues, wait};
use covalent_tests::witness::pixels::{pattern, read, same, write};
use covalent_tests::witness::processor;

use super::exchange::{self, PATIENCE, after, draw, goes_on};
use super::hdmi;
use super::rows::{Rows, Seen};
use super::world::{Planned, World, judge};

const DRIVER: &str = "vim2m";

/// Its sides are multiples of 8; its rows are none of 64 bytes.
fn size() -> Result<Extent> {
    Ok(Extent::new(328, 72)?)
}

pub(crate) fn run(world: &World, rows: &mut Rows) {
    let (converts, cable) = (node(DRIVER, |_| true).is_ok(), hdmi::find());
    if !converts {
        rows.skip(
            "vim2m",
            "no video output here gives back what it was given: modprobe vim2m brings one",
        );
    }
    if cable.is_none() {
        rows.skip(
            "HDMI",
            "no video output here leads to a camera: modprobe vivid brings one",
        );
    }
    for (gpu, formats) in &world.gpus {
        let device = &gpu.identity().driver;
        if let Some(cable) = &cable {
            for fourcc in world.formats(formats) {
                rows.row(format!("{device} to vivid's HDMI in {fourcc}"), || {
                    cable.send(world, gpu, fourcc)
                });
            }
        }
        if !converts {
            continue;
        }
        for fourcc in [Fourcc::RGB565, Fourcc::RGB888, Fourcc::BGR888] {
            if formats.iter().any(|format| format.fourcc == fourcc) {
                rows.row(format!("{device} to {DRIVER} in {fourcc}"), || {
                    sent(world, gpu, fourcc, &|image, pixels| draw(image, pixels))
                });
            }
        }
        rows.row(
            format!("{device} to {DRIVER} behind a held fence"),
            || match exchange::cannot_hold(gpu) {
                Some(seen) => Ok(seen),
                None => sent(world, gpu, Fourcc::RGB565, &polled),
            },
        );
    }
}

type Draw<'a> = &'a dyn Fn(&Image, &[Vec<u8>]) -> Result<()>;

/// The queue knows no fences: it is given the buffer when the device's work, which is held back, is over.
fn polled(image: &Image, pixels: &[Vec<u8>]) -> Result<()> {
    let held = SwSyncTimeline::new()?;
    let writing = image.begin_write(pixels, after(held.fence(1)?))?;
    goes_on(&writing)?;
    held.advance(1)?;
    ensure!(writing.wait(PATIENCE)?, "the device does not end");
    Ok(())
}

fn sent(world: &World, gpu: &Gpu, fourcc: Fourcc, draw: Draw<'_>) -> Result<Seen> {
    let device = Device::open(&node(DRIVER, |_| true)?)?;
    let (output, capture) = queues(&device)?;
    let extent = size()?;
    let plan = match planned(world, gpu, &output, extent, fourcc)? {
        Planned::Plan(plan) => plan,
        Planned::Impossible(why) => return Ok(Seen::Skipped(why)),
    };
    let attempt = || -> Result<Seen> {
        let buffers = world.sources.allocate(&plan)?;
        let from = buffers.first().context("no buffer")?;
        let back = returned(world, &capture, fourcc)?;
        let into = back.first().context("no buffer")?;
        let (pixels, before) = (pattern(from, 9)?, pattern(into, 10)?);
        write(into, &before)?;
        let image = gpu.import(from)?;
        let mut reader = output.import(&buffers)?;
        let mut writer = capture.import(&back)?;
        writer.queue(0)?;
        writer.start()?;
        reader.start()?;
        draw(&image, &pixels)?;
        reader.queue(0)?;
        wait(&mut writer)?;
        same(&read(into)?, &pixels).context("the output was given what the device drew")?;
        Ok(Seen::Passed)
    };
    judge(&plan, attempt())
}

/// The plan of what the device draws and the queue sends.
pub(crate) fn planned(
    world: &World,
    gpu: &Gpu,
    output: &Queue,
    extent: Extent,
    fourcc: Fourcc,
) -> Result<Planned> {
    let participants = vec![
        gpu.participant(extent, Some(fourcc))?,
        output.participant(extent, Some(fourcc))?,
    ];
    let mut sources = world.sources.declarations();
    sources.retain(|source| !source.id.as_str().starts_with("gbm:"));
    Ok(world.plan(extent, participants, sources))
}

/// The plan of heaps' memory into which a queue captures what was sent, for the processor to compare.
pub(crate) fn planned_back(
    world: &World,
    capture: &Queue,
    extent: Extent,
    fourcc: Fourcc,
) -> Result<Box<Plan>> {
    let participants = vec![
        processor(fourcc),
        capture.participant(extent, Some(fourcc))?,
    ];
    let mut sources = world.sources.declarations();
    sources.retain(|source| source.id.as_str().starts_with("heap:"));
    match world.plan(extent, participants, sources) {
        Planned::Plan(plan) => Ok(plan),
        Planned::Impossible(why) => bail!("no memory for what comes back: {why}"),
    }
}

/// Buffers for what comes back.
fn returned(world: &World, capture: &Queue, fourcc: Fourcc) -> Result<Vec<Buffer>> {
    let plan = planned_back(world, capture, size()?, fourcc)?;
    ensure!(plan.verdict() == Verdict::Guaranteed, "by luck only");
    Ok(world.sources.allocate(&plan)?)
}
