//! Who has the keyboard, the pointer and the selection: what is shown, and nothing that is not.

use crate::fixture::Fixture;
use crate::fixture::objects::{Objects, make_pool, map};
use crate::fixture::wire::{Arg, Wire};

/// Events of `wl_keyboard`, `wl_pointer` and `wl_data_device`.
const KEYBOARD_ENTER: u32 = 1;
const KEYBOARD_LEAVE: u32 = 2;
const POINTER_ENTER: u32 = 0;
const POINTER_LEAVE: u32 = 1;
const SELECTION: u32 = 5;

/// A client with a window that is not mapped, and with everything that would tell it of the others' input.
struct Spy {
    wire: Wire,
    compositor: u32,
    shell: u32,
    keyboard: u32,
    pointer: u32,
    device: u32,
    surface: u32,
    role: u32,
    toplevel: u32,
    buffer: u32,
}

impl Spy {
    fn new(fixture: &mut Fixture) -> Self {
        let mut wire = fixture.wire();
        let compositor = wire.bind("wl_compositor");
        let shell = wire.bind("xdg_wm_base");
        let shm = wire.bind("wl_shm");
        let seat = wire.bind("wl_seat");
        let manager = wire.bind("wl_data_device_manager");
        let pointer = wire.make(seat, 0, &[]);
        let keyboard = wire.make(seat, 1, &[]);
        let device = wire.make(manager, 1, &[seat.into()]);
        let pool = make_pool(&mut wire, shm, 64 * 64 * 4);
        let buffer = wire.make(pool, 0, &[0, 64, 48, 256, 1].map(Arg::Word));
        let surface = wire.make(compositor, 0, &[]);
        let role = wire.make(shell, 2, &[surface.into()]);
        let toplevel = wire.make(role, 1, &[]);
        wire.send(surface, 6, &[]);
        fixture.settle(&mut wire);
        Self {
            wire,
            compositor,
            shell,
            keyboard,
            pointer,
            device,
            surface,
            role,
            toplevel,
            buffer,
        }
    }

    fn map(&mut self, fixture: &mut Fixture) {
        let Self {
            surface,
            role,
            buffer,
            ..
        } = *self;
        map(fixture, &mut self.wire, surface, role, buffer);
    }

    fn unmap(&mut self, fixture: &mut Fixture) {
        self.wire.send(self.surface, 1, &[0, 0, 0].map(Arg::Word));
        self.wire.send(self.surface, 6, &[]);
        fixture.settle(&mut self.wire);
    }

    /// Counts what it was told of input: keyboards, pointers and selections.
    fn told(&self) -> (usize, usize, usize) {
        let of = |object, opcode| self.wire.events_of(object, opcode).len();
        (
            of(self.keyboard, KEYBOARD_ENTER),
            of(self.pointer, POINTER_ENTER),
            of(self.device, SELECTION),
        )
    }
}

/// The client that is typed into, with a window and a selection.
fn victim(fixture: &mut Fixture) -> (Wire, Objects) {
    let mut wire = fixture.wire();
    let objects = Objects::make(fixture, &mut wire);
    let (device, source) = (objects.of("wl_data_device"), objects.of("wl_data_source"));
    wire.send(source, 0, &["text/plain".into()]);
    wire.send(device, 1, &[source.into(), 1.into()]);
    fixture.state.point_at((32.0, 24.0).into(), 0);
    fixture.settle(&mut wire);
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 0));
    (wire, objects)
}

fn enters_and_leaves(wire: &Wire, objects: &Objects) -> (usize, usize) {
    let keyboard = objects.of("wl_keyboard");
    (
        wire.events_of(keyboard, KEYBOARD_ENTER).len(),
        wire.events_of(keyboard, KEYBOARD_LEAVE).len(),
    )
}

#[test]
fn window_that_was_never_mapped_gets_no_input_and_no_selection() {
    type Try = fn(&mut Spy);
    let tries: [Try; 6] = [
        |_| {},
        |spy| spy.wire.send(spy.surface, 6, &[]),
        |spy| spy.wire.send(spy.toplevel, 11, &[0.into()]),
        |spy| spy.wire.send(spy.toplevel, 9, &[]),
        |spy| {
            let role = spy.wire.make(spy.compositor, 0, &[]);
            let other = spy.wire.make(spy.shell, 2, &[role.into()]);
            spy.wire.make(other, 1, &[]);
            spy.wire.send(role, 6, &[]);
        },
        |spy| {
            // The child has content, the window has none.
            let parent = spy.wire.bind("wl_subcompositor");
            let child = spy.wire.make(spy.compositor, 0, &[]);
            let role = spy
                .wire
                .make(parent, 1, &[child.into(), spy.surface.into()]);
            spy.wire.send(role, 5, &[]);
            spy.wire.send(child, 1, &[spy.buffer, 0, 0].map(Arg::Word));
            spy.wire.send(child, 6, &[]);
            spy.wire.send(spy.surface, 6, &[]);
        },
    ];
    for (number, attempt) in tries.into_iter().enumerate() {
        let mut fixture = Fixture::new(64, 48);
        let (mut wire, objects) = victim(&mut fixture);
        let mut spy = Spy::new(&mut fixture);
        attempt(&mut spy);
        fixture.settle(&mut spy.wire);
        fixture.state.point_at((31.0, 24.0).into(), 0);
        fixture.settle(&mut wire);
        fixture.settle(&mut spy.wire);
        assert_eq!(spy.wire.error, None, "attempt {number}");
        assert_eq!(spy.told(), (0, 0, 0), "attempt {number}");
        assert_eq!(
            enters_and_leaves(&wire, &objects),
            (1, 0),
            "attempt {number}"
        );
    }
}

#[test]
fn popup_that_grabs_takes_nothing_from_another_client() {
    let mut fixture = Fixture::new(64, 48);
    let (mut wire, objects) = victim(&mut fixture);
    let mut spy = Spy::new(&mut fixture);
    let seat = spy.wire.bind("wl_seat");
    let positioner = spy.wire.make(spy.shell, 1, &[]);
    spy.wire.send(positioner, 1, &[8.into(), 8.into()]);
    spy.wire.send(positioner, 2, &[0, 0, 16, 16].map(Arg::Word));
    let surface = spy.wire.make(spy.compositor, 0, &[]);
    let role = spy.wire.make(spy.shell, 2, &[surface.into()]);
    let parent = [spy.role.into(), positioner.into()];
    let popup = spy.wire.make(role, 2, &parent);
    for serial in 0..32 {
        spy.wire.send(popup, 1, &[seat, serial].map(Arg::Word));
    }
    spy.wire.send(surface, 6, &[]);
    fixture.settle(&mut spy.wire);
    fixture.settle(&mut wire);
    assert_eq!(spy.told(), (0, 0, 0));
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 0));
}

#[test]
fn selection_and_cursor_of_a_client_without_focus_are_not_taken() {
    let mut fixture = Fixture::new(64, 48);
    let (mut wire, objects) = victim(&mut fixture);
    let device = objects.of("wl_data_device");
    let selections = wire.events_of(device, SELECTION).len();
    let mut spy = Spy::new(&mut fixture);
    let manager = spy.wire.bind("wl_data_device_manager");
    let source = spy.wire.make(manager, 0, &[]);
    let icon = spy.wire.make(spy.compositor, 0, &[]);
    spy.wire.send(source, 0, &["text/plain".into()]);
    for serial in 0..64 {
        spy.wire
            .send(spy.device, 1, &[source, serial].map(Arg::Word));
        let drag = [source, spy.surface, 0, serial].map(Arg::Word);
        spy.wire.send(spy.device, 0, &drag);
        let cursor = [serial, icon, 0, 0].map(Arg::Word);
        spy.wire.send(spy.pointer, 0, &cursor);
    }
    fixture.settle(&mut spy.wire);
    fixture.settle(&mut wire);
    assert_eq!(wire.events_of(device, SELECTION).len(), selections);
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 0));
    assert_eq!(spy.told(), (0, 0, 0));
}

/// The ways in which a window goes.
type End = fn(&mut Spy, &mut Fixture);

const ENDS: [(&str, End); 4] = [
    ("a commit without a buffer", |spy, fixture| {
        spy.unmap(fixture);
    }),
    ("the end of its role", |spy, _| {
        spy.wire.send(spy.toplevel, 0, &[]);
    }),
    ("the end of its surface", |spy, _| {
        spy.wire.send(spy.surface, 0, &[]);
    }),
    ("the end of its client", |spy, _| {
        spy.wire.stream.shutdown(std::net::Shutdown::Both).unwrap();
    }),
];

#[test]
fn keyboard_goes_to_a_window_that_is_mapped_and_back_when_it_goes() {
    for (what, end) in ENDS {
        let mut fixture = Fixture::new(64, 48);
        let (mut wire, objects) = victim(&mut fixture);
        let mut spy = Spy::new(&mut fixture);
        spy.map(&mut fixture);
        fixture.settle(&mut wire);
        assert_eq!(spy.told().0, 1, "{what}");
        assert!(spy.told().2 >= 1, "the selection goes with the keyboard");
        assert_eq!(enters_and_leaves(&wire, &objects), (1, 1), "{what}");
        end(&mut spy, &mut fixture);
        fixture.settle(&mut spy.wire);
        for _ in 0..3 {
            fixture.settle(&mut wire);
        }
        assert_eq!(enters_and_leaves(&wire, &objects), (2, 1), "{what}");
    }
}

#[test]
fn pointer_leaves_a_window_that_goes_though_nobody_moves_it() {
    for (what, end) in ENDS {
        let mut fixture = Fixture::new(64, 48);
        let (mut wire, objects) = victim(&mut fixture);
        let pointer = objects.of("wl_pointer");
        let mut spy = Spy::new(&mut fixture);
        spy.map(&mut fixture);
        fixture.state.point_at((30.0, 24.0).into(), 0);
        fixture.settle(&mut spy.wire);
        fixture.settle(&mut wire);
        assert_eq!(spy.told().1, 1, "{what}");
        assert_eq!(wire.events_of(pointer, POINTER_LEAVE).len(), 1, "{what}");
        let before = wire.events_of(pointer, POINTER_ENTER).len();
        end(&mut spy, &mut fixture);
        fixture.settle(&mut spy.wire);
        for _ in 0..3 {
            fixture.settle(&mut wire);
        }
        let enters = wire.events_of(pointer, POINTER_ENTER).len();
        assert_eq!(enters, before + 1, "{what}");
    }
}

#[test]
fn window_that_was_unmapped_is_configured_anew_and_mapped_again() {
    let mut fixture = Fixture::new(64, 48);
    let mut spy = Spy::new(&mut fixture);
    spy.map(&mut fixture);
    spy.unmap(&mut fixture);
    let configured = spy.wire.events_of(spy.role, 0).len();
    spy.wire.send(spy.surface, 6, &[]);
    fixture.settle(&mut spy.wire);
    assert_eq!(spy.wire.events_of(spy.role, 0).len(), configured + 1);
    spy.map(&mut fixture);
    assert_eq!((spy.told().0, spy.wire.error.clone()), (2, None));
}
