//! The pools of a request: the memory that is taken from each pool, and whether buffers fit into the memory that is left.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::bounded_text;
use super::candidate_search::CandidateSearch;
use super::caveat::Caveat;
use super::rejection::LayoutRejection;
use super::request::Request;
use crate::constraint::{Field, Pool, PoolId, Source};
use crate::model::Layout;

/// The number of bytes that are taken from each pool, by the identifier of the pool.
pub(super) type TakenBytes = BTreeMap<PoolId, u64>;

/// The memory that a plan takes from a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PoolUse {
    /// The identifier of the pool.
    pub pool: PoolId,
    /// The name of the pool.
    pub name: String,
    /// The number of bytes that the buffers take, including memory that participants allocate for themselves.
    pub bytes: u64,
    /// The size of the pool in bytes; `None` if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
}

impl fmt::Display for PoolUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ", self.bytes)?;
        if let Some(capacity) = self.capacity_bytes {
            write!(out, "of {capacity} ")?;
        }
        write!(out, "bytes of {}", bounded_text::name(&self.name))
    }
}

/// The pools of a prepared request.
pub(super) struct Pools<'a> {
    /// The pools, sorted by their identifiers.
    list: Vec<&'a Pool>,
    /// The indices of each source's pools, by the index of the source. The list is empty if the request has no pools.
    by_source: Vec<Vec<usize>>,
    /// The number of bytes that earlier jobs and earlier groups of a split take from each pool.
    taken: RefCell<Vec<u64>>,
}

impl<'a> Pools<'a> {
    pub(super) fn new(request: &'a Request, sources: &[&Source], taken: &TakenBytes) -> Self {
        let mut list: Vec<&Pool> = request.pools.iter().collect();
        list.sort_by(|one, two| one.id.cmp(&two.id));
        list.dedup_by(|two, one| one.id == two.id);
        if list.is_empty() {
            return Self {
                list,
                by_source: Vec::new(),
                taken: RefCell::default(),
            };
        }
        let number = |id: &PoolId| list.binary_search_by(|pool| pool.id.cmp(id)).ok();
        let by_source = sources
            .iter()
            .map(|source| source.guarantees.pools.iter().filter_map(number).collect())
            .collect();
        let taken = list
            .iter()
            .map(|pool| taken.get(&pool.id).copied().unwrap_or(0))
            .collect();
        Self {
            by_source,
            taken: RefCell::new(taken),
            list,
        }
    }

    fn get(&self, number: usize) -> &'a Pool {
        self.list[number]
    }

    /// Returns the names of the fields of a source's pools that this version does not know and that are not optional.
    pub(super) fn extra_field_names(&self, source: usize) -> Vec<String> {
        let pools = self.by_source.get(source).into_iter().flatten();
        pools
            .flat_map(|pool| self.get(*pool).extra_fields.required())
            .collect()
    }

    /// Runs `act`, and then returns the memory that `act` has taken to the pools.
    pub(super) fn with_returned<T>(&self, act: impl FnOnce() -> T) -> T {
        let before = self.taken.borrow().clone();
        let result = act();
        *self.taken.borrow_mut() = before;
        result
    }

    /// Takes the memory that a plan needs, so that the next group of a split can only use the memory that is left.
    pub(super) fn take(&self, uses: &[PoolUse]) {
        let mut taken = self.taken.borrow_mut();
        for (pool, taken) in self.list.iter().zip(taken.iter_mut()) {
            for own in uses.iter().filter(|own| own.pool == pool.id) {
                *taken = taken.saturating_add(own.bytes);
            }
        }
    }
}

/// The memory that a candidate needs from one pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolNeed {
    pool: usize,
    /// The number of buffers to allocate.
    count: u32,
    /// The number of bytes that each buffer takes; 0 if another allocator provides the buffers when the pool is exhausted.
    buffer_bytes: u64,
    /// The number of bytes that the members allocate from the pool for themselves.
    own_bytes: u64,
    /// The number of bytes that earlier jobs and groups have taken.
    taken_bytes: u64,
}

impl PoolNeed {
    /// Returns the number of bytes that the candidate itself needs.
    fn bytes(&self) -> u64 {
        self.buffer_bytes
            .saturating_mul(self.count.into())
            .saturating_add(self.own_bytes)
    }

    /// Returns whether the buffers, with those of earlier jobs and groups, need more than `limit` bytes.
    fn exceeds(&self, limit: u64) -> bool {
        self.bytes().saturating_add(self.taken_bytes) > limit
    }

    /// Returns how many of the buffers fit into a pool of this many bytes.
    fn buffers_that_fit(&self, limit: u64) -> u64 {
        let left = limit
            .saturating_sub(self.taken_bytes)
            .saturating_sub(self.own_bytes);
        left.checked_div(self.buffer_bytes)
            .map_or(0, |fitting| fitting.min(self.count.into()))
    }

    /// Describes that the pool is too small, as a clause that follows the name of the source.
    pub(super) fn describe_shortage(&self, pools: &Pools<'_>, source: &Source) -> String {
        let pool = pools.get(self.pool);
        let capacity = pool.capacity_bytes.unwrap_or(u64::MAX);
        let name = bounded_text::name(&pool.name);
        let mut parts = Vec::new();
        if self.taken_bytes > 0 {
            parts.push(format!("other jobs or groups take {}", self.taken_bytes));
        }
        if self.own_bytes > 0 {
            let own = self.own_bytes;
            parts.push(format!("the participants allocate {own} for themselves"));
        }
        let of_which = match parts.is_empty() {
            true => String::new(),
            false => format!(", of which {}", parts.join(" and ")),
        };
        if self.buffer_bytes == 0 {
            return format!(
                "leaves the participants too little memory for themselves: {name} has {capacity} bytes{of_which}"
            );
        }
        let fallback = pool
            .fallback_of(&source.id)
            .map_or_else(String::new, |own| {
                format!(
                    "; only buffers of up to {} bytes come from {} when it is exhausted",
                    own.up_to_bytes,
                    bounded_text::name(&own.from)
                )
            });
        format!(
            "has too little memory: {} of {} buffers fit in {name}, which has {capacity} bytes{of_which}, and each buffer takes {}{fallback}",
            self.buffers_that_fit(capacity),
            self.count,
            self.buffer_bytes
        )
    }

    /// Describes that the pool had too little free memory.
    pub(super) fn caveat(&self, pools: &Pools<'_>) -> String {
        let pool = pools.get(self.pool);
        let name = bounded_text::name(&pool.name);
        let Some(free) = pool.free else {
            unreachable!("the pool of this caveat states its free memory")
        };
        let taken = match self.taken_bytes {
            0 => String::new(),
            taken => format!(", of which other jobs take {taken}"),
        };
        let which = if self.buffer_bytes == 0 {
            "the memory that the participants allocate for themselves does not fit in the free memory".to_owned()
        } else {
            format!(
                "only {} of {} buffers fit in the free memory",
                self.buffers_that_fit(free.bytes),
                self.count
            )
        };
        format!(
            "{which} of {name} {}: {} bytes{taken}, and {} are needed; the allocation checks it again",
            free.time(),
            free.bytes,
            self.bytes()
        )
    }
}

impl CandidateSearch<'_, '_, '_> {
    /// Returns the memory that the members and a source's buffers with this layout need, for each pool from which they need
    /// memory.
    fn pool_needs(&self, number: usize, layout: &Layout) -> Vec<PoolNeed> {
        let pools = &self.problem.pools;
        let Some(own_pools) = pools.by_source.get(number) else {
            return Vec::new();
        };
        let source = self.problem.source(number);
        let taken = pools.taken.borrow();
        self.problem
            .work
            .charge(pools.list.len().saturating_mul(self.view.members.len()));
        let numbers = 0..pools.list.len();
        numbers
            .map(|pool| {
                let described = pools.get(pool);
                let sizes = layout.memory_sizes().iter();
                let buffer_bytes = if own_pools.contains(&pool) {
                    sizes
                        .map(|bytes| described.bytes_taken(&source.id, *bytes))
                        .fold(0, u64::saturating_add)
                } else {
                    0
                };
                let own = self
                    .members()
                    .filter(|(member, _)| self.view.keeps(*member).contains(Field::Held))
                    .flat_map(|(_, choice)| &choice.constraints.own_memory)
                    .filter(|own| own.pool == described.id);
                PoolNeed {
                    pool,
                    count: self.count,
                    buffer_bytes,
                    own_bytes: own
                        .map(|own| own.bytes_taken(described))
                        .fold(0, u64::saturating_add),
                    taken_bytes: taken[pool],
                }
            })
            .filter(|need| need.bytes() > 0)
            .collect()
    }

    /// Checks that the buffers fit into the source's pools.
    pub(super) fn check_pools(
        &self,
        number: usize,
        layout: &Layout,
    ) -> Result<(), LayoutRejection> {
        if self.problem.pools.list.is_empty() {
            return Ok(());
        }
        let needs = self.pool_needs(number, layout);
        let lacks = |need: &PoolNeed| {
            let capacity = self.problem.pools.get(need.pool).capacity_bytes;
            capacity.is_some_and(|capacity| need.exceeds(capacity))
        };
        match needs.into_iter().find(lacks) {
            Some(need) => Err(LayoutRejection::Pool(Box::new(need))),
            None => Ok(()),
        }
    }

    /// Adds a caveat for each pool that had too little free memory.
    pub(super) fn add_pool_caveats(
        &self,
        number: usize,
        layout: &Layout,
        caveats: &mut Vec<Caveat>,
    ) {
        if self.problem.pools.list.is_empty() {
            return;
        }
        let needs = self.pool_needs(number, layout).into_iter();
        let lacks = |need: &PoolNeed| {
            let free = self.problem.pools.get(need.pool).free;
            free.is_some_and(|free| need.exceeds(free.bytes))
        };
        caveats.extend(needs.filter(lacks).map(|need| Caveat::Pool(Box::new(need))));
    }

    /// Returns the memory that a plan with this layout takes from each pool.
    pub(super) fn pool_uses(&self, number: usize, layout: &Layout) -> Vec<PoolUse> {
        let needs = self.pool_needs(number, layout).into_iter();
        needs
            .map(|need| {
                let pool = self.problem.pools.get(need.pool);
                PoolUse {
                    pool: pool.id.clone(),
                    name: pool.name.clone(),
                    bytes: need.bytes(),
                    capacity_bytes: pool.capacity_bytes,
                }
            })
            .collect()
    }
}
