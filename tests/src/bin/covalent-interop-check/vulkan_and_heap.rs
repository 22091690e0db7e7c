//! Vulkan and dma-heaps: what the processor writes into a heap's memory the device reads, and the other way round.

use super::memory;
use super::rows::Rows;
use super::world::World;

pub(crate) fn run(world: &World, rows: &mut Rows) {
    memory::exchange(
        world,
        rows,
        "heap:",
        "no dma-heap can be opened (/dev/dma_heap)",
    );
}
