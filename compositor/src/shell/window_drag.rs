//! Interactive move and resize: a window follows the pointer while a button is pressed.
//!
//! The client gets no pointer events meanwhile. A client that resizes slowly has at most one configure event that it did not
//! acknowledge; the next one has the size for the position that the pointer has reached by then.

use smithay::backend::input::ButtonState;
use smithay::input::pointer::{ButtonEvent, CursorIcon, CursorImageStatus};
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, SERIAL_COUNTER, Serial};
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::{SurfaceCachedState, ToplevelSurface};

use super::arrangement::unacknowledged;
use crate::clock;
use crate::region::Rect;
use crate::state::State;
use crate::window::{Arrangement, FixedEdge, Position};

/// The buttons that move and resize a window while Super is pressed.
const LEFT_BUTTON: u32 = 0x110;
const RIGHT_BUTTON: u32 = 0x111;

/// A window that follows the pointer.
#[derive(Debug)]
pub(super) struct WindowDrag {
    toplevel: ToplevelSurface,
    /// The button whose release ends the drag.
    button: u32,
    /// The position of the pointer when the drag started.
    start: Point<f64, Logical>,
    /// The rectangle of the window when the drag started.
    rect: Rect,
    kind: Kind,
}

/// What a drag does to the window.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Move,
    Resize {
        edges: ResizeEdges,
        /// The size that the current position of the pointer requests.
        wanted: (i32, i32),
        /// The size of the last configure event.
        configured: (i32, i32),
    },
}

/// The edges of a window that follow the pointer: at most one of each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResizeEdges {
    left: bool,
    right: bool,
    top: bool,
    bottom: bool,
}

impl ResizeEdges {
    /// Returns the edges that a client names; `None` if it names none.
    pub(crate) fn new(edge: xdg_toplevel::ResizeEdge) -> Option<Self> {
        use xdg_toplevel::ResizeEdge::{
            Bottom, BottomLeft, BottomRight, Left, Right, Top, TopLeft, TopRight,
        };
        let edges = Self {
            left: matches!(edge, Left | TopLeft | BottomLeft),
            right: matches!(edge, Right | TopRight | BottomRight),
            top: matches!(edge, Top | TopLeft | TopRight),
            bottom: matches!(edge, Bottom | BottomLeft | BottomRight),
        };
        let is_any = edges.left || edges.right || edges.top || edges.bottom;
        is_any.then_some(edges)
    }

    /// Returns the edges of the corner that is nearest to a point.
    fn nearest(rect: Rect, point: Point<f64, Logical>) -> Self {
        let middle = |start: i32, size: i32| f64::from(start) + f64::from(size) / 2.0;
        let left = point.x < middle(rect.x, rect.width);
        let top = point.y < middle(rect.y, rect.height);
        Self {
            left,
            right: !left,
            top,
            bottom: !top,
        }
    }

    /// Returns the pointer's image for a resize at these edges.
    fn cursor(self) -> CursorIcon {
        match (self.left, self.right, self.top, self.bottom) {
            (true, _, true, _) => CursorIcon::NwResize,
            (true, _, _, true) => CursorIcon::SwResize,
            (true, ..) => CursorIcon::WResize,
            (_, true, true, _) => CursorIcon::NeResize,
            (_, true, _, true) => CursorIcon::SeResize,
            (_, true, ..) => CursorIcon::EResize,
            (_, _, true, _) => CursorIcon::NResize,
            _ => CursorIcon::SResize,
        }
    }

    /// Returns the size of a window of the size `rect` after the pointer moved by `moved`, within the limits of the client.
    fn size(self, rect: Rect, moved: (i32, i32), limits: SizeLimits) -> (i32, i32) {
        let along = |size: i32, moved: i32, (grows, shrinks): (bool, bool), limits: (i32, i32)| {
            let wanted = match (grows, shrinks) {
                (true, _) => size.saturating_add(moved),
                (_, true) => size.saturating_sub(moved),
                _ => return size,
            };
            let least = limits.0.max(1);
            let most = if limits.1 > 0 { limits.1 } else { i32::MAX };
            wanted.clamp(least, most.max(least))
        };
        (
            along(rect.width, moved.0, (self.right, self.left), limits.width),
            along(rect.height, moved.1, (self.bottom, self.top), limits.height),
        )
    }

    /// Returns the position of a window whose other edges stay where they are in `rect`.
    fn position(self, rect: Rect) -> Position {
        Position {
            x: if self.left {
                FixedEdge::End(rect.right())
            } else {
                FixedEdge::Start(rect.x)
            },
            y: if self.top {
                FixedEdge::End(rect.bottom())
            } else {
                FixedEdge::Start(rect.y)
            },
        }
    }
}

/// The minimum and the maximum width and height of a window; 0 for none.
#[derive(Clone, Copy, Debug, Default)]
struct SizeLimits {
    width: (i32, i32),
    height: (i32, i32),
}

impl SizeLimits {
    fn of(surface: &WlSurface) -> Self {
        with_states(surface, |states| {
            let mut cached = states.cached_state.get::<SurfaceCachedState>();
            let state = cached.current();
            Self {
                width: (state.min_size.w, state.max_size.w),
                height: (state.min_size.h, state.max_size.h),
            }
        })
    }
}

#[allow(clippy::cast_possible_truncation)] // `as` saturates, and the desktop is not that large
fn to_i32(value: f64) -> i32 {
    value.round() as i32
}

impl State {
    /// Starts an interactive move, or a resize at these edges, that a client has requested. The request is ignored unless the
    /// client received the button press with this serial, and the button is still pressed.
    pub(crate) fn drag_requested(
        &mut self,
        toplevel: &ToplevelSurface,
        serial: Serial,
        edges: Option<ResizeEdges>,
    ) {
        let Some(grab) = self.pointer.grab_start_data() else {
            return;
        };
        // Another client can guess the serial while the button is pressed.
        let holder = grab.focus.and_then(|(surface, _)| surface.client());
        let client = toplevel.wl_surface().client();
        let has_client = client.is_some() && holder == client;
        if has_client && self.pointer.has_grab(serial) {
            self.start_drag(toplevel, grab.button, edges);
        }
    }

    /// Starts an interactive move or resize if Super is pressed with a button on a window; returns whether it did.
    pub(crate) fn start_drag_with_super(
        &mut self,
        toplevel: &ToplevelSurface,
        button: u32,
    ) -> bool {
        let keyboard = self.seat.get_keyboard();
        let is_pressed = keyboard.is_some_and(|keyboard| keyboard.modifier_state().logo);
        if self.shell.is_kiosk || !is_pressed || self.pointer.is_grabbed() {
            return false;
        }
        let window = self.stack.window(toplevel.wl_surface());
        let rect = window.and_then(|window| self.stack.rect(window));
        let at = self.pointer.current_location();
        match (button, rect) {
            (LEFT_BUTTON, _) => self.start_drag(toplevel, button, None),
            (RIGHT_BUTTON, Some(rect)) => {
                let edges = ResizeEdges::nearest(rect, at);
                self.start_drag(toplevel, button, Some(edges))
            }
            _ => false,
        }
    }

    /// Starts an interactive move or resize, and returns whether it started. It does not start if the window is fullscreen or not
    /// shown, for a resize of a maximised window, or in kiosk mode.
    fn start_drag(
        &mut self,
        toplevel: &ToplevelSurface,
        button: u32,
        edges: Option<ResizeEdges>,
    ) -> bool {
        let Some(window) = self.stack.window(toplevel.wl_surface()).cloned() else {
            return false;
        };
        let is_fixed = window.fullscreen
            || (edges.is_some() && window.arrangement == Arrangement::Maximized)
            || !self.stack.is_shown(&window);
        let Some(rect) = self.stack.rect(&window) else {
            return false;
        };
        if self.shell.is_kiosk || is_fixed || self.stack.session_lock.is_locked() {
            return false;
        }
        self.dismiss_popups();
        let was_arranged = window.arrangement != Arrangement::Floating;
        if let Some(window) = self.stack.window_mut(toplevel) {
            window.arrangement = Arrangement::Floating;
            window.position = Some(match edges {
                Some(edges) => edges.position(rect),
                None => Position::of_corner((rect.x, rect.y)),
            });
            if edges.is_some() {
                window.floating_size = Some((rect.width, rect.height));
            }
        }
        let kind = match edges {
            None => Kind::Move,
            Some(edges) => Kind::Resize {
                edges,
                wanted: (rect.width, rect.height),
                configured: (rect.width, rect.height),
            },
        };
        let start = self.pointer.current_location();
        self.shell.drag = Some(WindowDrag {
            toplevel: toplevel.clone(),
            button,
            start,
            rect,
            kind,
        });
        if edges.is_some() {
            toplevel.with_pending_state(|state| state.states.set(xdg_toplevel::State::Resizing));
        }
        if was_arranged || edges.is_some() {
            self.configure_arrangement(toplevel, false);
        }
        let pointer = self.pointer.clone();
        let time = clock::milliseconds(clock::now());
        pointer.unset_grab(self, SERIAL_COUNTER.next_serial(), time);
        // This takes the pointer focus from the client.
        self.point_at_now(start);
        // The pointer has no focus, so this ends only Smithay's own count of pressed buttons. If the window ends before the
        // button is released, no other client is to receive the release.
        let release = ButtonEvent {
            serial: SERIAL_COUNTER.next_serial(),
            time,
            button,
            state: ButtonState::Released,
        };
        pointer.button(self, &release);
        self.shell.withheld_buttons.insert(button);
        self.set_cursor(CursorImageStatus::Named(
            edges.map_or(CursorIcon::Grabbing, ResizeEdges::cursor),
        ));
        true
    }

    /// Moves or resizes the dragged window for a new position of the pointer.
    pub(crate) fn drag_to(&mut self, to: Point<f64, Logical>) {
        let Some(drag) = &mut self.shell.drag else {
            return;
        };
        let toplevel = drag.toplevel.clone();
        let surface = toplevel.wl_surface();
        match &mut drag.kind {
            Kind::Move => {
                let (start, rect) = (drag.start, drag.rect);
                self.move_window_to(&toplevel, start, rect, to);
            }
            Kind::Resize { edges, wanted, .. } => {
                let moved = to - drag.start;
                let moved = (to_i32(moved.x), to_i32(moved.y));
                *wanted = edges.size(drag.rect, moved, SizeLimits::of(surface));
                self.send_wanted_size(surface);
            }
        }
        self.outputs.schedule_redraw();
    }

    /// Moves a window so that the pointer keeps its relative position in the window, although a window that was maximised becomes
    /// smaller.
    fn move_window_to(
        &mut self,
        toplevel: &ToplevelSurface,
        start: Point<f64, Logical>,
        rect: Rect,
        to: Point<f64, Logical>,
    ) {
        let window = self.stack.window(toplevel.wl_surface());
        let current = window.and_then(|window| self.stack.rect(window));
        let (Some(current), Some(output)) = (current, self.outputs.at(to)) else {
            return;
        };
        let share =
            |start: f64, from: i32, size: i32| (start - f64::from(from)) / f64::from(size.max(1));
        let x = to.x - share(start.x, rect.x, rect.width) * f64::from(current.width);
        let y = to.y - share(start.y, rect.y, rect.height) * f64::from(current.height);
        // The title bar must stay below the upper edge, or the user cannot reach it.
        let corner = (
            to_i32(x),
            to_i32(y).max(self.stack.usable_area(&output, false).y),
        );
        if let Some(window) = self.stack.window_mut(toplevel) {
            window.position = Some(Position::of_corner(corner));
        }
    }

    /// Configures the window with the size that the position of the pointer requests, unless its client has to acknowledge an
    /// earlier configure event first.
    fn send_wanted_size(&mut self, surface: &WlSurface) {
        let Some(drag) = &mut self.shell.drag else {
            return;
        };
        let Kind::Resize {
            wanted, configured, ..
        } = &mut drag.kind
        else {
            return;
        };
        let (wanted, toplevel) = (*wanted, drag.toplevel.clone());
        if toplevel.wl_surface() != surface || wanted == *configured || unacknowledged(surface) > 0
        {
            return;
        }
        *configured = wanted;
        if let Some(window) = self.stack.window_mut(&toplevel) {
            window.floating_size = Some(wanted);
        }
        self.configure_arrangement(&toplevel, false);
    }

    /// Continues a resize after a commit of the window, and follows the size that the client chose instead of the configured one.
    pub(crate) fn window_committed(&mut self, surface: &WlSurface) {
        self.send_wanted_size(surface);
        let is_resized = self.shell.drag.as_ref().is_some_and(|drag| {
            drag.toplevel.wl_surface() == surface && matches!(drag.kind, Kind::Resize { .. })
        });
        let Some(window) = self.stack.window(surface).cloned() else {
            return;
        };
        let is_floating = !window.fullscreen && window.arrangement == Arrangement::Floating;
        if is_resized
            || !is_floating
            || window.floating_size.is_none()
            || unacknowledged(surface) > 0
        {
            return;
        }
        let Some(rect) = self.stack.rect(&window) else {
            return;
        };
        let size = (rect.width, rect.height);
        if let Some(window) = self.stack.window_mut(&window.toplevel) {
            window.floating_size = Some(size);
        }
        window
            .toplevel
            .with_pending_state(|state| state.size = Some(size.into()));
    }

    /// Handles a button while a window follows the pointer, and later the release of a button that was pressed meanwhile; returns
    /// whether it did. No client receives the event.
    pub(crate) fn drag_button(&mut self, event: &ButtonEvent) -> bool {
        let is_release = event.state == ButtonState::Released;
        let was_withheld = self.shell.withheld_buttons.remove(&event.button);
        let Some(drag) = &self.shell.drag else {
            return is_release && was_withheld;
        };
        let is_end = drag.button == event.button;
        if !is_release {
            self.shell.withheld_buttons.insert(event.button);
        } else if !was_withheld {
            // The button was pressed before the drag. The pointer has no focus, so this ends only Smithay's own count.
            let pointer = self.pointer.clone();
            pointer.button(self, event);
        }
        // The release may have been lost while another session was active, so a press ends the drag as well.
        if is_end {
            self.finish_drag();
        }
        true
    }

    /// Ends the drag of a window that is unmapped or gets another arrangement.
    pub(crate) fn cancel_drag_of(&mut self, toplevel: &ToplevelSurface) {
        let drag = self.shell.drag.as_ref();
        if drag.is_some_and(|drag| drag.toplevel == *toplevel) {
            self.finish_drag();
        }
    }

    /// Ends the drag, and gives the pointer focus back.
    pub(crate) fn finish_drag(&mut self) {
        let Some(drag) = self.shell.drag.take() else {
            return;
        };
        let toplevel = &drag.toplevel;
        if let (Kind::Resize { wanted, .. }, true) = (drag.kind, toplevel.alive()) {
            if let Some(window) = self.stack.window_mut(toplevel) {
                window.floating_size = Some(wanted);
            }
            toplevel.with_pending_state(|state| state.states.unset(xdg_toplevel::State::Resizing));
            self.configure_arrangement(toplevel, false);
        }
        self.assign_output(toplevel);
        self.set_cursor(CursorImageStatus::default_named());
        self.point_at_now(self.pointer.current_location());
    }

    /// Assigns a window to the output that shows its centre.
    fn assign_output(&mut self, toplevel: &ToplevelSurface) {
        let window = self.stack.window(toplevel.wl_surface());
        let Some(rect) = window.and_then(|window| self.stack.rect(window)) else {
            return;
        };
        let output = self.stack.output_at_centre(rect);
        if let Some(id) = output.map(|output| output.id) {
            self.stack.set_window_output(toplevel, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdg_toplevel::ResizeEdge;

    const RECT: Rect = Rect::new(100, 50, 200, 80);

    #[test]
    fn size_follows_the_pointer_at_each_edge_within_the_limits() {
        let size = |edge: ResizeEdge, moved: (i32, i32)| {
            let limits = SizeLimits {
                width: (150, 0),
                height: (0, 90),
            };
            ResizeEdges::new(edge).unwrap().size(RECT, moved, limits)
        };
        assert_eq!(size(ResizeEdge::Right, (10, 10)), (210, 80));
        assert_eq!(size(ResizeEdge::Left, (10, 10)), (190, 80));
        assert_eq!(size(ResizeEdge::TopLeft, (-10, -5)), (210, 85));
        assert_eq!(size(ResizeEdge::BottomRight, (-500, 500)), (150, 90));
        assert_eq!(size(ResizeEdge::Top, (0, i32::MAX)), (200, 1));
        assert_eq!(size(ResizeEdge::Top, (0, i32::MIN)), (200, 90));
    }

    #[test]
    fn limits_that_contradict_each_other_give_the_least_size() {
        let limits = SizeLimits {
            width: (i32::MAX, 5),
            height: (i32::MAX, -1),
        };
        let edges = ResizeEdges::new(ResizeEdge::BottomRight).unwrap();
        assert_eq!(edges.size(RECT, (1, 1), limits), (i32::MAX, i32::MAX));
    }

    #[test]
    fn edges_that_do_not_follow_the_pointer_keep_their_place() {
        let edges = ResizeEdges::nearest(RECT, (110.0, 60.0).into());
        assert_eq!(edges, ResizeEdges::new(ResizeEdge::TopLeft).unwrap());
        let position = edges.position(RECT);
        assert_eq!((position.x.start(50), position.y.start(20)), (250, 110));
        assert_eq!(ResizeEdges::new(ResizeEdge::None), None);
    }
}
