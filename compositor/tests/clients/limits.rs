//! Tests clients that exceed limits, for example by creating too many objects.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use covalent_compositor::limits::{Limit, Limits};

use crate::fixture::objects::{Objects, make_pool};
use crate::fixture::wire::{Arg, DISPLAY, Wire, message};
use crate::fixture::{Fixture, memfd};

/// The longest time that one of these clients may take, even in a debug build on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(3);

/// `wl_display.error.no_memory`.
const NO_MEMORY: u32 = 2;
/// `wl_shm.error.invalid_fd`.
const INVALID_FD: u32 = 2;
/// `wl_subcompositor.error.bad_parent`.
const BAD_PARENT: u32 = 1;

#[test]
fn very_many_feedback_objects_are_destroyed_quickly() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    let (dmabuf, surface) = (objects.of("zwp_linux_dmabuf_v1"), objects.of("wl_surface"));
    for number in 0..4000 {
        wire.make(dmabuf, 3, &[surface.into()]);
        if number % 16 == 0 {
            fixture.step_wire(&mut wire);
            wire.events.clear();
        }
    }
    fixture.round_trip_wire(&mut wire);
    assert_eq!(wire.error, None);
    let start = Instant::now();
    drop(wire);
    for _ in 0..4 {
        fixture.round_trip(&mut other);
    }
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
}

#[test]
fn subsurfaces_nested_without_limit_post_an_error() {
    // The tree is built from the window to the innermost surface, or the other way round.
    for downwards in [true, false] {
        let mut fixture = Fixture::new(64, 48);
        let mut other = fixture.client();
        let mut wire = fixture.wire();
        let objects = Objects::make(&mut fixture, &mut wire);
        let compositor = objects.of("wl_compositor");
        let subcompositor = objects.of("wl_subcompositor");
        let mut end = wire.make(compositor, 0, &[]);
        for _ in 0..60_000 {
            let next = wire.make(compositor, 0, &[]);
            let (child, parent) = if downwards { (next, end) } else { (end, next) };
            let role = wire.make(subcompositor, 1, &[child, parent].map(Arg::Word));
            wire.send(role, 5, &[]);
            end = next;
            if wire.closed {
                break;
            }
            wire.read();
        }
        let start = Instant::now();
        fixture.round_trip_wire(&mut wire);
        assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
        let error = wire.error.clone().map(|(object, code, _)| (object, code));
        assert_eq!(error, Some((subcompositor, BAD_PARENT)), "{downwards}");
        fixture.round_trip(&mut other);
        assert!(!other.events.closed);
    }
}

#[test]
fn sibling_subsurfaces_without_limit_post_an_error() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    let (compositor, subcompositor) = (objects.of("wl_compositor"), objects.of("wl_subcompositor"));
    let window = objects.of("wl_surface");
    for number in 0..400 {
        let child = wire.make(compositor, 0, &[]);
        wire.make(subcompositor, 1, &[child, window].map(Arg::Word));
        if number == 200 {
            wire.send(window, 6, &[]);
            fixture.round_trip_wire(&mut wire);
            assert_eq!(wire.error, None, "200 are no error");
        }
    }
    fixture.round_trip_wire(&mut wire);
    let error = wire.error.clone().map(|(object, code, _)| (object, code));
    assert_eq!(error, Some((subcompositor, BAD_PARENT)));
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn client_with_too_many_windows_or_popups_is_disconnected_alone() {
    for popups in [true, false] {
        let mut fixture = Fixture::new(64, 48);
        let mut other = fixture.client();
        let mut wire = fixture.wire();
        let objects = Objects::make(&mut fixture, &mut wire);
        let (compositor, shell) = (objects.of("wl_compositor"), objects.of("xdg_wm_base"));
        let popup = [objects.of("xdg_surface"), objects.of("xdg_positioner")].map(Arg::Word);
        for number in 0..6_000 {
            let surface = wire.make(compositor, 0, &[]);
            let role = wire.make(shell, 2, &[surface.into()]);
            if popups {
                wire.make(role, 2, &popup);
            } else {
                wire.make(role, 1, &[]);
            }
            if number % 16 == 0 {
                fixture.step_wire(&mut wire);
                wire.events.clear();
            }
            if number == 100 {
                fixture.round_trip_wire(&mut wire);
                assert_eq!(wire.error, None, "100 are no error");
            }
            if wire.closed {
                break;
            }
        }
        fixture.round_trip_wire(&mut wire);
        let error = wire.error.clone().map(|(object, code, _)| (object, code));
        assert_eq!(error, Some((DISPLAY, NO_MEMORY)), "{popups}");
        fixture.round_trip(&mut other);
        assert!(!other.events.closed);
    }
}

/// Sends requests until the client is disconnected. Returns the protocol error. Another client must stay connected.
#[track_caller]
fn exceed(mut send: impl FnMut(&mut Wire, &Objects, u32)) -> (u32, u32, String) {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    for number in 0..20_000 {
        send(&mut wire, &objects, number);
        if number % 16 == 0 {
            fixture.step_wire(&mut wire);
            wire.events.clear();
        }
        if number == 32 {
            fixture.round_trip_wire(&mut wire);
            assert_eq!(wire.error, None, "few are no error");
        }
        if wire.closed {
            break;
        }
    }
    fixture.round_trip_wire(&mut wire);
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
    wire.error.expect("no limit was exceeded")
}

/// The name of a limit, and a function that sends one request which counts against the limit.
type LimitedRequest = (&'static str, fn(&mut Wire, &Objects, u32));

const LIMITED_REQUESTS: [LimitedRequest; 9] = [
    ("region-rectangles", |wire, objects, number| {
        let place = [number * 2, 0, 1, 1].map(Arg::Word);
        wire.send(objects.of("wl_region"), 1, &place);
    }),
    ("rectangles", |wire, objects, _| {
        // Each region has a hundred rectangles, and a surface uses it, so the rectangles exist even after the region is
        // destroyed.
        let compositor = objects.of("wl_compositor");
        let region = wire.make(compositor, 1, &[]);
        for place in 0..100 {
            wire.send(region, 1, &[place * 2, 0, 1, 1].map(Arg::Word));
        }
        let surface = wire.make(compositor, 0, &[]);
        wire.send(surface, 5, &[region.into()]);
        wire.send(region, 0, &[]);
    }),
    ("objects-of-one-kind", |wire, objects, _| {
        wire.make(objects.of("xdg_wm_base"), 1, &[]);
    }),
    ("event-objects", |wire, objects, _| {
        wire.make(objects.of("wl_seat"), 1, &[]);
    }),
    ("surfaces", |wire, objects, _| {
        wire.make(objects.of("wl_compositor"), 0, &[]);
    }),
    ("callbacks", |wire, objects, _| {
        wire.make(objects.child, 3, &[]);
    }),
    ("mime-types", |wire, objects, _| {
        wire.send(objects.of("wl_data_source"), 0, &["text/plain".into()]);
    }),
    ("configures", |wire, objects, number| {
        let opcode = if number % 2 == 0 { 9 } else { 10 };
        wire.send(objects.of("xdg_toplevel"), opcode, &[]);
    }),
    ("mapped-bytes", |wire, objects, _| {
        make_sparse_pool(wire, objects.of("wl_shm"), 1 << 30);
    }),
];

/// Creates a pool whose file is sparse, so that it takes no memory.
fn make_sparse_pool(wire: &mut Wire, shm: u32, size: u32) {
    let memory = memfd(&[]);
    rustix::fs::ftruncate(&memory, size.into()).unwrap();
    let pool = wire.new_id();
    let create = message(shm, 0, &[pool, size].map(Arg::Word));
    wire.send_bytes(&create, &[memory.as_fd()]);
}

#[test]
fn client_that_exceeds_a_limit_is_disconnected_alone_with_the_name_of_the_limit() {
    for (name, request) in LIMITED_REQUESTS {
        let (object, code, message) = exceed(request);
        println!("{name}: {message}");
        assert_eq!((object, code), (DISPLAY, NO_MEMORY), "{name}: {message}");
        assert!(
            message.contains(&format!("--limit {name}=")),
            "{name}: {message}"
        );
    }
}

#[test]
fn disconnected_client_that_never_reads_its_events_is_forgotten() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    assert_eq!(fixture.state.connections.count(), 2);
    let deadline = Instant::now() + TIMEOUT * 10;
    while fixture.state.connections.count() > 1 {
        assert!(
            Instant::now() < deadline,
            "the compositor keeps the connection"
        );
        // The events that answer these requests fill all buffers between the compositor and the client.
        for _ in 0..64 {
            wire.make(DISPLAY, 0, &[]);
        }
        fixture.round();
    }
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn file_that_is_no_shared_memory_is_refused_as_a_pool() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    for path in ["/dev/null", "/proc/self/status"] {
        let file = std::fs::File::open(path).unwrap();
        let mut wire = fixture.wire();
        let shm = wire.bind("wl_shm");
        let pool = wire.new_id();
        let create = message(shm, 0, &[pool.into(), 4096.into()]);
        wire.send_bytes(&create, &[file.as_fd()]);
        fixture.round_trip_wire(&mut wire);
        let (object, code, message) = wire.error.clone().expect(path);
        assert_eq!((object, code), (shm, INVALID_FD), "{message}");
    }
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn connection_beyond_the_limit_of_a_process_is_refused_with_an_error() {
    let mut fixture = Fixture::new(64, 48);
    let mut limits = Limits::default();
    limits.set(Limit::Connections, 3);
    fixture.state.connections.set_limits(limits);
    let mut wires: Vec<Wire> = (0..3).map(|_| fixture.wire()).collect();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(fixture.state.add_client(theirs).is_err());
    let mut refused = Wire::new(ours);
    refused.read();
    let (object, code, message) = refused.error.clone().unwrap();
    assert_eq!((object, code), (DISPLAY, NO_MEMORY));
    assert!(message.contains("--limit connections="), "{message}");
    // When one client has disconnected, another one can connect.
    wires.pop();
    let first = &mut wires[0];
    for _ in 0..3 {
        fixture.round_trip_wire(first);
    }
    fixture.wire();
}

#[test]
fn only_the_client_whose_surfaces_cover_the_output_too_many_times_is_disconnected() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    let (compositor, subcompositor) = (objects.of("wl_compositor"), objects.of("wl_subcompositor"));
    let window = objects.of("wl_surface");
    let pool = make_pool(&mut wire, objects.of("wl_shm"), 64 * 48 * 4);
    // The buffer is ARGB8888, so that a surface does not hide the surfaces below it.
    let buffer = wire.make(pool, 0, &[0, 64, 48, 256, 0].map(Arg::Word));
    let add = |fixture: &mut Fixture, wire: &mut Wire| {
        let child = wire.make(compositor, 0, &[]);
        let role = wire.make(subcompositor, 1, &[child, window].map(Arg::Word));
        wire.send(role, 1, &[-24, -16].map(Arg::from));
        wire.send(child, 1, &[buffer, 0, 0].map(Arg::Word));
        wire.send(child, 6, &[]);
        wire.send(window, 6, &[]);
        fixture.displayed_frame(wire);
    };
    for _ in 0..15 {
        add(&mut fixture, &mut wire);
        assert_eq!(wire.error, None);
    }
    for _ in 0..3 {
        if !wire.closed {
            add(&mut fixture, &mut wire);
        }
    }
    let (_, code, message) = wire.error.clone().unwrap();
    assert_eq!(code, NO_MEMORY);
    assert!(message.contains("--limit frame-pixels="), "{message}");
    fixture.round_trip(&mut other);
    assert!(!other.events.closed);
}

#[test]
fn crossing_opaque_regions_do_not_slow_frames() {
    let mut fixture = Fixture::new(640, 480);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    let (compositor, subcompositor) = (objects.of("wl_compositor"), objects.of("wl_subcompositor"));
    let window = objects.of("wl_surface");
    let pool = make_pool(&mut wire, objects.of("wl_shm"), 256 * 256 * 4);
    let buffer = wire.make(pool, 0, &[0, 256, 256, 1024, 0].map(Arg::Word));
    for child in 0..12 {
        // 30 columns and 30 rows of rectangles cross at 900 positions.
        let region = wire.make(compositor, 1, &[]);
        for place in 0..30 {
            let (start, thickness) = (place * 8 + child % 7, 1);
            wire.send(region, 1, &[start, 0, thickness, 256].map(Arg::Word));
            wire.send(region, 1, &[0, start, 256, thickness].map(Arg::Word));
        }
        let surface = wire.make(compositor, 0, &[]);
        wire.make(subcompositor, 1, &[surface, window].map(Arg::Word));
        wire.send(surface, 1, &[buffer, 0, 0].map(Arg::Word));
        wire.send(surface, 4, &[region.into()]);
        wire.send(surface, 6, &[]);
    }
    wire.send(window, 6, &[]);
    let start = Instant::now();
    fixture.displayed_frame(&mut wire);
    fixture.round_trip(&mut other);
    assert_eq!(wire.error, None);
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
}
