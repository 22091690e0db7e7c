//! Finds devices for which this board's devicetree lacks a memory pool.

use covalent_alloc::backend::devicetree;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::Source;
use covalent_alloc::machine::devicetree::missing_pools_in_tree;
use covalent_alloc::machine::{RecordedParticipant, ReservedMemory};
use covalent_alloc::model::Extent;

use super::super::snapshot::MissingPool;
use crate::machine;

/// Returns the memory pools that the devicetree lacks for V4L2 queues. It checks every queue whose device has a node in the
/// devicetree. The result is empty if there is no devicetree.
pub(super) fn pools() -> Vec<MissingPool> {
    let Ok(Some(reserved)) = machine::reserved_memory(None) else {
        return Vec::new();
    };
    let Ok(Some(tree)) = devicetree::here() else {
        return Vec::new();
    };
    let Ok(size) = Extent::new(640, 480) else {
        return Vec::new();
    };
    let mut participants = Vec::new();
    for path in machine::video_nodes() {
        for queue in machine::queues(&path).into_iter().flatten() {
            let Ok(participant) = queue.participant(size, None) else {
                continue;
            };
            let mut recorded = RecordedParticipant::measured(participant);
            recorded.tree_node = devicetree::node_of(&recorded.participant.device);
            participants.push(recorded);
        }
    }
    let lacking = missing_pools_in_tree(&tree, &participants, &heaps(size, &reserved));
    lacking
        .into_iter()
        .map(|lacking| MissingPool {
            words: lacking.words,
            snippet: lacking.snippet,
        })
        .collect()
}

/// Returns the sources of this machine. The devicetree gives the addresses of the memory of dma-heaps.
fn heaps(size: Extent, reserved: &ReservedMemory) -> Vec<Source> {
    let mut sources = BufferCollection::new(size).sources();
    reserved.refine_declared(&mut [], &mut sources, |_| None);
    sources
}
