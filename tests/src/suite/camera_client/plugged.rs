//! Checks a camera that is unplugged and plugged in again while it is shown.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::suite::compositor::{COMMAND_LIMIT, SIGTERM, TestCompositor, wait_for_exit};
use crate::suite::{Outcome, TestContext};
use crate::vm::link::Process;
use crate::wire::{SignalTarget, Stream};

/// The sysfs folder of vivid's driver. Its files `unbind` and `bind` remove the device and add it again.
const DRIVER: &str = "/sys/bus/platform/drivers/vivid";

/// Reads the next JSON object that the client prints.
fn object(camera: &mut Process) -> anyhow::Result<Value> {
    let Some(line) = camera.line(Stream::Out, COMMAND_LIMIT)? else {
        let mut messages = Vec::new();
        while let Ok(Some(line)) = camera.line(Stream::Error, COMMAND_LIMIT) {
            messages.push(line);
        }
        anyhow::bail!(
            "the client ended before it printed a JSON object; its messages: {messages:?}"
        );
    };
    serde_json::from_str(&line).with_context(|| line.clone())
}

pub(super) fn camera_that_is_plugged_in_again_is_shown_again(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const SIGUSR2: i32 = 12;
    let compositor = TestCompositor::start(context)?;
    let before = compositor.frames(context)?.len();
    let mut camera =
        compositor.start_client(context, "covalent-camera --size 640x480 --reconnect --json")?;
    compositor.wait_for_frames(context, before + 10)?;
    camera.signal(SIGUSR2, SignalTarget::Leader)?;
    let running = object(&mut camera)?;
    ensure!(
        running["ended"] == "running" && running["frames"].as_u64() > Some(0),
        "the statistics of a stream that runs: {running}"
    );
    context.sh(&format!("echo vivid.0 > {DRIVER}/unbind"), COMMAND_LIMIT)?;
    let ended = object(&mut camera)?;
    ensure!(ended["ended"] == "failed", "{ended}");
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.contains("waiting until it is plugged in again"))
    {
        let line = camera.line(Stream::Error, COMMAND_LIMIT)?;
        lines.push(line.with_context(|| format!("the client does not wait: {lines:?}"))?);
    }
    let before = compositor.frames(context)?.len();
    context.sh(&format!("echo vivid.0 > {DRIVER}/bind"), COMMAND_LIMIT)?;
    compositor.wait_for_frames(context, before + 20)?;
    let exit = wait_for_exit(camera, Some(SIGTERM))?;
    ensure!(exit.status == 0, "{exit:?}");
    compositor.check_nothing_left(context, "a camera that was plugged in again")?;
    compositor.stop(context)?;
    // The new device has the default controls and inputs, and not those that other cases have set, so this guest is not used
    // again.
    context.discard();
    Ok(Outcome::Passed)
}
