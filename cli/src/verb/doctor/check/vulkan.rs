//! Checks whether the Vulkan loader and a Vulkan driver are installed.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::Snapshot;

/// Returns a finding if the Vulkan loader or all drivers are missing.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let vulkan = &snapshot.vulkan;
    let why = "Buffers cannot be shared with Vulkan: `matrix`, `probe` and `plan --vulkan` have no Vulkan devices.";
    let finding = |id: &str, what: &str| Finding::new(id, Severity::Notes, what, why);
    if !vulkan.has_loader {
        return vec![
            finding(
                "vulkan-loader",
                "there is no Vulkan loader (libvulkan.so.1)",
            )
            .with_command(snapshot.install(
                "libvulkan1 mesa-vulkan-drivers",
                "vulkan-loader mesa-vulkan-drivers",
                "vulkan-icd-loader vulkan-swrast",
            )),
        ];
    }
    if vulkan.drivers.is_empty() {
        return vec![
            finding(
                "vulkan-driver",
                "there is a Vulkan loader, but no Vulkan driver",
            )
            .with_command(snapshot.install(
                "mesa-vulkan-drivers",
                "mesa-vulkan-drivers",
                "vulkan-swrast",
            )),
        ];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    #[test]
    fn missing_loader_and_driver_are_installed_by_the_distributions_packages() {
        let mut snapshot = desktop();
        assert_eq!(check(&snapshot), []);
        snapshot.vulkan.drivers.clear();
        let line = |snapshot: &Snapshot| check(snapshot).remove(0).remedy.unwrap().line;
        assert_eq!(
            line(&snapshot),
            "sudo apt-get install -y mesa-vulkan-drivers"
        );
        snapshot.vulkan.has_loader = false;
        snapshot.distribution = vec!["arch".to_owned()];
        snapshot.user.id = 0;
        assert_eq!(
            line(&snapshot),
            "pacman -S --noconfirm vulkan-icd-loader vulkan-swrast"
        );
    }
}
