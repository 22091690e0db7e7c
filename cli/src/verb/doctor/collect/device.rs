//! Reads the properties of cards, V4L2 queues and PCI devices.

use std::path::Path;

use covalent_alloc::backend::drm::{Card, ImportAbility};
use covalent_alloc::backend::v4l2::QueueMemory;
use drm::{Device as _, DriverCapability};

use super::super::snapshot::{CardInfo, Node, NodeKind, QueueInfo, UnboundDevice};
use super::{names, text};
use crate::machine;

/// The first digits of the PCI class of display controllers, as sysfs prints it.
const DISPLAY_CLASS: &str = "0x03";

/// Returns the properties of the cards whose nodes can be opened.
pub(super) fn cards(nodes: &[Node]) -> Vec<CardInfo> {
    usable(nodes, NodeKind::Card)
        .filter_map(|node| Card::open(Path::new(&node.path)).ok())
        .map(|card| CardInfo {
            node: card.path().display().to_string(),
            driver: card.driver().to_owned(),
            imports_foreign: *card.import_ability() == ImportAbility::Foreign,
            import: card.import_ability().to_string(),
            drives_display: card.planes().is_ok_and(|planes| !planes.is_empty()),
            has_timelines: card
                .get_driver_capability(DriverCapability::TimelineSyncObj)
                .is_ok_and(|value| value != 0),
            has_render_node: Card::render_node(card.path()).is_some(),
        })
        .collect()
}

/// Returns the V4L2 queues of the video nodes that can be opened.
pub(super) fn queues(nodes: &[Node]) -> Vec<QueueInfo> {
    usable(nodes, NodeKind::Video)
        .filter_map(|node| {
            let queues = machine::queues(Path::new(&node.path)).ok()?;
            Some(queues.into_iter().map(|queue| QueueInfo {
                name: queue.source_name(),
                node: node.path.clone(),
                needs_contiguous: match queue.memory() {
                    Ok(QueueMemory::Contiguous) => Some(!queue.has_iommu()),
                    Ok(QueueMemory::Virtual | QueueMemory::Scattered) => Some(false),
                    _ => None,
                },
            }))
        })
        .flatten()
        .collect()
}

/// Returns the nodes of a kind that can be opened.
fn usable(nodes: &[Node], kind: NodeKind) -> impl Iterator<Item = &Node> {
    nodes
        .iter()
        .filter(move |node| node.kind == kind && node.is_usable())
}

/// Returns the graphics devices on the PCI bus that have no driver.
pub(super) fn unbound_devices(folder: &Path) -> Vec<UnboundDevice> {
    names(folder)
        .into_iter()
        .filter(|address| {
            let device = folder.join(address);
            text(device.join("class")).starts_with(DISPLAY_CLASS) && !device.join("driver").exists()
        })
        .map(|address| UnboundDevice {
            alias: text(folder.join(&address).join("modalias"))
                .trim()
                .to_owned(),
            address,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn unbound_graphics_device_is_found_by_its_class() {
        let folder = tempfile::tempdir().unwrap();
        for (address, class, has_driver) in [
            ("0000:00:01.0", "0x030000", true),
            ("0000:00:02.0", "0x038000", false),
            ("0000:00:03.0", "0x020000", false),
        ] {
            let device = folder.path().join(address);
            fs::create_dir(&device).unwrap();
            fs::write(device.join("class"), format!("{class}\n")).unwrap();
            fs::write(device.join("modalias"), "pci:v0\n").unwrap();
            if has_driver {
                fs::create_dir(device.join("driver")).unwrap();
            }
        }
        let expected = UnboundDevice {
            address: "0000:00:02.0".to_owned(),
            alias: "pci:v0".to_owned(),
        };
        assert_eq!(unbound_devices(folder.path()), [expected]);
    }
}
