//! What is still to be run: cases by the guest that they need, handed out to who runs guests side by side.
//!
//! A worker stays with its guest as long as a case needs such a one. Then it takes a group that nobody has begun, the largest
//! first, and then helps with what is left of another's, which costs a boot more and ends the run earlier: one configuration
//! has more than half of all cases.

use std::collections::{BTreeMap, VecDeque};

use super::{Case, Needs};

/// How many cases a group must have left for another worker to boot a guest for it.
const WORTH_A_BOOT: usize = 4;

/// The cases that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Lots {
    groups: BTreeMap<Needs, Group>,
}

#[derive(Debug, Default)]
struct Group {
    /// In the order of their names; behind them those after which the guest is of no use.
    left: VecDeque<Case>,
    is_begun: bool,
}

impl Lots {
    /// Groups the cases by the guests that they need.
    pub(super) fn new(cases: &[Case]) -> Self {
        let mut groups: BTreeMap<Needs, Group> = BTreeMap::new();
        for case in cases {
            groups.entry(case.needs).or_default().left.push_back(*case);
        }
        for group in groups.values_mut() {
            group
                .left
                .make_contiguous()
                .sort_by_key(|case| (case.last, case.name));
        }
        Self { groups }
    }

    /// The next case for a worker that has a guest of this kind.
    pub(super) fn next(&mut self, needs: &Needs) -> Option<Case> {
        self.groups.get_mut(needs)?.left.pop_front()
    }

    /// The guest that a worker without one should boot; `None` where the others will be done with what is left.
    pub(super) fn choose(&mut self) -> Option<Needs> {
        let fresh = |group: &Group| !group.is_begun && !group.left.is_empty();
        let helped = |group: &Group| group.left.len() >= WORTH_A_BOOT;
        let largest = |wanted: &dyn Fn(&Group) -> bool| {
            self.groups
                .iter()
                .filter(|(_, group)| wanted(group))
                .max_by_key(|(_, group)| group.left.len())
                .map(|(needs, _)| *needs)
        };
        let chosen = largest(&fresh).or_else(|| largest(&helped))?;
        if let Some(group) = self.groups.get_mut(&chosen) {
            group.is_begun = true;
        }
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Bench, Outcome};
    use crate::vm::config::Config;

    fn nothing(_: &mut Bench<'_>) -> anyhow::Result<Outcome> {
        Ok(Outcome::Passed)
    }

    fn cases(config: Config, names: &[&'static str]) -> Vec<Case> {
        names
            .iter()
            .map(|name| Case::new(name, config, nothing))
            .collect()
    }

    #[test]
    fn cases_of_one_guest_come_in_the_order_of_their_names() {
        let mut lots = Lots::new(&cases(Config::Bochs, &["b", "c", "a"]));
        let needs = lots.choose().unwrap();
        let names: Vec<_> = std::iter::from_fn(|| lots.next(&needs))
            .map(|case| case.name)
            .collect();
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn case_after_which_the_guest_is_of_no_use_comes_last() {
        let [a, b, c] = ["a", "b", "c"].map(|name| Case::new(name, Config::Bochs, nothing));
        let mut lots = Lots::new(&[a.last(), b, c]);
        let needs = lots.choose().unwrap();
        let names: Vec<_> = std::iter::from_fn(|| lots.next(&needs))
            .map(|case| case.name)
            .collect();
        assert_eq!(names, ["b", "c", "a"]);
    }

    #[test]
    fn worker_takes_the_largest_group_that_nobody_has_begun() {
        let few = cases(Config::Bochs, &["a"]);
        let many = cases(Config::Virtio, &["b", "c", "d", "e", "f", "g"]);
        let mut lots = Lots::new(&[few, many].concat());
        assert_eq!(lots.choose().unwrap().config, Config::Virtio);
        assert_eq!(lots.choose().unwrap().config, Config::Bochs);
        // Nothing is left to begin, and six cases are worth a boot.
        assert_eq!(lots.choose().unwrap().config, Config::Virtio);
    }

    #[test]
    fn few_cases_that_are_left_are_not_worth_a_boot() {
        let mut lots = Lots::new(&cases(Config::Virtio, &["a", "b", "c", "d"]));
        let needs = lots.choose().unwrap();
        lots.next(&needs);
        assert_eq!(lots.choose(), None);
    }

    #[test]
    fn every_case_is_handed_out_once_to_several_workers() {
        let all = crate::suite::all();
        let mut lots = Lots::new(&all);
        let mut workers: Vec<Option<Needs>> = vec![None; 3];
        let mut seen = Vec::new();
        // In turns, as if all cases took as long.
        while workers.iter().any(Option::is_some) || seen.is_empty() {
            for worker in &mut workers {
                let case = worker.and_then(|needs| lots.next(&needs));
                match case {
                    Some(case) => seen.push(case.name),
                    None => *worker = lots.choose(),
                }
            }
        }
        seen.sort_unstable();
        let mut names: Vec<_> = all.iter().map(|case| case.name).collect();
        names.sort_unstable();
        assert_eq!(seen, names);
    }
}
