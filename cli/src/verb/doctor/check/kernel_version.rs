//! Checks for kernel interfaces that a newer kernel has.

use covalent_alloc::machine::{InterfacePurpose, KernelVersion, missing_interfaces};

use super::super::finding::{Finding, Severity};
use super::super::snapshot::Snapshot;

/// Returns a finding for each interface that the running kernel is too old for.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let Some(kernel) = KernelVersion::of_release(&snapshot.kernel.release) else {
        return Vec::new();
    };
    missing_interfaces(kernel)
        .map(|interface| {
            // Without an interface for memory, fewer devices can share buffers. Without the other interfaces everything works,
            // but more slowly or with a different appearance.
            let severity = match interface.purpose {
                InterfacePurpose::Memory if interface.id != "cma-heap-name" => Severity::Limits,
                _ => Severity::Notes,
            };
            Finding::new(
                format!("kernel-without-{}", interface.id),
                severity,
                format!(
                    "Linux {kernel} has no {}, which came with Linux {}",
                    interface.name, interface.since
                ),
                interface.effect,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    fn ids(release: &str) -> Vec<String> {
        let mut snapshot = desktop();
        snapshot.kernel.release = release.to_owned();
        check(&snapshot)
            .into_iter()
            .map(|finding| finding.id)
            .collect()
    }

    #[test]
    fn old_kernel_is_told_each_interface_with_version_and_effect() {
        assert_eq!(ids("7.3.4+deb13-amd64"), [""; 0]);
        assert_eq!(ids("no version"), [""; 0]);
        let of_6_1 = ids("6.1.0-49-amd64");
        assert!(of_6_1.contains(&"kernel-without-syncobj-eventfd".to_owned()));
        assert!(!of_6_1.contains(&"kernel-without-export-sync-file".to_owned()));
        let mut snapshot = desktop();
        snapshot.kernel.release = "5.10.0-30-amd64".to_owned();
        let finding = check(&snapshot)
            .into_iter()
            .find(|finding| finding.id == "kernel-without-export-sync-file")
            .unwrap();
        assert!(finding.what.contains("Linux 5.10") && finding.what.contains("Linux 6.0"));
        assert!(finding.why.contains("implicit fences"), "{}", finding.why);
    }
}
