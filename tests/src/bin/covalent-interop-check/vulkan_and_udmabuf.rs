//! Vulkan and udmabuf: the device reads and writes the pages of a memfd of this process.

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
