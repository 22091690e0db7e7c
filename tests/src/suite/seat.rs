//! Theme `seat`: checks the compositor as an ordinary user, with other programs that use the display, and with displays that are
//! unplugged and plugged in.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::context::run_checked;
use super::display::set_pattern;
use super::{Case, Outcome, TestContext};
use crate::picture::{BARS_100, Region, check_bars};
use crate::pipeline::{Path, Pipeline, RunningPipeline, check_order};
use crate::vm::config::Config;
use crate::vm::guest::{Guest, shell};
use crate::vm::link::Process;
use crate::wire::Status;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit to show a few hundred frames.
const FRAMES_LIMIT: Duration = Duration::from_secs(180);

/// The compositor's exit code if it can drive no display.
const NO_DISPLAY: u8 = 10;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "seat::user_without_root_gets_the_display_from_seatd",
        Config::Virtio,
        user_without_root_gets_the_display_from_seatd,
    ),
    Case::new(
        "seat::console_switch_pauses_and_resumes",
        Config::Virtio,
        console_switch_pauses_and_resumes,
    ),
    Case::new(
        "seat::display_unplugged_and_replugged_shows_frames",
        Config::Virtio,
        display_unplugged_and_replugged_shows_frames,
    ),
    Case::new(
        "seat::pipeline_continues_after_a_freeze",
        Config::Virtio,
        pipeline_continues_after_a_freeze,
    ),
    Case::new(
        "seat::second_compositor_reports_the_busy_display",
        Config::Virtio,
        second_compositor_reports_the_busy_display,
    ),
    Case::new(
        "seat::match_mode_scans_out_a_smaller_camera",
        Config::Virtio,
        match_mode_scans_out_a_smaller_camera,
    ),
];

/// A running seatd, and the command prefix that starts programs as an ordinary user. When the value is dropped, seatd is ended.
struct Session {
    seatd: Process,
    user_prefix: String,
}

impl Session {
    /// Starts seatd, and creates a runtime folder for a user who is only in the groups of cards, cameras and input devices.
    fn start(guest: &Guest) -> anyhow::Result<Self> {
        let seatd = guest.start(shell("exec seatd -g video"))?;
        let output = run_checked(
            guest,
            "for try in $(seq 100); do test -S /run/seatd.sock && break; sleep 0.1; done\n\
             test -S /run/seatd.sock || exit 1\n\
             mkdir -p /tmp/user && chown 1000:1000 /tmp/user && chmod 700 /tmp/user || exit 1\n\
             for name in video render input; do getent group $name | cut -d: -f3; done | paste -sd,",
            COMMAND_LIMIT,
        )?;
        let groups = output.text();
        let user_prefix = format!(
            "setpriv --reuid=1000 --regid=1000 --groups={groups} --no-new-privs env XDG_RUNTIME_DIR=/tmp/user HOME=/tmp/user"
        );
        Ok(Self { seatd, user_prefix })
    }

    /// Returns a pipeline whose compositor and camera client run as the ordinary user. Root creates the folder of the reports and
    /// gives it to the user.
    fn pipeline(&self, frames: u32) -> Pipeline {
        Pipeline {
            client: format!("--size 640x480 --fps 30 --frames {frames}"),
            outer_wrapper: format!("chown 1000:1000 /tmp/pipeline && {}", self.user_prefix),
            ..Pipeline::default()
        }
    }

    fn end(self) -> anyhow::Result<()> {
        Ok(self.seatd.kill()?)
    }
}

fn check_bars_shown(guest: &Guest) -> anyhow::Result<()> {
    let picture = guest.screendump()?;
    Ok(check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?)
}

/// Checks that no frame reaches the display for three seconds. Before that, waits one second for the frames that were already
/// submitted.
fn check_no_frames(running: &RunningPipeline<'_>) -> anyhow::Result<usize> {
    std::thread::sleep(Duration::from_secs(1));
    let before = running.progress()?;
    std::thread::sleep(Duration::from_secs(3));
    let after = running.progress()?;
    ensure!(!after.ended, "the pipeline has ended");
    ensure!(
        before.frames == after.frames,
        "frames {} to {} were shown",
        before.frames,
        after.frames
    );
    Ok(after.frames)
}

fn user_without_root_gets_the_display_from_seatd(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let session = Session::start(guest)?;
    let mut running = session.pipeline(120).start(guest)?;
    running.wait_for_frames(30, FRAMES_LIMIT)?;
    check_bars_shown(guest)?;
    let owner = run_checked(
        guest,
        "stat -c %u /proc/$(pidof covalent-compositor)",
        COMMAND_LIMIT,
    )?
    .text();
    ensure!(owner == "1000", "the compositor runs as user {owner}");
    let finished = running.finish(FRAMES_LIMIT)?;
    session.end()?;
    let frames = finished.camera_frames();
    ensure!(
        frames.len() >= 100,
        "only {} frames were shown",
        frames.len()
    );
    let composited = frames.iter().find(|frame| frame.path != Path::Direct);
    ensure!(
        composited.is_none(),
        "a frame of the camera was not scanned out: {composited:?}"
    );
    Ok(Outcome::Passed)
}

fn console_switch_pauses_and_resumes(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.fresh_guest()?;
    set_pattern(guest, 1)?;
    let home = run_checked(guest, "cat /sys/class/tty/tty0/active", COMMAND_LIMIT)?.text();
    let session = Session::start(guest)?;
    let mut running = session.pipeline(100_000).start(guest)?;
    running.wait_for_frames(20, FRAMES_LIMIT)?;
    check_bars_shown(guest)?;
    for round in 0..2 {
        run_checked(guest, "busybox chvt 5", COMMAND_LIMIT)?;
        let seen = check_no_frames(&running).with_context(|| format!("away, round {round}"))?;
        ensure!(
            check_bars_shown(guest).is_err(),
            "the display still shows the camera after the switch to another console"
        );
        let number = home.trim_start_matches("tty");
        run_checked(guest, &format!("busybox chvt {number}"), COMMAND_LIMIT)?;
        running
            .wait_for_frames(seen + 20, FRAMES_LIMIT)
            .with_context(|| format!("back, round {round}"))?;
        check_bars_shown(guest)?;
    }
    run_checked(guest, "pkill -TERM covalent-camera", COMMAND_LIMIT)?;
    check_order(&running.finish(FRAMES_LIMIT)?.camera_frames())?;
    session.end()?;
    Ok(Outcome::Passed)
}

fn display_unplugged_and_replugged_shows_frames(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    const CONNECTOR: &str = "/sys/class/drm/card0-Virtual-1/status";
    const NOTIFY: &str = "udevadm trigger -c change /sys/class/drm/card0";
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let pipeline = Pipeline {
        client: "--size 640x480 --fps 30 --frames 100000".to_owned(),
        ..Pipeline::default()
    };
    let mut running = pipeline.start(guest)?;
    running.wait_for_frames(20, FRAMES_LIMIT)?;
    for round in 0..3 {
        run_checked(
            guest,
            &format!("echo off > {CONNECTOR} && {NOTIFY}"),
            COMMAND_LIMIT,
        )?;
        let seen =
            check_no_frames(&running).with_context(|| format!("unplugged, round {round}"))?;
        run_checked(
            guest,
            &format!("echo detect > {CONNECTOR} && {NOTIFY}"),
            COMMAND_LIMIT,
        )?;
        running
            .wait_for_frames(seen + 20, FRAMES_LIMIT)
            .with_context(|| format!("back, round {round}"))?;
        check_bars_shown(guest)?;
    }
    run_checked(guest, "pkill -TERM covalent-camera", COMMAND_LIMIT)?;
    running.finish(FRAMES_LIMIT)?;
    // If no display is connected, the compositor must report this.
    run_checked(guest, &format!("echo off > {CONNECTOR}"), COMMAND_LIMIT)?;
    let refused = guest.sh("covalent-compositor -- true", COMMAND_LIMIT)?;
    run_checked(guest, &format!("echo detect > {CONNECTOR}"), COMMAND_LIMIT)?;
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status == Status::Code(NO_DISPLAY) && stderr.contains("Virtual-1"),
        "ended with {}: {stderr}",
        refused.status
    );
    Ok(Outcome::Passed)
}

/// Runs the freezer test of the kernel's suspend: every process is frozen for five seconds, as before devices are suspended. The
/// guest cannot be suspended completely, because virtio-serial and 9p do not resume.
fn pipeline_continues_after_a_freeze(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    const ROUNDS: usize = 2;
    const FREEZE: &str = "echo freezer > /sys/power/pm_test && echo freeze > /sys/power/state; status=$?; \
        echo none > /sys/power/pm_test; exit $status";
    /// The smallest gap between two frames, in nanoseconds, that counts as caused by the freezer. The freezer stops frames for
    /// five seconds.
    const GAP_NS: u64 = 4_000_000_000;
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let pipeline = Pipeline {
        client: "--size 640x480 --fps 30 --frames 100000".to_owned(),
        ..Pipeline::default()
    };
    let mut running = pipeline.start(guest)?;
    let mut seen = running.wait_for_frames(20, FRAMES_LIMIT)?;
    for round in 0..ROUNDS {
        run_checked(guest, FREEZE, COMMAND_LIMIT)?;
        seen = running
            .wait_for_frames(seen + 20, FRAMES_LIMIT)
            .with_context(|| format!("thawed, round {round}"))?;
        check_bars_shown(guest)?;
    }
    run_checked(guest, "pkill -TERM covalent-camera", COMMAND_LIMIT)?;
    let frames = running.finish(FRAMES_LIMIT)?.camera_frames();
    check_order(&frames)?;
    let gaps = frames
        .windows(2)
        .filter(|pair| {
            matches!(pair, [one, two] if two.flipped_ns > one.flipped_ns.map(|flipped| flipped + GAP_NS))
        })
        .count();
    ensure!(
        gaps >= ROUNDS,
        "the freezer stopped the frames only {gaps} times in {ROUNDS} rounds"
    );
    Ok(Outcome::Passed)
}

fn second_compositor_reports_the_busy_display(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let pipeline = Pipeline {
        client: "--size 640x480 --fps 30 --frames 100000".to_owned(),
        ..Pipeline::default()
    };
    let mut running = pipeline.start(guest)?;
    let seen = running.wait_for_frames(20, FRAMES_LIMIT)?;
    let refused = guest.sh("covalent-compositor -- sleep 1000", FRAMES_LIMIT)?;
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(
        refused.status == Status::Code(NO_DISPLAY)
            && stderr.contains("another program drives the display"),
        "the second compositor ended with {}: {stderr}",
        refused.status
    );
    running.wait_for_frames(seen + 20, FRAMES_LIMIT)?;
    check_bars_shown(guest)?;
    run_checked(guest, "pkill -TERM covalent-camera", COMMAND_LIMIT)?;
    running.finish(FRAMES_LIMIT)?;
    Ok(Outcome::Passed)
}

fn match_mode_scans_out_a_smaller_camera(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    set_pattern(guest, 1)?;
    let pipeline = Pipeline {
        client: "--fullscreen --size 640x480 --fps 30 --frames 100".to_owned(),
        compositor: "--mode 800x600 --match-mode".to_owned(),
        ..Pipeline::default()
    };
    let mut running = pipeline.start(guest)?;
    running.wait_for_frames(30, FRAMES_LIMIT)?;
    let picture = guest.screendump()?;
    ensure!(
        picture.dimensions() == (640, 480),
        "the display has {:?} pixels",
        picture.dimensions()
    );
    check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;
    let finished = running.finish(FRAMES_LIMIT)?;
    let frames = finished.camera_frames();
    // The first frames are scaled until the client knows the display's mode.
    let composited = frames
        .iter()
        .skip(15)
        .find(|frame| frame.path != Path::Direct);
    ensure!(
        composited.is_none(),
        "a frame of the camera was not scanned out: {composited:?}"
    );
    Ok(Outcome::Passed)
}
