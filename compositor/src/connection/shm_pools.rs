//! The sizes of a client's `wl_shm` pools. A pool stays mapped until the pool, its buffers and all commits of these buffers are
//! gone.
//!
//! Smithay does not report the size of a pool, so this module reads it from the client's requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::wire::{Violation, read_word};
use crate::limits::{Charge, Limit, LimitExceeded, Usage};

/// The mapped pools of a client by the ids of their `wl_shm_pool` and `wl_buffer` objects.
#[derive(Debug, Default)]
pub struct ShmPools(Mutex<HashMap<u32, Arc<MappedPool>>>);

/// A mapped pool. Its size counts against the client's limit until the last reference is dropped.
#[derive(Debug)]
pub struct MappedPool(Mutex<Charge>);

/// A request that maps memory or creates an object that keeps memory mapped.
#[derive(Clone, Copy, Debug)]
pub(super) enum ShmRequest {
    CreatePool { pool: u32, size: u32 },
    CreateBuffer { pool: u32, buffer: u32 },
    Resize { pool: u32, size: u32 },
}

impl ShmRequest {
    /// Parses a request that affects a pool; `None` for all other requests.
    pub(super) fn parse(object: u32, interface: &str, opcode: usize, body: &[u8]) -> Option<Self> {
        let word = |index: usize| read_word(body, index.checked_mul(4)?);
        // Smithay posts the protocol error for a negative size.
        let size =
            |index: usize| Some(word(index)?).filter(|size| *size <= i32::MAX.unsigned_abs());
        Some(match (interface, opcode) {
            ("wl_shm", 0) => Self::CreatePool {
                pool: word(0)?,
                size: size(1)?,
            },
            ("wl_shm_pool", 0) => Self::CreateBuffer {
                pool: object,
                buffer: word(0)?,
            },
            ("wl_shm_pool", 2) => Self::Resize {
                pool: object,
                size: size(0)?,
            },
            _ => return None,
        })
    }
}

impl ShmPools {
    /// Returns the pool of the `wl_buffer` with this object id; `None` if the buffer is not a `wl_shm` buffer.
    pub fn find(&self, buffer: u32) -> Option<Arc<MappedPool>> {
        self.with(|pools| pools.get(&buffer).cloned())
    }

    /// Tracks the effect of a request: a new pool, a new buffer of a pool, or a new size.
    pub(super) fn apply(&self, request: ShmRequest, usage: &Arc<Usage>) -> Result<(), Violation> {
        match request {
            ShmRequest::CreatePool { pool, size } => {
                let charge = usage.charge(Limit::MappedBytes, size.into())?;
                let mapped = Arc::new(MappedPool(Mutex::new(charge)));
                self.with(|pools| pools.insert(pool, mapped));
            }
            ShmRequest::CreateBuffer { pool, buffer } => self.with(|pools| {
                if let Some(mapped) = pools.get(&pool).cloned() {
                    pools.insert(buffer, mapped);
                }
            }),
            ShmRequest::Resize { pool, size } => {
                if let Some(mapped) = self.find(pool) {
                    mapped.resize(size.into())?;
                }
            }
        }
        Ok(())
    }

    /// Removes the pool reference of a deleted object.
    pub(super) fn delete(&self, object: u32) {
        // The value is dropped after the lock is released.
        let _deleted = self.with(|pools| pools.remove(&object));
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<u32, Arc<MappedPool>>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MappedPool {
    /// Counts the new size of a pool against the client's limit.
    fn resize(&self, size: u64) -> Result<(), LimitExceeded> {
        let mut charge = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Smithay posts the protocol error for a pool that becomes smaller, so the smaller size need not be counted.
        let size = size.max(charge.amount());
        charge.set(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[test]
    fn pool_counts_until_its_buffers_and_commits_are_gone() {
        let usage = Arc::new(Usage::default());
        let pools = ShmPools::default();
        let apply = |request| pools.apply(request, &usage).unwrap();
        apply(ShmRequest::CreatePool { pool: 3, size: 100 });
        apply(ShmRequest::CreateBuffer { pool: 3, buffer: 4 });
        apply(ShmRequest::Resize { pool: 3, size: 150 });
        apply(ShmRequest::Resize { pool: 3, size: 1 });
        assert_eq!(usage.used(Limit::MappedBytes), 150);
        let committed = pools.find(4).unwrap();
        pools.delete(3);
        pools.delete(4);
        assert!(pools.find(4).is_none());
        assert_eq!(usage.used(Limit::MappedBytes), 150);
        drop(committed);
        assert_eq!(usage.used(Limit::MappedBytes), 0);
    }

    #[test]
    fn pools_together_exceed_the_limit() {
        let mut limits = Limits::default();
        limits.set(Limit::MappedBytes, 2 << 30);
        let usage = Arc::new(Usage::new(limits));
        let pools = ShmPools::default();
        let create = |pool| {
            let size = 1 << 30;
            pools.apply(ShmRequest::CreatePool { pool, size }, &usage)
        };
        create(3).unwrap();
        create(4).unwrap();
        assert!(create(5).is_err());
        pools.delete(3);
        create(5).unwrap();
    }
}
