//! Vulkan and a V4L2 output queue: the queue reads the buffer that the device wrote.
//!
//! vim2m copies from its output queue to its capture queue, and vivid's HDMI output is looped back to a camera. The captured
//! picture is compared with the picture that the device wrote.

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::v4l2::{Device, Queue};
use covalent_alloc::backend::vulkan::{Gpu, Image};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Verdict};
use covalent_tests::check_support::codec::{node, queues, wait};
use covalent_tests::check_support::pixels::{pattern, read, same, write};
use covalent_tests::check_support::processor;
use covalent_tests::sw_sync::SwSyncTimeline;

use super::exchange::{self, TIMEOUT, draw, expect_pending, submission_after};
use super::hdmi_loopback;
use super::rows::{RowOutcome, Rows};
use super::test_machine::{PlanResult, TestMachine, classify};

const DRIVER: &str = "vim2m";

/// Returns a size that is a multiple of 8 pixels, and whose strides are not multiples of 64 bytes.
fn size() -> Result<Extent> {
    Ok(Extent::new(328, 72)?)
}

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    let (converts, loopback) = (node(DRIVER, |_| true).is_ok(), hdmi_loopback::find());
    if !converts {
        rows.skip(
            "vim2m",
            "this machine has no vim2m; `modprobe vim2m` adds it",
        );
    }
    if loopback.is_none() {
        rows.skip(
            "HDMI",
            "this machine has no output that is looped back to a camera; `modprobe vivid` adds one",
        );
    }
    for (gpu, formats) in &machine.gpus {
        let device = &gpu.identity().driver;
        if let Some(loopback) = &loopback {
            for fourcc in machine.formats(formats) {
                rows.row(format!("{device} to vivid's HDMI in {fourcc}"), || {
                    loopback.send(machine, gpu, fourcc)
                });
            }
        }
        if !converts {
            continue;
        }
        for fourcc in [Fourcc::RGB565, Fourcc::RGB888, Fourcc::BGR888] {
            if formats.iter().any(|format| format.fourcc == fourcc) {
                rows.row(format!("{device} to {DRIVER} in {fourcc}"), || {
                    sent(machine, gpu, fourcc, &|image, pixels| draw(image, pixels))
                });
            }
        }
        rows.row(
            format!("{device} to {DRIVER} after a pending fence"),
            || match exchange::fences_unavailable(gpu) {
                Some(skipped) => Ok(skipped),
                None => sent(machine, gpu, Fourcc::RGB565, &draw_after_fence),
            },
        );
    }
}

/// A function that draws pixels into an image.
type Draw<'a> = &'a dyn Fn(&Image, &[Vec<u8>]) -> Result<()>;

/// Draws after a pending fence, and waits until the device's work is complete, because a V4L2 queue does not wait for fences.
fn draw_after_fence(image: &Image, pixels: &[Vec<u8>]) -> Result<()> {
    let sw_sync = SwSyncTimeline::new()?;
    let writing = image.begin_write(pixels, submission_after(sw_sync.fence(1)?))?;
    expect_pending(&writing)?;
    sw_sync.advance(1)?;
    ensure!(
        writing.wait(TIMEOUT)?,
        "the device does not complete its work"
    );
    Ok(())
}

/// Checks that the device's picture arrives unchanged through vim2m.
fn sent(machine: &TestMachine, gpu: &Gpu, fourcc: Fourcc, draw: Draw<'_>) -> Result<RowOutcome> {
    let device = Device::open(&node(DRIVER, |_| true)?)?;
    let (output, capture) = queues(&device)?;
    let extent = size()?;
    let plan = match planned(machine, gpu, &output, extent, fourcc)? {
        PlanResult::Plan(plan) => plan,
        PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
    };
    let attempt = || -> Result<RowOutcome> {
        let buffers = machine.sources.allocate(&plan)?;
        let from = buffers.first().context("the source allocated no buffer")?;
        let back = allocate_capture_buffers(machine, &capture, fourcc)?;
        let into = back.first().context("the source allocated no buffer")?;
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
        same(&read(into)?, &pixels).context("vim2m must copy the pixels that the device drew")?;
        Ok(RowOutcome::Passed)
    };
    classify(&plan, attempt())
}

/// Plans buffers that the device draws to and the output queue reads.
pub(crate) fn planned(
    machine: &TestMachine,
    gpu: &Gpu,
    output: &Queue,
    extent: Extent,
    fourcc: Fourcc,
) -> Result<PlanResult> {
    let participants = vec![
        gpu.participant(extent, Some(fourcc))?,
        output.participant(extent, Some(fourcc))?,
    ];
    let mut sources = machine.sources.declarations();
    sources.retain(|source| !source.id.as_str().starts_with("gbm:"));
    Ok(machine.plan(extent, participants, sources))
}

/// Plans buffers from dma-heaps that a queue captures into and the CPU reads.
pub(crate) fn planned_back(
    machine: &TestMachine,
    capture: &Queue,
    extent: Extent,
    fourcc: Fourcc,
) -> Result<Box<Plan>> {
    let participants = vec![
        processor(fourcc),
        capture.participant(extent, Some(fourcc))?,
    ];
    let mut sources = machine.sources.declarations();
    sources.retain(|source| source.id.as_str().starts_with("heap:"));
    match machine.plan(extent, participants, sources) {
        PlanResult::Plan(plan) => Ok(plan),
        PlanResult::Impossible(why) => bail!("the capture queue has no plan: {why}"),
    }
}

/// Allocates the buffers for the capture queue of vim2m.
fn allocate_capture_buffers(
    machine: &TestMachine,
    capture: &Queue,
    fourcc: Fourcc,
) -> Result<Vec<Buffer>> {
    let plan = planned_back(machine, capture, size()?, fourcc)?;
    ensure!(
        plan.verdict() == Verdict::Guaranteed,
        "the plan of the capture queue is not guaranteed"
    );
    Ok(machine.sources.allocate(&plan)?)
}
