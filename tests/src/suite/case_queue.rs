//! The cases that are still to be run, grouped by the guest that they need. Several workers take cases from this queue, and each
//! runs them in its own guest.
//!
//! A worker keeps its guest as long as its group has cases left. Then it takes the group with the longest expected time among the
//! groups that no worker has started. When every group is started, it boots another guest for a group whose remaining cases are
//! expected to take [`MIN_SECONDS_FOR_ANOTHER_GUEST`] or longer. This costs one more boot, but the run ends earlier, because one
//! configuration has more than half of all cases.
//!
//! The cases that take longest come first in their group. Otherwise one worker could begin such a case when no other case is left
//! for the other workers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::{Case, Needs};

/// A worker boots another guest for a group that is already started only if its remaining cases are expected to take this time in
/// seconds. A boot takes about half of it.
const MIN_SECONDS_FOR_ANOTHER_GUEST: u32 = 60;

/// The cases that no worker has taken.
#[derive(Debug)]
pub(super) struct CaseQueue {
    groups: BTreeMap<Needs, Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// The cases that no worker has taken: the longest first, then by name. Cases after which the guest cannot be used again come
    /// last.
    remaining: VecDeque<Case>,
    is_started: bool,
}

impl Group {
    /// Returns how long the remaining cases are expected to take, in seconds.
    fn remaining_seconds(&self) -> u32 {
        self.remaining.iter().map(|case| case.seconds).sum()
    }
}

impl CaseQueue {
    /// Groups the cases by the guests that they need.
    pub(super) fn new(cases: &[Case]) -> Self {
        let mut groups: BTreeMap<Needs, Group> = BTreeMap::new();
        for case in cases {
            groups
                .entry(case.needs)
                .or_default()
                .remaining
                .push_back(*case);
        }
        for group in groups.values_mut() {
            group
                .remaining
                .make_contiguous()
                .sort_by_key(|case| (case.last, Reverse(case.seconds), case.name));
        }
        Self { groups }
    }

    /// Removes and returns the next case of the group whose guests meet `needs`.
    pub(super) fn next(&mut self, needs: &Needs) -> Option<Case> {
        self.groups.get_mut(needs)?.remaining.pop_front()
    }

    /// Chooses the guest that an idle worker should boot, among those that `can_boot` accepts. Returns `None` if another guest
    /// would not make the run end earlier.
    pub(super) fn choose(&mut self, can_boot: impl Fn(&Needs) -> bool) -> Option<Needs> {
        let unstarted = |group: &Group| !group.is_started && !group.remaining.is_empty();
        let worth_another_guest =
            |group: &Group| group.remaining_seconds() >= MIN_SECONDS_FOR_ANOTHER_GUEST;
        let longest = |matches: &dyn Fn(&Group) -> bool| {
            self.groups
                .iter()
                .filter(|(needs, group)| can_boot(needs) && matches(group))
                .max_by_key(|(_, group)| group.remaining_seconds())
                .map(|(needs, _)| *needs)
        };
        let chosen = longest(&unstarted).or_else(|| longest(&worth_another_guest))?;
        if let Some(group) = self.groups.get_mut(&chosen) {
            group.is_started = true;
        }
        Some(chosen)
    }

    /// Returns whether there are cases for a guest that no worker has booted.
    pub(super) fn has_unstarted(&self) -> bool {
        let is_unstarted = |group: &Group| !group.is_started && !group.remaining.is_empty();
        self.groups.values().any(is_unstarted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Outcome, TestContext};
    use crate::vm::config::Config;

    fn passes(_: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
        Ok(Outcome::Passed)
    }

    fn cases(config: Config, names: &[&'static str]) -> Vec<Case> {
        names
            .iter()
            .map(|name| Case::new(name, config, passes))
            .collect()
    }

    #[test]
    fn next_of_one_group_returns_cases_sorted_by_name() {
        let mut queue = CaseQueue::new(&cases(Config::Bochs, &["b", "c", "a"]));
        let needs = queue.choose(|_| true).unwrap();
        let names: Vec<_> = std::iter::from_fn(|| queue.next(&needs))
            .map(|case| case.name)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn next_case_marked_last_comes_last() {
        let [a, b, c] = ["a", "b", "c"].map(|name| Case::new(name, Config::Bochs, passes));
        let mut queue = CaseQueue::new(&[a.last(), b, c]);
        let needs = queue.choose(|_| true).unwrap();
        let names: Vec<_> = std::iter::from_fn(|| queue.next(&needs))
            .map(|case| case.name)
            .collect();
        assert_eq!(names, ["b", "c", "a"]);
    }

    #[test]
    fn next_returns_the_longest_case_first() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| Case::new(name, Config::Bochs, passes));
        let cases = [a.last().seconds(200), b, c.seconds(100), d.seconds(90)];
        let mut queue = CaseQueue::new(&cases);
        let needs = queue.choose(|_| true).unwrap();
        let names: Vec<_> = std::iter::from_fn(|| queue.next(&needs))
            .map(|case| case.name)
            .collect();
        assert_eq!(names, ["c", "d", "b", "a"]);
    }

    #[test]
    fn choose_prefers_one_long_case_to_several_short_ones() {
        let short = cases(Config::Bochs, &["a", "b", "c"]);
        let long = Case::new("d", Config::Vkms, passes).seconds(200);
        let mut queue = CaseQueue::new(&[short, vec![long]].concat());
        assert_eq!(queue.choose(|_| true).unwrap().config, Config::Vkms);
        assert_eq!(queue.choose(|_| true).unwrap().config, Config::Bochs);
    }

    #[test]
    fn choose_with_unstarted_groups_returns_the_longest() {
        let few = cases(Config::Bochs, &["a"]);
        let many = cases(Config::Virtio, &["b", "c", "d", "e", "f", "g"]);
        let mut queue = CaseQueue::new(&[few, many].concat());
        assert_eq!(queue.choose(|_| true).unwrap().config, Config::Virtio);
        assert_eq!(queue.choose(|_| true).unwrap().config, Config::Bochs);
        // Every group is started, and the six remaining cases take long enough for another guest.
        assert_eq!(queue.choose(|_| true).unwrap().config, Config::Virtio);
    }

    #[test]
    fn choose_among_guests_that_can_boot_leaves_the_others() {
        let board = Case::new("a", Config::Board, passes).seconds(500);
        let mut queue = CaseQueue::new(&[vec![board], cases(Config::Bochs, &["b"])].concat());
        let can_boot = |needs: &Needs| needs.config != Config::Board;
        assert_eq!(queue.choose(can_boot).unwrap().config, Config::Bochs);
        assert_eq!(queue.choose(can_boot), None);
        assert!(queue.has_unstarted());
        assert_eq!(queue.choose(|_| true).unwrap().config, Config::Board);
        assert!(!queue.has_unstarted());
    }

    #[test]
    fn choose_with_few_cases_left_is_none() {
        let mut queue = CaseQueue::new(&cases(Config::Virtio, &["a", "b", "c", "d"]));
        let needs = queue.choose(|_| true).unwrap();
        queue.next(&needs);
        assert_eq!(queue.choose(|_| true), None);
    }

    #[test]
    fn next_with_several_workers_returns_every_case_once() {
        let all = crate::suite::all();
        let mut queue = CaseQueue::new(&all);
        let mut workers: Vec<Option<Needs>> = vec![None; 3];
        let mut taken = Vec::new();
        // The workers take cases in turn, as if every case took the same time.
        while workers.iter().any(Option::is_some) || taken.is_empty() {
            for worker in &mut workers {
                let case = worker.and_then(|needs| queue.next(&needs));
                match case {
                    Some(case) => taken.push(case.name),
                    None => *worker = queue.choose(|_| true),
                }
            }
        }
        taken.sort_unstable();
        let mut names: Vec<_> = all.iter().map(|case| case.name).collect();
        names.sort_unstable();
        assert_eq!(taken, names);
    }
}
