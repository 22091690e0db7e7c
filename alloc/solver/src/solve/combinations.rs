//! Combinations of the participants' alternatives, in order of preference.

use super::work::Work;

/// The maximum number of combinations of alternatives that are tried.
pub(super) const COMBINATIONS: usize = 256;

/// An iterator over at most [`COMBINATIONS`] combinations of alternatives. Combinations with a lower sum of indices come first.
pub(super) struct Combinations<'w> {
    /// The index of each member's last alternative.
    last: Vec<usize>,
    next: Option<Vec<usize>>,
    /// The sum of indices in the combinations that are returned now.
    sum: usize,
    left: usize,
    work: &'w Work,
}

impl<'w> Combinations<'w> {
    /// Starts with the first alternative of every member. `last` has the index of each member's last alternative.
    pub(super) fn new(last: Vec<usize>, work: &'w Work) -> Self {
        Self {
            last,
            next: None,
            sum: 0,
            left: COMBINATIONS,
            work,
        }
    }

    /// Distributes `steps` over the alternatives of the members from `begin` on, the last member first; `None` if these members
    /// have too few alternatives.
    fn distribute(&self, chosen: &mut [usize], begin: usize, mut steps: usize) -> Option<()> {
        let after = chosen.iter_mut().zip(&self.last).skip(begin);
        for (own, last) in after.rev() {
            *own = steps.min(*last);
            steps = steps.saturating_sub(*own);
        }
        (steps == 0).then_some(())
    }

    /// Advances to the next combination with the same sum, in the order of the participants.
    fn advance(&self, chosen: &mut [usize]) -> Option<()> {
        let mut after = 0_usize;
        for index in (0..chosen.len()).rev() {
            let (own, last) = (&mut chosen[index], self.last[index]);
            if after > 0 && *own < last {
                *own = own.saturating_add(1);
                let rest = after.saturating_sub(1);
                return self.distribute(chosen, index.saturating_add(1), rest);
            }
            after = after.saturating_add(*own);
        }
        None
    }
}

impl Iterator for Combinations<'_> {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        self.left = self.left.checked_sub(1)?;
        self.work.charge(self.last.len());
        let advanced = match self.next.take() {
            None => Some(vec![0; self.last.len()]),
            Some(mut chosen) => match self.advance(&mut chosen) {
                Some(()) => Some(chosen),
                None => {
                    self.sum = self.sum.saturating_add(1);
                    self.distribute(&mut chosen, 0, self.sum).map(|()| chosen)
                }
            },
        };
        self.next.clone_from(&advanced);
        advanced
    }
}
