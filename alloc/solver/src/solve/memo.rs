//! What is known of merged demands and layouts, as far as it was needed.

use std::cell::{Cell, OnceCell};

use super::layout::LayoutResult;
use super::layout_choice::LayoutChoice;
use super::problem::Problem;
use crate::constraint::MergedImage;

/// Merged demands on pictures, which several sources and formats have in common.
#[derive(Default)]
pub(super) struct MemoTable {
    /// What all members ask of every picture.
    pub(super) base: OnceCell<MergedImage>,
    /// The same in a crowd, with who set each bound.
    pub(super) owned_base: OnceCell<MergedImage>,
    /// The same with what is asked of one format, by group.
    pub(super) by_group: OnceCell<Vec<OnceCell<Box<MergedImage>>>>,
    /// What all members and a source ask of every picture, by source.
    pub(super) by_source: OnceCell<Vec<OnceCell<Box<MergedImage>>>>,
    /// How pictures lie in rows by what all members ask, by group and then choice: most sources ask nothing more.
    rows: OnceCell<Vec<OnceCell<Box<LayoutResults>>>>,
    /// Whether a group of a source serves, by source and then group.
    serves: OnceCell<Vec<OnceCell<Answers>>>,
}

/// By layout choice.
type LayoutResults = [OnceCell<LayoutResult>; LayoutChoice::ALL.len()];

/// By group: yes, no, or not asked yet.
type Answers = Box<[Cell<Option<bool>>]>;

impl MemoTable {
    /// Returns how pictures of a group lie in rows by a choice, which is found out once.
    pub(super) fn rows(
        &self,
        problem: &Problem<'_>,
        place: usize,
        choice: usize,
        lay: impl FnOnce() -> LayoutResult,
    ) -> LayoutResult {
        let all = self.rows.get_or_init(|| {
            let groups = problem.groups.len();
            problem.work.charge(groups.saturating_mul(2));
            places(groups)
        });
        let by_choice = all[place].get_or_init(Box::default);
        by_choice[choice].get_or_init(lay).clone()
    }

    /// Returns whether a group of a source serves, which is found out once; none where it is not.
    pub(super) fn serves(
        &self,
        problem: &Problem<'_>,
        number: usize,
        place: usize,
        answer: impl FnOnce() -> Option<bool>,
    ) -> Option<bool> {
        let all = self.serves.get_or_init(|| places(problem.sources.len()));
        let by_group = all[number].get_or_init(|| {
            let groups = problem.groups.len();
            problem.work.charge(groups >> 3);
            vec![Cell::new(None); groups].into()
        });
        let known = &by_group[place];
        if known.get().is_none() {
            known.set(answer());
        }
        known.get()
    }
}

/// Makes a place for each of `length` values.
pub(super) fn places<T>(length: usize) -> Vec<OnceCell<T>> {
    std::iter::repeat_with(OnceCell::new).take(length).collect()
}
