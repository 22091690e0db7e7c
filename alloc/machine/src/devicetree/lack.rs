//! Pools that a board lacks: devices that want one piece of memory, and nothing within their reach that promises one.

use std::fmt::Write as _;

use super::super::RecordedParticipant;
use covalent_solver::constraint::{AddressWindow, Contiguity, MemoryConstraints, Source};

/// How large a pool is proposed, in bytes: eight buffers of 1920x1080 in four bytes a pixel, in whole steps of 4 MiB.
const PROPOSED_BYTES: u64 = 64 << 20;

/// A device that wants one piece of memory, for which no source promises one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LackingPool {
    /// The participant's name.
    pub participant: String,
    /// Its device's node.
    pub node: String,
    /// What is missing, in words.
    pub words: String,
    /// Source of a devicetree that gives the device a pool of its own.
    pub snippet: String,
}

/// Lists the participants that want one piece of memory and have a place in the devicetree, where none of these sources promises a
/// piece within their reach. Their devices' own memory does not count: others may not take it.
#[must_use]
pub fn lacking_pools<'a>(
    participants: impl IntoIterator<Item = &'a RecordedParticipant>,
    sources: &[Source],
) -> Vec<LackingPool> {
    let mut found: Vec<LackingPool> = Vec::new();
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
        // A pool of its own is what a device reaches by an alternative.
        let mut choices = participant.choices().map(|choice| &choice.memory);
        let lacks = choices.all(|memory| {
            memory.contiguity == Contiguity::Contiguous
                && !sources.iter().any(|source| serves(memory, source))
        });
        let is_known = found.iter().any(|lacking| lacking.node == *node);
        if lacks && !is_known {
            let reach = participant.constraints().memory.address;
            found.push(LackingPool {
                participant: participant.name.clone(),
                node: node.clone(),
                words: format!(
                    "{} needs memory in one piece{}, and no heap here promises one",
                    participant.name,
                    within(reach)
                ),
                snippet: pool_snippet(node, PROPOSED_BYTES, reach),
            });
        }
    }
    found
}

fn within(reach: AddressWindow) -> String {
    if reach == AddressWindow::default() {
        String::new()
    } else {
        format!(" from {:#x} to {:#x}", reach.lowest, reach.highest)
    }
}

/// Writes source of a devicetree that gives a device a pool of its own, within its reach; the kernel makes a dma-heap of it.
///
/// It is the same in a board's own tree and, behind `/plugin/;`, as an overlay.
#[must_use]
pub fn pool_snippet(node: &str, bytes: u64, reach: AddressWindow) -> String {
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
\t\t#address-cells = <2>;
\t\t#size-cells = <2>;
\t\tranges;

\t\t{label}_pool: {name}-pool {{
\t\t\tcompatible = \"shared-dma-pool\";
\t\t\treusable;
\t\t\tsize = <{}>;
",
        cells(bytes)
    );
    if reach != AddressWindow::default() {
        let length = reach.highest.saturating_sub(reach.lowest).saturating_add(1);
        let _ = writeln!(
            text,
            "\t\t\talloc-ranges = <{} {}>;",
            cells(reach.lowest),
            cells(length)
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

/// A number in two cells.
fn cells(number: u64) -> String {
    format!("{:#x} {:#x}", number >> 32, number & 0xffff_ffff)
}
