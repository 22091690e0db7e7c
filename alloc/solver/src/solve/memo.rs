//! A memo table for merged constraints and layouts, so that a search computes them only once.

use std::cell::{Cell, OnceCell};

use super::layout::LayoutResult;
use super::layout_choice::LayoutChoice;
use super::problem::Problem;
use crate::constraint::MergedImage;

/// The memo table of a search. Several sources and formats share its results.
#[derive(Default)]
pub(super) struct MemoTable {
    /// The merged image constraints of all members.
    pub(super) base: OnceCell<MergedImage>,
    /// The merged image constraints of all members, with their owners. They are used if there are so many participants that
    /// `base` does not track owners.
    pub(super) owned_base: OnceCell<MergedImage>,
    /// The merged image constraints of all members on every format and on one format, by format group.
    pub(super) by_group: OnceCell<Vec<OnceCell<Box<MergedImage>>>>,
    /// The merged image constraints of all members and one source, by source.
    pub(super) by_source: OnceCell<Vec<OnceCell<Box<MergedImage>>>>,
    /// The linear layouts for the members' constraints, by format group and layout choice. All sources without their own
    /// constraints share these layouts.
    linear_layouts: OnceCell<Vec<OnceCell<Box<LayoutResults>>>>,
    /// Whether a source can allocate every tiling of a format group, by source and format group.
    serves: OnceCell<Vec<OnceCell<ServesResults>>>,
}

/// The layout results of one format group, by layout choice.
type LayoutResults = [OnceCell<LayoutResult>; LayoutChoice::ALL.len()];

/// Whether one source serves each format group. `None` means that this was not computed yet.
type ServesResults = Box<[Cell<Option<bool>>]>;

impl MemoTable {
    /// Returns the linear layouts of a format group for a layout choice. They are computed at the first call.
    pub(super) fn linear_layouts(
        &self,
        problem: &Problem<'_>,
        group_index: usize,
        choice: usize,
        lay: impl FnOnce() -> LayoutResult,
    ) -> LayoutResult {
        let all = self.linear_layouts.get_or_init(|| {
            let groups = problem.groups.len();
            problem.work.charge(groups.saturating_mul(2));
            empty_cells(groups)
        });
        let by_choice = all[group_index].get_or_init(Box::default);
        by_choice[choice].get_or_init(lay).clone()
    }

    /// Returns whether a source has a layout for all members in every tiling of a format group that it can allocate. `answer`
    /// computes the result at the first call. The result is `None` if the budget was spent.
    pub(super) fn serves(
        &self,
        problem: &Problem<'_>,
        number: usize,
        group_index: usize,
        answer: impl FnOnce() -> Option<bool>,
    ) -> Option<bool> {
        let all = self
            .serves
            .get_or_init(|| empty_cells(problem.sources.len()));
        let by_group = all[number].get_or_init(|| {
            let groups = problem.groups.len();
            problem.work.charge(groups >> 3);
            vec![Cell::new(None); groups].into()
        });
        let known = &by_group[group_index];
        if known.get().is_none() {
            known.set(answer());
        }
        known.get()
    }
}

/// Makes `length` empty cells.
pub(super) fn empty_cells<T>(length: usize) -> Vec<OnceCell<T>> {
    std::iter::repeat_with(OnceCell::new).take(length).collect()
}
