//! A request made ready to be asked many times: pairs of format and modifier numbered, refusals as sets of sources.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::constraint::{
    Coherency, Constraints, CpuUse, Exports, Field, MergedImage, Participant, Protection, Source,
};
use crate::model::{FormatInfo, FormatModifier, Fourcc, Modifier};

use super::bits::Bits;
use super::known::{Laid, places};
use super::layout::{self, Choice as LayoutChoice};
use super::pairs::{numbers, universe};
use super::request::Request;

/// The most combinations of alternatives that are tried, the best first.
pub(super) const COMBINATIONS: usize = 256;

/// A request made ready.
pub(super) struct Problem<'a> {
    pub(super) request: &'a Request,
    /// In the order of their identifiers.
    pub(super) sources: Vec<&'a Source>,
    /// By source: the numbers of the pairs that it gives.
    pub(super) gives: Vec<Bits>,
    /// By source: what it asks of every picture, where it asks anything.
    pub(super) images: Vec<Option<MergedImage>>,
    /// Every pair that any source gives; a pair's number is its place.
    pub(super) universe: Vec<FormatModifier>,
    /// The pairs of each format.
    pub(super) groups: Vec<Group>,
    pub(super) parties: Vec<Party<'a>>,
    /// By group: the least that pictures take in rows, whatever is demanded.
    least: Vec<OnceCell<Laid>>,
    /// Whether the request asks for nothing that is unknown here.
    pub(super) is_understood: bool,
    /// Sources that ask for nothing that is unknown here.
    pub(super) understood_sources: Bits,
}

/// The pairs of one format, by their numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) fourcc: Fourcc,
    pub(super) first: usize,
    pub(super) end: usize,
    /// The number of the pair whose arrangement nobody tells.
    pub(super) untold: Option<usize>,
    /// How its pixels lie in rows, where that is known.
    pub(super) info: Option<&'static FormatInfo>,
    /// Its place in the order of formats.
    pub(super) rank: usize,
}

/// A participant made ready.
pub(super) struct Party<'a> {
    pub(super) participant: &'a Participant,
    /// Sources on its own device.
    pub(super) own: Bits,
    /// What it accepts, best first.
    pub(super) choices: Vec<Choice<'a>>,
}

/// One of the sets of constraints that a participant accepts.
pub(super) struct Choice<'a> {
    pub(super) constraints: &'a Constraints,
    /// The numbers of the pairs that are taken; all where there is none.
    pub(super) formats: Option<Bits>,
    /// Sources that a demand rules out by itself.
    pub(super) refuses: Vec<(Field, Bits)>,
    /// The fields of pictures of which anything is demanded.
    pub(super) image_fields: FieldSet,
    /// Whether anything is asked of pictures, wishes included.
    pub(super) has_image: bool,
    /// All that is asked of every picture.
    image: OnceCell<MergedImage>,
    /// All that is asked beyond that of pictures in one format, by group.
    by_group: OnceCell<Vec<OnceCell<MergedImage>>>,
}

impl Choice<'_> {
    /// Returns whether anything is demanded of a field.
    pub(super) fn demands(&self, field: Field) -> bool {
        self.constraints.demands_field(field)
    }

    /// Returns all that the participant at a place asks of every picture.
    pub(super) fn image(&self, place: usize) -> &MergedImage {
        let image = || MergedImage::of(place, &self.constraints.image);
        self.image.get_or_init(image)
    }

    /// Returns all that it asks beyond that of pictures in one format, by the number of the group among `groups`.
    pub(super) fn image_in(
        &self,
        place: usize,
        group: usize,
        groups: &[Group],
    ) -> Option<&MergedImage> {
        let fourcc = groups.get(group)?.fourcc;
        let terms = self.constraints.per_fourcc.get(&fourcc)?;
        let known = self.by_group.get_or_init(|| places(groups.len()));
        let image = || MergedImage::of(place, terms);
        Some(known.get(group)?.get_or_init(image))
    }
}

/// Fields of constraints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(u32);

impl FieldSet {
    pub(super) const ALL: Self = Self(u32::MAX);

    const fn bit(field: Field) -> u32 {
        1 << field as u32
    }

    pub(super) fn insert(&mut self, field: Field) {
        self.0 |= Self::bit(field);
    }

    pub(super) fn remove(&mut self, field: Field) {
        self.0 &= !Self::bit(field);
    }

    pub(super) const fn contains(self, field: Field) -> bool {
        self.0 & Self::bit(field) != 0
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Who of a request is asked, and which of their demands count.
#[derive(Clone, Copy)]
pub(super) struct View<'v> {
    /// Places among the participants.
    pub(super) members: &'v [usize],
    /// By participant, the demands that count; all where there is none.
    pub(super) kept: Option<&'v [FieldSet]>,
    /// Whether the processor copies into or out of the buffers.
    pub(super) copies: bool,
}

impl<'v> View<'v> {
    /// All demands of these, who share the buffers themselves.
    pub(super) const fn sharing(members: &'v [usize]) -> Self {
        Self {
            members,
            kept: None,
            copies: false,
        }
    }

    pub(super) fn keeps(&self, party: usize) -> FieldSet {
        self.kept.map_or(FieldSet::ALL, |kept| {
            kept.get(party).copied().unwrap_or_default()
        })
    }
}

impl<'a> Problem<'a> {
    pub(super) fn new(request: &'a Request) -> Self {
        let mut sources: Vec<&Source> = request.sources.iter().collect();
        sources.sort_by(|one, two| one.id.cmp(&two.id));
        let universe = universe(&sources);
        let mut groups: Vec<Group> = Vec::new();
        for (number, pair) in universe.iter().enumerate() {
            let end = number.saturating_add(1);
            match groups
                .last_mut()
                .filter(|group| group.fourcc == pair.fourcc)
            {
                Some(group) => group.end = end,
                None => {
                    let info = pair.fourcc.info();
                    groups.push(Group {
                        fourcc: pair.fourcc,
                        first: number,
                        end,
                        untold: None,
                        info,
                        rank: info.map_or(usize::MAX, FormatInfo::rank),
                    });
                }
            }
            if pair.modifier.is_implicit() {
                if let Some(group) = groups.last_mut() {
                    group.untold = Some(number);
                }
            }
        }
        let gives = sources
            .iter()
            .map(|source| match &source.constraints.formats {
                Some(formats) => numbers(&universe, formats),
                None => {
                    let mut bits = Bits::none(universe.len());
                    for (number, pair) in universe.iter().enumerate() {
                        if pair.modifier == Modifier::LINEAR {
                            bits.insert(number);
                        }
                    }
                    bits
                }
            })
            .collect();
        let parties = request
            .participants
            .iter()
            .map(|participant| Party::new(participant, &sources, &universe))
            .collect();
        let understood_sources = where_source(&sources, |source| {
            source.unknown.required().is_empty()
                && source.constraints.unknown_names().next().is_none()
                && !is_ambiguous(&sources, source)
        });
        let owner = request.participants.len();
        let images = sources
            .iter()
            .map(|source| &source.constraints.image)
            .map(|image| (*image != Default::default()).then(|| MergedImage::of(owner, image)))
            .collect();
        Self {
            request,
            images,
            least: places(groups.len()),
            is_understood: request.unknown.required().is_empty(),
            understood_sources,
            sources,
            gives,
            universe,
            groups,
            parties,
        }
    }

    /// Returns the least that pictures of a group take.
    pub(super) fn least(&self, place: usize) -> Laid {
        let (Some(group), Some(least)) = (self.groups.get(place), self.least.get(place)) else {
            return Err(Field::Formats);
        };
        let lay = || {
            let choice = LayoutChoice {
                wishes: false,
                apart: false,
            };
            let format = FormatModifier::linear(group.fourcc);
            let free = MergedImage::default();
            layout::choose(self.request.extents(), format, &free, choice).map(Rc::new)
        };
        least.get_or_init(lay).clone()
    }

    /// Returns less than which no copy for these participants costs: whether colours are lost, and bytes a frame.
    pub(super) fn least_copied(&self, members: &[usize]) -> (bool, u64) {
        let mut formats = Bits::all(self.universe.len());
        let parties = members.iter().filter_map(|place| self.parties.get(*place));
        for party in parties {
            let taken: Option<Vec<&Bits>> = party
                .choices
                .iter()
                .map(|choice| choice.formats.as_ref())
                .collect();
            // Who takes everything by any alternative rules nothing out.
            if let Some((first, rest)) = taken.as_deref().and_then(<[_]>::split_first) {
                let mut any = (*first).clone();
                rest.iter().for_each(|more| any.add(more));
                formats.keep(&any);
            }
        }
        let costs = self.groups.iter().filter_map(|group| {
            let first = formats.next(group.first)?;
            let info = group.info.filter(|_| first < group.end)?;
            let bytes = self
                .request
                .extents()
                .map(|extent| info.picture_bytes(extent));
            Some((info.is_grey(), bytes.max().unwrap_or_default()))
        });
        costs.min().unwrap_or_default()
    }

    /// Returns whether a source itself asks nothing of pictures in a format.
    pub(super) fn asks_nothing(&self, number: usize, fourcc: Fourcc) -> bool {
        let source = self.sources.get(number);
        self.images.get(number).is_none_or(Option::is_none)
            && source.is_none_or(|source| !source.constraints.per_fourcc.contains_key(&fourcc))
    }

    /// Returns the places of all participants.
    pub(super) fn everybody(&self) -> Vec<usize> {
        (0..self.parties.len()).collect()
    }

    /// Returns which of their alternatives participants take, best first: earlier alternatives before later ones, all in all.
    pub(super) fn combinations(&self, members: &[usize]) -> Vec<Vec<usize>> {
        let lengths: Vec<usize> = members
            .iter()
            .filter_map(|place| self.parties.get(*place))
            .map(|party| party.choices.len())
            .collect();
        let most = lengths.iter().fold(0_usize, |sum, length| {
            sum.saturating_add(length.saturating_sub(1))
        });
        let mut found = Vec::new();
        for sum in 0..=most {
            spread(&lengths, sum, &mut Vec::new(), &mut found);
            if found.len() >= COMBINATIONS {
                break;
            }
        }
        found.truncate(COMBINATIONS);
        found
    }

    /// Returns whether some combinations of alternatives are not tried.
    pub(super) fn is_capped(&self) -> bool {
        self.parties
            .iter()
            .try_fold(1_usize, |product, party| {
                product.checked_mul(party.choices.len())
            })
            .is_none_or(|product| product > COMBINATIONS)
    }

    /// Resolves the numbers by which merged bounds remember their owners; the source comes behind all participants.
    pub(super) fn names(&self, source: &'a Source) -> Vec<&'a str> {
        self.parties
            .iter()
            .map(|party| party.participant.name.as_str())
            .chain([source.name.as_str()])
            .collect()
    }
}

/// Adds each way to take `sum` steps down the lists, at most [`COMBINATIONS`] in all.
fn spread(lengths: &[usize], sum: usize, begun: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
    if found.len() >= COMBINATIONS {
        return;
    }
    let Some((length, rest)) = lengths.split_first() else {
        if sum == 0 {
            found.push(begun.clone());
        }
        return;
    };
    let behind = rest.iter().fold(0_usize, |all, length| {
        all.saturating_add(length.saturating_sub(1))
    });
    let least = sum.saturating_sub(behind);
    for own in least..=sum.min(length.saturating_sub(1)) {
        begun.push(own);
        spread(rest, sum.saturating_sub(own), begun, found);
        begun.pop();
    }
}

impl<'a> Party<'a> {
    fn new(participant: &'a Participant, sources: &[&Source], universe: &[FormatModifier]) -> Self {
        let own = where_source(sources, |source| source.is_of(&participant.device));
        let choices = participant
            .choices()
            .map(|constraints| {
                let mut image_fields = FieldSet::default();
                for field in [
                    Field::Planes,
                    Field::Stride,
                    Field::Offset,
                    Field::Size,
                    Field::Extent,
                ] {
                    if constraints.demands_field(field) {
                        image_fields.insert(field);
                    }
                }
                Choice {
                    constraints,
                    formats: constraints
                        .formats
                        .as_ref()
                        .map(|formats| numbers(universe, formats)),
                    refuses: refuses(participant, constraints, sources, &own),
                    image_fields,
                    has_image: !constraints.per_fourcc.is_empty()
                        || constraints.image != Default::default(),
                    image: OnceCell::new(),
                    by_group: OnceCell::new(),
                }
            })
            .collect();
        Self {
            participant,
            own,
            choices,
        }
    }

    /// Returns whether its device works on a source's memory as its own.
    pub(super) fn works_on(&self, source: usize) -> bool {
        self.own.contains(source) && self.participant.role.imports()
    }
}

/// Returns whether another source that is not the same has a source's identifier, so that a plan would not say which it means.
///
/// The sources are in the order of their identifiers.
fn is_ambiguous(sources: &[&Source], source: &Source) -> bool {
    let begin = sources.partition_point(|other| other.id < source.id);
    sources
        .iter()
        .skip(begin)
        .take_while(|other| other.id == source.id)
        .any(|other| *other != source)
}

fn where_source(sources: &[&Source], is: impl Fn(&Source) -> bool) -> Bits {
    let mut bits = Bits::none(sources.len());
    for (number, source) in sources.iter().enumerate() {
        if is(source) {
            bits.insert(number);
        }
    }
    bits
}

/// Returns which sources each demand rules out by itself, whatever the others demand.
fn refuses(
    participant: &Participant,
    constraints: &Constraints,
    sources: &[&Source],
    own: &Bits,
) -> Vec<(Field, Bits)> {
    let memory = &constraints.memory;
    let mut refuses = Vec::new();
    let mut add = |field, bits: Bits| {
        if !bits.is_empty() {
            refuses.push((field, bits));
        }
    };
    if let Some(permitted) = &memory.permitted {
        add(
            Field::Permitted,
            where_source(sources, |source| !permitted.contains(&source.id)),
        );
    }
    if memory.cpu != CpuUse::None {
        add(Field::Cpu, where_source(sources, is_hidden));
    }
    if memory.coherency == Coherency::Coherent {
        add(
            Field::Coherency,
            where_source(sources, |source| source.guarantees.coherent == Some(false)),
        );
    }
    if participant.role.imports() {
        add(
            Field::Imports,
            where_source(sources, |source| {
                !memory.imports.takes(source, &participant.device)
            }),
        );
    }
    if memory.exports != Exports::Declared {
        add(Field::Exports, own.clone());
    }
    match memory.protection {
        Protection::Unsaid | Protection::Taken => {}
        Protection::Refused => add(
            Field::Protection,
            where_source(sources, |source| source.guarantees.protected),
        ),
        Protection::Needed => add(
            Field::Protection,
            where_source(sources, |source| !source.guarantees.protected),
        ),
        Protection::Neither => add(Field::Protection, Bits::all(sources.len())),
    }
    if !participant.unknown.required().is_empty() || constraints.unknown_names().next().is_some() {
        add(Field::Unknown, Bits::all(sources.len()));
    }
    refuses
}

/// Returns whether the processor is kept from a source's memory.
pub(super) fn is_hidden(source: &Source) -> bool {
    source.guarantees.unmappable || source.guarantees.protected
}
