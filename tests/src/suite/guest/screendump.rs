//! Checks pictures of the display that QEMU's monitor makes.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::COMMAND_LIMIT;
use crate::suite::{Outcome, TestContext};
use crate::vm::guest::shell;

pub(super) fn screendump(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    screendump_size(context)?;
    let guest = context.guest()?;
    let connector = guest
        .sh(
            "modetest -M virtio_gpu -c | awk '/connected/ { print $1; exit }'",
            COMMAND_LIMIT,
        )?
        .text();
    // modetest shows its picture until it reads a key.
    let line = format!("exec modetest -M virtio_gpu -s {connector}:640x480 -F smpte");
    let mut show = guest.start(shell(&line))?;
    let until = Instant::now() + COMMAND_LIMIT;
    let mut picture = guest.screendump()?;
    // The first two SMPTE bars are grey and yellow.
    let shown = |picture: &image::RgbImage| {
        let [grey, yellow] = [40, 140].map(|x| picture.get_pixel(x, 100).0);
        grey.iter().all(|value| value.abs_diff(192) < 8)
            && yellow[2] < 8
            && yellow[0].abs_diff(192) < 8
    };
    while !shown(&picture) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(200));
        picture = guest.screendump()?;
    }
    let ok = shown(&picture);
    let detail = if ok {
        String::new()
    } else {
        format!("modetest wrote {:?}", show.next(Duration::from_secs(1)))
    };
    show.kill()?;
    if !ok {
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        let path = context.save_artefact("display.png", png.get_ref())?;
        anyhow::bail!(
            "the display does not show the pattern, see {}; {detail}",
            path.display()
        );
    }
    Ok(Outcome::Passed)
}

pub(super) fn screendump_size(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let picture = context.guest()?.screendump()?;
    let size = (picture.width(), picture.height());
    ensure!(size == (640, 480), "the picture is {size:?}");
    Ok(Outcome::Passed)
}
