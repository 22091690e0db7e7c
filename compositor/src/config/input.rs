//! The tables `[keyboard]`, `[pointer]`, `[touchpad]` and `[[device]]`.

use smithay::input::keyboard::{XkbConfig, xkb};
use toml::de::DeValue;

use super::problem::Source;
use super::table::{Checked, Table, boolean, choice, integer, number, text};

/// The maximum number of tables `[[device]]`.
const DEVICES_MAX: usize = 64;

/// The maximum number of bytes of the name of a layout, variant, model or option.
const XKB_NAME_MAX: usize = 256;

/// The keyboard. The layout that is empty is that of the environment (`XKB_DEFAULT_LAYOUT`), or else `us`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyboardConfig {
    /// The layouts, separated by commas.
    pub layout: String,
    /// The variants of the layouts, separated by commas.
    pub variant: String,
    /// The model of the keyboard.
    pub model: String,
    /// The options, separated by commas.
    pub options: String,
    /// The number of repeated keys in a second; 0 for none.
    pub repeat_rate: i32,
    /// The time in milliseconds after which a pressed key repeats.
    pub repeat_delay: i32,
}

impl Default for KeyboardConfig {
    fn default() -> Self {
        Self {
            layout: String::new(),
            variant: String::new(),
            model: String::new(),
            options: String::new(),
            repeat_rate: 25,
            repeat_delay: 400,
        }
    }
}

/// The acceleration of a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccelProfile {
    /// Faster motion moves the pointer further.
    Adaptive,
    /// The distance does not depend on the speed.
    Flat,
}

/// How a touchpad without buttons clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClickMethod {
    /// Areas at the lower edge are the buttons.
    ButtonAreas,
    /// The number of fingers is the button.
    Clickfinger,
}

/// How a device scrolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrollMethod {
    /// It does not.
    None,
    /// Two fingers scroll.
    TwoFinger,
    /// A finger at the edge scrolls.
    Edge,
    /// Motion scrolls while a button is pressed.
    OnButtonDown,
}

/// The settings of a pointer device. libinput's default applies where a setting is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceConfig {
    /// The speed, from -1 to 1.
    pub acceleration: Option<f64>,
    /// The profile of the acceleration.
    pub profile: Option<AccelProfile>,
    /// Whether the content follows the fingers.
    pub natural_scroll: Option<bool>,
    /// How the device scrolls.
    pub scroll_method: Option<ScrollMethod>,
    /// Whether the left and the right button are exchanged.
    pub left_handed: Option<bool>,
    /// Whether the left and the right button together are the middle button.
    pub middle_emulation: Option<bool>,
    /// Whether a tap is a click.
    pub tap: Option<bool>,
    /// Whether a tap and a motion drag.
    pub tap_drag: Option<bool>,
    /// How a touchpad clicks.
    pub click_method: Option<ClickMethod>,
    /// Whether a touchpad is off while the user types.
    pub disable_while_typing: Option<bool>,
}

/// The settings of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedDevice {
    /// The name, as `libinput list-devices` prints it.
    pub name: String,
    /// The settings. One that is `None` is that of the device's kind.
    pub config: DeviceConfig,
}

impl KeyboardConfig {
    pub(super) fn read(&mut self, source: &mut Source<'_>, table: &mut Table<'_>) {
        let names = [
            ("layout", &mut self.layout, "de,us"),
            ("variant", &mut self.variant, "nodeadkeys,"),
            ("model", &mut self.model, "pc105"),
            (
                "options",
                &mut self.options,
                "grp:alt_shift_toggle,ctrl:nocaps",
            ),
        ];
        for (key, into, example) in names {
            table.set(source, key, into, xkb_name(example));
        }
        for (key, into, most) in [
            ("repeat-rate", &mut self.repeat_rate, 1000),
            ("repeat-delay", &mut self.repeat_delay, 10_000),
        ] {
            let number = table.take(source, key, integer(0..=most));
            if let Some(number) = number.and_then(|number| i32::try_from(number).ok()) {
                *into = number;
            }
        }
        let mut keys = ["layout", "variant", "model", "options"].into_iter();
        let first = keys.find_map(|key| table.value(key));
        if let Some(first) = first.filter(|_| self.names() != Self::default().names()) {
            if !self.is_compiled() {
                let message = format!(
                    "xkbcommon has no keymap of layout {:?}, variant {:?}, model {:?} and options {:?}: write names that `man xkeyboard-config` lists",
                    self.layout, self.variant, self.model, self.options
                );
                source.problem(&first.span(), message);
            }
        }
    }

    /// Returns the names of the keymap.
    pub(super) fn names(&self) -> [&str; 4] {
        [&self.layout, &self.variant, &self.model, &self.options]
    }

    /// Returns the keymap's names for Smithay.
    pub(super) fn xkb(&self) -> XkbConfig<'_> {
        XkbConfig {
            rules: "",
            model: &self.model,
            layout: &self.layout,
            variant: &self.variant,
            options: (!self.options.is_empty()).then(|| self.options.clone()),
        }
    }

    /// Returns whether xkbcommon can compile the keymap.
    fn is_compiled(&self) -> bool {
        let context = xkb::Context::new(xkb::CONTEXT_NO_FLAGS);
        let config = self.xkb();
        let keymap = xkb::Keymap::new_from_names(
            &context,
            config.rules,
            config.model,
            config.layout,
            config.variant,
            config.options,
            xkb::KEYMAP_COMPILE_NO_FLAGS,
        );
        keymap.is_some()
    }
}

/// Checks for the name of a keymap's part. xkbcommon takes names as parts of paths and as C strings.
fn xkb_name(example: &str) -> impl Fn(&DeValue<'_>) -> Checked<String> {
    move |value| {
        let is_name = |name: &&str| {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-,:+()/|".contains(&byte);
            // A name that begins with a slash would be the path of any file.
            let is_path = |name: &str| name.starts_with('/');
            name.len() <= XKB_NAME_MAX
                && name.bytes().all(is_part)
                && !name.split([',', ':', '+', '(', ')', '|']).any(is_path)
        };
        let name = value.as_str().filter(is_name);
        name.map(str::to_owned)
            .ok_or_else(|| format!("names that are separated by commas, such as {example:?}"))
    }
}

impl DeviceConfig {
    pub(super) fn read(&mut self, source: &mut Source<'_>, table: &mut Table<'_>) {
        let profiles = [
            ("adaptive", AccelProfile::Adaptive),
            ("flat", AccelProfile::Flat),
        ];
        let scrolling = [
            ("none", ScrollMethod::None),
            ("two-finger", ScrollMethod::TwoFinger),
            ("edge", ScrollMethod::Edge),
            ("on-button-down", ScrollMethod::OnButtonDown),
        ];
        let clicking = [
            ("button-areas", ClickMethod::ButtonAreas),
            ("clickfinger", ClickMethod::Clickfinger),
        ];
        self.acceleration = table.take(source, "acceleration", number(-1.0..=1.0));
        self.profile = table.take(source, "profile", choice(&profiles));
        self.natural_scroll = table.take(source, "natural-scroll", boolean);
        self.scroll_method = table.take(source, "scroll-method", choice(&scrolling));
        self.left_handed = table.take(source, "left-handed", boolean);
        self.middle_emulation = table.take(source, "middle-emulation", boolean);
        self.tap = table.take(source, "tap", boolean);
        self.tap_drag = table.take(source, "tap-drag", boolean);
        self.click_method = table.take(source, "click-method", choice(&clicking));
        self.disable_while_typing = table.take(source, "disable-while-typing", boolean);
    }

    /// Returns these settings, and those of `other` where they have none.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self {
            acceleration: self.acceleration.or(other.acceleration),
            profile: self.profile.or(other.profile),
            natural_scroll: self.natural_scroll.or(other.natural_scroll),
            scroll_method: self.scroll_method.or(other.scroll_method),
            left_handed: self.left_handed.or(other.left_handed),
            middle_emulation: self.middle_emulation.or(other.middle_emulation),
            tap: self.tap.or(other.tap),
            tap_drag: self.tap_drag.or(other.tap_drag),
            click_method: self.click_method.or(other.click_method),
            disable_while_typing: self.disable_while_typing.or(other.disable_while_typing),
        }
    }
}

/// Reads all tables `[[device]]`.
pub(super) fn read_devices(source: &mut Source<'_>, root: &mut Table<'_>) -> Vec<NamedDevice> {
    let mut devices = Vec::new();
    for (mut table, at) in root.tables(source, "device", DEVICES_MAX) {
        let name = table.take(source, "name", text("SynPS/2 Synaptics TouchPad"));
        let mut config = DeviceConfig::default();
        config.read(source, &mut table);
        let has_name = table.value("name").is_some();
        table.finish(source);
        match name {
            Some(name) => devices.push(NamedDevice { name, config }),
            None if has_name => {}
            None => {
                let message =
                    "[[device]] has no name: add the one that `libinput list-devices` prints";
                source.problem(&at, message.to_owned());
            }
        }
    }
    devices
}
