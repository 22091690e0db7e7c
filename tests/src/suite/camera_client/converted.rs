//! Checks frames that the client has to convert, and several cameras in one client.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::picture::{BARS_100, Region, check_bars};
use crate::suite::compositor::{COMMAND_LIMIT, SIGTERM, TestCompositor, wait_for_exit};
use crate::suite::display::set_pattern;
use crate::suite::{Outcome, TestContext};
use crate::wire::Stream;

/// The camera captures raw Bayer, which no display reads, so the client must interpolate the colours, or end with an error if
/// `--no-copy` is given.
pub(super) fn bayer(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    let refused = compositor.run_camera(
        context,
        "",
        "--size 640x480 --format SRGGB8 --frames 5 --no-copy",
    )?;
    ensure!(
        refused.status == 4
            && refused
                .stderr
                .contains("frames in RGGB have to be interpolated"),
        "--no-copy: {refused:?}"
    );
    for (name, code) in [("SRGGB8", "RGGB"), ("SBGGR10", "BG10")] {
        let before = compositor.frames(context)?.len();
        let mut camera = compositor.start_client(
            context,
            &format!("covalent-camera --size 640x480 --format {name} --fps 10 --json"),
        )?;
        let line = loop {
            let line = camera.line(Stream::Error, COMMAND_LIMIT)?;
            let line = line.context("the client does not say that it converts")?;
            if line.contains("every frame is") {
                break line;
            }
        };
        compositor.wait_for_frames(context, before + 20)?;
        let picture = context.guest()?.screendump()?;
        let exit = wait_for_exit(camera, Some(SIGTERM))?;
        ensure!(exit.status == 0, "{name}: {exit:?}");
        check_bars(&picture, Region::whole(&picture), &BARS_100, 4)
            .with_context(|| format!("the picture of {name}"))?;
        ensure!(
            line.contains(&format!(
                "every frame is interpolated by the processor, 1228800 bytes from {code} to XR24"
            )) && line.contains("--no-copy"),
            "{name}: the client printed the line {line:?}"
        );
        let report: Value = serde_json::from_str(exit.stdout.trim())?;
        ensure!(
            report["converted"]["from"] == code && report["format"] == "XR24",
            "{name}: {report}"
        );
    }
    let list = compositor.run_camera(context, "", "--list --json --size 640x480")?;
    let list: Value = serde_json::from_str(&list.stdout)?;
    let formats = list["formats"].as_array().context("formats")?;
    let bayer = formats
        .iter()
        .find(|format| format["pixel_format"] == "RGGB")
        .context("the client does not list RGGB")?;
    ensure!(
        bayer["shown"] == "converted" && bayer["chosen"] == false && bayer["why"].is_string(),
        "{bayer}"
    );
    compositor.check_nothing_left(context, "converted frames")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// One client shows both cameras of the guest, each in a window of its own, and goes on if one of the cameras is not there.
pub(super) fn several(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    for (second, status) in [("/dev/video2", 0), ("/dev/video99", 3)] {
        let camera = compositor.start_client(
            context,
            &format!(
                "covalent-camera --camera /dev/video0 --camera {second} --size 320x240 --frames 20 --json"
            ),
        )?;
        let exit = wait_for_exit(camera, None)?;
        ensure!(exit.status == status, "{second}: {exit:?}");
        let reports: Vec<Value> = exit
            .stdout
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let has_captured = |camera: &str| {
            reports.iter().any(|report| {
                report["camera"] == camera && report["captured"].as_u64().unwrap_or(0) > 0
            })
        };
        ensure!(
            has_captured("/dev/video0") && has_captured(second) == (status == 0),
            "{second}: {exit:?}"
        );
    }
    compositor.check_nothing_left(context, "two cameras")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}
