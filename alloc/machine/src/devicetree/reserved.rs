//! Reads the reserved memory of a devicetree.

use std::collections::BTreeMap;

use super::super::Machine;
use super::super::region::{Region, RegionUser, ReservedMemory};
use super::TreeError;
use super::tree::{Node, Tree};
use covalent_solver::constraint::{AddressWindow, ExtraFields};

/// The name of the node whose children are the regions.
const RESERVED: &str = "reserved-memory";

/// The longest path of a node that uses regions, in bytes. Linux shows nodes as folders in `/proc/device-tree`, and opens no
/// longer path.
const LONGEST_PATH: usize = 4095;

impl ReservedMemory {
    /// Returns the regions of a tree, and the devices that use them. Disabled nodes are left out.
    ///
    /// The result takes twice the bytes of the regions' ranges, and less than 2 MiB for everything else. A tree with more regions
    /// or users than a [`Machine`](crate::Machine) may have is refused when it is read.
    ///
    /// # References
    /// Linux, `Documentation/devicetree/bindings/reserved-memory/reserved-memory.yaml` and `shared-dma-pool.yaml`.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let Some(reserved) = tree.root().child(RESERVED) else {
            return Self::default();
        };
        let cells = CellCounts::of_children(reserved);
        // If `ranges` translates addresses, the regions' addresses are not those of the processor, so they cannot be compared
        // with the address windows of devices.
        let is_identity = reserved.property("ranges").is_none_or(<[u8]>::is_empty);
        let regions: Vec<Region> = enabled(reserved)
            .map(|child| {
                let path = format!("/{RESERVED}/{}", child.name());
                cells.region(path, child, is_identity)
            })
            .collect();
        let by_handle = regions_by_phandle(reserved);
        let users = users(tree, &by_handle)
            .map(|node| RegionUser {
                node: node.path(),
                compatible: node.texts("compatible").map(str::to_owned).collect(),
                regions: regions_of(node, &by_handle)
                    .map(|number| regions[number].path.clone())
                    .collect(),
                extra_fields: ExtraFields::default(),
            })
            .collect();
        Self {
            regions,
            users,
            extra_fields: ExtraFields::default(),
        }
    }
}

/// Checks the limits on everything that [`ReservedMemory::of`] reads of a tree.
///
/// # Errors
/// [`TreeError::TooMany`], with the path of the first node beyond a limit.
pub(super) fn check(tree: &Tree) -> Result<(), TreeError> {
    let Some(reserved) = tree.root().child(RESERVED) else {
        return Ok(());
    };
    let (most, listed) = (Machine::MAXIMUM_ENTRIES, ReservedMemory::MAXIMUM_LISTED);
    let too_many = |what, most, node: Node<'_>| TreeError::TooMany {
        what,
        most,
        place: path_for_message(node),
    };
    if let Some(node) = enabled(reserved).nth(most) {
        return Err(too_many("reserved regions", most, node));
    }
    let by_handle = regions_by_phandle(reserved);
    if let Some(node) = users(tree, &by_handle).nth(most) {
        return Err(too_many("users of reserved regions", most, node));
    }
    for node in users(tree, &by_handle) {
        if regions_of(node, &by_handle).nth(listed).is_some() {
            return Err(too_many(
                "regions in a memory-region property",
                listed,
                node,
            ));
        }
        if node.path_bytes() > LONGEST_PATH {
            return Err(too_many("bytes in a path", LONGEST_PATH, node));
        }
    }
    for node in enabled(reserved).chain(users(tree, &by_handle)) {
        if node.texts("compatible").nth(listed).is_some() {
            return Err(too_many("strings in a compatible property", listed, node));
        }
    }
    Ok(())
}

/// Returns the path of a node for a message, cut off after [`LONGEST_PATH`] bytes.
fn path_for_message(node: Node<'_>) -> String {
    let mut path = node.path();
    if path.len() > LONGEST_PATH {
        // Names are ASCII, so any byte is a character boundary.
        path.truncate(LONGEST_PATH);
        path.push('…');
    }
    path
}

/// Returns the regions in the node `reserved-memory`, except disabled ones.
fn enabled<'tree>(reserved: Node<'tree>) -> impl Iterator<Item = Node<'tree>> {
    reserved.children().filter(Node::is_enabled)
}

/// Returns the index of each region by its phandle. If two regions have the same phandle, the later region is used.
fn regions_by_phandle(reserved: Node<'_>) -> BTreeMap<u32, usize> {
    let numbered = enabled(reserved).enumerate().filter_map(|(number, child)| {
        let handle = child.cell("phandle");
        Some((handle.or_else(|| child.cell("linux,phandle"))?, number))
    });
    numbered.collect()
}

/// Returns the indices of the regions in a node's `memory-region`, in the property's order. A phandle that belongs to no enabled
/// region is skipped, as in Linux.
fn regions_of(node: Node<'_>, by_handle: &BTreeMap<u32, usize>) -> impl Iterator<Item = usize> {
    let cells = node.cells("memory-region").into_iter().flatten();
    cells.filter_map(|handle| by_handle.get(&handle).copied())
}

/// Returns the nodes whose `memory-region` names a region. Nodes within `reserved-memory` are left out, because they are regions
/// and not devices.
fn users<'tree>(
    tree: &'tree Tree,
    by_handle: &BTreeMap<u32, usize>,
) -> impl Iterator<Item = Node<'tree>> {
    // The index after the last descendant of the latest `reserved-memory` node. A tree may have several such nodes.
    let mut end = 0_usize;
    let mut is_region = move |node: &Node<'tree>| {
        if node.index() < end {
            return true;
        }
        let is_below_root = node
            .parent()
            .is_some_and(|parent| parent.parent().is_none());
        if is_below_root && node.name() == RESERVED {
            end = node.end();
        }
        false
    };
    tree.nodes()
        .filter(move |node| !is_region(node))
        .filter(|node| node.is_enabled())
        .filter(|node| regions_of(*node, by_handle).next().is_some())
}

/// The number of cells in an address and in a size (`#address-cells` and `#size-cells`).
struct CellCounts {
    address: usize,
    size: usize,
}

impl CellCounts {
    /// Returns the cell counts for the children of a node. If a property is absent or is not one cell, its default is used as in
    /// Linux: 2 cells for an address and 1 cell for a size.
    fn of_children(node: Node<'_>) -> Self {
        let read = |property, default| node.cell(property).map_or(default, |cells| cells as usize);
        Self {
            address: read("#address-cells", 2),
            size: read("#size-cells", 1),
        }
    }

    /// Reads a region of reserved memory from its node.
    fn region(&self, path: String, node: Node<'_>, is_identity: bool) -> Region {
        let ranges = self.windows(node, "reg");
        // If the sum of the ranges does not fit into 64 bits, the region has no known size.
        let whole = ranges.iter().try_fold(0_u64, |sum, window| {
            let last = window.highest.checked_sub(window.lowest)?;
            sum.checked_add(last.checked_add(1)?)
        });
        let one = |property: &str| number(node.cells(property)?);
        Region {
            path,
            compatible: node.texts("compatible").map(str::to_owned).collect(),
            size_bytes: one("size").or(whole.filter(|_| !ranges.is_empty())),
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
            extra_fields: ExtraFields::default(),
        }
    }

    /// Reads pairs of address and size. Pairs of size 0 and pairs whose numbers do not fit into 64 bits are left out. A property
    /// that is absent, or is not a list of pairs, gives an empty list.
    fn windows(&self, node: Node<'_>, property: &str) -> Vec<AddressWindow> {
        self.pairs(node, property).unwrap_or_default()
    }

    fn pairs(&self, node: Node<'_>, property: &str) -> Option<Vec<AddressWindow>> {
        let mut cells = node.cells(property)?;
        let step = self.address.checked_add(self.size)?;
        let mut left = cells.clone().count().checked_div(step)?;
        let pairs = std::iter::from_fn(|| {
            left = left.checked_sub(1)?;
            let lowest = number(cells.by_ref().take(self.address));
            Some((lowest, number(cells.by_ref().take(self.size))))
        });
        let windows = pairs.filter_map(|(lowest, bytes)| {
            let lowest = lowest?;
            let highest = lowest.checked_add(bytes?.checked_sub(1)?)?;
            Some(AddressWindow { lowest, highest })
        });
        Some(windows.collect())
    }
}

/// Reads one number from its cells; `None` if there are no cells, or the number does not fit into 64 bits.
fn number(cells: impl Iterator<Item = u32>) -> Option<u64> {
    // All cells are taken even if the number does not fit, so that the next number begins at the right cell.
    let mut number = None;
    let mut fits = true;
    for cell in cells {
        let shifted = number.unwrap_or(0_u64).checked_mul(1 << 32);
        fits = fits && shifted.is_some();
        number = Some(shifted.unwrap_or(0) | u64::from(cell));
    }
    number.filter(|_| fits)
}
