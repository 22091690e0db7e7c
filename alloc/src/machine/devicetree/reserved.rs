//! What a devicetree says of memory that is set aside.

use std::collections::BTreeMap;

use super::super::region::{Region, RegionUser, ReservedMemory};
use super::tree::{Node, Tree};
use crate::constraint::{AddressWindow, Unknown};

/// Where regions stand.
const RESERVED: &str = "reserved-memory";

impl ReservedMemory {
    /// Reads the regions of a tree, and the devices that are given them. What is disabled is left out.
    ///
    /// # References
    /// Linux, `Documentation/devicetree/bindings/reserved-memory/reserved-memory.yaml` and `shared-dma-pool.yaml`.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let Some(reserved) = tree.root.child(RESERVED) else {
            return Self::default();
        };
        let cells = Cells::below(reserved);
        // An address of another kind than the processor's is nothing that windows could be compared with.
        let is_identity = reserved.properties.get("ranges").is_none_or(Vec::is_empty);
        let mut regions = Vec::new();
        let mut by_handle = BTreeMap::new();
        for child in reserved.children.iter().filter(|child| child.is_enabled()) {
            let path = format!("/{RESERVED}/{}", child.name);
            if let Some(handle) = child
                .cell("phandle")
                .or_else(|| child.cell("linux,phandle"))
            {
                by_handle.insert(handle, path.clone());
            }
            regions.push(cells.region(path, child, is_identity));
        }
        let mut users = Vec::new();
        for (path, node) in tree.nodes() {
            if path.starts_with(&format!("/{RESERVED}/")) || !node.is_enabled() {
                continue;
            }
            let handles = node.cells("memory-region").unwrap_or_default();
            let given: Vec<String> = handles
                .iter()
                .filter_map(|handle| by_handle.get(handle).cloned())
                .collect();
            if !given.is_empty() {
                users.push(RegionUser {
                    node: path,
                    compatible: node.texts("compatible"),
                    regions: given,
                    unknown: Unknown::default(),
                });
            }
        }
        Self {
            regions,
            users,
            unknown: Unknown::default(),
        }
    }
}

/// How many cells addresses and sizes have.
struct Cells {
    address: usize,
    size: usize,
}

impl Cells {
    /// Those of the nodes below one. A node that does not say has 2 and 1.
    fn below(node: &Node) -> Self {
        let read = |property, unsaid| {
            node.cell(property)
                .and_then(|cells| usize::try_from(cells).ok())
                .unwrap_or(unsaid)
        };
        Self {
            address: read("#address-cells", 2),
            size: read("#size-cells", 1),
        }
    }

    fn region(&self, path: String, node: &Node, is_identity: bool) -> Region {
        let ranges = self.windows(node, "reg");
        let length = |window: &AddressWindow| {
            let last = window.highest.saturating_sub(window.lowest);
            last.saturating_add(1)
        };
        let whole = ranges.iter().map(length).fold(0, u64::saturating_add);
        let one = |property: &str| number(&node.cells(property)?);
        Region {
            path,
            compatible: node.texts("compatible"),
            size_bytes: one("size").or((!ranges.is_empty()).then_some(whole)),
            alignment_bytes: one("alignment"),
            allowed: if is_identity {
                self.windows(node, "alloc-ranges")
            } else {
                Vec::new()
            },
            ranges: if is_identity { ranges } else { Vec::new() },
            reusable: node.has("reusable"),
            no_map: node.has("no-map"),
            is_default: node.has("linux,cma-default"),
            unknown: Unknown::default(),
        }
    }

    /// Reads pairs of address and size. One that is empty, or does not fit 64 bits, is left out.
    fn windows(&self, node: &Node, property: &str) -> Vec<AddressWindow> {
        let Some(step) = self.address.checked_add(self.size).filter(|step| *step > 0) else {
            return Vec::new();
        };
        let cells = node.cells(property).unwrap_or_default();
        cells
            .chunks_exact(step)
            .filter_map(|pair| {
                let lowest = number(pair.get(..self.address)?)?;
                let bytes = number(pair.get(self.address..)?)?;
                let highest = lowest.checked_add(bytes.checked_sub(1)?)?;
                Some(AddressWindow { lowest, highest })
            })
            .collect()
    }
}

/// Reads one number of some cells; `None` where it does not fit 64 bits.
fn number(cells: &[u32]) -> Option<u64> {
    if cells.is_empty() {
        return None;
    }
    cells.iter().try_fold(0_u64, |number, cell| {
        Some(number.checked_mul(1 << 32)? | u64::from(*cell))
    })
}
