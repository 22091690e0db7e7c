//! Memory that the devicetree sets aside, its heaps, and who is given it.

use std::io::{self, Write};

use covalent_alloc::backend::devicetree;
use covalent_alloc::constraint::{SourceId, SourceKind};
use covalent_alloc::machine::{Region, ReservedMemory};
use serde::Serialize;

use super::Found;
use crate::out::line;

/// A region with what it is matched to.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    /// The node's name.
    name: String,
    #[serde(flatten)]
    region: Region,
    /// The sources whose memory it is.
    heaps: Vec<SourceId>,
    /// The devices that are given it.
    users: Vec<User>,
}

/// A device that is given a region.
#[derive(Debug, Serialize)]
struct User {
    /// Its node in the tree.
    node: String,
    /// The participants that are uses of this device.
    participants: Vec<String>,
}

/// Matches every region of the tree to heaps and devices.
pub(super) fn shown(reserved: &ReservedMemory, found: &Found) -> Vec<Shown> {
    reserved
        .regions
        .iter()
        .map(|region| Shown {
            name: region.name().to_owned(),
            region: region.clone(),
            heaps: heaps(reserved, region, found),
            users: users(reserved, region, found),
        })
        .collect()
}

fn heaps(reserved: &ReservedMemory, region: &Region, found: &Found) -> Vec<SourceId> {
    let is_behind = |id: &SourceId| {
        let is_heap = SourceKind::of(id) == SourceKind::Heap;
        let heap = id.as_str().split_once(':').filter(|_| is_heap);
        let heap = heap.map(|(_, name)| name);
        heap.and_then(|heap| reserved.region_of_heap(heap)) == Some(region)
    };
    let ids = found.sources.iter().map(|source| &source.id);
    ids.filter(|id| is_behind(id)).cloned().collect()
}

fn users(reserved: &ReservedMemory, region: &Region, found: &Found) -> Vec<User> {
    let given = reserved.users.iter();
    given
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
pub(super) fn write(out: &mut impl Write, shown: &[Shown]) -> io::Result<()> {
    line!(*out, "Reserved memory (devicetree):")?;
    if shown.is_empty() {
        line!(*out, "  none")?;
    }
    for one in shown {
        line!(*out, "  {}: {}", one.name, words(&one.region))?;
        for heap in &one.heaps {
            line!(*out, "      is {heap}")?;
        }
        for user in &one.users {
            let names = user.participants.join(", ");
            let names = if names.is_empty() {
                names
            } else {
                format!(" ({names})")
            };
            line!(*out, "      given to {}{names}", user.node)?;
        }
    }
    Ok(())
}

fn words(region: &Region) -> String {
    let size = region.size_bytes.map_or_else(
        || "of unknown size".to_owned(),
        |bytes| format!("{} KiB", bytes >> 10),
    );
    let window = region.window();
    let lies = match (region.ranges.is_empty(), region.allowed.is_empty()) {
        (true, true) => "anywhere".to_owned(),
        (known, _) => format!(
            "{} {:#x} to {:#x}",
            if known { "somewhere in" } else { "at" },
            window.lowest,
            window.highest
        ),
    };
    let kind = match (region.is_pool(), region.reusable, region.no_map) {
        (true, true, false) if region.is_default => "the default pool, a CMA area",
        (true, true, false) => "a pool, a CMA area",
        (true, ..) => "a pool",
        (false, _, true) => "kept from the processor",
        (false, ..) => "kept",
    };
    format!("{size} {lies}, {kind}")
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

    fn nobody() -> Found {
        Found {
            size: Extent::new(640, 480).unwrap(),
            participants: Vec::new(),
            sources: Vec::new(),
            unavailable: Vec::new(),
            reserved_memory: None,
        }
    }

    #[test]
    fn region_is_told_with_its_place_and_its_users() {
        let mut out = Vec::new();
        write(&mut out, &shown(&pool(), &nobody())).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Reserved memory (devicetree):\n  linux,cma: 65536 KiB somewhere in 0x0 to 0x3fffffff, the default pool, a CMA area\n"
        );
    }

    #[test]
    fn region_in_json_has_its_fields_beside_what_it_is_matched_to() {
        let value = serde_json::to_value(shown(&pool(), &nobody())).unwrap();
        assert_eq!(value[0]["name"], "linux,cma");
        assert_eq!(value[0]["path"], "/reserved-memory/linux,cma");
        assert_eq!(value[0]["size_bytes"], 64 << 20);
        assert_eq!(value[0]["heaps"], serde_json::json!([]));
    }
}
