//! Takes the best candidate by the documented order, and makes a plan of it.

use std::ops::ControlFlow;

use super::bits::Bits;
use super::doubt::{Doubt, joined};
use super::failure::{Refused, Stopped};
use super::layout::Layouts;
use super::plan::{Action, Handover, Plan, Rejection, Step, Verdict};
use super::problem::{FieldSet, Group, Problem, View};
use super::sweep::{Listener, Sweep};
use crate::constraint::{CpuUse, MemoryCost, Owners, Role, Source, SourceId};
use crate::model::{FormatModifier, Modifier};

/// One source that serves all in one format.
pub(super) struct Candidate<'a> {
    /// The source's place among those of the problem.
    pub(super) number: usize,
    pub(super) source: &'a Source,
    pub(super) group: Group,
    pub(super) arrangement: Arrangement,
    /// By size, in the request's order; all in the same memories.
    pub(super) layouts: Layouts,
    pub(super) doubts: Vec<Doubt>,
}

/// Who arranges the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arrangement {
    /// They lie in rows, as the solver lays them out.
    Rows,
    /// The source chooses among modifiers.
    Sources,
    /// The source chooses, and does not tell.
    Untold,
}

impl Arrangement {
    pub(super) fn of(modifier: Modifier) -> Self {
        match modifier {
            Modifier::LINEAR => Self::Rows,
            Modifier::INVALID => Self::Untold,
            _ => Self::Sources,
        }
    }
}

/// The order that the module's documentation gives, line by line; lower is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    /// For a picture that is copied: whether it loses its colours, and how many bytes are copied.
    copied: (bool, u64),
    doubts: usize,
    alternatives: usize,
    is_unwished_format: bool,
    unwished_by: usize,
    importers: usize,
    is_others: bool,
    is_slow_to_read: bool,
    cost: MemoryCost,
    is_protected: bool,
    is_no_displays: bool,
    arrangement: u8,
    format: usize,
    memories: usize,
    bytes: u64,
    source: &'a SourceId,
}

/// What is best for some of a request's participants.
pub(super) struct Chosen<'a> {
    rank: Rank<'a>,
    combination: Vec<usize>,
    count: u32,
    formats: Bits,
    candidate: Candidate<'a>,
}

impl Chosen<'_> {
    /// Returns what a copy of one frame costs, the colours that it loses before its bytes.
    pub(super) fn copied(&self) -> (bool, u64) {
        self.rank.copied
    }

    pub(super) fn doubts(&self) -> usize {
        self.rank.doubts
    }
}

/// Why each source falls out that serves nobody.
pub(super) struct Fallen(Vec<Option<(u8, String)>>);

impl Fallen {
    /// Returns it by source, in words.
    pub(super) fn rejections(self, problem: &Problem<'_>) -> Vec<Rejection> {
        problem
            .sources
            .iter()
            .zip(self.0)
            .filter_map(|(source, fallen)| {
                Some(Rejection {
                    source: source.id.clone(),
                    source_name: source.name.clone(),
                    words: fallen?.1,
                })
            })
            .collect()
    }
}

/// Hears everything and keeps the best.
struct Judge<'p, 'a> {
    problem: &'p Problem<'a>,
    /// Whether the members' pictures are copied from elsewhere.
    copied: bool,
    best: Option<Chosen<'a>>,
    found: usize,
    served: Bits,
    /// By source, the furthest that any format came; none where words are not asked for.
    fallen: Option<Vec<Option<(u8, String)>>>,
}

impl<'a> Listener<'a> for Judge<'_, 'a> {
    fn candidate(
        &mut self,
        sweep: &Sweep<'_, 'a, '_>,
        candidate: Candidate<'a>,
    ) -> ControlFlow<()> {
        self.found = self.found.saturating_add(1);
        self.served.insert(candidate.number);
        let rank = rank(sweep, &candidate, self.copied);
        if self.best.as_ref().is_none_or(|best| rank < best.rank) {
            self.best = Some(Chosen {
                rank,
                combination: sweep.combination.to_vec(),
                count: sweep.count,
                formats: sweep.formats.clone(),
                candidate,
            });
        }
        ControlFlow::Continue(())
    }

    fn refused(&mut self, number: usize, why: impl FnOnce() -> Refused) {
        let (problem, source) = (self.problem, self.problem.sources.get(number));
        let fallen = self
            .fallen
            .as_mut()
            .and_then(|fallen| fallen.get_mut(number));
        if let (Some(fallen @ None), Some(source)) = (fallen, source) {
            *fallen = Some((0, why().words(problem, source)));
        }
    }

    fn stopped(&mut self, number: usize, why: &Stopped, words: impl FnOnce() -> String) {
        let fallen = self
            .fallen
            .as_mut()
            .and_then(|fallen| fallen.get_mut(number));
        if let Some(fallen) = fallen {
            if fallen
                .as_ref()
                .is_none_or(|(stage, _)| why.stage() > *stage)
            {
                *fallen = Some((why.stage(), words()));
            }
        }
    }
}

/// Returns the best plan for some of the participants, or why no source serves them.
pub(super) fn best(problem: &Problem<'_>, view: View<'_>, copied: bool) -> Result<Plan, Fallen> {
    let (judge, _) = judge(problem, view, copied, true);
    let served = judge.served;
    let fallen = judge.fallen.unwrap_or_default().into_iter();
    let fallen = Fallen(
        fallen
            .enumerate()
            .map(|(number, fallen)| fallen.filter(|_| !served.contains(number)))
            .collect(),
    );
    match judge.best {
        Some(chosen) => Ok(plan(problem, view, chosen, judge.found, fallen)),
        None => Err(fallen),
    }
}

/// Returns what is best for some of the participants, without any words.
pub(super) fn choose<'a>(
    problem: &Problem<'a>,
    view: View<'_>,
    copied: bool,
) -> Option<Chosen<'a>> {
    judge(problem, view, copied, false).0.best
}

fn judge<'p, 'a>(
    problem: &'p Problem<'a>,
    view: View<'_>,
    copied: bool,
    with_words: bool,
) -> (Judge<'p, 'a>, ControlFlow<()>) {
    let mut judge = Judge {
        problem,
        copied,
        best: None,
        found: 0,
        served: Bits::none(problem.sources.len()),
        fallen: with_words.then(|| vec![None; problem.sources.len()]),
    };
    let flow = problem
        .combinations(view.members)
        .iter()
        .try_for_each(|combination| Sweep::new(problem, view, combination).run(&mut judge));
    (judge, flow)
}

/// Whom some of the participants' demands are asked of, again and again.
pub(super) struct Standing<'p, 'a, 'v> {
    problem: &'p Problem<'a>,
    members: &'v [usize],
    copies: bool,
    /// With every demand, by combination of alternatives.
    all: Vec<Sweep<'p, 'a, 'v>>,
}

impl<'p, 'a, 'v> Standing<'p, 'a, 'v> {
    pub(super) fn new(
        problem: &'p Problem<'a>,
        view: View<'v>,
        combinations: &'v [Vec<usize>],
    ) -> Self {
        let all = combinations
            .iter()
            .map(|combination| Sweep::new(problem, view, combination))
            .collect();
        Self {
            problem,
            members: view.members,
            copies: view.copies,
            all,
        }
    }

    /// Returns whether any source meets these demands in any format.
    pub(super) fn stands(&self, kept: &[FieldSet]) -> bool {
        let view = View {
            members: self.members,
            kept: Some(kept),
            copies: self.copies,
        };
        self.all
            .iter()
            .any(|all| Sweep::new(self.problem, view, all.combination).serves(all))
    }
}

/// Returns whether any source serves some of the participants in any format.
pub(super) fn stands(problem: &Problem<'_>, view: View<'_>) -> bool {
    problem
        .combinations(view.members)
        .iter()
        .map(|combination| Sweep::new(problem, view, combination))
        .any(|sweep| sweep.serves(&sweep))
}

/// One way to share: a source, a format, and how sure it is.
pub(super) type Way = (SourceId, FormatModifier, Verdict);

/// Returns every way to share, each once and as sure as any alternative makes it, in order.
pub(super) fn ways(problem: &Problem<'_>, view: View<'_>) -> Vec<Way> {
    struct All(Vec<Way>);
    impl<'a> Listener<'a> for All {
        fn candidate(
            &mut self,
            sweep: &Sweep<'_, 'a, '_>,
            found: Candidate<'a>,
        ) -> ControlFlow<()> {
            let verdict = verdict(&found.doubts);
            let modifiers = modifiers(sweep.problem, &sweep.formats, &found);
            self.0.extend(modifiers.into_iter().map(|modifier| {
                let format = FormatModifier::new(found.group.fourcc, modifier);
                (found.source.id.clone(), format, verdict)
            }));
            ControlFlow::Continue(())
        }
    }
    let mut all = All(Vec::new());
    for combination in problem.combinations(view.members) {
        let _ = Sweep::new(problem, view, &combination).run(&mut all);
    }
    let mut ways = all.0;
    ways.sort();
    ways.dedup_by(|two, one| (&one.0, one.1) == (&two.0, two.1));
    ways
}

fn verdict(doubts: &[Doubt]) -> Verdict {
    if doubts.is_empty() {
        Verdict::Guaranteed
    } else {
        Verdict::Possible
    }
}

/// Returns the modifiers among which the source may choose.
fn modifiers(problem: &Problem<'_>, formats: &Bits, candidate: &Candidate<'_>) -> Vec<Modifier> {
    let Some(gives) = problem.gives.get(candidate.number) else {
        return Vec::new();
    };
    (candidate.group.first..candidate.group.end)
        .filter(|pair| formats.contains(*pair) && gives.contains(*pair))
        .filter_map(|pair| problem.universe.get(pair))
        .map(|pair| pair.modifier)
        .filter(|modifier| Arrangement::of(*modifier) == candidate.arrangement)
        .collect()
}

fn rank<'a>(sweep: &Sweep<'_, 'a, '_>, candidate: &Candidate<'a>, copied: bool) -> Rank<'a> {
    let source = candidate.source;
    let fourcc = candidate.group.fourcc;
    let info = candidate.group.info;
    let mut rank = Rank {
        copied: (false, 0),
        doubts: candidate.doubts.len(),
        alternatives: sweep
            .combination
            .iter()
            .fold(0, |sum, place| sum.saturating_add(*place)),
        is_unwished_format: sweep
            .problem
            .request
            .preferred_fourcc
            .is_some_and(|preferred| preferred != fourcc),
        unwished_by: 0,
        importers: 0,
        is_others: true,
        is_slow_to_read: sweep.cpu == CpuUse::Often && source.guarantees.cached != Some(true),
        cost: source.guarantees.cost,
        is_protected: source.guarantees.protected,
        is_no_displays: true,
        // Rows suit the processor; a device's own arrangement suits devices.
        arrangement: match (candidate.arrangement, sweep.cpu) {
            (Arrangement::Sources, CpuUse::None) => 0,
            (Arrangement::Rows, _) => 1,
            (Arrangement::Sources, _) => 2,
            (Arrangement::Untold, _) => 3,
        },
        format: candidate.group.rank,
        memories: candidate.layouts.first.memory_sizes().len(),
        bytes: candidate.layouts.first.total_bytes(),
        source: &source.id,
    };
    if let Some(info) = info.filter(|_| copied) {
        let bytes = sweep
            .problem
            .request
            .extents()
            .map(|extent| info.picture_bytes(extent));
        rank.copied = (info.is_grey(), bytes.max().unwrap_or_default());
    }
    for (place, choice) in sweep.members() {
        let Some(party) = sweep.problem.parties.get(place) else {
            continue;
        };
        let preferred = &choice.constraints.memory.preferred;
        if !preferred.is_empty() && !preferred.contains(&source.id) {
            rank.unwished_by = rank.unwished_by.saturating_add(1);
        }
        let role = party.participant.role;
        if party.own.contains(candidate.number) {
            rank.is_others = false;
            rank.is_no_displays &= role != Role::Display;
        } else if role.imports() {
            rank.importers = rank.importers.saturating_add(1);
        }
    }
    rank
}

fn plan(
    problem: &Problem<'_>,
    view: View<'_>,
    chosen: Chosen<'_>,
    found: usize,
    fallen: Fallen,
) -> Plan {
    let Chosen {
        rank,
        combination,
        count,
        formats,
        candidate,
    } = chosen;
    let source = candidate.source;
    let names = problem.names(source);
    let place = problem
        .groups
        .iter()
        .position(|group| group.first == candidate.group.first)
        .unwrap_or_default();
    let sweep = Sweep::new(problem, view, &combination);
    let terms = sweep.terms(place, candidate.number).into_owned();
    let steps: Vec<Step> = view
        .members
        .iter()
        .zip(&combination)
        .filter_map(|(place, alternative)| {
            let party = problem.parties.get(*place)?;
            Some(Step {
                participant: party.participant.name.clone(),
                action: match party.participant.role {
                    Role::Compositor => Action::Accepts,
                    Role::CpuRead | Role::CpuWrite => Action::Maps,
                    _ if party.own.contains(candidate.number) => Action::Exports,
                    _ => Action::Imports,
                },
                alternative: *alternative,
            })
        })
        .collect();
    let doubts = candidate
        .doubts
        .iter()
        .map(|doubt| doubt.words(source, &names))
        .collect();
    Plan {
        source: source.id.clone(),
        source_name: source.name.clone(),
        source_device: source.device.clone(),
        count,
        steps,
        handovers: handovers(&sweep),
        needs_transfers: sweep.needs_transfers(candidate.number),
        verdict: verdict(&candidate.doubts),
        reasons: reasons(rank.importers, found, &terms, &names),
        doubts,
        modifiers: modifiers(problem, &formats, &candidate),
        layout: candidate.layouts.first,
        more_layouts: candidate.layouts.more,
        rejections: fallen.rejections(problem),
        terms: Box::new(terms),
    }
}

/// Returns how each that writes hands over to each that reads.
fn handovers(sweep: &Sweep<'_, '_, '_>) -> Vec<Handover> {
    let members: Vec<_> = sweep
        .members()
        .filter_map(|(place, choice)| {
            let participant = sweep.problem.parties.get(place)?.participant;
            Some((participant, &choice.constraints.sync))
        })
        .collect();
    let mut handovers = Vec::new();
    for (writer, speaks) in members.iter().filter(|(one, _)| one.role.writes()) {
        for (reader, hears) in members.iter().filter(|(one, _)| !one.role.writes()) {
            handovers.push(Handover {
                from: writer.name.clone(),
                to: reader.name.clone(),
                sync: speaks.intersection(hears).max().copied(),
            });
        }
    }
    handovers
}

fn reasons(
    importers: usize,
    found: usize,
    terms: &crate::constraint::MergedImage,
    names: &[&str],
) -> Vec<String> {
    let importers = match importers {
        0 => "nobody has to import foreign memory".to_owned(),
        1 => "one participant imports it".to_owned(),
        many => format!("{many} participants import it"),
    };
    let mut reasons = vec![if found > 1 {
        format!("best of {found} ways that work: {importers}")
    } else {
        format!("the only way that works: {importers}")
    }];
    let bytes: [(&str, u64, &Owners); 11] = [
        (
            "stride at least",
            u64::from(terms.stride_minimum.value),
            &terms.stride_minimum.owners,
        ),
        (
            "stride at most",
            u64::from(terms.stride_maximum.value),
            &terms.stride_maximum.owners,
        ),
        (
            "strides in multiples of",
            u64::from(terms.stride_alignment.value),
            &terms.stride_alignment.owners,
        ),
        (
            "plane offsets in multiples of",
            terms.offset_alignment.value,
            &terms.offset_alignment.owners,
        ),
        (
            "planes in multiples of",
            terms.plane_size_alignment.value,
            &terms.plane_size_alignment.owners,
        ),
        (
            "memory in multiples of",
            terms.size_alignment.value,
            &terms.size_alignment.owners,
        ),
        (
            "memory of at least",
            terms.minimum_size.value,
            &terms.minimum_size.owners,
        ),
        (
            "memory of at most",
            terms.maximum_size.value,
            &terms.maximum_size.owners,
        ),
        (
            "padding before the picture of",
            terms.padding_before.value,
            &terms.padding_before.owners,
        ),
        (
            "padding behind the picture of",
            terms.padding.value,
            &terms.padding.owners,
        ),
        (
            "strides better in multiples of",
            u64::from(terms.stride_preferred_alignment.value),
            &terms.stride_preferred_alignment.owners,
        ),
    ];
    for (what, bytes, owners) in bytes {
        if !owners.is_empty() {
            let names = joined(owners, names);
            reasons.push(format!("{what} {bytes} bytes, set by {names}"));
        }
    }
    if !terms.rows_multiple.owners.is_empty() {
        reasons.push(format!(
            "memory for a multiple of {} rows in each plane, set by {}",
            terms.rows_multiple.value,
            joined(&terms.rows_multiple.owners, names)
        ));
    }
    for (is_set, what, owners) in [
        (
            terms.packed_rows.value,
            "rows without a gap between them",
            &terms.packed_rows.owners,
        ),
        (
            terms.packed_planes.value,
            "planes without a gap between them",
            &terms.packed_planes.owners,
        ),
        (
            terms.placement.value == crate::constraint::PlanePlacement::Together,
            "all planes in one dma-buf",
            &terms.placement.owners,
        ),
        (
            terms.placement.value == crate::constraint::PlanePlacement::Apart,
            "a dma-buf for each plane",
            &terms.placement.owners,
        ),
    ] {
        if is_set {
            reasons.push(format!("{what}, set by {}", joined(owners, names)));
        }
    }
    reasons
}
