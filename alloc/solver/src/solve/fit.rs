//! Whether a source can allocate images of one format, and with which layouts.

use std::rc::Rc;

use super::candidate_search::CandidateSearch;
use super::caveat::{Caveat, Places};
use super::layout::{self, Layouts};
use super::layout_candidate::Tiling;
use super::layout_choice::LayoutChoice;
use super::problem::FormatGroup;
use super::rejection::LayoutRejection;
use super::request::Request;
use super::source_evaluation::SourceEvaluation;
use super::stride;
use crate::constraint::{Contiguity, Field, FieldTable, MergedImage, PlanePlacement, Source};
use crate::model::{FormatModifier, Layout, Modifier};

/// The steps that the layout of one size by one choice takes.
const LAYOUT: usize = 150;

/// The steps that it takes to look up a layout and to compare it with a source's limits.
const FIT: usize = 20;

/// The most strides that are tried for a preference, beside those that are listed.
const STRIDES: usize = 129;

/// Returns the steps that the preferences on strides take for each size and choice.
pub(super) fn preferences_cost(merged: &MergedImage) -> usize {
    let preferred = merged.stride.preferred.value.len();
    let avoided = merged.stride.avoided_multiples.value.len();
    avoided
        .saturating_mul(STRIDES)
        .saturating_add(preferred)
        .saturating_mul(2)
}

impl CandidateSearch<'_, '_, '_> {
    /// Returns the layouts that a source would give, by the indices of source and format group, with the caveats that depend on
    /// the format.
    ///
    /// Without an evaluation no caveats are collected, and the first layout that fits is returned.
    pub(super) fn lay_out(
        &self,
        number: usize,
        place: usize,
        modifier: Modifier,
        merged: &MergedImage,
        evaluation: Option<&SourceEvaluation<'_>>,
    ) -> Result<(Rc<Layouts>, Vec<Caveat>), LayoutRejection> {
        let problem = self.problem;
        let (source, group) = (problem.source(number), problem.group(place));
        if Tiling::of(modifier) == Tiling::Linear {
            self.in_rows(number, source, place, *group, merged, evaluation)
        } else {
            let format = FormatModifier::new(group.fourcc, modifier);
            self.by_source(number, source, place, format, merged, evaluation)
        }
    }

    /// Returns linear layouts by the first choice without a caveat, or else by the first choice that fits.
    fn in_rows(
        &self,
        number: usize,
        source: &Source,
        place: usize,
        group: FormatGroup,
        merged: &MergedImage,
        evaluation: Option<&SourceEvaluation<'_>>,
    ) -> Result<(Rc<Layouts>, Vec<Caveat>), LayoutRejection> {
        let mut fitting = None;
        let mut first_rejection = None;
        // Without a preference, both stride choices are the same.
        let preferred = stride::has_preferences(merged, group.info);
        let choices = LayoutChoice::ALL
            .into_iter()
            .enumerate()
            .filter(|(_, choice)| preferred || !choice.preferred);
        for (which, choice) in choices {
            let lay = || {
                let extents = self.problem.request.extents().count();
                let preferred = if choice.preferred {
                    preferences_cost(merged)
                } else {
                    0
                };
                self.problem
                    .work
                    .charge(extents.saturating_mul(preferred.saturating_add(LAYOUT)));
                let format = FormatModifier::linear(group.fourcc);
                layout::choose(self.problem.request.extents(), format, merged, choice).map(Rc::new)
            };
            self.problem.work.charge(FIT);
            let laid = if self.problem.asks_nothing(number, group.fourcc) {
                self.known.rows(self.problem, place, which, lay)
            } else {
                lay()
            };
            let tried = laid
                .map_err(LayoutRejection::Constraints)
                .and_then(|layouts| {
                    self.check_size(source, &layouts.first)?;
                    Ok(layouts)
                });
            match tried {
                Ok(layouts) => {
                    let caveat = evaluation
                        .and_then(|evaluation| self.contiguity(evaluation, &layouts.first));
                    let caveats: Vec<_> = caveat.into_iter().collect();
                    if caveats.is_empty() {
                        return Ok((layouts, caveats));
                    }
                    fitting.get_or_insert((layouts, caveats));
                }
                // A placement that is ruled out says nothing about the other placement.
                Err(LayoutRejection::Constraints(Field::Planes)) => {}
                Err(why) => {
                    first_rejection.get_or_insert(why);
                }
            }
        }
        fitting
            .ok_or_else(|| first_rejection.unwrap_or(LayoutRejection::Constraints(Field::Planes)))
    }

    /// Returns the least layouts of images whose tiling the driver chooses: no tiling takes less memory than linear rows.
    fn by_source(
        &self,
        number: usize,
        source: &Source,
        place: usize,
        format: FormatModifier,
        merged: &MergedImage,
        evaluation: Option<&SourceEvaluation<'_>>,
    ) -> Result<(Rc<Layouts>, Vec<Caveat>), LayoutRejection> {
        self.problem
            .work
            .charge(self.problem.request.more_extents.len());
        for extent in self.problem.request.extents() {
            layout::check_extent(extent, merged).map_err(LayoutRejection::Constraints)?;
        }
        let info = format.fourcc.info();
        let planes = info
            .ok_or(LayoutRejection::Constraints(Field::Formats))?
            .planes
            .len();
        if (planes > 1 && merged.placement.value == PlanePlacement::SinglePlane)
            || u32::try_from(planes).is_ok_and(|planes| planes > merged.maximum_planes.value)
        {
            return Err(LayoutRejection::Constraints(Field::Planes));
        }
        let layouts = self
            .problem
            .least(place)
            .map_err(LayoutRejection::Constraints)?;
        self.problem.work.charge(FIT);
        if layouts.first.total_bytes() > merged.maximum_size_bytes.value {
            return Err(LayoutRejection::Constraints(Field::Size));
        }
        self.check_size(source, &layouts.first)?;
        let Some(evaluation) = evaluation else {
            return Ok((layouts, Vec::new()));
        };
        let mut caveats: Vec<_> = self
            .contiguity(evaluation, &layouts.first)
            .into_iter()
            .collect();
        self.problem
            .work
            .charge(self.view.members.len().saturating_mul(4));
        let owners: Places = self
            .members()
            .filter(|(place, choice)| {
                let mut fields = choice.image_fields.and(self.view.keeps(*place));
                fields.remove(Field::Extent);
                if fields.is_empty() || choice.constraints.per_fourcc.is_empty() {
                    return !fields.is_empty();
                }
                let own = choice.constraints.per_fourcc.get(&format.fourcc);
                let constraints = || std::iter::once(&choice.constraints.image).chain(own);
                Field::OF_IMAGES
                    .into_iter()
                    .filter(|field| fields.contains(*field))
                    .any(|field| constraints().any(|constraints| constraints.demands_field(field)))
            })
            .map(|(place, _)| place)
            .collect();
        if !owners.is_empty() {
            caveats.push(Caveat::DriverLayout { owners });
        }
        if format.modifier.is_implicit() {
            let owners: Places = self
                .members()
                .map(|(place, _)| place)
                .filter(|place| !self.is_own(*place, number))
                .collect();
            if !owners.is_empty() {
                caveats.push(Caveat::Implicit { owners });
            }
        }
        Ok((layouts, caveats))
    }

    fn check_size(&self, source: &Source, layout: &Layout) -> Result<(), LayoutRejection> {
        if self.count > Request::MAXIMUM_BUFFERS {
            return Err(LayoutRejection::Count { needed: self.count });
        }
        let needed = largest_bytes(layout);
        if let Some(maximum) = source.guarantees.maximum_bytes {
            if needed > maximum {
                return Err(LayoutRejection::Maximum { needed, maximum });
            }
        }
        let needed = layout.total_bytes().checked_mul(u64::from(self.count));
        let needed = needed.ok_or(LayoutRejection::Uncountable)?;
        match source.guarantees.available_bytes {
            Some(available) if needed > available => {
                Err(LayoutRejection::Available { needed, available })
            }
            _ => Ok(()),
        }
    }

    /// Returns the caveat that the memory may have to be contiguous, although the source does not guarantee it.
    fn contiguity(&self, evaluation: &SourceEvaluation<'_>, layout: &Layout) -> Option<Caveat> {
        let largest_bytes = largest_bytes(layout);
        if evaluation.source.guarantees.contiguous_up_to_bytes >= largest_bytes {
            return None;
        }
        let (contiguity, owners) = evaluation
            .contiguity
            .get_or_init(|| self.needed_contiguity(evaluation.number));
        (!owners.is_empty()).then(|| Caveat::Contiguity {
            owners: Rc::clone(owners),
            contiguity: *contiguity,
            largest_bytes,
        })
    }

    /// Returns the strongest demand on contiguity of the members that are not on the source's device, and its owners.
    fn needed_contiguity(&self, number: usize) -> (Contiguity, Places) {
        self.problem
            .work
            .charge(self.view.members.len().saturating_mul(2));
        let mut contiguity = Contiguity::Scattered;
        let mut owners = Vec::new();
        for (place, choice) in self.members() {
            let own = choice.constraints.memory.contiguity;
            if own == Contiguity::Scattered
                || own < contiguity
                || !self.view.keeps(place).contains(Field::Contiguity)
                || self.is_own(place, number)
            {
                continue;
            }
            // Owners of a stronger demand replace those of a weaker one.
            if own > contiguity {
                contiguity = own;
                owners.clear();
            }
            owners.push(place);
        }
        (contiguity, owners.into())
    }
}

fn largest_bytes(layout: &Layout) -> u64 {
    layout.memory_sizes().iter().copied().fold(0, u64::max)
}
