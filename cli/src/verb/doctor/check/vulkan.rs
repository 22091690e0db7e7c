//! Vulkan's loader and drivers.

use super::super::finding::{Finding, Severity};
use super::super::snapshot::Snapshot;

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let vulkan = &snapshot.vulkan;
    let why = "Programs that draw by Vulkan take no part: they are left out of `matrix`, `probe` and `plan --vulkan`.";
    let finding = |id: &str, what: &str| Finding::new(id, Severity::Notes, what, why);
    if !vulkan.has_loader {
        return vec![
            finding(
                "vulkan-loader",
                "there is no Vulkan loader (libvulkan.so.1)",
            )
            .helped_by(snapshot.install(
                "libvulkan1 mesa-vulkan-drivers",
                "vulkan-loader mesa-vulkan-drivers",
                "vulkan-icd-loader vulkan-swrast",
            )),
        ];
    }
    if vulkan.drivers.is_empty() {
        return vec![
            finding("vulkan-driver", "Vulkan has a loader and no driver").helped_by(
                snapshot.install(
                    "mesa-vulkan-drivers",
                    "mesa-vulkan-drivers",
                    "vulkan-swrast",
                ),
            ),
        ];
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    #[test]
    fn loader_and_driver_are_installed_by_each_distributions_names() {
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
