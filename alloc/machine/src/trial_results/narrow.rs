//! Requests with one solution: they carry a plan to another process, and try one participant with one source.

use covalent_solver::constraint::{FormatSet, Participant, Source};
use covalent_solver::model::{Extent, FormatModifier};
use covalent_solver::solve::{Plan, Request, Solution, solve};

/// Returns the request whose only solution is this plan, for one buffer.
///
/// Only the solver makes a plan, so a plan cannot be sent to another process. A process that solves this request gets the same
/// plan.
#[must_use]
pub fn narrowed(request: &Request, plan: &Plan) -> Request {
    let sources = request
        .sources
        .iter()
        .filter(|source| source.id == *plan.source());
    only(
        request,
        request.participants.iter(),
        sources,
        plan.layout().format(),
        request.extent,
    )
}

/// Returns the request of one participant and one source, in one format and size, for one buffer.
#[must_use]
pub fn pair(
    participant: &Participant,
    source: &Source,
    format: FormatModifier,
    extent: Extent,
) -> Request {
    only(
        &Request::new(extent),
        std::iter::once(participant),
        std::iter::once(source),
        format,
        extent,
    )
}

fn only<'a>(
    request: &Request,
    participants: impl Iterator<Item = &'a Participant>,
    sources: impl Iterator<Item = &'a Source>,
    format: FormatModifier,
    extent: Extent,
) -> Request {
    let mut narrow = request.clone();
    narrow.extent = extent;
    narrow.count = 1;
    narrow.preferred_fourcc = Some(format.fourcc);
    narrow.sources = sources.cloned().collect();
    narrow.participants = participants.cloned().collect();
    for participant in &mut narrow.participants {
        // An alternative has formats of its own, so each alternative is narrowed too.
        for choice in participant.choices_mut() {
            let takes = choice
                .formats
                .as_ref()
                .is_none_or(|formats| formats.contains(format));
            choice.formats = Some(if takes {
                FormatSet::from([format])
            } else {
                FormatSet::default()
            });
            choice.buffers_held = 0;
        }
    }
    narrow
}

/// Solves a request and returns its plan, or `None` where no single buffer serves all participants.
#[must_use]
pub fn plan_of(request: &Request) -> Option<Plan> {
    match solve(request) {
        Solution::Share(plan) => Some(plan),
        _ => None,
    }
}
