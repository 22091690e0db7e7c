//! Buffers that clients committed and are owed: each goes back when its guard is dropped, wherever that happens.
//!
//! A commit's buffer is taken out of Smithay's state of the surface before Smithay sees the commit, and becomes an
//! [`OwedBuffer`]. From then on it is always in exactly one place: in the [`Commits`] of its surface while the commit is cached
//! or waits, in a [`Content`](crate::content::Content) while it is the surface's current content, in a frame while the display
//! or a GPU reads it. Whatever drops it gives it back, so that no way of a commit needs code of its own to do so.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::{DisplayHandle, Resource};
use smithay::wayland::compositor::{Cacheable, SurfaceData};

use crate::syncobj::Release;

/// What tells a client that it has its buffer back.
pub trait GiveBack: fmt::Debug + Send + Sync {
    /// Tells it.
    fn give_back(&self);
}

impl GiveBack for WlBuffer {
    fn give_back(&self) {
        if self.is_alive() {
            self.release();
        }
    }
}

/// Everybody who uses a buffer without points: the client is told when the last one is done.
#[derive(Debug)]
pub struct Uses<B: GiveBack = WlBuffer>(B);

impl<B: GiveBack> Drop for Uses<B> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

/// The buffers that are in use without points.
///
/// A buffer that is committed again while an earlier commit of it is in use is given back once, when both are done: a client
/// that heard of the first would draw into what is shown.
#[derive(Debug)]
pub struct UsedBuffers<K = ObjectId, B: GiveBack = WlBuffer>(HashMap<K, Weak<Uses<B>>>);

impl<K, B: GiveBack> Default for UsedBuffers<K, B> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + std::hash::Hash, B: GiveBack> UsedBuffers<K, B> {
    /// Takes part in the use of a buffer.
    pub fn take(&mut self, key: K, buffer: B) -> Arc<Uses<B>> {
        if let Some(uses) = self.0.get(&key).and_then(Weak::upgrade) {
            // What was given is the same buffer, which must not be told of this one's end.
            return uses;
        }
        self.0.retain(|_, uses| uses.strong_count() > 0);
        let uses = Arc::new(Uses(buffer));
        self.0.insert(key, Arc::downgrade(&uses));
        uses
    }
}

/// A buffer that a client committed, and is owed.
#[derive(Debug)]
pub struct OwedBuffer {
    buffer: WlBuffer,
    by: By,
}

/// By what a buffer goes back. A client that has points listens to nothing else.
#[derive(Debug)]
enum By {
    Event(#[allow(dead_code)] Arc<Uses>), // kept until the buffer goes back
    /// A point; none where the client named point 0, which is reached from the start.
    Point(Option<Release>),
}

impl OwedBuffer {
    /// Takes a buffer that goes back by `wl_buffer.release`.
    pub fn by_event(buffer: WlBuffer, used: &mut UsedBuffers) -> Self {
        let uses = used.take(buffer.id(), buffer.clone());
        Self {
            buffer,
            by: By::Event(uses),
        }
    }

    /// Takes a buffer that goes back by a point on a timeline, or owes nothing at all.
    pub fn by_point(buffer: WlBuffer, release: Option<Release>) -> Self {
        Self {
            buffer,
            by: By::Point(release),
        }
    }

    /// Returns the buffer.
    pub fn buffer(&self) -> &WlBuffer {
        &self.buffer
    }

    /// Returns the point by which it goes back; `None` where `wl_buffer.release` tells.
    pub fn release(&self) -> Option<&Release> {
        match &self.by {
            By::Event(_) => None,
            By::Point(release) => release.as_ref(),
        }
    }
}

/// What a commit attached.
#[derive(Debug)]
pub enum Attachment<O = OwedBuffer> {
    /// A buffer.
    Buffer(O),
    /// No buffer: the surface shows nothing from now on.
    Removed,
}

/// The commits of a surface that were not applied yet, each with what it attached.
///
/// Smithay keeps the number of each commit in its own state, and applies commits in their order. What is attached stays here,
/// so that it can go back as soon as it is superseded, and when the surface ends, whatever Smithay still keeps then.
#[derive(Debug)]
pub struct Commits<O = OwedBuffer>(Mutex<Queue<O>>);

#[derive(Debug)]
struct Queue<O> {
    /// The number of the last commit.
    last: u64,
    /// The last commit that was applied.
    applied: u64,
    /// Commits up to this one belong to a commit of the parent; later ones are cached in a synchronised subsurface.
    sealed: u64,
    attached: VecDeque<(u64, Attachment<O>)>,
}

impl<O> Default for Commits<O> {
    fn default() -> Self {
        Self(Mutex::new(Queue {
            last: 0,
            applied: 0,
            sealed: 0,
            attached: VecDeque::new(),
        }))
    }
}

impl<O> Commits<O> {
    fn with<T>(&self, work: impl FnOnce(&mut Queue<O>) -> T) -> T {
        // Nothing panics while it is held, so that a poisoned lock holds a whole queue all the same.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a commit; returns its number, and those of commits whose attachment it supersedes.
    ///
    /// Commits of a surface that is not synchronised are shown one after the other. Those of a synchronised one are cached, and
    /// only the last is shown when the parent commits.
    pub fn push(&self, attachment: Option<Attachment<O>>, is_cached: bool) -> (u64, Vec<u64>) {
        let (number, superseded) = self.with(|queue| {
            queue.last = queue.last.saturating_add(1);
            let number = queue.last;
            let mut superseded = Vec::new();
            if let Some(attachment) = attachment {
                if is_cached {
                    let sealed = queue.sealed;
                    let kept = queue
                        .attached
                        .partition_point(|(number, _)| *number <= sealed);
                    superseded.extend(queue.attached.drain(kept..));
                }
                queue.attached.push_back((number, attachment));
            }
            if !is_cached {
                queue.sealed = number;
            }
            (number, superseded)
        });
        // Here the superseded buffers go back.
        (
            number,
            superseded.into_iter().map(|(number, _)| number).collect(),
        )
    }

    /// Notes that the commits until now belong to a commit of the parent: those that follow supersede none of them.
    pub fn seal(&self) {
        self.with(|queue| queue.sealed = queue.last);
    }

    /// Applies commits up to `number`; returns what the last of them attached, where any attached something.
    pub fn apply(&self, number: u64) -> Option<Attachment<O>> {
        let mut applied: Vec<(u64, Attachment<O>)> = self.with(|queue| {
            queue.applied = queue.applied.max(number);
            let count = queue
                .attached
                .partition_point(|(other, _)| *other <= number);
            queue.attached.drain(..count).collect()
        });
        applied.pop().map(|(_, attachment)| attachment)
    }

    /// Gives back everything that was attached and not applied.
    pub fn clear(&self) {
        let cleared = self.with(|queue| std::mem::take(&mut queue.attached));
        drop(cleared);
    }

    /// Counts the commits that were not applied yet.
    pub fn outstanding(&self) -> u64 {
        self.with(|queue| queue.last.saturating_sub(queue.applied))
    }
}

/// The number of a commit, in Smithay's state of a surface.
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

/// Returns a surface's commits.
pub fn commits(states: &SurfaceData) -> &Commits {
    states.data_map.get_or_insert_threadsafe(Commits::default)
}

/// Takes what the commits attached that were applied since the last time.
pub fn take_applied(states: &SurfaceData) -> Option<Attachment> {
    let number = states
        .cached_state
        .get::<CommitNumber>()
        .current()
        .0
        .take()?;
    commits(states).apply(number)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts how often a buffer was given back.
    #[derive(Clone, Debug, Default)]
    struct Counter(Arc<AtomicUsize>);

    impl Counter {
        fn count(&self) -> usize {
            self.0.load(Ordering::Relaxed)
        }

        fn owed(&self) -> Uses<Self> {
            Uses(self.clone())
        }
    }

    impl GiveBack for Counter {
        fn give_back(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(counters: &[Counter]) -> Vec<usize> {
        counters.iter().map(Counter::count).collect()
    }

    fn buffer(counter: &Counter) -> Option<Attachment<Uses<Counter>>> {
        Some(Attachment::Buffer(counter.owed()))
    }

    #[test]
    fn buffer_cached_in_a_synchronised_subsurface_goes_back_when_it_is_superseded() {
        let all: Vec<Counter> = (0..3).map(|_| Counter::default()).collect();
        let commits = Commits::default();
        assert_eq!(commits.push(buffer(&all[0]), true), (1, vec![]));
        // A commit without a buffer supersedes none.
        assert_eq!(commits.push(None, true), (2, vec![]));
        assert_eq!(counts(&all), [0, 0, 0]);
        assert_eq!(commits.push(buffer(&all[1]), true), (3, vec![1]));
        assert_eq!(counts(&all), [1, 0, 0]);
        commits.seal();
        assert_eq!(commits.push(buffer(&all[2]), true), (4, vec![]));
        assert_eq!(counts(&all), [1, 0, 0], "the parent's commit shows it");
        assert!(matches!(commits.apply(3), Some(Attachment::Buffer(_))));
        assert_eq!(counts(&all), [1, 1, 0]);
        assert_eq!(commits.outstanding(), 1);
    }

    #[test]
    fn buffer_superseded_by_none_goes_back_and_what_follows_is_its_own() {
        let all: Vec<Counter> = (0..2).map(|_| Counter::default()).collect();
        for is_cached in [false, true] {
            let before = all[0].count();
            let commits = Commits::default();
            commits.push(buffer(&all[0]), is_cached);
            let (number, _) = commits.push(Some(Attachment::Removed), is_cached);
            assert!(matches!(commits.apply(number), Some(Attachment::Removed)));
            assert_eq!(all[0].count(), before + 1);
            assert!(commits.apply(number).is_none());
        }
    }

    #[test]
    fn commits_that_wait_are_applied_in_their_order_and_give_back_what_was_never_shown() {
        let all: Vec<Counter> = (0..3).map(|_| Counter::default()).collect();
        let commits = Commits::default();
        for counter in &all {
            commits.push(buffer(counter), false);
        }
        assert_eq!(counts(&all), [0, 0, 0]);
        let first = commits.apply(1);
        drop(first);
        assert_eq!(counts(&all), [1, 0, 0]);
        let last = commits.apply(3);
        assert_eq!(counts(&all), [1, 1, 0]);
        drop(last);
        assert_eq!(counts(&all), [1, 1, 1]);
    }

    #[test]
    fn surface_that_ends_gives_everything_back_once() {
        let all: Vec<Counter> = (0..3).map(|_| Counter::default()).collect();
        let commits = Commits::default();
        commits.push(buffer(&all[0]), false);
        commits.push(buffer(&all[1]), true);
        commits.clear();
        assert_eq!(counts(&all), [1, 1, 0]);
        // A commit that Smithay applies afterwards finds nothing.
        assert!(commits.apply(2).is_none());
        commits.push(buffer(&all[2]), false);
        drop(commits);
        assert_eq!(counts(&all), [1, 1, 1]);
    }

    #[test]
    fn buffer_in_use_twice_goes_back_once_when_both_are_done() {
        let counter = Counter::default();
        let mut used = UsedBuffers::default();
        let one = used.take(1, counter.clone());
        let two = used.take(1, counter.clone());
        drop(one);
        assert_eq!(counter.count(), 0);
        drop(two);
        assert_eq!(counter.count(), 1);
        drop(used.take(1, counter.clone()));
        assert_eq!(counter.count(), 2);
    }

    #[test]
    fn any_order_of_commits_gives_each_buffer_back_once() {
        // Numbers that repeat from run to run (xorshift).
        let mut state: u64 = 0x5eed_c0de;
        let mut below = |limit: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % limit
        };
        for _ in 0..2000 {
            let commits = Commits::default();
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
