//! Where to copy when no buffer serves all.

use serde::Serialize;

use super::candidate;
use super::conflict::conflict;
use super::plan::{Plan, Rejection};
use super::request::Request;
use crate::constraint::{CpuUse, Demand};
use crate::model::Fourcc;

/// With more participants than this, only the split of each by itself is considered.
const PARTITIONED_UP_TO: usize = 12;

/// No buffer serves all: who shares with whom, what is copied between them, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Split {
    groups: Vec<Group>,
    copied_bytes_per_frame: u64,
    conflict: Vec<Demand>,
    relaxation: Option<String>,
    rejections: Vec<Rejection>,
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

impl Split {
    /// Returns who shares with whom; the pixels are made in the first group and copied into the others.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Returns the bytes that the processor copies for each frame.
    pub fn copied_bytes_per_frame(&self) -> u64 {
        self.copied_bytes_per_frame
    }

    /// Returns demands that cannot stand together: without any one of them, a source meets the rest.
    ///
    /// Empty where the sources serve nobody, whatever is demanded.
    pub fn conflict(&self) -> &[Demand] {
        &self.conflict
    }

    /// Returns the cheapest change that removes the conflict, in words.
    pub fn relaxation(&self) -> Option<&str> {
        self.relaxation.as_deref()
    }

    /// Returns why no source serves all.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }
}

pub(super) fn split(request: &Request, rejections: Vec<Rejection>) -> Split {
    let groups = two_groups(request).unwrap_or_else(|| each_alone(request));
    let conflict = conflict(request);
    Split {
        copied_bytes_per_frame: groups.iter().fold(0, |sum, group| {
            sum.saturating_add(group.copied_bytes_per_frame)
        }),
        groups,
        relaxation: relaxation(request, &conflict),
        conflict,
        rejections,
    }
}

/// Returns the two groups that copy least, where two are enough.
fn two_groups(request: &Request) -> Option<Vec<Group>> {
    let participants = request.participants.len();
    if !(2..=PARTITIONED_UP_TO).contains(&participants) {
        return None;
    }
    let first = maker(request);
    let ends = 1_u32.checked_shl(u32::try_from(participants).ok()?)?;
    (1..ends.saturating_sub(1))
        .filter(|mask| mask >> first & 1 == 1)
        .filter_map(|mask| {
            let with = |bit: u32| {
                let places: Vec<usize> = (0..participants)
                    .filter(|place| mask >> place & 1 == bit)
                    .collect();
                group(request, &places, bit == 0)
            };
            let (made, copied) = (with(1), with(0));
            (made.plan.is_some() && copied.plan.is_some()).then(|| vec![made, copied])
        })
        .min_by_key(|groups| groups.last().map(|group| group.copied_bytes_per_frame))
}

fn each_alone(request: &Request) -> Vec<Group> {
    let first = maker(request);
    let mut places: Vec<usize> = (0..request.participants.len()).collect();
    places.sort_by_key(|place| *place != first);
    places
        .into_iter()
        .map(|place| group(request, &[place], place != first))
        .collect()
}

/// Returns the participant that makes the pixels: the first that writes, or the first of all.
fn maker(request: &Request) -> usize {
    request
        .participants
        .iter()
        .position(|participant| participant.role.writes())
        .unwrap_or_default()
}

fn group(request: &Request, places: &[usize], copied: bool) -> Group {
    let mut participants: Vec<_> = places
        .iter()
        .filter_map(|place| request.participants.get(*place).cloned())
        .collect();
    // Whoever copies reads or writes every frame by the processor.
    for participant in &mut participants {
        participant.constraints.memory.cpu = CpuUse::Often;
    }
    let names = participants
        .iter()
        .map(|participant| participant.name.clone())
        .collect();
    let plan = candidate::best(&Request {
        participants,
        ..request.clone()
    })
    .ok();
    let fourcc = plan
        .as_ref()
        .map_or(Fourcc::XRGB8888, |plan| plan.layout().format().fourcc);
    let bytes = fourcc
        .info()
        .map_or(0, |info| info.picture_bytes(request.extent));
    Group {
        participants: names,
        plan,
        copied_bytes_per_frame: if copied { bytes } else { 0 },
    }
}

/// Says what the cheapest demand of the conflict costs and what giving it up wins.
fn relaxation(request: &Request, conflict: &[Demand]) -> Option<String> {
    let cheapest = conflict.iter().min()?;
    let mut relaxed = request.clone();
    for participant in &mut relaxed.participants {
        if participant.name == cheapest.owner {
            participant.constraints.relax(cheapest.field);
        }
    }
    Some(match candidate::best(&relaxed) {
        Ok(plan) => format!(
            "if it were not so that {cheapest}, {} could serve all in {}",
            plan.source_name(),
            plan.layout().format()
        ),
        Err(_) => format!(
            "if it were not so that {cheapest}, this conflict would be gone, and another would remain"
        ),
    })
}
