//! Graphics tablets: tools such as pens, which a client receives with their pressure and tilt (`zwp_tablet_manager_v2`).
//!
//! A tool that is above a client which has no tablet seat moves the pointer, and its tip is the left button.

use std::collections::HashMap;

use smithay::backend::input::{
    ButtonState, Device, DeviceCapability, Event as _, InputBackend, InputEvent, ProximityState,
    TabletToolButtonEvent as _, TabletToolDescriptor, TabletToolEvent,
    TabletToolProximityEvent as _, TabletToolTipEvent as _, TabletToolTipState,
};
use smithay::input::pointer::{CursorImageStatus, MotionEvent};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource as _};
use smithay::utils::{Logical, Point, SERIAL_COUNTER};
use smithay::wayland::tablet_manager::{
    TabletDescriptor, TabletHandle, TabletSeatTrait as _, TabletToolHandle,
};

use crate::state::State;

/// The button that the tip of a tool presses in a client without tablet seat.
const LEFT_BUTTON: u32 = 0x110;

/// The clients that receive tablet tools.
#[derive(Debug, Default)]
pub struct TabletClients {
    /// The number of tablet seats of each client.
    seats: HashMap<ClientId, usize>,
    /// The surface below the tool, if its client has a tablet seat.
    focus: Option<WlSurface>,
    /// Whether the tip of a tool presses the left button of the pointer.
    presses_button: bool,
}

impl TabletClients {
    /// Records that a client has another tablet seat.
    pub(crate) fn seat_added(&mut self, client: ClientId) {
        let count = self.seats.entry(client).or_default();
        *count = count.saturating_add(1);
    }

    /// Records that a tablet seat of a client was destroyed.
    pub(crate) fn seat_destroyed(&mut self, client: &ClientId) {
        if let Some(count) = self.seats.get_mut(client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.seats.remove(client);
            }
        }
    }

    /// Returns the number of clients that have a tablet seat.
    pub fn count(&self) -> usize {
        self.seats.len()
    }

    fn has_seat(&self, client: &Client) -> bool {
        self.seats.contains_key(&client.id())
    }
}

impl State {
    /// Announces a tablet that is connected, or removes it.
    pub(super) fn tablet_device_changed(&mut self, device: &impl Device, is_added: bool) {
        if !device.has_capability(DeviceCapability::TabletTool) {
            return;
        }
        let (seat, tablet) = (self.seat.tablet_seat(), TabletDescriptor::from(device));
        if is_added {
            seat.add_tablet::<Self>(&self.display, &tablet);
            return;
        }
        seat.remove_tablet(&tablet);
        if seat.count_tablets() == 0 {
            seat.clear_tools();
            self.tablet_clients.focus = None;
        }
    }

    /// Handles an event of a tablet tool. Other events are ignored.
    pub(super) fn tablet<B: InputBackend>(&mut self, event: &InputEvent<B>) {
        match event {
            InputEvent::TabletToolAxis { event } => {
                let Some((tablet, tool, at)) = self.tool(event, &event.device()) else {
                    return;
                };
                queue_axes(&tool, event);
                self.tool_moved(&tablet, &tool, at, event.time_msec());
            }
            InputEvent::TabletToolProximity { event } => {
                let Some((tablet, tool, at)) = self.tool(event, &event.device()) else {
                    return;
                };
                match event.state() {
                    ProximityState::In => self.tool_moved(&tablet, &tool, at, event.time_msec()),
                    ProximityState::Out => self.tool_left(&tool, event.time_msec()),
                }
            }
            InputEvent::TabletToolTip { event } => {
                let Some((tablet, tool, at)) = self.tool(event, &event.device()) else {
                    return;
                };
                queue_axes(&tool, event);
                let is_down = event.tip_state() == TabletToolTipState::Down;
                self.tool_moved(&tablet, &tool, at, event.time_msec());
                self.tool_tip(&tool, is_down, at, event.time_msec());
            }
            InputEvent::TabletToolButton { event } => {
                let descriptor = event.tool();
                if let Some(tool) = self.seat.tablet_seat().get_tool(&descriptor) {
                    let (button, state) = (event.button(), event.button_state());
                    self.tool_button(&tool, button, state, event.time_msec());
                }
            }
            _ => {}
        }
    }

    /// Returns the handles of the tablet and of the tool of an event, and the point of the desktop below the tool.
    fn tool<B: InputBackend>(
        &mut self,
        event: &impl TabletToolEvent<B>,
        device: &impl Device,
    ) -> Option<(TabletHandle, TabletToolHandle, Point<f64, Logical>)> {
        let at = self.place_on_screen(event)?;
        let seat = self.seat.tablet_seat();
        let tablet = seat.get_tablet(&TabletDescriptor::from(device))?;
        let tool = self.add_tool(&event.tool());
        Some((tablet, tool, at))
    }

    /// Returns the handle of a tool, which is announced to the clients when it is used for the first time.
    pub fn add_tool(&mut self, tool: &TabletToolDescriptor) -> TabletToolHandle {
        let (seat, display) = (self.seat.tablet_seat(), self.display.clone());
        seat.add_tool::<Self>(self, &display, tool)
    }

    /// Moves a tool to a point of the desktop, and shows the pointer's image there.
    pub fn tool_moved(
        &mut self,
        tablet: &TabletHandle,
        tool: &TabletToolHandle,
        at: Point<f64, Logical>,
        time: u32,
    ) {
        let below = self.surface_at(at).filter(|(surface, _)| {
            let client = surface.client();
            client.is_some_and(|client| self.tablet_clients.has_seat(&client))
        });
        let surface = below.as_ref().map(|(surface, _)| surface.clone());
        let serial = SERIAL_COUNTER.next_serial();
        let is_new = std::mem::replace(&mut self.tablet_clients.focus, surface.clone()) != surface;
        if surface.is_none() || self.shell.is_dragging() {
            tool.motion(at, None, tablet, serial, time);
            self.point_at(at, time);
            return;
        }
        // The client below receives the tool and not the pointer.
        let motion = MotionEvent {
            location: at,
            serial,
            time,
        };
        let pointer = self.pointer.clone();
        pointer.motion(self, None, &motion);
        pointer.frame(self);
        if is_new {
            self.set_cursor(CursorImageStatus::default_named());
        }
        self.pointer_constraints.mark_changed();
        self.cursor_moved();
        tool.motion(at, below, tablet, serial, time);
    }

    /// Ends the proximity of a tool.
    pub fn tool_left(&mut self, tool: &TabletToolHandle, time: u32) {
        self.tablet_clients.focus = None;
        tool.proximity_out(time);
    }

    /// Handles that the tip of a tool touches the tablet or leaves it.
    pub fn tool_tip(
        &mut self,
        tool: &TabletToolHandle,
        is_down: bool,
        at: Point<f64, Logical>,
        time: u32,
    ) {
        if self.tablet_clients.focus.is_none() || self.tablet_clients.presses_button {
            let state = if is_down {
                ButtonState::Pressed
            } else {
                ButtonState::Released
            };
            self.tablet_clients.presses_button = is_down;
            self.button_event(LEFT_BUTTON, state, time);
        } else if is_down {
            self.press_at(at);
            let serial = SERIAL_COUNTER.next_serial();
            self.user_acts
                .record(serial, self.tablet_clients.focus.as_ref());
            tool.tip_down(serial, time);
        } else {
            tool.tip_up(time);
        }
    }

    /// Sends a press or release of a button of a tool to the client below.
    pub fn tool_button(
        &mut self,
        tool: &TabletToolHandle,
        button: u32,
        state: ButtonState,
        time: u32,
    ) {
        // A tool that has not moved since the session was locked still has the focus of a hidden window.
        if self.stack.session_lock.is_locked() {
            return;
        }
        let serial = SERIAL_COUNTER.next_serial();
        let focus = self.tablet_clients.focus.as_ref();
        self.user_acts.record(serial, focus);
        tool.button(button, state, serial, time);
    }
}

/// Stores the changed axes of a tool, which are sent with its next motion.
fn queue_axes<B: InputBackend>(tool: &TabletToolHandle, event: &impl TabletToolEvent<B>) {
    if event.pressure_has_changed() {
        tool.pressure(event.pressure());
    }
    if event.distance_has_changed() {
        tool.distance(event.distance());
    }
    if event.tilt_has_changed() {
        tool.tilt(event.tilt());
    }
    if event.slider_has_changed() {
        tool.slider_position(event.slider_position());
    }
    if event.rotation_has_changed() {
        tool.rotation(event.rotation());
    }
    if event.wheel_has_changed() {
        tool.wheel(event.wheel_delta(), event.wheel_delta_discrete());
    }
}
