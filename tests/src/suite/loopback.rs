//! Theme `loopback`: checks that every frame that the display's writeback connector returns has the pixels that were written to a
//! video output.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::{Case, Outcome, TestContext};
use crate::judge::pattern;
use crate::pipeline::{Path, Pipeline, check_order};
use crate::vm::config::Config;
use crate::vm::guest::shell;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The number of frames that are shown. vkms composites and writes back in software, which takes an emulated processor so long
/// that 5 to 20 frames a second are shown.
const FRAMES: u32 = 300;

/// The number of frames that are shown with `--full`.
const FRAMES_IN_FULL: u32 = 3000;

/// The largest difference between the numbers of two successive frames that are shown. A busy machine without KVM drops frames.
const LARGEST_GAP: u32 = 600;

/// The largest frame number that the first shown frame may have. The video output runs at 60 frames a second while the compositor
/// and the camera client start, which takes at most two minutes.
const LATEST_START: u32 = 7200;

pub(super) const CASES: &[Case] = &[Case::new(
    "loopback::every_frame_arrives_whole_and_in_order",
    Config::Vkms,
    every_frame_arrives_whole_and_in_order,
)
.limit(Duration::from_secs(2400))];

/// One line of the compositor's writeback report.
#[derive(Debug, Deserialize)]
struct WritebackRecord {
    frame: u64,
    buffer: u64,
    width: u32,
    height: u32,
    checksum: String,
}

fn every_frame_arrives_whole_and_in_order(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // vivid's HDMI output 0 is connected to its HDMI input. Both are set to 640x480, because the input would otherwise detect
    // 720p.
    context.sh(
        "v4l2-ctl -d /dev/video0 -i 1 -c osd_text_mode=2,hdmi_000_0_is_connected_to=2 && \
         v4l2-ctl -d /dev/video1 --set-dv-bt-timings index=0 && \
         v4l2-ctl -d /dev/video0 --set-dv-bt-timings index=0 && \
         v4l2-ctl -d /dev/video1 --set-fmt-video-out pixelformat=XR24",
        COMMAND_LIMIT,
    )?;
    let frames_wanted = if context.is_full() {
        FRAMES_IN_FULL
    } else {
        FRAMES
    };
    let guest = context.guest()?;
    let feed = guest.start(shell(
        "exec covalent-pattern --v4l2-output /dev/video1 --size 640x480",
    ))?;
    // Writing the pictures of the writeback to a file would take the guest more time than showing them. Only their checksums are
    // reported.
    let pipeline = Pipeline {
        client: format!("--size 640x480 --frames {frames_wanted}"),
        compositor: "--mode 640x480 --writeback /tmp/writeback --writeback-every 0".to_owned(),
        ..Pipeline::default()
    };
    let finished = pipeline
        .start(guest)?
        .finish(Duration::from_secs(u64::from(frames_wanted / 2) + 200))?;
    feed.kill()?;
    let text = guest.get("/tmp/writeback/frames.jsonl")?;
    let report = String::from_utf8_lossy(&text).into_owned();
    context.save_artefact("writeback.jsonl", report.as_bytes())?;

    let own = &finished.camera.buffers;
    let mut previous = 0;
    let mut shown: u32 = 0;
    for line in report.lines() {
        let written: WritebackRecord =
            serde_json::from_str(line).with_context(|| format!("a line of writeback: {line}"))?;
        if !own.contains(&written.buffer) {
            continue;
        }
        let sum = u64::from_str_radix(&written.checksum, 16)
            .context("the checksum is not a hexadecimal number")?;
        let span = if shown == 0 {
            LATEST_START
        } else {
            LARGEST_GAP
        };
        let number = pattern::identify(sum, previous, span, written.width, written.height);
        previous = number.with_context(|| {
            format!(
                "written-back frame {} (buffer {}) has the checksum of no frame of the pattern from {previous} on: the frame is torn, older, or another picture",
                written.frame, written.buffer
            )
        })?;
        shown += 1;
    }
    ensure!(
        shown >= frames_wanted,
        "{shown} of {frames_wanted} frames were written back"
    );
    let frames = finished.camera_frames();
    check_order(&frames)?;
    let composited = frames.iter().find(|frame| frame.path != Path::Direct);
    ensure!(
        composited.is_none(),
        "a frame of the camera was not scanned out: {composited:?}"
    );
    Ok(Outcome::Passed)
}
