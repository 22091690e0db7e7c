//! The reserved memory of the devicetree, with the dma-heaps that allocate from it and the devices that use it.

use std::io::{self, Write};

use covalent_alloc::backend::devicetree;
use covalent_alloc::constraint::{SourceId, SourceKind};
use covalent_alloc::machine::{Region, ReservedMemory};
use serde::Serialize;

use super::Found;
use crate::out::line;

/// A region of reserved memory with its heaps and devices.
#[derive(Debug, Serialize)]
pub(super) struct MatchedRegion {
    /// The name of the region's node.
    name: String,
    #[serde(flatten)]
    region: Region,
    /// The heaps that allocate from the region.
    heaps: Vec<SourceId>,
    /// The devices that use the region.
    users: Vec<User>,
}

/// A device that uses a region.
#[derive(Debug, Serialize)]
struct User {
    /// The device's node in the devicetree.
    node: String,
    /// The participants of this device.
    participants: Vec<String>,
}

/// Matches every region of the devicetree to heaps and devices.
pub(super) fn matched(reserved: &ReservedMemory, found: &Found) -> Vec<MatchedRegion> {
    reserved
        .regions
        .iter()
        .map(|region| MatchedRegion {
            name: region.name().to_owned(),
            region: region.clone(),
            heaps: heaps(reserved, region, found),
            users: users(reserved, region, found),
        })
        .collect()
}

/// Returns the dma-heaps that allocate from a region.
fn heaps(reserved: &ReservedMemory, region: &Region, found: &Found) -> Vec<SourceId> {
    let allocates_from_region = |id: &SourceId| {
        let is_heap = SourceKind::of(id) == SourceKind::Heap;
        let heap = id.as_str().split_once(':').filter(|_| is_heap);
        let heap = heap.map(|(_, name)| name);
        heap.and_then(|heap| reserved.region_of_heap(heap)) == Some(region)
    };
    let ids = found.sources.iter().map(|source| &source.id);
    ids.filter(|id| allocates_from_region(id))
        .cloned()
        .collect()
}

/// Returns the devices that use a region, with their participants.
fn users(reserved: &ReservedMemory, region: &Region, found: &Found) -> Vec<User> {
    reserved
        .users
        .iter()
        .filter(|user| user.regions.contains(&region.path))
        .map(|user| User {
            node: user.node.clone(),
            participants: found
                .participants
                .iter()
                .filter(|participant| {
                    devicetree::node_of(&participant.device).as_ref() == Some(&user.node)
                })
                .map(|participant| participant.name.clone())
                .collect(),
        })
        .collect()
}

/// Writes every region with its heaps and devices.
pub(super) fn write(out: &mut impl Write, regions: &[MatchedRegion]) -> io::Result<()> {
    line!(*out, "Reserved memory (devicetree):")?;
    if regions.is_empty() {
        line!(*out, "  none")?;
    }
    for matched in regions {
        line!(*out, "  {}: {}", matched.name, description(&matched.region))?;
        for heap in &matched.heaps {
            line!(*out, "      allocated by {heap}")?;
        }
        for user in &matched.users {
            let names = user.participants.join(", ");
            let names = if names.is_empty() {
                names
            } else {
                format!(" ({names})")
            };
            line!(*out, "      used by {}{names}", user.node)?;
        }
    }
    Ok(())
}

/// Describes the size, the address and the use of a region.
fn description(region: &Region) -> String {
    let size = region.size_bytes.map_or_else(
        || "of unknown size".to_owned(),
        |bytes| format!("{} KiB", bytes >> 10),
    );
    let window = region.window();
    let address = match (region.ranges.is_empty(), region.allowed.is_empty()) {
        (true, true) => "at any address".to_owned(),
        (is_dynamic, _) => format!(
            "{} {:#x} to {:#x}",
            if is_dynamic { "within" } else { "at" },
            window.lowest,
            window.highest
        ),
    };
    let kind = match (region.is_pool(), region.reusable, region.no_map) {
        (true, true, false) if region.is_default => "the default pool, a CMA area",
        (true, true, false) => "a pool, a CMA area",
        (true, ..) => "a pool",
        (false, _, true) => "reserved, not mapped by the kernel",
        (false, ..) => "reserved",
    };
    format!("{size} {address}, {kind}")
}

#[cfg(test)]
mod tests {
    use covalent_alloc::constraint::AddressWindow;
    use covalent_alloc::model::Extent;

    use super::*;

    fn pool() -> ReservedMemory {
        let mut reserved = ReservedMemory::default();
        reserved.regions.push(Region {
            path: "/reserved-memory/linux,cma".to_owned(),
            compatible: vec!["shared-dma-pool".to_owned()],
            size_bytes: Some(64 << 20),
            allowed: vec![AddressWindow::of_bits(30)],
            reusable: true,
            is_default: true,
            ..Region::default()
        });
        reserved
    }

    fn nothing_found() -> Found {
        Found {
            size: Extent::new(640, 480).unwrap(),
            participants: Vec::new(),
            sources: Vec::new(),
            copiers: Vec::new(),
            unavailable: Vec::new(),
            pipelines: Vec::new(),
            reserved_memory: None,
        }
    }

    #[test]
    fn region_is_printed_with_its_addresses_and_kind() {
        let mut out = Vec::new();
        write(&mut out, &matched(&pool(), &nothing_found())).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Reserved memory (devicetree):\n  linux,cma: 65536 KiB within 0x0 to 0x3fffffff, the default pool, a CMA area\n"
        );
    }

    #[test]
    fn region_in_json_has_its_own_fields_and_its_matches() {
        let value = serde_json::to_value(matched(&pool(), &nothing_found())).unwrap();
        assert_eq!(value[0]["name"], "linux,cma");
        assert_eq!(value[0]["path"], "/reserved-memory/linux,cma");
        assert_eq!(value[0]["size_bytes"], 64 << 20);
        assert_eq!(value[0]["heaps"], serde_json::json!([]));
    }
}
