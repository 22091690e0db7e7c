//! Combinations of the participants' alternatives, in order of preference.

use super::work::Work;

/// The most combinations of alternatives that are tried.
pub(super) const COMBINATIONS: usize = 256;

/// An iterator over combinations of alternatives, at most [`COMBINATIONS`]. Combinations with a lower sum of indices come first.
pub(super) struct Combinations<'w> {
    /// By member, the index of its last alternative.
    last: Vec<usize>,
    next: Option<Vec<usize>>,
    /// The sum of the indices of the current combinations.
    sum: usize,
    left: usize,
    work: &'w Work,
}

impl<'w> Combinations<'w> {
    /// Starts with every member's first alternative; `last` has the index of each member's last one.
    pub(super) fn new(last: Vec<usize>, work: &'w Work) -> Self {
        Self {
            last,
            next: None,
            sum: 0,
            left: COMBINATIONS,
            work,
        }
    }

    /// Distributes `steps` over the members from `begin` on, as far towards the last member as they fit; `None` if they do not
    /// fit.
    fn put_behind(&self, chosen: &mut [usize], begin: usize, mut steps: usize) -> Option<()> {
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
        for place in (0..chosen.len()).rev() {
            let (own, last) = (&mut chosen[place], self.last[place]);
            if after > 0 && *own < last {
                *own = own.saturating_add(1);
                let rest = after.saturating_sub(1);
                return self.put_behind(chosen, place.saturating_add(1), rest);
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
                    self.put_behind(&mut chosen, 0, self.sum).map(|()| chosen)
                }
            },
        };
        self.next.clone_from(&advanced);
        advanced
    }
}
