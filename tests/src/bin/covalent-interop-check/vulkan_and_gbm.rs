//! Vulkan and GBM: buffers of either, imported by the other, with the right pixels.

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::gbm::Gbm;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{FormatSet, Participant, Source};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_tests::witness::pixels::{pattern, read, same, write};
use covalent_tests::witness::processor;

use super::exchange::{self, draw};
use super::rows::{Rows, Seen};
use super::world::{World, odd};

/// Formats whose pixels GBM gives back. (Its map ends the process with packed YUV, and has no second plane.)
const FORMATS: [Fourcc; 3] = [Fourcc::XRGB8888, Fourcc::ABGR8888, Fourcc::RGB565];

pub(crate) fn run(world: &World, rows: &mut Rows) {
    if world.sources.gbm_devices().next().is_none() {
        rows.skip("any", "no card here has GBM");
    }
    for (gpu, formats) in &world.gpus {
        let device = &gpu.identity().driver;
        for (gbm, listed) in world.sources.gbm_devices() {
            let card = &gbm.identity().driver;
            let common = FORMATS.into_iter().filter(|fourcc| {
                formats.iter().any(|format| format.fourcc == *fourcc)
                    && listed.contains_fourcc(*fourcc)
            });
            for fourcc in common {
                rows.row(format!("{card} GBM to {device} in {fourcc}"), || {
                    let source = |extent| Ok(gbm.source_of_size(listed, extent));
                    shared(world, gpu, gbm, listed, fourcc, &source)
                });
                rows.row(format!("{device} to {card} GBM in {fourcc}"), || {
                    let source = |extent| Ok(gpu.source_of_size(extent)?);
                    shared(world, gpu, gbm, listed, fourcc, &source)
                });
            }
            rows.row(
                format!("{device} to {card} GBM behind a held fence"),
                || match exchange::cannot_hold(gpu) {
                    Some(seen) => Ok(seen),
                    None => held(world, gpu, gbm, listed),
                },
            );
        }
    }
}

/// Where the memory of one size comes from.
type Memory<'a> = &'a dyn Fn(Extent) -> Result<Option<Source>>;

fn shared(
    world: &World,
    gpu: &Gpu,
    gbm: &Gbm,
    listed: &FormatSet,
    fourcc: Fourcc,
    memory: Memory<'_>,
) -> Result<Seen> {
    let extent = odd(fourcc)?;
    let Some(source) = memory(extent)? else {
        return Ok(Seen::Skipped("it exports no such buffers".to_owned()));
    };
    let planned = world.plan(
        extent,
        participants(gpu, gbm, listed, fourcc, extent)?,
        vec![source],
    );
    world.with_buffer(planned, |buffer| all_see(gpu, gbm, buffer))
}

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

/// What the device draws the others see, and what the processor writes the device and GBM.
fn all_see(gpu: &Gpu, gbm: &Gbm, buffer: &Buffer) -> Result<Seen> {
    let image = gpu.import(buffer)?;
    let (first, second) = (pattern(buffer, 11)?, pattern(buffer, 12)?);
    draw(&image, &first)?;
    same(&read(buffer)?, &first).context("the processor reads what the device drew")?;
    same(&[gbm.import(buffer)?.read()?], &first).context("GBM reads what the device drew")?;
    write(buffer, &second)?;
    same(&image.read()?, &second).context("the device reads what the processor wrote")?;
    same(&[gbm.import(buffer)?.read()?], &second).context("GBM reads what the processor wrote")?;
    ensure!(buffer.dmabuf_count() == 1, "more than one dma-buf");
    Ok(Seen::Passed)
}

fn held(world: &World, gpu: &Gpu, gbm: &Gbm, listed: &FormatSet) -> Result<Seen> {
    let fourcc = Fourcc::XRGB8888;
    let extent = odd(fourcc)?;
    let sources: Vec<Source> = gbm.source_of_size(listed, extent).into_iter().collect();
    if sources.is_empty() {
        return Ok(Seen::Skipped("it exports no such buffers".to_owned()));
    }
    let planned = world.plan(
        extent,
        participants(gpu, gbm, listed, fourcc, extent)?,
        sources,
    );
    world.with_buffer(planned, |buffer| {
        let seen = exchange::is_read_behind_its_fence(gpu, buffer)?;
        same(&[gbm.import(buffer)?.read()?], &read(buffer)?)
            .context("GBM reads what the device drew")?;
        Ok(seen)
    })
}
