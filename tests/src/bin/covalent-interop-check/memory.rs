//! Memory of a source that belongs to no device, shared between the CPU and a Vulkan device.

use anyhow::Result;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::constraint::Source;
use covalent_alloc::model::Fourcc;
use covalent_tests::check_support::processor;

use super::exchange;
use super::rows::{RowOutcome, Rows};
use super::test_machine::{TestMachine, odd};

/// Runs a row for every source of a kind, every Vulkan device and every format. If the machine has no such source, the skip has
/// the reason `skip_reason`.
pub(crate) fn exchange(machine: &TestMachine, rows: &mut Rows, kind: &str, skip_reason: &str) {
    let sources: Vec<Source> = machine
        .sources
        .declarations()
        .into_iter()
        .filter(|source| source.id.as_str().starts_with(kind))
        .collect();
    if sources.is_empty() {
        rows.skip("any", skip_reason);
    }
    for (gpu, formats) in &machine.gpus {
        let device = &gpu.identity().driver;
        for source in &sources {
            for fourcc in machine.formats(formats) {
                rows.row(format!("{device} and {} in {fourcc}", source.id), || {
                    tried(machine, gpu, source, fourcc, exchange::both_ways)
                });
            }
            rows.row(
                format!("{device} reads {} after a pending fence", source.id),
                || held(machine, gpu, source, exchange::reads_after_a_fence),
            );
            rows.row(
                format!("{device} writes {} after a pending fence", source.id),
                || held(machine, gpu, source, exchange::is_read_after_its_fence),
            );
        }
    }
}

type Exchange = fn(&Gpu, &covalent_alloc::buffer::Buffer) -> Result<RowOutcome>;

fn held(
    machine: &TestMachine,
    gpu: &Gpu,
    source: &Source,
    exchange: Exchange,
) -> Result<RowOutcome> {
    match exchange::fences_unavailable(gpu) {
        Some(skipped) => Ok(skipped),
        None => tried(machine, gpu, source, Fourcc::XRGB8888, exchange),
    }
}

fn tried(
    machine: &TestMachine,
    gpu: &Gpu,
    source: &Source,
    fourcc: Fourcc,
    exchange: Exchange,
) -> Result<RowOutcome> {
    let extent = odd(fourcc)?;
    let participants = vec![processor(fourcc), gpu.participant(extent, Some(fourcc))?];
    let planned = machine.plan(extent, participants, vec![source.clone()]);
    machine.with_buffer(planned, |buffer| exchange(gpu, buffer))
}
