//! Checks whether this machine and the image's kernel can run a guest.

use super::config::Config;
use super::image::Image;
use super::qemu::{Machine, has_desktop};
use crate::wire::Module;

/// Returns why this machine cannot run a guest with this hardware; `None` if it can run the guest.
#[must_use]
pub fn unavailable(image: &Image, machine: &Machine) -> Option<String> {
    let lacks = |program: &str| !image.root.folder().join("usr/bin").join(program).exists();
    if machine.watch && !has_desktop(|name| std::env::var_os(name)) {
        return Some(
            "there is no desktop to show a window on (neither DISPLAY nor WAYLAND_DISPLAY is set)"
                .to_owned(),
        );
    }
    let display = machine.config.display_module();
    if let Some(module) = image
        .missing_modules
        .iter()
        .find(|module| module.name == display)
    {
        return Some(format!(
            "Linux {} has no module {display}: {}",
            image.versions.kernel, module.reason
        ));
    }
    if machine.config.needs_x_server() && !machine.watch && lacks("Xvfb") {
        return Some(
            "the root file system has no Xvfb, the X server that QEMU needs to draw with GL"
                .to_owned(),
        );
    }
    None
}

/// Returns the kernel modules that the guest loads: the modules of its configuration that the kernel has.
pub(super) fn loaded_modules(image: &Image, config: Config) -> Vec<Module> {
    let is_missing = |name: &str| {
        image
            .missing_modules
            .iter()
            .any(|module| module.name == name)
    };
    let mut modules = config.modules();
    modules.retain(|module| !is_missing(&module.name));
    modules
}
