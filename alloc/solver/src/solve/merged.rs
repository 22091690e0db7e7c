//! Merges the image constraints of the members of a search and of a source.

use std::borrow::Cow;

use super::candidate_search::CandidateSearch;
use super::fields::FieldSet;
use super::memo::empty_cells;
use super::prepared_participant::PreparedChoice;
use crate::constraint::{Field, FieldTable, MergedImage};
use crate::model::Fourcc;

/// The number of steps of the budget that are charged for merging one participant's image constraints.
const MERGE_STEPS: usize = 350;

impl CandidateSearch<'_, '_, '_> {
    /// Returns the merged image constraints of the members and a source for one format.
    ///
    /// With many participants, all bounds have the same placeholder as their owner. [`CandidateSearch::merged_image_with_owners`]
    /// determines the actual owners.
    pub(super) fn merged_image(&self, group_index: usize, number: usize) -> Cow<'_, MergedImage> {
        let problem = self.problem;
        let work = &problem.work;
        let base = self.memo.base.get_or_init(|| self.merged_base());
        let (group, source) = (problem.group(group_index), problem.source(number));
        let own = problem.images[number].as_ref();
        let more = source.constraints.per_fourcc.get(&group.fourcc);
        work.charge(self.with_per_format.len());
        let by_format = self
            .with_per_format
            .iter()
            .any(|(_, choice)| choice.constraints.per_fourcc.contains_key(&group.fourcc));
        let all = if by_format {
            let known = self.memo.by_group.get_or_init(|| {
                work.charge(problem.groups.len().saturating_mul(2));
                empty_cells(problem.groups.len())
            });
            let compute = || {
                let own = self.with_per_format.iter().filter_map(|(member, choice)| {
                    let owner = problem.owner(*member);
                    self.image(*member, owner, choice, Some(group.fourcc))
                });
                let all = own.fold(Cow::Borrowed(base), |all, own| {
                    Cow::Owned(self.merge(&all, &own))
                });
                Box::new(all.into_owned())
            };
            &**known[group_index].get_or_init(compute)
        } else if more.is_none() {
            let Some(own) = own else {
                return Cow::Borrowed(base);
            };
            let known = self
                .memo
                .by_source
                .get_or_init(|| empty_cells(problem.sources.len()));
            let compute = || Box::new(self.merge(base, own));
            return Cow::Borrowed(known[number].get_or_init(compute));
        } else {
            base
        };
        let mut merged = Cow::Borrowed(all);
        if let Some(own) = own {
            merged = Cow::Owned(self.merge(&merged, own));
        }
        if let Some(more) = more {
            let more = MergedImage::of(problem.participants.len(), more);
            merged = Cow::Owned(self.merge(&merged, &more));
        }
        merged
    }

    /// Returns the merged image constraints of the members and a source for one format. Each bound has its actual owners, also
    /// with many participants.
    pub(super) fn merged_image_with_owners(
        &self,
        group_index: usize,
        number: usize,
    ) -> Cow<'_, MergedImage> {
        let problem = self.problem;
        if !problem.has_many_participants() {
            return self.merged_image(group_index, number);
        }
        let base = self.memo.owned_base.get_or_init(|| {
            self.members()
                .filter(|(_, choice)| choice.has_image)
                .filter_map(|(member, choice)| self.image(member, member, choice, None))
                .fold(MergedImage::default(), |all, own| {
                    self.merge_owned(&all, &own)
                })
        });
        let (group, source) = (problem.group(group_index), problem.source(number));
        let mut merged = self
            .with_per_format
            .iter()
            .filter_map(|(member, choice)| self.image(*member, *member, choice, Some(group.fourcc)))
            .fold(Cow::Borrowed(base), |all, own| {
                Cow::Owned(self.merge_owned(&all, &own))
            });
        if let Some(own) = &problem.images[number] {
            merged = Cow::Owned(self.merge_owned(&merged, own));
        }
        if let Some(more) = source.constraints.per_fourcc.get(&group.fourcc) {
            let own = MergedImage::of(problem.participants.len(), more);
            merged = Cow::Owned(self.merge_owned(&merged, &own));
        }
        merged
    }

    /// Returns the merged image constraints of all members that apply to every format.
    fn merged_base(&self) -> MergedImage {
        let problem = self.problem;
        problem.work.charge(if problem.has_many_participants() {
            self.view.members.len().saturating_mul(4)
        } else {
            self.view.members.len() >> 1
        });
        let mut all: Option<Cow<'_, MergedImage>> = None;
        // Many participants often have equal constraints. If owners are not tracked, merging equal constraints again changes
        // nothing.
        let mut seen: Vec<(usize, FieldSet)> = Vec::new();
        for (member, choice) in self.members().filter(|(_, choice)| choice.has_image) {
            if problem.has_many_participants() {
                let kind = (
                    choice.kind,
                    self.view.keeps(member).and(choice.image_fields),
                );
                if seen.contains(&kind) {
                    continue;
                }
                if seen.len() < REMEMBERED_CONSTRAINTS {
                    seen.push(kind);
                }
            }
            let Some(own) = self.image(member, problem.owner(member), choice, None) else {
                continue;
            };
            all = Some(match all {
                Some(all) => Cow::Owned(self.merge(&all, &own)),
                None => own,
            });
        }
        all.map_or_else(MergedImage::default, Cow::into_owned)
    }

    fn merge(&self, one: &MergedImage, two: &MergedImage) -> MergedImage {
        let lists = |merged: &MergedImage| {
            let (preferred, avoided) = (&merged.stride.preferred, &merged.stride.avoided_multiples);
            preferred.value.len().saturating_add(avoided.value.len())
        };
        let listed = lists(one).saturating_add(lists(two));
        self.problem
            .work
            .charge(MERGE_STEPS.saturating_add(listed.saturating_mul(8)));
        one.merge(two)
    }

    /// Merges constraints whose bounds have many owners. This takes more steps.
    fn merge_owned(&self, one: &MergedImage, two: &MergedImage) -> MergedImage {
        let owners = self.problem.participants.len() >> 2;
        self.problem.work.charge(owners.saturating_add(MERGE_STEPS));
        self.merge(one, two)
    }

    /// Returns a member's image constraints on every format, or on one format. Demands that the view does not keep are removed.
    fn image<'c>(
        &self,
        member: usize,
        owner: usize,
        choice: &'c PreparedChoice<'_>,
        fourcc: Option<Fourcc>,
    ) -> Option<Cow<'c, MergedImage>> {
        let constraints = match fourcc {
            None => &choice.constraints.image,
            Some(fourcc) => choice.constraints.per_fourcc.get(&fourcc)?,
        };
        let kept = choice.image_fields.and(self.view.keeps(member));
        if kept == choice.image_fields && owner == self.problem.owner(member) {
            return match fourcc {
                None => Some(choice.image(owner)),
                Some(fourcc) => choice.image_in(owner, fourcc),
            }
            .map(Cow::Borrowed);
        }
        if kept == choice.image_fields {
            return Some(Cow::Owned(MergedImage::of(owner, constraints)));
        }
        if kept.is_empty() {
            return None;
        }
        self.problem.work.charge(MERGE_STEPS);
        let mut constraints = constraints.clone();
        for field in Field::ALL {
            if !kept.contains(field) {
                constraints.relax(field);
            }
        }
        Some(Cow::Owned(MergedImage::of(owner, &constraints)))
    }
}

/// The maximum number of distinct constraints that are remembered in order to skip equal ones.
const REMEMBERED_CONSTRAINTS: usize = 16;
