//! Causes every protocol error of linux-drm-syncobj. Each error has a connection of its own.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::Context as _;
use covalent_client_demo::explicit_sync::split_u64;
use covalent_client_demo::shm::Pool;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::{
    wp_linux_drm_syncobj_manager_v1::{self, WpLinuxDrmSyncobjManagerV1},
    wp_linux_drm_syncobj_surface_v1::Error,
};

use crate::check;
use crate::test_client::{SyncWindow, TestClient, interface, object_name};

/// A number of timelines that exceeds the compositor's limit for a client.
const TOO_MANY: usize = 300;

/// The check of a protocol error: its name, the requests that cause the error, and the error code.
type ErrorCheck = (
    &'static str,
    fn(&mut TestClient, &mut SyncWindow) -> anyhow::Result<()>,
    Error,
);

/// The checks of errors that requests for one surface cause.
const SURFACE_CHECKS: &[ErrorCheck] = &[
    (
        "points_without_a_buffer_cause_no_buffer",
        points_without_a_buffer_cause_no_buffer,
        Error::NoBuffer,
    ),
    (
        "points_with_a_null_buffer_cause_no_buffer",
        points_with_a_null_buffer_cause_no_buffer,
        Error::NoBuffer,
    ),
    (
        "buffer_without_acquire_point_causes_no_acquire_point",
        buffer_without_acquire_point_causes_no_acquire_point,
        Error::NoAcquirePoint,
    ),
    (
        "buffer_without_release_point_causes_no_release_point",
        buffer_without_release_point_causes_no_release_point,
        Error::NoReleasePoint,
    ),
    (
        "buffer_without_any_point_causes_no_acquire_point",
        buffer_without_any_point_causes_no_acquire_point,
        Error::NoAcquirePoint,
    ),
    (
        "buffer_without_points_after_a_second_get_surface_causes_no_acquire_point",
        buffer_without_points_after_a_second_get_surface_causes_no_acquire_point,
        Error::NoAcquirePoint,
    ),
    (
        "acquire_point_after_release_point_causes_conflicting_points",
        acquire_point_after_release_point_causes_conflicting_points,
        Error::ConflictingPoints,
    ),
    (
        "acquire_point_equal_to_release_point_causes_conflicting_points",
        acquire_point_equal_to_release_point_causes_conflicting_points,
        Error::ConflictingPoints,
    ),
    (
        "conflict_on_one_timeline_imported_twice_causes_conflicting_points",
        conflict_on_one_timeline_imported_twice_causes_conflicting_points,
        Error::ConflictingPoints,
    ),
    (
        "shared_memory_with_points_causes_unsupported_buffer",
        shared_memory_with_points_causes_unsupported_buffer,
        Error::UnsupportedBuffer,
    ),
    (
        "points_of_a_destroyed_surface_cause_no_surface",
        points_of_a_destroyed_surface_cause_no_surface,
        Error::NoSurface,
    ),
];

pub(crate) fn run() -> bool {
    let mut passed = true;
    for (name, send_requests, code) in SURFACE_CHECKS {
        passed &= check(name, || {
            let mut client = TestClient::connect()?;
            let mut window = client.window()?;
            send_requests(&mut client, &mut window)?;
            client.expect_error(object_name(), *code as u32)?;
            expect_compositor_runs()
        });
    }
    passed &= check("second_object_for_a_surface_causes_surface_exists", || {
        let mut client = TestClient::connect()?;
        let window = client.window()?;
        let handle = client.events.handle();
        client
            .manager
            .get_surface(window.window.surface(), &handle, ());
        let code = wp_linux_drm_syncobj_manager_v1::Error::SurfaceExists;
        client.expect_error(interface::<WpLinuxDrmSyncobjManagerV1>(), code as u32)?;
        expect_compositor_runs()
    });
    passed &= check("file_that_is_no_timeline_causes_invalid_timeline", || {
        let mut client = TestClient::connect()?;
        let null = File::open("/dev/null").context("open /dev/null")?;
        client.import(null.as_fd());
        let code = wp_linux_drm_syncobj_manager_v1::Error::InvalidTimeline;
        client.expect_error(interface::<WpLinuxDrmSyncobjManagerV1>(), code as u32)?;
        expect_compositor_runs()
    });
    passed &= check("timelines_over_the_limit_cause_invalid_timeline", || {
        let mut client = TestClient::connect()?;
        let shared = client.timeline()?;
        // Destroyed timelines do not count towards the limit.
        for _ in 0..TOO_MANY {
            client.import(shared.file.as_fd()).destroy();
        }
        client.roundtrips(1)?;
        for _ in 0..TOO_MANY {
            client.import(shared.file.as_fd());
        }
        let code = wp_linux_drm_syncobj_manager_v1::Error::InvalidTimeline;
        client.expect_error(interface::<WpLinuxDrmSyncobjManagerV1>(), code as u32)?;
        expect_compositor_runs()
    });
    passed
}

/// Checks that the compositor still serves other clients.
fn expect_compositor_runs() -> anyhow::Result<()> {
    TestClient::connect()?.roundtrips(1).map(drop)
}

fn points_without_a_buffer_cause_no_buffer(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    window.object.set_acquire_point(&shared.proxy, 0, 1);
    window.window.surface().commit();
    Ok(())
}

fn points_with_a_null_buffer_cause_no_buffer(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    window.object.set_release_point(&shared.proxy, 0, 1);
    window.window.surface().attach(None, 0, 0);
    window.window.surface().commit();
    Ok(())
}

fn buffer_without_acquire_point_causes_no_acquire_point(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    let buffers = client.buffers(1)?;
    window.object.set_release_point(&shared.proxy, 0, 1);
    window.window.show(&buffers[0], &client.events.handle());
    Ok(())
}

fn buffer_without_release_point_causes_no_release_point(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    let buffers = client.buffers(1)?;
    window.object.set_acquire_point(&shared.proxy, 0, 1);
    window.window.show(&buffers[0], &client.events.handle());
    Ok(())
}

fn buffer_without_any_point_causes_no_acquire_point(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let buffers = client.buffers(1)?;
    window.window.show(&buffers[0], &client.events.handle());
    Ok(())
}

fn buffer_without_points_after_a_second_get_surface_causes_no_acquire_point(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    window.object.destroy();
    let handle = client.events.handle();
    window.object = client
        .manager
        .get_surface(window.window.surface(), &handle, ());
    buffer_without_any_point_causes_no_acquire_point(client, window)
}

fn conflicting(
    client: &mut TestClient,
    window: &mut SyncWindow,
    points: (u64, u64),
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    let buffers = client.buffers(1)?;
    client.show(
        window,
        &buffers[0],
        (&shared, points.0),
        (&shared, points.1),
    );
    Ok(())
}

fn acquire_point_after_release_point_causes_conflicting_points(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    // The points are above 2^32, so that the compositor has to compare the high and the low 32 bits.
    conflicting(client, window, (1 << 33, (1 << 32) + 7))
}

fn acquire_point_equal_to_release_point_causes_conflicting_points(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    conflicting(client, window, (7, 7))
}

fn conflict_on_one_timeline_imported_twice_causes_conflicting_points(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    let twin = client.import(shared.file.as_fd());
    let buffers = client.buffers(1)?;
    let [high, low] = split_u64(9);
    window.object.set_acquire_point(&twin, high, low);
    window.object.set_release_point(&shared.proxy, high, low);
    window.window.show(&buffers[0], &client.events.handle());
    Ok(())
}

fn shared_memory_with_points_causes_unsupported_buffer(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    let pool = Pool::new(&client.compositor, &client.events.handle(), (64, 64), 1)?;
    let buffer = pool.buffer(0).context("the pool has no buffer")?.clone();
    client.show(window, &buffer, (&shared, 1), (&shared, 2));
    // Dropping the pool would send further requests after the request that causes the error.
    std::mem::forget(pool);
    Ok(())
}

fn points_of_a_destroyed_surface_cause_no_surface(
    client: &mut TestClient,
    window: &mut SyncWindow,
) -> anyhow::Result<()> {
    let shared = client.timeline()?;
    let surface = client
        .compositor
        .globals
        .compositor
        .as_ref()
        .context("the compositor has no wl_compositor")?
        .create_surface(&client.events.handle(), ());
    window.object.destroy();
    window.object = client
        .manager
        .get_surface(&surface, &client.events.handle(), ());
    surface.destroy();
    window.object.set_acquire_point(&shared.proxy, 0, 1);
    Ok(())
}
