//! What a devicetree says of memory that is set aside.

use std::collections::BTreeMap;

use super::super::Machine;
use super::super::region::{Region, RegionUser, ReservedMemory};
use super::TreeError;
use super::tree::{Node, Tree};
use covalent_solver::constraint::{AddressWindow, ExtraFields};

/// Where regions stand.
const RESERVED: &str = "reserved-memory";

/// The longest path of a device that is given regions: Linux gives nodes out as folders, and no longer path can be opened.
const LONGEST_PATH: usize = 4095;

impl ReservedMemory {
    /// Reads the regions of a tree, and the devices that are given them. What is disabled is left out.
    ///
    /// Beside the tree it takes twice the bytes of the regions' ranges, and less than 2 MiB for all else: a tree of more regions or
    /// users than a [`Machine`](crate::Machine) may have is refused when it is read.
    ///
    /// # References
    /// Linux, `Documentation/devicetree/bindings/reserved-memory/reserved-memory.yaml` and `shared-dma-pool.yaml`.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let Some(reserved) = tree.root().child(RESERVED) else {
            return Self::default();
        };
        let cells = Cells::below(reserved);
        // An address of another kind than the processor's is nothing that windows could be compared with.
        let is_identity = reserved.property("ranges").is_none_or(<[u8]>::is_empty);
        let regions: Vec<Region> = enabled(reserved)
            .map(|child| {
                let path = format!("/{RESERVED}/{}", child.name());
                cells.region(path, child, is_identity)
            })
            .collect();
        let by_handle = handles(reserved);
        let users = users(tree, &by_handle)
            .map(|node| RegionUser {
                node: node.path(),
                compatible: node.texts("compatible").map(str::to_owned).collect(),
                regions: given(node, &by_handle)
                    .map(|place| regions[place].path.clone())
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

/// Holds a tree against what [`ReservedMemory::of`] reads of it.
///
/// # Errors
/// [`TreeError::TooMany`], with the path of the node.
pub(super) fn check(tree: &Tree) -> Result<(), TreeError> {
    let Some(reserved) = tree.root().child(RESERVED) else {
        return Ok(());
    };
    let (most, listed) = (Machine::MAXIMUM_ENTRIES, ReservedMemory::MAXIMUM_LISTED);
    let too_many = |what, most, node: Node<'_>| TreeError::TooMany {
        what,
        most,
        place: short_path(node),
    };
    if let Some(node) = enabled(reserved).nth(most) {
        return Err(too_many("reserved regions", most, node));
    }
    let by_handle = handles(reserved);
    if let Some(node) = users(tree, &by_handle).nth(most) {
        return Err(too_many("users of reserved regions", most, node));
    }
    for node in users(tree, &by_handle) {
        if given(node, &by_handle).nth(listed).is_some() {
            return Err(too_many("regions in a memory-region", listed, node));
        }
        if node.path_bytes() > LONGEST_PATH {
            return Err(too_many("bytes in a path", LONGEST_PATH, node));
        }
    }
    for node in enabled(reserved).chain(users(tree, &by_handle)) {
        if node.texts("compatible").nth(listed).is_some() {
            return Err(too_many("texts in a compatible", listed, node));
        }
    }
    Ok(())
}

/// A path for a message, which is the longer the less it helps.
fn short_path(node: Node<'_>) -> String {
    let mut path = node.path();
    if path.len() > LONGEST_PATH {
        // Names are ASCII.
        path.truncate(LONGEST_PATH);
        path.push('…');
    }
    path
}

fn enabled<'tree>(reserved: Node<'tree>) -> impl Iterator<Item = Node<'tree>> {
    reserved.children().filter(Node::is_enabled)
}

/// The places of the regions that have a number by which devices name them; of two with the same it is the later one.
fn handles(reserved: Node<'_>) -> BTreeMap<u32, usize> {
    let numbered = enabled(reserved).enumerate().filter_map(|(place, child)| {
        let handle = child.cell("phandle");
        Some((handle.or_else(|| child.cell("linux,phandle"))?, place))
    });
    numbered.collect()
}

/// The places of the regions that a device is given, in its order. A number that is no region's in use gives it nothing, as for
/// Linux.
fn given(node: Node<'_>, by_handle: &BTreeMap<u32, usize>) -> impl Iterator<Item = usize> {
    let cells = node.cells("memory-region").into_iter().flatten();
    cells.filter_map(|handle| by_handle.get(&handle).copied())
}

/// The devices that are given regions. Regions themselves are none.
fn users<'tree>(
    tree: &'tree Tree,
    by_handle: &BTreeMap<u32, usize>,
) -> impl Iterator<Item = Node<'tree>> {
    // Whatever is below a node of that name, of which there may be several.
    let mut behind = 0_usize;
    let is_region = move |node: &Node<'tree>| {
        if node.place() < behind {
            return true;
        }
        let is_below_root = node.parent().is_some_and(|above| above.parent().is_none());
        if is_below_root && node.name() == RESERVED {
            behind = node.behind();
        }
        false
    };
    let mut is_region = is_region;
    tree.nodes()
        .filter(move |node| !is_region(node))
        .filter(|node| node.is_enabled())
        .filter(|node| given(*node, by_handle).next().is_some())
}

/// How many cells addresses and sizes have.
struct Cells {
    address: usize,
    size: usize,
}

impl Cells {
    /// Those of the nodes below one. A node that does not say has 2 and 1, and so has one that says it in no single number, as
    /// for Linux.
    fn below(node: Node<'_>) -> Self {
        let read = |property, unsaid| node.cell(property).map_or(unsaid, |cells| cells as usize);
        Self {
            address: read("#address-cells", 2),
            size: read("#size-cells", 1),
        }
    }

    fn region(&self, path: String, node: Node<'_>, is_identity: bool) -> Region {
        let ranges = self.windows(node, "reg");
        // More bytes than 64 bits count are no size that anything could be compared with.
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

    /// Reads pairs of address and size. One that is empty, or does not fit 64 bits, is left out; a property that is not there or
    /// has no such pairs tells of none.
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

/// Reads one number of some cells; `None` where there are none, or it does not fit 64 bits.
fn number(cells: impl Iterator<Item = u32>) -> Option<u64> {
    // All are taken, also behind one that does not fit: the next number begins there.
    let mut number = None;
    let mut fits = true;
    for cell in cells {
        let shifted = number.unwrap_or(0_u64).checked_mul(1 << 32);
        fits = fits && shifted.is_some();
        number = Some(shifted.unwrap_or(0) | u64::from(cell));
    }
    number.filter(|_| fits)
}
