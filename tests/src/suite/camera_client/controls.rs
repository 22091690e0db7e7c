//! Checks the controls of a camera: the client lists them, sets them by the command line, and sets remembered values at a later
//! start.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::suite::compositor::COMMAND_LIMIT;
use crate::suite::{Outcome, TestContext};

/// The folder in which the client stores remembered controls.
const STATE: &str = "/tmp/state";

/// Runs the client with a folder of its own for remembered controls. Returns its exit status and its output.
fn camera(context: &mut TestContext<'_>, arguments: &str) -> anyhow::Result<(String, String)> {
    let line = format!(
        "status=0; XDG_STATE_HOME={STATE} covalent-camera {arguments} >/tmp/printed 2>&1 || status=$?; echo $status"
    );
    let status = context.sh(&line, COMMAND_LIMIT)?.text().trim().to_owned();
    let printed = context.guest()?.get("/tmp/printed")?;
    Ok((status, String::from_utf8_lossy(&printed).into_owned()))
}

/// Returns the camera's brightness as another program reads it.
fn brightness(context: &mut TestContext<'_>) -> anyhow::Result<String> {
    let output = context.sh("v4l2-ctl -d /dev/video0 -C brightness", COMMAND_LIMIT)?;
    Ok(output.text().trim().to_owned())
}

pub(super) fn controls_are_set_and_remembered_until_forgotten(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh(&format!("rm -rf {STATE}"), COMMAND_LIMIT)?;
    context.sh("v4l2-ctl -d /dev/video0 -c brightness=128", COMMAND_LIMIT)?;
    let (status, printed) = camera(context, "--controls --json")?;
    ensure!(status == "0", "--controls --json: {status}, {printed}");
    let list: Value = serde_json::from_str(printed.trim()).context("--controls --json")?;
    let controls = list["controls"].as_array().context("controls")?;
    let named = |name: &str| controls.iter().find(|control| control["name"] == name);
    let listed = named("brightness").context("vivid has a brightness")?;
    ensure!(
        listed["kind"] == "integer" && listed["value"] == 128 && listed["maximum"] == 255,
        "{listed}"
    );
    let pattern = named("test_pattern").context("vivid has test patterns")?;
    ensure!(
        pattern["kind"] == "menu" && pattern["menu"][1]["name"] == "100% Colorbar",
        "{pattern}"
    );

    let (status, printed) = camera(
        context,
        "--controls --control brightness=100 --control test_pattern='100% colorbar' --remember",
    )?;
    ensure!(
        status == "0" && printed.contains("brightness = 100"),
        "--remember: {status}, {printed}"
    );
    ensure!(
        printed.contains("set to 100 at every start"),
        "the list: {printed}"
    );
    ensure!(brightness(context)? == "brightness: 100");
    let mode = context.sh(
        &format!("stat -c %a {STATE}/covalent/cameras.json"),
        COMMAND_LIMIT,
    )?;
    ensure!(mode.text().trim() == "600", "the file's mode");
    // At the next start, a remembered value replaces the value that another program has set, unless the command line gives a
    // value.
    context.sh("v4l2-ctl -d /dev/video0 -c brightness=7", COMMAND_LIMIT)?;
    camera(context, "--controls")?;
    ensure!(brightness(context)? == "brightness: 100", "remembered");
    camera(context, "--controls --control brightness=90")?;
    ensure!(brightness(context)? == "brightness: 90", "given");
    camera(context, "--controls")?;
    ensure!(
        brightness(context)? == "brightness: 100",
        "still remembered"
    );
    camera(context, "--controls --forget")?;
    context.sh("v4l2-ctl -d /dev/video0 -c brightness=7", COMMAND_LIMIT)?;
    camera(context, "--controls")?;
    ensure!(brightness(context)? == "brightness: 7", "forgotten");

    for (argument, expected) in [
        ("brightness=256", "numbers from 0 to 255"),
        ("brightness=much", "numbers from 0 to 255"),
        ("sharpness_of_mind=1", "has no control"),
        ("test_pattern=nothing", "(100% Colorbar)"),
    ] {
        let (status, printed) = camera(context, &format!("--controls --control {argument}"))?;
        ensure!(
            status == "2" && printed.contains(expected),
            "{argument}: {status}, {printed}"
        );
    }
    context.sh(
        &format!("v4l2-ctl -d /dev/video0 -c brightness=128,test_pattern=0; rm -rf {STATE}"),
        COMMAND_LIMIT,
    )?;
    Ok(Outcome::Passed)
}
