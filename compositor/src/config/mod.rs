//! The configuration file: what it can set, and how it is read.
//!
//! ```text
//!   compositor.toml ─▶ files::read ─▶ TOML tables ─▶ Config ─▶ State::apply_config
//!    (inotify watch)   bounded size   (table.rs)   (or a list of problems with line and column)
//! ```
//!
//! The file is input from outside: it is a regular file of bounded size, opened without blocking, and each value is checked
//! where it is taken. A file with one problem is not used at all, so that the compositor never has a part of a configuration.

mod apply;
mod devices;
mod idle;
mod input;
mod keys;
mod output;
mod problem;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use std::path::Path;

use toml::de::{DeTable, DeValue};

pub use self::apply::Configuration;
pub use self::input::{
    AccelProfile, ClickMethod, DeviceConfig, KeyboardConfig, NamedDevice, ScrollMethod,
};
pub use self::output::{OutputMatch, OutputSetting};
pub use self::problem::{ConfigError, Problems};
pub use self::source::{ConfigFile, DEFAULTS, LoadedConfig};

use self::problem::Source;
use self::table::{Checked, Table, boolean, command, integer, nearest, text, unknown_key};
use crate::launch::CommandLine;
use crate::limits::{LimitSetting, Limits, limit_names};
use crate::shell::Bindings;
use crate::stack::BACKGROUND;

/// The maximum number of programs that are started automatically.
const AUTOSTART_MAX: usize = 64;

/// The longest idle time in seconds: a day.
const IDLE_MAX: i64 = 86_400;

/// The configuration. Its default is that of a compositor without a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The settings of outputs. If several match an output, the last one applies.
    pub outputs: Vec<OutputSetting>,
    /// The keyboard.
    pub keyboard: KeyboardConfig,
    /// The settings of all pointers that are no touchpads.
    pub pointer: DeviceConfig,
    /// The settings of all touchpads.
    pub touchpad: DeviceConfig,
    /// The settings of single devices, which apply instead of those of their kind.
    pub devices: Vec<NamedDevice>,
    /// The key bindings.
    pub(crate) bindings: Bindings,
    /// The terminal; `None` for `$TERMINAL` or a known one.
    pub terminal: Option<CommandLine>,
    /// The image of the pointer.
    pub cursor: CursorConfig,
    /// The background colour (`0xAARRGGBB`).
    pub background: u32,
    /// Whether the compositor shows one application, as with `--kiosk`.
    pub kiosk: bool,
    /// The programs that are started with the compositor.
    pub autostart: Vec<CommandLine>,
    /// The limits of each client.
    pub limits: Limits,
    /// What happens when the user does nothing.
    pub idle: IdleConfig,
}

/// The image of the pointer. The environment applies where a setting is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CursorConfig {
    /// The name of the theme.
    pub theme: Option<String>,
    /// The size of the images in pixels.
    pub size: Option<u32>,
}

/// What happens when the user does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdleConfig {
    /// The time without input after which the command is started, in seconds; 0 for never.
    pub after_seconds: u32,
    /// The command, such as a screen locker.
    pub command: Option<CommandLine>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            outputs: Vec::new(),
            keyboard: KeyboardConfig::default(),
            pointer: DeviceConfig::default(),
            touchpad: DeviceConfig::default(),
            devices: Vec::new(),
            bindings: Bindings::default(),
            terminal: None,
            cursor: CursorConfig::default(),
            background: BACKGROUND,
            kiosk: false,
            autostart: Vec::new(),
            limits: Limits::default(),
            idle: IdleConfig::default(),
        }
    }
}

impl Config {
    /// Parses the text of a configuration file. Messages name the path.
    ///
    /// # Errors
    ///
    /// All problems of the text. Nothing of it is to be used then.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Problems> {
        let mut source = Source::new(text, path);
        let (document, errors) = DeTable::parse_recoverable(text);
        source.toml_errors(&errors, document.get_ref());
        let mut config = Self::default();
        // What the TOML parser recovers from a text that is not valid has further problems, which are only consequences.
        if errors.is_empty() {
            config.read(
                &mut source,
                Table::new("the configuration", document.get_ref()),
            );
        }
        if source.problems.is_empty() {
            return Ok(config);
        }
        source.problems.sort();
        Err(source.problems)
    }

    /// Returns whether a text that is not valid would make the compositor show one application. Such a machine must not give its
    /// users a desktop because of an error in its file.
    fn wants_kiosk(text: &str) -> bool {
        let (document, _) = DeTable::parse_recoverable(text);
        let kiosk = document.get_ref().get("kiosk");
        kiosk.and_then(|value| value.get_ref().as_bool()) == Some(true)
    }

    fn read(&mut self, source: &mut Source<'_>, mut root: Table<'_>) {
        self.terminal = root.take(source, "terminal", command);
        root.set(source, "background", &mut self.background, colour);
        root.set(source, "kiosk", &mut self.kiosk, boolean);
        root.set(source, "autostart", &mut self.autostart, commands);
        if let Some(mut table) = root.table(source, "cursor") {
            self.cursor.read(source, &mut table);
            table.finish(source);
        }
        if let Some(mut table) = root.table(source, "idle") {
            self.idle.read(source, &mut table);
            table.finish(source);
        }
        if let Some(mut table) = root.table(source, "keyboard") {
            self.keyboard.read(source, &mut table);
            table.finish(source);
        }
        for (key, device) in [
            ("pointer", &mut self.pointer),
            ("touchpad", &mut self.touchpad),
        ] {
            if let Some(mut table) = root.table(source, key) {
                device.read(source, &mut table);
                table.finish(source);
            }
        }
        self.devices = input::read_devices(source, &mut root);
        self.outputs = output::read_outputs(source, &mut root);
        if let Some(table) = root.table(source, "keys") {
            keys::read(source, &table, &mut self.bindings);
        }
        if let Some(table) = root.table(source, "limits") {
            read_limits(source, &table, &mut self.limits);
        }
        root.finish(source);
    }
}

impl CursorConfig {
    fn read(&mut self, source: &mut Source<'_>, table: &mut Table<'_>) {
        let theme = table.take(source, "theme", theme_name);
        self.theme = theme;
        let size = table.take(source, "size", integer(1..=256));
        self.size = size.and_then(|size| u32::try_from(size).ok());
    }
}

impl IdleConfig {
    fn read(&mut self, source: &mut Source<'_>, table: &mut Table<'_>) {
        let seconds = table.take(source, "seconds", integer(0..=IDLE_MAX));
        self.after_seconds = seconds
            .and_then(|seconds| u32::try_from(seconds).ok())
            .unwrap_or(0);
        self.command = table.take(source, "command", command);
    }
}

/// Checks for the name of a cursor theme, which is a folder.
fn theme_name(value: &DeValue<'_>) -> Checked<String> {
    let name = text("Adwaita")(value).ok();
    let name = name.filter(|name| !name.is_empty() && !name.contains('/') && name != "..");
    name.ok_or_else(|| "the name of an installed theme, such as \"Adwaita\"".to_owned())
}

/// Checks for a colour such as `#303840`.
fn colour(value: &DeValue<'_>) -> Checked<u32> {
    let digits = value.as_str().and_then(|text| text.strip_prefix('#'));
    let digits = digits.filter(|digits| {
        digits.len() == 6 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    });
    digits
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .map(|colour| colour | 0xff00_0000)
        .ok_or_else(|| "red, green and blue as in \"#303840\"".to_owned())
}

/// Checks for a list of commands.
fn commands(value: &DeValue<'_>) -> Checked<Vec<CommandLine>> {
    let right = || {
        format!(
            "a list of at most {AUTOSTART_MAX} commands, each of which is a list of words or a text that the shell runs"
        )
    };
    let array = value
        .as_array()
        .filter(|array| array.len() <= AUTOSTART_MAX);
    let commands = array.ok_or_else(right)?.iter();
    let commands: Checked<Vec<_>> = commands.map(|entry| command(entry.get_ref())).collect();
    commands.map_err(|_| right())
}

/// Reads the limits, whose keys are those of `--limit`.
fn read_limits(source: &mut Source<'_>, table: &Table<'_>, limits: &mut Limits) {
    let names = limit_names();
    for (key, value) in table.entries() {
        let name = key.get_ref().as_ref();
        if !names.contains(&name) {
            unknown_key(source, key, "[limits]", &names);
            continue;
        }
        let checked = table::checked(source, name, value, integer(0..=i64::MAX));
        let value = checked.and_then(|value| u64::try_from(value).ok());
        limits.extend(value.and_then(|value| LimitSetting::of_name(name, value)));
    }
}

/// Returns a part of a message that names the most similar of the known words.
fn nearest_words(word: &str, known: &[&str]) -> String {
    nearest(word, known).map_or_else(String::new, |nearest| {
        format!("; the nearest one is {nearest}")
    })
}
