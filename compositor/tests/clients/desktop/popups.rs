//! Popups with grabs, and the constraints of their position.

use covalent_compositor::region::Rect;

use super::App;
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

/// The request and the events of `xdg_popup`.
const GRAB: u32 = 1;
const REPOSITION: u32 = 2;
const CONFIGURE: u32 = 0;
const DONE: u32 = 1;
const REPOSITIONED: u32 = 2;

/// Anchors, gravities and adjustments of `xdg_positioner`.
const BOTTOM_RIGHT: u32 = 8;
const SLIDE: u32 = 1 | 2;
const FLIP: u32 = 4 | 8;
const RESIZE: u32 = 16 | 32;

/// A popup of 40x40 pixels.
struct Popup {
    surface: u32,
    role: u32,
    popup: u32,
}

/// Creates a popup at the lower right corner of its parent of `size` pixels, which is not mapped yet.
fn create(app: &mut App, parent: u32, (width, height): (i32, i32), adjustment: u32) -> Popup {
    let positioner = position(app, (width, height), adjustment);
    let surface = app.wire.make(app.compositor, 0, &[]);
    let role = app.wire.make(app.shell, 2, &[surface.into()]);
    let popup = app.wire.make(role, 2, &[parent.into(), positioner.into()]);
    Popup {
        surface,
        role,
        popup,
    }
}

fn create_on_window(app: &mut App, size: (i32, i32), adjustment: u32) -> Popup {
    let parent = app.role;
    create(app, parent, size, adjustment)
}

fn position(app: &mut App, (width, height): (i32, i32), adjustment: u32) -> u32 {
    let wire = &mut app.wire;
    let positioner = wire.make(app.shell, 1, &[]);
    wire.send(positioner, 1, &[40.into(), 40.into()]);
    wire.send(positioner, 2, &[0, 0, width, height].map(Arg::from));
    for opcode in [3, 4] {
        wire.send(positioner, opcode, &[BOTTOM_RIGHT.into()]);
    }
    wire.send(positioner, 5, &[adjustment.into()]);
    positioner
}

/// Requests a grab, and maps the popup.
fn grab(fixture: &mut Fixture, app: &mut App, popup: &Popup, serial: u32) {
    let arguments = [app.seat, serial].map(Arg::Word);
    app.wire.send(popup.popup, GRAB, &arguments);
    app.wire.send(popup.surface, 6, &[]);
    app.sync(fixture);
    app.show_on(fixture, popup.surface, popup.role, (40, 40));
}

/// Clicks on the window, and opens a menu with a submenu.
fn open_menus(fixture: &mut Fixture, app: &mut App) -> [Popup; 2] {
    let place = app.rect(fixture);
    fixture.click(place.x + 5, place.y + 5);
    app.sync(fixture);
    let serial = app.press_serial();
    let menu = create_on_window(app, (100, 80), 0);
    grab(fixture, app, &menu, serial);
    let submenu = create(app, menu.role, (40, 10), 0);
    grab(fixture, app, &submenu, serial);
    [menu, submenu]
}

#[test]
fn highest_popup_with_a_grab_has_keyboard_focus_until_it_is_destroyed() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let [menu, submenu] = open_menus(&mut fixture, &mut app);
    assert_eq!(app.focus(), Some(submenu.surface));
    app.wire.send(submenu.popup, 0, &[]);
    app.sync(&mut fixture);
    assert_eq!(app.focus(), Some(menu.surface));
    app.wire.send(menu.popup, 0, &[]);
    app.sync(&mut fixture);
    assert_eq!(app.focus(), Some(app.surface));
    assert!(app.has_state(super::ACTIVATED));
}

#[test]
fn popup_whose_parent_is_destroyed_first_is_dismissed() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let [menu, submenu] = open_menus(&mut fixture, &mut app);
    app.wire.send(menu.popup, 0, &[]);
    app.sync(&mut fixture);
    assert_eq!(app.count(submenu.popup, DONE), 1);
    assert_eq!(app.focus(), Some(app.surface));
}

#[test]
fn click_outside_dismisses_all_popups_from_the_highest_one() {
    for kiosk in [false, true] {
        let mut fixture = Fixture::desktop();
        if kiosk {
            fixture.state.set_kiosk();
        }
        let mut app = App::new(&mut fixture, "window", (100, 80));
        let [menu, submenu] = open_menus(&mut fixture, &mut app);
        // Clicks on the window itself and on a popup are sent to the client.
        fixture.click(120, 90);
        fixture.click(220, 170);
        app.sync(&mut fixture);
        let done = |app: &App| [&submenu, &menu].map(|popup| app.count(popup.popup, DONE));
        assert_eq!((done(&app), app.focus()), ([0, 0], Some(submenu.surface)));
        fixture.click(5, 5);
        app.sync(&mut fixture);
        assert_eq!(done(&app), [1, 1]);
        let order = app.wire.events.iter().filter(|event| event.opcode == DONE);
        let order = order.map(|event| event.object);
        let order: Vec<u32> = order
            .filter(|object| [menu.popup, submenu.popup].contains(object))
            .collect();
        assert_eq!(order, [submenu.popup, menu.popup]);
        // The popups are hidden at once, although their client has not destroyed them.
        assert_eq!(app.focus(), Some(app.surface));
        assert_eq!(fixture.white(&mut app).0, Rect::new(110, 80, 100, 80));
    }
}

#[test]
fn other_clients_get_no_pointer_events_while_a_popup_has_a_grab() {
    let mut fixture = Fixture::desktop();
    let mut other = App::new(&mut fixture, "other", (100, 80));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let [_, submenu] = open_menus(&mut fixture, &mut app);
    let entered = other.count(other.pointer, 0);
    let place = other.rect(&fixture);
    fixture.point(place.x + 90, place.y + 70);
    other.sync(&mut fixture);
    assert_eq!(other.count(other.pointer, 0), entered);
    // The press dismisses the popups, and is sent to the other client.
    fixture.click(place.x + 90, place.y + 70);
    other.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!(app.count(submenu.popup, DONE), 1);
    assert_eq!(other.count(other.pointer, 0), entered + 1);
    assert_eq!(other.count(other.pointer, 3), 2);
    assert_eq!((other.focus(), app.focus()), (Some(other.surface), None));
}

#[test]
fn grab_with_an_invalid_serial_or_of_a_window_without_focus_is_dismissed() {
    let mut fixture = Fixture::desktop();
    let mut other = App::new(&mut fixture, "other", (100, 80));
    let place = other.rect(&fixture);
    fixture.click(place.x + 5, place.y + 5);
    other.sync(&mut fixture);
    let own = other.press_serial();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let place = app.rect(&fixture);
    fixture.click(place.x + 5, place.y + 5);
    app.sync(&mut fixture);
    let serial = app.press_serial();
    for guess in [0, own, serial, u32::MAX] {
        let popup = create_on_window(&mut other, (100, 80), 0);
        grab(&mut fixture, &mut other, &popup, guess);
        app.sync(&mut fixture);
        assert_eq!(other.count(popup.popup, DONE), 1, "{guess}");
        assert_eq!((other.focus(), app.focus()), (None, Some(app.surface)));
        assert_eq!(fixture.state.stack.popups().len(), 1);
        other.wire.send(popup.popup, 0, &[]);
        other.sync(&mut fixture);
    }
    for guess in [0, own, serial.saturating_sub(1), u32::MAX] {
        let popup = create_on_window(&mut app, (100, 80), 0);
        grab(&mut fixture, &mut app, &popup, guess);
        assert_eq!(app.count(popup.popup, DONE), 1, "{guess}");
        assert_eq!(app.focus(), Some(app.surface));
        app.wire.send(popup.popup, 0, &[]);
    }
}

#[test]
fn second_grab_of_a_popup_changes_nothing() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.click(120, 90);
    app.sync(&mut fixture);
    let serial = app.press_serial();
    let arguments = [app.seat, serial].map(Arg::Word);
    let menu = create_on_window(&mut app, (100, 80), 0);
    app.wire.send(menu.popup, GRAB, &arguments);
    grab(&mut fixture, &mut app, &menu, serial);
    assert_eq!(app.count(menu.popup, DONE), 0);
    assert_eq!(app.focus(), Some(menu.surface));
    // A popup that is dismissed before it is mapped gets no grab either.
    let other = create_on_window(&mut app, (100, 80), 0);
    app.wire.send(other.popup, GRAB, &arguments);
    app.sync(&mut fixture);
    fixture.click(5, 5);
    app.sync(&mut fixture);
    grab(&mut fixture, &mut app, &other, serial);
    assert_eq!(
        [&menu, &other].map(|popup| app.count(popup.popup, DONE)),
        [1, 1]
    );
    assert_eq!(app.focus(), Some(app.surface));
    assert_eq!(fixture.white(&mut app).0, Rect::new(110, 80, 100, 80));
}

#[test]
fn grab_of_a_mapped_popup_posts_an_error() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.click(120, 90);
    app.sync(&mut fixture);
    let popup = create_on_window(&mut app, (100, 80), 0);
    app.wire.send(popup.surface, 6, &[]);
    app.sync(&mut fixture);
    app.show_on(&mut fixture, popup.surface, popup.role, (40, 40));
    let arguments = [app.seat, app.press_serial()].map(Arg::Word);
    app.wire.send(popup.popup, GRAB, &arguments);
    fixture.round_trip_wire(&mut app.wire);
    let (object, code, _) = app.wire.error.clone().unwrap();
    assert_eq!((object, code), (popup.popup, 0));
}

#[test]
fn popup_that_does_not_fit_is_flipped_slid_or_resized() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    // The lower right corner of the anchor rectangle is 10 pixels from the edges of the output.
    let expected = [
        (0, [200, 150, 40, 40]),
        (FLIP, [-40, -40, 40, 40]),
        (SLIDE, [170, 120, 40, 40]),
        (RESIZE, [200, 150, 10, 10]),
    ];
    for (adjustment, geometry) in expected {
        let popup = create_on_window(&mut app, (200, 150), adjustment);
        app.wire.send(popup.surface, 6, &[]);
        app.sync(&mut fixture);
        let configured = app.wire.events_of(popup.popup, CONFIGURE)[0];
        let configured =
            [0, 1, 2, 3].map(|index| i32::from_ne_bytes(configured.word(index).to_ne_bytes()));
        assert_eq!(configured, geometry, "{adjustment}");
    }
}

#[test]
fn popup_is_constrained_by_the_place_to_which_its_window_was_moved() {
    let mut fixture = Fixture::desktop();
    let _first = App::new(&mut fixture, "first", (100, 80));
    let mut app = App::new(&mut fixture, "second", (100, 80));
    assert_eq!(app.rect(&fixture), Rect::new(0, 0, 100, 80));
    let popup = create_on_window(&mut app, (300, 20), SLIDE);
    app.wire.send(popup.surface, 6, &[]);
    app.sync(&mut fixture);
    let configured = app.wire.events_of(popup.popup, CONFIGURE)[0];
    assert_eq!([configured.word(0), configured.word(1)], [280, 20]);
    let positioner = position(&mut app, (50, 250), SLIDE);
    let arguments = [positioner, 7].map(Arg::Word);
    app.wire.send(popup.popup, REPOSITION, &arguments);
    app.sync(&mut fixture);
    assert_eq!(app.wire.events_of(popup.popup, REPOSITIONED)[0].word(0), 7);
    let configured = app.wire.events_of(popup.popup, CONFIGURE)[1];
    assert_eq!([configured.word(0), configured.word(1)], [50, 200]);
}
