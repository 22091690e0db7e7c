//! Committed buffers, which are released when they are dropped, and the commits of a surface that are not applied yet.
//!
//! A commit's buffer is taken out of Smithay's surface state before Smithay processes the commit, and becomes a
//! [`CommittedBuffer`]. This value has exactly one owner at a time: the [`PendingCommits`] of its surface while the commit is
//! cached or blocked, and then the [`Content`](crate::content::Content) that the surface and its frames share. Dropping the value
//! releases the buffer, so no other code has to send the release.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::{DisplayHandle, Resource};
use smithay::wayland::compositor::{Cacheable, SurfaceData};

use crate::connection::MappedPool;
use crate::connection::expect_events;
use crate::limits::{Charge, Limit, LimitExceeded, Usage};
use crate::state::ClientState;
use crate::syncobj::ReleasePoint;

/// Sends the event that releases a buffer to its client.
pub trait SendRelease: fmt::Debug + Send + Sync {
    /// Sends the release event.
    fn send_release(&self);
}

impl SendRelease for WlBuffer {
    fn send_release(&self) {
        if self.is_alive() {
            self.release();
            if let Some(client) = self.client() {
                expect_events(&client);
            }
        }
    }
}

/// The use of a buffer that is released by `wl_buffer.release`. Several commits of the buffer share it. Dropping the last
/// reference sends the event.
#[derive(Debug)]
pub struct SharedRelease<B: SendRelease = WlBuffer>(B);

impl<B: SendRelease> Drop for SharedRelease<B> {
    fn drop(&mut self) {
        self.0.send_release();
    }
}

/// The buffers that are in use and are released by `wl_buffer.release`.
///
/// If a buffer is committed again while an earlier commit still uses it, the buffer is released once, when neither commit uses it
/// any more. Otherwise the client would draw into the buffer that is still shown by the later commit.
#[derive(Debug)]
pub struct BuffersInUse<K = ObjectId, B: SendRelease = WlBuffer>(
    HashMap<K, Weak<SharedRelease<B>>>,
);

impl<K, B: SendRelease> Default for BuffersInUse<K, B> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + std::hash::Hash, B: SendRelease> BuffersInUse<K, B> {
    /// Returns the shared use of a buffer. It is created if the buffer is not in use.
    pub fn use_buffer(&mut self, key: K, buffer: B) -> Arc<SharedRelease<B>> {
        if let Some(release) = self.0.get(&key).and_then(Weak::upgrade) {
            // `buffer` is the buffer of the existing use, so no second release event may be sent for it.
            return release;
        }
        self.0.retain(|_, release| release.strong_count() > 0);
        let release = Arc::new(SharedRelease(buffer));
        self.0.insert(key, Arc::downgrade(&release));
        release
    }
}

/// The number of committed buffers of a client that are not released yet.
#[derive(Clone, Debug, Default)]
pub struct UnreleasedBuffers(Arc<AtomicU64>);

impl UnreleasedBuffers {
    /// Returns the number of unreleased buffers.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more unreleased buffer, until the result is dropped.
    fn add(&self) -> UnreleasedBuffer {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnreleasedBuffer(self.0.clone())
    }
}

/// Counts as one unreleased buffer until it is dropped.
#[derive(Debug)]
struct UnreleasedBuffer(Arc<AtomicU64>);

impl UnreleasedBuffer {
    /// Counts a buffer as unreleased for the client that created it; `None` if this client has disconnected.
    fn of_client(buffer: &WlBuffer) -> Option<Self> {
        let client = buffer.client()?;
        Some(client.get_data::<ClientState>()?.unreleased.add())
    }
}

impl Drop for UnreleasedBuffer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A buffer that a client committed. Dropping it releases the buffer.
#[derive(Debug)]
pub struct CommittedBuffer {
    buffer: WlBuffer,
    release_by: ReleaseBy,
    /// Counts the memory of a `wl_shm` buffer against the client's limit, because the memory stays mapped even if the client
    /// destroys the buffer.
    _mapped_pool: Option<Arc<MappedPool>>,
    _unreleased: Option<UnreleasedBuffer>,
}

/// How a buffer is released. With explicit synchronisation, only the release point is signalled.
#[derive(Debug)]
enum ReleaseBy {
    Event(#[allow(dead_code)] Arc<SharedRelease>), // dropped to send the release event
    /// The release point; `None` for point 0, which is signalled from the start.
    Point(Option<ReleasePoint>),
}

impl CommittedBuffer {
    /// Creates the value for a buffer that is released by `wl_buffer.release`.
    pub fn released_by_event(buffer: WlBuffer, in_use: &mut BuffersInUse) -> Self {
        let release = in_use.use_buffer(buffer.id(), buffer.clone());
        Self {
            _unreleased: UnreleasedBuffer::of_client(&buffer),
            buffer,
            release_by: ReleaseBy::Event(release),
            _mapped_pool: None,
        }
    }

    /// Creates the value for a buffer that is released by signalling its release point. `None` stands for point 0, which needs no
    /// signal.
    pub fn released_at_point(buffer: WlBuffer, release: Option<ReleasePoint>) -> Self {
        Self {
            _unreleased: UnreleasedBuffer::of_client(&buffer),
            buffer,
            release_by: ReleaseBy::Point(release),
            _mapped_pool: None,
        }
    }

    /// Sets the pool of a `wl_shm` buffer. The pool counts as mapped until this value is dropped.
    #[must_use]
    pub fn with_pool(self, mapped_pool: Option<Arc<MappedPool>>) -> Self {
        Self {
            _mapped_pool: mapped_pool,
            ..self
        }
    }

    /// Returns the `wl_buffer` that the commit attached.
    pub fn buffer(&self) -> &WlBuffer {
        &self.buffer
    }

    /// Returns the release point; `None` for a buffer that is released by `wl_buffer.release`, and for point 0.
    pub fn release_point(&self) -> Option<&ReleasePoint> {
        match &self.release_by {
            ReleaseBy::Event(_) => None,
            ReleaseBy::Point(release) => release.as_ref(),
        }
    }
}

/// The buffer that a commit attaches to its surface.
#[derive(Debug)]
pub enum Attachment<O = CommittedBuffer> {
    /// The commit attaches this buffer.
    Buffer(O),
    /// The null buffer, which removes the surface's content.
    Removed,
}

/// The commits of a surface that are not applied yet, each with its attachment.
///
/// Smithay keeps the number of each commit in its surface state and applies commits in order. The attachments are stored here and
/// not in Smithay's state. A superseded buffer is therefore released at once, and all buffers are released when the surface is
/// destroyed, even if Smithay keeps its state longer.
#[derive(Debug)]
pub struct PendingCommits<O = CommittedBuffer>(Mutex<CommitQueue<O>>);

/// The commits of a surface that Smithay has not applied yet.
#[derive(Debug)]
struct CommitQueue<O> {
    /// The number of the last commit.
    last: u64,
    /// The number of the last commit that was applied.
    applied: u64,
    /// Commits up to this number belong to a commit of the parent. Later commits are cached in a synchronised subsurface.
    sealed: u64,
    attached: VecDeque<(u64, Attachment<O>)>,
    /// The client's charge for the commits that are not applied yet.
    charge: Option<Charge>,
}

impl<O> Default for PendingCommits<O> {
    fn default() -> Self {
        Self(Mutex::new(CommitQueue {
            last: 0,
            applied: 0,
            sealed: 0,
            attached: VecDeque::new(),
            charge: None,
        }))
    }
}

impl<O> PendingCommits<O> {
    /// Calls `work` with the locked queue.
    fn with<T>(&self, work: impl FnOnce(&mut CommitQueue<O>) -> T) -> T {
        // Nothing panics while the lock is held, so the queue behind a poisoned lock is consistent.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a commit. Returns its number and the numbers of the commits whose attachments it supersedes.
    ///
    /// Commits of a desynchronised surface are applied one after the other. Commits of a synchronised subsurface are cached, and
    /// the parent's commit shows only the last attachment.
    pub fn push(&self, attachment: Option<Attachment<O>>, is_cached: bool) -> (u64, Vec<u64>) {
        let (number, superseded) = self.with(|queue| {
            queue.last = queue.last.saturating_add(1);
            let number = queue.last;
            let mut superseded = Vec::new();
            if let Some(attachment) = attachment {
                if is_cached {
                    let sealed = queue.sealed;
                    let cached_end = queue
                        .attached
                        .partition_point(|(number, _)| *number <= sealed);
                    superseded.extend(queue.attached.drain(cached_end..));
                }
                queue.attached.push_back((number, attachment));
            }
            if !is_cached {
                queue.sealed = number;
            }
            (number, superseded)
        });
        // This drops the superseded attachments, which releases their buffers.
        (
            number,
            superseded.into_iter().map(|(number, _)| number).collect(),
        )
    }

    /// Marks all commits so far as belonging to a commit of the parent. Later commits do not supersede them.
    pub fn seal(&self) {
        self.with(|queue| queue.sealed = queue.last);
    }

    /// Marks the commits up to `number` as applied. Returns their last attachment, if there is one.
    pub fn apply(&self, number: u64) -> Option<Attachment<O>> {
        let mut applied: Vec<(u64, Attachment<O>)> = self.with(|queue| {
            queue.applied = queue.applied.max(number);
            let unapplied = queue.last.saturating_sub(queue.applied);
            if let Some(charge) = &mut queue.charge {
                // Reducing the amount of a charge cannot exceed a limit.
                let _ = charge.set(unapplied);
            }
            let count = queue
                .attached
                .partition_point(|(other, _)| *other <= number);
            queue.attached.drain(..count).collect()
        });
        applied.pop().map(|(_, attachment)| attachment)
    }

    /// Drops all attachments that are not applied, which releases their buffers.
    pub fn clear(&self) {
        let cleared = self.with(|queue| std::mem::take(&mut queue.attached));
        drop(cleared);
    }

    /// Returns the number of commits that are not applied yet.
    pub fn unapplied(&self) -> u64 {
        self.with(|queue| queue.last.saturating_sub(queue.applied))
    }

    /// Charges the client for the commits that are not applied yet.
    ///
    /// # Errors
    ///
    /// When their number exceeds the limit of a surface or of the client.
    pub fn count(&self, usage: &Arc<Usage>) -> Result<(), LimitExceeded> {
        let unapplied = self.unapplied();
        usage.check(Limit::SurfaceCommits, unapplied)?;
        self.with(|queue| {
            let charge = queue
                .charge
                .get_or_insert_with(|| usage.charge_nothing(Limit::Commits));
            charge.set(unapplied)
        })
    }
}

/// The number of a commit in Smithay's surface state.
#[derive(Debug, Default)]
pub struct CommitNumber(pub Option<u64>);

impl Cacheable for CommitNumber {
    fn commit(&mut self, _display: &DisplayHandle) -> Self {
        Self(self.0.take())
    }

    fn merge_into(self, into: &mut Self, _display: &DisplayHandle) {
        into.0 = self.0.max(into.0);
    }
}

/// Returns the pending commits of a surface.
pub fn pending_commits(states: &SurfaceData) -> &PendingCommits {
    states
        .data_map
        .get_or_insert_threadsafe(PendingCommits::default)
}

/// Returns the last attachment of the commits that were applied since the previous call.
pub fn take_applied(states: &SurfaceData) -> Option<Attachment> {
    let number = states
        .cached_state
        .get::<CommitNumber>()
        .current()
        .0
        .take()?;
    pending_commits(states).apply(number)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// Counts how often a buffer was released.
    #[derive(Clone, Debug, Default)]
    struct Counter(Arc<AtomicUsize>);

    impl Counter {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        fn buffer_of(&self) -> SharedRelease<Self> {
            SharedRelease(self.clone())
        }
    }

    impl SendRelease for Counter {
        fn send_release(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(counters: &[Counter]) -> Vec<usize> {
        counters.iter().map(Counter::count).collect()
    }

    fn buffer(counter: &Counter) -> Option<Attachment<SharedRelease<Counter>>> {
        Some(Attachment::Buffer(counter.buffer_of()))
    }

    #[test]
    fn buffer_cached_in_a_synchronised_subsurface_is_released_when_superseded() {
        let counters: Vec<Counter> = (0..3).map(|_| Counter::default()).collect();
        let commits = PendingCommits::default();
        assert_eq!(commits.push(buffer(&counters[0]), true), (1, vec![]));
        // A commit without an attachment supersedes no other.
        assert_eq!(commits.push(None, true), (2, vec![]));
        assert_eq!(counts(&counters), [0, 0, 0]);
        assert_eq!(commits.push(buffer(&counters[1]), true), (3, vec![1]));
        assert_eq!(counts(&counters), [1, 0, 0]);
        commits.seal();
        assert_eq!(commits.push(buffer(&counters[2]), true), (4, vec![]));
        assert_eq!(
            counts(&counters),
            [1, 0, 0],
            "the parent's commit shows the last attachment"
        );
        assert!(matches!(commits.apply(3), Some(Attachment::Buffer(_))));
        assert_eq!(counts(&counters), [1, 1, 0]);
        assert_eq!(commits.unapplied(), 1);
    }

    #[test]
    fn buffer_superseded_by_a_null_buffer_is_released_once() {
        let counters: Vec<Counter> = (0..2).map(|_| Counter::default()).collect();
        for is_cached in [false, true] {
            let before = counters[0].count();
            let commits = PendingCommits::default();
            commits.push(buffer(&counters[0]), is_cached);
            let (number, _) = commits.push(Some(Attachment::Removed), is_cached);
            assert!(matches!(commits.apply(number), Some(Attachment::Removed)));
            assert_eq!(counters[0].count(), before + 1);
            assert!(commits.apply(number).is_none());
        }
    }

    #[test]
    fn blocked_commits_applied_in_order_release_buffers_that_were_never_shown() {
        let counters: Vec<Counter> = (0..3).map(|_| Counter::default()).collect();
        let commits = PendingCommits::default();
        for counter in &counters {
            commits.push(buffer(counter), false);
        }
        assert_eq!(counts(&counters), [0, 0, 0]);
        let first = commits.apply(1);
        drop(first);
        assert_eq!(counts(&counters), [1, 0, 0]);
        let last = commits.apply(3);
        assert_eq!(counts(&counters), [1, 1, 0]);
        drop(last);
        assert_eq!(counts(&counters), [1, 1, 1]);
    }

    #[test]
    fn surface_that_is_destroyed_releases_each_buffer_once() {
        let counters: Vec<Counter> = (0..3).map(|_| Counter::default()).collect();
        let commits = PendingCommits::default();
        commits.push(buffer(&counters[0]), false);
        commits.push(buffer(&counters[1]), true);
        commits.clear();
        assert_eq!(counts(&counters), [1, 1, 0]);
        // A commit that Smithay applies later finds no attachment.
        assert!(commits.apply(2).is_none());
        commits.push(buffer(&counters[2]), false);
        drop(commits);
        assert_eq!(counts(&counters), [1, 1, 1]);
    }

    #[test]
    fn buffer_committed_twice_is_released_once_when_neither_commit_uses_it() {
        let counter = Counter::default();
        let mut in_use = BuffersInUse::default();
        let one = in_use.use_buffer(1, counter.clone());
        let two = in_use.use_buffer(1, counter.clone());
        drop(one);
        assert_eq!(counter.count(), 0);
        drop(two);
        assert_eq!(counter.count(), 1);
        drop(in_use.use_buffer(1, counter.clone()));
        assert_eq!(counter.count(), 2);
    }

    #[test]
    fn random_commits_release_each_buffer_once() {
        // A xorshift generator, so that each run uses the same numbers.
        let mut state: u64 = 0x5eed_c0de;
        let mut below = |limit: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % limit
        };
        for _ in 0..2000 {
            let commits = PendingCommits::default();
            let mut all = Vec::new();
            let mut current = None;
            let mut last = 0;
            for _ in 0..below(20) {
                match below(6) {
                    0..=2 => {
                        let counter = Counter::default();
                        last = commits.push(buffer(&counter), below(2) == 0).0;
                        all.push(counter);
                    }
                    3 => last = commits.push(Some(Attachment::Removed), below(2) == 0).0,
                    4 => commits.seal(),
                    _ => {
                        if let Some(applied) = commits.apply(below(last + 1)) {
                            current = Some(applied);
                        }
                    }
                }
                assert!(all.iter().all(|counter| counter.count() <= 1));
            }
            let shown = usize::from(matches!(&current, Some(Attachment::Buffer(_))));
            commits.clear();
            assert_eq!(
                all.iter().filter(|counter| counter.count() == 0).count(),
                shown
            );
            drop(current);
            assert!(all.iter().all(|counter| counter.count() == 1));
        }
    }
}
