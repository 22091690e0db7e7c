//! Graphics tablets.

use smithay::backend::input::{TabletToolCapabilities, TabletToolDescriptor, TabletToolType};
use smithay::wayland::tablet_manager::{
    TabletDescriptor, TabletHandle, TabletSeatTrait as _, TabletToolHandle,
};

use super::App;
use crate::fixture::Fixture;
use crate::fixture::wire::Arg;

/// Events of `zwp_tablet_seat_v2` and `zwp_tablet_tool_v2`.
const TOOL_ADDED: u32 = 1;
const PROXIMITY_IN: u32 = 6;
const PROXIMITY_OUT: u32 = 7;
const TOOL_DOWN: u32 = 8;
const TOOL_UP: u32 = 9;
const TOOL_MOTION: u32 = 10;
/// The request `zwp_tablet_tool_v2.set_cursor`.
const SET_CURSOR: u32 = 0;

/// Connects a tablet and a pen.
fn pen(fixture: &mut Fixture) -> (TabletHandle, TabletToolHandle) {
    let tablet = TabletDescriptor {
        name: "tablet".to_owned(),
        usb_id: None,
        syspath: None,
    };
    let tool = TabletToolDescriptor {
        tool_type: TabletToolType::Pen,
        hardware_serial: 1,
        hardware_id_wacom: 0,
        capabilities: TabletToolCapabilities::PRESSURE,
    };
    let display = fixture.state.display.clone();
    let seat = fixture.state.seat().tablet_seat();
    let tablet = seat.add_tablet::<covalent_compositor::state::State>(&display, &tablet);
    let tool = fixture.state.add_tool(&tool);
    (tablet, tool)
}

fn at(x: i32, y: i32) -> smithay::utils::Point<f64, smithay::utils::Logical> {
    (f64::from(x), f64::from(y)).into()
}

#[test]
fn client_with_a_tablet_seat_receives_the_tool_and_not_the_pointer() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let manager = app.wire.bind("zwp_tablet_manager_v2");
    let seat = app.wire.make(manager, 0, &[app.seat.into()]);
    app.sync(&mut fixture);
    let (tablet, tool) = pen(&mut fixture);
    app.sync(&mut fixture);
    let object = app.wire.events_of(seat, TOOL_ADDED)[0].word(0);
    let rect = app.rect(&fixture);
    let entered = app.count(app.pointer, 0);
    fixture
        .state
        .tool_moved(&tablet, &tool, at(rect.x + 7, rect.y + 8), 0);
    fixture
        .state
        .tool_tip(&tool, true, at(rect.x + 7, rect.y + 8), 0);
    fixture
        .state
        .tool_tip(&tool, false, at(rect.x + 7, rect.y + 8), 0);
    app.sync(&mut fixture);
    assert_eq!(
        app.wire.events_of(object, PROXIMITY_IN)[0].word(2),
        app.surface
    );
    let motion = app.wire.events_of(object, TOOL_MOTION)[0];
    assert_eq!([motion.word(0), motion.word(1)], [7 * 256, 8 * 256]);
    assert_eq!(
        (app.count(object, TOOL_DOWN), app.count(object, TOOL_UP)),
        (1, 1)
    );
    assert_eq!(app.count(app.pointer, 0), entered);
    assert_eq!(app.count(app.pointer, 3), 0);
    // The tip is an act of the user.
    let serial = app.wire.events_of(object, TOOL_DOWN)[0].word(0);
    let data = app.wire.bind("wl_data_device_manager");
    let device = app.wire.make(data, 1, &[app.seat.into()]);
    let source = app.wire.make(data, 0, &[]);
    app.wire.send(source, 0, &["text/plain".into()]);
    app.wire.send(device, 1, &[source, serial].map(Arg::Word));
    app.sync(&mut fixture);
    assert_ne!(app.wire.events_of(device, 5).last().unwrap().word(0), 0);
    fixture.state.tool_moved(&tablet, &tool, at(2, 2), 0);
    app.sync(&mut fixture);
    assert_eq!(app.count(object, PROXIMITY_OUT), 1);
}

#[test]
fn tool_is_the_pointer_of_a_client_without_a_tablet_seat() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let (tablet, tool) = pen(&mut fixture);
    let rect = app.rect(&fixture);
    let place = at(rect.x + 7, rect.y + 8);
    fixture.state.tool_moved(&tablet, &tool, place, 0);
    fixture.state.tool_tip(&tool, true, place, 0);
    fixture.state.tool_tip(&tool, false, place, 0);
    fixture.state.tool_left(&tool, 0);
    app.sync(&mut fixture);
    let buttons = app.wire.events_of(app.pointer, 3);
    let states: Vec<u32> = buttons.iter().map(|event| event.word(3)).collect();
    assert_eq!(states, [1, 0]);
}

#[test]
fn extreme_hotspots_of_a_tool_and_the_end_of_its_surface_change_nothing_else() {
    let mut fixture = Fixture::desktop();
    let mut app = App::new(&mut fixture, "window", (100, 80));
    let manager = app.wire.bind("zwp_tablet_manager_v2");
    let seat = app.wire.make(manager, 0, &[app.seat.into()]);
    let (tablet, tool) = pen(&mut fixture);
    app.sync(&mut fixture);
    let object = app.wire.events_of(seat, TOOL_ADDED)[0].word(0);
    let rect = app.rect(&fixture);
    let place = at(rect.x + 7, rect.y + 8);
    fixture.state.tool_moved(&tablet, &tool, place, 0);
    let cursor = app.wire.make(app.compositor, 0, &[]);
    for hotspot in [i32::MIN, i32::MAX] {
        let [x, y] = [hotspot, hotspot].map(Arg::from);
        app.wire
            .send(object, SET_CURSOR, &[0.into(), cursor.into(), x, y]);
        let square = [0, 10, 10, 40, 1].map(Arg::Word);
        let buffer = app.wire.make(app.pool, 0, &square);
        app.wire.send(cursor, 1, &[buffer, 0, 0].map(Arg::Word));
        app.wire.send(cursor, 6, &[]);
        fixture.displayed_frame(&mut app.wire);
    }
    for object in [app.toplevel, app.role, app.surface] {
        app.wire.send(object, 0, &[]);
    }
    app.sync(&mut fixture);
    fixture.state.tool_moved(&tablet, &tool, place, 0);
    fixture.state.tool_tip(&tool, true, place, 0);
    app.sync(&mut fixture);
    assert_eq!(fixture.state.tablet_clients.count(), 1);
    drop(app);
    for _ in 0..50 {
        fixture.round();
    }
    assert_eq!(fixture.state.tablet_clients.count(), 0);
    fixture.state.tool_left(&tool, 0);
}
