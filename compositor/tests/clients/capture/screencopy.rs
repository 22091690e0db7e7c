//! Tests `zwlr_screencopy_manager_v1`.

use std::time::Duration;

use covalent_compositor::options::OutputConfig;

use super::{Buffer, GREEN, RED, SIZE, Shown, XRGB, now, part, wait_for_frames};
use crate::fixture::Fixture;
use crate::fixture::wire::{Arg, Wire};

/// Opcodes of requests of the frame.
const COPY: u32 = 0;
const DESTROY: u32 = 1;
const COPY_WITH_DAMAGE: u32 = 2;
/// Opcodes of events of the frame.
const BUFFER: u32 = 0;
const FLAGS: u32 = 1;
const READY: u32 = 2;
const FAILED: u32 = 3;
const DAMAGE: u32 = 4;
const LINUX_DMABUF: u32 = 5;
const BUFFER_DONE: u32 = 6;
/// Errors of the frame.
const ALREADY_USED: u32 = 0;
const INVALID_BUFFER: u32 = 1;

const WHOLE: (u32, u32) = (64, 48);

/// A client that captures the first output.
struct Capturing {
    wire: Wire,
    manager: u32,
    output: u32,
}

impl Capturing {
    fn new(fixture: &mut Fixture) -> Self {
        let mut wire = fixture.wire();
        let manager = wire.bind("zwlr_screencopy_manager_v1");
        let output = wire.bind("wl_output");
        fixture.round_trip_wire(&mut wire);
        Self {
            wire,
            manager,
            output,
        }
    }

    fn frame(&mut self, overlay_cursor: u32) -> u32 {
        let arguments = [overlay_cursor, self.output].map(Arg::Word);
        self.wire.make(self.manager, 0, &arguments)
    }

    fn region(&mut self, (x, y, width, height): (i32, i32, i32, i32)) -> u32 {
        let mut arguments = vec![0.into(), self.output.into()];
        arguments.extend([x, y, width, height].map(Arg::from));
        self.wire.make(self.manager, 1, &arguments)
    }

    /// Sends a copy request, and returns the buffer.
    fn copy(&mut self, frame: u32, request: u32, size: (u32, u32)) -> Buffer {
        let buffer = Buffer::new(&mut self.wire, size);
        self.wire.send(frame, request, &[buffer.id.into()]);
        buffer
    }

    fn count(&self, frame: u32, event: u32) -> usize {
        self.wire.events_of(frame, event).len()
    }

    /// Waits for `ready` or `failed`. Returns whether the capture is ready.
    #[track_caller]
    fn finish(&mut self, fixture: &mut Fixture, frame: u32) -> bool {
        for _ in 0..5000 {
            if self.count(frame, READY) + self.count(frame, FAILED) > 0 || self.wire.closed {
                break;
            }
            fixture.step_wire(&mut self.wire);
        }
        let (ready, failed) = (self.count(frame, READY), self.count(frame, FAILED));
        assert_eq!(ready + failed, 1, "{:?}", self.wire.error);
        ready == 1
    }

    /// Captures the output, and returns its pixels.
    #[track_caller]
    fn capture(&mut self, fixture: &mut Fixture, overlay_cursor: u32) -> Vec<u32> {
        let frame = self.frame(overlay_cursor);
        let buffer = self.copy(frame, COPY, WHOLE);
        assert!(self.finish(fixture, frame));
        buffer.pixels()
    }

    /// Returns the rectangles of the damage events.
    fn damage(&self, frame: u32) -> Vec<[u32; 4]> {
        let events = self.wire.events_of(frame, DAMAGE);
        let rect = |event: &&crate::fixture::wire::Event| [0, 1, 2, 3].map(|at| event.word(at));
        events.iter().map(rect).collect()
    }

    /// Returns the interface-independent part of the protocol error: the object and the code.
    fn error(&self) -> Option<(u32, u32)> {
        let error = self.wire.error.as_ref()?;
        Some((error.0, error.1))
    }
}

#[test]
fn capture_has_the_pixels_of_the_displayed_frame() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (30, 20), RED);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    assert!(displayed.contains(&RED));
    let mut capturing = Capturing::new(&mut fixture);
    assert_eq!(capturing.capture(&mut fixture, 0), displayed);
    let frame = capturing.region((20, 10, 16, 8));
    let buffer = capturing.copy(frame, COPY, (16, 8));
    assert!(capturing.finish(&mut fixture, frame));
    assert_eq!(buffer.pixels(), part(&displayed, (20, 10, 16, 8)));
    assert_eq!(fixture.state.captures.pending(), 0);
}

#[test]
fn frame_announces_the_buffer_and_ends_with_flags_and_ready() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut capturing = Capturing::new(&mut fixture);
    let frame = capturing.frame(0);
    fixture.round_trip_wire(&mut capturing.wire);
    let buffer = capturing.wire.events_of(frame, BUFFER)[0].clone();
    assert_eq!([0, 1, 2, 3].map(|at| buffer.word(at)), [XRGB, 64, 48, 256]);
    let dmabuf = capturing.wire.events_of(frame, LINUX_DMABUF)[0].clone();
    let fourcc = u32::from_le_bytes(*b"XR24");
    assert_eq!([0, 1, 2].map(|at| dmabuf.word(at)), [fourcc, 64, 48]);
    assert_eq!(capturing.count(frame, BUFFER_DONE), 1);
    let before = now();
    capturing.copy(frame, COPY, WHOLE);
    assert!(capturing.finish(&mut fixture, frame));
    assert_eq!(capturing.wire.events_of(frame, FLAGS)[0].word(0), 0);
    let ready = capturing.wire.events_of(frame, READY)[0];
    let seconds = u64::from(ready.word(0)) << 32 | u64::from(ready.word(1));
    let time = Duration::new(seconds, ready.word(2));
    assert!((before..=now()).contains(&time), "{before:?} {time:?}");
    assert!(capturing.damage(frame).is_empty());
}

#[test]
fn capture_contains_the_commits_before_it() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (64, 48), RED);
    let mut capturing = Capturing::new(&mut fixture);
    for colour in [GREEN, RED, GREEN] {
        shown.show(&mut fixture, (64, 48), colour);
        let pixels = capturing.capture(&mut fixture, 0);
        assert!(pixels.iter().all(|pixel| *pixel == colour), "{colour:x}");
    }
}

#[test]
fn region_is_clipped_to_the_output() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (30, 20), RED);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    let mut capturing = Capturing::new(&mut fixture);
    let frame = capturing.region((-10, 40, 20, i32::MAX));
    fixture.round_trip_wire(&mut capturing.wire);
    let size = capturing.wire.events_of(frame, BUFFER)[0];
    assert_eq!((size.word(1), size.word(2)), (10, 8));
    let buffer = capturing.copy(frame, COPY, (10, 8));
    assert!(capturing.finish(&mut fixture, frame));
    assert_eq!(buffer.pixels(), part(&displayed, (0, 40, 10, 8)));
    for empty in [(64, 0, 8, 8), (0, 0, 0, 8), (0, 0, -5, 8), (0, -8, 8, 8)] {
        let frame = capturing.region(empty);
        fixture.round_trip_wire(&mut capturing.wire);
        assert_eq!(capturing.count(frame, FAILED), 1, "{empty:?}");
        assert_eq!(capturing.count(frame, BUFFER), 0, "{empty:?}");
        // A client may have sent the request before it received `failed`.
        capturing.copy(frame, COPY, (8, 8));
    }
    fixture.round_trip_wire(&mut capturing.wire);
    assert_eq!(capturing.wire.error, None);
}

#[test]
fn region_of_a_scaled_output_is_in_logical_coordinates() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let config = OutputConfig {
        name: "HEADLESS-2".to_owned(),
        scale: 2.0,
        ..OutputConfig::default()
    };
    let first = fixture.screen().id();
    fixture.add_output(config, SIZE);
    fixture.state.remove_output(first);
    let mut shown = Shown::new(&mut fixture, (9, 6), RED);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    assert!(displayed.contains(&RED));
    let mut capturing = Capturing::new(&mut fixture);
    let frame = capturing.region((8, 7, 8, 6));
    let buffer = capturing.copy(frame, COPY, (16, 12));
    assert!(capturing.finish(&mut fixture, frame));
    assert_eq!(buffer.pixels(), part(&displayed, (16, 14, 16, 12)));
    assert!(buffer.pixels().contains(&RED));
}

#[test]
fn pointer_is_captured_only_on_request() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (64, 48), RED);
    fixture.state.point_at((20.0, 20.0).into(), 0);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    assert!(displayed.iter().any(|pixel| *pixel != RED));
    let mut capturing = Capturing::new(&mut fixture);
    let without = capturing.capture(&mut fixture, 0);
    assert!(without.iter().all(|pixel| *pixel == RED));
    assert_eq!(capturing.capture(&mut fixture, 1), displayed);
}

#[test]
fn copy_with_damage_waits_for_damage_of_its_region() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (64, 48), RED);
    let mut capturing = Capturing::new(&mut fixture);
    let first = capturing.frame(0);
    capturing.copy(first, COPY_WITH_DAMAGE, WHOLE);
    assert!(capturing.finish(&mut fixture, first));
    assert_eq!(capturing.damage(first), [[0, 0, 64, 48]]);
    let second = capturing.frame(0);
    let buffer = capturing.copy(second, COPY_WITH_DAMAGE, WHOLE);
    let in_region = capturing.region((0, 0, 8, 8));
    let other = capturing.copy(in_region, COPY_WITH_DAMAGE, (8, 8));
    wait_for_frames(&mut fixture, &mut capturing.wire);
    assert!(buffer.is_untouched() && other.is_untouched());
    // The pointer is not captured, so its motion is no damage.
    fixture.state.point_at((20.0, 20.0).into(), 0);
    wait_for_frames(&mut fixture, &mut capturing.wire);
    assert_eq!(capturing.count(second, READY), 0);
    assert!(buffer.is_untouched() && fixture.screen().is_up_to_date());
    let pixels = shown.client.colour(64, 48, GREEN);
    shown.window.surface.attach(Some(&pixels), 0, 0);
    shown.window.surface.damage_buffer(10, 12, 5, 6);
    shown.window.surface.commit();
    fixture.round_trip(&mut shown.client);
    assert!(capturing.finish(&mut fixture, second));
    assert_eq!(capturing.damage(second), [[10, 12, 5, 6]]);
    assert_eq!(buffer.pixels()[12 * 64 + 10], GREEN);
    wait_for_frames(&mut fixture, &mut capturing.wire);
    assert_eq!(capturing.count(in_region, READY), 0);
    assert!(other.is_untouched());
    assert_eq!(fixture.state.captures.pending(), 1);
}

#[test]
fn copy_with_damage_counts_damage_since_the_previous_copy() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (64, 48), RED);
    let mut capturing = Capturing::new(&mut fixture);
    capturing.capture(&mut fixture, 0);
    for (x, colour) in [(0, GREEN), (20, RED)] {
        let pixels = shown.client.colour(64, 48, colour);
        shown.window.surface.attach(Some(&pixels), 0, 0);
        shown.window.surface.damage_buffer(x, 0, 4, 4);
        shown.window.surface.commit();
        fixture.displayed_pixels(&mut shown.client);
    }
    let frame = capturing.frame(0);
    capturing.copy(frame, COPY_WITH_DAMAGE, WHOLE);
    assert!(capturing.finish(&mut fixture, frame));
    let mut damage = capturing.damage(frame);
    damage.sort_unstable();
    assert_eq!(damage, [[0, 0, 4, 4], [20, 0, 4, 4]]);
}

#[test]
fn buffer_that_does_not_match_the_frame_posts_an_error() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    for (size, stride, format) in [
        ((63, 48), 63 * 4, XRGB),
        ((64, 49), 64 * 4, XRGB),
        ((64, 48), 65 * 4, XRGB),
        // ARGB8888 is 0.
        ((64, 48), 64 * 4, 0),
    ] {
        let mut capturing = Capturing::new(&mut fixture);
        let frame = capturing.frame(0);
        let buffer = Buffer::with(&mut capturing.wire, size, stride, format);
        capturing.wire.send(frame, COPY, &[buffer.id.into()]);
        fixture.round_trip_wire(&mut capturing.wire);
        assert_eq!(capturing.error(), Some((frame, INVALID_BUFFER)), "{size:?}");
        assert!(buffer.is_untouched());
    }
    assert_eq!(fixture.state.captures.pending(), 0);
}

#[test]
fn second_copy_of_a_frame_posts_an_error() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    for request in [COPY, COPY_WITH_DAMAGE] {
        let mut capturing = Capturing::new(&mut fixture);
        let frame = capturing.frame(0);
        capturing.copy(frame, COPY, WHOLE);
        capturing.copy(frame, request, WHOLE);
        fixture.round_trip_wire(&mut capturing.wire);
        assert_eq!(capturing.error(), Some((frame, ALREADY_USED)));
    }
}

#[test]
fn buffer_that_is_destroyed_before_the_copy_fails() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut capturing = Capturing::new(&mut fixture);
    let frame = capturing.frame(0);
    let buffer = capturing.copy(frame, COPY, WHOLE);
    capturing.wire.send(buffer.id, 0, &[]);
    assert!(!capturing.finish(&mut fixture, frame));
    assert!(buffer.is_untouched());
    assert_eq!(capturing.wire.error, None);
    assert_eq!(fixture.state.captures.pending(), 0);
}

#[test]
fn frame_that_is_destroyed_before_the_copy_leaves_nothing_behind() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut capturing = Capturing::new(&mut fixture);
    capturing.capture(&mut fixture, 0);
    let frame = capturing.frame(0);
    let buffer = capturing.copy(frame, COPY_WITH_DAMAGE, WHOLE);
    fixture.round_trip_wire(&mut capturing.wire);
    assert_eq!(fixture.state.captures.pending(), 1);
    capturing.wire.send(frame, DESTROY, &[]);
    fixture.round_trip_wire(&mut capturing.wire);
    assert_eq!(fixture.state.captures.pending(), 0);
    assert!(buffer.is_untouched());
    // A frame can outlive its manager.
    let frame = capturing.frame(0);
    capturing.wire.send(capturing.manager, 2, &[]);
    let buffer = capturing.copy(frame, COPY, WHOLE);
    assert!(capturing.finish(&mut fixture, frame));
    assert!(!buffer.is_untouched());
    drop(capturing);
    let mut other = fixture.client();
    fixture.round_trip(&mut other);
    assert_eq!(fixture.state.captures.pending(), 0);
}

#[test]
fn client_whose_pool_is_truncated_is_disconnected_alone() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut other = Capturing::new(&mut fixture);
    let mut capturing = Capturing::new(&mut fixture);
    let frame = capturing.frame(0);
    let buffer = Buffer::new(&mut capturing.wire, WHOLE);
    fixture.round_trip_wire(&mut capturing.wire);
    rustix::fs::ftruncate(&buffer.memory, 0).unwrap();
    capturing.wire.send(frame, COPY, &[buffer.id.into()]);
    wait_for_frames(&mut fixture, &mut capturing.wire);
    assert_eq!(capturing.error().unwrap().0, buffer.id);
    assert_eq!(fixture.state.captures.pending(), 0);
    other.capture(&mut fixture, 0);
}

#[test]
fn captures_of_several_clients_are_all_drawn() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut shown = Shown::new(&mut fixture, (30, 20), RED);
    let displayed = fixture.displayed_pixels(&mut shown.client);
    let mut clients: Vec<Capturing> = (0..3).map(|_| Capturing::new(&mut fixture)).collect();
    let mut copies = Vec::new();
    for (index, capturing) in clients.iter_mut().enumerate() {
        for _ in 0..4 {
            let frame = capturing.frame(0);
            copies.push((index, frame, capturing.copy(frame, COPY, WHOLE)));
        }
    }
    for (index, frame, buffer) in copies {
        assert!(clients[index].finish(&mut fixture, frame));
        assert_eq!(buffer.pixels(), displayed);
    }
}

#[test]
fn too_many_waiting_captures_exceed_the_limit() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let mut capturing = Capturing::new(&mut fixture);
    capturing.capture(&mut fixture, 0);
    let buffer = Buffer::new(&mut capturing.wire, WHOLE);
    for _ in 0..33 {
        let frame = capturing.frame(0);
        let arguments = [buffer.id.into()];
        capturing.wire.send(frame, COPY_WITH_DAMAGE, &arguments);
    }
    fixture.round_trip_wire(&mut capturing.wire);
    let error = capturing.wire.error.clone().unwrap();
    assert!(error.2.contains("--limit captures"), "{error:?}");
    let mut other = fixture.client();
    fixture.round_trip(&mut other);
    assert_eq!(fixture.state.captures.pending(), 0);
}

#[test]
fn capture_of_a_removed_output_fails() {
    let mut fixture = Fixture::new(SIZE.0, SIZE.1);
    let config = OutputConfig {
        name: "HEADLESS-2".to_owned(),
        ..OutputConfig::default()
    };
    let second = fixture.add_output(config, SIZE);
    let mut capturing = Capturing::new(&mut fixture);
    capturing.capture(&mut fixture, 0);
    let waiting = capturing.frame(0);
    capturing.copy(waiting, COPY_WITH_DAMAGE, WHOLE);
    let unused = capturing.frame(0);
    fixture.round_trip_wire(&mut capturing.wire);
    fixture.state.remove_output(second);
    assert!(!capturing.finish(&mut fixture, waiting));
    capturing.copy(unused, COPY, WHOLE);
    assert!(!capturing.finish(&mut fixture, unused));
    let late = capturing.frame(0);
    fixture.round_trip_wire(&mut capturing.wire);
    assert_eq!(capturing.count(late, FAILED), 1);
    assert_eq!(capturing.wire.error, None);
}
