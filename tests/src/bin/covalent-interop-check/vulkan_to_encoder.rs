//! What Vulkan draws is coded: the encoder reads the buffer where the device wrote it, and what is decoded resembles it.

use std::slice::from_ref;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::v4l2::{Device, Queue};
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_tests::sw_sync::SwSyncTimeline;
use covalent_tests::witness::Sources;
use covalent_tests::witness::codec::{
    FWHT, RESEMBLANCE, decoder, encoder, peak_signal_to_noise, queues, smooth, wait,
};
use covalent_tests::witness::pixels::read;
use covalent_tests::witness::{processor, vga};

use super::exchange::{self, PATIENCE, after, draw, goes_on};
use super::rows::{Rows, Seen};
use super::world::{Planned, World, judge};

pub(crate) fn run(world: &World, rows: &mut Rows) {
    if encoder().is_err() {
        rows.skip("any", "no encoder here: modprobe vicodec brings one");
        return;
    }
    for (gpu, formats) in &world.gpus {
        let device = &gpu.identity().driver;
        for fourcc in [Fourcc::YUV420, Fourcc::NV12, Fourcc::XRGB8888] {
            if formats.iter().any(|format| format.fourcc == fourcc) {
                rows.row(format!("{device} to vicodec in {fourcc}"), || {
                    coded(world, gpu, fourcc, false)
                });
            }
        }
        rows.row(
            format!("{device} to vicodec behind a held fence"),
            || match exchange::cannot_hold(gpu) {
                Some(seen) => Ok(seen),
                None => coded(world, gpu, Fourcc::XRGB8888, true),
            },
        );
    }
}

fn coded(world: &World, gpu: &Gpu, fourcc: Fourcc, held_back: bool) -> Result<Seen> {
    let device = Device::open(&encoder()?)?;
    let (output, capture) = queues(&device)?;
    let participants = vec![
        gpu.participant(vga()?, Some(fourcc))?,
        output.participant(vga()?, Some(fourcc))?,
    ];
    let mut sources = world.sources.declarations();
    sources.retain(|source| !source.id.as_str().starts_with("gbm:"));
    let plan = match world.plan(vga()?, participants, sources) {
        Planned::Plan(plan) => plan,
        Planned::Impossible(why) => return Ok(Seen::Skipped(why)),
    };
    let attempt = || -> Result<Seen> {
        let pictures = world.sources.allocate(&plan)?;
        let picture = pictures.first().context("no buffer")?;
        let original = smooth(picture)?;
        let image = gpu.import(picture)?;
        if held_back {
            let held = SwSyncTimeline::new()?;
            let writing = image.begin_write(&original, after(held.fence(1)?))?;
            goes_on(&writing)?;
            held.advance(1)?;
            ensure!(writing.wait(PATIENCE)?, "the device does not end");
        } else {
            draw(&image, &original)?;
        }
        let code = bytes(world)?;
        let mut reader = output.import(&pictures)?;
        let mut writer = capture.import_coded(FWHT, vga()?, from_ref(&code))?;
        writer.queue(0)?;
        reader.queue(0)?;
        writer.start()?;
        reader.start()?;
        let used = wait(&mut writer)?;
        drop((reader, writer));
        let back = decoded(&world.sources, world, &code, used, fourcc)?;
        let resemblance = peak_signal_to_noise(&original, &back, fourcc)?;
        ensure!(
            resemblance >= RESEMBLANCE,
            "it resembles what the device drew by {resemblance:.1} dB"
        );
        Ok(Seen::Passed)
    };
    judge(&plan, attempt())
}

fn decoded(
    sources: &Sources,
    world: &World,
    code: &Buffer,
    used: u32,
    fourcc: Fourcc,
) -> Result<Vec<Vec<u8>>> {
    let device = Device::open(&decoder()?)?;
    let (output, capture) = queues(&device)?;
    let mut reader = output.import_coded(FWHT, vga()?, from_ref(code))?;
    reader.queue_bytes(0, used)?;
    // The first bytes say what the pictures are.
    reader.start()?;
    let pictures = plain(sources, world, &capture, fourcc)?;
    let picture = pictures.first().context("no buffer")?;
    let mut writer = capture.import(&pictures)?;
    writer.queue(0)?;
    writer.start()?;
    wait(&mut writer)?;
    read(picture)
}

fn plain(sources: &Sources, world: &World, capture: &Queue, fourcc: Fourcc) -> Result<Vec<Buffer>> {
    let participants = vec![
        processor(fourcc),
        capture.participant(vga()?, Some(fourcc))?,
    ];
    heap(sources, world, vga()?, participants)
}

/// A buffer for bytes.
fn bytes(world: &World) -> Result<Buffer> {
    let extent = Extent::new(4096, 1024)?;
    heap(&world.sources, world, extent, vec![processor(Fourcc::R8)])?
        .pop()
        .context("no buffer")
}

fn heap(
    sources: &Sources,
    world: &World,
    extent: Extent,
    participants: Vec<covalent_alloc::constraint::Participant>,
) -> Result<Vec<Buffer>> {
    let mut declared = sources.declarations();
    declared.retain(|source| source.id.as_str().starts_with("heap:"));
    match world.plan(extent, participants, declared) {
        Planned::Plan(plan) => Ok(sources.allocate(&plan)?),
        Planned::Impossible(why) => anyhow::bail!("{why}"),
    }
}
