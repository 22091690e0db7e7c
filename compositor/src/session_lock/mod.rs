//! `ext_session_lock_v1`: from the request of a lock client until it unlocks the session, outputs show only its lock surfaces,
//! and only these get input.
//!
//! ```text
//!   unlocked ──lock──▶ waiting ──each output shows a locked frame──▶ locked ──unlock_and_destroy──▶ unlocked
//!                         ▲                                            │
//!                         └── lock of another client ◀── abandoned ◀───┘ the client ends without unlocking
//! ```
//!
//! Smithay 0.7 has this protocol, but does not report that a lock object was destroyed, so that no client could take over the
//! lock of one that has ended. Its `unlock_and_destroy` unlocks the session for a client whose lock was refused, it recognises a
//! second surface for an output only by the same `wl_output` object, and it finds no buffer of a wrong size here, since buffers
//! are taken out of its state before.

mod protocol;
mod surface;

use smithay::backend::input::ButtonState;
use smithay::input::pointer::{ButtonEvent, CursorImageStatus};
use smithay::reexports::wayland_protocols::ext::session_lock::v1::server::ext_session_lock_v1::ExtSessionLockV1;
use smithay::reexports::wayland_server::Resource as _;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::SERIAL_COUNTER;

use crate::clock;
use crate::connection::expect_events;
use crate::output_view::OutputId;
use crate::region::Rect;
use crate::scene::{Owner, Role, Scene};
use crate::screen::Screen;
use crate::stack::{Stack, Tree};
use crate::state::State;

pub(crate) use protocol::create_global;
pub use surface::LockSurface;

/// The colour of a locked output without a lock surface (`0xAARRGGBB`).
const LOCKED: u32 = 0xff00_0000;

/// Whether the session is locked, and by which client.
#[derive(Debug, Default)]
pub struct SessionLock(Option<HeldLock>);

/// A lock that was requested and not released.
#[derive(Debug)]
struct HeldLock {
    /// The object of the client that may unlock the session; `None` if that client has ended.
    holder: Option<ExtSessionLockV1>,
    /// Whether `locked` was sent to the holder.
    is_confirmed: bool,
    /// Whether the session stays locked if the holder gives the lock up, because it took the lock over or the lock was confirmed.
    must_stay: bool,
    surfaces: Vec<LockSurface>,
}

impl SessionLock {
    /// Returns whether windows are hidden and get no input.
    pub fn is_locked(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether `locked` was sent to the client that holds the lock.
    pub fn is_confirmed(&self) -> bool {
        self.0.as_ref().is_some_and(|held| held.is_confirmed)
    }

    /// Returns whether a lock object holds the lock.
    fn is_held_by(&self, lock: &ExtSessionLockV1) -> bool {
        let held = self.0.as_ref();
        held.is_some_and(|held| held.holder.as_ref() == Some(lock))
    }

    /// Returns the lock surfaces.
    fn surfaces(&self) -> &[LockSurface] {
        self.0.as_ref().map_or(&[], |held| &held.surfaces)
    }

    /// Returns the lock surfaces, for changes.
    fn surfaces_mut(&mut self) -> &mut [LockSurface] {
        self.0.as_mut().map_or(&mut [], |held| &mut held.surfaces)
    }

    fn find_mut(&mut self, surface: &WlSurface) -> Option<&mut LockSurface> {
        let mut surfaces = self.surfaces_mut().iter_mut();
        surfaces.find(|known| known.surface == *surface)
    }

    /// Removes a lock surface; returns whether it was one.
    fn remove(&mut self, surface: &WlSurface) -> bool {
        let Some(held) = &mut self.0 else {
            return false;
        };
        let count = held.surfaces.len();
        held.surfaces.retain(|known| known.surface != *surface);
        held.surfaces.len() < count
    }
}

impl Stack {
    /// Builds the scene of an output of the locked session, in logical coordinates of the desktop: its lock surface.
    pub(crate) fn locked_scene(&self, output: OutputId) -> Scene {
        let mut layers = Vec::new();
        let mut views = self.outputs().iter();
        let corner = views.find(|view| view.id == output);
        let corner = corner.map_or((0, 0), |view| (view.logical.x, view.logical.y));
        let mut surfaces = self.session_lock.surfaces().iter();
        if let Some(known) = surfaces.find(|known| known.output == output) {
            let owner = Owner::LockSurface;
            let tree = Tree {
                owner: &owner,
                output,
                role: Role::Window,
                depth: 0,
            };
            self.add_tree(&mut layers, tree, &known.surface, corner);
        }
        Scene {
            background: LOCKED,
            layers,
            cursor: None,
        }
    }

    /// Returns the lock surface that gets keys: the one of this output, or else the first one with content.
    pub(crate) fn focused_lock_surface(&self, output: Option<OutputId>) -> Option<&WlSurface> {
        let mapped = self.session_lock.surfaces().iter();
        let mapped = mapped.filter(|known| self.has_content(&known.surface));
        let on_output = mapped.clone().find(|known| Some(known.output) == output);
        let found = on_output.or_else(|| mapped.clone().next());
        found.map(|known| &known.surface)
    }
}

impl State {
    /// Locks the session for a client, or refuses it because another client holds the lock. A client that has ended holds none,
    /// so another one may take over and unlock the session.
    fn lock_requested(&mut self, lock: ExtSessionLockV1) {
        let held = &mut self.stack.session_lock.0;
        if held.as_ref().is_some_and(|held| held.holder.is_some()) {
            lock.finished();
            return;
        }
        *held = Some(HeldLock {
            holder: Some(lock),
            is_confirmed: false,
            must_stay: held.is_some(),
            surfaces: Vec::new(),
        });
        self.shell.set_locked(true);
        self.finish_drag();
        self.dismiss_popups();
        self.stack.layer_surfaces.activate(None);
        self.lock_changed();
    }

    /// Unlocks the session.
    fn unlock(&mut self) {
        self.stack.session_lock.0 = None;
        self.shell.set_locked(false);
        self.lock_changed();
    }

    /// Takes focus, grabs and the image of the pointer from the surfaces that are not shown any more, and draws each output
    /// again.
    fn lock_changed(&mut self) {
        let pointer = self.pointer.clone();
        let time = clock::milliseconds(clock::now());
        let pressed = pointer.grab_start_data().map(|grab| grab.button);
        pointer.unset_grab(self, SERIAL_COUNTER.next_serial(), time);
        if let Some(button) = pressed {
            // The surface that received the press receives a release, and no other surface does.
            let release = ButtonEvent {
                serial: SERIAL_COUNTER.next_serial(),
                time,
                button,
                state: ButtonState::Released,
            };
            pointer.button(self, &release);
            self.shell.withhold(button);
        }
        pointer.frame(self);
        self.touch_cancelled();
        self.set_cursor(CursorImageStatus::default_named());
        self.update_keyboard_focus();
        self.point_at_now(pointer.current_location());
        for screen in self.outputs.iter_mut() {
            // Without damage no frame would be submitted, and the lock would not be confirmed.
            screen.damage_scene();
        }
        self.outputs.schedule_redraw();
    }

    /// Sends `locked` if each output that is on shows a frame of the locked session.
    pub(crate) fn confirm_lock(&mut self) {
        let Some(held) = &mut self.stack.session_lock.0 else {
            return;
        };
        let Some(lock) = held.holder.as_ref().filter(|_| !held.is_confirmed) else {
            return;
        };
        let mut shown = self.outputs.iter().filter(|screen| screen.is_on());
        if shown.all(Screen::shows_locked_frame) {
            lock.locked();
            if let Some(client) = lock.client() {
                expect_events(&client);
            }
            held.is_confirmed = true;
            held.must_stay = true;
        }
    }

    /// Handles that a lock object is destroyed by its client on purpose, before the lock was confirmed.
    fn lock_given_up(&mut self, lock: &ExtSessionLockV1) {
        let session_lock = &mut self.stack.session_lock;
        if !session_lock.is_held_by(lock) {
            return;
        }
        let must_stay = session_lock.0.as_ref().is_some_and(|held| held.must_stay);
        if must_stay {
            self.lock_abandoned(lock);
        } else {
            self.unlock();
        }
    }

    /// Keeps the session locked although the client that holds the lock has ended, until another client takes over.
    fn lock_abandoned(&mut self, lock: &ExtSessionLockV1) {
        if !self.stack.session_lock.is_held_by(lock) {
            return;
        }
        if let Some(held) = &mut self.stack.session_lock.0 {
            held.holder = None;
            held.is_confirmed = false;
            held.surfaces.clear();
        }
        tracing::warn!(
            "the client that locked the session ended without unlocking it; start a lock client on this display to unlock it"
        );
        self.lock_changed();
    }

    /// Removes a lock surface whose role or surface was destroyed. It does nothing with other surfaces.
    pub(crate) fn remove_lock_surface(&mut self, surface: &WlSurface) {
        if self.stack.session_lock.remove(surface) {
            self.update_keyboard_focus();
            self.update_pointer_focus();
            self.outputs.schedule_redraw();
        }
    }

    /// Configures the lock surfaces whose outputs have another size.
    pub(crate) fn configure_lock_surfaces(&mut self) {
        let sizes: Vec<(OutputId, Rect)> = self
            .stack
            .outputs()
            .iter()
            .map(|output| (output.id, output.logical))
            .collect();
        if let Some(held) = &mut self.stack.session_lock.0 {
            // The output may be added again, and get another lock surface then.
            held.surfaces
                .retain(|known| sizes.iter().any(|(id, _)| *id == known.output));
        }
        for known in self.stack.session_lock.surfaces_mut() {
            let output = sizes.iter().find(|(id, _)| *id == known.output);
            if let Some((_, rect)) = output {
                known.configure((rect.width, rect.height));
            }
        }
        for known in self.stack.session_lock.surfaces() {
            self.check_configures(&known.surface, known.unacknowledged());
        }
    }
}
