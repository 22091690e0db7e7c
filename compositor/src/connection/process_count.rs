//! The number of connections of each process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The number of connections by the process id of the peer.
pub(super) type ProcessCounts = Rc<RefCell<HashMap<i32, u64>>>;

/// One connection of a process, while it exists.
#[derive(Debug)]
pub(super) struct ProcessCount {
    pid: i32,
    counts: ProcessCounts,
}

impl ProcessCount {
    pub(super) fn add(counts: &ProcessCounts, pid: Option<i32>) -> Self {
        // All clients of an unknown process id count as one process.
        let pid = pid.unwrap_or(0);
        let mut all = counts.borrow_mut();
        let count = all.entry(pid).or_default();
        *count = count.saturating_add(1);
        Self {
            pid,
            counts: counts.clone(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.borrow().get(&self.pid).copied().unwrap_or(0)
    }
}

impl Drop for ProcessCount {
    fn drop(&mut self) {
        let mut all = self.counts.borrow_mut();
        if let Some(count) = all.get_mut(&self.pid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.pid);
            }
        }
    }
}
