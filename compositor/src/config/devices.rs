//! Applies the settings of pointers and touchpads to libinput's devices.

use covalent_alloc::text::printable;
use smithay::backend::input::InputEvent;
use smithay::backend::libinput::LibinputInputBackend;
use smithay::reexports::input::{self, Device, DeviceCapability, DeviceConfigResult};

use super::{AccelProfile, ClickMethod, Config, DeviceConfig, ScrollMethod};
use crate::state::State;

impl State {
    /// Applies the settings to a pointer device that was added, and forgets one that was removed.
    pub(crate) fn note_device(&mut self, event: &InputEvent<LibinputInputBackend>) {
        match event {
            InputEvent::DeviceAdded { device }
                if device.has_capability(DeviceCapability::Pointer) =>
            {
                let mut device = device.clone();
                configure(&mut device, &self.configuration.current);
                self.configuration.devices.push(device);
            }
            InputEvent::DeviceRemoved { device } => {
                self.configuration.devices.retain(|known| known != device);
            }
            _ => {}
        }
    }

    /// Applies the settings to all pointer devices.
    pub(super) fn configure_devices(&mut self) {
        for device in &mut self.configuration.devices {
            configure(device, &self.configuration.current);
        }
    }
}

impl Config {
    /// Returns the settings of a device by its name and kind.
    pub(super) fn of_device(&self, name: &str, is_touchpad: bool) -> DeviceConfig {
        let of_kind = if is_touchpad {
            &self.touchpad
        } else {
            &self.pointer
        };
        let mut named = self.devices.iter().rev();
        let named = named.find(|device| device.name == name);
        named.map_or_else(|| of_kind.clone(), |named| named.config.or(of_kind))
    }
}

/// Applies the settings to a device, and libinput's defaults where there is no setting.
fn configure(device: &mut Device, config: &Config) {
    // As in other compositors, a touchpad is a device that can count fingers for taps.
    let is_touchpad = device.config_tap_finger_count() > 0;
    let name = device.name().to_owned();
    let config = config.of_device(&name, is_touchpad);
    let rejected = |what: &str, result: DeviceConfigResult| {
        if result.is_err() {
            let device = printable(&name);
            tracing::warn!("the input device {device} does not support the configured {what}");
        }
    };
    if device.config_accel_is_available() {
        let speed = config.acceleration;
        let speed = speed.unwrap_or_else(|| device.config_accel_default_speed());
        rejected("acceleration", device.config_accel_set_speed(speed));
        let profile = config.profile.map(|profile| match profile {
            AccelProfile::Adaptive => input::AccelProfile::Adaptive,
            AccelProfile::Flat => input::AccelProfile::Flat,
        });
        if let Some(profile) = profile.or_else(|| device.config_accel_default_profile()) {
            rejected("profile", device.config_accel_set_profile(profile));
        }
    }
    if device.config_scroll_has_natural_scroll() {
        let natural = config.natural_scroll;
        let natural =
            natural.unwrap_or_else(|| device.config_scroll_default_natural_scroll_enabled());
        rejected(
            "natural-scroll",
            device.config_scroll_set_natural_scroll_enabled(natural),
        );
    }
    let scroll = config.scroll_method.map(|method| match method {
        ScrollMethod::None => input::ScrollMethod::NoScroll,
        ScrollMethod::TwoFinger => input::ScrollMethod::TwoFinger,
        ScrollMethod::Edge => input::ScrollMethod::Edge,
        ScrollMethod::OnButtonDown => input::ScrollMethod::OnButtonDown,
    });
    if let Some(method) = scroll.or_else(|| device.config_scroll_default_method()) {
        rejected("scroll-method", device.config_scroll_set_method(method));
    }
    if device.config_left_handed_is_available() {
        let left = config.left_handed;
        let left = left.unwrap_or_else(|| device.config_left_handed_default());
        rejected("left-handed", device.config_left_handed_set(left));
    }
    if device.config_middle_emulation_is_available() {
        let middle = config.middle_emulation;
        let middle = middle.unwrap_or_else(|| device.config_middle_emulation_default_enabled());
        rejected(
            "middle-emulation",
            device.config_middle_emulation_set_enabled(middle),
        );
    }
    if is_touchpad {
        configure_touchpad(device, &config, &rejected);
    }
}

/// Applies the settings that only touchpads have.
fn configure_touchpad(
    device: &mut Device,
    config: &DeviceConfig,
    rejected: &dyn Fn(&str, DeviceConfigResult),
) {
    let tap = config.tap;
    let tap = tap.unwrap_or_else(|| device.config_tap_default_enabled());
    rejected("tap", device.config_tap_set_enabled(tap));
    let drag = config.tap_drag;
    let drag = drag.unwrap_or_else(|| device.config_tap_default_drag_enabled());
    rejected("tap-drag", device.config_tap_set_drag_enabled(drag));
    let click = config.click_method.map(|method| match method {
        ClickMethod::ButtonAreas => input::ClickMethod::ButtonAreas,
        ClickMethod::Clickfinger => input::ClickMethod::Clickfinger,
    });
    if let Some(method) = click.or_else(|| device.config_click_default_method()) {
        rejected("click-method", device.config_click_set_method(method));
    }
    if device.config_dwt_is_available() {
        let typing = config.disable_while_typing;
        let typing = typing.unwrap_or_else(|| device.config_dwt_default_enabled());
        rejected(
            "disable-while-typing",
            device.config_dwt_set_enabled(typing),
        );
    }
}
