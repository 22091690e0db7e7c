//! What reserved memory makes of a request: heaps lie where their regions do, and devices reach what they are given.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Machine;
use super::super::region::{Region, ReservedMemory};
use covalent_solver::constraint::{AddressWindow, MemoryCost, Participant, Source, SourceId};
use covalent_solver::solve::Request;

impl ReservedMemory {
    /// Makes demands and promises of the regions.
    ///
    /// - A heap of a region lies where that does, in one piece and no more than it.
    /// - A device that is given a pool has its own memory (its queue's) from there.
    /// - It reaches the pool, also where that lies beyond what is believed of it otherwise: memory of the pool's heap, and no
    ///   other there, is an alternative that it takes.
    ///
    /// A participant has at most [`Machine::MAXIMUM_ALTERNATIVES`] then, since the solver's work grows with each: pools beyond these add
    /// none, which promises nothing that does not hold.
    ///
    /// `node` tells a participant's device in the tree.
    pub fn refine(&self, request: &mut Request, node: impl Fn(&Participant) -> Option<String>) {
        self.refine_declared(&mut request.participants, &mut request.sources, node);
    }

    /// Does what [`ReservedMemory::refine`] does, for declarations of which there is no request yet.
    pub fn refine_declared(
        &self,
        participants: &mut [Participant],
        sources: &mut [Source],
        node: impl Fn(&Participant) -> Option<String>,
    ) {
        let behind: Vec<Option<&Region>> = sources
            .iter()
            .map(|source| self.behind_heap(heap_name(source)?))
            .collect();
        for (source, region) in sources.iter_mut().zip(&behind) {
            if let Some(region) = region {
                promise(source, region);
            }
        }
        let mut by_path = BTreeMap::new();
        for region in &self.regions {
            by_path.entry(region.path.as_str()).or_insert(region);
        }
        for participant in participants {
            let Some(own) = node(participant) else {
                continue;
            };
            let users = self.users.iter().filter(|user| user.node == own);
            let paths = users.flat_map(|user| &user.regions);
            let given = paths.map(|path| by_path.get(path.as_str()).copied());
            let given: Vec<Option<&Region>> = given.collect();
            // A region that is named and not described may be a pool too: it is not known which pool is the first behind it.
            let mut described = given.iter().map_while(|region| *region);
            let first = described.find(|region| region.is_pool());
            // A pool that is named again is no other alternative.
            let mut seen = BTreeSet::new();
            let pools = given.into_iter().flatten();
            let pools = pools.filter(|region| region.is_pool() && seen.insert(&region.path));
            for pool in pools {
                // The solver tries each alternative with each of everybody else's.
                if participant.alternatives().len() >= Machine::MAXIMUM_ALTERNATIVES {
                    break;
                }
                let heaps: BTreeSet<SourceId> = sources
                    .iter()
                    .zip(&behind)
                    .filter(|(_, region)| region.is_some_and(|region| std::ptr::eq(region, pool)))
                    .map(|(source, _)| source.id.clone())
                    .collect();
                reach(participant, pool, heaps);
            }
            // The kernel gives a device memory of the first pool that it has.
            let Some(first) = first else { continue };
            for source in sources.iter_mut() {
                let is_queues = source.id.as_str().starts_with("v4l2:");
                if is_queues && source.is_of(&participant.device) {
                    promise(source, first);
                }
            }
        }
    }
}

fn heap_name(source: &Source) -> Option<&str> {
    source.id.as_str().strip_prefix("heap:")
}

/// A source whose memory is a region's.
fn promise(source: &mut Source, region: &Region) {
    let promises = &mut source.guarantees;
    let window = region.window();
    if promises.address.contains(&window) {
        promises.address = window;
    }
    // A pool gives each buffer in one piece or not at all, so that one of which the size is not known promises no less.
    let size = region.size_bytes.unwrap_or(u64::MAX);
    promises.contiguous_up_to_bytes = match promises.contiguous_up_to_bytes {
        0 => size,
        known => known.min(size),
    };
    if let Some(size) = region.size_bytes {
        promises.maximum_bytes = Some(promises.maximum_bytes.map_or(size, |known| known.min(size)));
        // What is known of the machine's memory as a whole may be more than the region has.
        promises.available_bytes = promises.available_bytes.map(|known| known.min(size));
    }
    promises.cost = promises.cost.max(MemoryCost::Reserved);
}

/// A device that is given a pool takes memory of its heaps, wherever the pool lies.
fn reach(participant: &mut Participant, pool: &Region, heaps: BTreeSet<SourceId>) {
    let window = pool.window();
    let known = participant.constraints().memory.address;
    if heaps.is_empty() || window == AddressWindow::default() || known.contains(&window) {
        return;
    }
    let mut given = participant.constraints().clone();
    given.memory.address = window;
    given.memory.permitted = Some(match given.memory.permitted {
        Some(permitted) => permitted.intersection(&heaps).cloned().collect(),
        None => heaps,
    });
    participant.push_alternative(given);
}
