//! Tests that a committed buffer is released in every case, by `wl_buffer.release` and by a release point.

mod points;
mod subsurfaces;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_subcompositor::WlSubcompositor;
use wayland_client::protocol::wl_subsurface::WlSubsurface;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::{
    wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1,
    wp_linux_drm_syncobj_surface_v1::WpLinuxDrmSyncobjSurfaceV1,
    wp_linux_drm_syncobj_timeline_v1::WpLinuxDrmSyncobjTimelineV1,
};
use wayland_protocols::xdg::shell::client::xdg_positioner::{Anchor, XdgPositioner};
use wayland_protocols::xdg::shell::client::xdg_wm_base::XdgWmBase;

use crate::fixture::timelines::Timeline;
use crate::fixture::{Client, Fixture, Window};

const RED: u32 = 0xffff_0000;
const GREEN: u32 = 0xff00_ff00;
const BLUE: u32 = 0xff00_00ff;

/// How the compositor releases the buffers of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReleaseBy {
    Event,
    Point,
}

/// All ways to release buffers, each of which is tested.
const RELEASE_KINDS: [ReleaseBy; 2] = [ReleaseBy::Event, ReleaseBy::Point];

/// A timeline of the test, and the client's protocol object for it.
struct SharedTimeline {
    points: Arc<Timeline>,
    proxy: WpLinuxDrmSyncobjTimelineV1,
    _file: OwnedFd,
}

/// A client with a window, with or without explicit synchronisation.
struct TestClient {
    fixture: Fixture,
    client: Client,
    release_by: ReleaseBy,
    window: Window,
    manager: WpLinuxDrmSyncobjManagerV1,
    acquire: SharedTimeline,
    release: SharedTimeline,
    commit_count: u64,
}

/// A surface with its `wp_linux_drm_syncobj_surface_v1`.
struct TestSurface {
    surface: WlSurface,
    object: Option<WpLinuxDrmSyncobjSurfaceV1>,
}

/// A committed buffer, and the number of its release point.
struct CommittedBuffer {
    proxy: WlBuffer,
    point: u64,
}

impl TestClient {
    fn new(release_by: ReleaseBy) -> Self {
        let mut fixture = Fixture::with_timelines(64, 48);
        let mut client = fixture.client();
        let window = client.window();
        fixture.round_trip(&mut client);
        let manager: WpLinuxDrmSyncobjManagerV1 = client.bind(1);
        let acquire = create_timeline(&fixture, &client, &manager);
        let release = create_timeline(&fixture, &client, &manager);
        acquire.points.reach(u64::from(u32::MAX));
        Self {
            fixture,
            client,
            release_by,
            window,
            manager,
            acquire,
            release,
            commit_count: 0,
        }
    }

    fn wrap_surface(&self, surface: WlSurface) -> TestSurface {
        let object = (self.release_by == ReleaseBy::Point).then(|| {
            self.manager
                .get_surface(&surface, &self.client.handle(), ())
        });
        TestSurface { surface, object }
    }

    fn toplevel_surface(&self) -> TestSurface {
        self.wrap_surface(self.window.surface.clone())
    }

    fn surface(&self) -> WlSurface {
        let compositor: WlCompositor = self.client.bind(6);
        compositor.create_surface(&self.client.handle(), ())
    }

    /// Creates a synchronised subsurface.
    fn create_subsurface(&self, parent: &WlSurface) -> (TestSurface, WlSubsurface) {
        let surface = self.surface();
        let global: WlSubcompositor = self.client.bind(1);
        let role = global.get_subsurface(&surface, parent, &self.client.handle(), ());
        (self.wrap_surface(surface), role)
    }

    fn attach(&mut self, test_surface: &TestSurface, proxy: WlBuffer) -> CommittedBuffer {
        self.commit_count += 1;
        let point = self.commit_count;
        if let Some(object) = &test_surface.object {
            object.set_acquire_point(&self.acquire.proxy, 0, 1);
            let low = u32::try_from(point).unwrap();
            object.set_release_point(&self.release.proxy, 0, low);
        }
        test_surface.surface.attach(Some(&proxy), 0, 0);
        test_surface.surface.damage_buffer(0, 0, i32::MAX, i32::MAX);
        CommittedBuffer { proxy, point }
    }

    fn commit(&mut self, test_surface: &TestSurface, colour: u32) -> CommittedBuffer {
        let proxy = self.client.colour(8, 8, colour);
        let buffer = self.attach(test_surface, proxy);
        test_surface.surface.commit();
        buffer
    }

    /// Commits a buffer whose acquire point is on another timeline than its release point.
    fn commit_with_acquire_point(
        &mut self,
        test_surface: &TestSurface,
        colour: u32,
        acquire: &SharedTimeline,
        point: u32,
    ) -> CommittedBuffer {
        let proxy = self.client.colour(8, 8, colour);
        let buffer = self.attach(test_surface, proxy);
        let object = test_surface.object.as_ref().unwrap();
        object.set_acquire_point(&acquire.proxy, 0, point);
        test_surface.surface.commit();
        buffer
    }

    fn release_count(&self, buffer: &CommittedBuffer) -> usize {
        match self.release_by {
            ReleaseBy::Event => {
                let released = &self.client.events.released;
                released
                    .iter()
                    .filter(|released| **released == buffer.proxy)
                    .count()
            }
            ReleaseBy::Point => {
                let signalled = self.release.points.signalled();
                signalled
                    .iter()
                    .filter(|point| **point == buffer.point)
                    .count()
            }
        }
    }

    /// Checks that a buffer is released exactly once.
    #[track_caller]
    fn expect_released(&mut self, buffer: &CommittedBuffer, case: &str) {
        let deadline = Instant::now() + Duration::from_secs(3);
        while self.release_count(buffer) == 0 {
            assert!(
                Instant::now() < deadline,
                "{case}: the buffer is never released by {:?}",
                self.release_by
            );
            self.fixture.step(&mut self.client);
        }
        for _ in 0..5 {
            self.fixture.step(&mut self.client);
        }
        assert_eq!(
            self.release_count(buffer),
            1,
            "{case}, by {:?}",
            self.release_by
        );
        assert!(!self.client.events.closed, "{case}");
    }

    /// Checks that a buffer is not released.
    #[track_caller]
    fn expect_not_released(&mut self, buffer: &CommittedBuffer, case: &str) {
        self.fixture.round_trip(&mut self.client);
        for _ in 0..10 {
            self.fixture.step(&mut self.client);
        }
        assert_eq!(
            self.release_count(buffer),
            0,
            "{case}, by {:?}",
            self.release_by
        );
    }

    fn displayed_pixels(&mut self) -> Vec<u32> {
        self.fixture.displayed_pixels(&mut self.client)
    }
}

fn create_timeline(
    fixture: &Fixture,
    client: &Client,
    manager: &WpLinuxDrmSyncobjManagerV1,
) -> SharedTimeline {
    let (points, file) = fixture.timelines.create();
    let proxy = manager.import_timeline(file.as_fd(), &client.handle(), ());
    SharedTimeline {
        points,
        proxy,
        _file: file,
    }
}

#[test]
fn buffer_replaced_on_the_display_is_released_after_the_next_flip() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        let first = test.commit(&top, RED);
        test.displayed_pixels();
        test.expect_not_released(&first, "shown");
        test.commit(&top, GREEN);
        test.expect_released(&first, "replaced");
    }
}

#[test]
fn buffer_superseded_before_a_frame_is_released() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        let first = test.commit(&top, RED);
        let second = test.commit(&top, GREEN);
        test.expect_released(&first, "superseded");
        test.expect_not_released(&second, "shown");
    }
}

#[test]
fn buffer_detached_by_a_null_buffer_is_released() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        let first = test.commit(&top, RED);
        test.displayed_pixels();
        test.window.surface.attach(None, 0, 0);
        test.window.surface.commit();
        test.expect_released(&first, "the toplevel is unmapped");
    }
}

#[test]
fn buffer_detached_before_a_frame_is_released_once() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        let first = test.commit(&top, RED);
        test.window.surface.attach(None, 0, 0);
        test.window.surface.commit();
        test.window.surface.commit();
        test.expect_released(&first, "detached before it was shown");
    }
}

#[test]
fn buffer_of_a_window_is_released_with_its_role() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        let shown = test.commit(&top, RED);
        test.displayed_pixels();
        test.window.toplevel.destroy();
        test.expect_released(&shown, "the toplevel was destroyed");
        assert!(!test.displayed_pixels().contains(&RED));
    }
}

#[test]
fn buffer_of_a_popup_is_released_with_its_role() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let top = test.toplevel_surface();
        test.commit(&top, RED);
        let shell: XdgWmBase = test.client.bind(6);
        let handle = test.client.handle();
        let positioner: XdgPositioner = shell.create_positioner(&handle, ());
        positioner.set_size(8, 8);
        positioner.set_anchor_rect(0, 0, 8, 8);
        positioner.set_anchor(Anchor::BottomRight);
        let surface = test.surface();
        let role = shell.get_xdg_surface(&surface, &handle, ());
        let popup = role.get_popup(Some(&test.window.shell), &positioner, &handle, ());
        surface.commit();
        test.fixture.round_trip(&mut test.client);
        let test_surface = test.wrap_surface(surface);
        let shown = test.commit(&test_surface, GREEN);
        assert!(test.displayed_pixels().contains(&GREEN));
        popup.destroy();
        test.expect_released(&shown, "the popup was destroyed");
    }
}

#[test]
fn buffer_of_a_destroyed_surface_is_released() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let without_role = test.surface();
        let test_surface = test.wrap_surface(without_role);
        let buffer = test.commit(&test_surface, GREEN);
        test.expect_not_released(&buffer, "committed without a role");
        test_surface.surface.destroy();
        test.expect_released(&buffer, "the surface was destroyed");
    }
}

#[test]
fn buffer_of_a_hidden_window_is_released_when_superseded() {
    for release_by in RELEASE_KINDS {
        let mut test = TestClient::new(release_by);
        let hidden = test.toplevel_surface();
        test.commit(&hidden, RED);
        test.displayed_pixels();
        let above = test.client.window();
        test.fixture.round_trip(&mut test.client);
        let buffer = test.client.colour(64, 48, BLUE);
        above.show(&test.client, &buffer);
        assert!(!test.displayed_pixels().contains(&RED));
        let first = test.commit(&hidden, GREEN);
        let second = test.commit(&hidden, RED);
        test.expect_released(&first, "superseded while it is hidden");
        test.expect_not_released(&second, "current while it is hidden");
    }
}

#[test]
fn buffer_committed_twice_is_released_when_its_last_commit_is_replaced() {
    let mut test = TestClient::new(ReleaseBy::Event);
    let top = test.toplevel_surface();
    let first = test.commit(&top, RED);
    test.displayed_pixels();
    let again = test.attach(&top, first.proxy);
    top.surface.commit();
    test.displayed_pixels();
    test.expect_not_released(&again, "shown by its second commit");
    test.commit(&top, GREEN);
    test.expect_released(&again, "replaced");
}

#[test]
fn buffer_attached_without_a_commit_is_not_released() {
    let mut test = TestClient::new(ReleaseBy::Event);
    let top = test.toplevel_surface();
    let shown = test.commit(&top, RED);
    test.displayed_pixels();
    let other = TestSurface {
        surface: test.surface(),
        object: None,
    };
    other.surface.attach(Some(&shown.proxy), 0, 0);
    test.fixture.round_trip(&mut test.client);
    other.surface.destroy();
    test.expect_not_released(&shown, "another surface shows it");
}
