//! Every error of linux-drm-syncobj, each on a connection of its own.

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
use crate::peer::{Pane, Peer, interface, object_name};

/// Timelines that one client may have, and some more.
const TOO_MANY: usize = 300;

/// One error: its name, what makes it, and its number.
type Wrong = (
    &'static str,
    fn(&mut Peer, &mut Pane) -> anyhow::Result<()>,
    Error,
);

const ON_SURFACES: &[Wrong] = &[
    (
        "points_without_a_buffer_are_no_buffer",
        no_buffer,
        Error::NoBuffer,
    ),
    (
        "points_with_a_null_buffer_are_no_buffer",
        null_buffer,
        Error::NoBuffer,
    ),
    (
        "buffer_without_acquire_point",
        no_acquire,
        Error::NoAcquirePoint,
    ),
    (
        "buffer_without_release_point",
        no_release,
        Error::NoReleasePoint,
    ),
    ("buffer_without_any_point", no_points, Error::NoAcquirePoint),
    (
        "buffer_without_points_after_a_second_get_surface",
        no_points_again,
        Error::NoAcquirePoint,
    ),
    ("acquire_after_release", conflict, Error::ConflictingPoints),
    (
        "acquire_equal_to_release",
        conflict_of_equals,
        Error::ConflictingPoints,
    ),
    (
        "conflict_on_one_timeline_imported_twice",
        conflict_of_twins,
        Error::ConflictingPoints,
    ),
    (
        "shared_memory_with_points",
        shared_memory,
        Error::UnsupportedBuffer,
    ),
    (
        "points_of_a_destroyed_surface",
        no_surface,
        Error::NoSurface,
    ),
];

pub(crate) fn run() -> bool {
    let mut passed = true;
    for (name, wrong, code) in ON_SURFACES {
        passed &= check(name, || {
            let mut peer = Peer::connect()?;
            let mut pane = peer.pane()?;
            wrong(&mut peer, &mut pane)?;
            peer.expect_error(object_name(), *code as u32)?;
            lives()
        });
    }
    passed &= check("second_object_for_a_surface", || {
        let mut peer = Peer::connect()?;
        let pane = peer.pane()?;
        let handle = peer.events.handle();
        peer.manager.get_surface(pane.window.surface(), &handle, ());
        let code = wp_linux_drm_syncobj_manager_v1::Error::SurfaceExists;
        peer.expect_error(interface::<WpLinuxDrmSyncobjManagerV1>(), code as u32)?;
        lives()
    });
    passed &= check("file_that_is_no_timeline", || {
        let mut peer = Peer::connect()?;
        let null = File::open("/dev/null").context("/dev/null")?;
        peer.import(null.as_fd());
        let code = wp_linux_drm_syncobj_manager_v1::Error::InvalidTimeline;
        peer.expect_error(interface::<WpLinuxDrmSyncobjManagerV1>(), code as u32)?;
        lives()
    });
    passed &= check("timelines_without_end", || {
        let mut peer = Peer::connect()?;
        let shared = peer.timeline()?;
        // Those that were destroyed do not count.
        for _ in 0..TOO_MANY {
            peer.import(shared.file.as_fd()).destroy();
        }
        peer.linger(1)?;
        for _ in 0..TOO_MANY {
            peer.import(shared.file.as_fd());
        }
        let code = wp_linux_drm_syncobj_manager_v1::Error::InvalidTimeline;
        peer.expect_error(interface::<WpLinuxDrmSyncobjManagerV1>(), code as u32)?;
        lives()
    });
    passed
}

/// The compositor goes on with others.
fn lives() -> anyhow::Result<()> {
    Peer::connect()?.linger(1).map(drop)
}

fn no_buffer(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    pane.object.set_acquire_point(&shared.proxy, 0, 1);
    pane.window.surface().commit();
    Ok(())
}

fn null_buffer(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    pane.object.set_release_point(&shared.proxy, 0, 1);
    pane.window.surface().attach(None, 0, 0);
    pane.window.surface().commit();
    Ok(())
}

fn no_acquire(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    let buffers = peer.buffers(1)?;
    pane.object.set_release_point(&shared.proxy, 0, 1);
    pane.window.show(&buffers[0], &peer.events.handle());
    Ok(())
}

fn no_release(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    let buffers = peer.buffers(1)?;
    pane.object.set_acquire_point(&shared.proxy, 0, 1);
    pane.window.show(&buffers[0], &peer.events.handle());
    Ok(())
}

fn no_points(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let buffers = peer.buffers(1)?;
    pane.window.show(&buffers[0], &peer.events.handle());
    Ok(())
}

fn no_points_again(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    pane.object.destroy();
    let handle = peer.events.handle();
    pane.object = peer.manager.get_surface(pane.window.surface(), &handle, ());
    no_points(peer, pane)
}

fn conflicting(peer: &mut Peer, pane: &mut Pane, points: (u64, u64)) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    let buffers = peer.buffers(1)?;
    peer.show(pane, &buffers[0], (&shared, points.0), (&shared, points.1));
    Ok(())
}

fn conflict(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    // Above 2^32, so that both split_u64 count.
    conflicting(peer, pane, (1 << 33, (1 << 32) + 7))
}

fn conflict_of_equals(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    conflicting(peer, pane, (7, 7))
}

fn conflict_of_twins(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    let twin = peer.import(shared.file.as_fd());
    let buffers = peer.buffers(1)?;
    let [high, low] = split_u64(9);
    pane.object.set_acquire_point(&twin, high, low);
    pane.object.set_release_point(&shared.proxy, high, low);
    pane.window.show(&buffers[0], &peer.events.handle());
    Ok(())
}

fn shared_memory(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    let pool = Pool::new(&peer.compositor, &peer.events.handle(), (64, 64), 1)?;
    let buffer = pool.buffer(0).context("a buffer")?.clone();
    peer.show(pane, &buffer, (&shared, 1), (&shared, 2));
    // The pool's own end comes after the error.
    std::mem::forget(pool);
    Ok(())
}

fn no_surface(peer: &mut Peer, pane: &mut Pane) -> anyhow::Result<()> {
    let shared = peer.timeline()?;
    let surface = peer
        .compositor
        .globals
        .compositor
        .as_ref()
        .context("wl_compositor")?
        .create_surface(&peer.events.handle(), ());
    pane.object.destroy();
    pane.object = peer
        .manager
        .get_surface(&surface, &peer.events.handle(), ());
    surface.destroy();
    pane.object.set_acquire_point(&shared.proxy, 0, 1);
    Ok(())
}
