//! Checks `covalent-camera --display kms`, which shows the camera without a compositor, from the camera's own buffers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::judge::process::HeldDmabuf;
use crate::judge::scanout::Scanout;
use crate::picture::{BARS_75, BARS_100, Region, check_bars};
use crate::pipeline::Pipeline;
use crate::suite::camera_client::shared::{SOCKET, check_reader, start_reader};
use crate::suite::compositor::{
    COMMAND_LIMIT, ClientExit, PIPELINE_LIMIT, SIGTERM, bufinfo, holders, parse_camera_record,
    run_line, wait_for_exit,
};
use crate::suite::context::run_checked;
use crate::suite::display::set_pattern;
use crate::suite::{Outcome, TestContext};
use crate::vm::guest::{Guest, shell};
use crate::vm::link::Process;

const CLIENT: &str = "covalent-camera --display kms --size 640x480 --fps 30 --json";

/// Starts the client and waits until the display scans out one of its buffers. Before, the display may still show an earlier
/// picture.
fn start(context: &mut TestContext<'_>, options: &str) -> anyhow::Result<(Process, u64)> {
    let line = format!("exec {CLIENT} {options}");
    let client = context.guest()?.start(shell(&line))?;
    for _ in 0..200 {
        let text = context
            .sh("covalent-judge held covalent-camera", COMMAND_LIMIT)?
            .text();
        let held: Vec<HeldDmabufs> = serde_json::from_str(&text).context("covalent-judge held")?;
        let text = context.sh("covalent-judge scanout", COMMAND_LIMIT)?.text();
        let scanouts: Vec<Scanout> =
            serde_json::from_str(&text).context("covalent-judge scanout")?;
        let shown = scanouts.iter().find(|scanout| {
            let mut held = held.iter().flat_map(|held| &held.dma_bufs);
            held.any(|held| held.inode == scanout.inode)
        });
        if let Some(scanout) = shown {
            return Ok((client, scanout.inode));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let exit = wait_for_exit(client, Some(SIGTERM))?;
    anyhow::bail!("the client shows nothing: {exit:?}")
}

/// The dma-bufs that one process holds.
#[derive(Debug, Deserialize)]
struct HeldDmabufs {
    dma_bufs: Vec<HeldDmabuf>,
}

/// Ends the client with SIGTERM, and checks its report: every frame was scanned out from the camera's buffers, and no frame was
/// copied.
fn end(context: &mut TestContext<'_>, client: Process, inode: u64) -> anyhow::Result<()> {
    let exit: ClientExit = wait_for_exit(client, Some(SIGTERM))?;
    ensure!(exit.status == 0, "{exit:?}");
    context.save_artefact("camera.json", exit.stdout.as_bytes())?;
    let record = parse_camera_record(&exit.stdout)?;
    let report: serde_json::Value = serde_json::from_str(&exit.stdout)?;
    ensure!(
        record.buffers.contains(&inode),
        "the display scanned out the dma-buf with inode {inode}, which is none of the camera's buffers {:?}",
        record.buffers
    );
    ensure!(
        record.frames >= 20
            && record.cpu_copied_bytes_per_frame == Some(0.0)
            && report["path"] == "direct"
            && report["display"] == "kms"
            && report["out_of_order"] == 0
            && record.latency_ms.is_some(),
        "{report}"
    );
    Ok(())
}

/// Waits long enough for about 20 more frames to be shown.
fn wait_for_frames() {
    std::thread::sleep(Duration::from_secs(2));
}

pub(super) fn kms_display_is_filled_without_a_compositor(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let before = bufinfo(context)?.len();
    set_pattern(context.guest()?, 1)?;
    let (client, inode) = start(context, "")?;
    wait_for_frames();
    // Only one program can drive a display at a time.
    let second = run_line(context, CLIENT)?;
    ensure!(
        second.status == 5 && second.stderr.contains("another program drives"),
        "{second:?}"
    );
    let picture = context.guest()?.screendump()?;
    check_bars(&picture, Region::whole(&picture), &BARS_100, 1).context("the first picture")?;
    set_pattern(context.guest()?, 0)?;
    let mut last = Ok(());
    for _ in 0..20 {
        wait_for_frames();
        let picture = context.guest()?.screendump()?;
        last = check_bars(&picture, Region::whole(&picture), &BARS_75, 1);
        if last.is_ok() {
            break;
        }
    }
    last.context("the display does not show the camera's second pattern")?;
    end(context, client, inode)?;
    let mode = run_line(context, "covalent-camera --display kms --size 333x222")?;
    ensure!(
        mode.status == 4,
        "a size that is no mode of the display was not refused: {mode:?}"
    );
    let mut left = bufinfo(context)?;
    for _ in 0..40 {
        if left.len() <= before {
            return Ok(Outcome::Passed);
        }
        std::thread::sleep(Duration::from_millis(250));
        left = bufinfo(context)?;
    }
    let holders = holders(context)?;
    anyhow::bail!(
        "there were {before} dma-bufs before the case, and after it there are {left:?}\n{holders}"
    )
}

/// A fast and a slow process read the buffers that the display scans out, and the display goes on.
pub(super) fn shares_with_processes(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    /// The number of frames that the slow reader reads, one in each half second.
    const SLOW_FRAMES: usize = 4;
    const FAST_FRAMES: usize = 20;
    set_pattern(context.guest()?, 1)?;
    let refused = run_line(context, &format!("{CLIENT} --frames 1 --share /tmp"))?;
    ensure!(
        refused.status == 1 && refused.stderr.contains("folder"),
        "{refused:?}"
    );
    let (client, inode) = start(context, &format!("--share {SOCKET}"))?;
    let slow = start_reader(context, &format!("{SLOW_FRAMES} 500"))?;
    let fast = start_reader(context, &FAST_FRAMES.to_string())?;
    let fast = wait_for_exit(fast, None)?;
    let slow = wait_for_exit(slow, None)?;
    check_reader(&fast, FAST_FRAMES).context("the fast reader")?;
    check_reader(&slow, SLOW_FRAMES).context("the slow reader")?;
    wait_for_frames();
    let picture = context.guest()?.screendump()?;
    check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;
    end(context, client, inode)?;
    context.sh(&format!("test ! -e {SOCKET}"), COMMAND_LIMIT)?;
    Ok(Outcome::Passed)
}

/// Returns the checksum that vkms computes of the displayed picture. The checksum is that of a frame that is displayed after this
/// call.
fn displayed_checksum(guest: &Guest) -> anyhow::Result<String> {
    let line = "card=$(dirname $(grep -l vkms /sys/kernel/debug/dri/*/name | head -n 1)); crc=$card/crtc-0/crc; \
                echo auto >$crc/control && timeout 30 head -n 4 $crc/data | tail -n 1 | cut -d' ' -f2-";
    let text = run_checked(guest, line, COMMAND_LIMIT)?.text();
    ensure!(text.trim().starts_with("0x"), "no checksum: {text:?}");
    Ok(text.trim().to_owned())
}

/// vkms has no screendump, and its writeback needs DRM master. So the case compares the checksum that vkms computes without the
/// compositor with the checksum under the compositor. Other cases check the pixels of the compositor's picture.
pub(super) fn same_as_the_compositor(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let mut checksums = Vec::new();
    for pattern in [1, 0] {
        set_pattern(context.guest()?, pattern)?;
        let (client, inode) = start(context, "--format XR24")?;
        wait_for_frames();
        let alone = displayed_checksum(context.guest()?)?;
        end(context, client, inode)?;
        let guest = context.guest()?;
        let mut running = Pipeline {
            client: "--size 640x480 --format XR24 --fps 10 --frames 150".to_owned(),
            compositor: "--mode 640x480".to_owned(),
            ..Pipeline::default()
        }
        .start(guest)?;
        running.wait_for_frames(20, PIPELINE_LIMIT)?;
        let composed = displayed_checksum(guest)?;
        running.finish(PIPELINE_LIMIT)?;
        ensure!(
            composed == alone,
            "pattern {pattern}: the display has the checksum {alone} with the client alone, and {composed} with the compositor"
        );
        checksums.push(alone);
    }
    ensure!(
        checksums[0] != checksums[1],
        "both patterns have the checksum {checksums:?}"
    );
    Ok(Outcome::Passed)
}
