//! The dma-buf feedback of surfaces, which changes when a window becomes fullscreen or leaves fullscreen.
//!
//! A client reallocates its buffers when it receives feedback. When a window leaves fullscreen, it receives feedback without the
//! scanout tranche; when it returns to fullscreen, it receives the scanout tranche again. A window that was never fullscreen
//! keeps its first feedback, which has the scanout tranche, because the window may become fullscreen later.
//!
//! A change is sent immediately. The next change is sent [`PERIOD`] later at the earliest; if the window has returned to its
//! earlier state by then, nothing is sent.

use std::collections::HashMap;
use std::time::Duration;

use calloop::timer::TimeoutAction;
use covalent_protocols::linux_dmabuf::server::zwp_linux_dmabuf_feedback_v1::ZwpLinuxDmabufFeedbackV1;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;

use crate::clock;
use crate::state::State;

/// The shortest time between two changes of the feedback of a surface.
pub const PERIOD: Duration = Duration::from_secs(1);

/// The surface feedback objects by object id. A client may create very many objects, and all of them are removed when the client
/// disconnects, so the removal of one object must not search all objects.
#[derive(Debug, Default)]
pub(super) struct SurfaceFeedbacks {
    objects: HashMap<ObjectId, SurfaceFeedback>,
    timer_runs: bool,
}

/// A surface feedback object, and whether its last feedback had the scanout tranche.
#[derive(Debug)]
struct SurfaceFeedback {
    object: ZwpLinuxDmabufFeedbackV1,
    surface: WlSurface,
    /// Whether the feedback that was sent last has the scanout tranche.
    sent_scanout: bool,
    /// Whether the surface should have the scanout tranche.
    wants_scanout: bool,
    /// The earliest time at which the next change may be sent.
    next_change_at: Duration,
}

impl SurfaceFeedbacks {
    /// Adds an object that was sent feedback with the scanout tranche.
    pub(super) fn add(&mut self, object: ZwpLinuxDmabufFeedbackV1, surface: WlSurface) {
        let entry = SurfaceFeedback {
            object: object.clone(),
            surface,
            sent_scanout: true,
            wants_scanout: true,
            next_change_at: Duration::ZERO,
        };
        self.objects.insert(object.id(), entry);
    }

    /// Removes an object that was destroyed.
    pub(super) fn remove(&mut self, object: &ZwpLinuxDmabufFeedbackV1) {
        self.objects.remove(&object.id());
    }

    /// Sets whether a surface should have the scanout tranche.
    fn set(&mut self, surface: &WlSurface, wants_scanout: bool) {
        self.objects
            .retain(|_, entry| entry.object.is_alive() && entry.surface.is_alive());
        for entry in self.objects.values_mut() {
            if entry.surface == *surface {
                entry.wants_scanout = wants_scanout;
            }
        }
    }

    /// Calls `send` for each object whose feedback has to change now. The argument says whether the new feedback has the scanout
    /// tranche. Returns the time of the next change.
    fn send_due(
        &mut self,
        now: Duration,
        mut send: impl FnMut(&ZwpLinuxDmabufFeedbackV1, bool),
    ) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        let changed = self.objects.values_mut();
        for entry in changed.filter(|entry| entry.sent_scanout != entry.wants_scanout) {
            if entry.next_change_at > now {
                next =
                    Some(next.map_or(entry.next_change_at, |next| next.min(entry.next_change_at)));
                continue;
            }
            entry.sent_scanout = entry.wants_scanout;
            entry.next_change_at = now.saturating_add(PERIOD);
            send(&entry.object, entry.sent_scanout);
        }
        next
    }
}

impl State {
    /// Sends feedback with or without the scanout tranche for a surface, if it differs from the last feedback. The feedback is
    /// delayed until [`PERIOD`] has passed since the last change.
    pub fn set_surface_scanout(&mut self, surface: &WlSurface, has_scanout: bool) {
        self.dmabuf.surfaces.set(surface, has_scanout);
        self.send_surface_feedback();
    }

    /// Sends the feedback that is due, and starts a timer for the feedback that is delayed.
    fn send_surface_feedback(&mut self) {
        let dmabuf = &mut self.dmabuf;
        // The protocol forbids sending the same parameters twice, and a virtual output has no scanout tranche in either case.
        let is_different = dmabuf.feedback != dmabuf.without_scanout;
        let now = clock::now();
        let next = dmabuf.surfaces.send_due(now, |object, has_scanout| {
            let feedback = if has_scanout {
                &dmabuf.feedback
            } else {
                &dmabuf.without_scanout
            };
            if is_different {
                feedback.send(object, &dmabuf.sealed);
            }
        });
        let Some(next) = next.filter(|_| !dmabuf.surfaces.timer_runs) else {
            return;
        };
        dmabuf.surfaces.timer_runs = true;
        self.handle
            .add_timer(next.saturating_sub(now), move |state| {
                state.dmabuf.surfaces.timer_runs = false;
                state.send_surface_feedback();
                TimeoutAction::Drop
            });
    }
}
