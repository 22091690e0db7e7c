//! Compares the solver's verdict on a cell with the outcome of its trial.

use anyhow::{Context as _, Result};
use covalent_alloc::constraint::{Contiguity, Field, PlaneKind};
use covalent_alloc::solve::Request;
use covalent_alloc::trial::{Outcome, plan_of};
use serde::{Deserialize, Serialize};

use super::cell::SolverVerdict;

/// The result of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Comparison {
    /// The verdict is guaranteed and the trial succeeded, or the verdict is impossible and the buffer was refused.
    Agrees,
    /// The verdict is possible, or it is impossible and the trial succeeded; and `known_uncertainties.json` lists the reason why
    /// either outcome is consistent.
    Listed,
    /// The verdict is possible, and `known_uncertainties.json` lists no reason why it is not definite.
    Unlisted,
    /// No trial could be run.
    Untested,
    /// The verdict is guaranteed and the buffer was refused, or the verdict is impossible and the trial succeeded.
    Mismatch,
}

/// Compares a verdict with an outcome.
///
/// `is_listed` returns whether the list explains an uncertain verdict. `is_unpromised` returns whether the list explains that a
/// trial succeeded although the verdict is impossible.
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

/// The list of properties for which the solver cannot give a definite verdict, each with the reason.
const COMMITTED: &str = include_str!("known_uncertainties.json");

/// The parsed list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KnownUncertainties {
    #[serde(rename = "possible")]
    uncertainties: Vec<Uncertainty>,
    #[serde(rename = "lucky")]
    unpromised: Vec<UnpromisedSupport>,
}

/// Something that a participant sometimes supports although it does not declare it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnpromisedSupport {
    /// The kind of plane.
    plane: PlaneKind,
    /// The declared limit that it sometimes exceeds.
    #[serde(rename = "beyond")]
    exceeds: ExceededLimit,
    /// Why this cannot be relied on.
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExceededLimit {
    Extent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Uncertainty {
    /// The property that is uncertain.
    #[serde(rename = "about")]
    property: UncertainProperty,
    /// What the participant declares about it.
    participant: ParticipantNeed,
    /// Prefixes of source identifiers.
    sources: Vec<String>,
    /// Why a definite verdict cannot be given.
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UncertainProperty {
    Contiguity,
    Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ParticipantNeed {
    /// The participant needs contiguous memory, or cannot address all memory.
    Needs,
    /// It is not known whether the participant needs contiguous memory.
    MayNeed,
}

impl KnownUncertainties {
    pub(super) fn committed() -> Result<Self> {
        serde_json::from_str(COMMITTED)
            .context("cannot parse known_uncertainties.json, which is compiled in")
    }

    /// Returns whether the list explains every uncertain property of a pair.
    pub(super) fn covers(&self, request: &Request) -> bool {
        let properties = uncertain_properties(request);
        !properties.is_empty()
            && properties.iter().all(|property| {
                let mut entries = self.uncertainties.iter();
                entries.any(|entry| entry.matches(*property, request))
            })
    }

    /// Returns whether a pair would have a plan if the participant's unpromised support counted.
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

/// Returns the properties that cause a plan's caveats: relaxing their constraint leaves fewer caveats.
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
        // The reason names the interface that does not give the information.
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
        // Nothing is uncertain except the contiguity for a queue or a card, and the address.
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
