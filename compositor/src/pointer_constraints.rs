//! Pointer constraints: a client locks the pointer in place, or confines it to a region of its surface.
//!
//! This is not Smithay's implementation. That of Smithay 0.7 reads the rectangles of a `wl_region` from data that the regions of
//! this compositor do not have (`client_region.rs`), and panics without it. It also removes the newer constraint of a surface
//! when an older one, which has ended, is destroyed.
//!
//! A constraint is active only while its surface has pointer focus and its client has keyboard focus. So a window under the
//! pointer cannot hold it before the user has chosen the window, and the user can always leave it by a key.

use std::collections::HashMap;
use std::sync::Arc;

use smithay::reexports::wayland_protocols::wp::pointer_constraints::zv1::server::{
    zwp_confined_pointer_v1::ZwpConfinedPointerV1, zwp_locked_pointer_v1::ZwpLockedPointerV1,
};
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_region::WlRegion;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{DisplayHandle, Resource};
use smithay::utils::{Logical, Point};
use smithay::wayland::compositor::{Cacheable, with_states};

use crate::client_region::{ClientRegion, accepts_input, region_of};
use crate::region::Rect;
use crate::state::State;

/// The number of halvings with which the edge of a region is found. The last part is less than a pixel of any output.
const HALVINGS: usize = 24;

/// The object of a constraint.
#[derive(Clone, Debug, PartialEq)]
pub enum ConstraintObject {
    /// The pointer does not move.
    Locked(ZwpLockedPointerV1),
    /// The pointer stays in the region.
    Confined(ZwpConfinedPointerV1),
}

impl ConstraintObject {
    fn id(&self) -> ObjectId {
        match self {
            Self::Locked(object) => object.id(),
            Self::Confined(object) => object.id(),
        }
    }
}

/// A constraint that has not ended.
#[derive(Debug)]
struct Constraint {
    object: ConstraintObject,
    /// Whether it can become active again after it was active.
    is_persistent: bool,
}

/// The state of a constraint that changes with the commits of its surface.
#[derive(Clone, Debug, Default)]
pub struct ConstraintState {
    /// The region in which a lock becomes active, or to which the pointer is confined; `None` for the whole surface.
    region: Option<Arc<ClientRegion>>,
    /// The position on the surface at which the client of a locked pointer shows a cursor.
    hint: Option<(f64, f64)>,
}

impl Cacheable for ConstraintState {
    fn commit(&mut self, _display: &DisplayHandle) -> Self {
        self.clone()
    }

    fn merge_into(self, into: &mut Self, _display: &DisplayHandle) {
        *into = self;
    }
}

/// The constraints of all surfaces. A surface has at most one, because there is one pointer.
#[derive(Debug, Default)]
pub struct PointerConstraints {
    constraints: HashMap<ObjectId, Constraint>,
    /// The surface whose constraint is active.
    active: Option<WlSurface>,
    /// Whether the focus, the position of the pointer or a surface has changed since the active constraint was chosen.
    has_changed: bool,
}

impl PointerConstraints {
    /// Returns whether a surface has a constraint.
    pub(crate) fn has(&self, surface: &WlSurface) -> bool {
        self.constraints.contains_key(&surface.id())
    }

    /// Returns the number of constraints that have not ended.
    pub fn count(&self) -> usize {
        self.constraints.len()
    }

    /// Returns whether a constraint is active.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Adds a constraint to a surface that has none.
    pub(crate) fn add(
        &mut self,
        surface: &WlSurface,
        object: ConstraintObject,
        is_persistent: bool,
        region: Option<&WlRegion>,
    ) {
        let initial = ConstraintState {
            region: region.and_then(region_of),
            hint: None,
        };
        with_states(surface, |states| {
            let mut state = states.cached_state.get::<ConstraintState>();
            *state.pending() = initial.clone();
            *state.current() = initial;
        });
        let constraint = Constraint {
            object,
            is_persistent,
        };
        self.constraints.insert(surface.id(), constraint);
        self.has_changed = true;
    }

    /// Changes the pending state of a constraint, unless it has ended.
    pub(crate) fn change(
        &self,
        surface: &WlSurface,
        object: &ObjectId,
        change: impl FnOnce(&mut ConstraintState),
    ) {
        if self.is_current(surface, object) {
            with_states(surface, |states| {
                change(states.cached_state.get::<ConstraintState>().pending());
            });
        }
    }

    /// Records that the active constraint may have to change.
    pub(crate) fn mark_changed(&mut self) {
        self.has_changed = !self.constraints.is_empty();
    }

    /// Removes the constraint of a destroyed surface.
    pub(crate) fn surface_destroyed(&mut self, surface: &WlSurface) {
        self.constraints.remove(&surface.id());
        self.active.take_if(|active| active == surface);
    }

    fn is_current(&self, surface: &WlSurface, object: &ObjectId) -> bool {
        let constraint = self.constraints.get(&surface.id());
        constraint.is_some_and(|constraint| constraint.object.id() == *object)
    }

    fn activate(&mut self, surface: &WlSurface) {
        if let Some(constraint) = self.constraints.get(&surface.id()) {
            match &constraint.object {
                ConstraintObject::Locked(object) => object.locked(),
                ConstraintObject::Confined(object) => object.confined(),
            }
            self.active = Some(surface.clone());
        }
    }

    /// Makes the active constraint inactive. A constraint that is not persistent ends.
    fn deactivate(&mut self) {
        let Some(surface) = self.active.take() else {
            return;
        };
        let Some(constraint) = self.constraints.get(&surface.id()) else {
            return;
        };
        match &constraint.object {
            ConstraintObject::Locked(object) => object.unlocked(),
            ConstraintObject::Confined(object) => object.unconfined(),
        }
        if !constraint.is_persistent {
            self.constraints.remove(&surface.id());
        }
    }

    /// Returns whether the constraint of a surface is a lock.
    fn is_lock(&self, surface: &WlSurface) -> bool {
        let constraint = self.constraints.get(&surface.id());
        constraint.is_some_and(|found| matches!(found.object, ConstraintObject::Locked(_)))
    }
}

impl ConstraintState {
    /// Sets the region.
    pub(crate) fn set_region(&mut self, region: Option<&WlRegion>) {
        self.region = region.and_then(region_of);
    }

    /// Sets the position of the client's cursor.
    pub(crate) fn set_hint(&mut self, hint: (f64, f64)) {
        self.hint = Some(hint);
    }
}

/// Returns the applied state of a surface's constraint.
fn applied(surface: &WlSurface) -> ConstraintState {
    with_states(surface, |states| {
        let mut state = states.cached_state.get::<ConstraintState>();
        state.current().clone()
    })
}

/// The part of a surface in which its constraint holds the pointer.
struct Bounds {
    surface: WlSurface,
    place: Rect,
    region: Option<Arc<ClientRegion>>,
}

impl Bounds {
    /// Returns whether the pixel at a point of the desktop belongs to the part.
    fn contain(&self, at: Point<f64, Logical>) -> bool {
        let pixel = at.to_i32_floor::<i32>();
        if !self.place.contains(Rect::new(pixel.x, pixel.y, 1, 1)) {
            return false;
        }
        let (x, y) = (
            pixel.x.saturating_sub(self.place.x),
            pixel.y.saturating_sub(self.place.y),
        );
        let is_in_region = self
            .region
            .as_ref()
            .is_none_or(|region| region.contains(x, y));
        is_in_region && accepts_input(&self.surface, x, y)
    }

    /// Returns the point nearest to `to` that the pointer reaches from `from`, first horizontally and then vertically.
    fn confine(&self, from: Point<f64, Logical>, to: Point<f64, Logical>) -> Point<f64, Logical> {
        if self.contain(to) {
            return to;
        }
        let beside = self.reach(from, (to.x, from.y).into());
        self.reach(beside, (beside.x, to.y).into())
    }

    /// Returns the point nearest to `to` on the line from `from`, which is in the part.
    fn reach(&self, from: Point<f64, Logical>, to: Point<f64, Logical>) -> Point<f64, Logical> {
        if self.contain(to) {
            return to;
        }
        let (mut inside, mut outside) = (from, to);
        for _ in 0..HALVINGS {
            let middle: Point<f64, Logical> = (
                f64::midpoint(inside.x, outside.x),
                f64::midpoint(inside.y, outside.y),
            )
                .into();
            if self.contain(middle) {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        inside
    }
}

impl State {
    /// Returns the position to which the pointer moves if a device moves it to `to`; `None` if it is locked.
    pub(crate) fn constrained(&self, to: Point<f64, Logical>) -> Option<Point<f64, Logical>> {
        let active = self.pointer_constraints.active.as_ref();
        let focus = self.pointer.current_focus();
        let Some(surface) = active.filter(|active| Some(*active) == focus.as_ref()) else {
            return Some(to);
        };
        if self.pointer_constraints.is_lock(surface) {
            return None;
        }
        let from = self.pointer.current_location();
        let Some(bounds) = self.bounds(surface) else {
            return Some(to);
        };
        let confined = bounds.confine(from, to);
        // Another surface may cover a part of the region.
        let reached = self.surface_at(confined).map(|(surface, _)| surface);
        Some(if reached.as_ref() == Some(surface) {
            confined
        } else {
            from
        })
    }

    /// Returns the part of a surface in which its constraint holds the pointer; `None` if the surface is not shown.
    fn bounds(&self, surface: &WlSurface) -> Option<Bounds> {
        Some(Bounds {
            surface: surface.clone(),
            place: self.place_of(surface)?,
            region: applied(surface).region,
        })
    }

    /// Returns the surface whose constraint may be active: it has pointer focus, and its client has keyboard focus.
    fn constraint_target(&self) -> Option<WlSurface> {
        let surface = self.pointer.current_focus().filter(Resource::is_alive)?;
        let keyboard = self.seat.get_keyboard()?.current_focus()?;
        let is_focused = keyboard.id().same_client_as(&surface.id());
        (is_focused && self.pointer_constraints.has(&surface)).then_some(surface)
    }

    /// Makes constraints active and inactive, after the focus, the pointer or a surface has changed.
    pub(crate) fn update_pointer_constraint(&mut self) {
        if !std::mem::take(&mut self.pointer_constraints.has_changed) {
            return;
        }
        let at = self.pointer.current_location();
        let target = self.constraint_target();
        let is_within = target.as_ref().is_some_and(|surface| {
            let bounds = self.bounds(surface);
            bounds.is_some_and(|bounds| bounds.contain(at))
        });
        let active = self.pointer_constraints.active.clone();
        if let Some(surface) = &active {
            // The region of a lock matters only until the lock is active.
            let is_held = is_within || self.pointer_constraints.is_lock(surface);
            if target.as_ref() == Some(surface) && is_held {
                return;
            }
            self.pointer_constraints.deactivate();
        }
        if let Some(surface) = target.filter(|_| is_within) {
            self.pointer_constraints.activate(&surface);
        }
    }

    /// Ends the constraint of an object that was destroyed. The pointer moves to the position at which the client of an active
    /// lock showed a cursor.
    pub(crate) fn constraint_destroyed(&mut self, surface: &WlSurface, object: &ObjectId) {
        if !self.pointer_constraints.is_current(surface, object) {
            return;
        }
        let is_lock = self.pointer_constraints.is_lock(surface);
        self.pointer_constraints.constraints.remove(&surface.id());
        let was_active = self
            .pointer_constraints
            .active
            .take_if(|active| active == surface)
            .is_some();
        self.pointer_constraints.mark_changed();
        let has_focus = self.pointer.current_focus().as_ref() == Some(surface);
        if !(is_lock && was_active && has_focus && surface.is_alive()) {
            return;
        }
        let Some((hint, place)) = applied(surface).hint.zip(self.place_of(surface)) else {
            return;
        };
        let to = (f64::from(place.x) + hint.0, f64::from(place.y) + hint.1).into();
        let reached = self.surface_at(to).map(|(surface, _)| surface);
        if reached.as_ref() == Some(surface) {
            self.point_at_now(to);
        }
    }
}
