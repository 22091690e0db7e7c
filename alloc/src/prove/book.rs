//! All facts that are known, and what they make of a request. Pure: it neither reads files nor asks the time.

use super::exclude::{self, Exclusion};
use super::fact::{Conditions, Effect, Environment, Fact, Origin, Scope, Whose};
use super::known;
use super::outcome::Refusal;
use crate::constraint::{Constraints, ImageTerms, Participant, SourceId};
use crate::model::Modifier;
use crate::solve::Request;

/// Facts, and the machine and the moment for which they are asked.
#[derive(Clone, Debug)]
pub struct FactBook {
    environment: Environment,
    now: u64,
    facts: Vec<Fact>,
}

/// A request with what is known of its participants.
#[derive(Clone, Debug)]
pub struct Informed {
    /// The request; every fact in force is a constraint of it.
    pub request: Request,
    /// The facts that changed it.
    pub facts: Vec<Fact>,
}

impl FactBook {
    /// How long a fact that was learnt is believed, in seconds: thirty days.
    pub const BELIEVED_SECONDS: u64 = 30 * 24 * 60 * 60;

    /// Opens a book without facts, for one machine and the second since 1970 that it is now.
    #[must_use]
    pub fn empty(environment: Environment, now: u64) -> Self {
        Self {
            environment,
            now,
            facts: Vec::new(),
        }
    }

    /// Opens a book with the facts that ship with this crate.
    #[must_use]
    pub fn well_known(environment: Environment, now: u64) -> Self {
        let mut book = Self::empty(environment, now);
        book.facts.extend(known::facts());
        book
    }

    /// The machine for which it is asked.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The second since 1970 for which it is asked.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// All facts, those too that do not hold here or now.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }

    /// The facts that were learnt, which are those worth keeping in a file.
    pub fn learnt(&self) -> impl Iterator<Item = &Fact> {
        self.facts
            .iter()
            .filter(|fact| matches!(fact.origin, Origin::Learnt { .. }))
    }

    /// Returns whether a fact holds on this machine at this time.
    #[must_use]
    pub fn is_in_force(&self, fact: &Fact) -> bool {
        fact.expires.is_none_or(|end| self.now < end) && fact.conditions.hold_in(&self.environment)
    }

    /// Adds a fact. One that says the same as another renews it.
    pub fn add(&mut self, fact: Fact) {
        match self.facts.iter_mut().find(|known| known.says_as(&fact)) {
            Some(known) => {
                let times = match (&known.origin, &fact.origin) {
                    (Origin::Learnt { times, at }, Origin::Learnt { at: again, .. })
                        if at != again =>
                    {
                        times.saturating_add(1)
                    }
                    (_, Origin::Learnt { times, .. }) => *times,
                    _ => 0,
                };
                let expires = known.expires.max(fact.expires);
                *known = fact;
                known.expires = known.expires.and(expires);
                if let Origin::Learnt { times: seen, .. } = &mut known.origin {
                    *seen = times;
                }
            }
            None => self.facts.push(fact),
        }
    }

    /// Takes away the learnt facts that `which` picks, and returns them.
    pub fn forget(&mut self, which: impl Fn(&Fact) -> bool) -> Vec<Fact> {
        let (forgotten, kept) = std::mem::take(&mut self.facts)
            .into_iter()
            .partition(|fact| matches!(fact.origin, Origin::Learnt { .. }) && which(fact));
        self.facts = kept;
        forgotten
    }

    /// Returns the request with every fact in force as a constraint.
    ///
    /// Facts only take away: no plan of the result is none of `request`.
    #[must_use]
    pub fn inform(&self, request: &Request) -> Informed {
        let mut informed = request.clone();
        let mut used = Vec::new();
        let mut exclusions = Vec::new();
        for fact in self.facts.iter().filter(|fact| self.is_in_force(fact)) {
            let mut changes = false;
            for participant in &mut informed.participants {
                if !fact.participant.is(participant) {
                    continue;
                }
                match &fact.effect {
                    Effect::StrideAlignment { bytes } => {
                        let choices = std::iter::once(&mut participant.constraints)
                            .chain(&mut participant.alternatives);
                        for choice in choices.filter(|choice| has_rows(choice)) {
                            let stride = &mut choice.image.stride;
                            let both = least_common_multiple(stride.alignment, *bytes);
                            changes |= stride.alignment != both;
                            stride.alignment = both;
                        }
                    }
                    Effect::Refuses { scope, refusal, .. } => {
                        let found = request
                            .sources
                            .iter()
                            .filter(|source| fact.effect.is_about(source))
                            .filter(|_| scope.extent.is_none_or(|own| own == request.extent))
                            .filter(|source| {
                                let imports = &participant.constraints.memory.imports;
                                imports.takes(source, &participant.device)
                            })
                            .map(|source| Exclusion {
                                source: source.id.clone(),
                                participant: Some(participant.name.clone()),
                                scope: *scope,
                                cause: refusal.in_short(),
                            });
                        let before = exclusions.len();
                        exclusions.extend(found);
                        changes |= exclusions.len() > before;
                    }
                }
            }
            if changes {
                used.push(fact.clone());
            }
        }
        Informed {
            request: exclude::apply(&informed, &exclusions),
            facts: used,
        }
    }

    /// Makes a fact of a refusal that came back `times` times, keyed by this machine as it is, and adds it.
    pub fn learn(
        &mut self,
        participant: &Participant,
        source: &SourceId,
        scope: Scope,
        refusal: &Refusal,
        times: u32,
    ) -> Fact {
        let fact = Fact {
            participant: Whose::of(participant),
            effect: Effect::Refuses {
                source: source.as_str().to_owned(),
                scope,
                refusal: refusal.clone(),
            },
            conditions: Conditions::exactly(&self.environment),
            origin: Origin::Learnt {
                at: self.now,
                times,
            },
            expires: Some(self.now.saturating_add(Self::BELIEVED_SECONDS)),
        };
        self.add(fact.clone());
        fact
    }
}

/// Returns whether any of what is accepted may lie in rows. What a driver arranges has none, and a fact on strides is none on it.
fn has_rows(choice: &Constraints) -> bool {
    choice.formats.as_ref().is_none_or(|formats| {
        formats
            .iter()
            .any(|pair| pair.modifier == Modifier::LINEAR || pair.modifier.is_implicit())
    })
}

/// Steps that are in both; the greatest number there is where none fits, which no stride is a multiple of.
fn least_common_multiple(one: u32, two: u32) -> u32 {
    // The table of merges is private to the constraints; a picture's terms merge there, and strides alone here.
    let none = ImageTerms::default().stride.alignment;
    let (one, two) = (one.max(none), two.max(none));
    let (mut divisor, mut rest) = (one, two);
    while let Some(remainder) = divisor.checked_rem(rest) {
        (divisor, rest) = (rest, remainder);
    }
    one.checked_div(divisor)
        .and_then(|share| share.checked_mul(two))
        .unwrap_or(u32::MAX)
}
