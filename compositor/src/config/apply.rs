//! Applies a configuration to the running compositor, at the start and when the file has changed.

use smithay::reexports::input::Device;

use super::watch::Watch;
use super::{Config, ConfigError, ConfigFile, KeyboardConfig, LoadedConfig};
use crate::launch::CommandLine;
use crate::options::{Options, OutputConfig};
use crate::state::State;

/// The maximum number of problems of a file that the log gets. `--check-config` prints more.
const LOGGED_MAX: usize = 8;

/// The configuration of the running compositor.
#[derive(Debug, Default)]
pub struct Configuration {
    /// The configuration that applies.
    pub(super) current: Config,
    /// The file from which it is read.
    pub(super) file: Option<ConfigFile>,
    /// The text of the file when it was last read, valid or not; `None` if it could not be read.
    text: Option<String>,
    pub(super) watch: Option<Watch>,
    /// The pointer devices that libinput has reported.
    pub(super) devices: Vec<Device>,
}

impl Configuration {
    /// Returns the configuration that applies.
    pub fn current(&self) -> &Config {
        &self.current
    }
}

impl Options {
    /// Adds what the configuration sets and the command line does not.
    pub fn add_config(&mut self, config: &Config) {
        self.file_outputs.clone_from(&config.outputs);
        self.kiosk |= config.kiosk;
    }
}

impl State {
    /// Applies the configuration that was read at the start, and watches its file.
    pub fn start_config(&mut self, loaded: LoadedConfig) {
        self.configuration.file = loaded.file;
        self.configuration.text = loaded.text;
        // Kiosk and the outputs' modes have been taken from it before.
        self.configuration.current.kiosk = loaded.config.kiosk;
        self.configuration
            .current
            .outputs
            .clone_from(&loaded.config.outputs);
        self.apply_config(loaded.config);
        self.watch_config();
    }

    /// Starts the programs that the configuration starts automatically.
    pub fn start_automatic_programs(&mut self) {
        for program in self.configuration.current.autostart.clone() {
            self.launch_or_warn(&program, "autostart");
        }
    }

    /// Reads the configuration file again. A file that is valid is applied. Another one changes nothing, and the log says why.
    pub fn reload_config(&mut self) {
        let Some(file) = self.configuration.file.clone() else {
            tracing::warn!("there is no configuration file that could be read again");
            return;
        };
        let text = match file.read() {
            Ok(text) => text,
            Err(error) => {
                let was_read = self.configuration.text.take().is_some();
                if was_read || !error.is_not_found() {
                    log_rejected(&error);
                }
                return;
            }
        };
        if self.configuration.text.as_ref() == Some(&text) {
            return;
        }
        let parsed = Config::parse(&text, file.path());
        self.configuration.text = Some(text);
        match parsed {
            Ok(config) => {
                self.apply_config(config);
                tracing::info!(path = %file.path().display(), "the configuration was read again");
            }
            Err(problems) => log_rejected(&ConfigError::Content(problems)),
        }
    }

    /// Applies a configuration as far as it can change at run time, and logs which changes need a restart.
    pub fn apply_config(&mut self, config: Config) {
        let old = std::mem::replace(&mut self.configuration.current, config);
        let new = self.configuration.current.clone();
        let mut limits = new.limits;
        limits.extend(self.outputs.options.limit.iter().copied());
        self.connections.set_limits(limits);
        self.shell.bindings = new.bindings;
        if new.background != old.background {
            self.stack.background = Some(new.background);
            self.outputs.schedule_redraw();
        }
        if new.cursor != old.cursor {
            self.set_cursor_theme(new.cursor.theme.as_deref(), new.cursor.size);
        }
        if new.keyboard != old.keyboard {
            self.apply_keyboard(&new.keyboard, &old.keyboard);
        }
        if new.outputs != old.outputs {
            self.outputs.options.file_outputs = new.outputs;
        }
        self.apply_outputs();
        self.configure_devices();
        if new.idle != old.idle {
            self.apply_idle();
        }
        if new.kiosk != old.kiosk {
            log_restart("kiosk");
        }
        if new.autostart != old.autostart && self.shell.socket().is_some() {
            log_restart("autostart");
        }
    }

    fn apply_keyboard(&mut self, new: &KeyboardConfig, old: &KeyboardConfig) {
        let Some(keyboard) = self.seat.get_keyboard() else {
            return;
        };
        if new.names() != old.names() {
            // The keymap was compiled when the file was parsed, so it only fails if its files have changed since.
            if let Err(error) = keyboard.set_xkb_config(self, new.xkb()) {
                tracing::error!(%error, layout = new.layout, "the keymap cannot be loaded, so that the previous one is kept");
            }
        }
        keyboard.change_repeat_info(new.repeat_rate, new.repeat_delay);
    }

    /// Applies scale, transform and position of each output.
    fn apply_outputs(&mut self) {
        let options = &self.outputs.options;
        let configs: Vec<_> = self
            .outputs
            .iter()
            .map(|screen| {
                let backend = screen.backend();
                let config = options.config_of(backend.name(), &backend.monitor());
                (screen.id(), config)
            })
            .collect();
        let mut is_changed = false;
        for (id, config) in configs {
            let Some(screen) = self.outputs.get_mut(id) else {
                continue;
            };
            let old = screen.config().clone();
            if config == old {
                continue;
            }
            if (config.mode, config.off) != (old.mode, old.off) {
                log_restart(&format!("mode and off of the output {}", config.name));
            }
            screen.set_config(OutputConfig {
                mode: old.mode,
                off: old.off,
                ..config
            });
            is_changed = true;
        }
        if is_changed {
            self.layout_changed();
        }
    }

    /// Returns the terminal of the configuration.
    pub(crate) fn configured_terminal(&self) -> Option<CommandLine> {
        self.configuration.current.terminal.clone()
    }
}

/// Logs why a file is not used.
pub(super) fn log_rejected(error: &ConfigError) {
    let lines = error.lines();
    for line in lines.iter().take(LOGGED_MAX) {
        tracing::error!("{line}");
    }
    tracing::error!(
        problems = lines.len(),
        "the configuration file is not used, and the previous configuration still applies; `covalent-compositor --check-config` checks the file"
    );
}

fn log_restart(what: &str) {
    tracing::warn!("the configuration of {what} applies when the compositor is started again");
}
