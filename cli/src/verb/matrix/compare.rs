//! Compares the solver's verdict on a cell with the outcome of its trial.

use anyhow::{Context as _, Result};
use covalent_alloc::constraint::{Contiguity, Field, PlaneKind};
use covalent_alloc::solve::Request;
use covalent_alloc::trial::{Outcome, plan_of};
use serde::{Deserialize, Serialize};

use super::cell::SolverVerdict;

/// The result of the comparison between verdict and outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Comparison {
    /// The verdict is guaranteed and the trial succeeded, or the verdict is impossible and the buffer was refused.
    Agrees,
    /// `known_uncertainties.json` lists a reason why the solver is not certain: the verdict is possible, or it is impossible and
    /// the trial succeeded.
    Listed,
    /// The verdict is possible, but `known_uncertainties.json` lists no reason for it.
    Unlisted,
    /// No trial could be run.
    Untested,
    /// The verdict is guaranteed and the buffer was refused, or the verdict is impossible and the trial succeeded.
    Mismatch,
}

/// Compares the solver's verdict with the outcome of the trial.
///
/// `is_listed` returns whether `known_uncertainties.json` lists a reason for the verdict `Possible`. `is_unpromised` returns
/// whether the file lists a reason why a trial may succeed although the verdict is `Impossible`.
pub(super) fn compare(
    verdict: SolverVerdict,
    outcome: Option<&Outcome>,
    is_listed: impl FnOnce() -> bool,
    is_unpromised: impl FnOnce() -> bool,
) -> Comparison {
    match (verdict, outcome) {
        (SolverVerdict::Impossible, Some(Outcome::Accepted)) if is_unpromised() => {
            Comparison::Listed
        }
        (SolverVerdict::Possible, _) if is_listed() => Comparison::Listed,
        (SolverVerdict::Possible, _) => Comparison::Unlisted,
        (_, None | Some(Outcome::Untestable(_))) => Comparison::Untested,
        (SolverVerdict::Guaranteed, Some(Outcome::Accepted))
        | (SolverVerdict::Impossible, Some(Outcome::Refused(_))) => Comparison::Agrees,
        _ => Comparison::Mismatch,
    }
}

/// The properties for which the solver cannot give a definite verdict, each with the reason, as JSON.
const COMMITTED: &str = include_str!("known_uncertainties.json");

/// The parsed content of `known_uncertainties.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownUncertainties {
    #[serde(rename = "possible")]
    uncertainties: Vec<Uncertainty>,
    #[serde(rename = "lucky")]
    unpromised: Vec<UnpromisedSupport>,
}

/// A capability that a participant sometimes has although it does not declare the capability.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnpromisedSupport {
    /// The kind of KMS plane.
    plane: PlaneKind,
    /// The declared limit that the plane sometimes exceeds.
    #[serde(rename = "beyond")]
    exceeds: ExceededLimit,
    /// The reason why a plan cannot rely on a value above the limit.
    reason: String,
}

/// The limits that a plane can exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExceededLimit {
    Extent,
}

/// A property for which the solver cannot give a definite verdict.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Uncertainty {
    /// The property that is not known for certain.
    #[serde(rename = "about")]
    property: UncertainProperty,
    /// What the participant declares about the property.
    participant: ParticipantNeed,
    /// The prefixes of the identifiers of the sources to which the entry applies.
    sources: Vec<String>,
    /// The reason why the solver cannot give a definite verdict.
    reason: String,
}

/// The properties of memory that are not always known for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UncertainProperty {
    Contiguity,
    Address,
}

/// What a participant declares about such a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ParticipantNeed {
    /// The participant needs contiguous memory, or it cannot address all memory.
    Needs,
    /// It is not known whether the participant needs contiguous memory.
    MayNeed,
}

impl KnownUncertainties {
    /// Parses `known_uncertainties.json`, which is compiled in.
    pub(super) fn committed() -> Result<Self> {
        serde_json::from_str(COMMITTED)
            .context("cannot parse known_uncertainties.json, which is compiled in")
    }

    /// Returns whether the list explains every uncertain property of a request for one source and one participant.
    pub(super) fn covers(&self, request: &Request) -> bool {
        let properties = uncertain_properties(request);
        !properties.is_empty()
            && properties.iter().all(|property| {
                let mut entries = self.uncertainties.iter();
                entries.any(|entry| entry.matches(*property, request))
            })
    }

    /// Returns whether the request would have a plan if the participant's undeclared capabilities counted.
    pub(super) fn covers_unpromised(&self, request: &Request) -> bool {
        let mut without = request.clone();
        for participant in &mut without.participants {
            let plane = participant.plane.map(|plane| plane.kind);
            let mut entries = self
                .unpromised
                .iter()
                .filter(|entry| plane == Some(entry.plane));
            if entries
                .any(|entry| entry.exceeds == ExceededLimit::Extent && !entry.reason.is_empty())
            {
                participant.relax(Field::Extent);
            }
        }
        without != *request && plan_of(&without).is_some()
    }
}

impl Uncertainty {
    /// Returns whether the entry explains why this property is uncertain for a request.
    fn matches(&self, property: UncertainProperty, request: &Request) -> bool {
        let needs = request.participants.iter().map(|participant| {
            match (property, participant.constraints().memory.contiguity) {
                (UncertainProperty::Contiguity, Contiguity::Unknown) => ParticipantNeed::MayNeed,
                _ => ParticipantNeed::Needs,
            }
        });
        self.property == property
            && !self.reason.is_empty()
            && needs.into_iter().all(|need| need == self.participant)
            && request.sources.iter().all(|source| {
                let id = source.id.as_str();
                self.sources.iter().any(|start| id.starts_with(start))
            })
    }
}

/// Returns the properties that cause caveats of a plan: those for which the plan has fewer caveats if the constraint on the
/// property is relaxed.
fn uncertain_properties(request: &Request) -> Vec<UncertainProperty> {
    let caveats = |request: &Request| plan_of(request).map_or(0, |plan| plan.caveats().len());
    let all = caveats(request);
    [
        (UncertainProperty::Contiguity, Field::Contiguity),
        (UncertainProperty::Address, Field::Address),
    ]
    .into_iter()
    .filter(|(_, field)| {
        let mut without = request.clone();
        for participant in &mut without.participants {
            participant.relax(*field);
        }
        caveats(&without) < all
    })
    .map(|(property, _)| property)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use covalent_alloc::trial::Refusal;

    fn refused() -> Outcome {
        Outcome::Refused(Refusal::of_errno("card", "PRIME", 22, "no"))
    }

    #[test]
    fn verdict_that_contradicts_the_outcome_is_a_mismatch() {
        let untestable = Outcome::Untestable("busy".to_owned());
        for (verdict, outcome, expected) in [
            (
                SolverVerdict::Guaranteed,
                Some(Outcome::Accepted),
                Comparison::Agrees,
            ),
            (
                SolverVerdict::Guaranteed,
                Some(refused()),
                Comparison::Mismatch,
            ),
            (
                SolverVerdict::Guaranteed,
                Some(untestable.clone()),
                Comparison::Untested,
            ),
            (SolverVerdict::Guaranteed, None, Comparison::Untested),
            (
                SolverVerdict::Impossible,
                Some(Outcome::Accepted),
                Comparison::Mismatch,
            ),
            (
                SolverVerdict::Impossible,
                Some(refused()),
                Comparison::Agrees,
            ),
            (
                SolverVerdict::Impossible,
                Some(untestable),
                Comparison::Untested,
            ),
        ] {
            assert_eq!(
                compare(verdict, outcome.as_ref(), || true, || false),
                expected
            );
        }
        for outcome in [Outcome::Accepted, refused()] {
            assert_eq!(
                compare(SolverVerdict::Possible, Some(&outcome), || true, || false),
                Comparison::Listed
            );
            assert_eq!(
                compare(SolverVerdict::Possible, Some(&outcome), || false, || false),
                Comparison::Unlisted
            );
        }
        let unpromised =
            |outcome| compare(SolverVerdict::Impossible, Some(&outcome), || false, || true);
        assert_eq!(unpromised(Outcome::Accepted), Comparison::Listed);
        assert_eq!(unpromised(refused()), Comparison::Agrees);
    }

    #[test]
    fn entry_of_the_list_names_its_reason_and_sources() {
        const KINDS: [&str; 7] = [
            "heap:", "udmabuf", "dumb:", "texture:", "v4l2:", "gbm:", "vulkan:",
        ];
        // The reason names the kernel or driver interface that does not report the property.
        let is_reason = |reason: &str| {
            ["No interface ", "no interface ", "neither says "]
                .iter()
                .any(|words| reason.contains(words))
                && reason.ends_with('.')
        };
        let list = KnownUncertainties::committed().unwrap();
        let properties: Vec<_> = list
            .uncertainties
            .iter()
            .map(|entry| (entry.property, entry.participant))
            .collect();
        // No property is uncertain except the address, and the contiguity for a queue or a card.
        assert_eq!(
            properties,
            [
                (UncertainProperty::Contiguity, ParticipantNeed::Needs),
                (UncertainProperty::Contiguity, ParticipantNeed::MayNeed),
                (UncertainProperty::Address, ParticipantNeed::Needs),
            ]
        );
        for entry in &list.uncertainties {
            assert!(is_reason(&entry.reason), "{entry:?}");
            assert_eq!(entry.sources, KINDS, "{entry:?}");
        }
        let unpromised: Vec<_> = list
            .unpromised
            .iter()
            .map(|entry| (entry.plane, entry.exceeds))
            .collect();
        assert_eq!(unpromised, [(PlaneKind::Cursor, ExceededLimit::Extent)]);
        assert!(list.unpromised.iter().all(|entry| is_reason(&entry.reason)));
    }
}
