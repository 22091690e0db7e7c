//! Checks which of a camera's formats and frame rates the client chooses, and what it does if no buffer suits both the camera and
//! the compositor.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::picture::{BARS_75, BARS_100, Region, check_bars};
use crate::suite::compositor::{COMMAND_LIMIT, SIGTERM, TestCompositor, wait_for_exit};
use crate::suite::display::set_pattern;
use crate::suite::{Outcome, TestContext};
use crate::wire::{SignalTarget, Stream};

/// The camera supports NV16 and the compositor does not, so the client must copy the frames, or end with an error if `--no-copy`
/// is given.
pub(super) fn frame_that_the_compositor_cannot_read_is_copied_once_and_says_why(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    let refused = compositor.run_camera(
        context,
        "",
        "--size 640x480 --format NV16 --frames 5 --no-copy",
    )?;
    ensure!(
        refused.status == 4
            && refused
                .stderr
                .contains("no buffer can be shared by the camera"),
        "--no-copy: {refused:?}"
    );
    let before = compositor.frames(context)?.len();
    let mut camera = compositor.start_client(
        context,
        "covalent-camera --size 640x480 --format NV16 --fps 10 --json",
    )?;
    let line = camera
        .line(Stream::Error, COMMAND_LIMIT)?
        .context("the client prints nothing")?;
    compositor.wait_for_frames(context, before + 20)?;
    let picture = context.guest()?.screendump()?;
    let exit = wait_for_exit(camera, Some(SIGTERM))?;
    ensure!(exit.status == 0, "{exit:?}");
    check_bars(&picture, Region::whole(&picture), &BARS_100, 4)?;
    ensure!(
        line.contains("every frame is copied into wl_shm, 1228800 bytes from NV16 to XR24")
            && line.contains("--no-copy"),
        "the client printed the line {line:?}"
    );
    let report: Value = serde_json::from_str(exit.stdout.trim())?;
    context.save_artefact("camera.json", exit.stdout.as_bytes())?;
    let bytes = report["client_copied_bytes_per_frame"]
        .as_f64()
        .context("client_copied_bytes_per_frame")?;
    // For each frame, the CPU reads NV16 with 2 bytes a pixel, and writes XRGB8888 with 4 bytes a pixel. Some frames are copied
    // but replaced before they are shown.
    let once = 640.0 * 480.0 * 6.0;
    ensure!(
        report["cpu_copied_bytes_per_frame"].is_null()
            && report["copied"]["bytes_per_frame"] == 1_228_800
            && report["copied"]["from"] == "NV16"
            && bytes >= once
            && bytes < once * 1.5,
        "{report}"
    );
    compositor.check_nothing_left(context, "copied frames")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Another program has set the camera to two frames a second. The list of formats and the client must still show the best rate
/// for the display.
pub(super) fn list_says_how_each_format_is_shown_and_the_best_rate_is_set(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    context.sh("v4l2-ctl -d /dev/video0 -p 2", COMMAND_LIMIT)?;
    let exit = compositor.run_camera(context, "", "--list --json --size 640x480")?;
    context.save_artefact("list.json", exit.stdout.as_bytes())?;
    ensure!(exit.status == 0, "{exit:?}");
    let list: Value = serde_json::from_str(&exit.stdout)?;
    let formats = list["formats"].as_array().context("formats")?;
    let of = |name: &str| {
        let mut found = formats.iter().filter(|format| format["format"] == name);
        found
            .next()
            .with_context(|| format!("the client does not list the format {name}"))
    };
    let (scanned_out, composited, copied) = (of("XR24")?, of("NV12")?, of("NV16")?);
    ensure!(
        scanned_out["shown"] == "scanned_out"
            && scanned_out["chosen"] == true
            && scanned_out["source"] == "virtio_gpu dumb"
            && formats.first() == Some(scanned_out),
        "{scanned_out}"
    );
    ensure!(
        composited["shown"] == "composited" && composited["why"].is_string(),
        "{composited}"
    );
    ensure!(
        copied["shown"] == "copied" && copied["why"].is_string(),
        "{copied}"
    );
    let sizes = scanned_out["sizes"].as_array().context("sizes")?;
    ensure!(
        sizes.iter().any(|size| size["size"] == "640x480"
            && size["rates"]
                .as_array()
                .is_some_and(|rates| rates.len() > 3)),
        "{scanned_out}"
    );
    let rate: f64 = list["rate"].as_str().context("rate")?.parse()?;
    ensure!(rate > 2.0, "the best frame rate in the list is {rate}");

    let text = compositor.run_camera(context, "", "--list --size 640x480")?;
    ensure!(
        text.status == 0
            && text.stdout.contains("* XR24  scanned out")
            && text.stdout.contains("  NV16  copied"),
        "{text:?}"
    );
    let shown = compositor.run_camera(context, "", "--size 640x480 --frames 10")?;
    ensure!(shown.status == 0, "{shown:?}");
    let set = context.sh("v4l2-ctl -d /dev/video0 -P", COMMAND_LIMIT)?;
    let set = set.text();
    ensure!(
        set.contains(&format!("{rate:.3}")),
        "the list has {rate} frames a second, but the camera is set to: {set}"
    );
    compositor.check_nothing_left(context, "the list")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Checks that `--snapshot` writes the first frame, and after a signal the next frame, with the colours of the camera.
pub(super) fn snapshot_has_the_colours_of_the_camera(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const FILE: &str = "/tmp/snapshot.png";
    const SIGUSR1: i32 = 10;
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    let wait_for_file =
        format!("for _ in $(seq 300); do test -s {FILE} && exit 0; sleep 0.1; done; exit 1");
    for (format, tolerance) in [("XR24", 1), ("NV12", 4), ("YUYV", 4)] {
        set_pattern(context.guest()?, 1)?;
        context.sh(&format!("rm -f {FILE}"), COMMAND_LIMIT)?;
        let camera = compositor.start_client(
            context,
            &format!(
                "covalent-camera --size 640x480 --format {format} --fps 10 --snapshot {FILE} --json"
            ),
        )?;
        context.sh(&wait_for_file, COMMAND_LIMIT)?;
        let first = read_picture(context, FILE)?;
        set_pattern(context.guest()?, 0)?;
        // Frames with the earlier pattern may still be queued between the camera and the client.
        std::thread::sleep(Duration::from_secs(2));
        context.sh(&format!("rm -f {FILE}"), COMMAND_LIMIT)?;
        camera.signal(SIGUSR1, SignalTarget::Leader)?;
        context.sh(&wait_for_file, COMMAND_LIMIT)?;
        let second = read_picture(context, FILE)?;
        let exit = wait_for_exit(camera, Some(SIGTERM))?;
        ensure!(exit.status == 0, "{format}: {exit:?}");
        for (picture, bars) in [(first, &BARS_100), (second, &BARS_75)] {
            ensure!(
                picture.dimensions() == (640, 480),
                "{:?}",
                picture.dimensions()
            );
            check_bars(&picture, Region::whole(&picture), bars, tolerance)
                .with_context(|| format!("the snapshot in {format}"))?;
        }
    }
    let refused = compositor.run_camera(context, "", "--frames 1 --snapshot /tmp")?;
    ensure!(
        refused.status == 1 && refused.stderr.contains("folder"),
        "{refused:?}"
    );
    compositor.check_nothing_left(context, "snapshots")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Checks that a recording contains whole frames without gaps between their rows, even for a format with two planes.
pub(super) fn recording_has_whole_frames_with_the_colours_of_the_camera(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const FILE: &str = "/tmp/video";
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    for (format, frame_bytes) in [("XR24", 640 * 480 * 4), ("NV12", 640 * 480 * 3 / 2)] {
        let exit = compositor.run_camera(
            context,
            "",
            &format!("--size 640x480 --format {format} --frames 10 --record {FILE} --json"),
        )?;
        ensure!(exit.status == 0, "{format}: {exit:?}");
        let report: Value = serde_json::from_str(exit.stdout.trim())?;
        let recorded = &report["recorded"];
        let frames = recorded["frames"].as_u64().unwrap_or(0);
        ensure!(
            frames > 0 && recorded["bytes_per_frame"] == frame_bytes,
            "{format}: {recorded}"
        );
        let bytes = context.guest()?.get(FILE)?;
        ensure!(
            u64::try_from(bytes.len())? == frames * u64::try_from(frame_bytes)?,
            "{format}: {} bytes for {recorded}",
            bytes.len()
        );
        let last = bytes
            .chunks_exact(usize::try_from(frame_bytes)?)
            .next_back()
            .context("a frame")?;
        if format == "XR24" {
            let picture = image::RgbImage::from_fn(640, 480, |x, y| {
                let place = (y as usize * 640 + x as usize) * 4;
                image::Rgb([last[place + 2], last[place + 1], last[place]])
            });
            check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;
        } else {
            // The luma of the first bar is white and that of the last bar is black. The chroma of both bars is grey.
            let chroma = 640 * 480 + 640 * 100;
            let found = [
                last[640 * 200 + 10],
                last[640 * 200 + 630],
                last[chroma + 10],
                last[chroma + 630],
            ];
            let near = |one: u8, other: u8| one.abs_diff(other) <= 2;
            ensure!(
                near(found[0], 235)
                    && near(found[1], 16)
                    && near(found[2], 128)
                    && near(found[3], 128),
                "{format}: luma of the white and of the black bar, and chroma of both, are {found:?}"
            );
        }
    }
    context.sh(&format!("rm -f {FILE}"), COMMAND_LIMIT)?;
    compositor.check_nothing_left(context, "recordings")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn read_picture(context: &mut TestContext<'_>, file: &str) -> anyhow::Result<image::RgbImage> {
    let bytes = context.guest()?.get(file)?;
    Ok(image::load_from_memory(&bytes)?.into_rgb8())
}

/// The encoder reads the buffers that the display shows. Checks the pictures that a decoder makes of the encoder's output.
pub(super) fn encoder_reads_the_buffers_that_the_display_shows(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const FILE: &str = "/tmp/video.fwht";
    set_pattern(context.guest()?, 1)?;
    context.sh("modprobe vicodec", COMMAND_LIMIT)?;
    let compositor = TestCompositor::start(context)?;
    let exit = compositor.run_camera(
        context,
        "",
        &format!("--size 640x480 --frames 20 --encode {FILE} --json"),
    )?;
    ensure!(exit.status == 0, "{exit:?}");
    let report: Value = serde_json::from_str(exit.stdout.trim())?;
    let encoded = &report["encoded"];
    let frames = encoded["frames"].as_u64().unwrap_or(0);
    ensure!(
        frames >= 5 && encoded["format"] == "FWHT" && report["copied"].is_null(),
        "{encoded}, copied {}",
        report["copied"]
    );
    let size = context.sh(&format!("stat -c %s {FILE}"), COMMAND_LIMIT)?;
    ensure!(
        encoded["bytes"].as_u64() == Some(size.text().trim().parse()?),
        "{encoded} in {} bytes",
        size.text()
    );
    // /dev/video0 is the camera's node and no encoder, so the client must report an error.
    let refused = compositor.run_camera(
        context,
        "",
        &format!("--encode {FILE} --encoder /dev/video0"),
    )?;
    ensure!(
        refused.status == 1 && refused.stderr.contains("/dev/video0"),
        "{refused:?}"
    );
    compositor.check_nothing_left(context, "an encoder beside the display")?;
    compositor.stop(context)?;
    // v4l2-ctl decodes the file to raw pictures in the encoder's format. Each picture must show the bars.
    let decoder = "$(for node in /dev/video*; do v4l2-ctl -d $node --info | grep -q 'Card type *: vicodec' \
         && v4l2-ctl -d $node --list-formats-out | grep -q FWHT && echo $node; done | head -n 1)";
    context.sh(
        &format!(
            "v4l2-ctl -d {decoder} --set-fmt-video=pixelformat=XR24 --stream-mmap --stream-out-mmap \
             --stream-from {FILE} --stream-to /tmp/raw --stream-count 5 2>&1 || true; \
             rm -f {FILE}; modprobe -r vicodec"
        ),
        COMMAND_LIMIT,
    )?;
    let raw = context.guest()?.get("/tmp/raw")?;
    context.sh("rm -f /tmp/raw", COMMAND_LIMIT)?;
    let frame = raw
        .chunks_exact(640 * 480 * 4)
        .next_back()
        .with_context(|| format!("the decoder wrote {} bytes", raw.len()))?;
    let picture = image::RgbImage::from_fn(640, 480, |x, y| {
        let place = (y as usize * 640 + x as usize) * 4;
        image::Rgb([frame[place + 2], frame[place + 1], frame[place]])
    });
    check_bars(&picture, Region::whole(&picture), &BARS_100, 12)?;
    Ok(Outcome::Passed)
}
