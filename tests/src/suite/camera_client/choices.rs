//! What the client chooses of a camera's formats and rates, and what it does where no buffer serves all.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::picture::{BARS_75, BARS_100, Region, check_bars};
use crate::suite::compositor::{COMMAND_LIMIT, SIGTERM, TestCompositor, wait_for_exit};
use crate::suite::display::set_pattern;
use crate::suite::{Outcome, TestContext};
use crate::wire::{SignalTarget, Stream};

/// NV16 is a format that the camera has and the compositor does not.
pub(super) fn copied(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    let refused = compositor.run_camera(
        context,
        "",
        "--size 640x480 --format NV16 --frames 5 --no-copy",
    )?;
    ensure!(
        refused.status == 4 && refused.stderr.contains("no buffer serves the camera"),
        "--no-copy: {refused:?}"
    );
    let before = compositor.frames(context)?.len();
    let mut camera = compositor.start_client(
        context,
        "covalent-camera --size 640x480 --format NV16 --fps 10 --json",
    )?;
    let line = camera
        .line(Stream::Error, COMMAND_LIMIT)?
        .context("the client says nothing")?;
    let mut frames = 0;
    for _ in 0..300 {
        frames = compositor.frames(context)?.len();
        if frames >= before + 20 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(
        frames >= before + 20,
        "{frames} frames were shown, {before} before"
    );
    let picture = context.guest()?.screendump()?;
    let exit = wait_for_exit(camera, Some(SIGTERM))?;
    ensure!(exit.status == 0, "{exit:?}");
    check_bars(&picture, Region::whole(&picture), &BARS_100, 4)?;
    ensure!(
        line.contains("every frame is copied into wl_shm, 1228800 bytes from NV16 to XR24")
            && line.contains("--no-copy"),
        "the line is {line:?}"
    );
    let report: Value = serde_json::from_str(exit.stdout.trim())?;
    context.save_artefact("camera.json", exit.stdout.as_bytes())?;
    let bytes = report["client_copied_bytes_per_frame"]
        .as_f64()
        .context("client_copied_bytes_per_frame")?;
    // NV16 is read, 2 bytes a pixel, and XRGB8888 written, 4 bytes a pixel; some frames are copied and replaced before they are shown.
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

/// Another program has left two frames a second; the list and the client choose the best rate of the display all the same.
pub(super) fn listed(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
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
            .with_context(|| format!("{name} is not listed"))
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
    ensure!(rate > 2.0, "the best rate is {rate}");

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
        "the list has {rate} frames a second, and the camera: {set}"
    );
    compositor.check_nothing_left(context, "the list")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// The first frame, and the next one after a signal, are written with the colours of the camera.
pub(super) fn snapshot(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
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
        // Frames of the pattern before are still in flight.
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

fn read_picture(context: &mut TestContext<'_>, file: &str) -> anyhow::Result<image::RgbImage> {
    let bytes = context.guest()?.get(file)?;
    Ok(image::load_from_memory(&bytes)?.into_rgb8())
}
