//! Vulkan and dma-heaps: what the processor writes into a heap's memory the device reads, and the other way round.

use super::memory;
use super::rows::Rows;
use super::test_machine::TestMachine;

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    memory::exchange(
        machine,
        rows,
        "heap:",
        "no dma-heap can be opened (/dev/dma_heap)",
    );
}
