//! Clients that create very many objects.

use std::time::{Duration, Instant};

use crate::fixture::Fixture;
use crate::fixture::objects::Objects;
use crate::fixture::wire::{Arg, DISPLAY};

/// The longest time for one of these clients, also in a debug build on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(3);

/// `wl_display.error.no_memory`.
const NO_MEMORY: u32 = 2;
/// `wl_subcompositor.error.bad_parent`.
const BAD_PARENT: u32 = 1;

#[test]
fn very_many_feedback_objects_are_destroyed_quickly() {
    let mut fixture = Fixture::new(64, 48);
    let mut other = fixture.client();
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    let (dmabuf, surface) = (objects.of("zwp_linux_dmabuf_v1"), objects.of("wl_surface"));
    for number in 0..20_000 {
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
    // The tree is built from the window down, or from the innermost surface up.
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
