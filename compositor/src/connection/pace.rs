//! Limits how many messages of one client are dispatched before the other clients are served.
//!
//! The cost of a request depends on the state of the client: a commit of a large tree of surfaces takes a thousand times as long
//! as most requests. Messages are therefore dispatched in batches whose time is measured. A client whose time slice is used up
//! continues in the next event-loop iteration. The number of commits in a batch has its own limit, so that a client whose other
//! requests are cheap cannot send many expensive commits in one batch. The batches of typical clients are small and are
//! dispatched at once.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The time slice of one client in one event-loop iteration. It is shorter if very many clients are busy.
const SLICE: Duration = Duration::from_millis(2);
/// The total time for all busy clients in one event-loop iteration. It is shorter than the time between two frames, so that a
/// frame can be drawn in time.
const BUSY_TIME: Duration = Duration::from_millis(4);
/// The maximum number of messages and of commits in the first batch of a client.
const FIRST_BATCH: Batch = Batch {
    messages: 16,
    commits: 4,
};
/// The maximum size of a batch. 512 of the smallest messages fill one read of 4096 bytes. The number of commits stays small,
/// because the cost of one commit does not predict the cost of the next.
const BATCH_MAX: Batch = Batch {
    messages: 512,
    commits: 4,
};

/// The size of a batch: the number of messages, and the number of commits among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) messages: usize,
    pub(super) commits: usize,
}

/// The number of busy clients, which have more messages to dispatch.
#[derive(Clone, Debug, Default)]
pub(super) struct BusyClients(Rc<Cell<u32>>);

/// The maximum batch size and the used time of one client.
#[derive(Debug)]
pub(super) struct Pace {
    max_batch: Batch,
    used: Duration,
    is_busy: bool,
    busy_clients: BusyClients,
}

impl Pace {
    /// Creates the pace of a new client.
    pub(super) fn new(busy_clients: BusyClients) -> Self {
        Self {
            max_batch: FIRST_BATCH,
            used: Duration::ZERO,
            is_busy: false,
            busy_clients,
        }
    }

    /// Returns whether the next batch may have this size.
    pub(super) fn permits(&self, batch: Batch) -> bool {
        batch.messages <= self.max_batch.messages && batch.commits <= self.max_batch.commits
    }

    /// Starts the client's time slice in an event-loop iteration.
    pub(super) fn start(&mut self) {
        self.used = Duration::ZERO;
    }

    /// Adds the time that a batch took. Returns whether the client's time slice is not used up yet.
    pub(super) fn dispatched(&mut self, batch: Batch, took: Duration) -> bool {
        self.used = self.used.saturating_add(took);
        let slice = SLICE.min(BUSY_TIME / self.busy_clients.0.get().max(1));
        // If the batch has commits, the time is attributed to them.
        let (most, limit) = if batch.commits > 0 {
            (&mut self.max_batch.commits, BATCH_MAX.commits)
        } else {
            (&mut self.max_batch.messages, BATCH_MAX.messages)
        };
        if took > slice {
            let excess = took.as_nanos() / slice.as_nanos().max(1);
            let divisor = usize::try_from(excess).unwrap_or(usize::MAX).max(2);
            *most = (*most / divisor).max(1);
        } else if took < slice / 4 {
            *most = most.saturating_mul(2).min(limit);
        }
        self.used < slice
    }

    /// Sets whether the client has more messages to dispatch.
    pub(super) fn set_busy(&mut self, is_busy: bool) {
        if std::mem::replace(&mut self.is_busy, is_busy) != is_busy {
            let count = &self.busy_clients.0;
            count.set(if is_busy {
                count.get().saturating_add(1)
            } else {
                count.get().saturating_sub(1)
            });
        }
    }

    /// Returns whether the client has more messages to dispatch.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.set_busy(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: Batch = Batch {
        messages: 16,
        commits: 0,
    };
    const COMMIT: Batch = Batch {
        messages: 16,
        commits: 1,
    };

    #[test]
    fn batches_of_cheap_messages_grow_and_those_of_expensive_ones_shrink() {
        let mut pace = Pace::new(BusyClients::default());
        pace.start();
        assert!(pace.dispatched(MESSAGES, Duration::from_micros(10)));
        assert_eq!(pace.max_batch.messages, 2 * FIRST_BATCH.messages);
        for _ in 0..20 {
            assert!(pace.dispatched(MESSAGES, Duration::from_micros(10)));
        }
        assert_eq!(pace.max_batch.messages, BATCH_MAX.messages);
        assert!(!pace.dispatched(MESSAGES, Duration::from_millis(500)));
        assert_eq!(pace.max_batch.messages, BATCH_MAX.messages / 250);
        assert!(!pace.dispatched(MESSAGES, Duration::from_millis(500)));
        assert_eq!(
            pace.max_batch.messages, 1,
            "a batch has at least one message"
        );
    }

    #[test]
    fn expensive_commits_are_dispatched_one_by_one_between_cheap_messages() {
        let mut pace = Pace::new(BusyClients::default());
        pace.start();
        for _ in 0..20 {
            pace.dispatched(MESSAGES, Duration::from_micros(10));
        }
        pace.dispatched(COMMIT, Duration::from_millis(10));
        assert!(pace.permits(Batch {
            messages: BATCH_MAX.messages,
            commits: 1
        }));
        assert!(!pace.permits(Batch {
            messages: 2,
            commits: 2
        }));
    }

    #[test]
    fn slice_is_shared_by_busy_clients_until_they_leave() {
        let busy_clients = BusyClients::default();
        let mut pace = Pace::new(busy_clients.clone());
        let others: Vec<Pace> = (0..160)
            .map(|_| {
                let mut pace = Pace::new(busy_clients.clone());
                pace.set_busy(true);
                pace.set_busy(true);
                pace
            })
            .collect();
        pace.start();
        assert!(!pace.dispatched(MESSAGES, Duration::from_micros(100)));
        drop(others);
        pace.start();
        assert!(pace.dispatched(MESSAGES, Duration::from_micros(100)));
    }
}
