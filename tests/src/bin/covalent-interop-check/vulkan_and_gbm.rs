//! Vulkan and GBM: each allocates buffers that the other one imports, and both read the same pixels.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::gbm::Gbm;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{FormatSet, Participant, Source};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_tests::check_support::pixels::{pattern, read, same, write};
use covalent_tests::check_support::processor;

use super::exchange::{self, draw};
use super::rows::{RowOutcome, Rows};
use super::test_machine::{TestMachine, odd};

/// The formats whose pixels gbm_bo_map can read. It crashes with packed YUV formats, and maps only the first plane of a buffer.
const FORMATS: [Fourcc; 3] = [Fourcc::XRGB8888, Fourcc::ABGR8888, Fourcc::RGB565];

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    if machine.sources.gbm_devices().next().is_none() {
        rows.skip("any", "no card of this machine has a GBM device");
    }
    for (gpu, formats) in &machine.gpus {
        let device = &gpu.identity().driver;
        for (gbm, listed) in machine.sources.gbm_devices() {
            let card = &gbm.identity().driver;
            let common = FORMATS.into_iter().filter(|fourcc| {
                formats.iter().any(|format| format.fourcc == *fourcc)
                    && listed.contains_fourcc(*fourcc)
            });
            for fourcc in common {
                rows.row(format!("{card} GBM to {device} in {fourcc}"), || {
                    let source = |extent| Ok(gbm.source_of_size(listed, extent));
                    shared(machine, gpu, gbm, listed, fourcc, &source)
                });
                rows.row(format!("{device} to {card} GBM in {fourcc}"), || {
                    let source = |extent| Ok(gpu.source_of_size(extent)?);
                    shared(machine, gpu, gbm, listed, fourcc, &source)
                });
            }
            rows.row(
                format!("{device} to {card} GBM after a pending fence"),
                || match exchange::fences_unavailable(gpu) {
                    Some(skipped) => Ok(skipped),
                    None => held(machine, gpu, gbm, listed),
                },
            );
        }
    }
}

/// A function that returns a source of buffers of the given size; `None` if there is no such source.
type SourceForSize<'a> = &'a dyn Fn(Extent) -> Result<Option<Source>>;

/// Checks that the CPU, the device and GBM read each other's pixels in a buffer of `memory`.
fn shared(
    machine: &TestMachine,
    gpu: &Gpu,
    gbm: &Gbm,
    listed: &FormatSet,
    fourcc: Fourcc,
    memory: SourceForSize<'_>,
) -> Result<RowOutcome> {
    let extent = odd(fourcc)?;
    let Some(source) = memory(extent)? else {
        return Ok(RowOutcome::Skipped(
            "the device exports no buffers of this size".to_owned(),
        ));
    };
    let planned = machine.plan(
        extent,
        participants(gpu, gbm, listed, fourcc, extent)?,
        vec![source],
    );
    machine.with_buffer(planned, |buffer| all_see(gpu, gbm, buffer))
}

/// Returns the CPU, the device and GBM as participants.
fn participants(
    gpu: &Gpu,
    gbm: &Gbm,
    listed: &FormatSet,
    fourcc: Fourcc,
    extent: Extent,
) -> Result<Vec<Participant>> {
    Ok(vec![
        processor(fourcc),
        gpu.participant(extent, Some(fourcc))?,
        gbm.participant(listed),
    ])
}

/// Checks that the CPU and GBM read what the device drew, and that the device and GBM read what the CPU wrote.
fn all_see(gpu: &Gpu, gbm: &Gbm, buffer: &Buffer) -> Result<RowOutcome> {
    let image = gpu.import(buffer)?;
    let (first, second) = (pattern(buffer, 11)?, pattern(buffer, 12)?);
    draw(&image, &first)?;
    same(&read(buffer)?, &first).context("the CPU must read the pixels that the device drew")?;
    same(&[gbm.import(buffer)?.read()?], &first)
        .context("GBM must read the pixels that the device drew")?;
    write(buffer, &second)?;
    same(&image.read()?, &second).context("the device must read the pixels that the CPU wrote")?;
    same(&[gbm.import(buffer)?.read()?], &second)
        .context("GBM must read the pixels that the CPU wrote")?;
    ensure!(
        buffer.dmabuf_count() == 1,
        "the buffer has more than one dma-buf"
    );
    Ok(RowOutcome::Passed)
}

fn held(machine: &TestMachine, gpu: &Gpu, gbm: &Gbm, listed: &FormatSet) -> Result<RowOutcome> {
    let fourcc = Fourcc::XRGB8888;
    let extent = odd(fourcc)?;
    let sources: Vec<Source> = gbm.source_of_size(listed, extent).into_iter().collect();
    if sources.is_empty() {
        return Ok(RowOutcome::Skipped(
            "the device exports no buffers of this size".to_owned(),
        ));
    }
    let planned = machine.plan(
        extent,
        participants(gpu, gbm, listed, fourcc, extent)?,
        sources,
    );
    machine.with_buffer(planned, |buffer| {
        let outcome = exchange::is_read_after_its_fence(gpu, buffer)?;
        same(&[gbm.import(buffer)?.read()?], &read(buffer)?)
            .context("GBM must read the pixels that the device drew")?;
        Ok(outcome)
    })
}
