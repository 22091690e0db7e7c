//! Makes requests that have only one solution. Such a request carries a plan to another process, or tries one participant with
//! one source.

use std::collections::BTreeMap;

use covalent_solver::constraint::{FormatSet, ImageConstraints, Participant, Source};
use covalent_solver::model::{Extent, FormatModifier, Fourcc};
use covalent_solver::solve::{Plan, Request, solve_shared};

/// Returns a request for one buffer whose only solution is this plan.
///
/// A plan cannot be sent to another process, because only the solver can make a plan. A process that solves the returned request
/// gets the same plan.
#[must_use]
pub fn narrowed(request: &Request, plan: &Plan) -> Request {
    let sources = request
        .sources
        .iter()
        .filter(|source| source.id == *plan.source());
    single_choice_request(
        request,
        request.participants.iter(),
        sources,
        plan.layout().format(),
        request.extent,
    )
}

/// Makes the request of one participant and one source, for one buffer in one format and size.
#[must_use]
pub fn pair(
    participant: &Participant,
    source: &Source,
    format: FormatModifier,
    extent: Extent,
) -> Request {
    single_choice_request(
        &Request::new(extent),
        std::iter::once(participant),
        std::iter::once(source),
        format,
        extent,
    )
}

/// Returns a request that has the same plans in this format, without the constraints on images of other formats.
///
/// A queue declares constraints for each of its formats. Without this function, the constraints on other formats would make up
/// most of the message that carries a plan to another process.
#[must_use]
pub fn without_other_formats(request: &Request, fourcc: Fourcc) -> Request {
    let mut small = request.clone();
    for participant in &mut small.participants {
        participant.for_each_choice(|choice| keep_format(&mut choice.per_fourcc, fourcc));
    }
    for source in &mut small.sources {
        keep_format(&mut source.constraints.per_fourcc, fourcc);
    }
    small
}

/// Returns a participant without its constraints on images of other formats.
#[must_use]
pub fn participant_in_format(participant: &Participant, fourcc: Fourcc) -> Participant {
    let mut small = participant.clone();
    small.for_each_choice(|choice| keep_format(&mut choice.per_fourcc, fourcc));
    small
}

fn keep_format(images: &mut BTreeMap<Fourcc, ImageConstraints>, fourcc: Fourcc) {
    images.retain(|other, _| *other == fourcc);
}

fn single_choice_request<'a>(
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
        // Each alternative has its own list of formats, so the lists of all alternatives are narrowed.
        for choice in participant.choices_mut() {
            let accepts_format = choice
                .formats
                .as_ref()
                .is_none_or(|formats| formats.contains(format));
            choice.formats = Some(if accepts_format {
                FormatSet::from([format])
            } else {
                FormatSet::default()
            });
            choice.buffers_held = 0;
        }
    }
    narrow
}

/// Solves a request and returns its plan, or `None` if no single buffer serves all participants. The reason is not determined.
#[must_use]
pub fn plan_of(request: &Request) -> Option<Plan> {
    solve_shared(request).ok()
}
