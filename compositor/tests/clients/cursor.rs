//! Tests the pointer's image: the built-in or a theme's image, or a cursor surface of the client under the pointer.

use std::rc::Rc;

use covalent_compositor::cursor::CursorPixels;
use covalent_compositor::report::Report;

use crate::fixture::Fixture;
use crate::fixture::objects::{Objects, make_pool, map};
use crate::fixture::wire::{Arg, Wire};

/// Opcodes of `wl_pointer`.
const POINTER_ENTER: u32 = 0;
const SET_CURSOR: u32 = 0;

/// Opcodes of `wl_surface`.
const ATTACH: u32 = 1;
const FRAME: u32 = 3;
const COMMIT: u32 = 6;
const DAMAGE_BUFFER: u32 = 9;
const OFFSET: u32 = 10;

/// The size of the output in pixels.
const SIZE: (u16, u16) = (64, 48);

/// A client with a white window of 8x8 pixels in the middle, and a white cursor surface of 4x4 pixels.
struct Pointing {
    wire: Wire,
    pointer: u32,
    cursor: u32,
    image: u32,
}

impl Pointing {
    fn new(fixture: &mut Fixture) -> Self {
        let mut wire = fixture.wire();
        let compositor = wire.bind("wl_compositor");
        let shell = wire.bind("xdg_wm_base");
        let shm = wire.bind("wl_shm");
        let seat = wire.bind("wl_seat");
        let pointer = wire.make(seat, 0, &[]);
        let pool = make_pool(&mut wire, shm, 64 * 48 * 4);
        // All bytes are 0xff. The `wl_shm` format 1 is XRGB8888, and 0 is ARGB8888.
        let window = wire.make(pool, 0, &[0, 8, 8, 32, 1].map(Arg::Word));
        let image = wire.make(pool, 0, &[0, 4, 4, 16, 0].map(Arg::Word));
        let surface = wire.make(compositor, 0, &[]);
        let role = wire.make(shell, 2, &[surface.into()]);
        wire.make(role, 1, &[]);
        map(fixture, &mut wire, surface, role, window);
        let cursor = wire.make(compositor, 0, &[]);
        fixture.round_trip_wire(&mut wire);
        Self {
            wire,
            pointer,
            cursor,
            image,
        }
    }

    /// Moves the pointer, and returns the serial of the last enter event.
    fn point_at(&mut self, fixture: &mut Fixture, x: f64, y: f64) -> u32 {
        fixture.state.point_at((x, y).into(), 0);
        fixture.round_trip_wire(&mut self.wire);
        let entered = self.wire.events_of(self.pointer, POINTER_ENTER);
        entered.last().unwrap().word(0)
    }

    fn set_cursor(
        &mut self,
        fixture: &mut Fixture,
        serial: u32,
        surface: u32,
        hotspot: (u32, u32),
    ) {
        let arguments = [serial, surface, hotspot.0, hotspot.1].map(Arg::Word);
        self.wire.send(self.pointer, SET_CURSOR, &arguments);
        fixture.round_trip_wire(&mut self.wire);
    }

    fn show_image(&mut self, fixture: &mut Fixture) {
        self.wire
            .send(self.cursor, ATTACH, &[self.image, 0, 0].map(Arg::Word));
        let everywhere = [0, 0, i32::MAX, i32::MAX].map(Arg::from);
        self.wire.send(self.cursor, DAMAGE_BUFFER, &everywhere);
        self.wire.send(self.cursor, COMMIT, &[]);
        fixture.round_trip_wire(&mut self.wire);
    }
}

/// Returns the bounding rectangle (left, top, right, bottom) of the pixels in which two pictures differ.
fn changed(before: &[u32], after: &[u32]) -> Option<(usize, usize, usize, usize)> {
    let width = usize::from(SIZE.0);
    let places: Vec<(usize, usize)> = before
        .iter()
        .zip(after)
        .enumerate()
        .filter(|(_, (before, after))| before != after)
        .map(|(place, _)| (place % width, place / width))
        .collect();
    let xs = places.iter().map(|place| place.0);
    let ys = places.iter().map(|place| place.1);
    Some((
        xs.clone().min()?,
        ys.clone().min()?,
        xs.max()? + 1,
        ys.max()? + 1,
    ))
}

fn displayed(fixture: &mut Fixture) -> Vec<u32> {
    let mut other = fixture.client();
    fixture.displayed_pixels(&mut other)
}

#[test]
fn pointer_that_never_moved_is_not_shown_and_one_that_moved_is() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let before = displayed(&mut fixture);
    fixture.state.point_at((10.0, 20.0).into(), 0);
    let after = displayed(&mut fixture);
    let (left, top, _, _) = changed(&before, &after).unwrap();
    // The hotspot of the built-in arrow is its tip. A theme's arrow may be off by a few pixels.
    assert!((4..=10).contains(&left) && (14..=20).contains(&top));
    // When the pointer moves, its old position is drawn again without the pointer.
    fixture.state.point_at((40.0, 20.0).into(), 0);
    let moved = displayed(&mut fixture);
    let (left, ..) = changed(&before, &moved).unwrap();
    assert!(left >= 34, "{left}");
}

#[test]
fn cursor_surface_is_shown_at_the_pointer_minus_its_hotspot() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut client = Pointing::new(&mut fixture);
    let serial = client.point_at(&mut fixture, 30.0, 22.0);
    let cursor = client.cursor;
    client.set_cursor(&mut fixture, serial, 0, (0, 0));
    let hidden = displayed(&mut fixture);
    client.set_cursor(&mut fixture, serial, cursor, (10, 12));
    assert_eq!(displayed(&mut fixture), hidden);
    client.show_image(&mut fixture);
    let shown = displayed(&mut fixture);
    assert_eq!(changed(&hidden, &shown), Some((20, 10, 24, 14)));
    assert_eq!(shown[10 * 64 + 20], 0xffff_ffff);
    // `wl_surface.offset` moves the image relative to the pointer.
    client.wire.send(cursor, OFFSET, &[1, 2].map(Arg::Word));
    client.show_image(&mut fixture);
    let moved = displayed(&mut fixture);
    assert_eq!(changed(&hidden, &moved), Some((21, 12, 25, 16)));
    // A cursor surface without a buffer has no image.
    client.wire.send(cursor, ATTACH, &[0, 0, 0].map(Arg::Word));
    client.wire.send(cursor, COMMIT, &[]);
    fixture.round_trip_wire(&mut client.wire);
    assert_eq!(displayed(&mut fixture), hidden);
}

#[test]
fn cursor_surface_gets_frame_callbacks_and_its_buffer_is_released_when_it_is_destroyed() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut client = Pointing::new(&mut fixture);
    let serial = client.point_at(&mut fixture, 30.0, 22.0);
    let cursor = client.cursor;
    client.set_cursor(&mut fixture, serial, cursor, (0, 0));
    let callback = client.wire.make(cursor, FRAME, &[]);
    client.show_image(&mut fixture);
    displayed(&mut fixture);
    for _ in 0..200 {
        if !client.wire.events_of(callback, 0).is_empty() {
            break;
        }
        fixture.round_trip_wire(&mut client.wire);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(client.wire.events_of(callback, 0).len(), 1);
    let content = fixture
        .state
        .cursor
        .layer(&fixture.state.stack, (0, 0))
        .map(|layer| layer.pixels);
    let content = match content.unwrap() {
        CursorPixels::Client(content) => Rc::downgrade(&content),
        CursorPixels::Theme(_) => panic!("the pointer has an image of the theme"),
    };
    client.wire.send(cursor, 0, &[]);
    fixture.round_trip_wire(&mut client.wire);
    displayed(&mut fixture);
    assert!(content.upgrade().is_none());
    assert!(
        fixture
            .state
            .cursor
            .layer(&fixture.state.stack, (0, 0))
            .is_none()
    );
}

#[test]
fn cursor_surface_with_another_role_is_a_protocol_error() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    fixture.state.point_at((32.0, 24.0).into(), 0);
    fixture.round_trip_wire(&mut wire);
    let pointer = objects.of("wl_pointer");
    let entered = wire.events_of(pointer, POINTER_ENTER);
    let serial = entered.last().unwrap().word(0);
    let surface = objects.of("wl_surface");
    wire.send(pointer, SET_CURSOR, &[serial, surface, 0, 0].map(Arg::Word));
    fixture.step_wire(&mut wire);
    fixture.step_wire(&mut wire);
    assert!(wire.error.is_some(), "{:?}", wire.events_of(1, 0));
}

#[test]
fn pointer_that_moves_redraws_only_its_places() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let report = tempfile::NamedTempFile::new().unwrap();
    let created = Report::create(report.path()).unwrap();
    fixture.state.outputs.set_report(created);
    let mut client = Pointing::new(&mut fixture);
    let serial = client.point_at(&mut fixture, 29.0, 22.0);
    let cursor = client.cursor;
    client.set_cursor(&mut fixture, serial, cursor, (20, 20));
    client.show_image(&mut fixture);
    displayed(&mut fixture);
    for step in 1..4 {
        client.point_at(&mut fixture, 29.0 + f64::from(step) * 2.0, 22.0);
        displayed(&mut fixture);
    }
    fixture.state.finish();
    let text = std::fs::read_to_string(report.path()).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    // The damage contains the pointer's new position and its two previous positions, because the output buffer was last drawn two
    // frames before.
    let pixels = last["cpu_copied_bytes"].as_u64().unwrap() / 4;
    assert!((24..=32).contains(&pixels), "{last}");
    let why = "the output is virtual and has no scanout";
    assert_eq!(last["why_cursor_drawn"], why);
}

#[test]
fn shape_is_shown_while_the_pointer_is_above_the_window_of_its_client() {
    use smithay::input::pointer::CursorIcon;
    /// `wp_cursor_shape_device_v1.shape.text`.
    const TEXT: u32 = 9;
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut pointing = Pointing::new(&mut fixture);
    let mut other = fixture.wire();
    let seat = other.bind("wl_seat");
    let other_pointer = other.make(seat, 0, &[]);
    let device = |wire: &mut Wire, pointer: u32| {
        let shapes = wire.bind("wp_cursor_shape_manager_v1");
        wire.make(shapes, 1, &[pointer.into()])
    };
    let own = device(&mut pointing.wire, pointing.pointer);
    let others = device(&mut other, other_pointer);
    let serial = pointing.point_at(&mut fixture, 32.0, 24.0);
    other.send(others, 1, &[serial, TEXT].map(Arg::Word));
    fixture.round_trip_wire(&mut other);
    let wrong = [serial.saturating_add(1), TEXT].map(Arg::Word);
    pointing.wire.send(own, 1, &wrong);
    fixture.round_trip_wire(&mut pointing.wire);
    assert_eq!(fixture.state.cursor.shape(), Some(CursorIcon::Default));
    pointing.wire.send(own, 1, &[serial, TEXT].map(Arg::Word));
    fixture.round_trip_wire(&mut pointing.wire);
    assert_eq!(fixture.state.cursor.shape(), Some(CursorIcon::Text));
    fixture.state.point_at((2.0, 2.0).into(), 0);
    fixture.round_trip_wire(&mut pointing.wire);
    assert_eq!(fixture.state.cursor.shape(), Some(CursorIcon::Default));
    assert_eq!((pointing.wire.error, other.error), (None, None));
}
