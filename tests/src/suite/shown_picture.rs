//! Runs a program in the guest that shows a picture on a display, and takes QEMU's picture of this display.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use image::RgbImage;

use super::TestContext;
use crate::check_support::pixels::checksum;
use crate::vm::guest::shell;
use crate::wire::Stream;

/// The picture that a program showed.
pub(super) struct ShownPicture {
    /// The line that the program printed when the display showed its picture.
    pub(super) detail: String,
    /// QEMU's picture of the display; `None` if QEMU makes no picture of this card.
    pub(super) picture: Option<RgbImage>,
}

impl ShownPicture {
    /// Runs a program that prints one line within `shown_within`, and shows its picture until its standard input ends. The
    /// program must then exit with success within `ended_within`.
    pub(super) fn of(
        context: &mut TestContext<'_>,
        program: &str,
        shown_within: Duration,
        ended_within: Duration,
    ) -> anyhow::Result<Self> {
        let has_screendump = context.boot().machine.config.has_screendump();
        let guest = context.guest()?;
        let mut process = guest.start(shell(&format!("exec {program}")))?;
        let Some(detail) = process.line(Stream::Out, shown_within)? else {
            let output = process.wait(ended_within)?;
            anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        };
        let picture = has_screendump.then(|| guest.screendump()).transpose();
        process.input().close()?;
        let output = process.wait(ended_within)?;
        let picture = picture?;
        ensure!(
            output.status.success(),
            "the program ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(Self { detail, picture })
    }

    /// Checks that QEMU's picture has the checksum with which the line begins. If there is no picture of QEMU, the program in the
    /// guest has compared the writeback.
    pub(super) fn check_checksum(&self) -> anyhow::Result<()> {
        let Some(picture) = &self.picture else {
            return Ok(());
        };
        let shown: Vec<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
        let expected = self
            .detail
            .split(' ')
            .next()
            .context("the line has no checksum")?;
        let found = format!("{:016x}", checksum(&shown));
        ensure!(
            found == expected,
            "the display shows {}x{} pixels with the checksum {found}, and the program showed {}",
            picture.width(),
            picture.height(),
            self.detail
        );
        Ok(())
    }
}
