//! Vulkan and udmabuf: pages of this process as a dma-buf that the device reads and writes.

use super::memory;
use super::rows::Rows;
use super::world::World;

pub(crate) fn run(world: &World, rows: &mut Rows) {
    memory::exchange(
        world,
        rows,
        "udmabuf",
        "udmabuf cannot be opened (/dev/udmabuf)",
    );
}
