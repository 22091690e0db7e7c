//! Security contexts, the privileged protocols that their clients do not see, and the list of windows.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::App;
use crate::fixture::wire::{Event, Wire, message};
use crate::fixture::{Fixture, memfd};

/// The globals that a client of a security context does not see.
const PRIVILEGED: [&str; 9] = [
    "ext_data_control_manager_v1",
    "ext_foreign_toplevel_list_v1",
    "ext_image_copy_capture_manager_v1",
    "ext_output_image_capture_source_manager_v1",
    "ext_session_lock_manager_v1",
    "wp_security_context_manager_v1",
    "zwlr_data_control_manager_v1",
    "zwlr_layer_shell_v1",
    "zwlr_screencopy_manager_v1",
];

/// Requests of `wp_security_context_v1`.
const SET_ENGINE: u32 = 1;
const COMMIT: u32 = 4;

/// Creates a context, which is not committed yet.
fn create_context(wire: &mut Wire, listening: impl AsFd, closing: impl AsFd) -> u32 {
    let manager = wire.bind("wp_security_context_manager_v1");
    let context = wire.new_id();
    wire.send_bytes(
        &message(manager, 1, &[context.into()]),
        &[listening.as_fd(), closing.as_fd()],
    );
    context
}

#[test]
fn client_of_a_security_context_sees_no_privileged_global() {
    let mut fixture = Fixture::desktop();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let (closing, close) = rustix::pipe::pipe().unwrap();
    let mut engine = fixture.wire();
    for name in PRIVILEGED {
        assert!(engine.globals.contains_key(name), "{name}");
    }
    let context = create_context(&mut engine, &listener, &closing);
    drop((listener, closing));
    engine.send(context, SET_ENGINE, &["org.example".into()]);
    engine.send(context, COMMIT, &[]);
    fixture.round_trip_wire(&mut engine);
    // The context remains when its creator disconnects.
    assert_eq!(engine.error, None);
    let all = engine.globals.len();
    drop(engine);
    let mut inside = Wire::new(UnixStream::connect(&path).unwrap());
    fixture.round_trip_wire(&mut inside);
    for name in PRIVILEGED {
        assert!(!inside.globals.contains_key(name), "{name}");
    }
    assert_eq!(inside.globals.len(), all - PRIVILEGED.len());
    // A global that is not advertised cannot be bound by its number either.
    let seen: Vec<u32> = inside.globals.values().map(|(name, _)| *name).collect();
    let hidden = (1..64).find(|name| !seen.contains(name)).unwrap();
    let id = inside.new_id();
    inside.bind_raw(&[hidden.into(), PRIVILEGED[0].into(), 1.into(), id.into()]);
    fixture.round_trip_wire(&mut inside);
    assert!(inside.error.is_some());
    drop(close);
    let deadline = Instant::now() + Duration::from_secs(10);
    while UnixStream::connect(&path).is_ok() {
        assert!(Instant::now() < deadline, "the context still listens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn security_context_with_invalid_requests_is_a_protocol_error() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let (closing, _close) = rustix::pipe::pipe().unwrap();
    let (connected, _other) = UnixStream::pair().unwrap();
    let mut fixture = Fixture::desktop();
    for file in [
        memfd(&[0; 16]),
        connected.into(),
        closing.try_clone().unwrap(),
    ] {
        let mut wire = fixture.wire();
        create_context(&mut wire, &file, &closing);
        fixture.round_trip_wire(&mut wire);
        assert_eq!(wire.error.map(|error| error.1), Some(1));
    }
    let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
    let mut wire = fixture.wire();
    create_context(&mut wire, &listener, &event);
    fixture.round_trip_wire(&mut wire);
    assert_eq!(wire.error.map(|error| error.1), Some(1));
    for (requests, code) in [
        (vec![SET_ENGINE, SET_ENGINE], 2),
        (vec![COMMIT, COMMIT], 1),
        (vec![COMMIT, SET_ENGINE], 1),
    ] {
        let mut wire = fixture.wire();
        let context = create_context(&mut wire, &listener, &closing);
        for request in requests {
            if request == COMMIT {
                wire.send(context, request, &[]);
            } else {
                wire.send(context, request, &["org.example".into()]);
            }
        }
        fixture.round_trip_wire(&mut wire);
        let error = wire.error.map(|error| (error.0, error.1));
        assert_eq!(error, Some((context, code)));
    }
}

#[test]
fn client_with_too_many_security_contexts_is_disconnected() {
    let folder = tempfile::tempdir().unwrap();
    let (closing, _close) = rustix::pipe::pipe().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let mut fixture = Fixture::desktop();
    let mut wire = fixture.wire();
    for _ in 0..65 {
        let context = create_context(&mut wire, &listener, &closing);
        wire.send(context, COMMIT, &[]);
        wire.send(context, 0, &[]);
        fixture.round_trip_wire(&mut wire);
    }
    let (_, _, text) = wire.error.unwrap();
    assert!(text.contains("--limit security-contexts"), "{text}");
}

/// Returns the text of an event that has only a string.
fn text(event: &Event) -> String {
    let length = usize::try_from(event.word(0)).unwrap() - 1;
    String::from_utf8_lossy(&event.body[4..4 + length]).into_owned()
}

/// A client that lists the windows.
struct Lister {
    wire: Wire,
    list: u32,
}

impl Lister {
    fn new(fixture: &mut Fixture) -> Self {
        let mut wire = fixture.wire();
        let list = wire.bind("ext_foreign_toplevel_list_v1");
        fixture.round_trip_wire(&mut wire);
        Self { wire, list }
    }

    fn handles(&self) -> Vec<u32> {
        let events = self.wire.events_of(self.list, 0);
        events.iter().map(|event| event.word(0)).collect()
    }

    /// Returns the last title of a window.
    fn title(&self, handle: u32) -> String {
        text(self.wire.events_of(handle, 2).last().unwrap())
    }

    #[track_caller]
    fn until(&mut self, fixture: &mut Fixture, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(self) {
            assert!(Instant::now() < deadline, "the list was not updated");
            fixture.step_wire(&mut self.wire);
        }
    }
}

#[test]
fn list_has_the_mapped_windows_with_their_titles() {
    let mut fixture = Fixture::desktop();
    let mut first = App::new(&mut fixture, "first", (100, 80));
    let mut lister = Lister::new(&mut fixture);
    let handles = lister.handles();
    assert_eq!(handles.len(), 1);
    assert_eq!(lister.title(handles[0]), "first");
    let mut second = App::new(&mut fixture, "second", (100, 80));
    lister.until(&mut fixture, |lister| lister.handles().len() == 2);
    let handles = lister.handles();
    assert_eq!(lister.title(handles[1]), "second");
    let identifiers: Vec<String> = handles
        .iter()
        .map(|handle| text(lister.wire.events_of(*handle, 4)[0]))
        .collect();
    assert!(identifiers[0] != identifiers[1] && identifiers[0].len() <= 32);
    // Changes are collected, so the list gets few of them and always the last.
    for number in 0..200 {
        let title = format!("title {number}");
        first.wire.send(first.toplevel, 2, &[title.as_str().into()]);
        first.sync(&mut fixture);
    }
    lister.until(&mut fixture, |lister| {
        lister.title(handles[0]) == "title 199"
    });
    assert!(lister.wire.events_of(handles[0], 2).len() < 100);
    // A window that is unmapped is closed, and one that is mapped again is another window.
    second.wire.send(
        second.surface,
        1,
        &[0, 0, 0].map(crate::fixture::wire::Arg::Word),
    );
    second.wire.send(second.surface, 6, &[]);
    second.wire.send(second.surface, 6, &[]);
    second.sync(&mut fixture);
    lister.until(&mut fixture, |lister| {
        lister.wire.events_of(handles[1], 0).len() == 1
    });
    second.show(&mut fixture, (100, 80));
    lister.until(&mut fixture, |lister| lister.handles().len() == 3);
    drop(first);
    lister.until(&mut fixture, |lister| {
        lister.wire.events_of(handles[0], 0).len() == 1
    });
    assert_eq!(lister.wire.error, None);
}

#[test]
fn list_that_was_stopped_gets_no_more_windows() {
    let mut fixture = Fixture::desktop();
    let mut lister = Lister::new(&mut fixture);
    for _ in 0..2 {
        lister.wire.send(lister.list, 0, &[]);
    }
    fixture.round_trip_wire(&mut lister.wire);
    assert_eq!(lister.wire.events_of(lister.list, 1).len(), 1);
    App::new(&mut fixture, "window", (100, 80));
    std::thread::sleep(Duration::from_millis(120));
    fixture.round_trip_wire(&mut lister.wire);
    fixture.round_trip_wire(&mut lister.wire);
    assert_eq!(lister.handles(), Vec::<u32>::new());
    lister.wire.send(lister.list, 1, &[]);
    fixture.round_trip_wire(&mut lister.wire);
    assert_eq!(lister.wire.error, None);
    assert_eq!(fixture.state.toplevel_list.handle_count(), 0);
}
