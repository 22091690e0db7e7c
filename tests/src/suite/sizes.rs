//! Theme `sizes`: checks every size of the camera with every memory size of the guest. The cases run only with `--full`.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::picture::{BARS_100, Region, check_bars};
use crate::pipeline::{Path, Pipeline};
use crate::vm::config::{Config, Memory};

use super::display::set_pattern;
use super::{Case, Outcome, TestContext};

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit to show a few dozen frames of 33 MB each.
const FRAMES_LIMIT: Duration = Duration::from_secs(300);

/// The sizes of vivid's webcam, and whether virtio-gpu's EDID has a mode of this size.
const SIZES: [(&str, bool); 6] = [
    ("320x180", false),
    ("640x360", false),
    ("640x480", true),
    ("1280x720", false),
    ("1920x1080", true),
    ("3840x2160", true),
];

pub(super) const CASES: &[Case] = &[
    Case::new(
        "sizes::every_size_is_shown_in_2g",
        Config::Virtio,
        check_sizes,
    )
    .full()
    .limit(Duration::from_secs(3000)),
    Case::new(
        "sizes::every_size_is_shown_in_4g",
        Config::Virtio,
        check_sizes,
    )
    .memory(Memory::FOUR_GIBIBYTES)
    .full()
    .limit(Duration::from_secs(3000)),
    Case::new(
        "sizes::every_size_is_shown_in_6g",
        Config::Virtio,
        check_sizes,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .full()
    .limit(Duration::from_secs(3000)),
];

fn check_sizes(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    set_pattern(context.guest()?, 1)?;
    for (size, has_mode) in SIZES {
        check_size(context, size, has_mode).with_context(|| size.to_owned())?;
    }
    Ok(Outcome::Passed)
}

/// Checks that frames of this size are scanned out if the display has such a mode. Otherwise they must be composited, and the
/// report must state the size as the reason.
fn check_size(context: &mut TestContext<'_>, size: &str, has_mode: bool) -> anyhow::Result<()> {
    let guest = context.guest()?;
    let pipeline = Pipeline {
        client: format!("--fullscreen --size {size} --frames 100000"),
        compositor: if has_mode {
            format!("--mode {size}")
        } else {
            String::new()
        },
        ..Pipeline::default()
    };
    let mut running = pipeline.start(guest)?;
    running.wait_for_frames(20, FRAMES_LIMIT)?;
    let picture = guest.screendump()?;
    // If the camera had ended before the picture, the display could be black. So the camera must still run after the picture.
    let ended = guest.sh("pkill -TERM covalent-camera", COMMAND_LIMIT)?;
    ensure!(ended.status.success(), "no camera: {}", ended.status);
    let finished = running.finish(FRAMES_LIMIT)?;
    let frames = finished.camera_frames();
    ensure!(
        frames.len() >= 19,
        "only {} frames were shown",
        frames.len()
    );
    let expected = if has_mode {
        check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;
        Path::Direct
    } else {
        Path::Composited
    };
    for frame in &frames {
        let why = frame.why_not_direct.clone().unwrap_or_default();
        ensure!(
            frame.path == expected && (has_mode || why.contains(size)),
            "frame {} was {:?}: {why:?}",
            frame.frame,
            frame.path
        );
    }
    ensure!(
        !has_mode || frames.iter().all(|frame| frame.cpu_copied_bytes == 0),
        "bytes were copied"
    );
    Ok(())
}
