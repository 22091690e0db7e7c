//! Keyboard, pointer, touch and tablet input from libinput.

mod gestures;
mod tablet;
mod touch;

use smithay::backend::input::{
    AbsolutePositionEvent, Axis, AxisSource, ButtonState, Device, Event, InputBackend, InputEvent,
    KeyState, KeyboardKeyEvent, PointerAxisEvent, PointerButtonEvent, PointerMotionEvent,
};
use smithay::backend::libinput::{LibinputInputBackend, LibinputSessionInterface};
use smithay::backend::session::Session;
use smithay::input::keyboard::{FilterResult, Keycode};
use smithay::input::pointer::{AxisFrame, ButtonEvent, MotionEvent, RelativeMotionEvent};
use smithay::reexports::input::Libinput;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, SERIAL_COUNTER};
use smithay::wayland::shell::xdg::ToplevelSurface;

use crate::client_region::accepts_input;
use crate::clock;
use crate::event_loop::LoopHandle;
use crate::region::Rect;
use crate::scene::{Owner, SceneLayer};
use crate::session::Seat;
use crate::stack::to_pixel;
use crate::state::State;

pub use tablet::TabletClients;
pub use touch::TouchScreens;

/// The range to which an absolute device's coordinates are scaled, before they are converted to fractions of the output's size.
const ABSOLUTE_RANGE: i32 = 1 << 20;

/// The input devices of a seat.
#[derive(Debug)]
pub struct Devices(Libinput);

impl Devices {
    /// Opens all input devices of the seat and adds them to the event loop.
    ///
    /// # Errors
    ///
    /// When udev or the event loop fails.
    pub fn open(handle: &LoopHandle, seat: &Seat) -> anyhow::Result<Self> {
        let name = Session::seat(seat);
        let mut context = Libinput::new_with_udev(LibinputSessionInterface::from(seat.clone()));
        context
            .udev_assign_seat(&name)
            .map_err(|()| {
                anyhow::anyhow!(
                    "libinput cannot list the input devices of seat {name} with udev; check that udev runs"
                )
            })?;
        handle
            .insert_source(
                LibinputInputBackend::new(context.clone()),
                |event, (), state| {
                    state.note_device(&event);
                    state.input(event);
                },
            )
            .map_err(|error| {
                anyhow::anyhow!(
                    "the input devices cannot be added to the event loop: {}",
                    error.error
                )
            })?;
        Ok(Self(context))
    }

    /// Closes the devices, because another session becomes active.
    pub fn pause(&mut self) {
        self.0.suspend();
    }

    /// Opens the devices again, because this session is active again.
    pub fn resume(&mut self) {
        if self.0.resume().is_err() {
            tracing::warn!(
                "libinput cannot open the input devices again; switch to another virtual terminal and back"
            );
        }
    }
}

impl State {
    /// Handles one input event.
    pub fn input<B: InputBackend>(&mut self, event: InputEvent<B>) {
        let is_act = !matches!(
            event,
            InputEvent::DeviceAdded { .. } | InputEvent::DeviceRemoved { .. }
        );
        if is_act {
            self.user_is_active();
        }
        self.touch(&event);
        self.tablet(&event);
        match event {
            InputEvent::DeviceAdded { device } => self.device_changed(&device, true),
            InputEvent::DeviceRemoved { device } => self.device_changed(&device, false),
            InputEvent::Keyboard { event } => self.key(&event),
            InputEvent::PointerMotion { event } => {
                let motion = RelativeMotionEvent {
                    delta: event.delta(),
                    delta_unaccel: event.delta_unaccel(),
                    utime: event.time(),
                };
                self.pointer_moved_by(&motion, event.time_msec());
            }
            InputEvent::PointerMotionAbsolute { event } => {
                // The coordinates of an absolute device, such as the tablet of a virtual machine, refer to the first output.
                let (x, y) = (
                    event.x_transformed(ABSOLUTE_RANGE),
                    event.y_transformed(ABSOLUTE_RANGE),
                );
                let fraction = (x / f64::from(ABSOLUTE_RANGE), y / f64::from(ABSOLUTE_RANGE));
                if let Some(output) = self.stack.outputs().first() {
                    self.pointer_moved_to(output.point(fraction).into(), event.time_msec());
                }
            }
            InputEvent::PointerButton { event } => self.button(&event),
            InputEvent::PointerAxis { event } => self.scroll(&event),
            other => self.gesture(other),
        }
    }

    /// Adds or removes what the seat can do by a device.
    fn device_changed(&mut self, device: &impl Device, is_added: bool) {
        self.touch_device_changed(device, is_added);
        self.tablet_device_changed(device, is_added);
    }

    fn key<B: InputBackend>(&mut self, event: &impl KeyboardKeyEvent<B>) {
        self.key_event(event.key_code(), event.state(), event.time_msec());
    }

    /// Sends a key press or release to the client with keyboard focus, or does what the key is bound to.
    pub fn key_event(&mut self, key: Keycode, key_state: KeyState, time: u32) {
        let Some(keyboard) = self.seat.get_keyboard() else {
            return;
        };
        let pressed = key_state == KeyState::Pressed;
        let serial = SERIAL_COUNTER.next_serial();
        let focus = keyboard.current_focus();
        let action = keyboard.input(
            self,
            key,
            key_state,
            serial,
            time,
            |state, modifiers, key_handle| {
                let symbols = (
                    key_handle.raw_latin_sym_or_raw_current_sym(),
                    key_handle.modified_sym(),
                );
                let is_inhibited = state.shortcut_inhibitors.is_active(focus.as_ref());
                let key = (key, pressed);
                let result = state
                    .shell
                    .filter_key(key, modifiers, symbols, is_inhibited);
                if matches!(result, FilterResult::Forward) {
                    state.user_acts.record(serial, focus.as_ref());
                }
                result
            },
        );
        if let Some(action) = action.flatten() {
            self.perform(action);
        }
    }

    /// Handles a motion of a device such as a mouse: sends it to the client with pointer focus, and moves the pointer unless it is
    /// locked.
    pub fn pointer_moved_by(&mut self, motion: &RelativeMotionEvent, time: u32) {
        let pointer = self.pointer.clone();
        let from = pointer.current_location();
        pointer.relative_motion(self, self.surface_at(from), motion);
        match self.constrained(from + motion.delta) {
            Some(to) => self.point_at(to, time),
            None => pointer.frame(self),
        }
    }

    /// Handles a position of a device such as the tablet of a virtual machine: moves the pointer unless it is locked.
    pub fn pointer_moved_to(&mut self, to: Point<f64, Logical>, time: u32) {
        if let Some(to) = self.constrained(to) {
            self.point_at(to, time);
        }
    }

    /// Moves the pointer to a position on the desktop, or to the nearest position that an output shows. Updates the pointer
    /// focus.
    pub fn point_at(&mut self, to: Point<f64, Logical>, time: u32) {
        self.move_pointer(to, time);
        self.cursor_moved();
    }

    /// Moves the pointer, and with it the window that is being dragged. Sends the motion to the surface under the pointer.
    fn move_pointer(&mut self, to: Point<f64, Logical>, time: u32) {
        let to = self.outputs.clamp(to);
        let focus = if self.shell.is_dragging() {
            self.drag_to(to);
            None
        } else {
            self.surface_at(to)
        };
        let pointer = self.pointer.clone();
        self.stack.move_drag_icon(to_pixel(to));
        pointer.motion(
            self,
            focus,
            &MotionEvent {
                location: to,
                serial: SERIAL_COUNTER.next_serial(),
                time,
            },
        );
        pointer.frame(self);
        self.pointer_constraints.mark_changed();
    }

    /// Updates the pointer focus if another surface is under the pointer, although the pointer did not move. A pointer without
    /// focus stays without it until it moves or a button is pressed.
    pub(crate) fn update_pointer_focus(&mut self) {
        if self.pointer.current_focus().is_some() {
            self.focus_surface_under_pointer();
        }
    }

    /// Gives the pointer focus to the surface under the pointer, if another one has it.
    fn focus_surface_under_pointer(&mut self) {
        let at = self.pointer.current_location();
        let surface_under_pointer = self.surface_at(at).map(|(surface, _)| surface);
        if surface_under_pointer != self.pointer.current_focus() {
            self.point_at_now(at);
        }
    }

    /// Moves the pointer without an event of a device. A pointer that no device has moved yet stays invisible.
    pub(crate) fn point_at_now(&mut self, to: Point<f64, Logical>) {
        self.move_pointer(to, clock::milliseconds(clock::now()));
        self.outputs.schedule_redraw();
    }

    /// Handles a button event of a device.
    fn button<B: InputBackend>(&mut self, event: &impl PointerButtonEvent<B>) {
        self.button_event(event.button_code(), event.state(), event.time_msec());
    }

    /// Sends a button press or release to the client with pointer focus, and raises and focuses the window under the pointer.
    pub fn button_event(&mut self, button: u32, button_state: ButtonState, time: u32) {
        let serial = SERIAL_COUNTER.next_serial();
        let event = ButtonEvent {
            button,
            state: button_state,
            serial,
            time,
        };
        if self.drag_button(&event) {
            return;
        }
        if button_state == ButtonState::Pressed {
            if self.press_on_window(button) {
                return;
            }
            // A window may have been mapped, moved or resized under the pointer since its last motion.
            if !self.pointer.is_grabbed() {
                self.focus_surface_under_pointer();
            }
        }
        let pointer = self.pointer.clone();
        self.user_acts
            .record(serial, pointer.current_focus().as_ref());
        pointer.button(self, &event);
        pointer.frame(self);
    }

    /// Dismisses popups if a button is pressed outside of their client's surfaces, raises the window under the pointer, and
    /// returns whether the window follows the pointer from now on.
    fn press_on_window(&mut self, button: u32) -> bool {
        let pressed = self.press_at(self.pointer.current_location());
        pressed.is_some_and(|toplevel| self.start_drag_with_super(&toplevel, button))
    }

    /// Dismisses popups if the user presses outside of their client's surfaces, and raises and focuses the window at a point.
    fn press_at(&mut self, at: Point<f64, Logical>) -> Option<ToplevelSurface> {
        let clicked = self.layer_at(at);
        let owner = clicked
            .as_ref()
            .and_then(|(layer, _)| layer.surface.client());
        if owner.is_none() || owner != self.grabbing_client() {
            self.dismiss_popups();
        }
        match clicked.map(|(layer, _)| layer.owner) {
            Some(Owner::Window(window)) => {
                self.activate(&window.toplevel);
                Some(window.toplevel)
            }
            Some(Owner::LayerSurface { surface, .. }) => {
                self.activate_layer_surface(Some(&surface));
                None
            }
            Some(Owner::LockSurface) => None,
            None => {
                self.activate_layer_surface(None);
                None
            }
        }
    }

    /// Sends a scroll event to the client with pointer focus.
    fn scroll<B: InputBackend>(&mut self, event: &impl PointerAxisEvent<B>) {
        let mut frame = AxisFrame::new(event.time_msec()).source(event.source());
        for axis in [Axis::Horizontal, Axis::Vertical] {
            let steps = event.amount_v120(axis);
            // A wheel that reports only v120 steps scrolls 15 units for each step of 120, as in other compositors.
            let amount = event
                .amount(axis)
                .unwrap_or_else(|| steps.unwrap_or(0.0) * 15.0 / 120.0);
            if amount != 0.0 {
                frame = frame.value(axis, amount);
                if let Some(steps) = steps {
                    frame = frame.v120(axis, saturating_i32(steps));
                }
            } else if event.source() == AxisSource::Finger && event.amount(axis).is_some() {
                // The event has no amount for an axis that does not scroll. An amount of 0 ends the scrolling of its axis.
                frame = frame.stop(axis);
            }
        }
        let pointer = self.pointer.clone();
        pointer.axis(self, frame);
        pointer.frame(self);
    }

    /// Returns the surface that gets the pointer focus at a point, and the position of its upper left corner.
    pub(crate) fn surface_at(
        &self,
        at: Point<f64, Logical>,
    ) -> Option<(WlSurface, Point<f64, Logical>)> {
        let (layer, origin) = self.layer_at(at)?;
        let grabbing = self.grabbing_client();
        let is_reached = grabbing.is_none() || grabbing == layer.surface.client();
        is_reached.then_some((layer.surface, origin))
    }

    /// Returns the rectangle of a surface on the desktop; `None` if the output at the pointer does not show its window.
    pub(crate) fn place_of(&self, surface: &WlSurface) -> Option<Rect> {
        let output = self.outputs.at(self.pointer.current_location())?;
        let scene = self.stack.logical_scene(output.id);
        let mut layers = scene.layers.into_iter();
        let layer = layers.find(|layer| layer.surface == *surface)?;
        Some(layer.view.destination)
    }

    /// Returns the highest surface whose input region contains a point, and the position of its upper left corner.
    fn layer_at(&self, at: Point<f64, Logical>) -> Option<(SceneLayer, Point<f64, Logical>)> {
        let output = self.outputs.at(at)?;
        let scene = self.stack.logical_scene(output.id);
        scene.layers.into_iter().rev().find_map(|layer| {
            let place = layer.view.destination;
            let origin: Point<f64, Logical> = (f64::from(place.x), f64::from(place.y)).into();
            let inside = at - origin;
            let (width, height) = (f64::from(place.width), f64::from(place.height));
            if inside.x < 0.0 || inside.y < 0.0 || inside.x >= width || inside.y >= height {
                return None;
            }
            let pixel = inside.to_i32_floor::<i32>();
            accepts_input(&layer.surface, pixel.x, pixel.y).then_some((layer, origin))
        })
    }
}

/// Converts a number without its fraction. Numbers beyond the range become its limits.
#[allow(clippy::cast_possible_truncation)] // `as` saturates, and no wheel turns that far
fn saturating_i32(value: f64) -> i32 {
    value as i32
}
