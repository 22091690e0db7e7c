//! The checks that are still to be run. Several workers take checks from this queue.
//!
//! The checks start in the order of the list, except those that cannot start yet. A check that runs in the image's root file
//! system waits until the root file system is built. A check that compiles waits until its target folder is free: Cargo locks the
//! folder, so the check would occupy a worker that could boot a guest instead.

use super::checks::{CheckNeeds, needs};

/// The checks that no worker has taken.
#[derive(Debug)]
pub(super) struct CheckQueue {
    remaining: Vec<(&'static str, CheckNeeds)>,
    /// The checks that run now.
    running: Vec<(&'static str, CheckNeeds)>,
}

impl CheckQueue {
    /// Creates a queue of these checks. `on_host` is passed to [`needs`].
    pub(super) fn new(names: &[&'static str], on_host: bool) -> Self {
        let with_needs = |name: &&'static str| (*name, needs(name, on_host));
        Self {
            remaining: names.iter().map(with_needs).collect(),
            running: Vec::new(),
        }
    }

    /// Removes and returns the first check that can start now. When the check has ended, the caller must call
    /// [`CheckQueue::end`].
    pub(super) fn take(&mut self, has_root: bool) -> Option<&'static str> {
        let is_busy = |folder| {
            let mut running = self.running.iter();
            running.any(|(_, needs)| needs.folder == Some(folder))
        };
        let can_start =
            |needs: &CheckNeeds| !needs.folder.is_some_and(is_busy) && (has_root || !needs.root);
        let first = self
            .remaining
            .iter()
            .position(|(_, needs)| can_start(needs))?;
        let check = self.remaining.remove(first);
        self.running.push(check);
        Some(check.0)
    }

    /// Records that the check `name` has ended.
    pub(super) fn end(&mut self, name: &str) {
        self.running.retain(|(running, _)| *running != name);
    }

    /// Returns whether every check has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.remaining.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::checks::NAMES;

    #[test]
    fn take_with_a_root_follows_the_list_around_a_busy_folder() {
        let names = ["check::lints", "check::documentation", "check::packaging"];
        let mut queue = CheckQueue::new(&names, false);
        assert_eq!(queue.take(true), Some("check::lints"));
        // `check::documentation` compiles in the same folder as `check::lints`, so it cannot start yet.
        assert_eq!(queue.take(true), Some("check::packaging"));
        assert_eq!(queue.take(true), None);
        queue.end("check::packaging");
        assert_eq!(queue.take(true), None);
        queue.end("check::lints");
        assert_eq!(queue.take(true), Some("check::documentation"));
        assert!(queue.is_empty());
    }

    /// Returns the checks that can run, one after the other, before the root file system is built.
    fn early(on_host: bool) -> Vec<&'static str> {
        let mut queue = CheckQueue::new(&NAMES, on_host);
        let mut taken = Vec::new();
        while let Some(name) = queue.take(false) {
            queue.end(name);
            taken.push(name);
        }
        let rest = queue.take(true).unwrap();
        assert!(!taken.contains(&rest), "{rest}");
        taken
    }

    #[test]
    fn take_without_a_root_returns_only_checks_of_the_host() {
        let of_debian = [
            "check::tree",
            "check::semver",
            "check::dependencies",
            "check::spelling",
            "check::cases",
        ];
        assert_eq!(early(false), of_debian);
        let mut missing = NAMES.to_vec();
        let on_host = early(true);
        missing.retain(|name| !on_host.contains(name));
        let of_root = ["check::lints", "check::documentation", "unit::tests"];
        assert_eq!(missing, of_root);
    }

    #[test]
    fn take_by_several_workers_returns_every_check_once() {
        let mut queue = CheckQueue::new(&NAMES, true);
        let mut running = Vec::new();
        let mut taken = Vec::new();
        while !queue.is_empty() || !running.is_empty() {
            while let Some(name) = queue.take(true) {
                let folder = |name: &str| needs(name, true).folder;
                let shares = |other: &&str| folder(name).is_some() && folder(other) == folder(name);
                assert!(!running.iter().any(shares), "{name} beside {running:?}");
                running.push(name);
                taken.push(name);
            }
            queue.end(running.remove(0));
        }
        taken.sort_unstable();
        let mut names = NAMES;
        names.sort_unstable();
        assert_eq!(taken, names);
    }
}
