//! Plans the buffers of a stream again when the compositor has sent new dma-buf feedback.
//!
//! A stream that changes its buffers has to stop for a moment. So the buffers are replaced only if they do not serve: if the first
//! tranche that has a plan takes the current buffers too, the stream keeps them.

use covalent_alloc::constraint::{FormatSet, Source};
use covalent_alloc::model::Layout;
use covalent_alloc::solve::Plan;

use crate::compositor::Compositor;
use crate::exit::Failure;
use crate::negotiation::Negotiation;
use crate::planning::{Alternative, Planning, PlanningResult};
use crate::tranche_request::tranche_requests;

/// What a stream does after new feedback.
#[derive(Debug)]
pub enum Replanning {
    /// The stream keeps its buffers. The compositor can use them as this phrase says, such as `composited`.
    Keep(String),
    /// The stream keeps its buffers, because no others can be shared.
    NoPlan,
    /// The stream replaces its buffers by those of this plan.
    Replace(Replacement),
}

/// The plan of the buffers that replace those of a stream.
#[derive(Debug)]
pub struct Replacement {
    /// The plan.
    pub plan: Box<Plan>,
    /// What the compositor does with the buffers, as a phrase for messages.
    pub usage_label: String,
    /// The explanation of the plan and of the earlier attempts.
    pub summary: String,
}

/// The buffers that a stream has.
#[derive(Clone, Copy, Debug)]
pub struct CurrentBuffers<'a> {
    /// The plan from which the buffers were allocated.
    pub plan: &'a Plan,
    /// The layout with which they were allocated.
    pub layout: &'a Layout,
}

/// Plans for the compositor's current feedback. `is_available` says whether buffers can be allocated from a source while the stream
/// runs: a V4L2 queue cannot allocate while it streams.
///
/// # Errors
/// [`Exit::Usage`](crate::exit::Exit::Usage) where the source that the command line names does not exist.
pub fn replan(
    planning: &mut Planning,
    negotiation: &mut Negotiation,
    compositor: &Compositor,
    current: CurrentBuffers<'_>,
    is_available: impl Fn(&Source) -> bool,
) -> Result<Replanning, Failure> {
    let requests = compositor
        .current_feedback()
        .map(|feedback| tranche_requests(feedback, compositor.crop()))
        .unwrap_or_default();
    let mut explanations = Vec::new();
    for mut alternative in negotiation.alternatives(&requests)? {
        if serves(planning, &alternative, current) {
            return Ok(Replanning::Keep(alternative.usage_label));
        }
        alternative.request.sources.retain(&is_available);
        let alternatives = [alternative];
        let PlanningResult {
            chosen,
            explanations: reasons,
        } = planning.decide(&alternatives);
        let [alternative] = alternatives;
        if let Some((_, plan)) = chosen {
            let summary = negotiation.summary(&explanations, &alternative.usage_label, &plan);
            return Ok(Replanning::Replace(Replacement {
                plan,
                usage_label: alternative.usage_label,
                summary,
            }));
        }
        explanations.extend(reasons);
    }
    Ok(Replanning::NoPlan)
}

/// Returns whether the buffers that a stream has are a solution of this alternative.
fn serves(planning: &mut Planning, alternative: &Alternative, current: CurrentBuffers<'_>) -> bool {
    let mut alternative = alternative.clone();
    let request = &mut alternative.request;
    request
        .sources
        .retain(|source| source.id == *current.plan.source());
    let only = FormatSet::from([current.layout.format()]);
    for participant in &mut request.participants {
        participant.for_each_choice(|own| {
            own.formats = Some(match &own.formats {
                Some(formats) => formats.intersection(&only),
                None => only.clone(),
            });
        });
    }
    let result = planning.decide(&[alternative]);
    result.chosen.is_some_and(|(_, plan)| {
        plan.count() <= current.plan.count() && plan.accepts(current.layout).is_ok()
    })
}
