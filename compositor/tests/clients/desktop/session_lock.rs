//! The session lock: what is shown, what gets input, and who may unlock.

use covalent_compositor::cursor::Cursor;
use covalent_compositor::options::OutputConfig;
use smithay::backend::input::ButtonState;

use super::{App, LEFT_BUTTON, SUPER, WHITE};
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

/// Requests of the manager, of a lock and of a lock surface.
const LOCK: u32 = 1;
const DESTROY: u32 = 0;
const GET_SURFACE: u32 = 1;
const UNLOCK: u32 = 2;
const ACKNOWLEDGE: u32 = 1;

/// Events of a lock and of a lock surface.
const LOCKED: u32 = 0;
const FINISHED: u32 = 1;
const CONFIGURE: u32 = 0;

/// Keys.
const Q: u32 = 24;

/// A lock that a client requested.
#[derive(Clone, Copy)]
struct Lock {
    lock: u32,
    output: u32,
}

/// A lock surface of a client.
#[derive(Clone, Copy)]
struct Surface {
    surface: u32,
    role: u32,
}

impl Lock {
    /// Requests a lock.
    fn request(app: &mut App) -> Self {
        let manager = app.wire.bind("ext_session_lock_manager_v1");
        Self {
            output: app.wire.bind("wl_output"),
            lock: app.wire.make(manager, LOCK, &[]),
        }
    }

    /// Waits until the session is locked.
    #[track_caller]
    fn wait(self, fixture: &mut Fixture, app: &mut App) {
        for _ in 0..2000 {
            if app.count(self.lock, LOCKED) > 0 {
                return;
            }
            fixture.step_wire(&mut app.wire);
        }
        panic!("the session was not locked");
    }

    /// Creates the lock surface of the output.
    fn surface(self, app: &mut App) -> Surface {
        let surface = app.wire.make(app.compositor, 0, &[]);
        let arguments = [surface, self.output].map(Arg::Word);
        Surface {
            surface,
            role: app.wire.make(self.lock, GET_SURFACE, &arguments),
        }
    }

    /// Maps a white lock surface on the output.
    #[track_caller]
    fn show(self, fixture: &mut Fixture, app: &mut App) -> Surface {
        let surface = self.surface(app);
        app.sync(fixture);
        surface.acknowledge(app);
        surface.attach(app, (320, 240));
        app.sync(fixture);
        surface
    }
}

impl Surface {
    fn acknowledge(self, app: &mut App) {
        let events = app.wire.events_of(self.role, CONFIGURE);
        let last = events.last().unwrap();
        assert_eq!((last.word(1), last.word(2)), (320, 240));
        let serial = last.word(0);
        app.wire.send(self.role, ACKNOWLEDGE, &[serial.into()]);
    }

    fn attach(self, app: &mut App, (width, height): (u32, u32)) {
        let square = [0, width, height, width * 4, 1].map(Arg::Word);
        let buffer = app.wire.make(app.pool, 0, &square);
        app.wire
            .send(self.surface, 1, &[buffer, 0, 0].map(Arg::Word));
        app.wire
            .send(self.surface, 9, &[0, 0, 999, 999].map(Arg::Word));
        app.wire.send(self.surface, 6, &[]);
    }
}

/// Returns the number of white pixels on the first display.
#[track_caller]
fn white_pixels(fixture: &mut Fixture) -> usize {
    let (_, pixels) = fixture.screen_mut().capture().unwrap();
    pixels.iter().filter(|pixel| **pixel == WHITE).count()
}

/// Returns the object and the code of the error that a client gets.
#[track_caller]
fn error_of(fixture: &mut Fixture, app: &mut App) -> (u32, u32) {
    fixture.round_trip_wire(&mut app.wire);
    fixture.round_trip_wire(&mut app.wire);
    let (object, code, _) = app.wire.error.clone().unwrap();
    (object, code)
}

#[test]
fn only_lock_surfaces_are_shown_from_locked_until_the_client_unlocks() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let mut locker = App::new(&mut fixture, "locker", (50, 50));
    fixture.displayed_frame(&mut app.wire);
    assert_eq!(white_pixels(&mut fixture), 100 * 80 + 50 * 50);
    let lock = Lock::request(&mut locker);
    lock.wait(&mut fixture, &mut locker);
    // The display shows a locked frame when the event arrives.
    assert_eq!(white_pixels(&mut fixture), 0);
    assert!(fixture.state.stack.session_lock.is_confirmed());
    app.show(&mut fixture, (200, 100));
    fixture.displayed_frame(&mut app.wire);
    assert_eq!(white_pixels(&mut fixture), 0);
    let surface = lock.show(&mut fixture, &mut locker);
    fixture.displayed_frame(&mut locker.wire);
    assert_eq!(white_pixels(&mut fixture), 320 * 240);
    locker.wire.send(surface.role, DESTROY, &[]);
    locker.sync(&mut fixture);
    fixture.displayed_frame(&mut locker.wire);
    assert_eq!(white_pixels(&mut fixture), 0);
    lock.show(&mut fixture, &mut locker);
    locker.wire.send(lock.lock, UNLOCK, &[]);
    locker.sync(&mut fixture);
    fixture.displayed_frame(&mut locker.wire);
    assert_eq!(white_pixels(&mut fixture), 200 * 100 + 50 * 50);
    // The session can be locked again.
    let lock = Lock::request(&mut locker);
    lock.wait(&mut fixture, &mut locker);
    assert_eq!(white_pixels(&mut fixture), 0);
}

#[test]
fn lock_of_a_second_client_is_refused_and_cannot_unlock() {
    let mut fixture = Fixture::desktop();
    let mut locker = App::new(&mut fixture, "locker", (50, 50));
    let mut other = App::new(&mut fixture, "other", (50, 50));
    let lock = Lock::request(&mut locker);
    lock.wait(&mut fixture, &mut locker);
    let refused = Lock::request(&mut other);
    other.sync(&mut fixture);
    assert_eq!(other.count(refused.lock, FINISHED), 1);
    assert_eq!(other.count(refused.lock, LOCKED), 0);
    // A surface of the refused lock is never configured or shown.
    let surface = refused.surface(&mut other);
    other.sync(&mut fixture);
    assert_eq!(other.count(surface.role, CONFIGURE), 0);
    surface.attach(&mut other, (320, 240));
    other.wire.send(surface.role, ACKNOWLEDGE, &[7.into()]);
    other.sync(&mut fixture);
    fixture.displayed_frame(&mut other.wire);
    assert_eq!(white_pixels(&mut fixture), 0);
    let again = Lock::request(&mut other);
    other.wire.send(again.lock, DESTROY, &[]);
    other.sync(&mut fixture);
    assert!(fixture.state.stack.session_lock.is_confirmed());
    other.wire.send(refused.lock, UNLOCK, &[]);
    assert_eq!(error_of(&mut fixture, &mut other), (refused.lock, 1));
    assert!(fixture.state.stack.session_lock.is_confirmed());
    locker.sync(&mut fixture);
    locker.wire.send(lock.lock, UNLOCK, &[]);
    locker.sync(&mut fixture);
    assert!(!fixture.state.stack.session_lock.is_locked());
}

#[test]
fn session_of_a_client_that_ended_stays_locked_until_another_one_takes_over() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    for is_confirmed in [true, false] {
        let mut locker = App::new(&mut fixture, "locker", (50, 50));
        let lock = Lock::request(&mut locker);
        if is_confirmed {
            lock.wait(&mut fixture, &mut locker);
            lock.show(&mut fixture, &mut locker);
        } else {
            fixture.step_wire(&mut locker.wire);
        }
        drop(locker);
        for _ in 0..4 {
            app.sync(&mut fixture);
        }
        fixture.displayed_frame(&mut app.wire);
        assert!(fixture.state.stack.session_lock.is_locked());
        assert_eq!(white_pixels(&mut fixture), 0);
        let mut next = App::new(&mut fixture, "next", (50, 50));
        let lock = Lock::request(&mut next);
        // A client that gives the lock up before it is confirmed does not unlock the session of another one.
        next.wire.send(lock.lock, DESTROY, &[]);
        next.sync(&mut fixture);
        if is_confirmed {
            assert!(fixture.state.stack.session_lock.is_locked());
        }
        let lock = Lock::request(&mut next);
        lock.wait(&mut fixture, &mut next);
        next.wire.send(lock.lock, UNLOCK, &[]);
        next.sync(&mut fixture);
        assert!(!fixture.state.stack.session_lock.is_locked());
    }
    fixture.displayed_frame(&mut app.wire);
    assert!(white_pixels(&mut fixture) > 0);
}

#[test]
fn lock_that_is_given_up_before_it_is_confirmed_unlocks_the_session() {
    let mut fixture = Fixture::desktop();
    let mut locker = App::new(&mut fixture, "locker", (50, 50));
    let lock = Lock::request(&mut locker);
    locker.wire.send(lock.lock, DESTROY, &[]);
    locker.sync(&mut fixture);
    assert_eq!(locker.count(lock.lock, LOCKED), 0);
    assert!(!fixture.state.stack.session_lock.is_locked());
    fixture.displayed_frame(&mut locker.wire);
    assert_eq!(white_pixels(&mut fixture), 50 * 50);
}

#[test]
fn keys_and_pointer_are_those_of_the_lock_surface_alone() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let mut locker = App::new(&mut fixture, "locker", (50, 50));
    let place = app.rect(&fixture);
    fixture.click(place.x + 5, place.y + 5);
    fixture.button(LEFT_BUTTON, ButtonState::Pressed);
    app.sync(&mut fixture);
    let lock = Lock::request(&mut locker);
    lock.wait(&mut fixture, &mut locker);
    app.sync(&mut fixture);
    assert_eq!((app.focus(), locker.focus()), (None, None));
    // The press before the lock ends with a release for the window, and the late release reaches nobody.
    assert_eq!(app.count(app.pointer, 3), 4);
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    let surface = lock.show(&mut fixture, &mut locker);
    let (keys, buttons) = (app.count(app.keyboard, 3), app.count(app.pointer, 3));
    fixture.point(place.x + 6, place.y + 6);
    fixture.click(place.x + 5, place.y + 5);
    fixture.chord(&[SUPER, Q]);
    app.sync(&mut fixture);
    locker.sync(&mut fixture);
    assert_eq!(locker.focus(), Some(surface.surface));
    assert_eq!(locker.count(locker.pointer, 3), 2);
    // No binding applies, so the keys are the client's.
    assert_eq!(locker.count(locker.keyboard, 3), 4);
    assert_eq!(app.count(app.toplevel, 1), 0);
    assert_eq!(
        (app.count(app.keyboard, 3), app.count(app.pointer, 3)),
        (keys, buttons)
    );
    // A window that is mapped gets no focus.
    let mut second = App::new(&mut fixture, "second", (60, 60));
    locker.sync(&mut fixture);
    second.sync(&mut fixture);
    assert_eq!(
        (locker.focus(), second.focus()),
        (Some(surface.surface), None)
    );
    locker.wire.send(lock.lock, UNLOCK, &[]);
    locker.sync(&mut fixture);
    second.sync(&mut fixture);
    assert_eq!(
        (locker.focus(), second.focus()),
        (None, Some(second.surface))
    );
}

#[test]
fn layer_surface_and_cursor_of_a_client_are_hidden_while_the_session_is_locked() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let shell = app.wire.bind("zwlr_layer_shell_v1");
    let panel = app.wire.make(app.compositor, 0, &[]);
    let arguments = [panel.into(), 0.into(), 3.into(), "panel".into()];
    let role = app.wire.make(shell, 0, &arguments);
    app.wire.send(role, 0, &[64, 64].map(Arg::Word));
    // The surface wants all keys.
    app.wire.send(role, 4, &[1.into()]);
    app.wire.send(panel, 6, &[]);
    app.sync(&mut fixture);
    let serial = app.wire.events_of(role, 0).last().unwrap().word(0);
    app.wire.send(role, 6, &[serial.into()]);
    let square = [0, 64, 64, 256, 1].map(Arg::Word);
    let buffer = app.wire.make(app.pool, 0, &square);
    app.wire.send(panel, 1, &[buffer, 0, 0].map(Arg::Word));
    app.wire.send(panel, 6, &[]);
    app.sync(&mut fixture);
    assert_eq!(app.focus(), Some(panel));
    fixture.point(160, 120);
    app.sync(&mut fixture);
    let entered = app.wire.events_of(app.pointer, 0);
    let serial = entered.last().unwrap().word(0);
    let cursor = app.wire.make(app.compositor, 0, &[]);
    let arguments = [serial, cursor, 0, 0].map(Arg::Word);
    app.wire.send(app.pointer, 0, &arguments);
    app.wire.send(cursor, 1, &[buffer, 0, 0].map(Arg::Word));
    app.wire.send(cursor, 6, &[]);
    app.sync(&mut fixture);
    assert!(fixture.state.cursor.surface().is_some());
    let mut locker = App::new(&mut fixture, "locker", (50, 50));
    let lock = Lock::request(&mut locker);
    lock.wait(&mut fixture, &mut locker);
    app.sync(&mut fixture);
    assert!(fixture.state.cursor.surface().is_none());
    assert_eq!(app.focus(), None);
    let id = fixture.screen().id();
    assert!(fixture.state.stack.logical_scene(id).layers.is_empty());
}

#[test]
fn session_is_locked_when_each_output_shows_it_also_a_new_one() {
    let mut fixture = Fixture::desktop();
    let config = |name: &str| OutputConfig {
        name: name.to_owned(),
        ..OutputConfig::default()
    };
    let second = fixture.add_output(config("second"), (320, 240));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.point(400, 100);
    let mut locker = App::new(&mut fixture, "locker", (60, 60));
    // The image of the pointer has white pixels.
    fixture.state.cursor = Cursor::default();
    let lock = Lock::request(&mut locker);
    lock.wait(&mut fixture, &mut locker);
    for id in fixture.state.outputs.ids() {
        let screen = fixture.state.outputs.get_mut(id).unwrap();
        let (_, pixels) = screen.capture().unwrap();
        assert!(pixels.iter().all(|pixel| *pixel != WHITE), "{id:?}");
    }
    // The registry announced the second output last, so the lock surface is on it.
    lock.show(&mut fixture, &mut locker);
    assert_eq!(fixture.state.stack.logical_scene(second).layers.len(), 1);
    for _ in 0..2 {
        fixture.state.remove_output(second);
        locker.sync(&mut fixture);
        fixture.add_output(config("second"), (320, 240));
        locker.sync(&mut fixture);
        assert!(fixture.state.stack.logical_scene(second).layers.is_empty());
        // The output has another lock surface now.
        let again = Lock {
            output: locker.wire.bind("wl_output"),
            ..lock
        };
        again.show(&mut fixture, &mut locker);
        assert_eq!(fixture.state.stack.logical_scene(second).layers.len(), 1);
    }
    app.sync(&mut fixture);
}

/// Sends wrong requests for a lock, and returns the object that gets the error.
type Misuse = fn(&mut Fixture, &mut App, Lock) -> u32;

#[test]
fn misused_lock_posts_the_protocol_error_and_leaves_the_session_locked() {
    let cases: [(&str, u32, Misuse); 9] = [
        ("destroy", 0, |_, app, lock| {
            app.wire.send(lock.lock, DESTROY, &[]);
            lock.lock
        }),
        ("surface with a role", 2, |_, app, lock| {
            let arguments = [app.surface, lock.output].map(Arg::Word);
            app.wire.make(lock.lock, GET_SURFACE, &arguments);
            lock.lock
        }),
        ("second surface of an output", 3, |_, app, lock| {
            lock.surface(app);
            let output = app.wire.bind("wl_output");
            Lock { output, ..lock }.surface(app);
            lock.lock
        }),
        ("surface with a buffer", 4, |_, app, lock| {
            let surface = app.wire.make(app.compositor, 0, &[]);
            let square = [0, 10, 10, 40, 1].map(Arg::Word);
            let buffer = app.wire.make(app.pool, 0, &square);
            app.wire.send(surface, 1, &[buffer, 0, 0].map(Arg::Word));
            let arguments = [surface, lock.output].map(Arg::Word);
            app.wire.make(lock.lock, GET_SURFACE, &arguments);
            lock.lock
        }),
        (
            "commit before the first acknowledgement",
            0,
            |_, app, lock| {
                let surface = lock.surface(app);
                surface.attach(app, (320, 240));
                surface.role
            },
        ),
        ("commit without a buffer", 1, |fixture, app, lock| {
            let surface = lock.surface(app);
            app.sync(fixture);
            surface.acknowledge(app);
            app.wire.send(surface.surface, 6, &[]);
            surface.role
        }),
        ("null buffer", 1, |fixture, app, lock| {
            let surface = lock.show(fixture, app);
            app.wire.send(surface.surface, 1, &[0, 0, 0].map(Arg::Word));
            app.wire.send(surface.surface, 6, &[]);
            surface.role
        }),
        ("wrong size", 2, |fixture, app, lock| {
            let surface = lock.surface(app);
            app.sync(fixture);
            surface.acknowledge(app);
            surface.attach(app, (320, 239));
            surface.role
        }),
        ("wrong serial", 3, |_, app, lock| {
            let surface = lock.surface(app);
            app.wire.send(surface.role, ACKNOWLEDGE, &[u32::MAX.into()]);
            surface.role
        }),
    ];
    for (what, code, misuse) in cases {
        let mut fixture = Fixture::desktop();
        let mut app = App::new(&mut fixture, "locker", (50, 50));
        let mut other = App::new(&mut fixture, "other", (50, 50));
        let lock = Lock::request(&mut app);
        lock.wait(&mut fixture, &mut app);
        let object = misuse(&mut fixture, &mut app, lock);
        assert_eq!(error_of(&mut fixture, &mut app), (object, code), "{what}");
        other.sync(&mut fixture);
        fixture.displayed_frame(&mut other.wire);
        assert!(fixture.state.stack.session_lock.is_locked(), "{what}");
        assert_eq!(white_pixels(&mut fixture), 0, "{what}");
    }
}
