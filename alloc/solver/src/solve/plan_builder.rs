//! Builds a plan from the best candidate: steps, hand-overs, caveats and reasons.

use super::bounded_text::{self, NAMES_SHOWN, SENTENCE_BYTES};
use super::candidate_search::CandidateSearch;
use super::layout::Layouts;
use super::layout_candidate::{modifiers, verdict};
use super::names::Names;
use super::outcome::{ChosenCandidate, SearchRejections};
use super::plan::{Action, Handover, Plan, Step};
use super::problem::{Problem, View};
use super::work::{LeftOut, Part};
use crate::constraint::{MemoryScope, MergedImage, Role, Source};
use crate::model::Modifier;

/// The maximum number of hand-overs that a plan lists. There is one for each pair of a writer and a reader, so their number can
/// be very large.
pub(super) const HANDOVERS: usize = 4096;

/// The parts from which a plan is built: the best candidate that a search found, and what the search left out.
pub(super) struct PlanBuilder<'p, 'a, 'v> {
    pub(super) problem: &'p Problem<'a>,
    pub(super) view: View<'v>,
    pub(super) chosen: ChosenCandidate<'a>,
    /// The number of candidates that the search found.
    pub(super) found: usize,
    /// The reasons why the other sources were rejected.
    pub(super) rejections: SearchRejections,
    /// What the search did not try; `None` if it tried everything.
    pub(super) left_out: Option<LeftOut>,
}

impl PlanBuilder<'_, '_, '_> {
    /// Builds the plan.
    pub(super) fn build(self) -> Plan {
        let Self {
            problem,
            view,
            chosen,
            found,
            rejections,
            left_out,
        } = self;
        let ChosenCandidate {
            rank,
            combination,
            count,
            formats,
            candidate,
        } = chosen;
        let source = candidate.source;
        let names = Names::new(problem, source);
        let search = CandidateSearch::new(problem, view, &combination);
        let merged = search
            .merged_image_with_owners(candidate.group_index, candidate.number)
            .into_owned();
        let modifiers: Vec<_> = modifiers(problem, &formats, &candidate)
            .into_iter()
            .map(|(_, modifier)| modifier)
            .collect();
        let Layouts {
            first: layout,
            more: more_layouts,
            ..
        } = match modifiers.first() {
            Some(modifier) => candidate.layouts.with_modifier(*modifier),
            None => (*candidate.layouts).clone(),
        };
        let steps: Vec<Step> = view
            .members
            .iter()
            .zip(&combination)
            .map(|(member, alternative)| {
                let prepared = problem.participant(*member);
                Step {
                    participant: prepared.participant.name.clone(),
                    action: match prepared.participant.role {
                        Role::Compositor => Action::Accepts,
                        Role::CpuRead | Role::CpuWrite => Action::Maps,
                        _ if prepared.own.contains(candidate.number) => Action::Exports,
                        _ => Action::Imports,
                    },
                    alternative: *alternative,
                    crops: layout.is_cropped() && !prepared.pads_by(*alternative),
                }
            })
            .collect();
        let caveats = candidate
            .caveats
            .iter()
            .map(|caveat| caveat.describe(source, names))
            .collect();
        let has_rows = layout.format().modifier == Modifier::LINEAR;
        let is_ended = rejections.ending.is_some_and(|ending| ending.is_spent);
        let mut left_out: Vec<LeftOut> = left_out.into_iter().collect();
        let handovers = handovers(&search, &mut left_out);
        Plan {
            source: source.id.clone(),
            source_name: source.name.clone(),
            source_device: source.device.clone(),
            count,
            steps,
            handovers,
            pools: search.pool_uses(candidate.number, &layout),
            internal_copies: search.internal_copies(&candidate),
            needs_transfers: search.needs_transfers(candidate.number),
            verdict: verdict(&candidate.caveats),
            reasons: reasons(
                rank.importers,
                found,
                is_ended,
                (&merged, has_rows),
                (names, source),
            ),
            caveats,
            modifiers,
            layout,
            more_layouts,
            rejections: rejections.into_rejections(problem),
            left_out,
            merged: Box::new(merged),
        }
    }
}

/// Returns the hand-overs from each writer to each reader, at most [`HANDOVERS`] of them.
fn handovers(search: &CandidateSearch<'_, '_, '_>, left_out: &mut Vec<LeftOut>) -> Vec<Handover> {
    let members: Vec<_> = search
        .members()
        .map(|(member, choice)| {
            let participant = search.problem.participant(member).participant;
            (participant, &choice.constraints.sync)
        })
        .collect();
    let mut handovers = Vec::new();
    let writers = members.iter().filter(|(one, _)| one.role.writes()).count();
    let readers = members.len().saturating_sub(writers);
    let all = writers.saturating_mul(readers);
    if all > HANDOVERS {
        left_out.push(LeftOut::new(
            Part::Handovers,
            format!(
                "only the first {HANDOVERS} of {all} hand-overs, from each writer to each reader, are listed"
            ),
        ));
    }
    for (writer, writer_sync) in members.iter().filter(|(one, _)| one.role.writes()) {
        for (reader, reader_sync) in members.iter().filter(|(one, _)| !one.role.writes()) {
            if handovers.len() >= HANDOVERS {
                return handovers;
            }
            search.problem.work.charge(HANDOVER_STEPS);
            handovers.push(Handover {
                from: writer.name.clone(),
                to: reader.name.clone(),
                sync: writer_sync.intersection(reader_sync).max().copied(),
            });
        }
    }
    handovers
}

/// The number of steps of the budget that are charged for listing one hand-over.
const HANDOVER_STEPS: usize = 48;

/// Returns the sentences that say why the plan was chosen, and which constraints its layout satisfies.
fn reasons(
    importers: usize,
    found: usize,
    is_ended: bool,
    (merged, has_rows): (&MergedImage, bool),
    (names, source): (Names<'_, '_>, &Source),
) -> Vec<String> {
    let importers = match importers {
        0 => "no participant has to import the memory".to_owned(),
        1 => "one participant has to import the memory".to_owned(),
        many => format!("{many} participants have to import the memory"),
    };
    let mut reasons = vec![if is_ended {
        format!("best of the {found} possibilities that were found: {importers}")
    } else if found > 1 {
        format!("best of {found} possibilities: {importers}")
    } else {
        format!("the only possibility: {importers}")
    }];
    let scope = &source.guarantees.scope;
    if *scope != MemoryScope::Everybody {
        let scope = bounded_text::cut_to(scope.describe(NAMES_SHOWN), SENTENCE_BYTES);
        reasons.push(format!("its memory serves only {scope}"));
    }
    let all = merged.reasons().into_iter();
    for reason in all.filter(|reason| has_rows || !reason.is_about_rows()) {
        let names = names.joined(reason.owners.iter());
        reasons.push(format!("{}, set by {names}", reason.words));
    }
    reasons
}
