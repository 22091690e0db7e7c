//! The window switcher: while Alt, or another modifier of its binding, is pressed, each Tab raises and focuses the next window in
//! the order in which they were used.

use smithay::wayland::shell::xdg::ToplevelSurface;

use crate::state::State;

/// The windows in the order before the switch, and the selected one.
#[derive(Debug)]
pub(super) struct Switcher {
    /// The windows, in the order in which they were last used; the most recent is first.
    order: Vec<ToplevelSurface>,
    selected: usize,
    /// The selected window, if it was minimised before it was selected.
    restored: Option<ToplevelSurface>,
}

impl State {
    /// Selects the next or the previous window of the switcher, which is started if it is not active.
    pub(super) fn switch_window(&mut self, forward: bool) {
        let mut switcher = self.shell.switcher.take().unwrap_or_else(|| {
            let windows = self.stack.windows().iter().rev();
            let mapped = windows.filter(|window| self.stack.is_mapped(window));
            let order: Vec<_> = mapped.map(|window| window.toplevel.clone()).collect();
            let focused = self.stack.top_visible().map(|window| &window.toplevel);
            // If no window has the focus, the first step selects the most recently used window.
            let is_first_focused = order.first() == focused;
            Switcher {
                selected: if forward && !is_first_focused {
                    order.len().saturating_sub(1)
                } else {
                    0
                },
                order,
                restored: None,
            }
        });
        let count = switcher.order.len();
        let step = if forward { 1 } else { count.saturating_sub(1) };
        // Windows that were unmapped since the switch began are skipped.
        let next = (0..count)
            .scan(switcher.selected, |at, _| {
                *at = at.saturating_add(step).checked_rem(count)?;
                Some(*at)
            })
            .find(|index| {
                let window = switcher.order.get(*index);
                window.is_some_and(|window| self.is_window_mapped(window))
            });
        let Some((next, toplevel)) =
            next.and_then(|index| Some((index, switcher.order.get(index)?.clone())))
        else {
            return;
        };
        switcher.selected = next;
        if let Some(restored) = switcher.restored.take() {
            self.set_minimized(&restored, true);
        }
        for window in switcher.order.iter().rev() {
            self.stack.raise(window);
        }
        if self.set_minimized(&toplevel, false) {
            switcher.restored = Some(toplevel.clone());
        }
        self.activate(&toplevel);
        self.shell.switcher = Some(switcher);
    }

    /// Returns whether the window of this toplevel is still mapped.
    fn is_window_mapped(&self, toplevel: &ToplevelSurface) -> bool {
        let window = self.stack.window(toplevel.wl_surface());
        // The client may have created another toplevel for the surface since the switch began.
        window.is_some_and(|window| window.toplevel == *toplevel && self.stack.is_mapped(window))
    }

    /// Sets whether a window is minimised; returns whether this changed.
    pub(crate) fn set_minimized(&mut self, toplevel: &ToplevelSurface, minimized: bool) -> bool {
        let window = self.stack.window_mut(toplevel);
        window
            .is_some_and(|window| std::mem::replace(&mut window.minimized, minimized) != minimized)
    }
}
