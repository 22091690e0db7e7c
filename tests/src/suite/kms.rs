//! Theme `kms`: checks that the compositor resets the state that another program left on the card, and that planes show the
//! camera and the pointer.

mod calls;
mod pointer;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use image::RgbImage;
use serde::Deserialize;

use super::context::run_checked;
use super::display::set_pattern;
use super::{Case, Outcome, TestContext};
use crate::judge::kms_state::{KmsState, LeftState};
use crate::picture::{BARS_100, Region, check_bars};
use crate::pipeline::{FrameRecord, Path, Pipeline, PipelineReports, check_order};
use crate::vm::config::Config;
use crate::vm::guest::{Guest, shell};
use crate::vm::link::Process;
use crate::wire::Stream;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit to show a few hundred frames. vkms composites in software.
const FRAMES_LIMIT: Duration = Duration::from_secs(240);

/// The size of the camera's window.
const WINDOW: (u32, u32) = (320, 240);

/// The allowed difference of each channel between a picture that a plane shows in YUV and the composited one. vkms and the
/// software renderer round the YUV matrix differently.
const YUV_TOLERANCE: u8 = 3;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "kms::state_left_on_virtio_is_reset",
        Config::Virtio,
        state_left_on_virtio_is_reset,
    ),
    Case::new(
        "kms::state_left_on_vkms_is_reset",
        Config::Vkms,
        state_left_on_vkms_is_reset,
    ),
    Case::new(
        "kms::nv12_camera_in_a_window_is_on_an_overlay",
        Config::Vkms,
        nv12_camera_in_a_window_is_on_an_overlay,
    )
    .seconds(90),
    Case::new(
        "kms::camera_under_a_window_is_drawn_and_returns_to_its_plane",
        Config::Vkms,
        camera_under_a_window_is_drawn_and_returns_to_its_plane,
    )
    .seconds(60),
    Case::new(
        "kms::frame_in_the_steady_state_is_one_commit_and_one_event",
        Config::Virtio,
        calls::frame_in_the_steady_state_is_one_commit_and_one_event,
    )
    .seconds(60),
    Case::new(
        "kms::scanned_out_frame_with_implicit_sync_takes_15_system_calls",
        Config::Virtio,
        |context| calls::at_most_15(context, "--sync implicit"),
    )
    .seconds(60),
    Case::new(
        "kms::scanned_out_frame_with_explicit_sync_takes_15_system_calls",
        Config::Virtio,
        |context| calls::at_most_15(context, "--sync explicit"),
    )
    .seconds(60),
    Case::new(
        "kms::pointer_on_virtio_is_on_the_cursor_plane",
        Config::Virtio,
        pointer::pointer_on_a_plane,
    ),
    Case::new(
        "kms::pointer_on_bochs_is_drawn",
        Config::Bochs,
        pointer::pointer_on_bochs_is_drawn,
    ),
];

/// Reads the KMS state of the guest's first card.
fn state(guest: &Guest) -> anyhow::Result<KmsState> {
    let output = run_checked(guest, "covalent-kms-state print", COMMAND_LIMIT)?;
    serde_json::from_str(&output.text()).context("parse the KMS state of the card")
}

/// Starts the program that leaves a KMS state behind. It runs until its standard input ends.
fn leave(guest: &Guest) -> anyhow::Result<(Process, LeftState)> {
    let mut process = guest.start(shell("exec covalent-kms-state leave"))?;
    let Some(line) = process.line(Stream::Out, COMMAND_LIMIT)? else {
        let output = process.wait(COMMAND_LIMIT)?;
        anyhow::bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    };
    let left = serde_json::from_str(&line).context("parse the KMS state that the program left")?;
    Ok((process, left))
}

/// Checks that the compositor has undone the state that `covalent-kms-state leave` set: the compositor shows `own` planes, the
/// planes that the program showed are off, and no property has the value that the program set.
fn check_reset(state: &KmsState, left: &LeftState, own: usize) -> anyhow::Result<()> {
    let shown: Vec<u32> = state.shown().map(|plane| plane.id).collect();
    ensure!(
        shown.len() == own && !left.planes.iter().any(|plane| shown.contains(plane)),
        "the planes {shown:?} show a framebuffer instead of {own} planes of the compositor; the program left the planes {:?} on",
        left.planes
    );
    for (id, name, value) in &left.set {
        let object = state
            .object(*id)
            .context("a KMS object that the program changed no longer exists")?;
        let now = object.value(name);
        ensure!(
            now != Some(*value),
            "the property {name} of the KMS object {id} still has the value {value} of the program"
        );
    }
    Ok(())
}

fn state_left_on_virtio_is_reset(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let (process, left) = leave(guest)?;
    ensure!(
        !left.planes.is_empty(),
        "covalent-kms-state left no cursor plane on: {left:?}"
    );
    let before = state(guest)?;
    ensure!(
        before.shown().count() == 1 + left.planes.len(),
        "{before:?}"
    );
    let mut running = Pipeline {
        client: "--size 640x480 --fps 30 --frames 60".to_owned(),
        ..Pipeline::default()
    }
    .start(guest)?;
    running.wait_for_frames(20, FRAMES_LIMIT)?;
    let (now, picture) = (state(guest)?, guest.screendump()?);
    running.finish(FRAMES_LIMIT)?;
    process.input().close()?;
    process.wait(COMMAND_LIMIT)?;
    check_reset(&now, &left, 1)?;
    check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;
    Ok(Outcome::Passed)
}

fn state_left_on_vkms_is_reset(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let (process, left) = leave(guest)?;
    let has = |name: &str| left.set.iter().any(|(_, set, _)| set == name);
    ensure!(
        left.planes.len() >= 2 && has("GAMMA_LUT") && has("rotation"),
        "the program changed too little of the state: {left:?}"
    );
    let mut running = Pipeline {
        client: "--size 640x480 --fps 30 --frames 40".to_owned(),
        compositor: "--mode 640x480 --writeback /tmp/writeback --writeback-every 10".to_owned(),
        ..Pipeline::default()
    }
    .start(guest)?;
    running.wait_for_frames(12, FRAMES_LIMIT)?;
    let now = state(guest)?;
    let finished = running.finish(FRAMES_LIMIT)?;
    process.input().close()?;
    process.wait(COMMAND_LIMIT)?;
    let frames = finished.camera_frames();
    let picture = last_written(guest, |frame| frames.iter().any(|own| own.frame == frame))?;
    check_reset(&now, &left, 1)?;
    check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;
    Ok(Outcome::Passed)
}

/// One line of the compositor's writeback report.
#[derive(Debug, Deserialize)]
struct WritebackRecord {
    frame: u64,
    width: u32,
    height: u32,
    offset: Option<u64>,
}

/// Returns the pixels of the last writeback in the report's pixel file whose frame number `is_wanted` accepts.
fn last_written(guest: &Guest, is_wanted: impl Fn(u64) -> bool) -> anyhow::Result<RgbImage> {
    let lines = guest.get("/tmp/writeback/frames.jsonl")?;
    let lines = String::from_utf8_lossy(&lines).into_owned();
    let written = lines
        .lines()
        .map(|line| {
            serde_json::from_str::<WritebackRecord>(line)
                .context("parse a line of the writeback report")
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let kept = written
        .iter()
        .rev()
        .find(|written| written.offset.is_some() && is_wanted(written.frame))
        .context("no such frame was written back")?;
    let (width, height) = (kept.width, kept.height);
    let bytes = u64::from(width) * u64::from(height) * 4;
    let offset = kept.offset.unwrap_or(0);
    // The file contains the pictures one after another, so the offset is a multiple of the size of a picture.
    let line = format!(
        "dd if=/tmp/writeback/frames.raw of=/tmp/writeback/one.raw bs={bytes} skip={} count=1",
        offset / bytes
    );
    run_checked(guest, &line, COMMAND_LIMIT)?;
    let raw = guest.get("/tmp/writeback/one.raw")?;
    let rgb = raw
        .chunks_exact(4)
        .flat_map(|pixel| [pixel[2], pixel[1], pixel[0]])
        .collect();
    RgbImage::from_raw(width, height, rgb).context("the picture has too few pixels")
}

/// Runs a camera in a window with writeback, and returns its reports and the last picture.
fn windowed(guest: &Guest, planes: &str) -> anyhow::Result<(PipelineReports, RgbImage)> {
    let (width, height) = WINDOW;
    let finished = Pipeline {
        client: format!("--window --size {width}x{height} --format NV12 --fps 30 --frames 40"),
        compositor: format!(
            "--mode 640x480 --planes {planes} --writeback /tmp/writeback --writeback-every 10"
        ),
        ..Pipeline::default()
    }
    .start(guest)?
    .finish(FRAMES_LIMIT)?;
    let frames = finished.camera_frames();
    let picture = last_written(guest, |frame| {
        frames.iter().skip(5).any(|own| own.frame == frame)
    })?;
    Ok((finished, picture))
}

fn nv12_camera_in_a_window_is_on_an_overlay(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let (on_plane, plane_picture) = windowed(guest, "all")?;
    let (drawn, drawn_picture) = windowed(guest, "primary")?;
    for (name, picture) in [("plane.png", &plane_picture), ("drawn.png", &drawn_picture)] {
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        context.save_artefact(name, png.get_ref())?;
    }
    let frames = on_plane.camera_frames();
    check_order(&frames)?;
    let steady = frames.get(3..).context("fewer than four frames")?;
    for frame in steady {
        let is_on_overlay = frame
            .kms_plane
            .as_deref()
            .is_some_and(|plane| plane.starts_with("overlay"));
        ensure!(
            frame.path == Path::Direct && is_on_overlay && frame.cpu_copied_bytes == 0,
            "frame {} is on {:?} with {} bytes copied: {:?}",
            frame.frame,
            frame.kms_plane,
            frame.cpu_copied_bytes,
            frame.why_not_direct
        );
    }
    let composited = drawn.camera_frames();
    ensure!(
        composited
            .iter()
            .all(|frame| frame.path == Path::Composited),
        "another plane than the primary plane showed the camera"
    );
    let window = Region::centred(&plane_picture, WINDOW.0, WINDOW.1);
    let window = window.context("the picture of the display does not contain the whole window")?;
    check_bars(&plane_picture, window, &BARS_100, 8)?;
    let worst = plane_picture
        .pixels()
        .zip(drawn_picture.pixels())
        .flat_map(|(one, other)| one.0.into_iter().zip(other.0))
        .map(|(one, other)| one.abs_diff(other))
        .max()
        .context("the pictures are empty")?;
    ensure!(
        worst <= YUV_TOLERANCE,
        "the picture of the overlay and the composited picture differ by {worst} in a channel"
    );
    Ok(Outcome::Passed)
}

/// Returns the kinds of planes that showed the camera's frames, in order. Successive equal kinds are listed once. `None` means
/// that the frame was composited.
fn plane_changes(frames: &[FrameRecord], buffers: &[u64]) -> Vec<Option<String>> {
    let mut changes: Vec<Option<String>> = Vec::new();
    for frame in frames {
        let is_camera = frame.buffer.is_some_and(|buffer| buffers.contains(&buffer));
        let kind = frame
            .kms_plane
            .as_deref()
            .and_then(|plane| plane.split(' ').next());
        let kind = kind.map(ToOwned::to_owned);
        if is_camera && changes.last() != Some(&kind) {
            changes.push(kind);
        }
    }
    changes
}

/// Checks that the frames have numbers without gaps and were flipped in this order. Also checks that the display showed each
/// buffer on a plane before the buffer was released.
fn check_no_frame_is_lost(frames: &[FrameRecord]) -> anyhow::Result<()> {
    for pair in frames.windows(2) {
        let [previous, next] = pair else { continue };
        ensure!(
            next.frame == previous.frame + 1 && next.flipped_ns > previous.flipped_ns,
            "frame {} follows frame {}",
            next.frame,
            previous.frame
        );
        let is_early = previous
            .released_ns
            .zip(next.flipped_ns)
            .is_some_and(|(released, flipped)| released < flipped);
        ensure!(
            previous.path == Path::Composited || !is_early,
            "the buffer of frame {} was released while a plane showed it",
            previous.frame
        );
    }
    Ok(())
}

fn camera_under_a_window_is_drawn_and_returns_to_its_plane(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let pipeline = Pipeline {
        client: "--window --size 320x240 --format NV12 --fps 30 --frames 100000".to_owned(),
        // With `--kiosk` the second window covers the first one. Without it, the second window would be placed beside the first
        // one.
        compositor: "--mode 640x480 --socket suite --kiosk".to_owned(),
        ..Pipeline::default()
    };
    let mut running = pipeline.start(guest)?;
    let mut seen = running.wait_for_frames(20, FRAMES_LIMIT)?;
    for _ in 0..2 {
        // This window is above the camera's window. Its buffers are shared memory (wl_shm), which no plane can scan out.
        run_checked(
            guest,
            "WAYLAND_DISPLAY=suite covalent-pattern --window --size 160x120 --fps 10 --frames 10",
            FRAMES_LIMIT,
        )?;
        seen = running.wait_for_frames(seen + 30, FRAMES_LIMIT)?;
    }
    run_checked(guest, "pkill -TERM covalent-camera", COMMAND_LIMIT)?;
    let finished = running.finish(FRAMES_LIMIT)?;
    check_no_frame_is_lost(&finished.frames)?;
    let changes = plane_changes(&finished.frames, &finished.camera.buffers);
    let overlay = Some("overlay".to_owned());
    let expected = [overlay.clone(), None, overlay.clone(), None, overlay];
    // The first frames may be composited, while the client reallocates its buffers.
    let changes = match changes.as_slice() {
        [None, rest @ ..] => rest,
        all => all,
    };
    ensure!(changes == expected, "the camera was on {changes:?}");
    let covered = finished
        .frames
        .iter()
        .filter_map(|frame| frame.why_not_direct.as_deref());
    let reason = "a drawn layer or the drawn pointer covers the surface";
    ensure!(
        covered.into_iter().any(|why| why.contains(reason)),
        "no frame says that {reason}"
    );
    Ok(Outcome::Passed)
}
