//! Generators of random pools, and of the memory that is taken from them.

use covalent_solver::constraint::{FreeMemory, OwnMemory, Pool, PoolFallback, PoolId, SourceId};
use covalent_solver::solve::Request;
use proptest::prelude::*;
use proptest::sample::select;

use super::mostly;

fn pool(number: usize) -> impl Strategy<Value = Pool> {
    (
        select(vec![None, Some(9000_u64), Some(30_000), Some(200_000)]),
        select(vec![None, Some(8000_u64), Some(25_000)]),
        select(vec![1_u64, 1000, 4096]),
        select(vec![1_u64, 2048, 16_384]),
        mostly(Just(Some((2000_u64, false)))),
        mostly(Just(Some((20_000_u64, true)))),
    )
        .prop_map(
            move |(capacity_bytes, free, unit_bytes, alignment_bytes, some, all)| {
                let mut pool = Pool::new(
                    PoolId::new(format!("pool{number}")),
                    format!("pool {number}"),
                );
                pool.capacity_bytes = capacity_bytes;
                pool.free = free.map(|bytes| FreeMemory { bytes, read_at: 1 });
                pool.unit_bytes = unit_bytes;
                pool.alignment_bytes = alignment_bytes;
                pool.fallback = some.or(all).map(|(up_to_bytes, all)| PoolFallback {
                    up_to_bytes,
                    from: "elsewhere".to_owned(),
                    sources: (!all).then(|| SourceId::new("s0")).into_iter().collect(),
                });
                pool
            },
        )
}

fn pool_id() -> impl Strategy<Value = PoolId> {
    select(vec![PoolId::new("pool0"), PoolId::new("pool1")])
}

/// Adds pools to a request. Its sources and participants allocate from these pools.
pub(super) fn with_pools(request: Request) -> BoxedStrategy<Request> {
    let some = (
        (pool(0), pool(1)),
        prop::collection::vec(prop::collection::btree_set(pool_id(), 0..=2), 2),
        prop::collection::vec(
            mostly(prop::collection::vec(
                (pool_id(), 1..3_u32, 1..9000_u64),
                1..=2,
            )),
            3,
        ),
    )
        .prop_map({
            let request = request.clone();
            move |((p0, p1), by_source, own)| {
                let mut request = request.clone();
                request.pools = vec![p1, p0];
                for (source, pools) in request.sources.iter_mut().zip(by_source) {
                    source.guarantees.pools = pools;
                }
                for (participant, own) in request.participants.iter_mut().zip(own) {
                    let own: Vec<_> = own
                        .into_iter()
                        .map(|(pool, buffers, bytes)| OwnMemory {
                            pool,
                            buffers,
                            bytes,
                        })
                        .collect();
                    participant.choices_mut().next().unwrap().own_memory = own;
                }
                request
            }
        });
    prop_oneof![1 => Just(request), 1 => some].boxed()
}
