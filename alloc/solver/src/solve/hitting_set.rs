//! Minimum hitting sets. A hitting set has at least one element of each of several sets.

use super::bits::Bits;
use super::work::Work;

/// The sets of numbers that a hitting set has to intersect.
pub(super) struct HittingSets {
    length: usize,
    /// Each set, with the number of its elements.
    sets: Vec<(usize, Bits)>,
}

impl HittingSets {
    pub(super) fn new(length: usize) -> Self {
        Self {
            length,
            sets: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, numbers: &[usize]) {
        let mut set = Bits::none(self.length);
        numbers.iter().for_each(|number| set.insert(*number));
        self.sets.push((numbers.len(), set));
    }

    /// Returns the hitting set of `size` numbers that is first in lexicographic order; `None` if there is none or the budget was
    /// spent.
    pub(super) fn first_hitting_set(&self, size: usize, work: &Work) -> Option<Vec<usize>> {
        let mut found: Option<Vec<usize>> = None;
        self.search(size, &mut Vec::new(), &mut found, work);
        found.filter(|_| !work.is_spent())
    }

    /// Searches for a hitting set of `size` numbers that begins with the numbers in `begun`.
    fn search(
        &self,
        size: usize,
        begun: &mut Vec<usize>,
        found: &mut Option<Vec<usize>>,
        work: &Work,
    ) {
        let looked_at = self
            .sets
            .len()
            .saturating_mul(begun.len().saturating_add(1));
        work.charge(looked_at.saturating_add(4));
        if work.is_spent() {
            return;
        }
        let missed = || {
            let sets = self.sets.iter();
            sets.filter(|(_, set)| !begun.iter().any(|number| set.contains(*number)))
        };
        let Some((_, smallest)) = missed().min_by_key(|(count, _)| *count) else {
            // The numbers so far are already a hitting set. The smallest numbers that it lacks are added until it has `size`
            // numbers.
            work.charge(size.saturating_mul(8));
            let mut set = begun.clone();
            set.extend(
                (0..self.length)
                    .filter(|number| !begun.contains(number))
                    .take(size.saturating_sub(begun.len())),
            );
            keep_first(set, size, found);
            return;
        };
        if begun.len() >= size {
            return;
        }
        if begun.len().saturating_add(1) == size {
            // The last number has to be in all sets that have no number of the hitting set yet.
            let words = self.length >> 6;
            work.charge((words >> 1).saturating_add(8));
            let mut all = smallest.clone();
            for (_, set) in missed() {
                work.charge((words >> 1).saturating_add(2));
                if !all.keep(set) {
                    return;
                }
            }
            if let Some(last) = all.next(0) {
                let mut set = begun.clone();
                set.push(last);
                keep_first(set, size, found);
            }
            return;
        }
        let mut next = smallest.next(0);
        while let Some(number) = next {
            begun.push(number);
            self.search(size, begun, found, work);
            begun.pop();
            next = smallest.next(number.saturating_add(1));
        }
    }
}

/// Keeps a set of `size` numbers if it precedes the set that was found before in lexicographic order.
fn keep_first(mut set: Vec<usize>, size: usize, found: &mut Option<Vec<usize>>) {
    set.sort_unstable();
    if set.len() == size && found.as_ref().is_none_or(|found| set < *found) {
        *found = Some(set);
    }
}
