//! Theme `syncobj`: the compositor speaks linux-drm-syncobj, and a client that errs or hangs hurts itself alone.

use std::time::Duration;

use anyhow::ensure;

use super::stage::{SIGKILL, Stage, end, run};
use super::{Bench, Case, Outcome};
use crate::pipeline::{Finished, FrameRecord, Path, Pipeline};
use crate::vm::config::Config;
use crate::wire::Stream;

/// Enough for any single command on a busy machine without KVM.
const SOON: Duration = Duration::from_secs(60);

/// Enough for some hundred frames.
const FRAMES_LIMIT: Duration = Duration::from_secs(120);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "syncobj::every_error_has_its_code",
        Config::Virtio,
        |bench| checked(bench, "errors"),
    ),
    Case::new(
        "syncobj::late_points_stall_their_own_surface",
        Config::Virtio,
        |bench| checked(bench, "order"),
    ),
    Case::new(
        "syncobj::frames_behind_held_fences_are_shown_when_written",
        Config::Virtio,
        held,
    ),
    Case::new(
        "syncobj::releases_that_do_not_come_are_told_and_waited_for",
        Config::Virtio,
        kept,
    ),
    Case::new(
        "syncobj::client_killed_before_its_point_leaves_nothing",
        Config::Virtio,
        killed,
    ),
    Case::new(
        "syncobj::camera_hands_over_by_points",
        Config::Virtio,
        camera,
    ),
    Case::new(
        "syncobj::card_without_timelines_offers_none",
        Config::Vkms,
        without,
    ),
];

/// Runs a theme of the check client against a compositor that lives through all of it.
fn checked(bench: &mut Bench<'_>, theme: &str) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let ended = stage.client(bench, "", &format!("covalent-syncobj-check {theme}"))?;
    bench.keep("said.txt", ended.out.as_bytes())?;
    let failed: Vec<&str> = ended
        .out
        .lines()
        .filter(|line| !line.starts_with("passed "))
        .collect();
    ensure!(
        failed.is_empty() && ended.status == 0 && ended.out.lines().count() >= 5,
        "{failed:#?}, status {}: {}",
        ended.status,
        ended.words
    );
    stage.check_clean(bench, theme)?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

/// Frames that are still written when they are committed, on the display itself (the card's own memory) and composed (a heap's);
/// the same without the fences has to be noticed.
fn held(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    bench.sh("modprobe sw_sync", SOON)?;
    let stage = Stage::set(bench)?;
    let check = "covalent-syncobj-check held --source dumb:virtio_gpu --source heap:system";
    let ended = stage.client(bench, "", check)?;
    bench.keep("said.txt", ended.out.as_bytes())?;
    let passed = |line: &&str| line.starts_with("passed ");
    ensure!(
        ended.status == 0 && ended.out.lines().filter(passed).count() == 4,
        "{ended:?}"
    );
    let ways = |frames: &[FrameRecord]| {
        let direct = frames
            .iter()
            .filter(|frame| frame.path == Path::Direct)
            .count();
        (direct, frames.len().saturating_sub(direct))
    };
    let (direct, composed) = ways(&stage.frames(bench)?);
    ensure!(
        direct >= 60 && composed >= 60,
        "{direct} frames were on the display themselves, {composed} were composed"
    );
    let planted = stage.client(bench, "", &format!("{check} --planted --frames 20"))?;
    bench.keep("planted.txt", planted.out.as_bytes())?;
    let failed = |line: &&str| line.starts_with("failed ");
    ensure!(
        planted.status == 1 && planted.out.lines().filter(failed).count() == 2,
        "without fences nothing was noticed: {planted:?}"
    );
    stage.check_clean(bench, "frames behind held fences")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

/// A compositor that is stopped gives nothing back: clients say so, wait, and go on with it.
fn kept(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    for client in [
        "covalent-camera --sync explicit",
        "covalent-camera --sync implicit",
        "covalent-pattern --fps 20 --dmabuf --sync explicit",
        "covalent-pattern --fps 20",
    ] {
        let script = format!(
            "cd /tmp/stage; export WAYLAND_DISPLAY=stage
             {client} >client.out 2>client.err & client=$!
             frames() {{ wc -l <frames.jsonl; }}
             until_more() {{ for _ in $(seq 300); do [ $(frames) -gt $1 ] && return; sleep 0.1; done; echo \"no frames after $1\" >&2; tail -n 20 client.err log >&2; exit 1; }}
             until_more $(( $(frames) + 10 ))
             pkill -STOP -x covalent-compos
             for _ in $(seq 100); do grep -qs ' keeps .* buffers' client.err && break; sleep 0.2; done
             sleep 1
             pkill -CONT -x covalent-compos
             until_more $(( $(frames) + 10 ))
             kill -INT $client; wait $client || true
             grep -c ' keeps .* buffers' client.err"
        );
        let ended = run(bench, &script)?;
        ensure!(
            ended.status == 0 && ended.out.trim().parse::<u32>().is_ok_and(|told| told > 0),
            "{client}: {ended:?}"
        );
    }
    stage.check_clean(bench, "a compositor that was stopped")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

fn killed(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    for _ in 0..5 {
        let mut client = stage.beside(bench, "covalent-syncobj-check hang")?;
        let said = client.line(Stream::Out, SOON)?;
        ensure!(said.as_deref() == Some("hangs"), "the client says {said:?}");
        end(client, Some(SIGKILL))?;
    }
    stage.check_clean(bench, "five clients that were killed")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

/// The camera's buffers go round by points, and by implicit fences when it is told so, with the same picture.
fn camera(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    for (option, said) in [
        ("", "explicit"),
        ("--sync explicit", "explicit"),
        ("--sync implicit", "implicit"),
    ] {
        let pipeline = Pipeline {
            client: format!("--size 640x480 --frames 120 {option}"),
            ..Pipeline::default()
        };
        let Finished { camera, frames, .. } =
            pipeline.start(bench.guest()?)?.finish(FRAMES_LIMIT)?;
        ensure!(
            camera.sync == said,
            "with {option:?} the camera hands over by {:?}",
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

fn without(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let ended = stage.camera(bench, "", "--sync explicit --frames 1")?;
    ensure!(
        ended.status == 4 && ended.words.contains("--sync implicit"),
        "{ended:?}"
    );
    let ended = stage.camera(bench, "", "--frames 30 --json")?;
    ensure!(
        ended.status == 0 && ended.out.contains("\"sync\":\"implicit\""),
        "{ended:?}"
    );
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}
