//! Touch screens: each touch point belongs to the surface on which it began (`wl_touch`).
//!
//! The seat has the capability while a touch screen is connected. A touch raises and focuses the window below it, as a press of a
//! button does, and is an act of the user.

use std::collections::HashMap;

use smithay::backend::input::{
    AbsolutePositionEvent, Device, DeviceCapability, Event as _, InputBackend, InputEvent,
    TouchEvent as _, TouchSlot,
};
use smithay::input::touch::{DownEvent, MotionEvent, UpEvent};
use smithay::utils::{Logical, Point, SERIAL_COUNTER};

use super::ABSOLUTE_RANGE;
use crate::clock;
use crate::stack::to_pixel;
use crate::state::State;

/// The connected touch screens.
#[derive(Debug, Default)]
pub struct TouchScreens {
    count: usize,
    /// The current touch points.
    points: HashMap<TouchSlot, Point<f64, Logical>>,
}

impl State {
    /// Adds or removes the touch capability of the seat when a device is connected or disconnected.
    pub(super) fn touch_device_changed(&mut self, device: &impl Device, is_added: bool) {
        if !device.has_capability(DeviceCapability::Touch) {
            return;
        }
        let count = &mut self.touch_screens.count;
        *count = if is_added {
            count.saturating_add(1)
        } else {
            count.saturating_sub(1)
        };
        match (*count, is_added) {
            (1, true) => self.add_touch(),
            (0, false) => self.remove_touch(),
            _ => {}
        }
    }

    /// Adds the touch capability to the seat.
    pub fn add_touch(&mut self) {
        self.seat.add_touch();
    }

    /// Removes the touch capability from the seat, and ends all touch points.
    pub fn remove_touch(&mut self) {
        if let Some(touch) = self.seat.get_touch() {
            self.touch_cancelled();
            // A drag that began with a touch ends here.
            touch.unset_grab(self);
            self.seat.remove_touch();
        }
    }

    /// Handles an event of a touch screen. Other events are ignored.
    pub(super) fn touch<B: InputBackend>(&mut self, event: &InputEvent<B>) {
        match event {
            InputEvent::TouchDown { event } => {
                if let Some(at) = self.place_on_screen(event) {
                    self.touch_down(event.slot(), at, event.time_msec());
                }
            }
            InputEvent::TouchMotion { event } => {
                if let Some(at) = self.place_on_screen(event) {
                    self.touch_moved(event.slot(), at, event.time_msec());
                }
            }
            InputEvent::TouchUp { event } => self.touch_up(event.slot(), event.time_msec()),
            InputEvent::TouchFrame { .. } => self.touch_frame(),
            InputEvent::TouchCancel { .. } => self.touch_cancelled(),
            _ => {}
        }
    }

    /// Returns the point of the desktop that a touch screen or tablet reports. The coordinates refer to the first output.
    pub(super) fn place_on_screen<B: InputBackend>(
        &self,
        event: &impl AbsolutePositionEvent<B>,
    ) -> Option<Point<f64, Logical>> {
        let range = f64::from(ABSOLUTE_RANGE);
        let x = event.x_transformed(ABSOLUTE_RANGE) / range;
        let y = event.y_transformed(ABSOLUTE_RANGE) / range;
        let output = self.stack.outputs().first()?;
        Some(self.outputs.clamp(output.point((x, y)).into()))
    }

    /// Begins a touch point on the surface below it.
    pub fn touch_down(&mut self, slot: TouchSlot, at: Point<f64, Logical>, time: u32) {
        let Some(touch) = self.seat.get_touch() else {
            return;
        };
        self.press_at(at);
        self.touch_screens.points.insert(slot, at);
        let focus = self.surface_at(at);
        let serial = SERIAL_COUNTER.next_serial();
        let surface = focus.as_ref().map(|(surface, _)| surface);
        self.user_acts.record(serial, surface);
        let event = DownEvent {
            slot,
            location: at,
            serial,
            time,
        };
        touch.down(self, focus, &event);
    }

    /// Moves a touch point.
    pub fn touch_moved(&mut self, slot: TouchSlot, at: Point<f64, Logical>, time: u32) {
        let Some(touch) = self.seat.get_touch() else {
            return;
        };
        if let Some(point) = self.touch_screens.points.get_mut(&slot) {
            *point = at;
        }
        let focus = self.surface_at(at);
        self.stack.move_drag_icon(to_pixel(at));
        self.outputs.schedule_redraw();
        let event = MotionEvent {
            slot,
            location: at,
            time,
        };
        touch.motion(self, focus, &event);
    }

    /// Ends a touch point.
    pub fn touch_up(&mut self, slot: TouchSlot, time: u32) {
        self.touch_screens.points.remove(&slot);
        if let Some(touch) = self.seat.get_touch() {
            let serial = SERIAL_COUNTER.next_serial();
            touch.up(self, &UpEvent { slot, serial, time });
        }
    }

    /// Ends a group of events.
    pub fn touch_frame(&mut self) {
        if let Some(touch) = self.seat.get_touch() {
            touch.frame(self);
        }
    }

    /// Ends all touch points without an effect.
    pub fn touch_cancelled(&mut self) {
        let points = std::mem::take(&mut self.touch_screens.points);
        let Some(touch) = self.seat.get_touch() else {
            return;
        };
        // Smithay 0.7 cancels only the points that have changed since the last frame.
        for (slot, location) in points {
            let event = MotionEvent {
                slot,
                location,
                time: clock::milliseconds(clock::now()),
            };
            touch.motion(self, None, &event);
        }
        touch.cancel(self);
    }
}
