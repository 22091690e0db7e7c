//! Memory that is nobody's, between the processor and a Vulkan device.

use anyhow::Result;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::constraint::Source;
use covalent_alloc::model::Fourcc;
use covalent_tests::witness::processor;

use super::exchange;
use super::rows::{Rows, Seen};
use super::world::{World, odd};

/// Every source of a kind with every device, in every format in common.
pub(crate) fn exchange(world: &World, rows: &mut Rows, kind: &str, nobody: &str) {
    let sources: Vec<Source> = world
        .sources
        .declarations()
        .into_iter()
        .filter(|source| source.id.as_str().starts_with(kind))
        .collect();
    if sources.is_empty() {
        rows.skip("any", nobody);
    }
    for (gpu, formats) in &world.gpus {
        let device = &gpu.identity().driver;
        for source in &sources {
            for fourcc in world.formats(formats) {
                rows.row(format!("{device} and {} in {fourcc}", source.id), || {
                    tried(world, gpu, source, fourcc, exchange::both_ways)
                });
            }
            rows.row(
                format!("{device} reads {} behind a held fence", source.id),
                || held(world, gpu, source, exchange::reads_behind_a_fence),
            );
            rows.row(
                format!("{device} writes {} behind a held fence", source.id),
                || held(world, gpu, source, exchange::is_read_behind_its_fence),
            );
        }
    }
}

type Exchange = fn(&Gpu, &covalent_alloc::buffer::Buffer) -> Result<Seen>;

fn held(world: &World, gpu: &Gpu, source: &Source, exchange: Exchange) -> Result<Seen> {
    match exchange::cannot_hold(gpu) {
        Some(seen) => Ok(seen),
        None => tried(world, gpu, source, Fourcc::XRGB8888, exchange),
    }
}

fn tried(
    world: &World,
    gpu: &Gpu,
    source: &Source,
    fourcc: Fourcc,
    exchange: Exchange,
) -> Result<Seen> {
    let extent = odd(fourcc)?;
    let participants = vec![processor(fourcc), gpu.participant(extent, Some(fourcc))?];
    let planned = world.plan(extent, participants, vec![source.clone()]);
    world.with_buffer(planned, |buffer| exchange(gpu, buffer))
}
