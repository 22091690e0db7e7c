//! Counts the connections of each client process.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// The number of connections by process id.
pub(super) type ProcessCounts = Rc<RefCell<HashMap<i32, u64>>>;

/// Counts as one connection of a process until it is dropped.
#[derive(Debug)]
pub(super) struct ProcessCount {
    pid: i32,
    counts: ProcessCounts,
}

impl ProcessCount {
    /// Counts one more connection of a process, until the result is dropped.
    pub(super) fn add(counts: &ProcessCounts, pid: Option<i32>) -> Self {
        // Clients whose process id is unknown are counted as one process.
        let pid = pid.unwrap_or(0);
        let mut all = counts.borrow_mut();
        let count = all.entry(pid).or_default();
        *count = count.saturating_add(1);
        Self {
            pid,
            counts: counts.clone(),
        }
    }

    /// Returns the number of connections of the process.
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
