//! Merged demands on pictures, as far as they were needed.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

use super::layout::{Choice as LayoutChoice, Layouts};
use super::problem::Choice;
use super::sweep::Sweep;
use crate::constraint::{Field, MergedImage};

/// Merged demands on pictures, which several sources and formats have in common.
#[derive(Default)]
pub(super) struct Known {
    /// What all members ask of every picture.
    pub(super) base: OnceCell<MergedImage>,
    /// The same with what is asked of one format, by group.
    pub(super) by_group: OnceCell<Vec<OnceCell<MergedImage>>>,
    /// What all members and a source ask of every picture, by source.
    pub(super) by_source: OnceCell<Vec<OnceCell<MergedImage>>>,
    /// How pictures lie in rows by what all members ask, by group and then choice: most sources ask nothing more.
    rows: OnceCell<Vec<LaidRows>>,
    /// Whether a group of a source serves, by source and then group.
    pub(super) serves: OnceCell<Vec<OnceCell<bool>>>,
}

/// A layout, or the field whose demands leave none.
pub(super) type Laid = Result<Rc<Layouts>, Field>;

/// By layout choice.
type LaidRows = [OnceCell<Laid>; LayoutChoice::ALL.len()];

impl Known {
    /// Returns how pictures of a group lie in rows by a choice, which is found out once.
    pub(super) fn rows(
        &self,
        groups: usize,
        place: usize,
        choice: usize,
        lay: impl FnOnce() -> Laid,
    ) -> Laid {
        let all = self.rows.get_or_init(|| {
            std::iter::repeat_with(LaidRows::default)
                .take(groups)
                .collect()
        });
        match all.get(place).and_then(|laid| laid.get(choice)) {
            Some(laid) => laid.get_or_init(lay).clone(),
            None => lay(),
        }
    }
}

/// Makes a place for each of `length` values.
pub(super) fn places<T>(length: usize) -> Vec<OnceCell<T>> {
    std::iter::repeat_with(OnceCell::new).take(length).collect()
}

impl Sweep<'_, '_, '_> {
    /// Returns what the members and a source ask of pictures in one format.
    pub(super) fn terms(&self, place: usize, number: usize) -> Cow<'_, MergedImage> {
        let problem = self.problem;
        let base = self.known.base.get_or_init(|| {
            self.members()
                .filter(|(_, choice)| choice.has_image)
                .filter_map(|(member, choice)| self.image(member, choice, None))
                .reduce(|all, own| Cow::Owned(all.merge(&own)))
                .map_or_else(MergedImage::default, Cow::into_owned)
        });
        let (Some(group), Some(source)) = (problem.groups.get(place), problem.sources.get(number))
        else {
            return Cow::Borrowed(base);
        };
        let by_format = self
            .members()
            .any(|(_, choice)| choice.constraints.per_fourcc.contains_key(&group.fourcc));
        let own = problem.images.get(number);
        let more = source.constraints.per_fourcc.get(&group.fourcc);
        let all = if by_format {
            let known = self
                .known
                .by_group
                .get_or_init(|| places(problem.groups.len()));
            known.get(place).map(|known| {
                known.get_or_init(|| {
                    self.members()
                        .filter_map(|(member, choice)| self.image(member, choice, Some(place)))
                        .fold(base.clone(), |all, own| all.merge(&own))
                })
            })
        } else if more.is_none() {
            let Some(own) = own.and_then(Option::as_ref) else {
                return Cow::Borrowed(base);
            };
            let known = self
                .known
                .by_source
                .get_or_init(|| places(problem.sources.len()));
            return match known.get(number) {
                Some(known) => Cow::Borrowed(known.get_or_init(|| base.merge(own))),
                None => Cow::Owned(base.merge(own)),
            };
        } else {
            None
        };
        let all = all.unwrap_or(base);
        if more.is_none() && own.is_none_or(Option::is_none) {
            return Cow::Borrowed(all);
        }
        let mut terms = all.clone();
        if let Some(own) = own.and_then(Option::as_ref) {
            terms = terms.merge(own);
        }
        if let Some(more) = more {
            terms = terms.merge(&MergedImage::of(problem.parties.len(), more));
        }
        Cow::Owned(terms)
    }

    /// Returns what counts of a member's demands on every picture, or on those of the group at a place.
    fn image<'c>(
        &self,
        member: usize,
        choice: &'c Choice<'_>,
        place: Option<usize>,
    ) -> Option<Cow<'c, MergedImage>> {
        let groups = &self.problem.groups;
        let terms = match place {
            None => &choice.constraints.image,
            Some(place) => choice
                .constraints
                .per_fourcc
                .get(&groups.get(place)?.fourcc)?,
        };
        let kept = choice.image_fields.and(self.view.keeps(member));
        if kept == choice.image_fields {
            return match place {
                None => Some(choice.image(member)),
                Some(place) => choice.image_in(member, place, groups),
            }
            .map(Cow::Borrowed);
        }
        if kept.is_empty() {
            return None;
        }
        let mut terms = terms.clone();
        for field in Field::ALL {
            if !kept.contains(field) {
                terms.relax(field);
            }
        }
        Some(Cow::Owned(MergedImage::of(member, &terms)))
    }
}
