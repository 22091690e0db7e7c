//! Checks for kernel features: options that the kernel was built without, and modules that are not loaded.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::{ModuleState, NodeKind, Snapshot, UnboundDevice};

/// A kernel feature that buffer sharing uses.
struct KernelFeature {
    id: &'static str,
    /// The kernel option without `CONFIG_`.
    option: &'static str,
    /// The module, if the feature can be built as one.
    module: Option<&'static str>,
    /// Returns whether the feature is available.
    is_present: fn(&Snapshot) -> bool,
    severity: fn(&Snapshot) -> Severity,
    what: &'static str,
    why: &'static str,
}

const FEATURES: [KernelFeature; 6] = [
    KernelFeature {
        id: "udmabuf-missing",
        option: "UDMABUF",
        module: Some("udmabuf"),
        is_present: |snapshot| snapshot.of_kind(NodeKind::Udmabuf).next().is_some(),
        severity: memory,
        what: "the kernel has no udmabuf",
        why: "udmabuf makes dma-bufs of ordinary memory, which every device can import that does not need contiguous memory. Without it lavapipe, Mesa's software Vulkan, cannot share images; and QEMU's virtio-gpu needs it on the host to import other devices' buffers.",
    },
    KernelFeature {
        id: "heaps-missing",
        option: "DMABUF_HEAPS",
        module: None,
        is_present: |snapshot| has_heap(snapshot, |_| true),
        severity: memory,
        what: "the kernel has no dma-heaps",
        why: "A dma-heap allocates memory that belongs to no device. If camera, GPU and display cannot import each other's buffers, they can share these.",
    },
    KernelFeature {
        id: "system-heap-missing",
        option: "DMABUF_HEAPS_SYSTEM",
        module: Some("system_heap"),
        // If the machine has no dma-heap at all, the entry `heaps-missing` produces the finding.
        is_present: |snapshot| {
            !has_heap(snapshot, |_| true) || has_heap(snapshot, |name| name == "system")
        },
        severity: memory,
        what: "there is no dma-heap `system`, which allocates ordinary memory",
        why: "Its memory is the cheapest that most devices can import.",
    },
    KernelFeature {
        id: "cma-heap-missing",
        option: "DMABUF_HEAPS_CMA",
        module: Some("cma_heap"),
        // Without CMA memory such a heap could allocate nothing. A check in `memory.rs` reports missing CMA memory.
        is_present: |snapshot| {
            snapshot.cma_kibibytes.unwrap_or(0) == 0 || has_heap(snapshot, |name| name != "system")
        },
        severity: |snapshot| {
            if snapshot.contiguous_queues().is_empty() {
                Severity::Notes
            } else {
                Severity::Limits
            }
        },
        what: "memory is reserved for contiguous buffers (CMA), but no dma-heap allocates it",
        why: "Devices without an IOMMU can import only contiguous memory. Many cameras, codecs and displays of small boards are such devices.",
    },
    KernelFeature {
        id: "drm-missing",
        option: "DRM",
        module: Some("drm"),
        is_present: |snapshot| {
            snapshot.of_kind(NodeKind::Card).next().is_some()
                || !snapshot.unbound_devices.is_empty()
        },
        severity: |_| Severity::Limits,
        what: "there is no graphics card on this machine, real or virtual",
        why: "Nothing can be displayed. Cameras, codecs and the CPU can share buffers nevertheless.",
    },
    KernelFeature {
        id: "sw-sync-missing",
        option: "SW_SYNC",
        module: Some("sw_sync"),
        is_present: |_| false,
        severity: |_| Severity::Notes,
        what: "the kernel has no software fences (SW_SYNC)",
        why: "Only tests need software fences: a test delays a frame until it signals the frame's fence.",
    },
];

/// Returns a finding for each missing kernel feature, and for each graphics device without a driver.
pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings: Vec<Finding> = FEATURES
        .iter()
        .filter(|feature| !(feature.is_present)(snapshot))
        .filter_map(|feature| missing_feature(snapshot, feature))
        .collect();
    findings.extend(snapshot.unbound_devices.iter().map(|device| {
        let UnboundDevice { address, alias } = device;
        let finding = Finding::new(
            "card-driver",
            Severity::Blocks,
            format!("no driver is bound to the graphics device at {address}"),
            "The device can neither display nor render.",
        );
        let Some(alias) = paste::alias(alias) else {
            return finding.without_remedy("the modalias of the device");
        };
        finding.with_command(snapshot.as_root(&format!("modprobe {alias}")))
        .with_note("If modprobe finds no module, this kernel was built without the driver, or its package with further modules is not installed.")
    }));
    findings
}

/// Returns the finding for a feature that is not available; `None` if it is not known whether the feature is available.
fn missing_feature(snapshot: &Snapshot, feature: &KernelFeature) -> Option<Finding> {
    let finding = Finding::new(
        feature.id,
        (feature.severity)(snapshot),
        feature.what,
        feature.why,
    );
    let module = feature
        .module
        .and_then(|name| Some((name, *snapshot.kernel.modules.get(name)?)));
    match module {
        Some((name, ModuleState::Available)) => {
            return Some(
                finding
                    .with_command(snapshot.as_root(&format!("modprobe {name}")))
                    .with_note(format!(
                        "To load it at each boot: {}",
                        at_each_boot(snapshot, name)
                    )),
            );
        }
        // The module is loaded or built in, but the feature is not visible: this user may not read debugfs, or the machine has no
        // card.
        Some((_, ModuleState::BuiltIn | ModuleState::Loaded)) if feature.option == "SW_SYNC" => {
            return None;
        }
        Some((_, ModuleState::BuiltIn | ModuleState::Loaded)) if feature.option == "DRM" => {
            return Some(no_card(snapshot, finding));
        }
        _ => {}
    }
    let set = snapshot
        .kernel
        .options
        .as_ref()
        .map(|options| options.get(feature.option).cloned().unwrap_or_default());
    let option = feature.option;
    Some(match set.as_deref() {
        Some("y" | "m") if option == "DRM" => no_card(snapshot, finding),
        // The option is set to `y`, but the device is missing, so no command helps. SW_SYNC is in debugfs, which only root can
        // read.
        Some("y") if option == "SW_SYNC" => return None,
        Some("y") => finding,
        Some("m") => finding
            .with_command(snapshot.as_root("apt-get install -y linux-image-$(uname -r)"))
            .with_note(format!(
                "The kernel has CONFIG_{option}=m, but the module is not installed. On other distributions its package has another name."
            )),
        Some(_) => finding.with_command(format!("CONFIG_{option}=y")).with_note(format!(
            "Linux {} was built without this option: set it and build the kernel again, or install another kernel of the distribution.",
            snapshot.kernel.release
        )),
        // If the kernel's options cannot be read, it is not known whether SW_SYNC is missing. No finding is reported, because
        // only tests need SW_SYNC.
        None if option == "SW_SYNC" => return None,
        None => finding.with_command(format!("CONFIG_{option}=y")).with_note(
            "The options of this kernel cannot be read (there is neither /proc/config.gz nor a file in /boot): this option may be missing.",
        ),
    })
}

/// Proposes a virtual card.
fn no_card(snapshot: &Snapshot, finding: Finding) -> Finding {
    match snapshot.kernel.modules.get("vgem") {
        Some(ModuleState::Available) => finding
            .with_command(snapshot.as_root("modprobe vgem"))
            .with_note("vgem is a virtual card with memory and fences, without a display; vkms is one with a display."),
        _ => finding,
    }
}

/// Returns the command that lets systemd load a kernel module at each boot.
fn at_each_boot(snapshot: &Snapshot, module: &str) -> String {
    let tee = snapshot.as_root(&format!("tee /etc/modules-load.d/{module}.conf"));
    format!("echo {module} | {tee}")
}

/// Returns whether there is a dma-heap for whose name `is` returns true.
fn has_heap(snapshot: &Snapshot, is: impl Fn(&str) -> bool) -> bool {
    snapshot
        .of_kind(NodeKind::Heap)
        .filter_map(|node| node.path.rsplit('/').next())
        .any(is)
}

/// Returns the severity of a missing source of memory: limiting if another source exists, and blocking otherwise.
fn memory(snapshot: &Snapshot) -> Severity {
    if snapshot.has_memory() {
        Severity::Limits
    } else {
        Severity::Blocks
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::desktop;
    use super::*;

    fn without(kind: NodeKind) -> Snapshot {
        let mut snapshot = desktop();
        snapshot.nodes.retain(|node| node.kind != kind);
        snapshot
    }

    fn only(snapshot: &Snapshot) -> Finding {
        let [finding] = check(snapshot).try_into().unwrap();
        finding
    }

    #[test]
    fn machine_without_problems_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn module_that_is_not_loaded_is_remedied_by_modprobe() {
        let mut snapshot = without(NodeKind::Udmabuf);
        snapshot
            .kernel
            .modules
            .insert("udmabuf".to_owned(), ModuleState::Available);
        let finding = only(&snapshot);
        assert_eq!(finding.id, "udmabuf-missing");
        assert_eq!(finding.severity, Severity::Limits);
        assert_eq!(finding.remedy.unwrap().line, "sudo modprobe udmabuf");
    }

    #[test]
    fn option_that_is_not_set_is_named_in_the_line() {
        let mut snapshot = without(NodeKind::Heap);
        let options = snapshot.kernel.options.as_mut().unwrap();
        options.insert("DMABUF_HEAPS".to_owned(), "n".to_owned());
        let remedy = only(&snapshot).remedy.unwrap();
        assert_eq!(remedy.line, "CONFIG_DMABUF_HEAPS=y");
        assert!(remedy.note.unwrap().contains("built without"));
        // If the kernel's options cannot be read, the note says only that the option may be missing.
        snapshot.kernel.options = None;
        let note = only(&snapshot).remedy.unwrap().note.unwrap();
        assert!(note.contains("may be missing"), "{note}");
    }

    #[test]
    fn missing_cma_heap_limits_only_if_a_camera_needs_it() {
        let mut snapshot = desktop();
        snapshot.cma_kibibytes = Some(131_072);
        assert_eq!(only(&snapshot).severity, Severity::Notes);
        snapshot.queues[0].needs_contiguous = Some(true);
        let finding = only(&snapshot);
        assert_eq!(finding.id, "cma-heap-missing");
        assert_eq!(finding.severity, Severity::Limits);
    }

    #[test]
    fn unbound_graphics_device_blocks() {
        let mut snapshot = without(NodeKind::Card);
        snapshot.unbound_devices.push(UnboundDevice {
            address: "0000:00:02.0".to_owned(),
            alias: "pci:v00001234d00001111sv0sd0bc03sc80i00".to_owned(),
        });
        let finding = only(&snapshot);
        assert_eq!(finding.severity, Severity::Blocks);
        let line = finding.remedy.unwrap().line;
        assert!(line.starts_with("sudo modprobe 'pci:v00001234"), "{line}");
    }

    #[test]
    fn machine_without_a_card_is_remedied_by_a_virtual_card() {
        let mut snapshot = without(NodeKind::Card);
        snapshot
            .kernel
            .modules
            .insert("vgem".to_owned(), ModuleState::Available);
        assert_eq!(only(&snapshot).remedy.unwrap().line, "sudo modprobe vgem");
    }
}
