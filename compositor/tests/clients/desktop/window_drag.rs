//! Interactive move and resize.

use covalent_compositor::region::Rect;
use smithay::backend::input::ButtonState;

use super::{App, LEFT_BUTTON, MAXIMIZED, MOVE, RESIZE, RESIZING, RIGHT_BUTTON, SUPER};
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

/// Edges of `xdg_toplevel.resize`.
const TOP_LEFT: u32 = 5;
const RIGHT: u32 = 8;

/// The keys that maximise the window and tile it.
const UP: u32 = 111;
const LEFT_KEY: u32 = 113;
const RIGHT_KEY: u32 = 114;

/// Presses the left button on a window, and returns the serial of the press.
fn press_on(fixture: &mut Fixture, app: &mut App, (x, y): (i32, i32)) -> u32 {
    fixture.point(x, y);
    fixture.button(LEFT_BUTTON, ButtonState::Pressed);
    app.sync(fixture);
    app.press_serial()
}

fn send(app: &mut App, opcode: u32, serial: u32, edges: &[u32]) {
    let mut arguments = vec![Arg::Word(app.seat), Arg::Word(serial)];
    arguments.extend(edges.iter().copied().map(Arg::Word));
    app.wire.send(app.toplevel, opcode, &arguments);
}

fn request(fixture: &mut Fixture, app: &mut App, opcode: u32, serial: u32, edges: &[u32]) {
    send(app, opcode, serial, edges);
    app.sync(fixture);
}

#[test]
fn window_follows_the_pointer_and_leaves_nothing_at_its_old_place() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    assert_eq!(fixture.white(&mut app), (Rect::new(110, 80, 100, 80), 8000));
    let serial = press_on(&mut fixture, &mut app, (120, 90));
    request(&mut fixture, &mut app, MOVE, serial, &[]);
    // The client gets no pointer events while the window is moved.
    assert_eq!(app.count(app.pointer, 1), 1);
    for (to, place) in [((150, 100), (140, 90)), ((30, 15), (20, 5))] {
        fixture.point(to.0, to.1);
        let place = Rect::new(place.0, place.1, 100, 80);
        assert_eq!(fixture.white(&mut app), (place, 8000));
    }
    assert_eq!(
        (app.count(app.pointer, 3), app.count(app.pointer, 1)),
        (1, 1)
    );
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    fixture.point(35, 20);
    app.sync(&mut fixture);
    assert_eq!(
        app.count(app.pointer, 3),
        1,
        "the release is not the client's"
    );
    assert_eq!(app.count(app.pointer, 0), 2);
    assert_eq!(app.rect(&fixture), Rect::new(20, 5, 100, 80));
}

#[test]
fn moved_window_stays_below_the_upper_edge_and_within_reach() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let serial = press_on(&mut fixture, &mut app, (120, 150));
    request(&mut fixture, &mut app, MOVE, serial, &[]);
    fixture.point(-5000, -5000);
    assert_eq!(app.rect(&fixture), Rect::new(-10, 0, 100, 80));
    fixture.point(5000, 5000);
    assert_eq!(app.rect(&fixture), Rect::new(309, 169, 100, 80));
}

#[test]
fn drag_needs_the_serial_of_the_press_that_its_client_received() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let mut other = App::new(&mut fixture, "other", (100, 80));
    let (place, other_place) = (app.rect(&fixture), other.rect(&fixture));
    let serial = press_on(&mut fixture, &mut app, (120, 90));
    let near = serial.saturating_sub(64);
    for guess in (near..serial.saturating_add(8)).chain([0, u32::MAX]) {
        send(&mut other, MOVE, guess, &[]);
        send(&mut other, RESIZE, guess, &[RIGHT]);
        if guess != serial {
            send(&mut app, MOVE, guess, &[]);
            send(&mut app, RESIZE, guess, &[RIGHT]);
        }
    }
    other.sync(&mut fixture);
    // No edge is no resize.
    request(&mut fixture, &mut app, RESIZE, serial, &[0]);
    fixture.point(160, 110);
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    // The button is not pressed any more, so the request is ignored.
    request(&mut fixture, &mut app, MOVE, serial, &[]);
    fixture.point(170, 110);
    app.sync(&mut fixture);
    assert_eq!(app.rect(&fixture), place);
    assert_eq!(other.rect(&fixture), other_place);
    assert!(!app.has_state(RESIZING) && !other.has_state(RESIZING));
}

#[test]
fn resized_window_keeps_its_other_corner_with_each_commit() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let serial = press_on(&mut fixture, &mut app, (112, 82));
    request(&mut fixture, &mut app, RESIZE, serial, &[TOP_LEFT]);
    fixture.point(92, 72);
    app.sync(&mut fixture);
    assert!(app.has_state(RESIZING));
    // The first configure event has only the state. The second one has the size, and is sent when the first one is acknowledged.
    app.show(&mut fixture, (100, 80));
    assert_eq!((app.configured().0, app.configured().1), (120, 90));
    assert_eq!(app.rect(&fixture), Rect::new(110, 80, 100, 80));
    // The client rounds its size to cells of 8 pixels.
    app.show(&mut fixture, (120, 88));
    assert_eq!(app.rect(&fixture), Rect::new(90, 72, 120, 88));
    assert_eq!(
        fixture.white(&mut app),
        (Rect::new(90, 72, 120, 88), 120 * 88)
    );
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    app.sync(&mut fixture);
    assert!(!app.has_state(RESIZING));
    app.show(&mut fixture, (120, 88));
    // The configure event for a change of the focus has the size that the client chose, and not the size that was requested.
    let mut other = App::new(&mut fixture, "other", (20, 20));
    other.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!((app.configured().0, app.configured().1), (120, 88));
}

#[test]
fn client_that_does_not_acknowledge_gets_one_size_alone() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let serial = press_on(&mut fixture, &mut app, (205, 100));
    request(&mut fixture, &mut app, RESIZE, serial, &[RIGHT]);
    let before = app.count(app.toplevel, 0);
    for step in 0..2000 {
        fixture.point(206 + step % 100, 100);
    }
    fixture.point(225, 100);
    app.sync(&mut fixture);
    assert_eq!(app.count(app.toplevel, 0), before);
    app.show(&mut fixture, (100, 80));
    assert_eq!(app.count(app.toplevel, 0), before + 1);
    assert_eq!((app.configured().0, app.configured().1), (120, 80));
}

#[test]
fn resize_keeps_the_size_limits_of_the_client() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    app.wire.send(app.toplevel, 8, &[90.into(), 70.into()]);
    app.wire.send(app.toplevel, 7, &[110.into(), 0.into()]);
    app.show(&mut fixture, (100, 80));
    fixture.press(SUPER);
    fixture.point(200, 150);
    fixture.button(RIGHT_BUTTON, ButtonState::Pressed);
    app.sync(&mut fixture);
    for (to, size) in [((0, 0), (90, 70)), ((319, 200), (110, 130))] {
        app.show(&mut fixture, (100, 80));
        fixture.point(to.0, to.1);
        app.sync(&mut fixture);
        assert_eq!((app.configured().0, app.configured().1), size);
    }
    assert_eq!(app.count(app.pointer, 3), 0, "the client gets no press");
}

#[test]
fn window_that_is_maximised_gets_its_size_back_when_it_is_moved() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.chord(&[SUPER, UP]);
    app.sync(&mut fixture);
    app.show(&mut fixture, (320, 240));
    fixture.press(SUPER);
    fixture.point(160, 12);
    fixture.button(LEFT_BUTTON, ButtonState::Pressed);
    fixture.release(SUPER);
    app.sync(&mut fixture);
    assert!(!app.has_state(MAXIMIZED));
    app.show(&mut fixture, (100, 80));
    fixture.point(170, 24);
    // The pointer is in the middle of the width, as before.
    assert_eq!(app.rect(&fixture), Rect::new(120, 20, 100, 80));
    fixture.button(LEFT_BUTTON, ButtonState::Released);
}

#[test]
fn fullscreen_window_cannot_be_moved() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    app.wire.send(app.toplevel, 11, &[0.into()]);
    app.sync(&mut fixture);
    app.show(&mut fixture, (320, 240));
    let serial = press_on(&mut fixture, &mut app, (120, 90));
    request(&mut fixture, &mut app, MOVE, serial, &[]);
    fixture.point(150, 100);
    assert_eq!(app.rect(&fixture), Rect::new(0, 0, 320, 240));
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    // With Super, the client of a window that cannot be moved receives the press as well as the release.
    fixture.press(SUPER);
    fixture.click(160, 120);
    fixture.release(SUPER);
    app.sync(&mut fixture);
    let buttons = app.wire.events_of(app.pointer, 3);
    let states: Vec<u32> = buttons.iter().map(|event| event.word(3)).collect();
    assert_eq!(states, [1, 0, 1, 0]);
}

#[test]
fn button_that_is_pressed_while_a_window_is_moved_is_not_the_clients() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let serial = press_on(&mut fixture, &mut app, (120, 90));
    request(&mut fixture, &mut app, MOVE, serial, &[]);
    fixture.button(RIGHT_BUTTON, ButtonState::Pressed);
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    fixture.button(RIGHT_BUTTON, ButtonState::Released);
    app.sync(&mut fixture);
    assert_eq!(app.count(app.pointer, 0), 2, "the pointer has returned");
    assert_eq!(app.count(app.pointer, 3), 1);
}

#[test]
fn window_that_ends_while_it_is_moved_returns_the_pointer() {
    let mut fixture = Fixture::desktop();
    let mut below = App::new(&mut fixture, "below", (320, 240));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let place = app.rect(&fixture);
    let serial = press_on(&mut fixture, &mut app, (place.x + 10, place.y + 10));
    request(&mut fixture, &mut app, MOVE, serial, &[]);
    let entered = below.count(below.pointer, 0);
    drop(app);
    for _ in 0..3 {
        below.sync(&mut fixture);
    }
    assert_eq!(below.count(below.pointer, 0), entered + 1);
    // The client below received no press, so it receives no release.
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    below.sync(&mut fixture);
    assert_eq!(below.count(below.pointer, 3), 0);
    fixture.click(300, 200);
    below.sync(&mut fixture);
    assert_eq!(below.count(below.pointer, 3), 2);
    assert_eq!(fixture.white(&mut below).1, 320 * 240);
}

#[test]
fn window_of_any_geometry_can_be_moved_resized_and_arranged() {
    let mut fixture = Fixture::desktop();
    let mut other = App::new(&mut fixture, "other", (320, 240));
    const EXTREMES: [i32; 5] = [i32::MIN, -5, 1, 100, i32::MAX];
    for place in EXTREMES {
        for size in [1, 100, i32::MAX] {
            let mut app = App::new(&mut fixture, "window", (100, 80));
            let limits = [size.into(), size.into()];
            app.wire.send(app.toplevel, 8, &limits);
            let geometry = [place, place, size, size].map(Arg::from);
            app.wire.send(app.role, 3, &geometry);
            app.show(&mut fixture, (100, 80));
            fixture.press(SUPER);
            for button in [LEFT_BUTTON, RIGHT_BUTTON] {
                // This point is in the window, if the window is on the output.
                fixture.point(40, 40);
                fixture.button(button, ButtonState::Pressed);
                for to in [i32::MIN, i32::MAX, 60] {
                    fixture.point(to, to);
                    app.sync(&mut fixture);
                    app.show(&mut fixture, (100, 80));
                }
                fixture.button(button, ButtonState::Released);
            }
            for key in [UP, LEFT_KEY, RIGHT_KEY] {
                fixture.chord(&[key]);
                app.sync(&mut fixture);
                app.show(&mut fixture, (100, 80));
            }
            fixture.release(SUPER);
            app.sync(&mut fixture);
            drop(app);
            other.sync(&mut fixture);
        }
    }
    // The keys have arranged this window while the other one was outside of the output.
    assert!(fixture.white(&mut other).1 >= 160 * 240);
}
