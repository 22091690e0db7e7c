//! Theme `faults`: what goes wrong ends with its own message and status, and leaves others and the machine as they were.

use std::time::Duration;

use anyhow::ensure;

use crate::vm::config::Config;

use super::stage::{Ended, SIGKILL, SIGTERM, SOON, Stage, camera_record, end, run};
use super::{Bench, Case, Outcome};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "faults::camera_that_is_none_is_named",
        Config::Virtio,
        no_camera,
    ),
    Case::new(
        "faults::format_that_nobody_has_is_explained",
        Config::Virtio,
        no_format,
    ),
    Case::new(
        "faults::compositor_that_is_not_there_is_named",
        Config::Virtio,
        no_compositor,
    ),
    Case::new(
        "faults::camera_in_use_is_told_as_busy",
        Config::Virtio,
        busy,
    ),
    Case::new(
        "faults::fd_limit_in_the_middle_leaks_nothing",
        Config::Virtio,
        fd_limit,
    ),
    Case::new(
        "faults::udmabuf_limit_is_told",
        Config::Virtio,
        udmabuf_limit,
    ),
    Case::new(
        "faults::contiguous_region_too_small_leaks_nothing",
        Config::Virtio,
        small_region,
    )
    .contiguous(8),
    Case::new(
        "faults::client_killed_on_the_display_leaves_the_others",
        Config::Virtio,
        killed,
    ),
    Case::new(
        "faults::camera_unplugged_while_streaming_ends_cleanly",
        Config::Virtio,
        unplugged,
    )
    .last(),
    Case::new(
        "faults::compositor_killed_while_streaming_ends_the_client",
        Config::Virtio,
        orphaned,
    ),
    Case::new(
        "faults::signal_ends_the_client_with_its_report",
        Config::Virtio,
        signalled,
    ),
];

/// `SIGINT`, as Linux numbers it.
const SIGINT: i32 = 2;

/// Exit statuses of the clients, as the README has them.
mod status {
    pub(super) const DONE: i32 = 0;
    pub(super) const USAGE: i32 = 2;
    pub(super) const NO_CAMERA: i32 = 3;
    pub(super) const NO_PLAN: i32 = 4;
    pub(super) const NO_COMPOSITOR: i32 = 5;
    pub(super) const BUSY: i32 = 6;
    pub(super) const ALLOCATION: i32 = 7;
    pub(super) const CAMERA_GONE: i32 = 8;
    pub(super) const COMPOSITOR_GONE: i32 = 9;
}

/// Checks the status and that the message, one of a program and not a panic, holds all of `words`.
fn expect(ended: &Ended, status: i32, words: &[&str]) -> anyhow::Result<()> {
    ensure!(
        ended.status == status,
        "status {status} was expected of {ended:?}"
    );
    ensure!(!ended.words.contains("panicked"), "{ended:?}");
    for word in words {
        ensure!(ended.words.contains(word), "{word:?} is not in {ended:?}");
    }
    Ok(())
}

fn no_camera(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    for node in [
        "/nowhere/video0",
        "/dev/null",
        "/dev/dri/card0",
        "/dev",
        "/dev/video1",
    ] {
        let ended = stage.camera(bench, "", &format!("--device {node} --frames 1"))?;
        expect(&ended, status::NO_CAMERA, &[node])?;
    }
    stage.check_clean(bench, "five that are no cameras")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

fn no_format(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    // The camera has NV61 and the compositor does not; and nobody has this size.
    for (options, words) in [
        ("--format NV61", &["NV61"][..]),
        ("--size 123x457", &["width", "vivid capture"][..]),
    ] {
        let ended = stage.camera(bench, "", &format!("{options} --frames 1"))?;
        expect(&ended, status::NO_PLAN, words)?;
    }
    let ended = stage.camera(bench, "", "--format no-such-format --frames 1")?;
    expect(&ended, status::USAGE, &["no-such-format"])?;
    let ended = stage.camera(bench, "", "--source no-such-source --frames 1")?;
    expect(&ended, status::USAGE, &["no-such-source", "udmabuf"])?;
    stage.check_clean(bench, "formats that nobody has")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

fn no_compositor(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let ended = run(
        bench,
        "WAYLAND_DISPLAY=nobody exec covalent-camera --frames 1",
    )?;
    expect(&ended, status::NO_COMPOSITOR, &["nobody", "No such file"])?;
    let ended = run(
        bench,
        "WAYLAND_DISPLAY=nobody exec covalent-pattern --frames 1",
    )?;
    expect(&ended, status::NO_COMPOSITOR, &["nobody"])?;
    // A file of that name that nobody listens on.
    let ended = run(
        bench,
        "touch $XDG_RUNTIME_DIR/deaf; WAYLAND_DISPLAY=deaf exec covalent-camera --frames 1",
    )?;
    expect(&ended, status::NO_COMPOSITOR, &["deaf", "refused"])?;
    Ok(Outcome::Passed)
}

fn busy(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let camera = stage.camera_beside(bench)?;
    let ended = stage.camera(bench, "", "--frames 1")?;
    expect(&ended, status::BUSY, &["/dev/video0", "in use"])?;
    let first = end(camera, Some(SIGINT))?;
    expect(&first, status::DONE, &[])?;
    stage.check_clean(bench, "a camera in use")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

fn fd_limit(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let mut in_the_middle = 0;
    for limit in (4..200).step_by(2) {
        let ended = stage.camera(bench, &format!("ulimit -n {limit};"), "--frames 1")?;
        if ended.status == status::DONE {
            ensure!(
                in_the_middle >= 3,
                "only {in_the_middle} limits hit an allocation, the last was {limit}"
            );
            stage.check_clean(bench, "fd limits")?;
            stage.strike(bench)?;
            return Ok(Outcome::Passed);
        }
        ensure!(
            !ended.words.contains("panicked") && !ended.words.trim().is_empty(),
            "with {limit} fds: {ended:?}"
        );
        if ended.status == status::ALLOCATION {
            in_the_middle += 1;
        }
    }
    anyhow::bail!("even 200 fds are not enough for a camera")
}

fn udmabuf_limit(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let limit = "/sys/module/udmabuf/parameters/size_limit_mb";
    let before = bench
        .sh(&format!("cat {limit}; echo 1 > {limit}"), SOON)?
        .text();
    // A frame in XR24 is more than 1 MiB; without a format the plan would take one that is smaller.
    let ended = stage.camera(bench, "", "--source udmabuf --format XR24 --frames 1");
    bench.sh(&format!("echo {before} > {limit}"), SOON)?;
    let ended = ended?;
    // The limit is known before anything is allocated, or found while allocating: both are told, neither leaks.
    ensure!(
        [status::NO_PLAN, status::ALLOCATION].contains(&ended.status),
        "{ended:?}"
    );
    expect(&ended, ended.status, &["udmabuf"])?;
    let again = stage.camera(bench, "", "--source udmabuf --format XR24 --frames 3")?;
    expect(&again, status::DONE, &[])?;
    stage.check_clean(bench, "a small udmabuf limit")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

fn small_region(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    // Five buffers of 1920x1080 are 40 MiB, the region has 8.
    let ended = stage.camera(
        bench,
        "",
        "--source heap:default_cma_region --size 1920x1080 --frames 1",
    )?;
    ensure!(
        [status::NO_PLAN, status::ALLOCATION].contains(&ended.status),
        "{ended:?}"
    );
    expect(&ended, ended.status, &["default_cma_region"])?;
    stage.check_clean(bench, "a region that is too small")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

fn killed(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let pattern = stage.beside(bench, "covalent-pattern --window --size 320x240 --fps 20")?;
    for _ in 0..5 {
        let camera = stage.camera_beside(bench)?;
        let ended = end(camera, Some(SIGKILL))?;
        ensure!(ended.status == 128 + SIGKILL, "{ended:?}");
        let before = stage.frames(bench)?.len();
        std::thread::sleep(Duration::from_secs(2));
        let frames = stage.frames(bench)?;
        let others = frames
            .iter()
            .skip(before)
            .filter(|frame| {
                frame
                    .surface
                    .as_deref()
                    .is_some_and(|name| name.contains("pattern"))
            })
            .count();
        ensure!(
            others >= 5,
            "in two seconds after the kill {others} frames of the other client were shown; log: {}",
            stage.log(bench)?
        );
    }
    let pattern = end(pattern, Some(SIGTERM))?;
    expect(&pattern, status::DONE, &[])?;
    stage.check_clean(bench, "five clients killed while on the display")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}

fn unplugged(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let camera = stage.camera_beside(bench)?;
    // The driver keeps the node and answers nothing but "no such device" until all have closed it.
    bench.sh("v4l2-ctl -d /dev/video0 -c disconnect=1", SOON)?;
    let ended = end(camera, None)?;
    expect(&ended, status::CAMERA_GONE, &["/dev/video0", "gone"])?;
    let record = camera_record(&ended.out)?;
    ensure!(record.frames > 0, "no frame was shown before: {record:?}");
    stage.check_clean(bench, "a camera unplugged")?;
    stage.strike(bench)?;
    // The nodes of this guest are gone for good.
    bench.discard();
    Ok(Outcome::Passed)
}

fn orphaned(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    let camera = stage.camera_beside(bench)?;
    stage.burn()?;
    let ended = end(camera, None)?;
    expect(&ended, status::COMPOSITOR_GONE, &["stage", "went away"])?;
    let record = camera_record(&ended.out)?;
    ensure!(record.frames > 0, "no frame was shown before: {record:?}");
    stage.bury(bench)?;
    Ok(Outcome::Passed)
}

fn signalled(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let stage = Stage::set(bench)?;
    for signal in [SIGINT, SIGTERM] {
        let camera = stage.camera_beside(bench)?;
        let ended = end(camera, Some(signal))?;
        expect(&ended, status::DONE, &[])?;
        let record = camera_record(&ended.out)?;
        ensure!(record.frames > 0, "{record:?}");
    }
    stage.check_clean(bench, "two signals")?;
    stage.strike(bench)?;
    Ok(Outcome::Passed)
}
