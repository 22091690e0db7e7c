//! Theme `faults`: checks that each failure has its own message and exit status, and does not affect other clients or the
//! machine.

use std::time::Duration;

use anyhow::ensure;

use crate::vm::config::Config;

use super::compositor::{
    COMMAND_LIMIT, ClientExit, SIGKILL, SIGTERM, TestCompositor, parse_camera_record, run_line,
    wait_for_exit,
};
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "faults::node_that_is_no_camera_is_named",
        Config::Virtio,
        node_that_is_no_camera_is_named,
    ),
    Case::new(
        "faults::unsupported_format_is_explained",
        Config::Virtio,
        unsupported_format_is_explained,
    ),
    Case::new(
        "faults::missing_compositor_is_named",
        Config::Virtio,
        missing_compositor_is_named,
    ),
    Case::new(
        "faults::camera_in_use_is_reported_as_busy",
        Config::Virtio,
        camera_in_use_is_reported_as_busy,
    ),
    Case::new(
        "faults::fd_limit_in_the_middle_leaks_nothing",
        Config::Virtio,
        fd_limit_in_the_middle_leaks_nothing,
    ),
    Case::new(
        "faults::udmabuf_over_its_limit_is_reported",
        Config::Virtio,
        udmabuf_over_its_limit_is_reported,
    ),
    Case::new(
        "faults::contiguous_region_too_small_leaks_nothing",
        Config::Virtio,
        contiguous_region_too_small_leaks_nothing,
    )
    .contiguous(8),
    Case::new(
        "faults::client_killed_on_the_display_leaves_the_others",
        Config::Virtio,
        client_killed_on_the_display_leaves_the_others,
    ),
    Case::new(
        "faults::camera_unplugged_while_streaming_ends_cleanly",
        Config::Virtio,
        camera_unplugged_while_streaming_ends_cleanly,
    )
    .last(),
    Case::new(
        "faults::compositor_killed_while_streaming_ends_the_client",
        Config::Virtio,
        compositor_killed_while_streaming_ends_the_client,
    ),
    Case::new(
        "faults::signal_ends_the_client_with_its_report",
        Config::Virtio,
        signal_ends_the_client_with_its_report,
    ),
];

/// The number of `SIGINT` on Linux.
const SIGINT: i32 = 2;

/// The exit statuses of the clients, as the README lists them.
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

/// Checks the exit status, and that stderr contains all of `expected` and no panic.
fn expect(exit: &ClientExit, status: i32, expected: &[&str]) -> anyhow::Result<()> {
    ensure!(
        exit.status == status,
        "the exit status {status} was expected, and the client ended with {exit:?}"
    );
    ensure!(!exit.stderr.contains("panicked"), "{exit:?}");
    for word in expected {
        ensure!(
            exit.stderr.contains(word),
            "{word:?} is not in the output of the client: {exit:?}"
        );
    }
    Ok(())
}

fn node_that_is_no_camera_is_named(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    for node in [
        "/nowhere/video0",
        "/dev/null",
        "/dev/dri/card0",
        "/dev",
        "/dev/video1",
    ] {
        let exit = compositor.run_camera(context, "", &format!("--device {node} --frames 1"))?;
        expect(&exit, status::NO_CAMERA, &[node])?;
    }
    compositor.check_nothing_left(context, "five nodes that are no cameras")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn unsupported_format_is_explained(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    // The camera supports NV61 and the compositor does not. The size of the second entry is no size of a camera.
    for (options, expected) in [
        ("--format NV61", &["NV61"][..]),
        ("--size 123x457", &["width", "vivid capture"][..]),
    ] {
        let exit = compositor.run_camera(context, "", &format!("{options} --frames 1"))?;
        expect(&exit, status::NO_PLAN, expected)?;
    }
    let exit = compositor.run_camera(context, "", "--format no-such-format --frames 1")?;
    expect(&exit, status::USAGE, &["no-such-format"])?;
    let exit = compositor.run_camera(context, "", "--source no-such-source --frames 1")?;
    expect(&exit, status::USAGE, &["no-such-source", "udmabuf"])?;
    compositor.check_nothing_left(context, "unsupported formats")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn missing_compositor_is_named(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let exit = run_line(
        context,
        "WAYLAND_DISPLAY=missing exec covalent-camera --frames 1",
    )?;
    expect(&exit, status::NO_COMPOSITOR, &["missing", "No such file"])?;
    let exit = run_line(
        context,
        "WAYLAND_DISPLAY=missing exec covalent-pattern --frames 1",
    )?;
    expect(&exit, status::NO_COMPOSITOR, &["missing"])?;
    // A file with the name of the socket exists, but no process listens on it.
    let exit = run_line(
        context,
        "touch $XDG_RUNTIME_DIR/stale; WAYLAND_DISPLAY=stale exec covalent-camera --frames 1",
    )?;
    expect(&exit, status::NO_COMPOSITOR, &["stale", "refused"])?;
    Ok(Outcome::Passed)
}

fn camera_in_use_is_reported_as_busy(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let camera = compositor.start_camera(context)?;
    let exit = compositor.run_camera(context, "", "--frames 1")?;
    expect(&exit, status::BUSY, &["/dev/video0", "in use"])?;
    let first = wait_for_exit(camera, Some(SIGINT))?;
    expect(&first, status::DONE, &[])?;
    compositor.check_nothing_left(context, "a camera in use")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn fd_limit_in_the_middle_leaks_nothing(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let mut allocation_failures = 0;
    for limit in (4..200).step_by(2) {
        let exit = compositor.run_camera(context, &format!("ulimit -n {limit};"), "--frames 1")?;
        if exit.status == status::DONE {
            ensure!(
                allocation_failures >= 3,
                "only {allocation_failures} of the fd limits below {limit} made an allocation fail"
            );
            compositor.check_nothing_left(context, "fd limits")?;
            compositor.stop(context)?;
            return Ok(Outcome::Passed);
        }
        ensure!(
            !exit.stderr.contains("panicked") && !exit.stderr.trim().is_empty(),
            "with {limit} fds: {exit:?}"
        );
        if exit.status == status::ALLOCATION {
            allocation_failures += 1;
        }
    }
    anyhow::bail!("even 200 fds are not enough for a camera")
}

fn udmabuf_over_its_limit_is_reported(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let limit = "/sys/module/udmabuf/parameters/size_limit_mb";
    let before = context
        .sh(&format!("cat {limit}; echo 1 > {limit}"), COMMAND_LIMIT)?
        .text();
    // A frame in XR24 takes more than 1 MiB. Without the option `--format`, the plan would have a format whose frames take less.
    let exit = compositor.run_camera(context, "", "--source udmabuf --format XR24 --frames 1");
    context.sh(&format!("echo {before} > {limit}"), COMMAND_LIMIT)?;
    let exit = exit?;
    // There is no plan within the limit, or the allocation fails at the limit. In both cases the client reports the failure and
    // leaks nothing.
    ensure!(
        [status::NO_PLAN, status::ALLOCATION].contains(&exit.status),
        "{exit:?}"
    );
    expect(&exit, exit.status, &["udmabuf"])?;
    let again = compositor.run_camera(context, "", "--source udmabuf --format XR24 --frames 3")?;
    expect(&again, status::DONE, &[])?;
    compositor.check_nothing_left(context, "a small udmabuf limit")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn contiguous_region_too_small_leaks_nothing(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    // Five buffers of 1920x1080 take 40 MiB, and the region has 8 MiB.
    let exit = compositor.run_camera(
        context,
        "",
        "--source heap:default_cma_region --size 1920x1080 --frames 1",
    )?;
    ensure!(
        [status::NO_PLAN, status::ALLOCATION].contains(&exit.status),
        "{exit:?}"
    );
    expect(&exit, exit.status, &["default_cma_region"])?;
    compositor.check_nothing_left(context, "a region that is too small")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn client_killed_on_the_display_leaves_the_others(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let pattern =
        compositor.start_client(context, "covalent-pattern --window --size 320x240 --fps 20")?;
    for _ in 0..5 {
        let camera = compositor.start_camera(context)?;
        let exit = wait_for_exit(camera, Some(SIGKILL))?;
        ensure!(exit.status == 128 + SIGKILL, "{exit:?}");
        let before = compositor.frames(context)?.len();
        std::thread::sleep(Duration::from_secs(2));
        let frames = compositor.frames(context)?;
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
            compositor.log_tail(context)?
        );
    }
    let pattern = wait_for_exit(pattern, Some(SIGTERM))?;
    expect(&pattern, status::DONE, &[])?;
    compositor.check_nothing_left(context, "five clients killed while on the display")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}

fn camera_unplugged_while_streaming_ends_cleanly(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let camera = compositor.start_camera(context)?;
    // The driver keeps the node, and every request returns ENODEV until all processes have closed the node.
    context.sh("v4l2-ctl -d /dev/video0 -c disconnect=1", COMMAND_LIMIT)?;
    let exit = wait_for_exit(camera, None)?;
    expect(&exit, status::CAMERA_GONE, &["/dev/video0", "was removed"])?;
    let record = parse_camera_record(&exit.stdout)?;
    ensure!(record.frames > 0, "no frame was shown before: {record:?}");
    compositor.check_nothing_left(context, "a camera unplugged")?;
    compositor.stop(context)?;
    // The camera's nodes do not come back in this guest, so no other case can use it.
    context.discard();
    Ok(Outcome::Passed)
}

fn compositor_killed_while_streaming_ends_the_client(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    let camera = compositor.start_camera(context)?;
    compositor.kill()?;
    let exit = wait_for_exit(camera, None)?;
    expect(&exit, status::COMPOSITOR_GONE, &["suite", "went away"])?;
    let record = parse_camera_record(&exit.stdout)?;
    ensure!(record.frames > 0, "no frame was shown before: {record:?}");
    compositor.wait(context)?;
    Ok(Outcome::Passed)
}

fn signal_ends_the_client_with_its_report(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let compositor = TestCompositor::start(context)?;
    for signal in [SIGINT, SIGTERM] {
        let camera = compositor.start_camera(context)?;
        let exit = wait_for_exit(camera, Some(signal))?;
        expect(&exit, status::DONE, &[])?;
        let record = parse_camera_record(&exit.stdout)?;
        ensure!(record.frames > 0, "{record:?}");
    }
    compositor.check_nothing_left(context, "two signals")?;
    compositor.stop(context)?;
    Ok(Outcome::Passed)
}
