//! Theme `codecs`: checks that memory-to-memory devices accept the buffers that the solver guarantees, and that the converted
//! pictures have the expected pixels.

use std::time::Duration;

use anyhow::ensure;

use crate::vm::config::Config;

use super::alloc::check;
use super::shown_picture::ShownPicture;
use super::{Case, Outcome, TestContext};

/// The time limit to load a module.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit to encode, decode and show a picture of 1080 rows on an emulated CPU.
const PICTURE_LIMIT: Duration = Duration::from_secs(240);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "codecs::converted_pictures_come_back_from_every_source",
        Config::Vkms,
        converted_pictures_come_back_from_every_source,
    ),
    Case::new(
        "codecs::picture_of_1080_in_1088_rows_is_cropped_on_virtio",
        Config::Virtio,
        picture_is_cropped,
    ),
    Case::new(
        "codecs::picture_of_1080_in_1088_rows_is_cropped_on_vkms",
        Config::Vkms,
        picture_is_cropped,
    ),
];

fn converted_pictures_come_back_from_every_source(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe vim2m && modprobe vicodec", COMMAND_LIMIT)?;
    let outcome = check(context, "codecs");
    context.sh("modprobe -r vim2m && modprobe -r vicodec", COMMAND_LIMIT)?;
    outcome
}

fn picture_is_cropped(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    context.sh("modprobe vicodec", COMMAND_LIMIT)?;
    let outcome = show_cropped(context);
    context.sh("modprobe -r vicodec", COMMAND_LIMIT)?;
    outcome
}

/// Shows a decoded picture, and compares it with QEMU's picture of the display. If QEMU makes no picture of the display, the
/// program in the guest has compared the card's writeback.
fn show_cropped(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let program = "covalent-interop-check --show-decoded /dev/dri/card0";
    let shown = ShownPicture::of(context, program, PICTURE_LIMIT, COMMAND_LIMIT)?;
    ensure!(
        shown.detail.contains(" 1920x1080 at (0, 0) of 1920x1088 "),
        "the program showed {}",
        shown.detail
    );
    context.save_artefact("decoded.txt", shown.detail.as_bytes())?;
    if let Some(picture) = &shown.picture {
        let size = picture.dimensions();
        ensure!(size == (1920, 1080), "the display shows {size:?} pixels");
    }
    shown.check_checksum()?;
    Ok(Outcome::Passed)
}
