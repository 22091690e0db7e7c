//! The actions of the key bindings. They apply to the window with keyboard focus.

use smithay::wayland::shell::xdg::ToplevelSurface;

use crate::launch::CommandLine;
use crate::region::Rect;
use crate::state::State;
use crate::window::{Arrangement, Position};

/// What a key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Shows another virtual console.
    SwitchConsole(i32),
    /// Starts a terminal.
    StartTerminal,
    /// Starts this program.
    Spawn(CommandLine),
    /// Selects the next layout of the keyboard.
    NextLayout,
    /// Reads the configuration file again.
    ReloadConfiguration,
    /// Asks the window to close.
    Close,
    /// Ends the compositor.
    Quit,
    /// Makes the window fullscreen. If it is fullscreen, it gets its previous arrangement back.
    ToggleFullscreen,
    /// Gives the window this arrangement. If it has this arrangement already, it becomes floating.
    Toggle(Arrangement),
    /// Minimises the window.
    Minimize,
    /// Moves the window to the next output.
    NextOutput,
    /// Selects the next window of the switcher.
    NextWindow,
    /// Selects the previous window of the switcher.
    PreviousWindow,
    /// Takes the keys of bindings back from the focused window, or gives them to it again.
    ToggleInhibitor,
}

/// The actions by their names in the configuration.
static NAMES: [(&str, Action); 14] = [
    ("start-terminal", Action::StartTerminal),
    ("close", Action::Close),
    ("quit", Action::Quit),
    ("fullscreen", Action::ToggleFullscreen),
    ("maximize", Action::Toggle(Arrangement::Maximized)),
    ("minimize", Action::Minimize),
    ("left-half", Action::Toggle(Arrangement::LeftHalf)),
    ("right-half", Action::Toggle(Arrangement::RightHalf)),
    ("next-output", Action::NextOutput),
    ("next-window", Action::NextWindow),
    ("previous-window", Action::PreviousWindow),
    ("next-layout", Action::NextLayout),
    ("reload-configuration", Action::ReloadConfiguration),
    ("toggle-inhibitor", Action::ToggleInhibitor),
];

impl Action {
    /// Returns the action that the configuration calls by this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, action)| action.clone())
    }

    /// Returns the names of all actions that have one.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

impl State {
    /// Performs the action that a key is bound to.
    pub(crate) fn perform(&mut self, action: Action) {
        match action {
            Action::SwitchConsole(number) => self.switch_console(number),
            Action::StartTerminal => self.start_terminal(),
            Action::Spawn(program) => self.launch_or_warn(&program, "a key binding"),
            Action::NextLayout => self.select_next_layout(),
            Action::ReloadConfiguration => self.reload_config(),
            Action::Quit => self.handle.stop(),
            Action::NextWindow => self.switch_window(true),
            Action::PreviousWindow => self.switch_window(false),
            Action::ToggleInhibitor => self.toggle_shortcut_inhibitor(),
            _ => {
                let focused = self.focused_window();
                if let Some(toplevel) = focused.map(|window| window.toplevel.clone()) {
                    self.perform_on(action, &toplevel);
                }
            }
        }
    }

    fn select_next_layout(&mut self) {
        if let Some(keyboard) = self.seat.get_keyboard() {
            keyboard.with_xkb_state(self, |mut context| context.cycle_next_layout());
        }
    }

    fn perform_on(&mut self, action: Action, toplevel: &ToplevelSurface) {
        let Some(window) = self.stack.window(toplevel.wl_surface()) else {
            return;
        };
        match action {
            Action::Close => toplevel.send_close(),
            Action::ToggleFullscreen => {
                let fullscreen = !window.fullscreen;
                self.set_fullscreen(toplevel, fullscreen);
                self.configure_arrangement(toplevel, false);
            }
            Action::Toggle(arrangement) => {
                let is_set = window.arrangement == arrangement && !window.fullscreen;
                let arrangement = if is_set {
                    Arrangement::Floating
                } else {
                    arrangement
                };
                self.set_fullscreen(toplevel, false);
                self.arrange(toplevel, arrangement);
                self.configure_arrangement(toplevel, false);
            }
            Action::Minimize => self.minimize(toplevel),
            Action::NextOutput => self.move_to_next_output(toplevel),
            _ => {}
        }
    }

    /// Hides a window until the switcher, an activation token of its client or the user restores it. The next lower window in the
    /// stack gets the focus.
    pub(crate) fn minimize(&mut self, toplevel: &ToplevelSurface) {
        if self.shell.is_kiosk || !self.set_minimized(toplevel, true) {
            return;
        }
        self.cancel_drag_of(toplevel);
        self.stack.lower(toplevel);
        self.update_keyboard_focus();
        self.update_pointer_focus();
        self.outputs.schedule_redraw();
    }

    /// Moves a window to the next output, at the same distance from the output's corner.
    fn move_to_next_output(&mut self, toplevel: &ToplevelSurface) {
        let Some(window) = self.stack.window(toplevel.wl_surface()) else {
            return;
        };
        let outputs = self.stack.outputs();
        let current = self.stack.output_of(window);
        let index = outputs.iter().position(|output| Some(output) == current);
        let next = index.and_then(|index| {
            outputs
                .get(index.saturating_add(1))
                .or_else(|| outputs.first())
        });
        let (Some(from), Some(next)) = (current.copied(), next.copied()) else {
            return;
        };
        if from.id == next.id {
            return;
        }
        let rect = self.stack.rect(window);
        let position = rect.filter(|_| window.position.is_some()).map(|rect| {
            let [from, next] = [from, next].map(|output| self.stack.usable_area(&output, false));
            Position::of_corner(same_place(rect, from, next))
        });
        if let Some(window) = self.stack.window_mut(toplevel) {
            window.output = Some(next.id);
            window.position = position;
        }
        self.configure_arrangement(toplevel, false);
        self.update_pointer_focus();
    }
}

/// Returns the upper left corner for a window with the rectangle `rect` that is moved from the output `from` to the output `to`.
/// Its distance from the corner of the output stays the same, but the window stays within the output.
fn same_place(rect: Rect, from: Rect, to: Rect) -> (i32, i32) {
    let along = |start: i32, size: i32, from: i32, (to, length): (i32, i32)| {
        let offset = start.saturating_sub(from);
        let most = length.saturating_sub(size).max(0);
        to.saturating_add(offset.clamp(0, most))
    };
    (
        along(rect.x, rect.width, from.x, (to.x, to.width)),
        along(rect.y, rect.height, from.y, (to.y, to.height)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_keeps_its_place_on_another_output_where_it_fits() {
        let (from, to) = (Rect::new(0, 0, 800, 600), Rect::new(800, 100, 320, 240));
        let corner = |rect: Rect| same_place(rect, from, to);
        assert_eq!(corner(Rect::new(20, 30, 100, 100)), (820, 130));
        assert_eq!(corner(Rect::new(700, 500, 100, 100)), (1020, 240));
        assert_eq!(corner(Rect::new(-50, 0, 1000, 100)), (800, 100));
    }
}
