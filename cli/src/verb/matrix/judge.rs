//! Whether a verdict is what the drivers did.

use anyhow::{Context as _, Result};
use covalent_alloc::constraint::{Contiguity, Field, PlaneKind};
use covalent_alloc::solve::Request;
use covalent_alloc::trial::{Outcome, plan_of};
use serde::{Deserialize, Serialize};

use super::cell::Said;

/// What is to be said of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Judgement {
    /// Guaranteed and it worked, or impossible and it did not.
    Agrees,
    /// Possible, for a reason that is on the list, or impossible and it worked by luck, for one: nothing can disagree.
    Listed,
    /// Possible, and the list has no reason why nothing better can be known.
    Unlisted,
    /// It could not be tried.
    Untested,
    /// Guaranteed and it failed, or impossible and it worked.
    Mismatch,
}

pub(super) fn judge(
    said: Said,
    outcome: Option<&Outcome>,
    is_listed: impl FnOnce() -> bool,
    is_luck: impl FnOnce() -> bool,
) -> Judgement {
    match (said, outcome) {
        (Said::Impossible, Some(Outcome::Proved)) if is_luck() => Judgement::Listed,
        (Said::Possible, _) if is_listed() => Judgement::Listed,
        (Said::Possible, _) => Judgement::Unlisted,
        (_, None | Some(Outcome::Untestable(_))) => Judgement::Untested,
        (Said::Guaranteed, Some(Outcome::Proved))
        | (Said::Impossible, Some(Outcome::Refused(_))) => Judgement::Agrees,
        _ => Judgement::Mismatch,
    }
}

/// The list of what is only possible, and why nothing better can be known.
const COMMITTED: &str = include_str!("possible.json");

/// That list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Possible {
    possible: Vec<Entry>,
    lucky: Vec<Luck>,
}

/// What a participant does not promise, and does now and then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Luck {
    /// The kind of plane that it is.
    plane: PlaneKind,
    /// What it does more of than it says.
    beyond: Beyond,
    /// Why that is no guarantee.
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Beyond {
    Extent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What is in doubt.
    about: About,
    /// What the participant says of it.
    participant: Says,
    /// The beginnings of the sources' identifiers.
    sources: Vec<String>,
    /// Why nothing better can be known.
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum About {
    Contiguity,
    Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Says {
    /// It needs memory in one piece, or reaches not all of memory.
    Needs,
    /// Nothing tells whether it does.
    MayNeed,
}

impl Possible {
    pub(super) fn committed() -> Result<Self> {
        serde_json::from_str(COMMITTED).context("possible.json, which is compiled in")
    }

    /// Returns whether each doubt of a pair is on the list.
    pub(super) fn covers(&self, request: &Request) -> bool {
        let caveats = doubtful(request);
        !caveats.is_empty()
            && caveats
                .iter()
                .all(|about| self.possible.iter().any(|entry| entry.is(*about, request)))
    }

    /// Returns whether what stands in a pair's way is only something that the participant does not promise.
    pub(super) fn covers_luck(&self, request: &Request) -> bool {
        let mut without = request.clone();
        for participant in &mut without.participants {
            let mut lucky = self
                .lucky
                .iter()
                .filter(|luck| participant.plane.is_some_and(|own| own.kind == luck.plane));
            if lucky.any(|luck| luck.beyond == Beyond::Extent && !luck.reason.is_empty()) {
                participant.relax(Field::Extent);
            }
        }
        without != *request && plan_of(&without).is_some()
    }
}

impl Entry {
    fn is(&self, about: About, request: &Request) -> bool {
        let says = request.participants.iter().map(|participant| {
            match (about, participant.constraints().memory.contiguity) {
                (About::Contiguity, Contiguity::Unknown) => Says::MayNeed,
                _ => Says::Needs,
            }
        });
        self.about == about
            && !self.reason.is_empty()
            && says.into_iter().all(|says| says == self.participant)
            && request.sources.iter().all(|source| {
                let id = source.id.as_str();
                self.sources.iter().any(|start| id.starts_with(start))
            })
    }
}

/// Returns what a plan's caveats are about: what, given up, leaves fewer of them.
fn doubtful(request: &Request) -> Vec<About> {
    let caveats = |request: &Request| plan_of(request).map_or(0, |plan| plan.caveats().len());
    let all = caveats(request);
    [
        (About::Contiguity, Field::Contiguity),
        (About::Address, Field::Address),
    ]
    .into_iter()
    .filter(|(_, field)| {
        let mut without = request.clone();
        for participant in &mut without.participants {
            participant.relax(*field);
        }
        caveats(&without) < all
    })
    .map(|(about, _)| about)
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
    fn verdict_that_drivers_do_not_bear_out_is_a_mismatch() {
        let untestable = Outcome::Untestable("busy".to_owned());
        for (said, outcome, expected) in [
            (Said::Guaranteed, Some(Outcome::Proved), Judgement::Agrees),
            (Said::Guaranteed, Some(refused()), Judgement::Mismatch),
            (
                Said::Guaranteed,
                Some(untestable.clone()),
                Judgement::Untested,
            ),
            (Said::Guaranteed, None, Judgement::Untested),
            (Said::Impossible, Some(Outcome::Proved), Judgement::Mismatch),
            (Said::Impossible, Some(refused()), Judgement::Agrees),
            (Said::Impossible, Some(untestable), Judgement::Untested),
        ] {
            assert_eq!(judge(said, outcome.as_ref(), || true, || false), expected);
        }
        for outcome in [Outcome::Proved, refused()] {
            assert_eq!(
                judge(Said::Possible, Some(&outcome), || true, || false),
                Judgement::Listed
            );
            assert_eq!(
                judge(Said::Possible, Some(&outcome), || false, || false),
                Judgement::Unlisted
            );
        }
        let lucky = |outcome| judge(Said::Impossible, Some(&outcome), || false, || true);
        assert_eq!(lucky(Outcome::Proved), Judgement::Listed);
        assert_eq!(lucky(refused()), Judgement::Agrees);
    }

    #[test]
    fn every_entry_of_the_list_says_what_cannot_be_known_of_which_sources() {
        const KINDS: [&str; 7] = [
            "heap:", "udmabuf", "dumb:", "texture:", "v4l2:", "gbm:", "vulkan:",
        ];
        // The reason names who is asked in vain.
        let is_reason = |reason: &str| {
            ["No interface ", "no interface ", "neither says "]
                .iter()
                .any(|words| reason.contains(words))
                && reason.ends_with('.')
        };
        let list = Possible::committed().unwrap();
        let caveats: Vec<_> = list
            .possible
            .iter()
            .map(|entry| (entry.about, entry.participant))
            .collect();
        // May a camera's pages lie apart, may a card's, and may they lie too high: nothing else is in doubt.
        assert_eq!(
            caveats,
            [
                (About::Contiguity, Says::Needs),
                (About::Contiguity, Says::MayNeed),
                (About::Address, Says::Needs),
            ]
        );
        for entry in &list.possible {
            assert!(is_reason(&entry.reason), "{entry:?}");
            assert_eq!(entry.sources, KINDS, "{entry:?}");
        }
        let lucky: Vec<_> = list
            .lucky
            .iter()
            .map(|luck| (luck.plane, luck.beyond))
            .collect();
        assert_eq!(lucky, [(PlaneKind::Cursor, Beyond::Extent)]);
        assert!(list.lucky.iter().all(|luck| is_reason(&luck.reason)));
    }
}
