//! The desktop shell: placement, focus, keys, moving and resizing, and popups with grabs.

mod configuration;
mod idle;
mod keys;
mod layer_shell;
mod placement;
mod pointer;
mod popups;
mod sandbox;
mod selections;
mod session_lock;
mod switcher;
mod tablet;
mod touch;
mod window_drag;

use covalent_compositor::region::Rect;
use smithay::backend::input::{ButtonState, KeyState};
use smithay::input::keyboard::Keycode;

use crate::fixture::Fixture;
use crate::fixture::objects::make_pool;
use crate::fixture::wire::{Arg, Wire};

/// The size of the output.
pub const OUTPUT: (u16, u16) = (320, 240);
/// The colour of all windows.
pub const WHITE: u32 = 0xffff_ffff;

/// Keys in the numbering of xkb, and buttons in the numbering of evdev.
pub const ALT: u32 = 64;
pub const SUPER: u32 = 133;
pub const SHIFT: u32 = 50;
pub const TAB: u32 = 23;
pub const LEFT_BUTTON: u32 = 0x110;
pub const RIGHT_BUTTON: u32 = 0x111;

/// States of `xdg_toplevel`.
pub const MAXIMIZED: u32 = 1;
pub const FULLSCREEN: u32 = 2;
pub const RESIZING: u32 = 3;
pub const ACTIVATED: u32 = 4;
pub const TILED_LEFT: u32 = 5;

/// Requests of `xdg_toplevel`.
pub const MOVE: u32 = 5;
pub const RESIZE: u32 = 6;

/// A client with one window.
pub struct App {
    pub wire: Wire,
    pub title: &'static str,
    pub compositor: u32,
    pub shell: u32,
    pub pool: u32,
    pub seat: u32,
    pub pointer: u32,
    pub keyboard: u32,
    pub surface: u32,
    pub role: u32,
    pub toplevel: u32,
    /// The serials of the configure events that were acknowledged.
    acknowledged: Vec<u32>,
}

impl App {
    /// Maps a white window of that size.
    pub fn new(fixture: &mut Fixture, title: &'static str, size: (u32, u32)) -> Self {
        let mut wire = fixture.wire();
        let compositor = wire.bind("wl_compositor");
        let shell = wire.bind("xdg_wm_base");
        let shm = wire.bind("wl_shm");
        let seat = wire.bind("wl_seat");
        let pointer = wire.make(seat, 0, &[]);
        let keyboard = wire.make(seat, 1, &[]);
        let pool = make_pool(&mut wire, shm, 320 * 240 * 4);
        let surface = wire.make(compositor, 0, &[]);
        let role = wire.make(shell, 2, &[surface.into()]);
        let toplevel = wire.make(role, 1, &[]);
        wire.send(toplevel, 2, &[title.into()]);
        wire.send(surface, 6, &[]);
        fixture.round_trip_wire(&mut wire);
        let mut app = Self {
            wire,
            title,
            compositor,
            shell,
            pool,
            seat,
            pointer,
            keyboard,
            surface,
            role,
            toplevel,
            acknowledged: Vec::new(),
        };
        app.show(fixture, size);
        app
    }

    /// Acknowledges the last configure event, and commits a buffer of that size.
    #[track_caller]
    pub fn show(&mut self, fixture: &mut Fixture, size: (u32, u32)) {
        let (surface, role) = (self.surface, self.role);
        self.show_on(fixture, surface, role, size);
    }

    /// Acknowledges the last configure event of a role, and commits a buffer of that size on its surface.
    #[track_caller]
    pub fn show_on(
        &mut self,
        fixture: &mut Fixture,
        surface: u32,
        role: u32,
        (width, height): (u32, u32),
    ) {
        self.acknowledge(role);
        let square = [0, width, height, width * 4, 1].map(Arg::Word);
        let buffer = self.wire.make(self.pool, 0, &square);
        self.wire.send(surface, 1, &[buffer, 0, 0].map(Arg::Word));
        let damage = [0, 0, i32::MAX, i32::MAX].map(Arg::from);
        self.wire.send(surface, 9, &damage);
        self.wire.send(surface, 6, &[]);
        self.sync(fixture);
    }

    /// Acknowledges the last configure event of a role, unless it was acknowledged before.
    pub fn acknowledge(&mut self, role: u32) {
        let last = self
            .wire
            .events_of(role, 0)
            .last()
            .map(|event| event.word(0));
        if let Some(serial) = last.filter(|serial| !self.acknowledged.contains(serial)) {
            self.wire.send(role, 4, &[serial.into()]);
            self.acknowledged.push(serial);
        }
    }

    /// Steps until all requests are handled and all events are read.
    #[track_caller]
    pub fn sync(&mut self, fixture: &mut Fixture) {
        fixture.round_trip_wire(&mut self.wire);
        fixture.round_trip_wire(&mut self.wire);
        assert_eq!(self.wire.error, None);
    }

    /// Returns size and states of the last configure event.
    pub fn configured(&self) -> (u32, u32, Vec<u32>) {
        let events = self.wire.events_of(self.toplevel, 0);
        let last = events.last().unwrap();
        let count = usize::try_from(last.word(2) / 4).unwrap();
        let states = (0..count).map(|index| last.word(3 + index)).collect();
        (last.word(0), last.word(1), states)
    }

    /// Returns whether the last configure event has a state.
    pub fn has_state(&self, state: u32) -> bool {
        self.configured().2.contains(&state)
    }

    /// Returns the number of events of an object with that opcode.
    pub fn count(&self, object: u32, opcode: u32) -> usize {
        self.wire.events_of(object, opcode).len()
    }

    /// Returns the surface with keyboard focus, if it is one of this client.
    pub fn focus(&self) -> Option<u32> {
        let events = self.wire.events.iter().rev();
        let last = events
            .filter(|event| event.object == self.keyboard)
            .find(|event| [1, 2].contains(&event.opcode))?;
        (last.opcode == 1).then(|| last.word(1))
    }

    /// Returns the serial of the last press of a button that the client received.
    pub fn press_serial(&self) -> u32 {
        let buttons = self.wire.events_of(self.pointer, 3);
        let pressed = buttons.iter().rev().find(|event| event.word(3) == 1);
        pressed.unwrap().word(0)
    }

    /// Returns the window on the desktop.
    #[track_caller]
    pub fn rect(&self, fixture: &Fixture) -> Rect {
        let stack = &fixture.state.stack;
        let mut windows = stack.windows().iter();
        let window =
            windows.find(|window| window.title_and_app_id().0.as_deref() == Some(self.title));
        stack.rect(window.unwrap()).unwrap()
    }
}

impl Fixture {
    /// Starts a compositor with an output of the usual size.
    pub fn desktop() -> Self {
        Self::new(OUTPUT.0, OUTPUT.1)
    }

    /// Presses a key.
    pub fn press(&mut self, key: u32) {
        let key = Keycode::new(key);
        self.state.key_event(key, KeyState::Pressed, 0);
    }

    /// Releases a key.
    pub fn release(&mut self, key: u32) {
        let key = Keycode::new(key);
        self.state.key_event(key, KeyState::Released, 0);
    }

    /// Presses keys one after the other, and releases them in the opposite order.
    pub fn chord(&mut self, keys: &[u32]) {
        for key in keys {
            self.press(*key);
        }
        for key in keys.iter().rev() {
            self.release(*key);
        }
    }

    /// Moves the pointer.
    pub fn point(&mut self, x: i32, y: i32) {
        self.state.point_at((f64::from(x), f64::from(y)).into(), 0);
    }

    /// Presses or releases a button.
    pub fn button(&mut self, button: u32, state: ButtonState) {
        self.state.button_event(button, state, 0);
    }

    /// Presses and releases the left button at a point.
    pub fn click(&mut self, x: i32, y: i32) {
        self.point(x, y);
        self.button(LEFT_BUTTON, ButtonState::Pressed);
        self.button(LEFT_BUTTON, ButtonState::Released);
    }

    /// Returns the bounds of the white pixels on the display, and their number.
    #[track_caller]
    pub fn white(&mut self, app: &mut App) -> (Rect, usize) {
        // The pointer is drawn above all windows.
        self.state.cursor = covalent_compositor::cursor::Cursor::default();
        self.state.outputs.schedule_redraw();
        app.sync(self);
        self.displayed_frame(&mut app.wire);
        let (_, pixels) = self.screen_mut().capture().unwrap();
        let width = usize::from(OUTPUT.0);
        let white: Vec<(i32, i32)> = (0..pixels.len())
            .filter(|index| pixels[*index] == WHITE)
            .map(|index| {
                let at = |number: usize| i32::try_from(number).unwrap();
                (at(index % width), at(index / width))
            })
            .collect();
        let ends =
            |values: Vec<i32>| (*values.iter().min().unwrap(), *values.iter().max().unwrap());
        let (left, right) = ends(white.iter().map(|place| place.0).collect());
        let (top, bottom) = ends(white.iter().map(|place| place.1).collect());
        let rect = Rect::new(left, top, right - left + 1, bottom - top + 1);
        (rect, white.len())
    }
}
