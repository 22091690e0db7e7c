//! Where to copy when no buffer serves all.

use serde::Serialize;

use super::bounded_text;
use super::conflict::conflict;
use super::divide::{FEWEST_UP_TO, fewest, one_after_another};
use super::outcome::SearchRejections;
use super::plan::{Plan, Rejection};
use super::problem::{Problem, View};
use super::request::Request;
use super::search;
use super::work::{LeftOut, MORE_WORK, Part, Phase};
use crate::constraint::Demand;

/// How many demands are told of those that must be given up together, and the most bytes of each.
const DEMANDS_SHOWN: usize = 8;
const DEMAND_BYTES: usize = 512;

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
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_undecided: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<LeftOut>,
}

/// Participants that share one buffer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Their names, in the request's order.
    pub participants: Vec<String>,
    /// Their buffer; none where no source serves even them, or that is not known.
    pub plan: Option<Plan>,
    /// The bytes that the processor copies into it for each frame; 0 for the group in which the pixels are made.
    pub copied_bytes_per_frame: u64,
    /// Whether it is not known that no source serves them: the work ended before one was found.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_undecided: bool,
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

    /// Returns whether it is not known that no buffer serves all: the search was ended before one was found, and there may be one.
    pub fn is_undecided(&self) -> bool {
        self.is_undecided
    }

    /// Returns what the solver did not look at or does not tell of, and what that means: empty but for requests that ask for
    /// more than [`BUDGET`](super::BUDGET) or one of the limits allows.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Makes the answer to a request that is not solved at all.
    pub(super) fn untried(request: &Request, left_out: LeftOut) -> Self {
        let everyone = request.participants.iter();
        let names: Vec<String> = everyone
            .take(Request::MAXIMUM_PARTICIPANTS)
            .map(|participant| participant.name.clone())
            .collect();
        Self {
            groups: vec![Group {
                participants: names,
                plan: None,
                copied_bytes_per_frame: 0,
                is_undecided: true,
            }],
            copied_bytes_per_frame: 0,
            conflict: Vec::new(),
            relaxed: Vec::new(),
            relaxation: None,
            rejections: Vec::new(),
            is_capped: false,
            is_cut_short: true,
            is_undecided: true,
            left_out: vec![left_out],
        }
    }

    /// Returns whether participants have more alternatives than are combined, so that a plan may have been missed.
    pub fn is_capped(&self) -> bool {
        self.is_capped
    }
}

pub(super) fn split(problem: &Problem<'_>, rejections: SearchRejections) -> Split {
    let ending = rejections.ending;
    let rejections = rejections.into_rejections(problem);
    let mut left_out: Vec<LeftOut> = ending
        .map(|ending| ending.describe(None))
        .into_iter()
        .collect();
    let groups = divided(problem, &mut left_out);
    let conflict = conflict(problem, ending.is_none());
    left_out.extend(conflict.left_out);
    Split {
        copied_bytes_per_frame: groups.iter().fold(0, |sum, group| {
            sum.saturating_add(group.copied_bytes_per_frame)
        }),
        groups,
        relaxation: relaxation(&conflict.relaxed, conflict.relaxed_plan.as_ref()),
        conflict: conflict.demands,
        relaxed: conflict.relaxed,
        rejections,
        is_capped: problem.is_capped(&problem.all_participants()),
        is_cut_short: conflict.is_cut_short,
        is_undecided: !conflict.is_proven,
        left_out,
    }
}

/// Divides the participants into groups, and plans for each.
fn divided(problem: &Problem<'_>, left_out: &mut Vec<LeftOut>) -> Vec<Group> {
    problem.work.begin(Phase::Divide);
    let until = problem.work.begin_piece(2);
    let fewest = (problem.participants.len() <= FEWEST_UP_TO)
        .then(|| fewest(problem))
        .flatten();
    problem.work.end_piece(until);
    let (places, rest) = match fewest {
        Some(places) => (places, Vec::new()),
        None => {
            if problem.participants.len() <= FEWEST_UP_TO {
                let words = format!("{MORE_WORK}: another division may copy fewer bytes");
                left_out.push(LeftOut::new(Part::Groups, words));
            }
            one_after_another(problem)
        }
    };
    problem.work.begin(Phase::Plans);
    let mut groups = Vec::with_capacity(places.len());
    for (number, (places, copied)) in places.iter().enumerate() {
        let left = places.len().saturating_sub(number);
        let until = problem.work.begin_piece(left);
        groups.push(group(problem, places, *copied));
        problem.work.end_piece(until);
    }
    let unplanned = groups.iter().filter(|group| group.is_undecided).count();
    if unplanned > 0 {
        let words = format!(
            "{MORE_WORK}: there is no plan for {unplanned} of {} groups, although there may be one",
            groups.len()
        );
        left_out.push(LeftOut::new(Part::Plans, words));
    }
    let plans = groups.iter().filter_map(|group| group.plan.as_ref());
    let ended = plans
        .filter(|plan| {
            plan.left_out()
                .iter()
                .any(|left| left.part == Part::Candidates)
        })
        .count();
    if ended > 0 {
        let words = format!(
            "{MORE_WORK}: not all sources and formats were tried for {ended} of {} groups",
            groups.len()
        );
        left_out.push(LeftOut::new(Part::Plans, words));
    }
    if !rest.is_empty() {
        let words = format!(
            "{MORE_WORK}: {} participants were not put into groups",
            rest.len()
        );
        left_out.push(LeftOut::new(Part::Groups, words));
        groups.push(Group {
            participants: names(problem, &rest),
            plan: None,
            copied_bytes_per_frame: 0,
            is_undecided: true,
        });
    }
    groups
}

fn group(problem: &Problem<'_>, places: &[usize], copied: bool) -> Group {
    let view = View {
        members: places,
        kept: None,
        cpu_copies: true,
    };
    let found = search::best(problem, view, copied);
    let is_undecided = match &found {
        Ok(_) => false,
        Err(rejections) => rejections.ending.is_some(),
    };
    let plan = found.ok();
    let bytes = plan.as_ref().filter(|_| copied).map_or(0, |plan| {
        let Some(info) = plan.layout().format().fourcc.info() else {
            unreachable!("a plan is laid out, and so in a format that is known")
        };
        problem.request.unpadded_bytes(info)
    });
    Group {
        participants: names(problem, places),
        plan,
        copied_bytes_per_frame: bytes,
        is_undecided,
    }
}

fn names(problem: &Problem<'_>, places: &[usize]) -> Vec<String> {
    problem.work.charge(places.len().saturating_mul(8));
    places
        .iter()
        .map(|place| problem.participant(*place).participant.name.clone())
        .collect()
}

/// Says what is cheapest to give up, and what that wins.
fn relaxation(relaxed: &[Demand], plan: Option<&Plan>) -> Option<String> {
    let plan = plan?;
    let shown = relaxed.iter().take(DEMANDS_SHOWN);
    let demands: Vec<_> = shown
        .map(|demand| bounded_text::cut_to(demand.to_string(), DEMAND_BYTES))
        .collect();
    let more = match relaxed.len().saturating_sub(DEMANDS_SHOWN) {
        0 => String::new(),
        more => format!(", nor {more} more demands"),
    };
    Some(format!(
        "if it were not so that {}{more}, {} could serve all in {}",
        demands.join(", nor that "),
        bounded_text::name(plan.source_name()),
        plan.layout().format()
    ))
}
