//! What the kernel lacks: options that it was built without, and modules that are not loaded.

use super::super::finding::{Finding, Severity};
use super::super::paste;
use super::super::snapshot::{Driverless, Kind, Module, Snapshot};

/// Something of the kernel's that sharing needs.
struct Part {
    id: &'static str,
    option: &'static str,
    /// The module, where it can be one.
    module: Option<&'static str>,
    /// Whether it is there.
    is_there: fn(&Snapshot) -> bool,
    severity: fn(&Snapshot) -> Severity,
    what: &'static str,
    why: &'static str,
}

const PARTS: [Part; 6] = [
    Part {
        id: "udmabuf-missing",
        option: "UDMABUF",
        module: Some("udmabuf"),
        is_there: |snapshot| snapshot.of_kind(Kind::Udmabuf).next().is_some(),
        severity: memory,
        what: "the kernel has no udmabuf",
        why: "udmabuf makes buffers of ordinary memory, which everybody can import who reaches memory page by page; Mesa's Vulkan on the processor shares no images without it, and QEMU's virtio-gpu needs it on the host to import what others allocated.",
    },
    Part {
        id: "heaps-missing",
        option: "DMABUF_HEAPS",
        module: None,
        is_there: |snapshot| has_heap(snapshot, |_| true),
        severity: memory,
        what: "the kernel has no dma-heaps",
        why: "Heaps give memory that belongs to no device: where camera, GPU and display refuse each other's, it is what they can share.",
    },
    Part {
        id: "system-heap-missing",
        option: "DMABUF_HEAPS_SYSTEM",
        module: Some("system_heap"),
        // Without any heap the line above says it.
        is_there: |snapshot| {
            !has_heap(snapshot, |_| true) || has_heap(snapshot, |name| name == "system")
        },
        severity: memory,
        what: "there is no heap of ordinary memory (`system`)",
        why: "It is the cheapest memory that most devices can import.",
    },
    Part {
        id: "cma-heap-missing",
        option: "DMABUF_HEAPS_CMA",
        module: Some("cma_heap"),
        // Without memory set aside there is nothing to give: that is another finding.
        is_there: |snapshot| {
            snapshot.cma_kibibytes.unwrap_or(0) == 0 || has_heap(snapshot, |name| name != "system")
        },
        severity: |snapshot| {
            if snapshot.contiguous_queues().is_empty() {
                Severity::Notes
            } else {
                Severity::Limits
            }
        },
        what: "memory is set aside for contiguous buffers, and no heap gives it",
        why: "Devices without an IOMMU take memory in one piece alone, as many cameras, codecs and displays of small boards do.",
    },
    Part {
        id: "drm-missing",
        option: "DRM",
        module: Some("drm"),
        is_there: |snapshot| {
            snapshot.of_kind(Kind::Card).next().is_some() || !snapshot.driverless.is_empty()
        },
        severity: |_| Severity::Limits,
        what: "there is no graphics card here, real or virtual",
        why: "Nothing can be shown. Cameras, codecs and the processor can share all the same.",
    },
    Part {
        id: "sw-sync-missing",
        option: "SW_SYNC",
        module: Some("sw_sync"),
        is_there: |_| false,
        severity: |_| Severity::Notes,
        what: "the kernel has no software fences (SW_SYNC)",
        why: "Only tests need them, to hold a frame back until they want it.",
    },
];

pub(super) fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings: Vec<Finding> = PARTS
        .iter()
        .filter(|part| !(part.is_there)(snapshot))
        .filter_map(|part| judge(snapshot, part))
        .collect();
    findings.extend(snapshot.driverless.iter().map(|device| {
        let Driverless { address, alias } = device;
        let finding = Finding::new(
            "card-driver",
            Severity::Blocks,
            format!("no driver has taken the graphics device at {address}"),
            "Nothing is shown or drawn by it.",
        );
        let Some(alias) = paste::alias(alias) else {
            return finding.unhelped("what the device is called for modprobe");
        };
        finding.helped_by(snapshot.as_root(&format!("modprobe {alias}")))
        .noting("Where no module is found, this kernel was built without the driver, or its package of more modules is not installed.")
    }));
    findings
}

fn judge(snapshot: &Snapshot, part: &Part) -> Option<Finding> {
    let finding = Finding::new(part.id, (part.severity)(snapshot), part.what, part.why);
    let module = part
        .module
        .and_then(|name| Some((name, *snapshot.kernel.modules.get(name)?)));
    match module {
        Some((name, Module::Available)) => {
            return Some(
                finding
                    .helped_by(snapshot.as_root(&format!("modprobe {name}")))
                    .noting(format!(
                        "To have it at each boot: {}",
                        at_each_boot(snapshot, name)
                    )),
            );
        }
        // It is there, and nothing of it is seen: the card is not, or the node is hidden.
        Some((_, Module::BuiltIn | Module::Loaded)) if part.option == "SW_SYNC" => return None,
        Some((_, Module::BuiltIn | Module::Loaded)) if part.option == "DRM" => {
            return Some(no_card(snapshot, finding));
        }
        _ => {}
    }
    let set = snapshot
        .kernel
        .options
        .as_ref()
        .map(|options| options.get(part.option).cloned().unwrap_or_default());
    let option = part.option;
    Some(match set.as_deref() {
        Some("y" | "m") if option == "DRM" => no_card(snapshot, finding),
        // Built in and not there: nothing that a line mends. SW_SYNC is seen by nobody but root.
        Some("y") if option == "SW_SYNC" => return None,
        Some("y") => finding,
        Some("m") => finding
            .helped_by(snapshot.as_root("apt-get install -y linux-image-$(uname -r)"))
            .noting(format!(
                "CONFIG_{option}=m, and the module is not on this machine: its package is named otherwise on other distributions."
            )),
        Some(_) => finding.helped_by(format!("CONFIG_{option}=y")).noting(format!(
            "Linux {} was built without it: this belongs into the configuration of a kernel that is built anew, or take another kernel of your distribution.",
            snapshot.kernel.release
        )),
        // What only tests need is not guessed at.
        None if option == "SW_SYNC" => return None,
        None => finding.helped_by(format!("CONFIG_{option}=y")).noting(
            "This kernel does not tell its options (neither /proc/config.gz nor a file in /boot): this one may be missing.",
        ),
    })
}

fn no_card(snapshot: &Snapshot, finding: Finding) -> Finding {
    match snapshot.kernel.modules.get("vgem") {
        Some(Module::Available) => finding
            .helped_by(snapshot.as_root("modprobe vgem"))
            .noting("vgem gives memory and fences as a card does, without a display; vkms is a card with one."),
        _ => finding,
    }
}

fn at_each_boot(snapshot: &Snapshot, module: &str) -> String {
    let tee = snapshot.as_root(&format!("tee /etc/modules-load.d/{module}.conf"));
    format!("echo {module} | {tee}")
}

fn has_heap(snapshot: &Snapshot, is: impl Fn(&str) -> bool) -> bool {
    snapshot
        .of_kind(Kind::Heap)
        .filter_map(|node| node.path.rsplit('/').next())
        .any(is)
}

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

    fn without(kind: Kind) -> Snapshot {
        let mut snapshot = desktop();
        snapshot.nodes.retain(|node| node.kind != kind);
        snapshot
    }

    fn only(snapshot: &Snapshot) -> Finding {
        let [finding] = check(snapshot).try_into().unwrap();
        finding
    }

    #[test]
    fn machine_in_order_has_no_finding() {
        assert_eq!(check(&desktop()), []);
    }

    #[test]
    fn module_on_the_disk_is_loaded_by_a_line() {
        let mut snapshot = without(Kind::Udmabuf);
        snapshot
            .kernel
            .modules
            .insert("udmabuf".to_owned(), Module::Available);
        let finding = only(&snapshot);
        assert_eq!(finding.id, "udmabuf-missing");
        assert_eq!(finding.severity, Severity::Limits);
        assert_eq!(finding.remedy.unwrap().line, "sudo modprobe udmabuf");
    }

    #[test]
    fn option_that_is_not_set_is_named() {
        let mut snapshot = without(Kind::Heap);
        let options = snapshot.kernel.options.as_mut().unwrap();
        options.insert("DMABUF_HEAPS".to_owned(), "n".to_owned());
        let remedy = only(&snapshot).remedy.unwrap();
        assert_eq!(remedy.line, "CONFIG_DMABUF_HEAPS=y");
        assert!(remedy.note.unwrap().contains("built without"));
        // What is not known is not said for sure.
        snapshot.kernel.options = None;
        let note = only(&snapshot).remedy.unwrap().note.unwrap();
        assert!(note.contains("may be missing"), "{note}");
    }

    #[test]
    fn heap_of_contiguous_memory_is_missed_where_a_camera_needs_it() {
        let mut snapshot = desktop();
        snapshot.cma_kibibytes = Some(131_072);
        assert_eq!(only(&snapshot).severity, Severity::Notes);
        snapshot.queues[0].needs_contiguous = Some(true);
        let finding = only(&snapshot);
        assert_eq!(finding.id, "cma-heap-missing");
        assert_eq!(finding.severity, Severity::Limits);
    }

    #[test]
    fn graphics_device_without_a_driver_is_in_the_way() {
        let mut snapshot = without(Kind::Card);
        snapshot.driverless.push(Driverless {
            address: "0000:00:02.0".to_owned(),
            alias: "pci:v00001234d00001111sv0sd0bc03sc80i00".to_owned(),
        });
        let finding = only(&snapshot);
        assert_eq!(finding.severity, Severity::Blocks);
        let line = finding.remedy.unwrap().line;
        assert!(line.starts_with("sudo modprobe 'pci:v00001234"), "{line}");
    }

    #[test]
    fn machine_without_a_card_is_offered_a_virtual_one() {
        let mut snapshot = without(Kind::Card);
        snapshot
            .kernel
            .modules
            .insert("vgem".to_owned(), Module::Available);
        assert_eq!(only(&snapshot).remedy.unwrap().line, "sudo modprobe vgem");
    }
}
