//! A pool that reuses buffers. Their memory is zeroed before another owner gets them.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{AccessError, Buffer};
use crate::constraint::SourceId;
use crate::model::Layout;
use crate::solve::Plan;

/// The identity of the owner of the pixels in a buffer, such as a client or a stream. Each value is unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentOwner(u64);

impl ContentOwner {
    /// Creates a new owner, which is different from every other.
    #[must_use]
    #[allow(
        clippy::new_without_default,
        reason = "two default values would be expected to be equal"
    )]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A pool of unused buffers, up to a number of bytes. Clones share the pool.
///
/// The pool returns an unused buffer to the owner that used it last without a system call, with its old pixels. Another owner
/// gets it only if the kernel counts no other reference to its dma-bufs, and only after all of its bytes are zeroed; a buffer
/// with other references is freed instead. When a [`Pooled`] is dropped while a clone of its buffer exists, as in an import, the
/// buffer does not return to the pool.
///
/// An owner must drop a [`Pooled`] only when every device has finished its accesses, because the pool waits for no fence. Buffers
/// of a V4L2 queue's own memory must not be put into a pool, because their memory is freed with the queue's stream.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit_bytes: u64,
    unused: Mutex<UnusedBuffers>,
}

#[derive(Debug, Default)]
struct UnusedBuffers {
    /// The unused buffers, in the order in which they were returned to the pool.
    entries: VecDeque<Entry>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry {
    owner: ContentOwner,
    source_and_layout: Arc<SourceAndLayout>,
    buffer: Buffer,
}

/// The source and the layout of a buffer. A buffer can be used for a plan if both equal the plan's.
#[derive(Debug, PartialEq, Eq)]
struct SourceAndLayout {
    source: SourceId,
    layout: Layout,
}

impl SourceAndLayout {
    /// Returns whether the buffer has the source and the layout of a plan.
    fn matches(&self, plan: &Plan) -> bool {
        self.source == *plan.source() && self.layout == *plan.layout()
    }
}

/// A buffer from a pool. The drop returns it to the pool.
#[derive(Debug)]
pub struct Pooled {
    entry: Entry,
    pool: Weak<Inner>,
    reused: bool,
}

impl Pool {
    /// Creates a pool that keeps at most this many bytes of unused buffers.
    #[must_use]
    pub fn new(limit_bytes: u64) -> Self {
        Self {
            inner: Arc::new(Inner {
                limit_bytes,
                unused: Mutex::default(),
            }),
        }
    }

    /// Takes one buffer according to a plan: an unused buffer of this owner, an unused buffer of another owner after it is
    /// zeroed, or a new buffer.
    ///
    /// `allocate` is called if a new buffer is needed. It may return several buffers, and the pool keeps the others.
    ///
    /// # Errors
    /// The errors of `allocate`. A buffer that cannot be zeroed is freed without an error.
    pub fn take<E>(
        &self,
        owner: ContentOwner,
        plan: &Plan,
        allocate: impl FnOnce(&Plan) -> Result<Vec<Buffer>, E>,
    ) -> Result<Option<Pooled>, E> {
        if let Some(entry) = self
            .lock()
            .take(|entry| entry.owner == owner && entry.source_and_layout.matches(plan))
        {
            return Ok(Some(self.pooled(entry, true)));
        }
        // If this owner has no unused buffer, those of other owners are tried one after another. A buffer that cannot be zeroed
        // is freed. The pool is not locked while a buffer is zeroed or freed, because that takes long for a large buffer.
        let take_of_any_owner = || {
            self.lock()
                .take(|entry| entry.source_and_layout.matches(plan))
        };
        while let Some(mut entry) = take_of_any_owner() {
            match zero_if_exclusive(&entry.buffer) {
                Ok(true) => {
                    entry.owner = owner;
                    return Ok(Some(self.pooled(entry, true)));
                }
                Ok(false) => {
                    tracing::debug!(buffer = %entry.buffer.identity(), "a pooled buffer has other references and is freed instead of reused");
                }
                Err(error) => {
                    tracing::debug!(%error, "a pooled buffer cannot be zeroed and is freed instead of reused")
                }
            }
        }
        let mut new_buffers = allocate(plan)?.into_iter();
        let source_and_layout = Arc::new(SourceAndLayout {
            source: plan.source().clone(),
            layout: plan.layout().clone(),
        });
        let entry = |buffer| Entry {
            owner,
            source_and_layout: Arc::clone(&source_and_layout),
            buffer,
        };
        let first_entry = new_buffers.next().map(entry);
        for buffer in new_buffers {
            self.inner.keep(entry(buffer));
        }
        Ok(first_entry.map(|entry| self.pooled(entry, false)))
    }

    /// Frees the unused buffers of an owner, for example when a client disconnects.
    pub fn forget(&self, owner: ContentOwner) {
        // The buffers are freed after the lock is released.
        let mut removed = Vec::new();
        let mut unused = self.lock();
        while let Some(entry) = unused.take(|entry| entry.owner == owner) {
            removed.push(entry);
        }
        drop(unused);
    }

    /// Returns the number of bytes of unused buffers.
    #[must_use]
    pub fn unused_bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn pooled(&self, entry: Entry, reused: bool) -> Pooled {
        Pooled {
            entry,
            pool: Arc::downgrade(&self.inner),
            reused,
        }
    }

    fn lock(&self) -> MutexGuard<'_, UnusedBuffers> {
        self.inner.lock()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, UnusedBuffers> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a buffer to the unused buffers, and frees the oldest ones while the pool exceeds its limit.
    fn keep(&self, entry: Entry) {
        // A buffer that exceeds the limit by itself is freed, so that it does not displace all others.
        if bytes_of(&entry) > self.limit_bytes {
            return;
        }
        // The buffers are freed after the lock is released.
        let mut removed = Vec::new();
        {
            let mut unused = self.lock();
            unused.bytes = unused.bytes.saturating_add(bytes_of(&entry));
            unused.entries.push_back(entry);
            while unused.bytes > self.limit_bytes {
                let Some(oldest) = unused.entries.pop_front() else {
                    break;
                };
                unused.bytes = unused.bytes.saturating_sub(bytes_of(&oldest));
                removed.push(oldest);
            }
        }
        drop(removed);
    }
}

impl UnusedBuffers {
    /// Takes the matching buffer that was used last, because its memory is the most likely to be in a CPU cache.
    fn take(&mut self, is_wanted: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let index = self.entries.iter().rposition(is_wanted)?;
        let entry = self.entries.remove(index)?;
        self.bytes = self.bytes.saturating_sub(bytes_of(&entry));
        Some(entry)
    }
}

fn bytes_of(entry: &Entry) -> u64 {
    entry.buffer.layout().total_bytes()
}

/// Zeroes a buffer including its padding. Returns `false`, and does not zero it, if another process, mapping or device has a
/// reference to its dma-bufs and could read them later.
fn zero_if_exclusive(buffer: &Buffer) -> Result<bool, AccessError> {
    if !buffer.is_exclusively_held() {
        return Ok(false);
    }
    buffer.map()?.zero()?;
    Ok(true)
}

impl Pooled {
    /// Returns whether the pool reused a buffer. If its previous owner was another owner, the pool has zeroed the buffer.
    #[must_use]
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}

impl Deref for Pooled {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.entry.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        // A buffer of which a clone exists is still in use, so it is not returned to the pool.
        if !self.entry.buffer.is_only_clone() {
            return;
        }
        if let Some(pool) = self.pool.upgrade() {
            pool.keep(Entry {
                owner: self.entry.owner,
                source_and_layout: Arc::clone(&self.entry.source_and_layout),
                buffer: self.entry.buffer.clone(),
            });
        }
    }
}
