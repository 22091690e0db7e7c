//! Finds the devices that need contiguous memory on a board where no heap guarantees it, and proposes a pool for each.

use std::fmt::Write as _;

use super::super::RecordedParticipant;
use super::tree::Tree;
use covalent_solver::constraint::{AddressWindow, Contiguity, MemoryConstraints, Source};

/// The size of a proposed pool in bytes: eight buffers of 1920x1080 with four bytes a pixel, rounded up to a multiple of 4 MiB.
const PROPOSED_BYTES: u64 = 64 << 20;

/// A device that needs contiguous memory, for which no source guarantees any.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingPool {
    /// The participant's name.
    pub participant: String,
    /// The path of the participant's device in the devicetree.
    pub node: String,
    /// What is missing, as a sentence without a full stop, such as `camera needs contiguous memory, and no heap guarantees it`.
    pub words: String,
    /// Devicetree source that adds a pool for the device.
    pub snippet: String,
}

/// Returns the participants that need contiguous memory and have a node in the devicetree, if no source guarantees contiguous
/// memory at addresses that they reach.
///
/// The memory of a device's own queue does not count, because other devices may not be able to import it.
///
/// The proposed source is for a tree whose root node has two cells in an address and in a size. [`missing_pools_in_tree`] writes
/// the source for a certain tree.
#[must_use]
pub fn missing_pools<'a>(
    participants: impl IntoIterator<Item = &'a RecordedParticipant>,
    sources: &[Source],
) -> Vec<MissingPool> {
    lacking(participants, sources, RootCells::TWO)
}

/// Returns the participants that need contiguous memory as [`missing_pools`] does, with source for this tree.
#[must_use]
pub fn missing_pools_in_tree<'a>(
    tree: &Tree,
    participants: impl IntoIterator<Item = &'a RecordedParticipant>,
    sources: &[Source],
) -> Vec<MissingPool> {
    lacking(participants, sources, RootCells::of(tree))
}

/// The numbers of cells in an address and in a size of the root node's children. Linux ignores all reserved memory of a tree
/// whose node `reserved-memory` has other numbers of cells.
///
/// # References
/// Linux, `drivers/of/of_reserved_mem.c`, `__reserved_mem_check_root`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RootCells {
    address: u32,
    size: u32,
}

impl RootCells {
    /// Addresses and sizes of two cells (64 bits) each.
    const TWO: Self = Self {
        address: 2,
        size: 2,
    };

    /// Reads the numbers of the root node. Linux takes 1 for an absent property (`early_init_dt_scan_root`).
    fn of(tree: &Tree) -> Self {
        let read = |property| match tree.root().cell(property) {
            Some(2) => 2,
            _ => 1,
        };
        Self {
            address: read("#address-cells"),
            size: read("#size-cells"),
        }
    }
}

/// Returns a missing pool for each devicetree node whose participant needs contiguous memory that none of the sources guarantees.
fn lacking<'a>(
    participants: impl IntoIterator<Item = &'a RecordedParticipant>,
    sources: &[Source],
    cells: RootCells,
) -> Vec<MissingPool> {
    let mut found: Vec<MissingPool> = Vec::new();
    for recorded in participants {
        let participant = &recorded.participant;
        let Some(node) = &recorded.tree_node else {
            continue;
        };
        let serves = |memory: &MemoryConstraints, source: &Source| {
            let permitted = memory.permitted.as_ref();
            source.device.is_none()
                && source.guarantees.contiguous_up_to_bytes >= PROPOSED_BYTES / 8
                && memory.address.contains(&source.guarantees.address)
                && permitted.is_none_or(|sources| sources.contains(&source.id))
        };
        // A device that already has a pool is not listed: `refine` has added an alternative that accepts the pool's memory.
        let mut choices = participant.choices().map(|choice| &choice.memory);
        let lacks = choices.all(|memory| {
            memory.contiguity == Contiguity::Contiguous
                && !sources.iter().any(|source| serves(memory, source))
        });
        let is_known = found.iter().any(|missing| missing.node == *node);
        if lacks && !is_known {
            let reach = participant.constraints().memory.address;
            found.push(MissingPool {
                participant: participant.name.clone(),
                node: node.clone(),
                words: format!(
                    "{} needs contiguous memory{}, and no heap guarantees it",
                    participant.name,
                    within(reach)
                ),
                snippet: snippet(node, PROPOSED_BYTES, reach, cells),
            });
        }
    }
    found
}

/// Describes a range of addresses; empty for the range of all addresses.
fn within(reach: AddressWindow) -> String {
    if reach == AddressWindow::default() {
        String::new()
    } else {
        format!(" from {:#x} to {:#x}", reach.lowest, reach.highest)
    }
}

/// Returns devicetree source that adds a pool of `bytes` bytes for a device, within the addresses that it reaches.
///
/// The kernel offers the pool as a dma-heap too. The text can be added to the board's own devicetree source. After a line
/// `/plugin/;` it is also a valid overlay.
///
/// The text is for a tree whose root node has two cells in an address and in a size.
#[must_use]
pub fn pool_snippet(node: &str, bytes: u64, reach: AddressWindow) -> String {
    snippet(node, bytes, reach, RootCells::TWO)
}

/// Returns devicetree source that adds a pool of `bytes` bytes for the device at `node`, within the addresses `reach`.
fn snippet(node: &str, bytes: u64, reach: AddressWindow, root: RootCells) -> String {
    let name = node.rsplit_once('/').map_or(node, |(_, name)| name);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let label: String = name
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '_'
            }
        })
        .collect();
    let mut text = String::new();
    let _ = write!(
        text,
        "&{{/}} {{
\treserved-memory {{
\t\t#address-cells = <{}>;
\t\t#size-cells = <{}>;
\t\tranges;

\t\t{label}_pool: {name}-pool {{
\t\t\tcompatible = \"shared-dma-pool\";
\t\t\treusable;
\t\t\tsize = <{}>;
",
        root.address,
        root.size,
        cells(bytes, root.size)
    );
    if reach != AddressWindow::default() {
        let length = reach.highest.saturating_sub(reach.lowest).saturating_add(1);
        let _ = writeln!(
            text,
            "\t\t\talloc-ranges = <{} {}>;",
            cells(reach.lowest, root.address),
            cells(length, root.size)
        );
    }
    let _ = write!(
        text,
        "\t\t}};
\t}};
}};

&{{{node}}} {{
\tmemory-region = <&{label}_pool>;
}};
"
    );
    text
}

/// Formats a number as devicetree cells: two cells are the high 32 bits, then the low 32 bits. A number that does not fit into
/// one cell becomes the largest multiple of 4 KiB that does.
fn cells(number: u64, count: u32) -> String {
    if count == 1 {
        return format!("{:#x}", number.min(0xffff_f000));
    }
    format!("{:#x} {:#x}", number >> 32, number & 0xffff_ffff)
}
