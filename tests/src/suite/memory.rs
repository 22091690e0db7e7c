//! Theme `memory`: checks that pages of a process and huge pages become dma-bufs whose size cannot be changed.

use std::time::Duration;

use crate::vm::config::{Config, Memory};

use super::alloc::check;
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[Case::new(
    "memory::pages_of_every_size_are_safe_dma_bufs",
    Config::Virtio,
    pages_of_every_size_are_safe_dma_bufs,
)
.memory(Memory::FOUR_GIBIBYTES)];

/// A shell command that reserves huge pages of both sizes that the processor has. It fails if the kernel provides fewer.
const RESERVE: &str = "echo 3 > /proc/sys/vm/drop_caches && echo 1 > /proc/sys/vm/compact_memory && \
    cd /sys/kernel/mm/hugepages && echo 1 > hugepages-1048576kB/nr_hugepages && echo 8 > hugepages-2048kB/nr_hugepages && \
    [ \"$(cat hugepages-*/nr_hugepages | tr '\\n' ' ')\" = '1 8 ' ]";

/// The number of guests that are booted until one has a contiguous block of one GiB.
const MAX_BOOTS: usize = 6;

/// Gives all huge pages back to the kernel.
const RELEASE: &str = "echo 0 | tee /sys/kernel/mm/hugepages/hugepages-*/nr_hugepages";

fn pages_of_every_size_are_safe_dma_bufs(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let limit = Duration::from_secs(60);
    // A contiguous block of one GiB is free only shortly after boot, and only if the kernel's random load address leaves one.
    let mut reserved = Err(anyhow::anyhow!("no guest was booted"));
    for _ in 0..MAX_BOOTS {
        context.fresh_guest()?;
        reserved = context.sh(RESERVE, limit);
        if reserved.is_ok() {
            break;
        }
    }
    reserved?;
    let outcome = check(context, "memory");
    context.sh(RELEASE, limit)?;
    outcome
}
