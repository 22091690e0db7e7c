//! Checks whether a source can allocate images of one format, and with which layouts.

use std::cell::OnceCell;
use std::rc::Rc;

use super::candidate_search::CandidateSearch;
use super::caveat::{Caveat, ParticipantIndices};
use super::fields::FieldSet;
use super::layout::{self, Layouts};
use super::layout_candidate::Tiling;
use super::layout_choice::LayoutChoice;
use super::prepared_participant::PreparedChoice;
use super::problem::FormatGroup;
use super::rejection::LayoutRejection;
use super::request::Request;
use super::source_evaluation::SourceEvaluation;
use super::stride;
use crate::constraint::{
    Contiguity, Field, FieldTable, ImageConstraints, Interface, MergedImage, PlanePlacement, Role,
    Source,
};
use crate::model::{FormatModifier, Fourcc, Layout, Modifier};

/// The number of steps of the budget that are charged for laying out one size with one layout choice.
const LAYOUT_STEPS: usize = 150;

/// The number of steps of the budget that are charged for looking up a layout and comparing it with a source's limits.
const FIT_STEPS: usize = 20;

/// The maximum number of strides that are tried for a preference, in addition to the strides that participants list.
const PREFERENCE_STRIDES: usize = 129;

/// Returns the steps that preferences on strides take for each size and layout choice.
pub(super) fn preferences_cost(merged: &MergedImage) -> usize {
    let preferred = merged.stride.preferred.value.len();
    let avoided = merged.stride.avoided_multiples.value.len();
    avoided
        .saturating_mul(PREFERENCE_STRIDES)
        .saturating_add(preferred)
        .saturating_mul(2)
}

impl CandidateSearch<'_, '_, '_> {
    /// Returns the layouts that a source would allocate, and the caveats that depend on the format. `number` is the index of the
    /// source, and `group_index` is the index of the format group.
    ///
    /// Without an evaluation, no caveats are collected, and the first layout that fits is returned.
    pub(super) fn lay_out(
        &self,
        number: usize,
        group_index: usize,
        modifier: Modifier,
        merged: &MergedImage,
        evaluation: Option<&SourceEvaluation<'_>>,
    ) -> Result<(Rc<Layouts>, Vec<Caveat>), LayoutRejection> {
        let problem = self.problem;
        let (source, group) = (problem.source(number), problem.group(group_index));
        match Tiling::of(modifier) {
            Tiling::Linear => self.in_rows(number, source, group_index, *group, merged, evaluation),
            Tiling::DriverChosen if self.needs_rows => Err(LayoutRejection::Rows),
            // Frames cannot be copied from or to pixels whose layout is known only to devices.
            Tiling::DriverChosen
                if self.view.cpu_copies && (group.info.is_none() || modifier == Modifier::NONE) =>
            {
                Err(LayoutRejection::Rows)
            }
            Tiling::DriverChosen | Tiling::Implicit => {
                let format = FormatModifier::new(group.fourcc, modifier);
                self.by_source(number, source, group_index, format, merged, evaluation)
            }
        }
    }

    /// Returns the linear layouts of the first layout choice that has no caveat, or else of the first choice with the fewest
    /// caveats.
    fn in_rows(
        &self,
        number: usize,
        source: &Source,
        group_index: usize,
        group: FormatGroup,
        merged: &MergedImage,
        evaluation: Option<&SourceEvaluation<'_>>,
    ) -> Result<(Rc<Layouts>, Vec<Caveat>), LayoutRejection> {
        let mut fitting = None;
        let mut first_rejection = None;
        // If there is no preference on strides, both choices of strides have the same result.
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
                    .charge(extents.saturating_mul(preferred.saturating_add(LAYOUT_STEPS)));
                let format = FormatModifier::linear(group.fourcc);
                let grows = || self.grows(group.fourcc);
                layout::choose(
                    self.problem.request.extents(),
                    format,
                    merged,
                    choice,
                    grows,
                )
                .map(Rc::new)
            };
            self.problem.work.charge(FIT_STEPS);
            let laid = if self.problem.has_no_image_constraints(number, group.fourcc) {
                self.memo
                    .linear_layouts(self.problem, group_index, which, lay)
            } else {
                lay()
            };
            let tried = laid
                .map_err(LayoutRejection::Constraints)
                .and_then(|layouts| {
                    self.check_crop(&layouts)?;
                    self.check_size(number, source, &layouts.first)?;
                    Ok(layouts)
                });
            match tried {
                Ok(layouts) => {
                    let caveat = evaluation
                        .and_then(|evaluation| self.contiguity(evaluation, &layouts.first));
                    let mut caveats: Vec<_> = caveat.into_iter().collect();
                    if evaluation.is_some() {
                        self.add_pool_caveats(number, &layouts.first, &mut caveats);
                    }
                    if caveats.is_empty() {
                        return Ok((layouts, caveats));
                    }
                    let has_fewer =
                        |(_, best): &(Rc<Layouts>, Vec<Caveat>)| caveats.len() < best.len();
                    if fitting.as_ref().is_none_or(has_fewer) {
                        fitting = Some((layouts, caveats));
                    }
                }
                // If one placement is ruled out, the other placement may still be possible.
                Err(LayoutRejection::Constraints(Field::Planes)) => {}
                Err(why) => {
                    // Of several rejections, the one by the latest check is reported. Of rejections by the same check, it
                    // is the first one.
                    let is_later = |first: &LayoutRejection| why.stage() > first.stage();
                    if first_rejection.as_ref().is_none_or(is_later) {
                        first_rejection = Some(why);
                    }
                }
            }
        }
        fitting
            .ok_or_else(|| first_rejection.unwrap_or(LayoutRejection::Constraints(Field::Planes)))
    }

    /// Returns the smallest layouts of images whose tiling the driver chooses. No tiling takes less memory than linear rows.
    fn by_source(
        &self,
        number: usize,
        source: &Source,
        group_index: usize,
        format: FormatModifier,
        merged: &MergedImage,
        evaluation: Option<&SourceEvaluation<'_>>,
    ) -> Result<(Rc<Layouts>, Vec<Caveat>), LayoutRejection> {
        let pictures = &self.problem.pictures;
        pictures
            .check(merged)
            .map_err(LayoutRejection::Constraints)?;
        if format.modifier.is_implicit() {
            let owners = self.foreign_importers(number);
            if !owners.is_empty() {
                return Err(LayoutRejection::Implicit(owners));
            }
        }
        let layouts = match format
            .fourcc
            .info()
            .filter(|_| format.v4l2_code().is_none())
        {
            Some(info) => {
                let planes = info.planes.len();
                let count = u32::try_from(planes).unwrap_or(u32::MAX);
                if (planes > 1 && merged.placement.value == PlanePlacement::SinglePlane)
                    || count > merged.maximum_planes.value
                {
                    return Err(LayoutRejection::Constraints(Field::Planes));
                }
                self.problem
                    .smallest_layouts(group_index, merged.coded.as_deref())
            }
            None => layout::opaque(
                self.problem.request.extents(),
                format,
                given_bytes(source, format.fourcc),
            )
            .map(Rc::new),
        };
        let layouts = layouts.map_err(LayoutRejection::Constraints)?;
        self.problem.work.charge(FIT_STEPS);
        self.check_crop(&layouts)?;
        if layouts.first.total_bytes() > merged.maximum_size_bytes.value {
            return Err(LayoutRejection::Constraints(Field::Size));
        }
        self.check_size(number, source, &layouts.first)?;
        let Some(evaluation) = evaluation else {
            return Ok((layouts, Vec::new()));
        };
        let mut caveats: Vec<_> = self
            .contiguity(evaluation, &layouts.first)
            .into_iter()
            .collect();
        self.add_pool_caveats(number, &layouts.first, &mut caveats);
        self.problem
            .work
            .charge(self.view.members.len().saturating_mul(4));
        let are_counted = OnceCell::new();
        let are_counted = || {
            let count =
                || !format.modifier.is_implicit() && self.counts_planes(number, group_index);
            *are_counted.get_or_init(count)
        };
        let owners: ParticipantIndices = self
            .members()
            .filter(|(member, choice)| {
                let mut fields = choice.image_fields.and(self.view.keeps(*member));
                fields.remove(Field::Extent);
                !fields.is_empty()
                    && depends_on_driver(
                        choice,
                        fields,
                        source,
                        format,
                        self.is_own(*member, number),
                        are_counted,
                    )
            })
            .map(|(member, _)| member)
            .collect();
        if !owners.is_empty() {
            caveats.push(Caveat::DriverLayout { owners });
        }
        if format.modifier.is_implicit() {
            let owners: ParticipantIndices = self
                .members()
                .map(|(member, _)| member)
                .filter(|member| !self.is_own(*member, number) || !self.shares_implicitly(*member))
                .collect();
            if !owners.is_empty() {
                caveats.push(Caveat::Implicit { owners });
            }
        }
        Ok((layouts, caveats))
    }

    /// Returns the members that import the source's memory from another device. Their drivers do not know the layout of an
    /// implicit modifier.
    fn foreign_importers(&self, number: usize) -> ParticipantIndices {
        self.problem.work.charge(self.view.members.len());
        self.members()
            .map(|(member, _)| member)
            .filter(|member| {
                let role = self.problem.participant(*member).participant.role;
                role.imports() && !self.is_own(*member, number)
            })
            .collect()
    }

    /// Returns whether the number of memory planes is known for every tiling of a format that the source's driver may choose.
    fn counts_planes(&self, number: usize, group_index: usize) -> bool {
        let problem = self.problem;
        let group = problem.group(group_index);
        let source_pairs = problem.source_pairs(number);
        problem
            .work
            .charge(group.end.saturating_sub(group.first).saturating_mul(16));
        (group.first..group.end)
            .filter(|pair| self.formats.contains(*pair) && source_pairs.contains(*pair))
            .map(|pair| problem.pair(pair))
            .filter(|pair| Tiling::of(pair.modifier) == Tiling::DriverChosen)
            .all(|pair| pair.memory_planes().is_some())
    }

    /// Returns whether a participant's interface passes the layout of an implicit modifier from one driver to another inside the
    /// kernel. GBM and KMS do so; Vulkan and V4L2 do not.
    fn shares_implicitly(&self, member: usize) -> bool {
        let participant = self.problem.participant(member).participant;
        Interface::of(participant) != Interface::Vulkan
            && !matches!(participant.role, Role::Capture | Role::Output)
    }

    fn check_size(
        &self,
        number: usize,
        source: &Source,
        layout: &Layout,
    ) -> Result<(), LayoutRejection> {
        if self.count > Request::MAXIMUM_BUFFERS {
            return Err(LayoutRejection::Count { needed: self.count });
        }
        let needed = largest_bytes(layout);
        if let Some(maximum) = source.guarantees.maximum_bytes {
            if needed > maximum {
                return Err(LayoutRejection::Maximum { needed, maximum });
            }
        }
        let bytes = layout.total_bytes();
        let needed = bytes.checked_mul(u64::from(self.count));
        let needed = needed.ok_or(LayoutRejection::Uncountable)?;
        match source.guarantees.available_bytes {
            Some(available) if needed > available => Err(LayoutRejection::Available {
                needed,
                available,
                count: self.count,
            }),
            _ => self.check_pools(number, layout),
        }
    }

    /// Returns a caveat if members need or may need contiguous memory and the source does not guarantee it.
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

    /// Returns the strongest demand on contiguity of the members that are not on the source's device, and the members that have
    /// this demand.
    fn needed_contiguity(&self, number: usize) -> (Contiguity, ParticipantIndices) {
        self.problem
            .work
            .charge(self.view.members.len().saturating_mul(2));
        let mut contiguity = Contiguity::Scattered;
        let mut owners = Vec::new();
        for (member, choice) in self.members() {
            let own = choice.constraints.memory.contiguity;
            if own == Contiguity::Scattered
                || own < contiguity
                || !self.view.keeps(member).contains(Field::Contiguity)
                || self.is_own(member, number)
            {
                continue;
            }
            // A stronger demand replaces the weaker ones and their owners.
            if own > contiguity {
                contiguity = own;
                owners.clear();
            }
            owners.push(member);
        }
        (contiguity, owners.into())
    }
}

/// Returns whether a demand on `fields` is met only if the driver happens to choose such a layout.
fn depends_on_driver(
    choice: &PreparedChoice<'_>,
    fields: FieldSet,
    source: &Source,
    format: FormatModifier,
    is_own: bool,
    are_planes_counted: impl Fn() -> bool,
) -> bool {
    // The constraints on one format are checked only if the constraints on every format do not decide.
    let any = |is: &dyn Fn(&ImageConstraints) -> bool| {
        is(&choice.constraints.image)
            || choice
                .constraints
                .per_fourcc
                .get(&format.fourcc)
                .is_some_and(is)
    };
    let most = source.constraints.image.maximum_planes;
    if fields.contains(Field::Planes)
        && any(&|own| own.maximum_planes < most)
        && !are_planes_counted()
    {
        // A driver may add planes to those of the pixel format, also on the device that displays the buffer.
        return true;
    }
    if is_own {
        // A driver lays out an image so that its own device can use it, so all other demands of that device are met.
        return false;
    }
    if format.modifier.is_implicit() {
        let demands = |constraints: &ImageConstraints| {
            let mut all = Field::OF_IMAGES.into_iter();
            all.any(|field| fields.contains(field) && constraints.demands_field(field))
        };
        return any(&demands);
    }
    if fields.contains(Field::Planes)
        && any(&|own| own.demands_other_placement(&source.constraints.image))
    {
        return true;
    }
    fields.contains(Field::Size) && {
        let given = given_bytes(source, format.fourcc);
        any(&|own| own.demands_tiled_size(given))
    }
}

/// Returns the minimum size in bytes that a source states for its images of a format; 0 if it states none.
fn given_bytes(source: &Source, fourcc: Fourcc) -> u64 {
    let own = source.constraints.per_fourcc.get(&fourcc);
    let every = source.constraints.image.minimum_size_bytes;
    own.map_or(every, |own| own.minimum_size_bytes.max(every))
}

fn largest_bytes(layout: &Layout) -> u64 {
    layout.memory_sizes().iter().copied().fold(0, u64::max)
}
