//! Tests `ext_image_capture_source_v1` and `ext_image_copy_capture_v1`.

use std::time::Duration;

use covalent_compositor::options::OutputConfig;

use super::{Buffer, GREEN, RED, SIZE, Shown, XRGB, now, wait_for_frames};
use crate::fixture::Fixture;
use crate::fixture::wire::{Arg, Event, Wire};

/// Opcodes of events of the session.
const BUFFER_SIZE: u32 = 0;
const SHM_FORMAT: u32 = 1;
const DMABUF_DEVICE: u32 = 2;
const DMABUF_FORMAT: u32 = 3;
const DONE: u32 = 4;
const STOPPED: u32 = 5;
/// Opcodes of requests of the frame.
const DESTROY: u32 = 0;
const ATTACH_BUFFER: u32 = 1;
const DAMAGE_BUFFER: u32 = 2;
const CAPTURE: u32 = 3;
/// Opcodes of events of the frame.
const TRANSFORM: u32 = 0;
const DAMAGE: u32 = 1;
const PRESENTATION_TIME: u32 = 2;
const READY: u32 = 3;
const FAILED: u32 = 4;
/// Reasons of failures.
const BUFFER_CONSTRAINTS: u32 = 1;
const SESSION_STOPPED: u32 = 2;

const WHOLE: (u32, u32) = (64, 48);

/// A client with a session of the first output.
struct Capturing {
    wire: Wire,
    manager: u32,
    source: u32,
    session: u32,
}

impl Capturing {
    fn new(fixture: &mut Fixture, options: u32) -> Self {
        let mut wire = fixture.wire();
        let sources = wire.bind("ext_output_image_capture_source_manager_v1");
        let manager = wire.bind("ext_image_copy_capture_manager_v1");
        let output = wire.bind("wl_output");
        let source = wire.make(sources, 0, &[output.into()]);
        let session = wire.make(manager, 0, &[source, options].map(Arg::Word));
        fixture.round_trip_wire(&mut wire);
        Self {
            wire,
            manager,
            source,
            session,
        }
    }

    /// Creates a frame, attaches a new buffer and requests the capture.
    fn capture(&mut self, size: (u32, u32)) -> (u32, Buffer) {
        let frame = self.wire.make(self.session, 0, &[]);
        let buffer = Buffer::new(&mut self.wire, size);
        self.wire.send(frame, ATTACH_BUFFER, &[buffer.id.into()]);
        let whole = [0, 0, 64, 48].map(Arg::from);
        self.wire.send(frame, DAMAGE_BUFFER, &whole);
        self.wire.send(frame, CAPTURE, &[]);
        (frame, buffer)
    }

    fn events(&self, object: u32, event: u32) -> Vec<Event> {
        let events = self.wire.events_of(object, event);
        events.into_iter().cloned().collect()
    }

    /// Waits for `ready` or `failed`. Returns the reason of a failure.
    #[track_caller]
    fn finish(&mut self, fixture: &mut Fixture, frame: u32) -> Result<(), u32> {
        for _ in 0..5000 {
            if !self.events(frame, READY).is_empty() {
                return Ok(());
            }
            if let Some(failed) = self.events(frame, FAILED).first() {
                return Err(failed.word(0));
            }
            fixture.step_wire(&mut self.wire);
        }
        panic!("the capture did not end: {:?}", self.wire.error);
    }

    /// Captures the output and destroys the frame. Returns the pixels.
    #[track_caller]
    fn pixels(&mut self, fixture: &mut Fixture) -> Vec<u32> {
        let (frame, buffer) = self.capture(WHOLE);
        assert_eq!(self.finish(fixture, frame), Ok(()));
        self.wire.send(frame, DESTROY, &[]);
        buffer.pixels()
    }

    #[track_caller]
    fn assert_error(&mut self, fixture: &mut Fixture, object: u32, code: u32) {
        fixture.round_trip_wire(&mut self.wire);
        let error = self.wire.error.as_ref().map(|error| (error.0, error.1));
        assert_eq!(error, Some((object, code)), "{:?}", self.wire.error);
    }
}

#[test]
fn session_announces_the_constraints_of_its_buffers() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let capturing = Capturing::new(&mut fixture, 0);
    let events = |event| capturing.events(capturing.session, event);
    let size = &events(BUFFER_SIZE)[0];
    assert_eq!((size.word(0), size.word(1)), WHOLE);
    assert_eq!(events(SHM_FORMAT)[0].word(0), XRGB);
    // The CPU renderer writes only linear dma-bufs. A machine without any device for dma-bufs announces none.
    assert_eq!(events(DMABUF_DEVICE).len(), events(DMABUF_FORMAT).len());
    for format in events(DMABUF_FORMAT) {
        let words = [0, 1, 2, 3].map(|at| format.word(at));
        assert_eq!(words, [u32::from_le_bytes(*b"XR24"), 8, 0, 0]);
    }
    assert_eq!(events(DONE).len(), 1);
    assert!(events(STOPPED).is_empty());
}

#[test]
fn first_frame_is_captured_at_once_and_has_damage_everywhere() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (30, 20), RED);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    let mut capturing = Capturing::new(&mut fixture, 0);
    let before = now();
    let (frame, buffer) = capturing.capture(WHOLE);
    assert_eq!(capturing.finish(&mut fixture, frame), Ok(()));
    assert_eq!(buffer.pixels(), displayed);
    assert_eq!(capturing.events(frame, TRANSFORM)[0].word(0), 0);
    let damage = &capturing.events(frame, DAMAGE)[0];
    assert_eq!([0, 1, 2, 3].map(|at| damage.word(at)), [0, 0, 64, 48]);
    let time = &capturing.events(frame, PRESENTATION_TIME)[0];
    let seconds = u64::from(time.word(0)) << 32 | u64::from(time.word(1));
    let time = Duration::new(seconds, time.word(2));
    assert!((before..=now()).contains(&time), "{before:?} {time:?}");
}

#[test]
fn next_frame_waits_for_damage() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (64, 48), RED);
    let mut capturing = Capturing::new(&mut fixture, 0);
    capturing.pixels(&mut fixture);
    let (frame, buffer) = capturing.capture(WHOLE);
    wait_for_frames(&mut fixture, &mut capturing.wire);
    assert!(buffer.is_untouched() && fixture.screen().is_up_to_date());
    shown.show(&mut fixture, (64, 48), GREEN);
    assert_eq!(capturing.finish(&mut fixture, frame), Ok(()));
    assert!(buffer.pixels().iter().all(|pixel| *pixel == GREEN));
}

#[test]
fn pointer_is_captured_only_with_the_option() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (64, 48), RED);
    fixture.state.point_at((20.0, 20.0).into(), 0);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    let without = Capturing::new(&mut fixture, 0).pixels(&mut fixture);
    assert!(without.iter().all(|pixel| *pixel == RED));
    let with = Capturing::new(&mut fixture, 1).pixels(&mut fixture);
    assert_eq!(with, displayed);
}

#[test]
fn buffer_outside_of_the_constraints_fails() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut capturing = Capturing::new(&mut fixture, 0);
    for (size, stride, format) in [
        ((63, 48), 63 * 4, XRGB),
        ((64, 48), 65 * 4, XRGB),
        ((64, 48), 64 * 4, 0),
    ] {
        let frame = capturing.wire.make(capturing.session, 0, &[]);
        let buffer = Buffer::with(&mut capturing.wire, size, stride, format);
        let attached = [buffer.id.into()];
        capturing.wire.send(frame, ATTACH_BUFFER, &attached);
        capturing.wire.send(frame, CAPTURE, &[]);
        let failed = capturing.finish(&mut fixture, frame);
        assert_eq!(failed, Err(BUFFER_CONSTRAINTS));
        assert!(buffer.is_untouched());
        capturing.wire.send(frame, DESTROY, &[]);
    }
    // The buffer is destroyed before the capture request, or before the capture is drawn.
    for is_early in [true, false] {
        let frame = capturing.wire.make(capturing.session, 0, &[]);
        let buffer = Buffer::new(&mut capturing.wire, WHOLE);
        let attached = [buffer.id.into()];
        capturing.wire.send(frame, ATTACH_BUFFER, &attached);
        if is_early {
            capturing.wire.send(buffer.id, 0, &[]);
        }
        capturing.wire.send(frame, CAPTURE, &[]);
        if !is_early {
            capturing.wire.send(buffer.id, 0, &[]);
        }
        let failed = capturing.finish(&mut fixture, frame);
        assert_eq!(failed, Err(BUFFER_CONSTRAINTS));
        capturing.wire.send(frame, DESTROY, &[]);
    }
    fixture.round_trip_wire(&mut capturing.wire);
    assert_eq!(capturing.wire.error, None);
    assert_eq!(fixture.state.captures.pending(), 0);
}

#[test]
fn requests_in_a_wrong_order_post_errors() {
    const NO_BUFFER: u32 = 1;
    const INVALID_BUFFER_DAMAGE: u32 = 2;
    const ALREADY_CAPTURED: u32 = 3;
    const DUPLICATE: u32 = 1;
    const INVALID_OPTION: u32 = 1;
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut capturing = Capturing::new(&mut fixture, 0);
    let frame = capturing.wire.make(capturing.session, 0, &[]);
    capturing.wire.send(frame, CAPTURE, &[]);
    capturing.assert_error(&mut fixture, frame, NO_BUFFER);
    for damage in [[-1, 0, 1, 1], [0, -1, 1, 1], [0, 0, 0, 1], [0, 0, 1, -1]] {
        let mut capturing = Capturing::new(&mut fixture, 0);
        let frame = capturing.wire.make(capturing.session, 0, &[]);
        let damage = damage.map(Arg::from);
        capturing.wire.send(frame, DAMAGE_BUFFER, &damage);
        capturing.assert_error(&mut fixture, frame, INVALID_BUFFER_DAMAGE);
    }
    for request in [ATTACH_BUFFER, DAMAGE_BUFFER, CAPTURE] {
        let mut capturing = Capturing::new(&mut fixture, 0);
        let (frame, buffer) = capturing.capture(WHOLE);
        let arguments = match request {
            ATTACH_BUFFER => vec![buffer.id.into()],
            DAMAGE_BUFFER => [0, 0, 1, 1].map(Arg::Word).to_vec(),
            _ => Vec::new(),
        };
        capturing.wire.send(frame, request, &arguments);
        capturing.assert_error(&mut fixture, frame, ALREADY_CAPTURED);
    }
    let mut capturing = Capturing::new(&mut fixture, 0);
    let frame = capturing.wire.make(capturing.session, 0, &[]);
    capturing.wire.send(frame, DESTROY, &[]);
    capturing.wire.make(capturing.session, 0, &[]);
    fixture.round_trip_wire(&mut capturing.wire);
    assert_eq!(capturing.wire.error, None);
    let session = capturing.session;
    capturing.wire.make(session, 0, &[]);
    capturing.assert_error(&mut fixture, session, DUPLICATE);
    let mut capturing = Capturing::new(&mut fixture, 0);
    let (manager, source) = (capturing.manager, capturing.source);
    capturing.wire.make(manager, 0, &[source, 2].map(Arg::Word));
    capturing.assert_error(&mut fixture, manager, INVALID_OPTION);
}

#[test]
fn session_of_a_removed_output_is_stopped() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let config = OutputConfig {
        name: "HEADLESS-2".to_owned(),
        ..OutputConfig::default()
    };
    let second = fixture.add_output(config, SIZE);
    let mut capturing = Capturing::new(&mut fixture, 0);
    capturing.pixels(&mut fixture);
    let (waiting, _) = capturing.capture(WHOLE);
    fixture.round_trip_wire(&mut capturing.wire);
    fixture.state.remove_output(second);
    let failed = capturing.finish(&mut fixture, waiting);
    assert_eq!(failed, Err(SESSION_STOPPED));
    assert_eq!(capturing.events(capturing.session, STOPPED).len(), 1);
    capturing.wire.send(waiting, DESTROY, &[]);
    let (late, _) = capturing.capture(WHOLE);
    let failed = capturing.finish(&mut fixture, late);
    assert_eq!(failed, Err(SESSION_STOPPED));
    // A session of a source whose output is gone is stopped at once.
    let arguments = [capturing.source, 0].map(Arg::Word);
    let session = capturing.wire.make(capturing.manager, 0, &arguments);
    fixture.round_trip_wire(&mut capturing.wire);
    assert_eq!(capturing.events(session, STOPPED).len(), 1);
    assert_eq!(capturing.events(session, DONE).len(), 0);
}

/// A client with a cursor session of the first output.
struct Pointing {
    capturing: Capturing,
    cursor: u32,
    session: u32,
}

impl Pointing {
    fn new(fixture: &mut Fixture) -> Self {
        let mut capturing = Capturing::new(fixture, 0);
        let seat = capturing.wire.bind("wl_seat");
        let pointer = capturing.wire.make(seat, 0, &[]);
        let arguments = [capturing.source, pointer].map(Arg::Word);
        let cursor = capturing.wire.make(capturing.manager, 1, &arguments);
        let session = capturing.wire.make(cursor, 1, &[]);
        wait_for_frames(fixture, &mut capturing.wire);
        Self {
            capturing,
            cursor,
            session,
        }
    }

    /// Returns the last announced size of the image.
    fn size(&self) -> (u32, u32) {
        let sizes = self.capturing.events(self.session, BUFFER_SIZE);
        let size = sizes.last().unwrap();
        (size.word(0), size.word(1))
    }

    /// Requests a capture of the pointer's image.
    fn capture(&mut self) -> (u32, Buffer) {
        const ARGB: u32 = 0;
        let size = self.size();
        let wire = &mut self.capturing.wire;
        let frame = wire.make(self.session, 0, &[]);
        let buffer = Buffer::with(wire, size, size.0 * 4, ARGB);
        wire.send(frame, ATTACH_BUFFER, &[buffer.id.into()]);
        wire.send(frame, CAPTURE, &[]);
        (frame, buffer)
    }

    /// Returns the two numbers of the last event of the cursor session with that opcode.
    fn last(&self, event: u32) -> Option<(u32, u32)> {
        let events = self.capturing.events(self.cursor, event);
        events.last().map(|event| (event.word(0), event.word(1)))
    }
}

/// Opcodes of events of the cursor session.
const ENTER: u32 = 0;
const LEAVE: u32 = 1;
const POSITION: u32 = 2;
const HOTSPOT: u32 = 3;

#[test]
fn cursor_session_has_the_position_and_the_image_of_the_pointer() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (64, 48), RED);
    let mut pointing = Pointing::new(&mut fixture);
    // The pointer has not moved yet, so it is not shown, and a capture waits for it.
    assert_eq!(pointing.size(), (1, 1));
    assert!(pointing.capturing.events(pointing.cursor, ENTER).is_empty());
    fixture.state.point_at((20.0, 15.0).into(), 0);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    wait_for_frames(&mut fixture, &mut pointing.capturing.wire);
    assert_eq!(pointing.capturing.events(pointing.cursor, ENTER).len(), 1);
    assert_eq!(pointing.last(POSITION), Some((20, 15)));
    let (frame, buffer) = pointing.capture();
    assert_eq!(pointing.capturing.finish(&mut fixture, frame), Ok(()));
    pointing.capturing.wire.send(frame, DESTROY, &[]);
    let hotspot = pointing.last(HOTSPOT).unwrap();
    let corner = [20, 15].map(i64::from);
    let corner = [
        corner[0] - i64::from(hotspot.0),
        corner[1] - i64::from(hotspot.1),
    ];
    let mut opaque = 0;
    for (index, pixel) in (0..).zip(buffer.translucent_pixels()) {
        let width = i64::from(pointing.size().0);
        let (x, y) = (corner[0] + index % width, corner[1] + index / width);
        let is_on_output = (0..64).contains(&x) && (0..48).contains(&y);
        if pixel >> 24 == 0xff && is_on_output {
            assert_eq!(displayed[usize::try_from(y * 64 + x).unwrap()], pixel);
            opaque += 1;
        }
    }
    assert!(opaque > 0);
    // Motion changes the position and not the image.
    let (frame, buffer) = pointing.capture();
    fixture.state.point_at((30.0, 20.0).into(), 0);
    wait_for_frames(&mut fixture, &mut pointing.capturing.wire);
    assert_eq!(pointing.last(POSITION), Some((30, 20)));
    assert_eq!(pointing.capturing.events(pointing.cursor, ENTER).len(), 1);
    assert!(pointing.capturing.events(frame, READY).is_empty() && buffer.is_untouched());
    assert_eq!(pointing.capturing.wire.error, None);
}

#[test]
fn cursor_session_of_a_removed_output_leaves() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let config = OutputConfig {
        name: "HEADLESS-2".to_owned(),
        ..OutputConfig::default()
    };
    let second = fixture.add_output(config, SIZE);
    fixture.state.point_at((70.0, 15.0).into(), 0);
    let mut pointing = Pointing::new(&mut fixture);
    assert_eq!(pointing.last(POSITION), Some((6, 15)));
    fixture.state.remove_output(second);
    wait_for_frames(&mut fixture, &mut pointing.capturing.wire);
    assert_eq!(pointing.capturing.events(pointing.cursor, LEAVE).len(), 1);
    let stopped = pointing.capturing.events(pointing.session, STOPPED);
    assert_eq!(stopped.len(), 1);
}

#[test]
fn second_capture_session_of_a_cursor_session_posts_an_error() {
    const DUPLICATE_SESSION: u32 = 1;
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut pointing = Pointing::new(&mut fixture);
    let cursor = pointing.cursor;
    pointing.capturing.wire.make(cursor, 1, &[]);
    let capturing = &mut pointing.capturing;
    capturing.assert_error(&mut fixture, cursor, DUPLICATE_SESSION);
}

#[test]
fn frame_outlives_its_session() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut capturing = Capturing::new(&mut fixture, 0);
    let (frame, buffer) = capturing.capture(WHOLE);
    capturing.wire.send(capturing.session, 1, &[]);
    assert_eq!(capturing.finish(&mut fixture, frame), Ok(()));
    assert!(!buffer.is_untouched());
}
