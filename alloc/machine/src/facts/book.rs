//! All facts that are known, and what they make of a request. Pure: it neither reads files nor asks the time.
//!
//! A book is as long as its file: adding a fact compares it with those of the same hash alone, and a request is compared with
//! the facts on its participants' devices alone. So `n` facts are added in a time that grows with `n`, and a request is
//! informed in one that grows with `n` and with the exclusions that come of it.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;

use super::exclude::{Exclusion, exclude};
use super::fact::{
    Conditions, Effect, Environment, Origin, ParticipantSelector, Scope, TrialResult, is_meant,
};
use super::known;
use super::outcome::Refusal;
use covalent_solver::constraint::{
    CommonMultiple, Constraints, Participant, Source, SourceId, StrideConstraints,
};
use covalent_solver::model::Modifier;
use covalent_solver::solve::Request;

/// Facts, and the machine and the moment for which they are asked.
#[derive(Clone, Debug)]
pub struct TrialResults {
    environment: Environment,
    now: u64,
    facts: Vec<TrialResult>,
    places: Places,
}

/// Where facts are in the list, by the hash of all by which one says the same as another.
#[derive(Clone, Debug, Default)]
struct Places {
    hasher: RandomState,
    by_hash: HashMap<u64, Vec<usize>>,
}

impl Places {
    /// Returns the place of a fact that says the same, and the hash under which one that is new is to be kept.
    fn find(&self, facts: &[TrialResult], fact: &TrialResult) -> (Option<usize>, u64) {
        let hash = self.hasher.hash_one(fact.what_is_said());
        let mut alike = self.by_hash.get(&hash).into_iter().flatten();
        let found = alike.find(|place| facts[**place].says_as(fact));
        (found.copied(), hash)
    }
}

/// A request with what is known of its participants.
#[derive(Clone, Debug)]
pub struct AppliedResults {
    /// The request; every fact in force is a constraint of it.
    pub request: Request,
    /// The facts that changed it.
    pub facts: Vec<TrialResult>,
}

impl TrialResults {
    /// How long a fact that was learnt is believed, in seconds: thirty days.
    pub const BELIEVED_SECONDS: u64 = 30 * 24 * 60 * 60;

    /// Opens a book without facts, for one machine and the second since 1970 that it is now.
    #[must_use]
    pub fn empty(environment: Environment, now: u64) -> Self {
        Self {
            environment,
            now,
            facts: Vec::new(),
            places: Places::default(),
        }
    }

    /// Opens a book with the facts that ship with this crate.
    #[must_use]
    pub fn well_known(environment: Environment, now: u64) -> Self {
        let mut book = Self::empty(environment, now);
        known::facts().into_iter().for_each(|fact| book.add(fact));
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
    pub fn facts(&self) -> &[TrialResult] {
        &self.facts
    }

    /// The facts that were learnt, which are those worth keeping in a file.
    pub fn learnt(&self) -> impl Iterator<Item = &TrialResult> {
        self.facts
            .iter()
            .filter(|fact| matches!(fact.origin, Origin::Learnt { .. }))
    }

    /// Returns whether a fact holds on this machine at this time.
    #[must_use]
    pub fn is_in_force(&self, fact: &TrialResult) -> bool {
        fact.expires.is_none_or(|end| self.now < end) && fact.conditions.hold_in(&self.environment)
    }

    /// Adds a fact. One that says the same as another renews it.
    pub fn add(&mut self, fact: TrialResult) {
        let (place, hash) = self.places.find(&self.facts, &fact);
        match place {
            Some(place) => {
                let known = &mut self.facts[place];
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
            None => {
                let alike = self.places.by_hash.entry(hash).or_default();
                alike.push(self.facts.len());
                self.facts.push(fact);
            }
        }
    }

    /// Takes away the learnt facts that `which` picks, and returns them.
    pub fn forget(&mut self, which: impl Fn(&TrialResult) -> bool) -> Vec<TrialResult> {
        let (forgotten, kept): (Vec<TrialResult>, Vec<TrialResult>) =
            std::mem::take(&mut self.facts)
                .into_iter()
                .partition(|fact| matches!(fact.origin, Origin::Learnt { .. }) && which(fact));
        self.places = Places::default();
        kept.into_iter().for_each(|fact| self.add(fact));
        forgotten
    }

    /// Returns the request with every fact in force as a constraint.
    ///
    /// Facts only take away: no plan of the result is none of `request`.
    #[must_use]
    pub fn inform(&self, request: &Request) -> AppliedResults {
        let mut informed = request.clone();
        let mut used = Vec::new();
        let mut exclusions = Vec::new();
        let whom = Whom::of(request);
        for fact in self.facts.iter().filter(|fact| self.is_in_force(fact)) {
            let mut changes = false;
            for place in whom.of_fact(fact) {
                let participant = &mut informed.participants[place];
                if !fact.participant.is(participant) {
                    continue;
                }
                match &fact.effect {
                    Effect::StrideAlignment { bytes } => {
                        for choice in participant.choices_mut().filter(|own| has_rows(own)) {
                            changes |= align(&mut choice.image.stride, *bytes);
                        }
                    }
                    Effect::Refuses {
                        source,
                        scope,
                        refusal,
                    } => {
                        let is_of_a_size = |own| request.extents().any(|extent| extent == own);
                        if !scope.extent.is_none_or(is_of_a_size) {
                            continue;
                        }
                        let found = whom
                            .sources(source)
                            .filter(|source| takes(participant, source))
                            .map(|source| Exclusion {
                                source: source.id.clone(),
                                participant: Some(place),
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
        AppliedResults {
            request: exclude(&informed, &exclusions),
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
    ) -> TrialResult {
        let fact = TrialResult {
            participant: ParticipantSelector::of(participant),
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

/// Who is in a request, by what facts name.
struct Whom<'a> {
    /// Places of participants by driver.
    by_driver: BTreeMap<&'a str, Vec<usize>>,
    /// The same by driver and location.
    by_device: BTreeMap<(&'a str, &'a str), Vec<usize>>,
    /// In the order of their identifiers.
    sources: Vec<&'a Source>,
}

impl<'a> Whom<'a> {
    fn of(request: &'a Request) -> Self {
        let mut by_driver: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut by_device: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (place, participant) in request.participants.iter().enumerate() {
            let device = &participant.device;
            let (driver, location) = (device.driver.as_str(), device.location.as_str());
            by_driver.entry(driver).or_default().push(place);
            by_device.entry((driver, location)).or_default().push(place);
        }
        let mut sources: Vec<&Source> = request.sources.iter().collect();
        sources.sort_by(|one, two| one.id.cmp(&two.id));
        Self {
            by_driver,
            by_device,
            sources,
        }
    }

    /// Returns the places of those who may be meant by a fact.
    fn of_fact(&self, fact: &TrialResult) -> impl Iterator<Item = usize> + use<> {
        let ParticipantSelector {
            driver, location, ..
        } = &fact.participant;
        let places = match location {
            Some(location) => self.by_device.get(&(driver.as_str(), location.as_str())),
            None => self.by_driver.get(driver.as_str()),
        };
        places.cloned().unwrap_or_default().into_iter()
    }

    /// Returns the sources that a fact's name of sources means.
    fn sources(&self, name: &str) -> impl Iterator<Item = &'a Source> {
        let start = name.strip_suffix('*').unwrap_or(name);
        let first = self
            .sources
            .partition_point(|source| source.id.as_str() < start);
        let from = &self.sources[first..];
        let end = from.partition_point(|source| is_meant(source, name));
        from[..end].iter().copied()
    }
}

/// Returns whether a participant takes a source's memory in any of its alternatives.
fn takes(participant: &Participant, source: &Source) -> bool {
    !participant.role.imports()
        || participant.choices().any(|choice| {
            let imports = &choice.memory.imports;
            imports.takes(source, &participant.device)
        })
}

/// Returns whether any of what is accepted may lie in rows. What a driver arranges has none, and a fact on strides is none on it.
fn has_rows(choice: &Constraints) -> bool {
    choice.formats.as_ref().is_none_or(|formats| {
        formats
            .iter()
            .any(|pair| pair.modifier == Modifier::LINEAR || pair.modifier.is_implicit())
    })
}

/// Demands that strides are multiples of so many bytes too, and returns whether that is new.
fn align(stride: &mut StrideConstraints, bytes: u32) -> bool {
    let own = CommonMultiple::of(stride.alignment.into());
    let both = own.and(CommonMultiple::of(bytes.into())).get();
    let Some(both) = both.and_then(|both| u32::try_from(both).ok()) else {
        // No stride is a multiple of both. A step that no stride within the bounds has says so.
        let none = (u32::MAX, u32::MAX.saturating_sub(1));
        let changes = (stride.alignment, stride.maximum) != none;
        (stride.alignment, stride.maximum) = none;
        return changes;
    };
    let changes = stride.alignment != both;
    stride.alignment = both;
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fact::compared;
    use covalent_solver::constraint::Role;
    use covalent_solver::model::{DeviceIdentity, Extent, FormatModifier, Fourcc};
    use covalent_solver::solve::solve;

    fn device(driver: &str, location: &str) -> DeviceIdentity {
        DeviceIdentity {
            driver: driver.to_owned(),
            location: location.to_owned(),
            node: String::new(),
        }
    }

    fn fact(location: &str, source: &str) -> TrialResult {
        let refusal = Refusal::of_errno("vkms", "ADDFB2", 22, "no");
        let display = Participant::new("vkms", device("vkms", location), Role::Display);
        let mut book = TrialResults::empty(Environment::default(), 1);
        book.learn(
            &display,
            &SourceId::new(source),
            Scope::default(),
            &refusal,
            2,
        )
    }

    #[test]
    fn facts_are_added_and_asked_with_comparisons_that_grow_with_their_number() {
        const FACTS: usize = 100_000;
        let mut book = TrialResults::empty(Environment::default(), 1);
        let template = fact("place", "heap:a");
        let before = compared();
        for number in 0..FACTS {
            let mut one = template.clone();
            one.participant.location = Some(number.to_string());
            book.add(one.clone());
            book.add(one);
        }
        assert_eq!(book.facts().len(), FACTS);
        let mut request = Request::new(Extent::new(64, 64).unwrap());
        for number in 0..100 {
            let one = device("vkms", &number.to_string());
            request
                .participants
                .push(Participant::new("vkms", one, Role::Display));
        }
        request
            .sources
            .push(Source::new(SourceId::new("heap:a"), "heap a"));
        assert_eq!(book.inform(&request).facts.len(), 100);
        assert_eq!(book.forget(|fact| fact.participant.location.is_none()), []);
        let compared = compared() - before;
        assert!(compared <= 2 * FACTS + 1000, "{compared} comparisons");
    }

    #[test]
    fn sources_that_a_name_means_are_those_that_an_effect_is_about() {
        let mut request = Request::new(Extent::new(64, 64).unwrap());
        for id in [
            "heap:b", "heap:a", "heap", "udmabuf", "heap:a", "dumb:x", "heaq",
        ] {
            request.sources.push(Source::new(SourceId::new(id), id));
        }
        let whom = Whom::of(&request);
        for name in [
            "heap:a", "heap:*", "heap*", "*", "none", "none*", "", "udmabuf*",
        ] {
            let effect = fact("place", name).effect;
            let mut expected: Vec<&str> = request
                .sources
                .iter()
                .filter(|source| effect.is_about(source))
                .map(|source| source.id.as_str())
                .collect();
            expected.sort_unstable();
            let found: Vec<&str> = whom.sources(name).map(|one| one.id.as_str()).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn steps_that_no_stride_has_leave_no_plan() {
        let mut request = Request::new(Extent::new(64, 64).unwrap());
        let mut display = Participant::new("card", device("card", ""), Role::Display);
        display.for_each_choice(|own| {
            own.image.stride.alignment = 65_536;
            own.formats = Some([FormatModifier::linear(Fourcc::XRGB8888)].into());
        });
        request.participants.push(display);
        request
            .sources
            .push(Source::new(SourceId::new("heap:a"), "heap a"));
        let mut book = TrialResults::empty(Environment::default(), 1);
        book.add(TrialResult {
            participant: ParticipantSelector {
                driver: "card".to_owned(),
                location: None,
                role: None,
                interface: None,
            },
            effect: Effect::StrideAlignment { bytes: 65_537 },
            conditions: Conditions::default(),
            origin: Origin::WellKnown {
                reference: "a test".to_owned(),
            },
            expires: None,
        });
        let informed = book.inform(&request);
        assert_eq!(informed.facts.len(), 1);
        let solution = solve(&informed.request);
        assert!(
            matches!(solution, covalent_solver::solve::Solution::Split(_)),
            "{}",
            solution.explain()
        );
    }
}
