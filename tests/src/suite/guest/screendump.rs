//! Pictures of the display by QEMU's monitor.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::SOON;
use crate::suite::{Bench, Outcome};
use crate::vm::guest::shell;

pub(super) fn screendump(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    screendump_size(bench)?;
    let guest = bench.guest()?;
    let connector = guest
        .sh(
            "modetest -M virtio_gpu -c | awk '/connected/ { print $1; exit }'",
            SOON,
        )?
        .text();
    // It waits for a key, and shows its picture until then.
    let line = format!("exec modetest -M virtio_gpu -s {connector}:640x480 -F smpte");
    let mut show = guest.start(shell(&line))?;
    let until = Instant::now() + SOON;
    let mut picture = guest.screendump()?;
    // SMPTE bars begin with grey and yellow.
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
    let words = if ok {
        String::new()
    } else {
        format!("modetest said {:?}", show.next(Duration::from_secs(1)))
    };
    show.kill()?;
    if !ok {
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        let kept = bench.keep("display.png", png.get_ref())?;
        anyhow::bail!(
            "the display does not show the pattern, see {}; {words}",
            kept.display()
        );
    }
    Ok(Outcome::Passed)
}

pub(super) fn screendump_size(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let picture = bench.guest()?.screendump()?;
    let size = (picture.width(), picture.height());
    ensure!(size == (640, 480), "the picture is {size:?}");
    Ok(Outcome::Passed)
}
