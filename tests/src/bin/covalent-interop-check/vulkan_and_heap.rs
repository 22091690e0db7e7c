//! Vulkan and dma-heaps: the device reads what the CPU wrote to a heap's memory, and the CPU reads what the device wrote.

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
