//! A picture that a display shows until standard input ends, so that another program can check the display.

use std::io::Write as _;

use anyhow::{Result, ensure};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Fourcc;
use covalent_tests::check_support::pixels::{checksum, colours, read};

use super::display::Display;
use super::exchange::TIMEOUT;
use super::test_machine::TestMachine;
use super::vulkan_to_kms::allocate_writeback;

/// The format of the shown pictures and of the writeback.
pub(crate) const SHOWN: Fourcc = Fourcc::XRGB8888;

/// Shows a buffer, compares the writeback with its colours if the card has a writeback connector, and prints the checksum of the
/// colours and `detail`. The picture is shown until standard input ends.
pub(crate) fn show(
    machine: &TestMachine,
    display: &mut Display,
    buffer: &Buffer,
    expected: &[[u8; 3]],
    detail: &str,
) -> Result<()> {
    let framebuffer = display.card.framebuffer(buffer)?;
    display.present(&framebuffer, TIMEOUT)?;
    if display.has_writeback() {
        let back = allocate_writeback(machine, display)?;
        let into = display.card.framebuffer(&back)?;
        let is_there = || -> Result<bool> { Ok(colours(SHOWN, &read(&back)?)? == expected) };
        ensure!(
            display.write_back(&framebuffer, &into, is_there)?,
            "the card's writeback differs from the picture"
        );
    }
    hold(&format!("{:016x} {detail}", checksum(expected)))
}

/// Prints a line, and waits until standard input ends.
pub(crate) fn hold(line: &str) -> Result<()> {
    println!("{line}");
    std::io::stdout().flush()?;
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}
