//! Theme `display`: checks that the display shows the camera's pictures, by the pictures that QEMU makes of the display.

use std::io::Cursor;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use image::RgbImage;

use super::context::run_checked;
use super::{Case, Outcome, TestContext};
use crate::picture::{BARS_75, BARS_100, ColourBars, Region, check_bars, single_colour};
use crate::pipeline::{Path, Pipeline};
use crate::vm::config::Config;
use crate::vm::guest::Guest;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit to show a few hundred frames.
const FRAMES_LIMIT: Duration = Duration::from_secs(120);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "display::direct_scanout_shows_the_bars",
        Config::Virtio,
        direct_scanout_shows_the_bars,
    ),
    Case::new(
        "display::window_shows_the_bars_and_counts_its_bytes",
        Config::Virtio,
        window_shows_the_bars_and_counts_its_bytes,
    ),
    Case::new(
        "display::other_size_is_composited_and_reason_is_reported",
        Config::Virtio,
        other_size_is_composited_and_reason_is_reported,
    ),
    Case::new(
        "display::bochs_scans_out_what_the_plan_chose",
        Config::Bochs,
        bochs_scans_out_what_the_plan_chose,
    ),
];

/// The test patterns of vivid that have a single colour: the number and the colour of each.
const SINGLE_COLOUR_PATTERNS: [(u8, [u8; 3]); 4] = [
    (6, [255; 3]),
    (7, [255, 0, 0]),
    (8, [0, 255, 0]),
    (9, [0, 0, 255]),
];

/// Sets vivid's test pattern, and switches off the text that vivid draws over it.
pub(super) fn set_pattern(guest: &Guest, pattern: u8) -> anyhow::Result<()> {
    let line = format!("v4l2-ctl -d /dev/video0 -c test_pattern={pattern},osd_text_mode=2");
    run_checked(guest, &line, COMMAND_LIMIT)?;
    Ok(())
}

/// A picture of the display, and the colour bars that it must show.
struct Picture {
    name: &'static str,
    picture: RgbImage,
    /// The size of the centred window in pixels; `None` if the client fills the display.
    window: Option<(u32, u32)>,
    bars: &'static ColourBars,
}

impl Picture {
    /// Writes the picture to a file that a person may inspect, and checks it.
    fn judge(&self, context: &TestContext<'_>) -> anyhow::Result<()> {
        let Self {
            name,
            picture,
            window,
            bars,
        } = self;
        let mut png = Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        let path = context.save_artefact(name, png.get_ref())?;
        let region = match *window {
            Some((width, height)) => Region::centred(picture, width, height)
                .context("the picture of the display does not contain the whole window")?,
            None => Region::whole(picture),
        };
        check_bars(picture, region, bars, 1)
            .with_context(|| format!("the display's picture, saved as {}", path.display()))
    }
}

/// Returns a random number below `below`.
fn random_below(below: usize) -> anyhow::Result<usize> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(usize::try_from(
        u64::from_ne_bytes(bytes) % u64::try_from(below)?,
    )?)
}

fn direct_scanout_shows_the_bars(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let pipeline = Pipeline {
        client: "--size 640x480 --fps 30 --frames 400".to_owned(),
        ..Pipeline::default()
    };
    let mut running = pipeline.start(guest)?;
    let seen = running.wait_for_frames(30, FRAMES_LIMIT)?;
    let full = Picture {
        name: "bars-100.png",
        picture: guest.screendump()?,
        window: None,
        bars: &BARS_100,
    };
    // The following pictures are chosen at run time, so that a picture of an earlier run cannot pass the check.
    set_pattern(guest, 0)?;
    let seen = running.wait_for_frames(seen + 20, FRAMES_LIMIT)?;
    let dimmed = Picture {
        name: "bars-75.png",
        picture: guest.screendump()?,
        window: None,
        bars: &BARS_75,
    };
    let (pattern, colour) = SINGLE_COLOUR_PATTERNS[random_below(SINGLE_COLOUR_PATTERNS.len())?];
    set_pattern(guest, pattern)?;
    running.wait_for_frames(seen + 20, FRAMES_LIMIT)?;
    let single = guest.screendump()?;

    let finished = running.finish(FRAMES_LIMIT)?;
    full.judge(context)?;
    dimmed.judge(context)?;
    let found = single_colour(&single, Region::whole(&single), 1);
    ensure!(
        found == Some(colour),
        "test pattern {pattern} has the colour {colour:?}, but the display shows {found:?}"
    );
    let frames = finished.camera_frames();
    ensure!(
        frames.len() >= 100,
        "only {} frames of the camera were shown",
        frames.len()
    );
    for frame in &frames {
        ensure!(
            frame.path == Path::Direct && frame.cpu_copied_bytes == 0,
            "frame {} was {:?} with {} bytes copied: {:?}",
            frame.frame,
            frame.path,
            frame.cpu_copied_bytes,
            frame.why_not_direct
        );
    }
    ensure!(
        finished.camera.cpu_copied_bytes_per_frame == Some(0.0),
        "the client reports that bytes were copied: {:?}",
        finished.camera
    );
    ensure!(
        finished.camera.source == "virtio_gpu dumb",
        "the buffers come from the source {}",
        finished.camera.source
    );
    Ok(Outcome::Passed)
}

fn window_shows_the_bars_and_counts_its_bytes(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const SIZE: (u32, u32) = (320, 240);
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let client = format!(
        "--window --size {}x{} --fps 30 --frames 300",
        SIZE.0, SIZE.1
    );
    let mut running = Pipeline {
        client,
        ..Pipeline::default()
    }
    .start(guest)?;
    let seen = running.wait_for_frames(20, FRAMES_LIMIT)?;
    let window = Some(SIZE);
    let full = Picture {
        name: "bars-100.png",
        picture: guest.screendump()?,
        window,
        bars: &BARS_100,
    };
    set_pattern(guest, 0)?;
    running.wait_for_frames(seen + 20, FRAMES_LIMIT)?;
    let dimmed = Picture {
        name: "bars-75.png",
        picture: guest.screendump()?,
        window,
        bars: &BARS_75,
    };
    let finished = running.finish(FRAMES_LIMIT)?;
    full.judge(context)?;
    dimmed.judge(context)?;
    let frames = finished.camera_frames();
    let drawn = u64::from(SIZE.0 * SIZE.1 * 4);
    ensure!(
        finished.camera.client_copied_bytes_per_frame == 0.0
            && finished.camera.cpu_copied_bytes_per_frame.is_none(),
        "the client states a number of bytes for frames that the compositor drew: {:?}",
        finished.camera
    );
    // The first frames include drawing the background into each of the compositor's buffers once, so they are not counted.
    let steady = frames.get(5..).context("fewer than five frames")?;
    ensure!(
        steady.len() >= 50,
        "only {} frames were shown",
        frames.len()
    );
    for frame in steady {
        ensure!(
            frame.path == Path::Composited && frame.cpu_copied_bytes == drawn,
            "frame {} was {:?} with {} bytes copied, but the window has {drawn} bytes",
            frame.frame,
            frame.path,
            frame.cpu_copied_bytes
        );
        ensure!(
            frame.why_not_direct.is_some(),
            "frame {} has no reason why it was composited",
            frame.frame
        );
    }
    Ok(Outcome::Passed)
}

fn other_size_is_composited_and_reason_is_reported(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let client = "--fullscreen --size 320x240 --fps 30 --frames 40".to_owned();
    let running = Pipeline {
        client,
        ..Pipeline::default()
    }
    .start(guest)?;
    let frames = running.finish(FRAMES_LIMIT)?.camera_frames();
    ensure!(!frames.is_empty(), "no frame was shown");
    for frame in frames {
        let why = frame.why_not_direct.unwrap_or_default();
        ensure!(
            frame.path == Path::Composited && why.contains("320x240") && why.contains("640x480"),
            "frame {}: {:?}, and the reason {why:?} does not name both sizes",
            frame.frame,
            frame.path
        );
    }
    Ok(Outcome::Passed)
}

fn bochs_scans_out_what_the_plan_chose(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let client = "--size 640x480 --fps 30 --frames 200".to_owned();
    let mut running = Pipeline {
        client,
        ..Pipeline::default()
    }
    .start(guest)?;
    running.wait_for_frames(30, FRAMES_LIMIT)?;
    let full = Picture {
        name: "bars-100.png",
        picture: guest.screendump()?,
        window: None,
        bars: &BARS_100,
    };
    let finished = running.finish(FRAMES_LIMIT)?;
    full.judge(context)?;
    let composited = finished
        .camera_frames()
        .into_iter()
        .find(|frame| frame.path != Path::Direct);
    ensure!(
        composited.is_none(),
        "a frame of the camera was not scanned out: {composited:?}"
    );
    Ok(Outcome::Passed)
}
