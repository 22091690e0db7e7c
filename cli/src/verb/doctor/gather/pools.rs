//! Pools that this board's devicetree lacks.

use covalent_alloc::backend::devicetree;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::Source;
use covalent_alloc::machine::devicetree::missing_pools;
use covalent_alloc::machine::{RecordedParticipant, ReservedMemory};
use covalent_alloc::model::Extent;

use super::super::snapshot::LackingPool;
use crate::machine;

/// Asks every camera and codec that has a node in the devicetree; none where there is no tree.
pub(super) fn pools() -> Vec<LackingPool> {
    let Ok(Some(reserved)) = machine::reserved_memory(None) else {
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
    let lacking = missing_pools(&participants, &heaps(size, &reserved));
    lacking
        .into_iter()
        .map(|lacking| LackingPool {
            words: lacking.words,
            snippet: lacking.snippet,
        })
        .collect()
}

/// The heaps, where the tree says that they lie.
fn heaps(size: Extent, reserved: &ReservedMemory) -> Vec<Source> {
    let mut sources = BufferCollection::new(size).sources();
    reserved.refine_declared(&mut [], &mut sources, |_| None);
    sources
}
