//! All sources and formats for one choice among the participants' alternatives.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::ControlFlow;

use super::bits::Bits;
use super::candidate::{Arrangement, Candidate};
use super::doubt::Doubt;
use super::failure::{Refused, Stopped};
use super::layout::{self, Choice as LayoutChoice, Layouts};
use super::problem::{Choice, Group, Party, Problem, View, is_hidden};
use crate::constraint::{
    AddressWindow, Coherency, Contiguity, CpuUse, Field, MergedImage, Owners, PlanePlacement,
    Protection, Role, Source,
};
use crate::model::{FormatModifier, Layout, Modifier};

/// What all members ask together, and where it is looked for.
pub(super) struct Sweep<'p, 'a, 'v> {
    pub(super) problem: &'p Problem<'a>,
    pub(super) view: View<'v>,
    /// By member, which of its alternatives is meant.
    pub(super) combination: &'v [usize],
    /// The pairs that all members take.
    pub(super) formats: Bits,
    /// How much the processor reads or writes.
    pub(super) cpu: CpuUse,
    /// Buffers that there are to be.
    pub(super) count: u32,
    /// What is known of merged demands, as far as it was needed.
    known: Known,
}

/// Merged demands on pictures, which several sources and formats have in common.
#[derive(Default)]
struct Known {
    /// What all members ask of every picture.
    base: OnceCell<MergedImage>,
    /// The same with what is asked of one format, by group.
    by_group: OnceCell<Vec<OnceCell<MergedImage>>>,
    /// What all members and a source ask of every picture, by source.
    by_source: OnceCell<Vec<OnceCell<MergedImage>>>,
    /// Whether a group of a source serves, by source and then group.
    serves: OnceCell<Vec<OnceCell<bool>>>,
}

/// Makes a place for each of `length` values.
fn places<T>(length: usize) -> Vec<OnceCell<T>> {
    std::iter::repeat_with(OnceCell::new).take(length).collect()
}

/// What hears of a sweep.
pub(super) trait Listener<'a> {
    /// Hears of a candidate, and says whether there is more to hear.
    fn candidate(&mut self, sweep: &Sweep<'_, 'a, '_>, found: Candidate<'a>) -> ControlFlow<()>;

    /// Hears that a source serves nobody.
    fn refused(&mut self, _: usize, _: impl FnOnce() -> Refused) {}

    /// Hears that a format of a source does not serve; the words are costly.
    fn stopped(&mut self, _: usize, _: &Stopped, _: impl FnOnce() -> String) {}
}

impl<'p, 'a, 'v> Sweep<'p, 'a, 'v> {
    pub(super) fn new(problem: &'p Problem<'a>, view: View<'v>, combination: &'v [usize]) -> Self {
        let mut sweep = Self {
            problem,
            view,
            combination,
            formats: Bits::all(problem.universe.len()),
            cpu: if view.copies {
                CpuUse::Often
            } else {
                CpuUse::None
            },
            count: 0,
            known: Known::default(),
        };
        let mut held = 0_u32;
        let mut any = true;
        for (place, choice) in sweep.members() {
            let kept = view.keeps(place);
            if kept.contains(Field::Formats) && any {
                if let Some(own) = &choice.formats {
                    any = sweep.formats.keep(own);
                }
            }
            if kept.contains(Field::Held) {
                held = held.saturating_add(choice.constraints.buffers_held);
            }
            if kept.contains(Field::Cpu) {
                sweep.cpu = sweep.cpu.max(choice.constraints.memory.cpu);
            }
        }
        sweep.count = problem.request.count.max(held).max(1);
        sweep
    }

    /// Returns the members' places among the participants, and which alternative of each is meant.
    pub(super) fn members(
        &self,
    ) -> impl Iterator<Item = (usize, &'p Choice<'a>)> + use<'p, 'a, 'v> {
        let problem = self.problem;
        self.view
            .members
            .iter()
            .zip(self.combination)
            .filter_map(|(place, choice)| {
                let choice = problem.parties.get(*place)?.choices.get(*choice)?;
                Some((*place, choice))
            })
    }

    /// Tells the listener of each candidate and of what falls out, until it has heard enough.
    pub(super) fn run(&self, listener: &mut impl Listener<'a>) -> ControlFlow<()> {
        let problem = self.problem;
        for (number, source) in problem.sources.iter().enumerate() {
            let mut doubts = Vec::new();
            if let Err(why) = self.check_memory(number, source, &mut doubts) {
                listener.refused(number, || why);
                continue;
            }
            let mut cells = self.formats.clone();
            if let Some(gives) = problem.gives.get(number) {
                cells.keep(gives);
            }
            if cells.is_empty() {
                listener.refused(number, || {
                    if self.formats.is_empty() && !problem.universe.is_empty() {
                        Refused::NoFormat
                    } else {
                        Refused::OtherFormats
                    }
                });
                continue;
            }
            let mut next = cells.next(0);
            for (place, group) in problem.groups.iter().enumerate() {
                let Some(first) = next.filter(|first| *first < group.end) else {
                    continue;
                };
                next = cells.next(group.end);
                let terms = self.terms(place, number);
                for (arrangement, modifier) in self.arrangements(&cells, *group, first) {
                    let format = FormatModifier::new(group.fourcc, modifier);
                    match self.lay_out(number, source, format, &terms) {
                        Ok((layouts, own)) => {
                            let mut doubts = doubts.clone();
                            doubts.extend(own);
                            let found = Candidate {
                                number,
                                source,
                                group: *group,
                                arrangement,
                                layouts,
                                doubts,
                            };
                            listener.candidate(self, found)?;
                        }
                        Err(why) => listener
                            .stopped(number, &why, || why.words(problem, source, format, &terms)),
                    }
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns whether any source serves in any format.
    ///
    /// `all` is the same sweep with every demand: where that serves, so does this.
    pub(super) fn serves(&self, all: &Self) -> bool {
        if self.formats.is_empty() {
            return false;
        }
        let problem = self.problem;
        let mut uncertain = Vec::new();
        for (number, source) in problem.sources.iter().enumerate() {
            let Some(gives) = problem.gives.get(number) else {
                continue;
            };
            let first = self.formats.next_in_both(gives, 0);
            if first.is_none() || self.check_memory(number, source, &mut Vec::new()).is_err() {
                continue;
            }
            let mut next = first;
            for (place, group) in problem.groups.iter().enumerate() {
                let Some(first) = next.filter(|first| *first < group.end) else {
                    continue;
                };
                next = self.formats.next_in_both(gives, group.end);
                if all.serves_in(number, place) {
                    return true;
                }
                uncertain.push((number, place, first));
            }
        }
        uncertain.into_iter().any(|(number, place, first)| {
            let (Some(source), Some(group), Some(gives)) = (
                problem.sources.get(number),
                problem.groups.get(place),
                problem.gives.get(number),
            ) else {
                return false;
            };
            let mut cells = self.formats.clone();
            cells.keep(gives);
            let terms = self.terms(place, number);
            self.arrangements(&cells, *group, first)
                .any(|(_, modifier)| {
                    let format = FormatModifier::new(group.fourcc, modifier);
                    self.lay_out(number, source, format, &terms).is_ok()
                })
        })
    }

    /// Returns whether a source serves in every arrangement that it gives of a format, whoever takes which.
    fn serves_in(&self, number: usize, place: usize) -> bool {
        let problem = self.problem;
        let (groups, sources) = (problem.groups.len(), problem.sources.len());
        let cells = groups.saturating_mul(sources);
        let serves = self.known.serves.get_or_init(|| places(cells));
        let cell = number.saturating_mul(groups).saturating_add(place);
        let answer = || {
            let source = problem.sources.get(number)?;
            let group = problem.groups.get(place)?;
            let gives = problem.gives.get(number)?;
            let terms = self.terms(place, number);
            let serves = self
                .arrangements(gives, *group, group.first)
                .all(|(_, modifier)| {
                    let format = FormatModifier::new(group.fourcc, modifier);
                    self.lay_out(number, source, format, &terms).is_ok()
                });
            Some(serves)
        };
        serves
            .get(cell)
            .is_some_and(|known| *known.get_or_init(|| answer().unwrap_or(false)))
    }

    /// Lays pictures out as a source gives them.
    fn lay_out(
        &self,
        number: usize,
        source: &Source,
        format: FormatModifier,
        terms: &MergedImage,
    ) -> Result<(Layouts, Vec<Doubt>), Stopped> {
        if Arrangement::of(format.modifier) == Arrangement::Rows {
            self.in_rows(source, format, terms)
        } else {
            self.by_source(number, source, format, terms)
        }
    }

    /// Returns what the members and a source ask of pictures in one format.
    pub(super) fn terms(&self, place: usize, number: usize) -> Cow<'_, MergedImage> {
        let problem = self.problem;
        let base = self.known.base.get_or_init(|| {
            self.members()
                .filter(|(_, choice)| choice.has_image)
                .filter_map(|(member, choice)| self.image(member, choice, None))
                .fold(MergedImage::default(), |all, own| all.merge(&own))
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
                        .filter_map(|(member, choice)| self.image(member, choice, Some(*group)))
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
        let mut terms = all.unwrap_or(base).clone();
        if let Some(own) = own.and_then(Option::as_ref) {
            terms = terms.merge(own);
        }
        if let Some(more) = more {
            terms = terms.merge(&MergedImage::of(problem.parties.len(), more));
        }
        Cow::Owned(terms)
    }

    /// Returns what counts of a member's demands on every picture, or on those in one format.
    fn image(
        &self,
        place: usize,
        choice: &Choice<'_>,
        group: Option<Group>,
    ) -> Option<MergedImage> {
        let terms = match group {
            None => &choice.constraints.image,
            Some(group) => choice.constraints.per_fourcc.get(&group.fourcc)?,
        };
        let kept = choice.image_fields.and(self.view.keeps(place));
        if kept == choice.image_fields {
            return Some(MergedImage::of(place, terms));
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
        Some(MergedImage::of(place, &terms))
    }

    /// Returns in which arrangements the pairs of a group come, each with the first modifier.
    fn arrangements(
        &self,
        cells: &Bits,
        group: Group,
        first: usize,
    ) -> impl Iterator<Item = (Arrangement, Modifier)> + use<> {
        let modifier = |number: usize| {
            let pair = self.problem.universe.get(number).copied();
            pair.map(|pair| pair.modifier)
        };
        let is_rows = |number: &usize| modifier(*number) == Some(Modifier::LINEAR);
        let rows = Some(first).filter(is_rows);
        let untold = group.untold.filter(|number| cells.contains(*number));
        let sources = cells
            .iter_from(first)
            .take_while(|number| *number < group.end)
            .find(|number| Some(*number) != rows && Some(*number) != group.untold);
        [
            (Arrangement::Rows, rows),
            (Arrangement::Sources, sources),
            (Arrangement::Untold, untold),
        ]
        .map(|(arrangement, number)| Some((arrangement, modifier(number?)?)))
        .into_iter()
        .flatten()
    }

    /// Checks all that does not hang on the format.
    fn check_memory(
        &self,
        number: usize,
        source: &Source,
        doubts: &mut Vec<Doubt>,
    ) -> Result<(), Refused> {
        if !self.problem.is_understood {
            return Err(Refused::Request);
        }
        if !self.problem.understood_sources.contains(number) {
            return Err(Refused::Source);
        }
        if self.view.copies && is_hidden(source) {
            return Err(Refused::Copies);
        }
        let mut window = AddressWindow::default();
        let mut reaching = Owners::default();
        let mut unsaid = Owners::default();
        let mut coherent = Owners::default();
        let mut untransferred = Owners::default();
        for (place, choice) in self.members() {
            let kept = self.view.keeps(place);
            let memory = &choice.constraints.memory;
            for (field, refused) in &choice.refuses {
                if kept.contains(*field) && refused.contains(number) {
                    return Err(Refused::Demand(place, *field));
                }
            }
            if source.guarantees.protected && memory.protection == Protection::Unsaid {
                unsaid = unsaid.union(&Owners::one(place));
            }
            if kept.contains(Field::Coherency)
                && memory.coherency == Coherency::Coherent
                && source.guarantees.coherent.is_none()
            {
                coherent = coherent.union(&Owners::one(place));
            }
            if kept.contains(Field::Coherency)
                && memory.coherency >= Coherency::Untransferred
                && source.guarantees.device_copy != Some(false)
                && self.has_owner(number)
                && self.has_other(number)
            {
                if source.guarantees.device_copy == Some(true) {
                    return Err(Refused::Demand(place, Field::Coherency));
                }
                untransferred = untransferred.union(&Owners::one(place));
            }
            if kept.contains(Field::Address)
                && memory.address != AddressWindow::default()
                && !self.is_own(place, number)
            {
                window.lowest = window.lowest.max(memory.address.lowest);
                window.highest = window.highest.min(memory.address.highest);
                reaching = reaching.union(&Owners::one(place));
            }
        }
        if !window.overlaps(&source.guarantees.address) {
            return Err(Refused::Address(window, reaching));
        }
        if !window.contains(&source.guarantees.address) {
            doubts.push(Doubt::Address {
                owners: reaching,
                window,
            });
        }
        if !coherent.is_empty() {
            doubts.push(Doubt::Coherency { owners: coherent });
        }
        if !untransferred.is_empty() {
            doubts.push(Doubt::DeviceCopy {
                owners: untransferred,
            });
        }
        if !unsaid.is_empty() {
            doubts.push(Doubt::Protection { owners: unsaid });
        }
        Ok(())
    }

    /// Returns whether what is written into a source's memory has to be brought to the copy that its device works on.
    pub(super) fn needs_transfers(&self, number: usize) -> bool {
        let source = self.problem.sources.get(number);
        source.is_some_and(|source| source.guarantees.device_copy == Some(true))
            && self.has_owner(number)
            && (self.view.copies || self.has_other(number))
    }

    /// Returns whether any member's device works on a source's memory as its own.
    fn has_owner(&self, number: usize) -> bool {
        self.touching().any(|party| party.works_on(number))
    }

    /// Returns whether any member touches a source's memory that is not its own.
    fn has_other(&self, number: usize) -> bool {
        self.touching().any(|party| !party.works_on(number))
    }

    /// Returns the members that touch pixels.
    fn touching(&self) -> impl Iterator<Item = &'p Party<'a>> {
        let parties = &self.problem.parties;
        let members = self.view.members.iter();
        members
            .filter_map(|place| parties.get(*place))
            .filter(|party| party.participant.role != Role::Compositor)
    }

    /// Returns whether a source is on a participant's own device, which can use what it gives itself.
    fn is_own(&self, place: usize, number: usize) -> bool {
        let party = self.problem.parties.get(place);
        party.is_some_and(|party| party.own.contains(number))
    }

    /// Lays pictures out in rows: by the first choice that leaves no doubt, or else the first that fits.
    fn in_rows(
        &self,
        source: &Source,
        format: FormatModifier,
        terms: &MergedImage,
    ) -> Result<(Layouts, Vec<Doubt>), Stopped> {
        let mut fitting = None;
        let mut stopped = None;
        for choice in LayoutChoice::ALL {
            let tried = layout::choose(self.problem.request.extents(), format, terms, choice)
                .map_err(Stopped::Terms)
                .and_then(|layouts| {
                    self.check_size(source, &layouts.first)?;
                    Ok(layouts)
                });
            match tried {
                Ok(layouts) => {
                    let doubts: Vec<_> = self
                        .contiguity(source, &layouts.first)
                        .into_iter()
                        .collect();
                    if doubts.is_empty() {
                        return Ok((layouts, doubts));
                    }
                    fitting.get_or_insert((layouts, doubts));
                }
                // A format of one plane is never apart: that says nothing.
                Err(Stopped::Terms(Field::Planes)) if choice.apart => {}
                Err(why) => {
                    stopped.get_or_insert(why);
                }
            }
        }
        fitting.ok_or_else(|| stopped.unwrap_or(Stopped::Terms(Field::Planes)))
    }

    /// Estimates what a source arranges by itself: it takes no less memory than rows do.
    fn by_source(
        &self,
        number: usize,
        source: &Source,
        format: FormatModifier,
        terms: &MergedImage,
    ) -> Result<(Layouts, Vec<Doubt>), Stopped> {
        for extent in self.problem.request.extents() {
            layout::check_extent(extent, terms).map_err(Stopped::Terms)?;
        }
        let planes = format.fourcc.info().map_or(0, |info| info.planes.len());
        if (planes > 1 && terms.placement.value == PlanePlacement::Neither)
            || u32::try_from(planes).is_ok_and(|planes| planes > terms.maximum_planes.value)
        {
            return Err(Stopped::Terms(Field::Planes));
        }
        let least = LayoutChoice {
            wishes: false,
            apart: false,
        };
        let extents = self.problem.request.extents();
        let layouts =
            layout::choose(extents, format, &self.problem.free, least).map_err(Stopped::Terms)?;
        if layouts.first.total_bytes() > terms.maximum_size.value {
            return Err(Stopped::Terms(Field::Size));
        }
        self.check_size(source, &layouts.first)?;
        let mut doubts: Vec<_> = self
            .contiguity(source, &layouts.first)
            .into_iter()
            .collect();
        let owners: Owners = self
            .members()
            .filter(|(place, choice)| {
                let mut fields = choice.image_fields.and(self.view.keeps(*place));
                fields.remove(Field::Extent);
                if fields.is_empty() || choice.constraints.per_fourcc.is_empty() {
                    return !fields.is_empty();
                }
                let own = choice.constraints.per_fourcc.get(&format.fourcc);
                let terms = || std::iter::once(&choice.constraints.image).chain(own);
                [Field::Planes, Field::Stride, Field::Offset, Field::Size]
                    .into_iter()
                    .filter(|field| fields.contains(*field))
                    .any(|field| terms().any(|terms| terms.demands_field(field)))
            })
            .map(|(place, _)| place)
            .collect();
        if !owners.is_empty() {
            doubts.push(Doubt::Arrangement { owners });
        }
        if format.modifier.is_implicit() {
            let owners: Owners = self
                .members()
                .map(|(place, _)| place)
                .filter(|place| !self.is_own(*place, number))
                .collect();
            if !owners.is_empty() {
                doubts.push(Doubt::Untold { owners });
            }
        }
        Ok((layouts, doubts))
    }

    fn check_size(&self, source: &Source, layout: &Layout) -> Result<(), Stopped> {
        let needed = largest_bytes(layout);
        if let Some(maximum) = source.guarantees.maximum_bytes {
            if needed > maximum {
                return Err(Stopped::Maximum { needed, maximum });
            }
        }
        let needed = layout.total_bytes().saturating_mul(u64::from(self.count));
        match source.guarantees.available_bytes {
            Some(available) if needed > available => Err(Stopped::Available { needed, available }),
            _ => Ok(()),
        }
    }

    /// Returns whether memory may have to come in one piece where that is not promised.
    fn contiguity(&self, source: &Source, layout: &Layout) -> Option<Doubt> {
        let largest_bytes = largest_bytes(layout);
        if source.guarantees.contiguous_up_to_bytes >= largest_bytes {
            return None;
        }
        let mut contiguity = Contiguity::Scattered;
        let mut owners = Owners::default();
        for (place, choice) in self.members() {
            let own = choice.constraints.memory.contiguity;
            if own == Contiguity::Scattered
                || own < contiguity
                || !self.view.keeps(place).contains(Field::Contiguity)
                || source.is_of(&self.problem.parties.get(place)?.participant.device)
            {
                continue;
            }
            // Who surely needs it counts for more than who may.
            if own > contiguity {
                (contiguity, owners) = (own, Owners::default());
            }
            owners = owners.union(&Owners::one(place));
        }
        (!owners.is_empty()).then_some(Doubt::Contiguity {
            owners,
            contiguity,
            largest_bytes,
        })
    }
}

fn largest_bytes(layout: &Layout) -> u64 {
    layout
        .memory_sizes()
        .iter()
        .copied()
        .max()
        .unwrap_or_default()
}
