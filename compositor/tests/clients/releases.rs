//! Every way that a commit can take gives its buffer back, by `wl_buffer.release` and by a release point alike.

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

/// How a client hands over its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Event,
    Point,
}

const BOTH: [By; 2] = [By::Event, By::Point];

/// A timeline as client and test have it.
struct Shared {
    points: Arc<Timeline>,
    wire: WpLinuxDrmSyncobjTimelineV1,
    _file: OwnedFd,
}

/// A client with a window, whose buffers are handed over in one of the two ways.
struct Play {
    fixture: Fixture,
    client: Client,
    by: By,
    window: Window,
    manager: WpLinuxDrmSyncobjManagerV1,
    acquire: Shared,
    release: Shared,
    committed: u64,
}

/// A surface with its object for points.
struct Pane {
    surface: WlSurface,
    object: Option<WpLinuxDrmSyncobjSurfaceV1>,
}

/// A buffer that was committed: it is owed until it went back.
struct Owed {
    wire: WlBuffer,
    point: u64,
}

impl Play {
    fn new(by: By) -> Self {
        let mut fixture = Fixture::with_timelines(64, 48);
        let mut client = fixture.client();
        let window = client.window();
        fixture.round_trip(&mut client);
        let manager: WpLinuxDrmSyncobjManagerV1 = client.bind(1);
        let acquire = shared(&fixture, &client, &manager);
        let release = shared(&fixture, &client, &manager);
        acquire.points.reach(u64::from(u32::MAX));
        Self {
            fixture,
            client,
            by,
            window,
            manager,
            acquire,
            release,
            committed: 0,
        }
    }

    fn pane(&self, surface: WlSurface) -> Pane {
        let object = (self.by == By::Point).then(|| {
            self.manager
                .get_surface(&surface, &self.client.handle(), ())
        });
        Pane { surface, object }
    }

    fn top(&self) -> Pane {
        self.pane(self.window.surface.clone())
    }

    fn surface(&self) -> WlSurface {
        let compositor: WlCompositor = self.client.bind(6);
        compositor.create_surface(&self.client.handle(), ())
    }

    /// Makes a subsurface, which is synchronised at first.
    fn child(&self, parent: &WlSurface) -> (Pane, WlSubsurface) {
        let surface = self.surface();
        let global: WlSubcompositor = self.client.bind(1);
        let role = global.get_subsurface(&surface, parent, &self.client.handle(), ());
        (self.pane(surface), role)
    }

    fn attach(&mut self, pane: &Pane, wire: WlBuffer) -> Owed {
        self.committed += 1;
        let point = self.committed;
        if let Some(object) = &pane.object {
            object.set_acquire_point(&self.acquire.wire, 0, 1);
            let low = u32::try_from(point).unwrap();
            object.set_release_point(&self.release.wire, 0, low);
        }
        pane.surface.attach(Some(&wire), 0, 0);
        pane.surface.damage_buffer(0, 0, i32::MAX, i32::MAX);
        Owed { wire, point }
    }

    fn commit(&mut self, pane: &Pane, colour: u32) -> Owed {
        let wire = self.client.colour(8, 8, colour);
        let owed = self.attach(pane, wire);
        pane.surface.commit();
        owed
    }

    /// Commits a buffer that is not written before its point is reached.
    fn commit_behind(&mut self, pane: &Pane, colour: u32, acquire: &Shared, point: u32) -> Owed {
        let wire = self.client.colour(8, 8, colour);
        let owed = self.attach(pane, wire);
        let object = pane.object.as_ref().unwrap();
        object.set_acquire_point(&acquire.wire, 0, point);
        pane.surface.commit();
        owed
    }

    fn times_released(&self, owed: &Owed) -> usize {
        match self.by {
            By::Event => {
                let released = &self.client.seen.released;
                released
                    .iter()
                    .filter(|buffer| **buffer == owed.wire)
                    .count()
            }
            By::Point => {
                let signalled = self.release.points.signalled();
                signalled
                    .iter()
                    .filter(|point| **point == owed.point)
                    .count()
            }
        }
    }

    /// Sees that a buffer goes back, once.
    #[track_caller]
    fn expect_back(&mut self, owed: &Owed, way: &str) {
        let deadline = Instant::now() + Duration::from_secs(3);
        while self.times_released(owed) == 0 {
            assert!(
                Instant::now() < deadline,
                "{way}: the buffer is never given back by {:?}",
                self.by
            );
            self.fixture.step(&mut self.client);
        }
        for _ in 0..5 {
            self.fixture.step(&mut self.client);
        }
        assert_eq!(self.times_released(owed), 1, "{way}, by {:?}", self.by);
        assert!(!self.client.seen.closed, "{way}");
    }

    /// Sees that a buffer does not go back while it is shown or waits.
    #[track_caller]
    fn expect_kept(&mut self, owed: &Owed, way: &str) {
        self.fixture.round_trip(&mut self.client);
        for _ in 0..10 {
            self.fixture.step(&mut self.client);
        }
        assert_eq!(self.times_released(owed), 0, "{way}, by {:?}", self.by);
    }

    fn picture(&mut self) -> Vec<u32> {
        self.fixture.picture(&mut self.client)
    }
}

fn shared(fixture: &Fixture, client: &Client, manager: &WpLinuxDrmSyncobjManagerV1) -> Shared {
    let (points, file) = fixture.timelines.create();
    let wire = manager.import_timeline(file.as_fd(), &client.handle(), ());
    Shared {
        points,
        wire,
        _file: file,
    }
}

#[test]
fn buffer_replaced_on_the_display_goes_back_after_the_next_flip() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        let first = play.commit(&top, RED);
        play.picture();
        play.expect_kept(&first, "shown");
        play.commit(&top, GREEN);
        play.expect_back(&first, "replaced");
    }
}

#[test]
fn buffer_superseded_before_a_frame_goes_back() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        let first = play.commit(&top, RED);
        let second = play.commit(&top, GREEN);
        play.expect_back(&first, "superseded");
        play.expect_kept(&second, "shown");
    }
}

#[test]
fn buffer_detached_by_a_null_buffer_goes_back() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        let first = play.commit(&top, RED);
        play.picture();
        play.window.surface.attach(None, 0, 0);
        play.window.surface.commit();
        play.expect_back(&first, "the toplevel is unmapped");
    }
}

#[test]
fn buffer_detached_in_the_same_round_goes_back_and_the_next_one_is_its_own() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        let first = play.commit(&top, RED);
        play.window.surface.attach(None, 0, 0);
        play.window.surface.commit();
        play.window.surface.commit();
        play.expect_back(&first, "detached before it was shown");
    }
}

#[test]
fn buffer_of_a_window_goes_back_with_its_role() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        let shown = play.commit(&top, RED);
        play.picture();
        play.window.toplevel.destroy();
        play.expect_back(&shown, "the toplevel was destroyed");
        assert!(!play.picture().contains(&RED));
    }
}

#[test]
fn buffer_of_a_popup_goes_back_with_its_role() {
    for by in BOTH {
        let mut play = Play::new(by);
        let top = play.top();
        play.commit(&top, RED);
        let shell: XdgWmBase = play.client.bind(6);
        let handle = play.client.handle();
        let positioner: XdgPositioner = shell.create_positioner(&handle, ());
        positioner.set_size(8, 8);
        positioner.set_anchor_rect(0, 0, 8, 8);
        positioner.set_anchor(Anchor::BottomRight);
        let surface = play.surface();
        let role = shell.get_xdg_surface(&surface, &handle, ());
        let popup = role.get_popup(Some(&play.window.shell), &positioner, &handle, ());
        surface.commit();
        play.fixture.round_trip(&mut play.client);
        let pane = play.pane(surface);
        let shown = play.commit(&pane, GREEN);
        assert!(play.picture().contains(&GREEN));
        popup.destroy();
        play.expect_back(&shown, "the popup was destroyed");
    }
}

#[test]
fn buffer_of_a_surface_goes_back_with_it() {
    for by in BOTH {
        let mut play = Play::new(by);
        let without_role = play.surface();
        let pane = play.pane(without_role);
        let owed = play.commit(&pane, GREEN);
        play.expect_kept(&owed, "committed without a role");
        pane.surface.destroy();
        play.expect_back(&owed, "the surface was destroyed");
    }
}

#[test]
fn buffer_of_a_window_that_is_hidden_goes_back_when_it_is_superseded() {
    for by in BOTH {
        let mut play = Play::new(by);
        let hidden = play.top();
        play.commit(&hidden, RED);
        play.picture();
        let above = play.client.window();
        play.fixture.round_trip(&mut play.client);
        let buffer = play.client.colour(64, 48, BLUE);
        above.show(&play.client, &buffer);
        assert!(!play.picture().contains(&RED));
        let first = play.commit(&hidden, GREEN);
        let second = play.commit(&hidden, RED);
        play.expect_back(&first, "superseded while it is hidden");
        play.expect_kept(&second, "current while it is hidden");
    }
}

#[test]
fn buffer_committed_again_goes_back_when_its_last_commit_is_replaced() {
    let mut play = Play::new(By::Event);
    let top = play.top();
    let first = play.commit(&top, RED);
    play.picture();
    let again = play.attach(&top, first.wire);
    top.surface.commit();
    play.picture();
    play.expect_kept(&again, "shown by its second commit");
    play.commit(&top, GREEN);
    play.expect_back(&again, "replaced");
}

#[test]
fn buffer_attached_without_a_commit_is_not_given_back() {
    let mut play = Play::new(By::Event);
    let top = play.top();
    let shown = play.commit(&top, RED);
    play.picture();
    let other = Pane {
        surface: play.surface(),
        object: None,
    };
    other.surface.attach(Some(&shown.wire), 0, 0);
    play.fixture.round_trip(&mut play.client);
    other.surface.destroy();
    play.expect_kept(&shown, "another surface shows it");
}
