//! Starts a command when the user does nothing for some time. [`crate::idle`] has the time.

use std::time::Duration;

use crate::state::State;

impl State {
    /// Begins the idle time of the current configuration.
    pub(super) fn apply_idle(&mut self) {
        let idle = &self.configuration.current.idle;
        let is_used = idle.after_seconds > 0 && idle.command.is_some();
        let time = is_used.then(|| Duration::from_secs(idle.after_seconds.into()));
        self.set_idle_command_time(time);
    }

    /// Starts the configured command.
    pub(crate) fn start_idle_command(&mut self) {
        if let Some(command) = self.configuration.current.idle.command.clone() {
            self.launch_or_warn(&command, "the idle time");
        }
    }
}
