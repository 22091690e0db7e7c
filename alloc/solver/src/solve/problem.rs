//! A request that is prepared for many queries. Pairs of format and modifier have numbers, and rejections are sets of sources.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::bits::Bits;
use super::bounded_text::{self, SENTENCE_BYTES};
use super::combinations::{COMBINATIONS, Combinations};
use super::fields::FieldSet;
use super::layout::{self, LayoutResult};
use super::layout_choice::LayoutChoice;
use super::pairs::{numbers, universe};
use super::participant_reader::{ParticipantReader, where_source};
use super::pictures::Pictures;
use super::pools::{Pools, TakenBytes};
use super::prepared_participant::PreparedParticipant;
use super::request::Request;
use super::work::{LeftOut, Part, Phase, Work};
use crate::constraint::{
    Field, ImageConstraints, MemoryScope, MergedCoded, MergedImage, Participant, PoolId, Role,
    Source,
};
use crate::model::{ColourLoss, Colours, FormatInfo, FormatModifier, Fourcc, Modifier};

/// A prepared request.
pub(super) struct Problem<'a> {
    pub(super) request: &'a Request,
    /// The sources, sorted by their identifiers.
    pub(super) sources: Vec<&'a Source>,
    /// The numbers of the pairs that each source can allocate.
    pub(super) source_pairs: Vec<Bits>,
    /// The constraints of each source on images; `None` for a source that has none.
    pub(super) images: Vec<Option<MergedImage>>,
    /// The sorted list of all pairs that any source has. The number of a pair is its index in this list.
    pub(super) universe: Vec<FormatModifier>,
    /// The format groups. A group is the pairs of one format.
    pub(super) groups: Vec<FormatGroup>,
    /// The index of the format group of each pair.
    pub(super) group_of: Vec<usize>,
    pub(super) participants: Vec<PreparedParticipant<'a>>,
    /// The common properties of the pictures of all sizes.
    pub(super) pictures: Pictures,
    /// The smallest linear layouts of each format group, without any constraints.
    smallest_layouts: Vec<OnceCell<LayoutResult>>,
    /// Whether the request has no extra fields, apart from optional ones.
    pub(super) is_understood: bool,
    /// The sources that have no extra fields, apart from optional ones, and whose identifiers are unambiguous.
    pub(super) understood_sources: Bits,
    /// The colours of the frames that participants write. A copy in another format may lose some of them.
    pub(super) colours: Colours,
    /// Whether a GPU or the CPU draws the frames, because no camera or decoder writes them. A participant that draws lists
    /// formats with less chroma only for the frames of other participants.
    pub(super) is_drawn: bool,
    /// Whether a coded extent that is larger than the picture may be needed. Only then the solver considers which participants
    /// can crop.
    pub(super) pads: bool,
    /// Whether any source has memory that only some devices can use.
    pub(super) has_scopes: bool,
    /// Whether any participant makes its own copy of frames that others write. The value is false if no participant writes,
    /// because one of the importers may then be the one that draws.
    pub(super) has_internal_copies: bool,
    /// The pools from which sources allocate.
    pub(super) pools: Pools<'a>,
    /// The pairs in which a source may be proposed, for each source that would serve all participants if it had more memory.
    proposed: OnceCell<BTreeMap<usize, Bits>>,
    /// The counter of the steps that are taken.
    pub(super) work: Work,
    /// Descriptions of demands, by participant and field. They are stored because one demand may reject many sources.
    demands: RefCell<BTreeMap<(usize, Field), Rc<str>>>,
}

/// The number of participants from which on the owners of merged bounds are not tracked, because that would take too many steps.
/// An explanation that needs them computes them again.
const MANY_PARTICIPANTS: usize = 65;

/// The pairs of one format. They have consecutive numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormatGroup {
    pub(super) fourcc: Fourcc,
    pub(super) first: usize,
    pub(super) end: usize,
    /// The number of the pair with the implicit modifier; `None` if there is no such pair.
    pub(super) implicit: Option<usize>,
    /// The linear layout of the format; `None` if it is not known.
    pub(super) info: Option<&'static FormatInfo>,
    /// The rank of the format in the order of preference.
    pub(super) rank: usize,
    /// The rank of the format's colour depth in the order of preference.
    pub(super) depth: usize,
    /// The bytes of a frame without padding; `u64::MAX` if the format's linear layout is not known.
    pub(super) bytes: u64,
}

/// Some of the participants (the members), and those of their demands that are considered.
#[derive(Clone, Copy)]
pub(super) struct View<'v> {
    /// The indices of the members among the request's participants.
    pub(super) members: &'v [usize],
    /// The fields on which the demands of each participant are considered. `None` means all fields.
    pub(super) kept: Option<&'v [FieldSet]>,
    /// Whether the CPU copies frames into or out of the buffers.
    pub(super) cpu_copies: bool,
}

impl<'v> View<'v> {
    /// Makes a view of members that share buffers without a copy. All of their demands are considered.
    pub(super) const fn sharing(members: &'v [usize]) -> Self {
        Self {
            members,
            kept: None,
            cpu_copies: false,
        }
    }

    /// Returns the fields whose demands a participant keeps; the demands on all other fields are given up.
    pub(super) fn keeps(&self, prepared: usize) -> FieldSet {
        self.kept.map_or(FieldSet::ALL, |kept| kept[prepared])
    }
}

impl<'a> Problem<'a> {
    /// Prepares a request.
    ///
    /// # Errors
    /// The request exceeds a limit, or preparing it takes more steps than its share of the budget. The error contains the number
    /// of steps that were taken.
    pub(super) fn new(
        request: &'a Request,
        work: Work,
        taken: &TakenBytes,
    ) -> Result<Self, (LeftOut, u64)> {
        work.begin(Phase::Read);
        let most = [
            (
                "participants",
                request.participants.len(),
                Request::MAXIMUM_PARTICIPANTS,
            ),
            ("sources", request.sources.len(), Request::MAXIMUM_SOURCES),
            (
                "sizes",
                request.more_extents.len().saturating_add(1),
                Request::MAXIMUM_EXTENTS,
            ),
        ];
        if let Some((what, given, most)) = most.into_iter().find(|(_, given, most)| given > most) {
            let words = format!(
                "nothing was tried: the request has {given} {what}, and the solver accepts at most {most}; use fewer"
            );
            return Err((LeftOut::new(Part::Request, words), work.spent()));
        }
        let too_large = |work: &Work| {
            let words = "nothing was tried: reading the lists of the request's participants and sources exceeds the limit of work for reading; use shorter lists";
            (LeftOut::new(Part::Request, words), work.spent())
        };
        let mut sources: Vec<&Source> = request.sources.iter().collect();
        sources.sort_by(|one, two| one.id.cmp(&two.id));
        let universe = universe(&sources, &work).ok_or_else(|| too_large(&work))?;
        let mut groups: Vec<FormatGroup> = Vec::new();
        let mut group_of = Vec::with_capacity(universe.len());
        for (number, pair) in universe.iter().enumerate() {
            let end = number.saturating_add(1);
            match groups
                .last_mut()
                .filter(|group| group.fourcc == pair.fourcc)
            {
                Some(group) => group.end = end,
                None => {
                    let (rank, info) = FormatInfo::with_rank(pair.fourcc).unzip();
                    groups.push(FormatGroup {
                        fourcc: pair.fourcc,
                        first: number,
                        end,
                        implicit: None,
                        info,
                        rank: rank.unwrap_or(usize::MAX),
                        depth: rank.map_or(usize::MAX, FormatInfo::depth_rank),
                        bytes: info.map_or(u64::MAX, |info| request.unpadded_bytes(info)),
                    });
                }
            }
            let last = groups.len().saturating_sub(1);
            group_of.push(last);
            if pair.modifier.is_implicit() {
                groups[last].implicit = Some(number);
            }
        }
        let source_pairs = sources
            .iter()
            .map(|source| match &source.constraints.formats {
                Some(formats) => numbers(&universe, formats, &work),
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
        let mut reader = ParticipantReader::new(&sources, &universe, &work);
        let mut participants = Vec::with_capacity(request.participants.len());
        for participant in &request.participants {
            participants.push(
                reader
                    .participant(participant)
                    .ok_or_else(|| too_large(&work))?,
            );
        }
        let has_writer = request.participants.iter().any(|own| own.role.writes());
        let has_internal_copies = has_writer
            && request
                .participants
                .iter()
                .filter(|own| !own.role.writes())
                .flat_map(Participant::choices)
                .any(|choice| !choice.internal_copies.is_empty());
        let pools = Pools::new(request, &sources, taken);
        let unknown: BTreeSet<&PoolId> = request
            .pools
            .iter()
            .filter(|pool| !pool.extra_fields.required().is_empty())
            .map(|pool| &pool.id)
            .collect();
        let understood_sources = where_source(&sources, |source| {
            source.extra_fields.required().is_empty()
                && source.constraints.extra_field_names().next().is_none()
                && !is_ambiguous(&sources, source)
                && source
                    .guarantees
                    .pools
                    .iter()
                    .all(|id| !unknown.contains(id))
        });
        let owner = request.participants.len();
        let free = ImageConstraints::default();
        let images = sources
            .iter()
            .map(|source| &source.constraints.image)
            .map(|image| (*image != free).then(|| MergedImage::of(owner, image)))
            .collect();
        let pads = participants.iter().any(|own| own.pads())
            || sources.iter().any(|source| source.constraints.pads());
        Ok(Self {
            request,
            images,
            pads,
            pictures: Pictures::of(request),
            smallest_layouts: vec![OnceCell::new(); groups.len()],
            is_understood: request.extra_fields.required().is_empty(),
            understood_sources,
            colours: produced_colours(request, &work),
            has_scopes: sources
                .iter()
                .any(|source| source.guarantees.scope != MemoryScope::Everybody),
            has_internal_copies,
            is_drawn: request
                .participants
                .iter()
                .all(|participant| participant.role != Role::Capture),
            pools,
            proposed: OnceCell::new(),
            sources,
            source_pairs,
            universe,
            groups,
            group_of,
            participants,
            work,
            demands: RefCell::default(),
        })
    }

    /// Returns the participant with this index. All indices of participants, sources, groups and pairs come from the problem
    /// itself, so they are valid.
    pub(super) fn participant(&self, index: usize) -> &PreparedParticipant<'a> {
        &self.participants[index]
    }

    pub(super) fn source(&self, number: usize) -> &'a Source {
        self.sources[number]
    }

    pub(super) fn source_pairs(&self, number: usize) -> &Bits {
        &self.source_pairs[number]
    }

    /// Returns the pairs of a source in which the source may be proposed.
    pub(super) fn proposed_pairs(&self, number: usize) -> &Bits {
        let proposed = self.proposed.get();
        proposed
            .and_then(|proposed| proposed.get(&number))
            .unwrap_or(&self.source_pairs[number])
    }

    /// Limits the formats in which some sources may be proposed to those that all participants accept. These sources would serve
    /// all participants if they had more memory. Without the limit, a format that needs less memory would be proposed although a
    /// participant does not accept it.
    pub(super) fn limit_proposals(&self, lacking: &BTreeSet<usize>) {
        if lacking.is_empty() {
            return;
        }
        let mut common = Bits::all(self.universe.len());
        for own in self
            .participants
            .iter()
            .filter_map(PreparedParticipant::formats)
        {
            self.work.charge(self.universe.len() >> 8);
            common.keep(own);
        }
        let limited = |number: &usize| {
            let mut pairs = self.source_pairs[*number].clone();
            pairs.keep(&common);
            (*number, pairs)
        };
        self.proposed
            .get_or_init(|| lacking.iter().map(limited).collect());
    }

    pub(super) fn group(&self, index: usize) -> &FormatGroup {
        &self.groups[index]
    }

    pub(super) fn pair(&self, number: usize) -> FormatModifier {
        self.universe[number]
    }

    /// Returns whether there are so many participants that the owners of merged bounds are not tracked.
    pub(super) fn has_many_participants(&self) -> bool {
        self.participants.len() >= MANY_PARTICIPANTS
    }

    /// Returns the number of a participant as an owner. With many participants, all have the same number.
    pub(super) fn owner(&self, index: usize) -> usize {
        if self.has_many_participants() {
            0
        } else {
            index
        }
    }

    /// Describes a participant's demand on a field.
    pub(super) fn demand(&self, index: usize, field: Field) -> Rc<str> {
        let mut known = self.demands.borrow_mut();
        let words = || {
            let Some(demand) = self.participant(index).participant.demand(field) else {
                unreachable!(
                    "a source is rejected by a demand on {field:?} that the participant does not have"
                )
            };
            self.work.charge(demand.words.len() >> 1);
            let owner = bounded_text::name(&demand.owner);
            bounded_text::cut_to(format!("{owner} {}", demand.words), SENTENCE_BYTES)
        };
        let entry = known.entry((index, field));
        Rc::clone(entry.or_insert_with(|| words().into()))
    }

    /// Returns the smallest linear layouts of a format group. Only the coded extent is constrained.
    pub(super) fn smallest_layouts(
        &self,
        index: usize,
        coded: Option<&MergedCoded>,
    ) -> LayoutResult {
        let lay = || {
            let choice = LayoutChoice {
                preferred: false,
                disjoint: false,
            };
            let format = FormatModifier::linear(self.group(index).fourcc);
            let free = MergedImage {
                coded: coded.cloned().map(Box::new),
                ..MergedImage::default()
            };
            layout::choose(self.request.extents(), format, &free, choice, || None).map(Rc::new)
        };
        match coded {
            None => self.smallest_layouts[index].get_or_init(lay).clone(),
            Some(_) => lay(),
        }
    }

    /// Returns a lower bound for the cost of copying to these participants: the loss of colours, and the bytes of a frame.
    pub(super) fn least_copied(&self, members: &[usize]) -> (ColourLoss, u64) {
        self.work.charge(self.groups.len());
        let mut formats = Bits::all(self.universe.len());
        let participants = members.iter().map(|index| self.participant(*index));
        for own in participants.filter_map(PreparedParticipant::formats) {
            self.work.charge(self.universe.len() >> 8);
            formats.keep(own);
        }
        let costs = self.groups.iter().filter_map(|group| {
            let first = formats.next(group.first)?;
            let info = group.info.filter(|_| first < group.end)?;
            Some((self.colours.lost_in(info.colours), group.bytes))
        });
        // For participants without a common format, the bound is 0.
        costs.min().unwrap_or_default()
    }

    /// Returns whether a source has no constraints of its own on images of a format.
    pub(super) fn has_no_image_constraints(&self, number: usize, fourcc: Fourcc) -> bool {
        let by_fourcc = &self.source(number).constraints.per_fourcc;
        self.images[number].is_none() && !by_fourcc.contains_key(&fourcc)
    }

    /// Returns the index of the producer among the participants.
    pub(super) fn producer(&self) -> usize {
        producer(self.request)
    }

    /// Returns the indices of all participants.
    pub(super) fn all_participants(&self) -> Vec<usize> {
        (0..self.participants.len()).collect()
    }

    /// Iterates over combinations of the participants' alternatives, in order of preference.
    pub(super) fn combinations(&self, members: &[usize]) -> Combinations<'_> {
        let participants = members.iter().map(|index| self.participant(*index));
        let last = participants.map(|prepared| prepared.choices.len().saturating_sub(1));
        Combinations::new(last.collect(), &self.work)
    }

    /// Returns whether these members have more combinations of alternatives than are tried.
    pub(super) fn is_capped(&self, members: &[usize]) -> bool {
        members
            .iter()
            .map(|index| self.participant(*index))
            .try_fold(1_usize, |product, prepared| {
                product.checked_mul(prepared.choices.len())
            })
            .is_none_or(|product| product > COMBINATIONS)
    }
}

/// Returns the index of the producer: the first participant that writes, or the first participant if none writes.
fn producer(request: &Request) -> usize {
    request
        .participants
        .iter()
        .position(|participant| participant.role.writes())
        .unwrap_or(0)
}

/// Returns the colours that copies have to keep. These are the colours of the frames that participants write. If no participant
/// writes, they are the colours of all participants' formats.
fn produced_colours(request: &Request, work: &Work) -> Colours {
    let all = &request.participants;
    let has_writer = all.iter().any(|participant| participant.role.writes());
    let writers = all
        .iter()
        .filter(|participant| !has_writer || participant.role.writes());
    let mut kept: Option<Colours> = None;
    let mut add = |colours: Colours| {
        kept = Some(kept.map_or(colours, |kept| kept.or(colours)));
    };
    for choice in writers.flat_map(Participant::choices) {
        let Some(formats) = &choice.formats else {
            add(Colours::USUAL);
            continue;
        };
        work.charge(formats.len() >> 2);
        let mut last = None;
        for fourcc in formats.iter().map(|pair| pair.fourcc) {
            // The pairs of a format follow each other, so each format is read only once.
            if last.replace(fourcc) != Some(fourcc) {
                let info = fourcc.info();
                info.map(|info| info.colours)
                    .filter(|colours| !colours.are_lost)
                    .into_iter()
                    .for_each(&mut add);
            }
        }
    }
    kept.unwrap_or(Colours::NONE)
}

/// Returns whether a different source has the same identifier. A plan could not state which of them it means.
///
/// The sources have to be sorted by their identifiers.
fn is_ambiguous(sources: &[&Source], source: &Source) -> bool {
    let begin = sources.partition_point(|other| other.id < source.id);
    sources
        .iter()
        .skip(begin)
        .take_while(|other| other.id == source.id)
        .any(|other| !std::ptr::eq(*other, source) && *other != source)
}
