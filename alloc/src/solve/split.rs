//! Where to copy when no buffer serves all.

use std::collections::BTreeMap;

use serde::Serialize;

use super::candidate;
use super::conflict::{Conflict, conflict};
use super::plan::{Plan, Rejection};
use super::problem::{COMBINATIONS, Problem, View};
use super::standing::{self, SWEEPS};
use crate::constraint::Demand;

/// With up to this many participants the split copies the fewest bytes that any does; with more, groups are filled one
/// after another.
pub(super) const FEWEST_UP_TO: usize = 8;

/// No buffer serves all: who shares with whom, what is copied between them, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Split {
    groups: Vec<Group>,
    copied_bytes_per_frame: u64,
    conflict: Vec<Demand>,
    relaxed: Vec<Demand>,
    relaxation: Option<String>,
    rejections: Vec<Rejection>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_capped: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_cut_short: bool,
}

/// Participants that share one buffer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Their names, in the request's order.
    pub participants: Vec<String>,
    /// Their buffer; none where no source serves even them.
    pub plan: Option<Plan>,
    /// The bytes that the processor copies into it for each frame; 0 for the group in which the pixels are made.
    pub copied_bytes_per_frame: u64,
}

/// One copy of each frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FrameCopy<'s> {
    /// Whose buffers are read.
    pub from: &'s Group,
    /// Whose buffers are written.
    pub to: &'s Group,
    /// Who copies.
    pub by: Copier,
    /// Bytes that are written for each frame, in the format of those who are copied for.
    pub bytes_per_frame: u64,
}

/// Who copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Copier {
    /// The processor.
    Processor,
}

impl Split {
    /// Returns who shares with whom; the pixels are made in the first group and copied into the others.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns each copy: where it is, who does it, and how many bytes a frame it moves.
    ///
    /// Empty where those who make the pixels are served by no source: there is nothing to copy from.
    pub fn copies(&self) -> impl Iterator<Item = FrameCopy<'_>> {
        let made = self.groups.first().filter(|group| group.plan.is_some());
        self.groups
            .iter()
            .skip(1)
            .filter(|group| group.plan.is_some())
            .filter_map(move |to| {
                Some(FrameCopy {
                    from: made?,
                    to,
                    by: Copier::Processor,
                    bytes_per_frame: to.copied_bytes_per_frame,
                })
            })
    }

    /// Returns the bytes that the processor copies for each frame.
    pub fn copied_bytes_per_frame(&self) -> u64 {
        self.copied_bytes_per_frame
    }

    /// Returns demands that cannot stand together: without any one of them, a source meets the rest, unless the search
    /// [was cut short](Self::is_cut_short).
    ///
    /// Empty where the sources serve nobody, whatever is demanded.
    pub fn conflict(&self) -> &[Demand] {
        &self.conflict
    }

    /// Returns whether the search behind the conflict was ended because it would take too long: the conflict is one, but
    /// perhaps fewer of these demands are, and nothing may be known to give up.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Returns the cheapest demands to give up so that a source serves all.
    pub fn relaxed(&self) -> &[Demand] {
        &self.relaxed
    }

    /// Returns the cheapest change after which a source serves all, in words.
    pub fn relaxation(&self) -> Option<&str> {
        self.relaxation.as_deref()
    }

    /// Returns why no source serves all.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Returns whether participants have more alternatives than are combined, so that a plan may have been missed.
    pub fn is_capped(&self) -> bool {
        self.is_capped
    }
}

pub(super) fn split(problem: &Problem<'_>, rejections: Vec<Rejection>) -> Split {
    let places = if problem.parties.len() <= FEWEST_UP_TO {
        fewest(problem)
    } else {
        one_after_another(problem)
    };
    let groups: Vec<Group> = places
        .iter()
        .map(|(places, copied)| group(problem, places, *copied))
        .collect();
    let Conflict {
        demands,
        is_cut_short,
        relaxed,
        relaxed_plan,
    } = conflict(problem);
    Split {
        copied_bytes_per_frame: groups.iter().fold(0, |sum, group| {
            sum.saturating_add(group.copied_bytes_per_frame)
        }),
        groups,
        relaxation: relaxation(&relaxed, relaxed_plan.as_ref()),
        conflict: demands,
        relaxed,
        rejections,
        is_capped: problem.is_capped(),
        is_cut_short,
    }
}

/// The places of participants that share, and whether their pictures are copied from elsewhere.
type Places = (Vec<usize>, bool);

/// Returns the participant that makes the pixels: the first that writes, or the first of all.
fn maker(problem: &Problem<'_>) -> usize {
    problem
        .parties
        .iter()
        .position(|party| party.participant.role.writes())
        .unwrap_or_default()
}

/// How good a division is; lower is better: pictures that lose their colours, bytes copied, groups, doubts.
type Cost = (usize, u64, usize, usize);

fn sum(one: Cost, two: Cost) -> Cost {
    (
        one.0.saturating_add(two.0),
        one.1.saturating_add(two.1),
        one.2.saturating_add(two.2),
        one.3.saturating_add(two.3),
    )
}

/// Returns the division that copies the fewest bytes.
fn fewest(problem: &Problem<'_>) -> Vec<Places> {
    let first = maker(problem);
    let mut costs: BTreeMap<u32, Option<Cost>> = BTreeMap::new();
    let everybody = problem.everybody();
    let is_served = |place: &usize| {
        let view = View {
            members: &[*place],
            kept: None,
            copies: true,
        };
        standing::stands(problem, view)
    };
    let (served, unserved): (Vec<usize>, Vec<usize>) = everybody.into_iter().partition(is_served);
    // Without those who make the pixels there is nothing to copy.
    let copies = served.contains(&first);
    let all = served.iter().fold(0_u32, |mask, place| mask | bit(*place));
    let mut best: BTreeMap<u32, (Cost, u32)> = BTreeMap::from([(0, ((0, 0, 0, 0), 0))]);
    for mask in 1..=all {
        if mask & !all != 0 {
            continue;
        }
        let lowest = mask & mask.wrapping_neg();
        let mut part = mask;
        let mut found: Option<(Cost, u32)> = None;
        while part != 0 {
            if part & lowest != 0 {
                let own = cost(problem, part, copies && part & bit(first) == 0, &mut costs);
                let rest = best.get(&(mask & !part)).map(|(cost, _)| *cost);
                if let (Some(own), Some(rest)) = (own, rest) {
                    let total = sum(own, rest);
                    // Of equals the last: it shares with earlier participants.
                    if found.is_none_or(|(cost, _)| total <= cost) {
                        found = Some((total, part));
                    }
                }
            }
            part = part.wrapping_sub(1) & mask;
        }
        if let Some(found) = found {
            best.insert(mask, found);
        }
    }
    let mut groups: Vec<Places> = Vec::new();
    let mut left = all;
    while let Some((_, part)) = best.get(&left).filter(|_| left != 0) {
        let places = served
            .iter()
            .copied()
            .filter(|place| part & bit(*place) != 0)
            .collect();
        groups.push((places, copies && part & bit(first) == 0));
        left &= !part;
    }
    groups.extend(unserved.into_iter().map(|place| (vec![place], false)));
    makers_first(groups, first)
}

fn bit(place: usize) -> u32 {
    1 << (place & 31)
}

fn cost(
    problem: &Problem<'_>,
    mask: u32,
    copied: bool,
    known: &mut BTreeMap<u32, Option<Cost>>,
) -> Option<Cost> {
    if let Some(cost) = known.get(&mask) {
        return *cost;
    }
    // Whom no source serves, none serves together with more.
    let fewer = (0..problem.parties.len())
        .map(|place| mask & !bit(place))
        .any(|fewer| fewer != mask && fewer != 0 && known.get(&fewer) == Some(&None));
    let members: Vec<usize> = (0..problem.parties.len())
        .filter(|place| mask & bit(*place) != 0)
        .collect();
    let view = View {
        members: &members,
        kept: None,
        copies: true,
    };
    let cost = if fewer {
        None
    } else {
        candidate::cost(problem, view, copied)
            .map(|((is_grey, bytes), doubts)| (usize::from(is_grey), bytes, 1, doubts))
    };
    known.insert(mask, cost);
    cost
}

/// Returns a division in which each group takes who still fits, in the request's order, beginning with who makes the pixels.
fn one_after_another(problem: &Problem<'_>) -> Vec<Places> {
    let first = maker(problem);
    let mut left = problem.everybody();
    left.sort_by_key(|place| *place != first);
    let mut groups: Vec<Places> = Vec::new();
    let mut copies = true;
    while let Some(seed) = left.first().copied() {
        let mut members = Vec::new();
        left.retain(|place| {
            members.push(*place);
            let view = View {
                members: &members,
                kept: None,
                copies: true,
            };
            let fits = standing::stands(problem, view);
            if !fits {
                members.pop();
            }
            !fits
        });
        if members.is_empty() {
            // Not even the first of them is served.
            left.retain(|place| *place != seed);
            copies &= seed != first;
            groups.push((vec![seed], false));
        } else {
            let copied = copies && !members.contains(&first);
            members.sort_unstable();
            groups.push((members, copied));
        }
    }
    makers_first(groups, first)
}

/// Puts the group that makes the pixels first, and the others in the request's order.
fn makers_first(mut groups: Vec<Places>, first: usize) -> Vec<Places> {
    groups.sort_by_key(|(places, _)| (!places.contains(&first), places.first().copied()));
    groups
}

fn group(problem: &Problem<'_>, places: &[usize], copied: bool) -> Group {
    let view = View {
        members: places,
        kept: None,
        copies: true,
    };
    let plan = candidate::best(problem, view, copied).ok();
    let bytes = plan
        .as_ref()
        .filter(|_| copied)
        .and_then(|plan| plan.layout().format().fourcc.info())
        .and_then(|info| {
            let extents = problem.request.extents();
            extents.map(|extent| info.picture_bytes(extent)).max()
        });
    Group {
        participants: places
            .iter()
            .filter_map(|place| problem.parties.get(*place))
            .map(|party| party.participant.name.clone())
            .collect(),
        plan,
        copied_bytes_per_frame: bytes.unwrap_or_default(),
    }
}

/// Says what is cheapest to give up, and what that wins.
fn relaxation(relaxed: &[Demand], plan: Option<&Plan>) -> Option<String> {
    let plan = plan?;
    let demands: Vec<_> = relaxed.iter().map(ToString::to_string).collect();
    Some(format!(
        "if it were not so that {}, {} could serve all in {}",
        demands.join(", nor that "),
        plan.source_name(),
        plan.layout().format()
    ))
}

/// Says that the search for a conflict was ended.
pub(super) fn cut_short() -> String {
    format!(
        "the search was ended after {SWEEPS} sweeps over all sources: perhaps fewer demands conflict too, and others are cheaper to give up"
    )
}

/// Says that not all combinations of alternatives were tried.
pub(super) fn capped() -> String {
    format!(
        "only the {COMBINATIONS} best combinations of the participants' alternatives were tried; there may be a plan among the others"
    )
}
