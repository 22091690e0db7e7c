//! Touch screens.

use covalent_compositor::region::Rect;
use smithay::backend::input::TouchSlot;

use super::App;
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

/// Events of `wl_touch`.
const DOWN: u32 = 0;
const UP: u32 = 1;
const MOTION: u32 = 2;
const FRAME: u32 = 3;
const CANCEL: u32 = 4;

fn slot(number: u32) -> TouchSlot {
    Some(number).into()
}

impl Fixture {
    fn touch(&mut self, number: u32, x: i32, y: i32) {
        let at = (f64::from(x), f64::from(y)).into();
        self.state.touch_down(slot(number), at, 0);
        self.state.touch_frame();
    }
}

/// Returns the `wl_touch` of a client.
fn touch_of(app: &mut App, fixture: &mut Fixture) -> u32 {
    let touch = app.wire.make(app.seat, 2, &[]);
    app.sync(fixture);
    touch
}

#[test]
fn touch_point_stays_with_the_window_on_which_it_began() {
    let mut fixture = Fixture::desktop();
    fixture.state.add_touch();
    let mut below = App::new(&mut fixture, "below", (320, 240));
    let mut app = App::new(&mut fixture, "window", (60, 60));
    let touches = [&mut below, &mut app].map(|app| touch_of(app, &mut fixture));
    let rect = app.rect(&fixture);
    fixture.touch(3, rect.x + 5, rect.y + 6);
    fixture
        .state
        .touch_moved(slot(3), (f64::from(rect.right() + 9), 1.0).into(), 0);
    fixture.state.touch_frame();
    fixture.state.touch_up(slot(3), 0);
    fixture.state.touch_frame();
    below.sync(&mut fixture);
    app.sync(&mut fixture);
    let down = app.wire.events_of(touches[1], DOWN)[0];
    let place = [4, 5].map(|word| down.word(word));
    assert_eq!((down.word(2), down.word(3)), (app.surface, 3));
    assert_eq!(place, [5 * 256, 6 * 256]);
    for event in [UP, MOTION] {
        assert_eq!(app.count(touches[1], event), 1, "{event}");
    }
    assert_eq!(app.count(touches[1], FRAME), 3);
    assert_eq!(below.count(touches[0], DOWN), 0);
}

#[test]
fn touch_focuses_the_window_below_and_is_an_act_of_the_user() {
    let mut fixture = Fixture::desktop();
    fixture.state.add_touch();
    let mut app = App::new(&mut fixture, "first", (320, 240));
    let above = App::new(&mut fixture, "second", (60, 60));
    assert_eq!(above.focus(), Some(above.surface));
    let touch = touch_of(&mut app, &mut fixture);
    let rect = above.rect(&fixture);
    let beside = if rect.x > 20 { 5 } else { rect.right() + 5 };
    fixture.touch(0, beside, 200);
    app.sync(&mut fixture);
    assert_eq!(app.focus(), Some(app.surface));
    let serial = app.wire.events_of(touch, DOWN)[0].word(0);
    let manager = app.wire.bind("wl_data_device_manager");
    let device = app.wire.make(manager, 1, &[app.seat.into()]);
    let source = app.wire.make(manager, 0, &[]);
    app.wire.send(source, 0, &["text/plain".into()]);
    app.wire.send(device, 1, &[source, serial].map(Arg::Word));
    app.sync(&mut fixture);
    let selection = app.wire.events_of(device, 5).last().unwrap().word(0);
    assert_ne!(selection, 0);
}

#[test]
fn drag_by_touch_has_its_icon_at_the_finger_and_needs_the_touch_of_its_client() {
    let mut fixture = Fixture::desktop();
    fixture.state.add_touch();
    let mut other = App::new(&mut fixture, "other", (20, 20));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let touch = touch_of(&mut app, &mut fixture);
    let rect = app.rect(&fixture);
    fixture.touch(0, rect.x + 50, rect.y + 40);
    app.sync(&mut fixture);
    let serial = app.wire.events_of(touch, DOWN)[0].word(0);
    let start = |app: &mut App, fixture: &mut Fixture| {
        let manager = app.wire.bind("wl_data_device_manager");
        let device = app.wire.make(manager, 1, &[app.seat.into()]);
        let icon = app.wire.make(app.compositor, 0, &[]);
        let drag = [0, app.surface, icon, serial].map(Arg::Word);
        app.wire.send(device, 0, &drag);
        let square = [0, 10, 10, 40, 1].map(Arg::Word);
        let buffer = app.wire.make(app.pool, 0, &square);
        app.wire.send(icon, 1, &[buffer, 0, 0].map(Arg::Word));
        app.wire.send(icon, 6, &[]);
        app.sync(fixture);
    };
    let (_, before) = fixture.white(&mut app);
    start(&mut other, &mut fixture);
    start(&mut app, &mut fixture);
    let corner = [(5, 5), (300, 5), (5, 220), (300, 220)]
        .into_iter()
        .find(|(x, y)| {
            let icon = Rect::new(*x, *y, 10, 10);
            let mut windows = [&app, &other].into_iter();
            windows.all(|app| app.rect(&fixture).intersection(icon).is_none())
        });
    let (x, y) = corner.unwrap();
    let at = (f64::from(x), f64::from(y)).into();
    fixture.state.touch_moved(slot(0), at, 0);
    fixture.state.touch_frame();
    assert_eq!(fixture.white(&mut app).1, before + 100);
    fixture.state.touch_up(slot(0), 0);
    fixture.state.touch_frame();
    assert_eq!(fixture.white(&mut app).1, before);
}

#[test]
fn touch_points_are_cancelled_when_the_last_screen_is_removed() {
    let mut fixture = Fixture::desktop();
    fixture.state.add_touch();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let touch = touch_of(&mut app, &mut fixture);
    let rect = app.rect(&fixture);
    fixture.touch(0, rect.x + 5, rect.y + 5);
    fixture.state.remove_touch();
    app.sync(&mut fixture);
    assert_eq!(app.count(touch, CANCEL), 1);
    let capabilities = app.wire.events_of(app.seat, 0).last().unwrap().word(0);
    assert_eq!(capabilities & 4, 0);
    fixture.touch(1, rect.x + 5, rect.y + 5);
    app.sync(&mut fixture);
    assert_eq!(app.count(touch, DOWN), 1);
}
