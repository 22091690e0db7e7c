//! Relative motion, pointer constraints, gestures, and inhibitors of key bindings.

use smithay::input::pointer::{GestureSwipeBeginEvent, GestureSwipeEndEvent, RelativeMotionEvent};
use smithay::utils::SERIAL_COUNTER;

use super::{ALT, App, SUPER, TAB};
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

const Q: u32 = 24;
const ESCAPE: u32 = 9;

const LOCK: u32 = 1;
const CONFINE: u32 = 2;
const ONESHOT: u32 = 1;
const PERSISTENT: u32 = 2;
/// The events of constraints: `locked` and `confined`, `unlocked` and `unconfined`.
const ACTIVE: u32 = 0;
const INACTIVE: u32 = 1;
/// The opcodes of `set_region`.
const SET_LOCK_REGION: u32 = 2;
const SET_CONFINE_REGION: u32 = 1;

/// The middle of the output, which a window that is alone covers.
const MIDDLE: (i32, i32) = (160, 120);

impl Fixture {
    /// Moves a mouse.
    fn move_by(&mut self, x: f64, y: f64) {
        let motion = RelativeMotionEvent {
            delta: (x, y).into(),
            delta_unaccel: (x / 2.0, y / 2.0).into(),
            utime: 7,
        };
        self.state.pointer_moved_by(&motion, 0);
    }

    fn pointer_at(&self) -> (f64, f64) {
        let at = self.state.pointer.current_location();
        (at.x, at.y)
    }
}

impl App {
    /// Creates a constraint of the pointer on the window.
    fn constrain(&mut self, kind: u32, lifetime: u32) -> u32 {
        let manager = self.wire.bind("zwp_pointer_constraints_v1");
        let arguments = [self.surface, self.pointer, 0, lifetime].map(Arg::Word);
        self.wire.make(manager, kind, &arguments)
    }

    /// Creates a region of one rectangle.
    fn region(&mut self, rect: [u32; 4]) -> u32 {
        let region = self.wire.make(self.compositor, 1, &[]);
        self.wire.send(region, 1, &rect.map(Arg::Word));
        region
    }

    /// Returns how often a constraint was active and inactive.
    fn changes(&self, constraint: u32) -> (usize, usize) {
        (
            self.count(constraint, ACTIVE),
            self.count(constraint, INACTIVE),
        )
    }

    fn commit(&mut self, fixture: &mut Fixture) {
        self.wire.send(self.surface, 6, &[]);
        self.sync(fixture);
    }
}

#[test]
fn relative_motion_reaches_the_client_with_pointer_focus_alone() {
    let mut fixture = Fixture::desktop();
    let mut below = App::new(&mut fixture, "below", (320, 240));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let rect = app.rect(&fixture);
    fixture.point(rect.x + 10, rect.y + 10);
    let mut relative = Vec::new();
    for app in [&mut below, &mut app] {
        let manager = app.wire.bind("zwp_relative_pointer_manager_v1");
        relative.push(app.wire.make(manager, 1, &[app.pointer.into()]));
        app.sync(&mut fixture);
    }
    fixture.move_by(3.0, -2.0);
    app.sync(&mut fixture);
    below.sync(&mut fixture);
    let motion = app.wire.events_of(relative[1], 0)[0];
    let delta = [2, 3, 4, 5].map(|place| i32::from_ne_bytes(motion.word(place).to_ne_bytes()));
    assert_eq!((motion.word(0), motion.word(1)), (0, 7));
    assert_eq!(delta, [3 * 256, -2 * 256, 384, -256]);
    assert_eq!(below.count(relative[0], 0), 0);
}

#[test]
fn locked_pointer_stays_until_the_user_chooses_another_window() {
    let mut fixture = Fixture::desktop();
    let mut other = App::new(&mut fixture, "other", (40, 40));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let rect = app.rect(&fixture);
    let lock = app.constrain(LOCK, PERSISTENT);
    app.sync(&mut fixture);
    assert_eq!(app.changes(lock), (0, 0), "the pointer is elsewhere");
    fixture.point(rect.x + 10, rect.y + 10);
    app.sync(&mut fixture);
    assert_eq!(app.changes(lock), (1, 0));
    let before = fixture.pointer_at();
    let motions = app.count(app.pointer, 2);
    fixture.move_by(20.0, 20.0);
    fixture.state.pointer_moved_to((1.0, 1.0).into(), 0);
    app.sync(&mut fixture);
    assert_eq!(fixture.pointer_at(), before);
    assert_eq!(app.count(app.pointer, 2), motions);
    fixture.chord(&[ALT, TAB]);
    other.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!(app.changes(lock), (1, 1));
    fixture.move_by(1.0, 1.0);
    assert_ne!(fixture.pointer_at(), before);
    fixture.chord(&[ALT, TAB]);
    app.sync(&mut fixture);
    assert_eq!(app.changes(lock), (2, 1), "a persistent lock returns");
}

#[test]
fn window_that_is_under_the_pointer_cannot_lock_it_without_keyboard_focus() {
    let mut fixture = Fixture::desktop();
    let mut below = App::new(&mut fixture, "below", (320, 240));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let rect = app.rect(&fixture);
    let lock = below.constrain(LOCK, PERSISTENT);
    fixture.point(rect.x.saturating_sub(5).max(1), rect.bottom() + 5);
    below.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!(app.focus(), Some(app.surface));
    assert_eq!(below.changes(lock), (0, 0));
    let at = fixture.pointer_at();
    fixture.move_by(1.0, 0.0);
    assert_ne!(fixture.pointer_at(), at);
}

#[test]
fn lock_that_is_destroyed_moves_the_pointer_to_the_position_of_the_clients_cursor() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let rect = app.rect(&fixture);
    for (hint, expected) in [((20, 30), (20, 30)), ((500, 30), (20, 30))] {
        fixture.point(MIDDLE.0, MIDDLE.1);
        let lock = app.constrain(LOCK, ONESHOT);
        app.wire
            .send(lock, 1, &[hint.0 * 256, hint.1 * 256].map(Arg::from));
        app.commit(&mut fixture);
        assert_eq!(app.changes(lock), (1, 0));
        app.wire.send(lock, 0, &[]);
        app.sync(&mut fixture);
        let to = if hint == expected {
            (rect.x + expected.0, rect.y + expected.1)
        } else {
            MIDDLE
        };
        assert_eq!(fixture.pointer_at(), (f64::from(to.0), f64::from(to.1)));
        assert_eq!(fixture.state.pointer_constraints.count(), 0);
    }
}

#[test]
fn lock_with_a_region_waits_for_the_pointer() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let rect = app.rect(&fixture);
    fixture.point(MIDDLE.0, MIDDLE.1);
    let corner = app.region([0, 0, 10, 10]);
    let manager = app.wire.bind("zwp_pointer_constraints_v1");
    let arguments = [app.surface, app.pointer, corner, PERSISTENT].map(Arg::Word);
    let lock = app.wire.make(manager, LOCK, &arguments);
    app.sync(&mut fixture);
    assert_eq!(app.changes(lock), (0, 0));
    fixture.move_by(
        f64::from(rect.x - MIDDLE.0 + 5),
        f64::from(rect.y - MIDDLE.1 + 5),
    );
    app.sync(&mut fixture);
    assert_eq!(app.changes(lock), (1, 0));
    // The region of a lock that is active has no effect.
    let elsewhere = app.region([50, 50, 10, 10]);
    app.wire.send(lock, SET_LOCK_REGION, &[elsewhere.into()]);
    app.commit(&mut fixture);
    assert_eq!(app.changes(lock), (1, 0));
}

#[test]
fn confined_pointer_stays_in_the_region_of_its_surface() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let rect = app.rect(&fixture);
    fixture.point(MIDDLE.0, MIDDLE.1);
    let confined = app.constrain(CONFINE, PERSISTENT);
    app.sync(&mut fixture);
    assert_eq!(app.changes(confined), (1, 0));
    fixture.move_by(1000.0, -1000.0);
    let (x, y) = fixture.pointer_at();
    let right = f64::from(rect.right());
    assert!(x < right && x > right - 0.01, "{x}");
    assert!(
        y >= f64::from(rect.y) && y < f64::from(rect.y) + 0.01,
        "{y}"
    );
    fixture.state.pointer_moved_to((0.0, 0.0).into(), 0);
    assert!(fixture.pointer_at().0 >= f64::from(rect.x));
    // The new region applies with the next commit. The pointer is outside of it, so it is free until it is in the region.
    let part = app.region([40, 30, 20, 20]);
    app.wire.send(confined, SET_CONFINE_REGION, &[part.into()]);
    app.sync(&mut fixture);
    assert_eq!(app.changes(confined), (1, 0));
    app.commit(&mut fixture);
    assert_eq!(app.changes(confined), (1, 1));
    fixture.point(rect.x + 50, rect.y + 40);
    app.sync(&mut fixture);
    assert_eq!(app.changes(confined), (2, 1));
    fixture.move_by(-500.0, 500.0);
    let (x, y) = fixture.pointer_at();
    let (left, bottom) = (f64::from(rect.x + 40), f64::from(rect.y + 50));
    assert!(x >= left && x < left + 0.01, "{x}");
    assert!(y < bottom && y > bottom - 0.01, "{y}");
}

#[test]
fn constraint_ends_when_its_surface_is_unmapped_or_destroyed() {
    for (what, is_destroyed) in [("unmapped", false), ("destroyed", true)] {
        for kind in [LOCK, CONFINE] {
            let mut fixture = Fixture::desktop();
            let mut app = App::new(&mut fixture, "window", (100, 80));
            fixture.point(MIDDLE.0, MIDDLE.1);
            let constraint = app.constrain(kind, ONESHOT);
            app.sync(&mut fixture);
            assert!(fixture.state.pointer_constraints.is_active());
            if is_destroyed {
                for object in [app.toplevel, app.role, app.surface] {
                    app.wire.send(object, 0, &[]);
                }
            } else {
                app.wire.send(app.surface, 1, &[0, 0, 0].map(Arg::Word));
                app.wire.send(app.surface, 6, &[]);
            }
            app.sync(&mut fixture);
            assert!(!fixture.state.pointer_constraints.is_active(), "{what}");
            assert_eq!(fixture.state.pointer_constraints.count(), 0, "{what}");
            fixture.move_by(100.0, 80.0);
            assert_eq!(fixture.pointer_at(), (260.0, 200.0), "{what}");
            // The object of a constraint that has ended does nothing.
            app.wire.send(constraint, 0, &[]);
            app.sync(&mut fixture);
        }
    }
}

#[test]
fn second_constraint_of_a_surface_is_a_protocol_error_until_the_first_has_ended() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let first = app.constrain(LOCK, PERSISTENT);
    app.wire.send(first, 0, &[]);
    app.constrain(CONFINE, PERSISTENT);
    app.sync(&mut fixture);
    app.constrain(LOCK, PERSISTENT);
    fixture.round_trip_wire(&mut app.wire);
    assert_eq!(app.wire.error.map(|error| error.1), Some(1));
}

#[test]
fn older_constraint_that_has_ended_leaves_the_newer_one_alone() {
    let mut fixture = Fixture::desktop();
    let mut other = App::new(&mut fixture, "other", (40, 40));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let rect = app.rect(&fixture);
    fixture.point(rect.x + 10, rect.y + 10);
    let ended = app.constrain(LOCK, ONESHOT);
    app.sync(&mut fixture);
    fixture.chord(&[ALT, TAB]);
    other.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!(app.changes(ended), (1, 1));
    app.constrain(LOCK, ONESHOT);
    app.wire.send(ended, 0, &[]);
    app.sync(&mut fixture);
    assert_eq!(fixture.state.pointer_constraints.count(), 1);
}

#[test]
fn gesture_reaches_the_client_with_pointer_focus_and_ends_when_it_leaves() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let manager = app.wire.bind("zwp_pointer_gestures_v1");
    let swipe = app.wire.make(manager, 0, &[app.pointer.into()]);
    app.sync(&mut fixture);
    let begin = GestureSwipeBeginEvent {
        serial: SERIAL_COUNTER.next_serial(),
        time: 0,
        fingers: 3,
    };
    let pointer = fixture.state.pointer.clone();
    fixture.point(2, 2);
    pointer.gesture_swipe_begin(&mut fixture.state, &begin);
    app.sync(&mut fixture);
    assert_eq!(app.count(swipe, 0), 0);
    fixture.point(MIDDLE.0, MIDDLE.1);
    pointer.gesture_swipe_begin(&mut fixture.state, &begin);
    app.sync(&mut fixture);
    let event = app.wire.events_of(swipe, 0)[0];
    assert_eq!((event.word(2), event.word(3)), (app.surface, 3));
    fixture.point(2, 2);
    app.sync(&mut fixture);
    let ended = app.wire.events_of(swipe, 2);
    assert_eq!((ended.len(), ended[0].word(2)), (1, 1), "cancelled");
    let end = GestureSwipeEndEvent {
        serial: SERIAL_COUNTER.next_serial(),
        time: 0,
        cancelled: false,
    };
    pointer.gesture_swipe_end(&mut fixture.state, &end);
    app.sync(&mut fixture);
    assert_eq!(app.count(swipe, 2), 1);
}

#[test]
fn inhibitor_gives_the_keys_of_bindings_to_its_focused_window_until_the_user_takes_them_back() {
    let mut fixture = Fixture::desktop();
    let mut other = App::new(&mut fixture, "other", (40, 40));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let manager = app.wire.bind("zwp_keyboard_shortcuts_inhibit_manager_v1");
    let arguments = [app.surface, app.seat].map(Arg::Word);
    let inhibitor = app.wire.make(manager, 1, &arguments);
    app.sync(&mut fixture);
    assert_eq!(app.changes(inhibitor), (1, 0));
    fixture.chord(&[SUPER, Q]);
    app.sync(&mut fixture);
    let closes = |app: &App| app.count(app.toplevel, 1);
    assert_eq!((closes(&app), app.count(app.keyboard, 3)), (0, 4));
    fixture.chord(&[SUPER, ESCAPE]);
    app.sync(&mut fixture);
    assert_eq!(app.changes(inhibitor), (1, 1));
    // An inhibitor that is made again does not take them either.
    app.wire.send(inhibitor, 0, &[]);
    let again = app.wire.make(manager, 1, &arguments);
    app.sync(&mut fixture);
    assert_eq!(app.changes(again), (0, 0));
    fixture.chord(&[SUPER, Q]);
    app.sync(&mut fixture);
    assert_eq!(closes(&app), 1);
    // It may when the user chooses the window again.
    for (active, inactive) in [(0, 0), (1, 0)] {
        fixture.chord(&[ALT, TAB]);
        other.sync(&mut fixture);
        app.sync(&mut fixture);
        assert_eq!(app.changes(again), (active, inactive));
    }
    fixture.chord(&[SUPER, ESCAPE]);
    fixture.chord(&[SUPER, ESCAPE]);
    app.sync(&mut fixture);
    assert_eq!(app.changes(again), (2, 1));
    app.wire.make(manager, 1, &arguments);
    fixture.round_trip_wire(&mut app.wire);
    assert_eq!(app.wire.error.map(|error| error.1), Some(0));
}
