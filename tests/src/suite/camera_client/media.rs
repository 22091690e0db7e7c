//! Checks a media-controller camera (vimc), whose links and formats are set by programs: an error names the pad that fails,
//! `--setup-links` sets the pipeline up, and the display then shows the sensor's pattern.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::picture::{BARS_75, Region, check_bars};
use crate::suite::compositor::{
    COMMAND_LIMIT, PIPELINE_LIMIT, SIGTERM, TestCompositor, wait_for_exit,
};
use crate::suite::{Outcome, TestContext};

/// The client's exit status where another program uses the camera.
const BUSY: i32 = 6;
/// The number of frames after which the display shows the pictures of the camera.
const FRAMES: usize = 20;
/// The first row that shows only bars. In the rows above, the sensor draws text over the bars.
const FIRST_ROW: u32 = 120;

pub(super) fn media_pipeline_that_is_broken_names_the_pad_and_is_set_up(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe vimc", COMMAND_LIMIT)?;
    let node = context.sh(
        "for video in /sys/class/video4linux/video*; do \
         grep -qx 'RGB/YUV Capture' $video/name && echo /dev/${video##*/}; done | head -n 1",
        COMMAND_LIMIT,
    )?;
    let node = node.text().trim().to_owned();
    ensure!(node.starts_with("/dev/video"), "vimc has no node: {node:?}");
    let media = context.sh(
        "for media in /dev/media*; do \
         media-ctl -d $media -p | grep -q '^driver *vimc' && echo $media; done | head -n 1",
        COMMAND_LIMIT,
    )?;
    let media = media.text().trim().to_owned();
    let compositor = TestCompositor::start(context)?;

    // When the module is loaded, the sensor has an RGB format, and the sink pad of the debayer has a Bayer format.
    let camera = format!("--device {node} --size 640x480 --frames 5");
    let mismatch = compositor.run_camera(context, "", &camera)?;
    for expected in [
        "VIDIOC_STREAMON",
        "pad 0 of Sensor A has RGB888_1X24 640x480",
        "pad 0 of Debayer A, to which it is linked, has SRGGB8_1X8 640x480",
        &format!("covalent-camera --setup-links --device {node}"),
        &format!("media-ctl -d {media} -V '\"Debayer A\":0[fmt:RGB888_1X24/640x480]'"),
    ] {
        ensure!(
            mismatch.status != 0 && mismatch.stderr.contains(expected),
            "{expected:?} is not in {mismatch:?}"
        );
    }
    context.sh(
        &format!("media-ctl -d {media} -l '\"Debayer A\":1->\"Scaler\":0[0]'"),
        COMMAND_LIMIT,
    )?;
    let unlinked = compositor.run_camera(context, "", &camera)?;
    ensure!(
        unlinked.status != 0
            && unlinked
                .stderr
                .contains("pad 0 of Scaler has no enabled link; the link from pad 0 of RGB/YUV Input is disabled"),
        "{unlinked:?}"
    );
    let (id, what) = doctor(context, &node)?;
    ensure!(
        id == "camera-pipeline" && what.contains(&media) && what.contains("pad 0 of Scaler"),
        "the doctor says {id}: {what}"
    );

    let setup = format!("--device {node} --setup-links --size 640x480 --json");
    let done = compositor.run_camera(context, "", &setup)?;
    ensure!(done.status == 0, "{done:?}");
    context.save_artefact("setup-links.json", done.stdout.as_bytes())?;
    let done: Value = serde_json::from_str(done.stdout.trim())?;
    let first = &done["changes"][0];
    ensure!(
        first["kind"] == "link"
            && first["enabled"] == true
            && first["source"]["entity"] == "RGB/YUV Input"
            && first["sink"]["entity"] == "Scaler"
            && done["pipeline"]["media"] == media.as_str()
            && done["pipeline"]["fault"].is_null(),
        "{done}"
    );
    let again = compositor.run_camera(context, "", &setup)?;
    ensure!(again.status == 0, "{again:?}");
    let again: Value = serde_json::from_str(again.stdout.trim())?;
    ensure!(again["changes"] == serde_json::json!([]), "{again}");

    shown(context, &compositor, &node)?;
    let (id, what) = doctor(context, &node)?;
    ensure!(
        id == "camera-pipeline-whole"
            && what.contains("RGB/YUV Input -> Scaler -> RGB/YUV Capture"),
        "the doctor says {id}: {what}"
    );
    let probed = context.sh("covalent probe --json", PIPELINE_LIMIT)?.text();
    let probed: Value = serde_json::from_str(&probed)?;
    let pipelines = probed["pipelines"].as_array().context("pipelines")?;
    let raw = pipelines
        .iter()
        .find(|found| found["entities"][0] == "Sensor A");
    ensure!(
        pipelines.len() == 3
            && raw.is_some_and(|raw| raw["fault"]["sink"]["entity"] == "Debayer A"),
        "{}",
        probed["pipelines"]
    );
    compositor.check_nothing_left(context, "a media-controller camera")?;
    compositor.stop(context)?;
    context.sh("modprobe -r vimc", COMMAND_LIMIT)?;
    Ok(Outcome::Passed)
}

/// Shows the camera, and checks its bars on the display. Checks also that another program cannot set up the pipeline meanwhile.
fn shown(
    context: &mut TestContext<'_>,
    compositor: &TestCompositor,
    node: &str,
) -> anyhow::Result<()> {
    let before = compositor.frames(context)?.len();
    let client = format!("covalent-camera --device {node} --json");
    let client = compositor.start_client(context, &client)?;
    compositor.wait_for_frames(context, before + FRAMES)?;
    let refused = compositor.run_camera(
        context,
        "",
        &format!("--device {node} --setup-links --size 320x240"),
    )?;
    ensure!(
        refused.status == BUSY && refused.stderr.contains("nothing was changed"),
        "{refused:?}"
    );
    let more = compositor.frames(context)?.len() + FRAMES;
    compositor.wait_for_frames(context, more)?;
    let picture = context.guest()?.screendump()?;
    let exit = wait_for_exit(client, Some(SIGTERM))?;
    ensure!(exit.status == 0, "{exit:?}");
    context.save_artefact("camera.json", exit.stdout.as_bytes())?;
    let bars = Region {
        y: FIRST_ROW,
        height: picture.height() - FIRST_ROW,
        ..Region::whole(&picture)
    };
    check_bars(&picture, bars, &BARS_75, 4)?;
    Ok(())
}

/// Returns the id and the text of the finding of `covalent doctor` about the pipeline of a node.
fn doctor(context: &mut TestContext<'_>, node: &str) -> anyhow::Result<(String, String)> {
    let report = context.sh("covalent doctor --json || test $? = 13", PIPELINE_LIMIT)?;
    let report: Value = serde_json::from_str(&report.text())?;
    let findings = report["findings"].as_array().context("findings")?;
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("").to_owned();
    let found = findings.iter().find(|finding| {
        text(finding, "id").starts_with("camera-pipeline")
            && text(finding, "what").contains(&format!("{node} "))
    });
    let found = found.with_context(|| format!("nothing on {node} in {report}"))?;
    Ok((text(found, "id"), text(found, "what")))
}
