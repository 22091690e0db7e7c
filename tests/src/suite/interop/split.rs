//! Checks split solutions in which lavapipe copies the frames: the display must show the picture that the producer drew.

use std::time::Duration;

use anyhow::ensure;

use crate::suite::shown_picture::ShownPicture;
use crate::suite::{Outcome, TestContext};

/// The time limit to load a module, and to end a program.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The time limit to solve, copy and show two pictures on an emulated CPU.
const PICTURE_LIMIT: Duration = Duration::from_secs(240);

/// The file in which the case stores the text that names the copying device and its copies.
const COPIER: &str = "copied.txt";

/// Copies frames with Vulkan as the solver's solutions say, and compares the copy with QEMU's picture of the display. If QEMU
/// makes no picture of the display, the program in the guest compares the card's writeback.
pub(super) fn copied_by_vulkan(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    context.sh("modprobe sw_sync", COMMAND_LIMIT)?;
    let program = "covalent-interop-check --show-split /dev/dri/card0";
    let shown = ShownPicture::of(context, program, PICTURE_LIMIT, COMMAND_LIMIT)?;
    context.save_artefact(COPIER, shown.detail.as_bytes())?;
    ensure!(
        shown.detail.contains(" llvmpipe Vulkan copied from XB24"),
        "the program showed {}",
        shown.detail
    );
    shown.check_checksum()?;
    Ok(Outcome::Passed)
}
