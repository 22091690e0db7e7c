//! Gestures of a touchpad, which the client with pointer focus receives (`zwp_pointer_gestures_v1`).

use smithay::backend::input::{
    Event as _, GestureBeginEvent as _, GestureEndEvent as _, GesturePinchUpdateEvent as _,
    GestureSwipeUpdateEvent as _, InputBackend, InputEvent,
};
use smithay::input::pointer::{
    GestureHoldBeginEvent, GestureHoldEndEvent, GesturePinchBeginEvent, GesturePinchEndEvent,
    GesturePinchUpdateEvent, GestureSwipeBeginEvent, GestureSwipeEndEvent, GestureSwipeUpdateEvent,
};
use smithay::utils::SERIAL_COUNTER;

use crate::state::State;

impl State {
    /// Sends a gesture event to the client with pointer focus. Other events are ignored.
    pub(super) fn gesture<B: InputBackend>(&mut self, event: InputEvent<B>) {
        let pointer = self.pointer.clone();
        let serial = SERIAL_COUNTER.next_serial();
        match event {
            InputEvent::GestureSwipeBegin { event } => {
                let (time, fingers) = (event.time_msec(), event.fingers());
                let begin = GestureSwipeBeginEvent {
                    serial,
                    time,
                    fingers,
                };
                pointer.gesture_swipe_begin(self, &begin);
            }
            InputEvent::GestureSwipeUpdate { event } => {
                let (time, delta) = (event.time_msec(), event.delta());
                pointer.gesture_swipe_update(self, &GestureSwipeUpdateEvent { time, delta });
            }
            InputEvent::GestureSwipeEnd { event } => {
                let (time, cancelled) = (event.time_msec(), event.cancelled());
                let end = GestureSwipeEndEvent {
                    serial,
                    time,
                    cancelled,
                };
                pointer.gesture_swipe_end(self, &end);
            }
            InputEvent::GesturePinchBegin { event } => {
                let (time, fingers) = (event.time_msec(), event.fingers());
                let begin = GesturePinchBeginEvent {
                    serial,
                    time,
                    fingers,
                };
                pointer.gesture_pinch_begin(self, &begin);
            }
            InputEvent::GesturePinchUpdate { event } => {
                let update = GesturePinchUpdateEvent {
                    time: event.time_msec(),
                    delta: event.delta(),
                    scale: event.scale(),
                    rotation: event.rotation(),
                };
                pointer.gesture_pinch_update(self, &update);
            }
            InputEvent::GesturePinchEnd { event } => {
                let (time, cancelled) = (event.time_msec(), event.cancelled());
                let end = GesturePinchEndEvent {
                    serial,
                    time,
                    cancelled,
                };
                pointer.gesture_pinch_end(self, &end);
            }
            InputEvent::GestureHoldBegin { event } => {
                let (time, fingers) = (event.time_msec(), event.fingers());
                let begin = GestureHoldBeginEvent {
                    serial,
                    time,
                    fingers,
                };
                pointer.gesture_hold_begin(self, &begin);
            }
            InputEvent::GestureHoldEnd { event } => {
                let (time, cancelled) = (event.time_msec(), event.cancelled());
                let end = GestureHoldEndEvent {
                    serial,
                    time,
                    cancelled,
                };
                pointer.gesture_hold_end(self, &end);
            }
            _ => {}
        }
    }
}
