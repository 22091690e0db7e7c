//! Vulkan and udmabuf: pages of this process as a dma-buf that the device reads and writes.

use super::memory;
use super::rows::Rows;
use super::test_machine::TestMachine;

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    memory::exchange(
        machine,
        rows,
        "udmabuf",
        "udmabuf cannot be opened (/dev/udmabuf)",
    );
}
