//! Layer surfaces: their rectangles, the usable area, stacking, focus, popups and errors.

use covalent_compositor::options::OutputConfig;
use covalent_compositor::region::Rect;

use super::{ACTIVATED, App, LEFT_BUTTON, SUPER};
use crate::fixture::Fixture;
use crate::fixture::wire::{Arg, Wire};
use smithay::backend::input::ButtonState;

/// Layers.
const BACKGROUND: u32 = 0;
const BOTTOM: u32 = 1;
const TOP: u32 = 2;
const OVERLAY: u32 = 3;

/// Anchors.
const UPPER: u32 = 1;
const LEFT: u32 = 4;
const RIGHT: u32 = 8;
const UPPER_EDGE: u32 = UPPER | LEFT | RIGHT;
const ALL: u32 = 15;

/// Requests of `zwlr_layer_surface_v1`.
const SET_SIZE: u32 = 0;
const SET_ANCHOR: u32 = 1;
const SET_ZONE: u32 = 2;
const SET_KEYBOARD: u32 = 4;
const GET_POPUP: u32 = 5;
const ACKNOWLEDGE: u32 = 6;
const DESTROY: u32 = 7;
const SET_LAYER: u32 = 8;
const CONFIGURE: u32 = 0;
const CLOSED: u32 = 1;

/// Keyboard interactivities.
const EXCLUSIVE: u32 = 1;
const ON_DEMAND: u32 = 2;

/// Keys.
const UP: u32 = 111;
const LEFT_KEY: u32 = 113;
const F: u32 = 41;

/// A layer surface of a client.
#[derive(Clone, Copy)]
struct Panel {
    surface: u32,
    role: u32,
}

/// Creates a layer surface without the initial commit.
fn create(app: &mut App, layer: u32, (width, height): (u32, u32), anchor: u32) -> Panel {
    let shell = app.wire.bind("zwlr_layer_shell_v1");
    create_on(app, shell, 0, layer, (width, height), anchor)
}

fn create_on(
    app: &mut App,
    shell: u32,
    output: u32,
    layer: u32,
    (width, height): (u32, u32),
    anchor: u32,
) -> Panel {
    let wire = &mut app.wire;
    let surface = wire.make(app.compositor, 0, &[]);
    let role = get_layer_surface(wire, shell, surface, output, layer);
    wire.send(role, SET_SIZE, &[width, height].map(Arg::Word));
    wire.send(role, SET_ANCHOR, &[anchor.into()]);
    Panel { surface, role }
}

fn get_layer_surface(wire: &mut Wire, shell: u32, surface: u32, output: u32, layer: u32) -> u32 {
    let name = format!("panel {layer}");
    let arguments = [
        surface.into(),
        output.into(),
        layer.into(),
        name.as_str().into(),
    ];
    wire.make(shell, 0, &arguments)
}

impl Panel {
    /// Makes the initial commit, and shows a buffer of the size of the configure event.
    #[track_caller]
    fn map(self, fixture: &mut Fixture, app: &mut App) {
        app.wire.send(self.surface, 6, &[]);
        app.sync(fixture);
        self.show(fixture, app);
    }

    /// Acknowledges the last configure event, and shows a buffer of its size.
    #[track_caller]
    fn show(self, fixture: &mut Fixture, app: &mut App) {
        let (serial, ..) = self.configured(app);
        app.wire.send(self.role, ACKNOWLEDGE, &[serial.into()]);
        self.attach(fixture, app);
    }

    /// Shows a buffer of the size of the last configure event.
    #[track_caller]
    fn attach(self, fixture: &mut Fixture, app: &mut App) {
        let (_, width, height) = self.configured(app);
        let square = [0, width, height, width * 4, 1].map(Arg::Word);
        let buffer = app.wire.make(app.pool, 0, &square);
        app.wire
            .send(self.surface, 1, &[buffer, 0, 0].map(Arg::Word));
        app.wire
            .send(self.surface, 9, &[0, 0, 999, 999].map(Arg::Word));
        app.wire.send(self.surface, 6, &[]);
        app.sync(fixture);
    }

    /// Returns serial and size of the last configure event.
    #[track_caller]
    fn configured(self, app: &App) -> (u32, u32, u32) {
        let events = app.wire.events_of(self.role, CONFIGURE);
        let last = events.last().unwrap();
        (last.word(0), last.word(1), last.word(2))
    }

    fn set(self, app: &mut App, request: u32, value: u32) {
        app.wire.send(self.role, request, &[value.into()]);
        app.wire.send(self.surface, 6, &[]);
    }
}

/// Returns the owner and the rectangle of each surface of the first output, from the bottom to the top.
fn scene(fixture: &Fixture) -> Vec<(String, Rect)> {
    let id = fixture.screen().id();
    let layers = fixture.state.stack.logical_scene(id).layers.into_iter();
    layers
        .map(|layer| (layer.owner.name(), layer.view.destination))
        .collect()
}

fn names(fixture: &Fixture) -> Vec<String> {
    let short = |(name, _): (String, Rect)| name.split('/').next().unwrap().to_owned();
    scene(fixture).into_iter().map(short).collect()
}

#[test]
fn exclusive_zone_is_left_free_by_windows_that_fill_the_output() {
    for kiosk in [false, true] {
        let mut fixture = Fixture::desktop();
        if kiosk {
            fixture.state.set_kiosk();
        }
        let mut app = App::new(&mut fixture, "window", (100, 80));
        let mut bar = App::new(&mut fixture, "bar", (10, 10));
        // `xdg_toplevel.set_maximized`
        app.wire.send(app.toplevel, 9, &[]);
        app.sync(&mut fixture);
        assert_eq!((app.configured().0, app.configured().1), (320, 240));
        app.show(&mut fixture, (320, 240));
        let panel = create(&mut bar, TOP, (0, 30), UPPER_EDGE);
        panel.set(&mut bar, SET_ZONE, 30);
        panel.map(&mut fixture, &mut bar);
        assert_eq!(panel.configured(&bar), (panel.configured(&bar).0, 320, 30));
        app.sync(&mut fixture);
        assert_eq!((app.configured().0, app.configured().1), (320, 210));
        app.show(&mut fixture, (320, 210));
        assert_eq!(app.rect(&fixture), Rect::new(0, 30, 320, 210));
        // A fullscreen window fills all of the output.
        app.wire.send(app.toplevel, 11, &[0.into()]);
        app.sync(&mut fixture);
        assert_eq!((app.configured().0, app.configured().1), (320, 240));
        app.wire.send(app.toplevel, 12, &[]);
        app.sync(&mut fixture);
        app.show(&mut fixture, (320, 210));
        // An unmapped panel takes no zone.
        bar.wire.send(panel.surface, 1, &[0, 0, 0].map(Arg::Word));
        bar.wire.send(panel.surface, 6, &[]);
        bar.sync(&mut fixture);
        app.sync(&mut fixture);
        assert_eq!((app.configured().0, app.configured().1), (320, 240));
    }
}

#[test]
fn half_and_new_window_are_placed_in_the_usable_area() {
    let mut fixture = Fixture::desktop();
    let mut bar = App::new(&mut fixture, "bar", (100, 80));
    let panel = create(&mut bar, TOP, (0, 30), UPPER_EDGE);
    panel.set(&mut bar, SET_ZONE, 30);
    panel.map(&mut fixture, &mut bar);
    assert_eq!(bar.rect(&fixture), Rect::new(110, 95, 100, 80));
    let mut app = App::new(&mut fixture, "window", (100, 60));
    assert_eq!(app.rect(&fixture), Rect::new(0, 30, 100, 60));
    fixture.chord(&[SUPER, LEFT_KEY]);
    app.sync(&mut fixture);
    app.show(&mut fixture, (160, 210));
    assert_eq!(app.rect(&fixture), Rect::new(0, 30, 160, 210));
    // The surface of a panel may be destroyed before its role.
    bar.wire.send(panel.surface, 0, &[]);
    bar.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!(app.configured().1, 240);
    bar.wire.send(panel.role, DESTROY, &[]);
    bar.sync(&mut fixture);
}

#[test]
fn client_that_does_not_acknowledge_gets_one_configure_event_for_many_changes() {
    let mut fixture = Fixture::desktop();
    let mut bar = App::new(&mut fixture, "bar", (10, 10));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    fixture.chord(&[SUPER, UP]);
    app.sync(&mut fixture);
    app.show(&mut fixture, (320, 240));
    let wallpaper = create(&mut app, BACKGROUND, (0, 0), ALL);
    wallpaper.map(&mut fixture, &mut app);
    let panel = create(&mut bar, TOP, (0, 30), UPPER_EDGE);
    panel.map(&mut fixture, &mut bar);
    let count = |app: &App| {
        (
            app.count(app.toplevel, CONFIGURE),
            app.count(wallpaper.role, CONFIGURE),
        )
    };
    let before = count(&app);
    for zone in 1..100 {
        panel.set(&mut bar, SET_ZONE, zone);
        bar.sync(&mut fixture);
    }
    app.sync(&mut fixture);
    assert_eq!(count(&app), (before.0 + 1, before.1 + 1));
    // The last size follows when the first one is acknowledged.
    app.acknowledge(app.role);
    let (serial, ..) = wallpaper.configured(&app);
    app.wire.send(wallpaper.role, ACKNOWLEDGE, &[serial.into()]);
    app.sync(&mut fixture);
    assert_eq!(count(&app), (before.0 + 2, before.1 + 2));
    assert_eq!(app.configured().1, 141);
    assert_eq!(wallpaper.configured(&app).2, 141);
}

#[test]
fn layers_are_below_and_above_windows_and_only_the_overlay_above_a_fullscreen_one() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    for layer in [OVERLAY, TOP, BOTTOM, BACKGROUND] {
        create(&mut app, layer, (0, 0), ALL).map(&mut fixture, &mut app);
    }
    let mut second = App::new(&mut fixture, "second", (50, 50));
    assert_eq!(
        names(&fixture),
        [
            "panel 0", "panel 1", "window", "second", "panel 2", "panel 3"
        ]
    );
    fixture.chord(&[SUPER, F]);
    second.sync(&mut fixture);
    assert_eq!(names(&fixture), ["second", "panel 3"]);
    // The bars are shown again while another window is above the fullscreen one.
    let third = App::new(&mut fixture, "third", (50, 50));
    assert_eq!(names(&fixture), ["second", "third", "panel 2", "panel 3"]);
    drop(third);
}

#[test]
fn surface_is_configured_after_each_initial_commit_and_moved_to_another_layer() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let panel = create(&mut app, TOP, (60, 40), 0);
    app.sync(&mut fixture);
    assert_eq!(app.count(panel.role, CONFIGURE), 0);
    panel.map(&mut fixture, &mut app);
    let centred = (
        "panel 2/zwlr_layer_surface_v1".to_owned(),
        Rect::new(130, 100, 60, 40),
    );
    assert_eq!(scene(&fixture).last(), Some(&centred));
    panel.set(&mut app, SET_LAYER, BOTTOM);
    app.sync(&mut fixture);
    assert_eq!(scene(&fixture).first(), Some(&centred));
    app.wire.send(panel.surface, 1, &[0, 0, 0].map(Arg::Word));
    app.wire.send(panel.surface, 6, &[]);
    app.sync(&mut fixture);
    assert_eq!(names(&fixture), ["window"]);
    let configured = app.count(panel.role, CONFIGURE);
    app.wire
        .send(panel.role, SET_SIZE, &[70, 50].map(Arg::Word));
    panel.map(&mut fixture, &mut app);
    assert_eq!(app.count(panel.role, CONFIGURE), configured + 1);
    assert_eq!(scene(&fixture)[0].1, Rect::new(125, 95, 70, 50));
}

#[test]
fn panel_gets_frame_callbacks_presentation_feedback_and_the_output() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let presentation = app.wire.bind("wp_presentation");
    let panel = create(&mut app, TOP, (0, 30), UPPER_EDGE);
    panel.map(&mut fixture, &mut app);
    let callback = app.wire.make(panel.surface, 3, &[]);
    let feedback = app.wire.new_id();
    let arguments = [panel.surface, feedback].map(Arg::Word);
    app.wire.send(presentation, 1, &arguments);
    panel.attach(&mut fixture, &mut app);
    fixture.displayed_frame(&mut app.wire);
    assert_eq!(app.count(callback, 0), 1);
    assert_eq!(app.count(feedback, 1), 1);
}

#[test]
fn keys_go_to_an_exclusive_surface_above_the_windows_while_it_is_shown() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let mut launcher = App::new(&mut fixture, "launcher", (10, 10));
    let place = app.rect(&fixture);
    fixture.click(place.x + 2, place.y + 2);
    let panel = create(&mut launcher, BOTTOM, (50, 50), 0);
    panel.set(&mut launcher, SET_KEYBOARD, EXCLUSIVE);
    panel.map(&mut fixture, &mut launcher);
    app.sync(&mut fixture);
    assert_eq!((app.focus(), launcher.focus()), (Some(app.surface), None));
    panel.set(&mut launcher, SET_LAYER, TOP);
    // The commit moves the surface in the next frame, which moves the focus.
    launcher.sync(&mut fixture);
    fixture.displayed_frame(&mut launcher.wire);
    app.sync(&mut fixture);
    assert_eq!((app.focus(), launcher.focus()), (None, Some(panel.surface)));
    assert!(!app.has_state(ACTIVATED));
    // A press on a window does not take the keys away.
    fixture.click(place.x + 2, place.y + 2);
    launcher.sync(&mut fixture);
    assert_eq!(launcher.focus(), Some(panel.surface));
    launcher.wire.send(panel.role, DESTROY, &[]);
    launcher.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!((app.focus(), launcher.focus()), (Some(app.surface), None));
    assert!(app.has_state(ACTIVATED));
}

#[test]
fn keys_go_to_a_surface_on_demand_until_a_window_is_pressed_or_mapped() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let panel = create(&mut app, TOP, (0, 30), UPPER_EDGE);
    panel.set(&mut app, SET_KEYBOARD, ON_DEMAND);
    panel.map(&mut fixture, &mut app);
    assert_eq!(app.focus(), Some(panel.surface));
    fixture.click(120, 100);
    app.sync(&mut fixture);
    assert_eq!(app.focus(), Some(app.surface));
    fixture.click(5, 5);
    app.sync(&mut fixture);
    assert_eq!(app.focus(), Some(panel.surface));
    // Keys do not close a window behind it.
    fixture.chord(&[SUPER, 24]);
    app.sync(&mut fixture);
    assert_eq!(app.count(app.toplevel, 1), 0);
    let mut second = App::new(&mut fixture, "second", (50, 50));
    app.sync(&mut fixture);
    second.sync(&mut fixture);
    assert_eq!((app.focus(), second.focus()), (None, Some(second.surface)));
    fixture.click(5, 5);
    // A press on the background gives the focus back.
    fixture.click(310, 230);
    second.sync(&mut fixture);
    assert_eq!(second.focus(), Some(second.surface));
}

/// Creates a popup of 40x40 pixels without a parent that wants to be at the lower right corner of a square of 20x20 pixels.
fn create_popup(app: &mut App) -> (u32, u32, u32) {
    let positioner = app.wire.make(app.shell, 1, &[]);
    app.wire.send(positioner, 1, &[40, 40].map(Arg::Word));
    app.wire.send(positioner, 2, &[0, 0, 20, 20].map(Arg::Word));
    for opcode in [3, 4] {
        app.wire.send(positioner, opcode, &[8.into()]);
    }
    // The popup slides along both axes.
    app.wire.send(positioner, 5, &[3.into()]);
    let surface = app.wire.make(app.compositor, 0, &[]);
    let role = app.wire.make(app.shell, 2, &[surface.into()]);
    let popup = app.wire.make(role, 2, &[0, positioner].map(Arg::Word));
    (surface, role, popup)
}

#[test]
fn popup_of_a_panel_stays_on_the_output_and_may_grab_after_a_press_on_the_panel() {
    let mut fixture = Fixture::desktop();
    let mut other = App::new(&mut fixture, "other", (100, 80));
    let mut bar = App::new(&mut fixture, "bar", (10, 10));
    // A panel at the right edge, so that its popup does not fit beside it.
    let panel = create(&mut bar, TOP, (20, 20), UPPER | RIGHT);
    panel.map(&mut fixture, &mut bar);
    let place = other.rect(&fixture);
    for is_pressed in [false, true] {
        fixture.click(place.x + 5, place.y + 5);
        fixture.point(310, 10);
        if is_pressed {
            fixture.button(LEFT_BUTTON, ButtonState::Pressed);
            fixture.button(LEFT_BUTTON, ButtonState::Released);
        }
        bar.sync(&mut fixture);
        let serial = if is_pressed { bar.press_serial() } else { 0 };
        let (surface, role, popup) = create_popup(&mut bar);
        bar.wire.send(panel.role, GET_POPUP, &[popup.into()]);
        bar.wire.send(popup, 1, &[bar.seat, serial].map(Arg::Word));
        bar.wire.send(surface, 6, &[]);
        bar.sync(&mut fixture);
        let configured = bar.wire.events_of(popup, 0);
        let place = [0, 1].map(|word| configured.last().unwrap().word(word));
        // 300 + x + 40 = 320
        assert_eq!(place, [u32::from_ne_bytes((-20_i32).to_ne_bytes()), 20]);
        bar.show_on(&mut fixture, surface, role, (40, 40));
        let expected = is_pressed.then_some(surface);
        assert_eq!(
            (bar.focus(), bar.count(popup, 1)),
            (expected, usize::from(!is_pressed))
        );
        if is_pressed {
            let shown = scene(&fixture);
            assert_eq!(shown.last().unwrap().1, Rect::new(280, 20, 40, 40));
            fixture.click(5, 230);
            bar.sync(&mut fixture);
            other.sync(&mut fixture);
            assert_eq!((bar.count(popup, 1), bar.focus()), (1, None));
            assert_eq!(other.focus(), Some(other.surface));
            // An old serial does not grab again.
            let (surface, _, popup) = create_popup(&mut bar);
            bar.wire.send(panel.role, GET_POPUP, &[popup.into()]);
            bar.wire.send(popup, 1, &[bar.seat, serial].map(Arg::Word));
            bar.wire.send(surface, 6, &[]);
            bar.sync(&mut fixture);
            assert_eq!(bar.count(popup, 1), 1);
        }
    }
}

#[test]
fn popup_of_a_panel_that_is_mapped_in_a_locked_session_gets_no_keys() {
    let mut fixture = Fixture::desktop();
    let mut bar = App::new(&mut fixture, "bar", (100, 80));
    let place = bar.rect(&fixture);
    fixture.click(place.x + 5, place.y + 5);
    bar.sync(&mut fixture);
    let serial = bar.press_serial();
    let mut locker = App::new(&mut fixture, "locker", (50, 50));
    let manager = locker.wire.bind("ext_session_lock_manager_v1");
    locker.wire.make(manager, 1, &[]);
    locker.sync(&mut fixture);
    let panel = create(&mut bar, TOP, (20, 20), UPPER | RIGHT);
    // The panel gets keys when the user wants it.
    bar.wire.send(panel.role, 4, &[2.into()]);
    panel.map(&mut fixture, &mut bar);
    let (surface, role, popup) = create_popup(&mut bar);
    bar.wire.send(panel.role, GET_POPUP, &[popup.into()]);
    bar.wire.send(popup, 1, &[bar.seat, serial].map(Arg::Word));
    bar.wire.send(surface, 6, &[]);
    bar.sync(&mut fixture);
    bar.show_on(&mut fixture, surface, role, (40, 40));
    assert_eq!((bar.focus(), bar.count(popup, 1)), (None, 1));
}

#[test]
fn surface_of_a_removed_output_is_closed() {
    let mut fixture = Fixture::desktop();
    let config = OutputConfig {
        name: "second".to_owned(),
        ..OutputConfig::default()
    };
    let second = fixture.add_output(config, (320, 240));
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let shell = app.wire.bind("zwlr_layer_shell_v1");
    // The registry announces the second output last.
    let output = app.wire.bind("wl_output");
    let panel = create_on(&mut app, shell, output, TOP, (0, 30), UPPER_EDGE);
    panel.map(&mut fixture, &mut app);
    assert_eq!(fixture.state.stack.logical_scene(second).layers.len(), 2);
    fixture.state.remove_output(second);
    app.sync(&mut fixture);
    assert_eq!(app.count(panel.role, CLOSED), 1);
    assert_eq!(names(&fixture), ["window"]);
    // A client may use the output before it receives the removal.
    let late = create_on(&mut app, shell, output, TOP, (0, 30), UPPER_EDGE);
    for known in [panel, late] {
        app.wire.send(known.surface, 6, &[]);
        app.sync(&mut fixture);
        assert_eq!(app.count(known.role, CLOSED), 1);
        app.wire.send(known.role, DESTROY, &[]);
    }
    app.sync(&mut fixture);
}

/// Returns the object and the code of the error that a client gets.
#[track_caller]
fn error_of(fixture: &mut Fixture, app: &mut App) -> (u32, u32) {
    fixture.round_trip_wire(&mut app.wire);
    fixture.round_trip_wire(&mut app.wire);
    let (object, code, _) = app.wire.error.clone().unwrap();
    (object, code)
}

/// Sends wrong requests with the layer shell, and returns the object that gets the error.
type Misuse = fn(&mut Fixture, &mut App, u32) -> u32;

#[test]
fn misused_layer_surface_posts_the_protocol_error() {
    let cases: [(&str, u32, Misuse); 8] = [
        ("unknown layer", 1, |_, app, shell| {
            let surface = app.wire.make(app.compositor, 0, &[]);
            get_layer_surface(&mut app.wire, shell, surface, 0, 77);
            shell
        }),
        ("surface with a role", 0, |_, app, shell| {
            get_layer_surface(&mut app.wire, shell, app.surface, 0, TOP);
            shell
        }),
        ("second layer surface", 0, |_, app, shell| {
            let panel = create(app, TOP, (10, 10), 0);
            get_layer_surface(&mut app.wire, shell, panel.surface, 0, TOP);
            shell
        }),
        ("surface with a buffer", 2, |_, app, shell| {
            let surface = app.wire.make(app.compositor, 0, &[]);
            let square = [0, 10, 10, 40, 1].map(Arg::Word);
            let buffer = app.wire.make(app.pool, 0, &square);
            app.wire.send(surface, 1, &[buffer, 0, 0].map(Arg::Word));
            get_layer_surface(&mut app.wire, shell, surface, 0, TOP);
            shell
        }),
        ("width without anchors", 1, |_, app, _| {
            let panel = create(app, TOP, (0, 10), UPPER | LEFT);
            app.wire.send(panel.surface, 6, &[]);
            panel.role
        }),
        ("buffer before the configure event", 2, |_, app, _| {
            let panel = create(app, TOP, (10, 10), 0);
            let square = [0, 10, 10, 40, 1].map(Arg::Word);
            let buffer = app.wire.make(app.pool, 0, &square);
            app.wire
                .send(panel.surface, 1, &[buffer, 0, 0].map(Arg::Word));
            app.wire.send(panel.surface, 6, &[]);
            panel.role
        }),
        ("wrong serial", 0, |fixture, app, _| {
            let panel = create(app, TOP, (10, 10), 0);
            panel.map(fixture, app);
            app.wire.send(panel.role, ACKNOWLEDGE, &[u32::MAX.into()]);
            panel.role
        }),
        ("popup with a parent", 0, |_, app, _| {
            let panel = create(app, TOP, (10, 10), 0);
            let (_, _, popup) = create_popup(app);
            for _ in 0..2 {
                app.wire.send(panel.role, GET_POPUP, &[popup.into()]);
            }
            panel.role
        }),
    ];
    for (what, code, misuse) in cases {
        let mut fixture = Fixture::desktop();
        let mut other = App::new(&mut fixture, "other", (50, 50));
        let mut app = App::new(&mut fixture, "window", (100, 80));
        let shell = app.wire.bind("zwlr_layer_shell_v1");
        let object = misuse(&mut fixture, &mut app, shell);
        assert_eq!(error_of(&mut fixture, &mut app), (object, code), "{what}");
        other.sync(&mut fixture);
        assert_eq!(
            fixture.state.stack.layer_surfaces.iter().count(),
            0,
            "{what}"
        );
    }
}

#[test]
fn client_with_too_many_layer_surfaces_is_disconnected() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let shell = app.wire.bind("zwlr_layer_shell_v1");
    for _ in 0..64 {
        create_on(&mut app, shell, 0, TOP, (10, 10), 0);
    }
    app.sync(&mut fixture);
    create_on(&mut app, shell, 0, TOP, (10, 10), 0);
    let (_, code) = error_of(&mut fixture, &mut app);
    let (_, _, message) = app.wire.error.clone().unwrap();
    assert_eq!(code, 2);
    assert!(message.contains("--limit layer-surfaces=N"), "{message}");
}
