//! Checks that a second process can read the frames that the display shows, from the same buffers.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::picture::{BARS_100, Region, check_bars};
use crate::suite::compositor::{
    COMMAND_LIMIT, ClientExit, SIGKILL, SIGTERM, TestCompositor, wait_for_exit,
};
use crate::suite::display::set_pattern;
use crate::suite::{Outcome, TestContext};
use crate::vm::guest::shell;
use crate::vm::link::Process;
use crate::wire::Stream;

pub(super) const SOCKET: &str = "/tmp/frames";

/// Starts the example that reads frames, with these arguments after the socket.
pub(super) fn start_reader(
    context: &mut TestContext<'_>,
    arguments: &str,
) -> anyhow::Result<Process> {
    let line = format!("exec read-frames {SOCKET} {arguments}");
    Ok(context.guest()?.start(shell(&line))?)
}

/// Waits until a reader has printed its next frame. The reader then keeps the frame for its delay.
fn next_frame(reader: &mut Process) -> anyhow::Result<()> {
    let printed = reader.line(Stream::Out, COMMAND_LIMIT)?;
    if printed
        .as_ref()
        .is_some_and(|line| line.starts_with("frame "))
    {
        return Ok(());
    }
    let error = reader.line(Stream::Error, COMMAND_LIMIT)?;
    anyhow::bail!("the reader printed {printed:?} and {error:?}")
}

/// Checks that the reader ended with success, and that each frame that it printed has the colours of the bars. Returns the number
/// of frames that it lost between the first and the last one.
pub(super) fn check_reader(exit: &ClientExit, frames: usize) -> anyhow::Result<u64> {
    ensure!(exit.status == 0, "{exit:?}");
    let printed = exit.stdout.lines().filter_map(|line| {
        let (_, colours) = line.strip_prefix("frame ")?.split_once(": ")?;
        Some(colours)
    });
    let mut count = 0;
    for line in printed {
        count += 1;
        let colours: Vec<&str> = line.split(' ').collect();
        ensure!(colours.len() == BARS_100.colours.len(), "{line}");
        for (colour, expected) in colours.iter().zip(BARS_100.colours) {
            let found = u32::from_str_radix(colour, 16).with_context(|| line.to_owned())?;
            let [_, found @ ..] = found.to_be_bytes();
            let is_near = |(found, expected): (&u8, &u8)| found.abs_diff(*expected) <= 2;
            ensure!(found.iter().zip(expected).all(is_near), "{line}");
        }
    }
    ensure!(count == frames, "{count} of {frames} frames: {exit:?}");
    let last = exit.stdout.lines().last().unwrap_or_default();
    let lost = last.split_once("were read, ").and_then(|(_, rest)| {
        let number = rest.split(' ').next()?;
        number.parse().ok()
    });
    lost.with_context(|| format!("the reader printed the last line {last:?}"))
}

/// Counts the file descriptors of the camera client.
fn camera_fds(context: &mut TestContext<'_>) -> anyhow::Result<usize> {
    let line = "ls /proc/$(pgrep -x covalent-camera)/fd | wc -l";
    let text = context.sh(line, COMMAND_LIMIT)?.text();
    text.trim()
        .parse()
        .context("count the client's file descriptors")
}

/// A fast and a slow process read the frames beside the display. Other readers are killed while they hold a frame.
pub(super) fn second_process_reads_the_buffers_that_the_display_shows(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    /// The number of readers that are killed. It exceeds the number of the camera's buffers, and the number of readers that are
    /// connected at the same time.
    const KILLED: usize = 9;
    /// The number of frames that the slow reader reads, one in each second.
    const SLOW_FRAMES: usize = 4;
    const FAST_FRAMES: usize = 20;
    set_pattern(context.guest()?, 1)?;
    let compositor = TestCompositor::start(context)?;
    let refused = compositor.run_camera(context, "", "--frames 1 --share /tmp")?;
    ensure!(
        refused.status == 1 && refused.stderr.contains("folder"),
        "{refused:?}"
    );
    let camera = compositor.start_client(
        context,
        &format!("covalent-camera --size 640x480 --fps 10 --share {SOCKET} --json"),
    )?;
    let wait_for_socket =
        format!("for _ in $(seq 300); do test -S {SOCKET} && exit 0; sleep 0.1; done; exit 1");
    context.sh(&wait_for_socket, COMMAND_LIMIT)?;
    let before = compositor.frames(context)?.len();
    compositor.wait_for_frames(context, before + 5)?;

    let mut slow = start_reader(context, &format!("{} 1000", SLOW_FRAMES + 1))?;
    next_frame(&mut slow)?;
    let before = compositor.frames(context)?.len();
    let fast = start_reader(context, &FAST_FRAMES.to_string())?;
    let fast = wait_for_exit(fast, None)?;
    let picture = context.guest()?.screendump()?;
    // `next_frame` above has already read the first line of the slow reader.
    let slow = wait_for_exit(slow, None)?;
    let shown = compositor.frames(context)?.len() - before;
    check_reader(&fast, FAST_FRAMES).context("the fast reader")?;
    let lost = check_reader(&slow, SLOW_FRAMES).context("the slow reader")?;
    ensure!(lost > 0, "the slow reader lost no frame");
    ensure!(
        shown >= 3 * SLOW_FRAMES,
        "{shown} frames were shown while the slow reader read {SLOW_FRAMES}"
    );
    check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;

    let fds = camera_fds(context)?;
    for _ in 0..KILLED {
        let mut reader = start_reader(context, "100 5000")?;
        next_frame(&mut reader)?;
        let exit = wait_for_exit(reader, Some(SIGKILL))?;
        ensure!(exit.status == 128 + SIGKILL, "{exit:?}");
    }
    let before = compositor.frames(context)?.len();
    compositor.wait_for_frames(context, before + 10)?;
    let left = camera_fds(context)?;
    // The client watches the fences of only a few released buffers at a time.
    ensure!(
        left < fds + KILLED / 2,
        "the client has {left} file descriptors after {KILLED} readers were killed, and had {fds}"
    );

    let exit = wait_for_exit(camera, Some(SIGTERM))?;
    ensure!(exit.status == 0, "{exit:?}");
    context.save_artefact("camera.json", exit.stdout.as_bytes())?;
    let report: Value = serde_json::from_str(exit.stdout.trim())?;
    let shared = &report["shared"];
    let number = |name: &str| shared[name].as_u64().unwrap_or(0);
    let least = u64::try_from(SLOW_FRAMES + FAST_FRAMES + KILLED)?;
    ensure!(
        shared["socket"] == SOCKET
            && number("readers") == u64::try_from(2 + KILLED)?
            && number("frames") >= least
            && number("lost") > 0
            && report["copied"].is_null(),
        "{report}"
    );
    context.sh(&format!("test ! -e {SOCKET}"), COMMAND_LIMIT)?;
    compositor.check_nothing_left(context, "readers in other processes")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}
