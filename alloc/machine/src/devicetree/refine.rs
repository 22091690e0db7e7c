//! Adds reserved memory to a request: guarantees of the heaps and queues that allocate from a region, and alternatives of the
//! devices that use it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Machine;
use super::super::region::{Region, ReservedMemory};
use covalent_solver::constraint::{
    AddressWindow, MemoryCost, Participant, Pool, Source, SourceId, SourceKind,
};
use covalent_solver::solve::Request;

impl ReservedMemory {
    /// Adds the regions to a request.
    ///
    /// - A heap of a region guarantees contiguous memory at the region's addresses, up to the region's size.
    /// - The kernel allocates the buffers of a queue from the first pool of its device, so the queue's source has that pool's
    ///   guarantees.
    /// - Heaps, queues and dumb buffers of one region share its size, as one pool.
    /// - A device reaches its own pools, even at addresses that its driver does not declare. For such a pool the participant gets
    ///   an alternative that accepts memory of the pool's heap and no other memory at those addresses.
    ///
    /// The solver tries every combination of alternatives, so a participant gets no more than
    /// [`Machine::MAXIMUM_ALTERNATIVES`]. Further pools are left out; plans that need them are not found.
    ///
    /// `node` returns the path of a participant's device in the devicetree.
    pub fn refine(&self, request: &mut Request, node: impl Fn(&Participant) -> Option<String>) {
        self.refine_declared(&mut request.participants, &mut request.sources, node);
        self.add_pools(&request.sources, &mut request.pools);
    }

    /// Adds each region from which one of these sources allocates to a list of pools. A pool that the list has without a size
    /// gets the region's size.
    ///
    /// When a CMA area is exhausted, the kernel takes small buffers from the page allocator instead. A heap does not do so. The
    /// pool therefore gets this fallback for each source that is not a heap.
    pub fn add_pools(&self, sources: &[Source], pools: &mut Vec<Pool>) {
        for region in self.regions.iter().filter(|region| region.is_pool()) {
            let id = region.pool_id();
            let mut users = sources
                .iter()
                .filter(|source| source.guarantees.pools.contains(&id))
                .peekable();
            if users.peek().is_none() {
                continue;
            }
            if !pools.iter().any(|pool| pool.id == id) {
                pools.push(region.to_pool());
            }
            let Some(pool) = pools.iter_mut().find(|pool| pool.id == id) else {
                continue;
            };
            pool.capacity_bytes = pool.capacity_bytes.or(region.size_bytes);
            if region.is_cma() {
                users
                    .filter(|source| SourceKind::of(&source.id) != SourceKind::Heap)
                    .for_each(|source| pool.add_page_fallback(source.id.clone()));
            }
        }
    }

    /// Does the same as [`ReservedMemory::refine`] for participants and sources that are not in a request yet.
    pub fn refine_declared(
        &self,
        participants: &mut [Participant],
        sources: &mut [Source],
        node: impl Fn(&Participant) -> Option<String>,
    ) {
        let heap_regions: Vec<Option<&Region>> = sources
            .iter()
            .map(|source| self.region_of_heap(heap_name(source)?))
            .collect();
        for (source, region) in sources.iter_mut().zip(&heap_regions) {
            if let Some(region) = region {
                set_guarantees(source, region);
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
            let own_regions = paths.map(|path| by_path.get(path.as_str()).copied());
            let own_regions: Vec<Option<&Region>> = own_regions.collect();
            // `memory-region` may list a region that `self.regions` does not contain, and that region may be a pool. The search
            // for the first pool therefore ends at such a region: a later pool may not be the first one.
            let mut described = own_regions.iter().map_while(|region| *region);
            let first = described.find(|region| region.is_pool());
            // A pool that `memory-region` lists twice adds one alternative.
            let mut seen = BTreeSet::new();
            let pools = own_regions.into_iter().flatten();
            let pools = pools.filter(|region| region.is_pool() && seen.insert(&region.path));
            for pool in pools {
                if participant.alternatives().len() >= Machine::MAXIMUM_ALTERNATIVES {
                    break;
                }
                let heaps: BTreeSet<SourceId> = sources
                    .iter()
                    .zip(&heap_regions)
                    .filter(|(_, region)| region.is_some_and(|region| std::ptr::eq(region, pool)))
                    .map(|(source, _)| source.id.clone())
                    .collect();
                add_alternative(participant, pool, heaps);
            }
            // The kernel allocates a device's buffers from the first pool of its `memory-region`.
            let Some(first) = first else { continue };
            for source in sources.iter_mut() {
                if !source.is_of(&participant.device) {
                    continue;
                }
                match SourceKind::of(&source.id) {
                    SourceKind::Queue => set_guarantees(source, first),
                    // Whether dumb buffers are contiguous depends on the card's driver, which has already declared it.
                    SourceKind::Dumb if source.guarantees.contiguous_up_to_bytes > 0 => {
                        source.guarantees.pools = [first.pool_id()].into();
                    }
                    _ => {}
                }
            }
        }
    }
}

fn heap_name(source: &Source) -> Option<&str> {
    source.id.as_str().strip_prefix("heap:")
}

/// Narrows the guarantees of a source that allocates from a region.
fn set_guarantees(source: &mut Source, region: &Region) {
    let guarantees = &mut source.guarantees;
    guarantees.pools = [region.pool_id()].into();
    let window = region.window();
    if guarantees.address.contains(&window) {
        guarantees.address = window;
    }
    // A pool allocates each buffer contiguously or fails, so a pool of unknown size guarantees contiguity for every size.
    let size = region.size_bytes.unwrap_or(u64::MAX);
    guarantees.contiguous_up_to_bytes = match guarantees.contiguous_up_to_bytes {
        0 => size,
        known => known.min(size),
    };
    if let Some(size) = region.size_bytes {
        guarantees.maximum_bytes = Some(
            guarantees
                .maximum_bytes
                .map_or(size, |known| known.min(size)),
        );
        // The known value may be the free memory of the whole machine, which is more than the region has.
        guarantees.available_bytes = guarantees.available_bytes.map(|known| known.min(size));
    }
    guarantees.cost = guarantees.cost.max(MemoryCost::Reserved);
}

/// Adds the alternative in which a device uses memory of its pool's heaps, where the pool is outside of its declared addresses.
fn add_alternative(participant: &mut Participant, pool: &Region, heaps: BTreeSet<SourceId>) {
    let window = pool.window();
    let known = participant.constraints().memory.address;
    if heaps.is_empty() || window == AddressWindow::default() || known.contains(&window) {
        return;
    }
    let mut alternative = participant.constraints().clone();
    alternative.memory.address = window;
    alternative.memory.permitted = Some(match alternative.memory.permitted {
        Some(permitted) => permitted.intersection(&heaps).cloned().collect(),
        None => heaps,
    });
    participant.push_alternative(alternative);
}
