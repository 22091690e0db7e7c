//! Theme `syncobj`: checks that the compositor implements linux-drm-syncobj-v1, and that a client that makes errors or hangs
//! affects only itself.

use std::time::Duration;

use anyhow::ensure;

use super::compositor::{SIGKILL, TestCompositor, run_line, wait_for_exit};
use super::{Case, Outcome, TestContext};
use crate::pipeline::{FrameRecord, Path, Pipeline, PipelineReports};
use crate::vm::config::Config;
use crate::wire::Stream;

/// The time limit of one command on a busy machine without KVM.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// The time limit to show a few hundred frames.
const FRAMES_LIMIT: Duration = Duration::from_secs(120);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "syncobj::protocol_errors_have_their_codes",
        Config::Virtio,
        |context| run_theme(context, "errors"),
    ),
    Case::new(
        "syncobj::late_acquire_point_delays_only_its_surface",
        Config::Virtio,
        |context| run_theme(context, "order"),
    ),
    Case::new(
        "syncobj::frames_with_pending_fences_are_shown_once_written",
        Config::Virtio,
        frames_with_pending_fences_are_shown_once_written,
    ),
    Case::new(
        "syncobj::missing_releases_are_reported_and_awaited",
        Config::Virtio,
        missing_releases_are_reported_and_awaited,
    ),
    Case::new(
        "syncobj::client_killed_before_its_point_leaves_nothing",
        Config::Virtio,
        client_killed_before_its_point_leaves_nothing,
    ),
    Case::new(
        "syncobj::camera_uses_explicit_sync",
        Config::Virtio,
        camera_uses_explicit_sync,
    ),
    Case::new(
        "syncobj::card_without_timelines_offers_no_explicit_sync",
        Config::Vkms,
        card_without_timelines_offers_no_explicit_sync,
    ),
];

/// Runs a theme of the check client, and checks that the compositor still serves other clients.
fn run_theme(context: &mut TestContext<'_>, theme: &str) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let exit = compositor.run_client(context, "", &format!("covalent-syncobj-check {theme}"))?;
    context.save_artefact("stdout.txt", exit.stdout.as_bytes())?;
    let failed: Vec<&str> = exit
        .stdout
        .lines()
        .filter(|line| !line.starts_with("passed "))
        .collect();
    ensure!(
        failed.is_empty() && exit.status == 0 && exit.stdout.lines().count() >= 5,
        "{failed:#?}, status {}: {}",
        exit.status,
        exit.stderr
    );
    compositor.check_nothing_left(context, theme)?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Commits frames whose rendering is pending. Frames in the card's own memory are scanned out; frames in a heap's memory are
/// composited. If the fences are left out, the check client must detect wrong frames.
fn frames_with_pending_fences_are_shown_once_written(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("modprobe sw_sync", COMMAND_LIMIT)?;
    let compositor = TestCompositor::start(context)?;
    let check = "covalent-syncobj-check held --source dumb:virtio_gpu --source heap:system";
    let exit = compositor.run_client(context, "", check)?;
    context.save_artefact("stdout.txt", exit.stdout.as_bytes())?;
    let passed = |line: &&str| line.starts_with("passed ");
    ensure!(
        exit.status == 0 && exit.stdout.lines().filter(passed).count() == 4,
        "{exit:?}"
    );
    let count_paths = |frames: &[FrameRecord]| {
        let direct = frames
            .iter()
            .filter(|frame| frame.path == Path::Direct)
            .count();
        (direct, frames.len().saturating_sub(direct))
    };
    let (direct, composed) = count_paths(&compositor.frames(context)?);
    ensure!(
        direct >= 60 && composed >= 60,
        "only {direct} frames were scanned out and {composed} were composited"
    );
    let without_fences = compositor.run_client(
        context,
        "",
        &format!("{check} --without-fences --frames 20"),
    )?;
    context.save_artefact("without-fences.txt", without_fences.stdout.as_bytes())?;
    let failed = |line: &&str| line.starts_with("failed ");
    ensure!(
        without_fences.status == 1 && without_fences.stdout.lines().filter(failed).count() == 2,
        "the check client did not detect the wrong frames without fences: {without_fences:?}"
    );
    compositor.check_nothing_left(context, "frames with pending fences")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// A stopped compositor releases no buffers. The clients must report this, wait, and continue when the compositor continues.
fn missing_releases_are_reported_and_awaited(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    for client in [
        "covalent-camera --sync explicit",
        "covalent-camera --sync implicit",
        "covalent-pattern --fps 20 --dmabuf --sync explicit",
        "covalent-pattern --fps 20",
    ] {
        let script = format!(
            "cd /tmp/compositor; export WAYLAND_DISPLAY=suite
             {client} >client.out 2>client.err & client=$!
             frames() {{ wc -l <frames.jsonl; }}
             until_more() {{ for _ in $(seq 300); do [ $(frames) -gt $1 ] && return; sleep 0.1; done; echo \"no frames after $1\" >&2; tail -n 20 client.err log >&2; exit 1; }}
             until_more $(( $(frames) + 10 ))
             pkill -STOP -x covalent-compos
             for _ in $(seq 100); do grep -qs ' has held .* buffers' client.err && break; sleep 0.2; done
             sleep 1
             pkill -CONT -x covalent-compos
             until_more $(( $(frames) + 10 ))
             kill -INT $client; wait $client || true
             grep -c ' has held .* buffers' client.err"
        );
        let exit = run_line(context, &script)?;
        ensure!(
            exit.status == 0
                && exit
                    .stdout
                    .trim()
                    .parse::<u32>()
                    .is_ok_and(|reports| reports > 0),
            "{client}: {exit:?}"
        );
    }
    compositor.check_nothing_left(context, "a compositor that was stopped")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn client_killed_before_its_point_leaves_nothing(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    for _ in 0..5 {
        let mut client = compositor.start_client(context, "covalent-syncobj-check hang")?;
        let line = client.line(Stream::Out, COMMAND_LIMIT)?;
        ensure!(
            line.as_deref() == Some("hangs"),
            "the client printed {line:?}"
        );
        wait_for_exit(client, Some(SIGKILL))?;
    }
    compositor.check_nothing_left(context, "five clients that were killed")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

/// Checks that the camera's buffers use explicit synchronisation by default, and implicit synchronisation if an option requests
/// it, and that all frames are shown in both cases.
fn camera_uses_explicit_sync(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    for (option, sync) in [
        ("", "explicit"),
        ("--sync explicit", "explicit"),
        ("--sync implicit", "implicit"),
    ] {
        let pipeline = Pipeline {
            client: format!("--size 640x480 --frames 120 {option}"),
            ..Pipeline::default()
        };
        let PipelineReports { camera, frames, .. } =
            pipeline.start(context.guest()?)?.finish(FRAMES_LIMIT)?;
        ensure!(
            camera.sync == sync,
            "with the option {option:?}, the client reports the synchronisation {:?}",
            camera.sync
        );
        let released = frames.iter().filter(|frame| frame.released_ns.is_some());
        ensure!(
            camera.frames >= 120 && released.count() >= 100,
            "with {option:?}: {camera:?}"
        );
    }
    Ok(Outcome::Passed)
}

fn card_without_timelines_offers_no_explicit_sync(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let exit = compositor.run_camera(context, "", "--sync explicit --frames 1")?;
    ensure!(
        exit.status == 4 && exit.stderr.contains("--sync implicit"),
        "{exit:?}"
    );
    let exit = compositor.run_camera(context, "", "--frames 30 --json")?;
    ensure!(
        exit.status == 0 && exit.stdout.contains("\"sync\":\"implicit\""),
        "{exit:?}"
    );
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}
