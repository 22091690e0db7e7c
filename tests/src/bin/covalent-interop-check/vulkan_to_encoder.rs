//! Vulkan and a V4L2 encoder: the encoder reads the buffer that the device wrote, and the decoded picture is similar to the
//! original.

use std::slice::from_ref;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::v4l2::{Device, Queue};
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::codec::{
    FWHT, MIN_PSNR_DB, decoder, encoder, peak_signal_to_noise, queues, smooth, wait,
};
use covalent_tests::check_support::pixels::read;
use covalent_tests::check_support::{processor, vga};
use covalent_tests::sw_sync::SwSyncTimeline;

use super::exchange::{self, TIMEOUT, draw, expect_pending, submission_after};
use super::rows::{RowOutcome, Rows};
use super::test_machine::{PlanResult, TestMachine, classify};

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    if encoder().is_err() {
        rows.skip(
            "any",
            "this machine has no encoder; `modprobe vicodec` adds one",
        );
        return;
    }
    for (gpu, formats) in &machine.gpus {
        let device = &gpu.identity().driver;
        for fourcc in [Fourcc::YUV420, Fourcc::NV12, Fourcc::XRGB8888] {
            if formats.iter().any(|format| format.fourcc == fourcc) {
                rows.row(format!("{device} to vicodec in {fourcc}"), || {
                    check_encoded_picture(machine, gpu, fourcc, false)
                });
            }
        }
        rows.row(format!("{device} to vicodec after a pending fence"), || {
            match exchange::fences_unavailable(gpu) {
                Some(skipped) => Ok(skipped),
                None => check_encoded_picture(machine, gpu, Fourcc::XRGB8888, true),
            }
        });
    }
}

/// Draws a picture, encodes and decodes it, and compares both pictures. With `with_fence`, the device draws after a pending
/// fence.
fn check_encoded_picture(
    machine: &TestMachine,
    gpu: &Gpu,
    fourcc: Fourcc,
    with_fence: bool,
) -> Result<RowOutcome> {
    let device = Device::open(&encoder()?)?;
    let (output, capture) = queues(&device)?;
    let participants = vec![
        gpu.participant(vga()?, Some(fourcc))?,
        output.participant(vga()?, Some(fourcc))?,
    ];
    let mut sources = machine.sources.declarations();
    sources.retain(|source| !source.id.as_str().starts_with("gbm:"));
    let plan = match machine.plan(vga()?, participants, sources) {
        PlanResult::Plan(plan) => plan,
        PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
    };
    let attempt = || -> Result<RowOutcome> {
        let pictures = machine.sources.allocate(&plan)?;
        let picture = pictures.first().context("the source allocated no buffer")?;
        let original = smooth(picture)?;
        let image = gpu.import(picture)?;
        if with_fence {
            let sw_sync = SwSyncTimeline::new()?;
            let writing = image.begin_write(&original, submission_after(sw_sync.fence(1)?))?;
            expect_pending(&writing)?;
            sw_sync.advance(1)?;
            ensure!(
                writing.wait(TIMEOUT)?,
                "the device does not complete its work"
            );
        } else {
            draw(&image, &original)?;
        }
        let code = allocate_coded_buffer(machine)?;
        let mut reader = output.import(&pictures)?;
        let mut writer = capture.import_coded(FWHT, vga()?, from_ref(&code))?;
        writer.queue(0)?;
        reader.queue(0)?;
        writer.start()?;
        reader.start()?;
        let used = wait(&mut writer)?;
        drop((reader, writer));
        let back = decode(&machine.sources, machine, &code, used, fourcc)?;
        let psnr = peak_signal_to_noise(&original, &back, fourcc)?;
        ensure!(
            psnr >= MIN_PSNR_DB,
            "the decoded picture has a PSNR of {psnr:.1} dB, and has to have {MIN_PSNR_DB} dB"
        );
        Ok(RowOutcome::Passed)
    };
    classify(&plan, attempt())
}

/// Decodes `used` bytes of coded data, and returns the picture.
fn decode(
    sources: &Sources,
    machine: &TestMachine,
    code: &Buffer,
    used: u32,
    fourcc: Fourcc,
) -> Result<Vec<Vec<u8>>> {
    let device = Device::open(&decoder()?)?;
    let (output, capture) = queues(&device)?;
    let mut reader = output.import_coded(FWHT, vga()?, from_ref(code))?;
    reader.queue_bytes(0, used)?;
    // The decoder reads the format and the size from the header of the coded data.
    reader.start()?;
    let pictures = allocate_pictures(sources, machine, &capture, fourcc)?;
    let picture = pictures.first().context("the source allocated no buffer")?;
    let mut writer = capture.import(&pictures)?;
    writer.queue(0)?;
    writer.start()?;
    wait(&mut writer)?;
    read(picture)
}

/// Allocates the buffers into which the decoder writes.
fn allocate_pictures(
    sources: &Sources,
    machine: &TestMachine,
    capture: &Queue,
    fourcc: Fourcc,
) -> Result<Vec<Buffer>> {
    let participants = vec![
        processor(fourcc),
        capture.participant(vga()?, Some(fourcc))?,
    ];
    heap(sources, machine, vga()?, participants)
}

/// Allocates a buffer for coded data.
fn allocate_coded_buffer(machine: &TestMachine) -> Result<Buffer> {
    let extent = Extent::new(4096, 1024)?;
    heap(
        &machine.sources,
        machine,
        extent,
        vec![processor(Fourcc::R8)],
    )?
    .pop()
    .context("the source allocated no buffer")
}

/// Allocates buffers for these participants from a dma-heap.
fn heap(
    sources: &Sources,
    machine: &TestMachine,
    extent: Extent,
    participants: Vec<covalent_alloc::constraint::Participant>,
) -> Result<Vec<Buffer>> {
    let mut declared = sources.declarations();
    declared.retain(|source| source.id.as_str().starts_with("heap:"));
    match machine.plan(extent, participants, declared) {
        PlanResult::Plan(plan) => Ok(sources.allocate(&plan)?),
        PlanResult::Impossible(why) => anyhow::bail!("{why}"),
    }
}
