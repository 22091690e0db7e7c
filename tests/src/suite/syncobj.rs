//! Theme `syncobj`: the compositor speaks linux-drm-syncobj, and a client that errs or hangs hurts itself alone.

use std::time::Duration;

use anyhow::ensure;

use super::stage::{SIGKILL, Stage, end};
use super::{Bench, Case, Outcome};
use crate::pipeline::{Finished, Pipeline};
use crate::vm::config::Config;
use crate::vm::wire::Stream;

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
