//! The split: the groups of participants that share buffers, and the copies between them, if no buffer serves all participants.

use std::collections::BTreeSet;

use serde::Serialize;

use super::bounded_text;
use super::conflict::conflict;
use super::divide::{BEST_DIVISION_UP_TO, best_division, fill_groups, has_copies, is_display};
use super::outcome::SearchRejections;
use super::plan::{Plan, Rejection};
use super::problem::{Problem, View};
use super::request::Request;
use super::search;
use super::work::{LeftOut, MORE_WORK, Part, Phase};
use crate::constraint::{CopierKind, CopyDevice, Demand};
use crate::model::{ColourLoss, DeviceIdentity, FormatModifier};

/// The maximum number of demands that the description of a relaxation lists, and the maximum number of bytes of each demand.
const DEMANDS_SHOWN: usize = 8;
const DEMAND_BYTES: usize = 512;

/// A solution without a buffer for all participants. It contains the groups that share, the frames that are copied between them,
/// and the reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Split {
    groups: Vec<Group>,
    copied_bytes_per_frame: u64,
    #[serde(skip)]
    lost: ColourLoss,
    #[serde(skip)]
    displays_copied: usize,
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
#[non_exhaustive]
pub struct Group {
    /// The names of the participants, in the request's order.
    pub participants: Vec<String>,
    /// The plan for the buffer of this group; `None` if no source serves the group, or if this is not known.
    pub plan: Option<Plan>,
    /// The number of bytes that are copied into the group's buffer for each frame; 0 for the group of the producer.
    pub copied_bytes_per_frame: u64,
    /// The device that copies frames into the group's buffer; `None` if the CPU copies them, or if nothing is copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copier: Option<GroupCopier>,
    /// Whether the search was cut short before a plan was found, so that there may still be one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_undecided: bool,
    /// The reason why each source was rejected, if the group has no plan because sources have too little memory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejection>,
}

/// The device that copies frames into a group's buffers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupCopier {
    /// The name of the device in messages.
    pub name: String,
    /// The kind of the device.
    pub kind: CopierKind,
    /// The identity of the device, with which a program finds it among the devices that it has opened.
    pub device: DeviceIdentity,
    /// The cost of a copy by the device. A copy by the CPU costs [`CopyDevice::PROCESSOR_COST`].
    pub cost: u32,
    /// The format and modifier that the device reads.
    pub from: FormatModifier,
    /// The format and modifier that the device writes.
    pub to: FormatModifier,
}

/// A copy of each frame from the producer's buffers to those of another group.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FrameCopy<'s> {
    /// The group whose buffers are read.
    pub from: &'s Group,
    /// The group whose buffers are written.
    pub to: &'s Group,
    /// The CPU or the device that copies.
    pub by: Copier<'s>,
    /// The bytes that are written for each frame, in the format of `to`.
    pub bytes_per_frame: u64,
    /// Whether the copy crops. Then only the visible rectangle of `from` is copied to the visible rectangle of `to`, and at least
    /// one of the two is smaller than its coded extent.
    pub crops: bool,
}

/// The CPU or the device that copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Copier<'s> {
    /// The CPU.
    Processor,
    /// One of the devices in the request's `copiers`.
    Device(&'s GroupCopier),
}

impl Split {
    /// Returns the groups. The first group contains the producer, and frames are copied from its buffers into those of the other
    /// groups.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns each copy: the groups from and to which frames are copied, the CPU or device that copies, and the number of bytes
    /// for each frame.
    ///
    /// The iterator is empty if no source serves the producer, because then there are no buffers to copy from.
    pub fn copies(&self) -> impl Iterator<Item = FrameCopy<'_>> {
        let made = self.groups.first().filter(|group| group.plan.is_some());
        self.groups
            .iter()
            .skip(1)
            .filter(|group| group.plan.is_some() && group.copied_bytes_per_frame > 0)
            .filter_map(move |to| {
                Some(FrameCopy {
                    from: made?,
                    to,
                    by: to.copier.as_ref().map_or(Copier::Processor, Copier::Device),
                    bytes_per_frame: to.copied_bytes_per_frame,
                    crops: self.copy_crops(to),
                })
            })
    }

    /// Returns whether a copy from the producer's buffers into those of a group crops the picture.
    pub(super) fn copy_crops(&self, to: &Group) -> bool {
        let from = self.groups.first();
        let both = [from, Some(to)].into_iter().flatten();
        both.filter_map(|group| group.plan.as_ref())
            .any(|plan| plan.layout().is_cropped())
    }

    /// Returns the number of bytes that are copied for each frame, into the buffers of groups and by devices for themselves.
    pub fn copied_bytes_per_frame(&self) -> u64 {
        self.copied_bytes_per_frame
    }

    /// Returns the cost of the copies, with which splits of the same job can be compared. Less is better. In this order it
    /// consists of the groups that no source serves, the colours that copies lose, the bytes that are copied for each frame, the
    /// displays that do not show the producer's buffers, and the number of groups.
    pub fn cost(&self) -> impl Ord + use<> {
        let unserved = self.groups.iter().filter(|group| group.plan.is_none());
        (
            unserved.count(),
            self.lost,
            self.copied_bytes_per_frame,
            self.displays_copied,
            self.groups.len(),
        )
    }

    /// Returns demands that conflict. If any one of them is given up, a source meets all the others, unless the search [was cut
    /// short](Self::is_cut_short).
    ///
    /// The list is empty if no source serves the participants even without any demands.
    pub fn conflict(&self) -> &[Demand] {
        &self.conflict
    }

    /// Returns whether the search for the conflict was cut short. If so, the reported demands conflict, but a smaller set of them
    /// may conflict too, and it may be unknown which demands to give up.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Returns the cheapest demands to give up so that a source serves all participants.
    pub fn relaxed(&self) -> &[Demand] {
        &self.relaxed
    }

    /// Describes the cheapest demands to give up, and the source that serves all participants without them.
    pub fn relaxation(&self) -> Option<&str> {
        self.relaxation.as_deref()
    }

    /// Returns the reasons why no source serves all participants.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Returns whether the search was cut short before a plan was found, so that there may still be one.
    pub fn is_undecided(&self) -> bool {
        self.is_undecided
    }

    /// Returns what the solver did not try or does not list, and what that means for the split. The list is empty unless the
    /// request exceeds [`BUDGET`](super::BUDGET) or another limit.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Makes the solution of a request that exceeds a limit.
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
                copier: None,
                is_undecided: true,
                rejections: Vec::new(),
            }],
            copied_bytes_per_frame: 0,
            lost: ColourLoss::default(),
            displays_copied: 0,
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

    /// Returns whether the participants have more combinations of alternatives than are tried, so that a plan may have been
    /// missed.
    pub fn is_capped(&self) -> bool {
        self.is_capped
    }
}

/// Makes the split of a problem for which no source has a buffer for all participants.
pub(super) fn split(problem: &Problem<'_>, mut rejections: SearchRejections) -> Split {
    let ending = rejections.ending;
    let lacking = std::mem::take(&mut rejections.lacking);
    let rejections = rejections.into_rejections(problem);
    let mut left_out: Vec<LeftOut> = ending
        .map(|ending| ending.describe(None))
        .into_iter()
        .collect();
    problem.limit_proposals(&lacking);
    // The conflict is a set of demands, so it does not depend on the memory that the groups take. That memory is returned to the
    // pools.
    let groups = problem
        .pools
        .with_returned(|| divided(problem, &mut left_out));
    let conflict = conflict(problem, ending.is_none());
    left_out.extend(conflict.left_out);
    Split {
        copied_bytes_per_frame: groups.iter().fold(0, |sum, group| {
            let own = group.plan.as_ref().map_or(0, Plan::copied_bytes_per_frame);
            sum.saturating_add(group.copied_bytes_per_frame)
                .saturating_add(own)
        }),
        displays_copied: displays_copied(problem, &groups),
        lost: colours_lost(problem, &groups),
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

/// Divides the participants into groups, and makes a plan for each.
fn divided(problem: &Problem<'_>, left_out: &mut Vec<LeftOut>) -> Vec<Group> {
    problem.work.begin(Phase::Divide);
    let until = problem.work.begin_piece(2);
    let copies = has_copies(problem);
    let best_division = (problem.participants.len() <= BEST_DIVISION_UP_TO)
        .then(|| best_division(problem, copies))
        .flatten();
    problem.work.end_piece(until);
    let (places, rest) = match best_division {
        Some(places) => (places, Vec::new()),
        None => {
            if problem.participants.len() <= BEST_DIVISION_UP_TO {
                let words =
                    format!("{MORE_WORK}: another division into groups may copy fewer bytes");
                left_out.push(LeftOut::new(Part::Groups, words));
            }
            fill_groups(problem, copies)
        }
    };
    problem.work.begin(Phase::Plans);
    let mut groups = Vec::with_capacity(places.len());
    for (number, (places, copied)) in places.iter().enumerate() {
        let left = places.len().saturating_sub(number);
        let until = problem.work.begin_piece(left);
        groups.push(group(problem, places, (copies, *copied)));
        problem.work.end_piece(until);
    }
    let unplanned = groups.iter().filter(|group| group.is_undecided).count();
    if unplanned > 0 {
        let words = format!(
            "{MORE_WORK}: no plan was found for {unplanned} of {} groups, although there may be one",
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
            "{MORE_WORK}: {} participants were not assigned to a group",
            rest.len()
        );
        left_out.push(LeftOut::new(Part::Groups, words));
        groups.push(Group {
            participants: names(problem, &rest),
            plan: None,
            copied_bytes_per_frame: 0,
            copier: None,
            is_undecided: true,
            rejections: Vec::new(),
        });
    }
    choose_copiers(problem, &mut groups);
    groups
}

/// Chooses the device for each copy. It is the cheapest device that reads every tiling of the producer's buffers and writes every
/// tiling of the group's buffers.
fn choose_copiers(problem: &Problem<'_>, groups: &mut [Group]) {
    let Some((producer, others)) = groups.split_first_mut() else {
        return;
    };
    let Some(from) = &producer.plan else {
        return;
    };
    for group in others {
        let Some(to) = group
            .plan
            .as_ref()
            .filter(|_| group.copied_bytes_per_frame > 0)
        else {
            continue;
        };
        let copiers = problem.request.copiers.iter();
        let converting = copiers.filter(|copier| {
            problem.work.charge(64);
            // If a device and the CPU have the same cost, the device copies. The program then needs no code for the formats, and
            // waits for a fence.
            copier.cost <= CopyDevice::PROCESSOR_COST && copier.converts(pairs(from), pairs(to))
        });
        let cheapest = converting.min_by_key(|copier| (copier.cost, copier.kind, &copier.name));
        group.copier = cheapest.map(|copier| GroupCopier {
            name: copier.name.clone(),
            kind: copier.kind,
            device: copier.device.clone(),
            cost: copier.cost,
            from: from.layout().format(),
            to: to.layout().format(),
        });
    }
}

/// Returns the pairs of format and modifier in which a plan's buffers may be.
fn pairs(plan: &Plan) -> impl Iterator<Item = FormatModifier> {
    let fourcc = plan.layout().format().fourcc;
    let modifiers = plan.modifiers().iter();
    modifiers.map(move |modifier| FormatModifier::new(fourcc, *modifier))
}

/// Returns the number of displays that show copies of the producer's frames.
fn displays_copied(problem: &Problem<'_>, groups: &[Group]) -> usize {
    let displays: BTreeSet<&str> = (0..problem.participants.len())
        .filter(|index| is_display(problem, *index))
        .map(|index| problem.participant(index).participant.name.as_str())
        .collect();
    let copied = groups
        .iter()
        .filter(|group| group.copied_bytes_per_frame > 0);
    let names = copied.flat_map(|group| &group.participants);
    names
        .filter(|name| displays.contains(name.as_str()))
        .count()
}

/// Returns the colours that frames lose by all copies together.
fn colours_lost(problem: &Problem<'_>, groups: &[Group]) -> ColourLoss {
    let copied = groups
        .iter()
        .filter(|group| group.copied_bytes_per_frame > 0);
    let formats = copied.filter_map(|group| Some(group.plan.as_ref()?.layout().format()));
    let losses = formats.filter_map(|format| {
        let info = format.fourcc.info()?;
        Some(problem.colours.lost_in(info.colours))
    });
    losses.fold(ColourLoss::default(), ColourLoss::plus)
}

/// Plans the buffers of one group, and takes their memory from the pools.
fn group(problem: &Problem<'_>, places: &[usize], (cpu_copies, copied): (bool, bool)) -> Group {
    let view = View {
        members: places,
        kept: None,
        cpu_copies,
    };
    let found = search::best(problem, view, copied);
    let (plan, is_undecided, rejections) = match found {
        Ok(plan) => {
            problem.pools.take(plan.pools());
            (Some(plan), false, Vec::new())
        }
        Err(rejections) => {
            let is_undecided = rejections.ending.is_some();
            let lacks = !rejections.lacking.is_empty();
            let rejections = rejections.into_rejections(problem);
            let rejections = if lacks { rejections } else { Vec::new() };
            (None, is_undecided, rejections)
        }
    };
    let bytes = plan.as_ref().filter(|_| copied).map_or(0, |plan| {
        let info = plan.layout().format().fourcc.info();
        info.map_or(0, |info| problem.request.unpadded_bytes(info))
    });
    Group {
        participants: names(problem, places),
        plan,
        copied_bytes_per_frame: bytes,
        copier: None,
        is_undecided,
        rejections,
    }
}

fn names(problem: &Problem<'_>, places: &[usize]) -> Vec<String> {
    problem.work.charge(places.len().saturating_mul(8));
    places
        .iter()
        .map(|index| problem.participant(*index).participant.name.clone())
        .collect()
}

/// Describes the cheapest demands to give up, and the buffer that can be allocated without them.
fn relaxation(relaxed: &[Demand], plan: Option<&Plan>) -> Option<String> {
    let plan = plan?;
    let shown = relaxed.iter().take(DEMANDS_SHOWN);
    let demands: Vec<_> = shown
        .map(|demand| bounded_text::cut_to(demand.to_string(), DEMAND_BYTES))
        .collect();
    let more = match relaxed.len().saturating_sub(DEMANDS_SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let these = match relaxed.len() {
        1 => "this constraint",
        _ => "these constraints",
    };
    Some(format!(
        "without {these}, {} could allocate a buffer of {} for all participants: {}{more}",
        bounded_text::name(plan.source_name()),
        plan.layout().format(),
        demands.join("; ")
    ))
}
