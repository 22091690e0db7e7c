//! Which of their alternatives participants take, the best first.

use super::work::Work;

/// The most combinations of alternatives that are tried, the best first.
pub(super) const COMBINATIONS: usize = 256;

/// Candidates to choose among alternatives: those with fewer steps down the lists first, at most [`COMBINATIONS`].
pub(super) struct Combinations<'w> {
    /// By member, the last alternative.
    last: Vec<usize>,
    next: Option<Vec<usize>>,
    /// Steps down the lists in all.
    sum: usize,
    left: usize,
    work: &'w Work,
}

impl<'w> Combinations<'w> {
    /// Begins with the first of all, by the last alternative of each member.
    pub(super) fn new(last: Vec<usize>, work: &'w Work) -> Self {
        Self {
            last,
            next: None,
            sum: 0,
            left: COMBINATIONS,
            work,
        }
    }

    /// Puts as many steps as there are behind a place as far behind as they go; none where they do not fit.
    fn put_behind(&self, chosen: &mut [usize], begin: usize, mut steps: usize) -> Option<()> {
        let behind = chosen.iter_mut().zip(&self.last).skip(begin);
        for (own, last) in behind.rev() {
            *own = steps.min(*last);
            steps = steps.saturating_sub(*own);
        }
        (steps == 0).then_some(())
    }

    /// Finds the next with the same number of steps, in the order of the participants.
    fn advance(&self, chosen: &mut [usize]) -> Option<()> {
        let mut behind = 0_usize;
        for place in (0..chosen.len()).rev() {
            let (own, last) = (&mut chosen[place], self.last[place]);
            if behind > 0 && *own < last {
                *own = own.saturating_add(1);
                let rest = behind.saturating_sub(1);
                return self.put_behind(chosen, place.saturating_add(1), rest);
            }
            behind = behind.saturating_add(*own);
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
