//! Tests that only mapped windows get keyboard focus, pointer focus and the selection.

use smithay::backend::input::{ButtonState, KeyState};
use smithay::input::keyboard::Keycode;

use crate::fixture::Fixture;
use crate::fixture::objects::{Objects, make_pool, map};
use crate::fixture::wire::{Arg, Wire};

/// Event opcodes of `wl_keyboard`, `wl_pointer` and `wl_data_device`.
const KEYBOARD_ENTER: u32 = 1;
const KEYBOARD_LEAVE: u32 = 2;
const POINTER_ENTER: u32 = 0;
const POINTER_LEAVE: u32 = 1;
const SELECTION: u32 = 5;
/// The event opcodes of `wl_keyboard.key` and `wl_pointer.button`.
const KEY: u32 = 3;
const BUTTON: u32 = 3;
/// The key code of A in xkb, and the button code of the left button.
const KEY_A: u32 = 38;
const LEFT_BUTTON: u32 = 0x110;

/// A client with an unmapped window that tries to receive other clients' input.
struct Observer {
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

impl Observer {
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
        fixture.round_trip_wire(&mut wire);
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
        fixture.round_trip_wire(&mut self.wire);
    }

    /// Returns the numbers of received keyboard enter, pointer enter and selection events.
    fn input_events(&self) -> (usize, usize, usize) {
        let of = |object, opcode| self.wire.events_of(object, opcode).len();
        (
            of(self.keyboard, KEYBOARD_ENTER),
            of(self.pointer, POINTER_ENTER),
            of(self.device, SELECTION),
        )
    }
}

/// Connects a client with a focused window and a selection.
fn focused_client(fixture: &mut Fixture) -> (Wire, Objects) {
    let mut wire = fixture.wire();
    let objects = Objects::make(fixture, &mut wire);
    let (device, source) = (objects.of("wl_data_device"), objects.of("wl_data_source"));
    let serial = press_key(fixture, &mut wire, objects.of("wl_keyboard"));
    wire.send(source, 0, &["text/plain".into()]);
    wire.send(device, 1, &[source, serial].map(Arg::Word));
    fixture.state.point_at((32.0, 24.0).into(), 0);
    fixture.round_trip_wire(&mut wire);
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 0));
    (wire, objects)
}

/// Presses and releases a key. Returns the serial of the key press event, which the focused client received.
fn press_key(fixture: &mut Fixture, wire: &mut Wire, keyboard: u32) -> u32 {
    let before = wire.events_of(keyboard, KEY).len();
    for key_state in [KeyState::Pressed, KeyState::Released] {
        fixture.state.key_event(Keycode::new(KEY_A), key_state, 0);
    }
    fixture.round_trip_wire(wire);
    wire.events_of(keyboard, KEY)[before].word(0)
}

fn enters_and_leaves(wire: &Wire, objects: &Objects) -> (usize, usize) {
    let keyboard = objects.of("wl_keyboard");
    (
        wire.events_of(keyboard, KEYBOARD_ENTER).len(),
        wire.events_of(keyboard, KEYBOARD_LEAVE).len(),
    )
}

#[test]
fn window_that_was_never_mapped_gets_neither_input_nor_selection() {
    type Attempt = fn(&mut Observer);
    let attempts: [Attempt; 6] = [
        |_| {},
        |observer| observer.wire.send(observer.surface, 6, &[]),
        |observer| observer.wire.send(observer.toplevel, 11, &[0.into()]),
        |observer| observer.wire.send(observer.toplevel, 9, &[]),
        |observer| {
            let role = observer.wire.make(observer.compositor, 0, &[]);
            let other = observer.wire.make(observer.shell, 2, &[role.into()]);
            observer.wire.make(other, 1, &[]);
            observer.wire.send(role, 6, &[]);
        },
        |observer| {
            // The subsurface has content, but its parent has none, so both are unmapped.
            let parent = observer.wire.bind("wl_subcompositor");
            let child = observer.wire.make(observer.compositor, 0, &[]);
            let role = observer
                .wire
                .make(parent, 1, &[child.into(), observer.surface.into()]);
            observer.wire.send(role, 5, &[]);
            observer
                .wire
                .send(child, 1, &[observer.buffer, 0, 0].map(Arg::Word));
            observer.wire.send(child, 6, &[]);
            observer.wire.send(observer.surface, 6, &[]);
        },
    ];
    for (number, attempt) in attempts.into_iter().enumerate() {
        let mut fixture = Fixture::new(64, 48);
        let (mut wire, objects) = focused_client(&mut fixture);
        let mut observer = Observer::new(&mut fixture);
        attempt(&mut observer);
        fixture.round_trip_wire(&mut observer.wire);
        fixture.state.point_at((31.0, 24.0).into(), 0);
        fixture.round_trip_wire(&mut wire);
        fixture.round_trip_wire(&mut observer.wire);
        assert_eq!(observer.wire.error, None, "attempt {number}");
        assert_eq!(observer.input_events(), (0, 0, 0), "attempt {number}");
        assert_eq!(
            enters_and_leaves(&wire, &objects),
            (1, 0),
            "attempt {number}"
        );
    }
}

#[test]
fn popup_grab_does_not_change_the_focus_of_another_client() {
    let mut fixture = Fixture::new(64, 48);
    let (mut wire, objects) = focused_client(&mut fixture);
    let mut observer = Observer::new(&mut fixture);
    let seat = observer.wire.bind("wl_seat");
    let positioner = observer.wire.make(observer.shell, 1, &[]);
    observer.wire.send(positioner, 1, &[8.into(), 8.into()]);
    observer
        .wire
        .send(positioner, 2, &[0, 0, 16, 16].map(Arg::Word));
    let surface = observer.wire.make(observer.compositor, 0, &[]);
    let role = observer.wire.make(observer.shell, 2, &[surface.into()]);
    let parent = [observer.role.into(), positioner.into()];
    let popup = observer.wire.make(role, 2, &parent);
    for serial in 0..32 {
        observer.wire.send(popup, 1, &[seat, serial].map(Arg::Word));
    }
    observer.wire.send(surface, 6, &[]);
    fixture.round_trip_wire(&mut observer.wire);
    fixture.round_trip_wire(&mut wire);
    assert_eq!(observer.input_events(), (0, 0, 0));
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 0));
}

#[test]
fn selection_needs_the_serial_of_a_key_or_button_of_its_client() {
    let mut fixture = Fixture::new(64, 48);
    let mut wire = fixture.wire();
    let objects = Objects::make(&mut fixture, &mut wire);
    let (device, manager) = (
        objects.of("wl_data_device"),
        objects.of("wl_data_device_manager"),
    );
    let mut selections = 0;
    let mut try_serial = |fixture: &mut Fixture, wire: &mut Wire, serial: u32| {
        let source = wire.make(manager, 0, &[]);
        wire.send(source, 0, &["text/plain".into()]);
        wire.send(device, 1, &[source, serial].map(Arg::Word));
        fixture.round_trip_wire(wire);
        let count = wire.events_of(device, SELECTION).len();
        std::mem::replace(&mut selections, count) < count
    };
    fixture.round_trip_wire(&mut wire);
    try_serial(&mut fixture, &mut wire, 0);
    // The client has got keyboard focus without a key or button press.
    let enter = wire.events_of(objects.of("wl_keyboard"), KEYBOARD_ENTER)[0].word(0);
    for serial in (0..64).chain([enter, u32::MAX]) {
        assert!(!try_serial(&mut fixture, &mut wire, serial), "{serial}");
    }
    let key = press_key(&mut fixture, &mut wire, objects.of("wl_keyboard"));
    assert!(try_serial(&mut fixture, &mut wire, key));
    fixture.state.point_at((32.0, 24.0).into(), 0);
    for button_state in [ButtonState::Pressed, ButtonState::Released] {
        fixture.state.button_event(LEFT_BUTTON, button_state, 0);
    }
    fixture.round_trip_wire(&mut wire);
    let button = wire.events_of(objects.of("wl_pointer"), BUTTON)[0].word(0);
    assert!(try_serial(&mut fixture, &mut wire, button));
    assert_eq!(wire.error, None);
}

/// Creates an activation token with a serial, and returns the token.
fn create_token(fixture: &mut Fixture, wire: &mut Wire, serial: Option<u32>) -> String {
    let (activation, seat) = (wire.bind("xdg_activation_v1"), wire.bind("wl_seat"));
    let token = wire.make(activation, 1, &[]);
    if let Some(serial) = serial {
        wire.send(token, 0, &[serial, seat].map(Arg::Word));
    }
    wire.send(token, 3, &[]);
    fixture.round_trip_wire(wire);
    let done = wire.events_of(token, 0)[0];
    // The length includes the terminating zero byte. Padding follows.
    let length = usize::try_from(done.word(0)).unwrap() - 1;
    String::from_utf8_lossy(&done.body[4..4 + length]).into_owned()
}

#[test]
fn window_is_activated_by_a_token_of_a_user_act_alone_and_once() {
    let mut fixture = Fixture::new(64, 48);
    let (mut wire, objects) = focused_client(&mut fixture);
    let mut observer = Observer::new(&mut fixture);
    observer.map(&mut fixture);
    fixture.round_trip_wire(&mut wire);
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 1));
    let act = press_key(&mut fixture, &mut observer.wire, observer.keyboard);
    // The serial of the observer's key press is not valid in a request of the other client.
    let mut invalid = vec![create_token(&mut fixture, &mut wire, None)];
    invalid.push(create_token(&mut fixture, &mut wire, Some(act)));
    invalid.push("guessed".to_owned());
    let activation = wire.bind("xdg_activation_v1");
    let surface = objects.of("wl_surface");
    for token in invalid {
        wire.send(activation, 2, &[token.as_str().into(), surface.into()]);
        fixture.round_trip_wire(&mut wire);
        assert_eq!(enters_and_leaves(&wire, &objects), (1, 1), "{token}");
    }
    let token = create_token(&mut fixture, &mut observer.wire, Some(act));
    wire.send(activation, 2, &[token.as_str().into(), surface.into()]);
    fixture.round_trip_wire(&mut wire);
    assert_eq!(enters_and_leaves(&wire, &objects), (2, 1));
    let own = create_token(&mut fixture, &mut observer.wire, Some(act));
    let observer_activation = observer.wire.bind("xdg_activation_v1");
    for _ in 0..2 {
        let arguments = [own.as_str().into(), observer.surface.into()];
        observer.wire.send(observer_activation, 2, &arguments);
        fixture.round_trip_wire(&mut observer.wire);
    }
    fixture.round_trip_wire(&mut wire);
    assert_eq!(enters_and_leaves(&wire, &objects), (2, 2));
    wire.send(activation, 2, &[token.as_str().into(), surface.into()]);
    fixture.round_trip_wire(&mut wire);
    assert_eq!(enters_and_leaves(&wire, &objects), (2, 2), "used before");
    assert_eq!((wire.error, observer.wire.error), (None, None));
}

#[test]
fn window_that_is_outside_of_the_output_gets_no_keyboard_focus() {
    let mut fixture = Fixture::new(64, 48);
    let (mut wire, objects) = focused_client(&mut fixture);
    let mut observer = Observer::new(&mut fixture);
    // The compositor positions the window geometry. A geometry that is far from the content moves the content out of the output.
    let far = [1000, 1000, 10, 10].map(Arg::from);
    observer.wire.send(observer.role, 3, &far);
    observer.map(&mut fixture);
    fixture.displayed_frame(&mut wire);
    fixture.round_trip_wire(&mut observer.wire);
    assert_eq!(observer.input_events().0, 0);
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 0));
    // A window that is visible at first loses keyboard focus when its content moves out of the output.
    let near = [0, 0, 64, 48].map(Arg::from);
    for (geometry, expected) in [(near, (1, 1)), (far, (2, 1))] {
        observer.wire.send(observer.role, 3, &geometry);
        observer.wire.send(observer.surface, 6, &[]);
        fixture.round_trip_wire(&mut observer.wire);
        fixture.displayed_frame(&mut wire);
        assert_eq!(enters_and_leaves(&wire, &objects), expected);
    }
}

#[test]
fn selection_and_cursor_of_a_client_without_focus_are_ignored() {
    let mut fixture = Fixture::new(64, 48);
    let (mut wire, objects) = focused_client(&mut fixture);
    let device = objects.of("wl_data_device");
    let selections = wire.events_of(device, SELECTION).len();
    let mut observer = Observer::new(&mut fixture);
    let manager = observer.wire.bind("wl_data_device_manager");
    let source = observer.wire.make(manager, 0, &[]);
    let icon = observer.wire.make(observer.compositor, 0, &[]);
    observer.wire.send(source, 0, &["text/plain".into()]);
    for serial in 0..64 {
        observer
            .wire
            .send(observer.device, 1, &[source, serial].map(Arg::Word));
        let drag = [source, observer.surface, 0, serial].map(Arg::Word);
        observer.wire.send(observer.device, 0, &drag);
        let cursor = [serial, icon, 0, 0].map(Arg::Word);
        observer.wire.send(observer.pointer, 0, &cursor);
    }
    fixture.round_trip_wire(&mut observer.wire);
    fixture.round_trip_wire(&mut wire);
    assert_eq!(wire.events_of(device, SELECTION).len(), selections);
    assert_eq!(enters_and_leaves(&wire, &objects), (1, 0));
    assert_eq!(observer.input_events(), (0, 0, 0));
}

/// A way to unmap a window.
type UnmapMethod = fn(&mut Observer, &mut Fixture);

const UNMAP_METHODS: [(&str, UnmapMethod); 4] = [
    ("a commit without a buffer", |observer, fixture| {
        observer.unmap(fixture);
    }),
    ("the destruction of its role", |observer, _| {
        observer.wire.send(observer.toplevel, 0, &[]);
    }),
    ("the destruction of its surface", |observer, _| {
        observer.wire.send(observer.surface, 0, &[]);
    }),
    ("the disconnection of its client", |observer, _| {
        observer
            .wire
            .stream
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
    }),
];

#[test]
fn keyboard_focus_moves_to_a_mapped_window_and_back_when_it_is_unmapped() {
    for (what, unmap_window) in UNMAP_METHODS {
        let mut fixture = Fixture::new(64, 48);
        let (mut wire, objects) = focused_client(&mut fixture);
        let mut observer = Observer::new(&mut fixture);
        observer.map(&mut fixture);
        fixture.round_trip_wire(&mut wire);
        assert_eq!(observer.input_events().0, 1, "{what}");
        assert!(
            observer.input_events().2 >= 1,
            "the client with keyboard focus receives the selection"
        );
        assert_eq!(enters_and_leaves(&wire, &objects), (1, 1), "{what}");
        unmap_window(&mut observer, &mut fixture);
        fixture.round_trip_wire(&mut observer.wire);
        for _ in 0..3 {
            fixture.round_trip_wire(&mut wire);
        }
        assert_eq!(enters_and_leaves(&wire, &objects), (2, 1), "{what}");
    }
}

#[test]
fn pointer_focus_leaves_an_unmapped_window_without_motion() {
    for (what, unmap_window) in UNMAP_METHODS {
        let mut fixture = Fixture::new(64, 48);
        let (mut wire, objects) = focused_client(&mut fixture);
        let pointer = objects.of("wl_pointer");
        let mut observer = Observer::new(&mut fixture);
        observer.map(&mut fixture);
        fixture.state.point_at((30.0, 24.0).into(), 0);
        fixture.round_trip_wire(&mut observer.wire);
        fixture.round_trip_wire(&mut wire);
        assert_eq!(observer.input_events().1, 1, "{what}");
        assert_eq!(wire.events_of(pointer, POINTER_LEAVE).len(), 1, "{what}");
        let before = wire.events_of(pointer, POINTER_ENTER).len();
        unmap_window(&mut observer, &mut fixture);
        fixture.round_trip_wire(&mut observer.wire);
        for _ in 0..3 {
            fixture.round_trip_wire(&mut wire);
        }
        let enters = wire.events_of(pointer, POINTER_ENTER).len();
        assert_eq!(enters, before + 1, "{what}");
    }
}

#[test]
fn unmapped_window_is_configured_again_before_it_is_mapped_again() {
    let mut fixture = Fixture::new(64, 48);
    let mut observer = Observer::new(&mut fixture);
    observer.map(&mut fixture);
    observer.unmap(&mut fixture);
    let configured = observer.wire.events_of(observer.role, 0).len();
    observer.wire.send(observer.surface, 6, &[]);
    fixture.round_trip_wire(&mut observer.wire);
    assert_eq!(
        observer.wire.events_of(observer.role, 0).len(),
        configured + 1
    );
    observer.map(&mut fixture);
    assert_eq!(
        (observer.input_events().0, observer.wire.error.clone()),
        (2, None)
    );
}
