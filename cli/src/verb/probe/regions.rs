//! Memory that the devicetree sets aside, its heaps, and who is given it.

use std::io::{self, Write};

use covalent_alloc::backend::devicetree;
use covalent_alloc::machine::{Region, ReservedMemory};

use super::Found;

/// Writes every region that devices are given, or that a heap gives out.
pub(super) fn write(
    out: &mut impl Write,
    reserved: &ReservedMemory,
    found: &Found,
) -> io::Result<()> {
    writeln!(out, "Reserved memory (devicetree):")?;
    if reserved.regions.is_empty() {
        writeln!(out, "  none")?;
    }
    for region in &reserved.regions {
        writeln!(out, "  {}: {}", region.name(), words(region))?;
        for source in &found.sources {
            let heap = source.id.as_str().strip_prefix("heap:");
            if heap.and_then(|heap| reserved.behind_heap(heap)) == Some(region) {
                writeln!(out, "      is {}", source.id)?;
            }
        }
        let users = reserved.users.iter();
        for user in users.filter(|user| user.regions.contains(&region.path)) {
            let own = found.participants.iter().find(|participant| {
                devicetree::node_of(&participant.device).as_ref() == Some(&user.node)
            });
            let name = own.map_or_else(String::new, |own| format!(" ({})", own.name));
            writeln!(out, "      given to {}{name}", user.node)?;
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

    #[test]
    fn region_is_told_with_its_place_and_its_users() {
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
        let found = Found {
            size: Extent::new(640, 480).unwrap(),
            participants: Vec::new(),
            sources: Vec::new(),
            unavailable: Vec::new(),
        };
        let mut out = Vec::new();
        write(&mut out, &reserved, &found).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "Reserved memory (devicetree):\n  linux,cma: 65536 KiB somewhere in 0x0 to 0x3fffffff, the default pool, a CMA area\n"
        );
    }
}
