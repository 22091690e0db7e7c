//! Buffers that are kept and given again: to the same owner as they are, to another one zeroed.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{AccessError, Buffer};
use crate::constraint::SourceId;
use crate::model::Layout;
use crate::solve::Plan;

/// Whose pixels a buffer holds: a client, a stream, a user. Numbers are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(u64);

impl Owner {
    /// Makes an owner that is no other.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "a default is expected to equal itself"
    )]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Buffers that nobody uses now, up to a number of bytes. Clones are the same pool.
///
/// What comes back from an owner is given to the same owner without asking the kernel anything, with its old pixels in it. To
/// another owner it is given only when nobody else still holds it (the kernel counts), and zeroed from end to end; else it is
/// let go. A buffer that the owner has cloned or that is imported somewhere in this process is not kept.
///
/// An owner gives a buffer back when every device is done with it: the pool waits for no fence. A V4L2 queue's own memory is
/// not for pools, since it ends with the queue's stream.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Longest unused first.
    spares: VecDeque<Spare>,
    bytes: u64,
}

#[derive(Debug)]
struct Spare {
    owner: Owner,
    shape: Arc<Shape>,
    buffer: Buffer,
}

/// What makes one buffer as good as another.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    source: SourceId,
    layout: Layout,
}

impl Shape {
    fn is_of(&self, plan: &Plan) -> bool {
        self.source == *plan.source() && self.layout == *plan.layout()
    }
}

/// A buffer of a pool; on drop the pool has it again.
#[derive(Debug)]
pub struct Pooled {
    spare: Spare,
    pool: Weak<Inner>,
    reused: bool,
}

impl Pool {
    /// Makes a pool that keeps at most this many bytes of buffers that nobody uses.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                limit_bytes,
                kept: Mutex::default(),
            }),
        }
    }

    /// Takes one buffer of a plan for an owner: the owner's own of before, one of another owner zeroed, or a new one, for which
    /// `allocate` is called (the plan's count is its affair; spare ones are kept).
    ///
    /// # Errors
    /// Those of `allocate`, and none of its own: a buffer that cannot be zeroed is let go.
    pub fn take<E>(
        &self,
        owner: Owner,
        plan: &Plan,
        allocate: impl FnOnce(&Plan) -> Result<Vec<Buffer>, E>,
    ) -> Result<Option<Pooled>, E> {
        if let Some(spare) = self
            .lock()
            .take(|spare| spare.owner == owner && spare.shape.is_of(plan))
        {
            return Ok(Some(self.lend(spare, true)));
        }
        // Those of others, one after another: what cannot be cleared is let go here.
        while let Some(mut spare) = self.lock().take(|spare| spare.shape.is_of(plan)) {
            match clear(&spare.buffer) {
                Ok(true) => {
                    spare.owner = owner;
                    return Ok(Some(self.lend(spare, true)));
                }
                Ok(false) => {
                    tracing::debug!(buffer = %spare.buffer.identity(), "another process holds it; not given on");
                }
                Err(error) => tracing::debug!(%error, "cannot be zeroed; not given on"),
            }
        }
        let mut made = allocate(plan)?.into_iter();
        let shape = Arc::new(Shape {
            source: plan.source().clone(),
            layout: plan.layout().clone(),
        });
        let spare = |buffer| Spare {
            owner,
            shape: Arc::clone(&shape),
            buffer,
        };
        let first = made.next().map(spare);
        for buffer in made {
            self.inner.keep(spare(buffer));
        }
        Ok(first.map(|spare| self.lend(spare, false)))
    }

    /// Lets go of what an owner has given back, as when a client leaves.
    pub fn forget(&self, owner: Owner) {
        let mut gone = Vec::new();
        let mut kept = self.lock();
        while let Some(spare) = kept.take(|spare| spare.owner == owner) {
            gone.push(spare);
        }
        drop(kept);
    }

    /// Bytes that are kept and used by nobody.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lend(&self, spare: Spare, reused: bool) -> Pooled {
        Pooled {
            spare,
            pool: Arc::downgrade(&self.inner),
            reused,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, spare: Spare) {
        // Closed outside of the lock.
        let mut gone = Vec::new();
        {
            let mut kept = self.lock();
            kept.bytes = kept.bytes.saturating_add(bytes_of(&spare));
            kept.spares.push_back(spare);
            while kept.bytes > self.limit_bytes {
                let Some(oldest) = kept.spares.pop_front() else {
                    break;
                };
                kept.bytes = kept.bytes.saturating_sub(bytes_of(&oldest));
                gone.push(oldest);
            }
        }
        drop(gone);
    }
}

impl Kept {
    /// Takes the one that was used last, whose memory is likeliest in a cache.
    fn take(&mut self, wanted: impl Fn(&Spare) -> bool) -> Option<Spare> {
        let place = self.spares.iter().rposition(wanted)?;
        let spare = self.spares.remove(place)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&spare));
        Some(spare)
    }
}

fn bytes_of(spare: &Spare) -> u64 {
    spare.buffer.layout().total_bytes()
}

/// Zeroes a buffer, padding included; false where somebody else holds it and could look at it later.
fn clear(buffer: &Buffer) -> Result<bool, AccessError> {
    if !buffer.is_held_here_alone() {
        return Ok(false);
    }
    buffer.map()?.zero()?;
    Ok(true)
}

impl Pooled {
    /// Whether it was used before; a new one is zeroed, and so is one of another owner.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}

impl Deref for Pooled {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.spare.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // A clone that lives on is a use that lasts.
        if !self.spare.buffer.is_only_clone() {
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.keep(Spare {
                owner: self.spare.owner,
                shape: Arc::clone(&self.spare.shape),
                buffer: self.spare.buffer.clone(),
            });
        }
    }
}
