//! Theme `memory`: memory of a process and huge pages become dma-bufs that nobody can take back.

use std::time::Duration;

use crate::vm::config::{Config, Memory};

use super::alloc::check;
use super::{Bench, Case, Outcome};

pub(super) const CASES: &[Case] = &[Case::new(
    "memory::pages_of_every_size_are_safe_dma_bufs",
    Config::Virtio,
    pages,
)
.memory(Memory::FOUR_GIBIBYTES)];

/// Sets aside huge pages of both sizes that the processor has, and fails where the kernel gives fewer.
const TAKE: &str = "cd /sys/kernel/mm/hugepages && \
    echo 1 > hugepages-1048576kB/nr_hugepages && echo 8 > hugepages-2048kB/nr_hugepages && \
    [ \"$(cat hugepages-*/nr_hugepages | tr '\\n' ' ')\" = '1 8 ' ]";

const GIVE: &str = "echo 0 | tee /sys/kernel/mm/hugepages/hugepages-*/nr_hugepages";

fn pages(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let soon = Duration::from_secs(60);
    // A gibibyte in one piece is there only while little has run.
    bench.fresh_guest()?;
    bench.sh(TAKE, soon)?;
    let outcome = check(bench, "memory");
    bench.sh(GIVE, soon)?;
    outcome
}
