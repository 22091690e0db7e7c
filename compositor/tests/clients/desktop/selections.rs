//! The primary selection, data-control, and the icon of a drag.

use std::os::fd::AsFd;

use smithay::backend::input::ButtonState;

use super::{App, LEFT_BUTTON};
use crate::fixture::Fixture;
use crate::fixture::wire::{Arg, Wire, message};

const KEY_A: u32 = 38;

/// Requests and events that all data devices and sources have.
const SET_SELECTION: u32 = 0;
const SET_PRIMARY_SELECTION: u32 = 2;
const DATA_OFFER: u32 = 0;
const SELECTION: u32 = 1;
const PRIMARY_SELECTION: u32 = 3;
const OFFER: u32 = 0;
const SEND: u32 = 0;
const CANCELLED: u32 = 1;

const EXT: &str = "ext_data_control_manager_v1";
const WLR: &str = "zwlr_data_control_manager_v1";
const PRIMARY: &str = "zwp_primary_selection_device_manager_v1";

/// A client with a source and a device of one protocol.
struct Selecting {
    wire: Wire,
    manager: u32,
    device: u32,
}

impl Selecting {
    /// Connects a client without a window.
    fn new(fixture: &mut Fixture, manager: &str) -> Self {
        let mut wire = fixture.wire();
        let (manager, seat) = (wire.bind(manager), wire.bind("wl_seat"));
        let device = wire.make(manager, 1, &[seat.into()]);
        fixture.round_trip_wire(&mut wire);
        Self {
            wire,
            manager,
            device,
        }
    }

    /// Creates a source with one type.
    fn source(&mut self) -> u32 {
        let source = self.wire.make(self.manager, 0, &[]);
        self.wire.send(source, OFFER, &["text/plain".into()]);
        source
    }

    /// Returns the offer of the last event with that opcode; 0 for an empty selection.
    fn offered(&self, opcode: u32) -> Option<u32> {
        let events = self.wire.events_of(self.device, opcode);
        events.last().map(|event| event.word(0))
    }
}

/// Presses a key, and returns the serial with which the client with keyboard focus received it.
fn press_key(fixture: &mut Fixture, app: &mut App) -> u32 {
    fixture.chord(&[KEY_A]);
    app.sync(fixture);
    let keys = app.wire.events_of(app.keyboard, 3);
    keys.last().unwrap().word(0)
}

#[test]
fn primary_selection_needs_an_act_of_the_user_and_follows_the_focus() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "first", (100, 80));
    let manager = app.wire.bind(PRIMARY);
    let device = app.wire.make(manager, 1, &[app.seat.into()]);
    let source = app.wire.make(manager, 0, &[]);
    app.wire.send(source, OFFER, &["text/plain".into()]);
    for serial in 0..64 {
        let arguments = [source, serial].map(Arg::Word);
        app.wire.send(device, SET_SELECTION, &arguments);
    }
    app.sync(&mut fixture);
    assert_eq!(app.count(device, DATA_OFFER), 0);
    let serial = press_key(&mut fixture, &mut app);
    let arguments = [source, serial].map(Arg::Word);
    app.wire.send(device, SET_SELECTION, &arguments);
    app.sync(&mut fixture);
    assert_eq!(app.count(device, DATA_OFFER), 1);
    // A client without focus learns the selection only when one of its windows gets the focus.
    let mut other = fixture.wire();
    let (manager, seat) = (other.bind(PRIMARY), other.bind("wl_seat"));
    let unfocused = other.make(manager, 1, &[seat.into()]);
    fixture.round_trip_wire(&mut other);
    assert_eq!(other.events_of(unfocused, DATA_OFFER).len(), 0);
    let mut second = App::new(&mut fixture, "second", (100, 80));
    let manager = second.wire.bind(PRIMARY);
    let device = second.wire.make(manager, 1, &[second.seat.into()]);
    second.sync(&mut fixture);
    for _ in 0..2 {
        fixture.chord(&[super::ALT, super::TAB]);
        second.sync(&mut fixture);
    }
    assert_eq!(second.focus(), Some(second.surface));
    let events = second.wire.events_of(device, SELECTION);
    let offer = events.last().unwrap().word(0);
    assert_ne!(offer, 0);
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let receive = message(offer, 0, &["text/plain".into()]);
    second.wire.send_bytes(&receive, &[writer.as_fd()]);
    second.sync(&mut fixture);
    app.sync(&mut fixture);
    assert_eq!(app.count(source, SEND), 1);
}

#[test]
fn data_control_reads_and_sets_both_selections_without_focus() {
    for manager in [EXT, WLR] {
        let mut fixture = Fixture::desktop();
        let mut app = App::new(&mut fixture, "window", (100, 80));
        let core = app.wire.bind("wl_data_device_manager");
        let core_device = app.wire.make(core, 1, &[app.seat.into()]);
        let mut control = Selecting::new(&mut fixture, manager);
        assert_eq!(control.offered(SELECTION), Some(0), "{manager}");
        assert_eq!(control.offered(PRIMARY_SELECTION), Some(0), "{manager}");
        let source = app.wire.make(core, 0, &[]);
        app.wire.send(source, OFFER, &["text/plain".into()]);
        let serial = press_key(&mut fixture, &mut app);
        let arguments = [source, serial].map(Arg::Word);
        app.wire.send(core_device, 1, &arguments);
        app.sync(&mut fixture);
        fixture.round_trip_wire(&mut control.wire);
        let offer = control.offered(SELECTION).unwrap();
        let offered = control.wire.events_of(offer, OFFER);
        assert_eq!(offered.len(), 1, "{manager}");
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let receive = message(offer, 0, &["text/plain".into()]);
        control.wire.send_bytes(&receive, &[writer.as_fd()]);
        fixture.round_trip_wire(&mut control.wire);
        app.sync(&mut fixture);
        assert_eq!(app.count(source, 1), 1, "{manager}");
        for (request, event) in [
            (SET_SELECTION, SELECTION),
            (SET_PRIMARY_SELECTION, PRIMARY_SELECTION),
        ] {
            let own = control.source();
            control.wire.send(control.device, request, &[own.into()]);
            fixture.round_trip_wire(&mut control.wire);
            assert_ne!(control.offered(event), Some(0), "{manager}");
        }
        app.sync(&mut fixture);
        assert_eq!(
            app.count(source, 2),
            1,
            "{manager}: the source is cancelled"
        );
        let last = app.wire.events_of(core_device, 5).last().unwrap().word(0);
        assert_ne!(last, 0, "{manager}");
        assert_eq!(control.wire.error, None);
    }
}

#[test]
fn selection_of_a_client_that_disconnects_is_empty_for_data_control() {
    let mut fixture = Fixture::desktop();
    let mut control = Selecting::new(&mut fixture, EXT);
    for request in [SET_SELECTION, SET_PRIMARY_SELECTION] {
        let mut other = Selecting::new(&mut fixture, WLR);
        let source = other.source();
        other.wire.send(other.device, request, &[source.into()]);
        fixture.round_trip_wire(&mut other.wire);
        fixture.round_trip_wire(&mut control.wire);
        let event = if request == SET_SELECTION {
            SELECTION
        } else {
            PRIMARY_SELECTION
        };
        assert_ne!(control.offered(event), Some(0));
        drop(other);
        for _ in 0..20 {
            fixture.round_trip_wire(&mut control.wire);
        }
        assert_eq!(control.offered(event), Some(0));
    }
    assert_eq!(fixture.state.selections.source_count(), 0);
}

#[test]
fn devices_of_clients_that_disconnect_are_forgotten() {
    let mut fixture = Fixture::desktop();
    for round in 0..10 {
        for manager in [PRIMARY, EXT, WLR, "wl_data_device_manager"] {
            let client = Selecting::new(&mut fixture, manager);
            drop(client);
        }
        for _ in 0..4 {
            fixture.round();
        }
        let left = fixture.state.selections.closed_device_count();
        assert!(left <= 4, "{round}: {left}");
    }
}

#[test]
fn data_control_source_that_is_used_twice_is_a_protocol_error() {
    for manager in [EXT, WLR] {
        let mut fixture = Fixture::desktop();
        let mut control = Selecting::new(&mut fixture, manager);
        let source = control.source();
        for _ in 0..2 {
            control
                .wire
                .send(control.device, SET_SELECTION, &[source.into()]);
        }
        fixture.round_trip_wire(&mut control.wire);
        let error = control.wire.error.map(|error| (error.0, error.1));
        assert_eq!(error, Some((control.device, 1)), "{manager}");
        let mut late = Selecting::new(&mut fixture, manager);
        let source = late.source();
        late.wire.send(late.device, SET_SELECTION, &[source.into()]);
        late.wire.send(source, OFFER, &["text/html".into()]);
        fixture.round_trip_wire(&mut late.wire);
        let error = late.wire.error.map(|error| (error.0, error.1));
        assert_eq!(error, Some((source, 1)), "{manager}");
    }
}

#[test]
fn source_with_too_many_types_disconnects_its_client_and_a_long_type_is_ignored() {
    for manager in [PRIMARY, EXT, WLR] {
        let mut fixture = Fixture::desktop();
        let mut client = Selecting::new(&mut fixture, manager);
        let source = client.source();
        let long = "x".repeat(3000);
        client.wire.send(source, OFFER, &[long.as_str().into()]);
        fixture.round_trip_wire(&mut client.wire);
        assert_eq!(client.wire.error, None, "{manager}");
        if manager != PRIMARY {
            client
                .wire
                .send(client.device, SET_SELECTION, &[source.into()]);
            fixture.round_trip_wire(&mut client.wire);
            let offer = client.offered(SELECTION).unwrap();
            assert_eq!(client.wire.events_of(offer, OFFER).len(), 1);
            assert_eq!(client.wire.events_of(source, CANCELLED).len(), 0);
        }
        let source = client.source();
        for _ in 0..256 {
            client.wire.send(source, OFFER, &["text/plain".into()]);
        }
        fixture.round_trip_wire(&mut client.wire);
        let (_, _, text) = client.wire.error.unwrap();
        assert!(text.contains("--limit mime-types"), "{manager}: {text}");
    }
}

#[test]
fn icon_of_a_drag_follows_the_pointer_until_the_button_is_released() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let manager = app.wire.bind("wl_data_device_manager");
    let device = app.wire.make(manager, 1, &[app.seat.into()]);
    let source = app.wire.make(manager, 0, &[]);
    app.wire.send(source, OFFER, &["text/plain".into()]);
    let icon = app.wire.make(app.compositor, 0, &[]);
    fixture.point(160, 120);
    fixture.button(LEFT_BUTTON, ButtonState::Pressed);
    app.sync(&mut fixture);
    let serial = app.press_serial();
    let drag = [source, app.surface, icon, serial].map(Arg::Word);
    app.wire.send(device, 0, &drag);
    let square = [0, 10, 10, 40, 1].map(Arg::Word);
    let buffer = app.wire.make(app.pool, 0, &square);
    app.wire.send(icon, 1, &[buffer, 0, 0].map(Arg::Word));
    app.wire.send(icon, 6, &[]);
    app.sync(&mut fixture);
    fixture.point(20, 30);
    let (bounds, pixels) = fixture.white(&mut app);
    assert_eq!(((bounds.x, bounds.y), pixels), ((20, 30), 8100));
    app.wire.send(icon, 10, &[2, 3].map(Arg::Word));
    app.wire.send(icon, 6, &[]);
    let (bounds, pixels) = fixture.white(&mut app);
    assert_eq!(((bounds.x, bounds.y), pixels), ((22, 33), 8100));
    // The icon is under the pointer, and the drag enters the window below.
    fixture.point(150, 110);
    app.sync(&mut fixture);
    let entered = app.wire.events_of(device, 1).last().unwrap().word(1);
    assert_eq!(entered, app.surface);
    fixture.point(20, 30);
    fixture.button(LEFT_BUTTON, ButtonState::Released);
    let (_, pixels) = fixture.white(&mut app);
    assert_eq!(pixels, 8000);
}

#[test]
fn icon_of_a_drag_ends_with_its_surface_and_with_its_window() {
    for (what, ends_surface) in [("surface", true), ("window", false)] {
        let mut fixture = Fixture::desktop();
        let mut app = App::new(&mut fixture, "window", (100, 80));
        let manager = app.wire.bind("wl_data_device_manager");
        let device = app.wire.make(manager, 1, &[app.seat.into()]);
        let icon = app.wire.make(app.compositor, 0, &[]);
        fixture.point(160, 120);
        fixture.button(LEFT_BUTTON, ButtonState::Pressed);
        app.sync(&mut fixture);
        let serial = app.press_serial();
        let drag = [0, app.surface, icon, serial].map(Arg::Word);
        app.wire.send(device, 0, &drag);
        app.sync(&mut fixture);
        if ends_surface {
            app.wire.send(icon, 0, &[]);
        } else {
            for (object, opcode) in [(app.toplevel, 0), (app.role, 0), (app.surface, 0)] {
                app.wire.send(object, opcode, &[]);
            }
        }
        app.sync(&mut fixture);
        fixture.point(20, 30);
        fixture.displayed_frame(&mut app.wire);
        fixture.button(LEFT_BUTTON, ButtonState::Released);
        app.sync(&mut fixture);
        assert_eq!(app.wire.error, None, "{what}");
    }
}

#[test]
fn client_that_sets_selections_in_a_loop_does_not_flood_a_reader() {
    let mut fixture = Fixture::desktop();
    let mut reader = Selecting::new(&mut fixture, EXT);
    let mut hostile = Selecting::new(&mut fixture, WLR);
    let long = "x".repeat(255);
    for _ in 0..40 {
        let source = hostile.wire.make(hostile.manager, 0, &[]);
        for _ in 0..256 {
            hostile.wire.send(source, OFFER, &[long.as_str().into()]);
        }
        hostile
            .wire
            .send(hostile.device, SET_SELECTION, &[source.into()]);
        for _ in 0..4 {
            fixture.step_wire(&mut hostile.wire);
            reader.wire.read();
        }
    }
    fixture.round_trip_wire(&mut hostile.wire);
    fixture.round_trip_wire(&mut reader.wire);
    assert_eq!(
        (reader.wire.error.clone(), hostile.wire.error.clone()),
        (None, None)
    );
    assert!(!reader.wire.closed);
    let selections = reader.wire.events_of(reader.device, DATA_OFFER).len();
    assert!(selections > 0 && selections < 40, "{selections}");
}
