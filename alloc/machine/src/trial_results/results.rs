//! The trial results of one machine, and their effect on a request. This module reads no files and no clock.
//!
//! [`TrialResults::add`] compares a result only with those that have the same hash, and [`TrialResults::apply`] considers only
//! the results for the devices of the request's participants. So adding `n` results takes time proportional to `n`, and applying
//! them takes time proportional to `n` plus the exclusions that follow from them.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;

use super::exclude::{Exclusion, exclude};
use super::outcome::Refusal;
use super::quirks;
use super::result::{
    Conditions, Effect, Environment, Origin, ParticipantSelector, Scope, TrialResult,
    source_matches,
};
use covalent_solver::constraint::{
    CommonMultiple, Constraints, Participant, Source, SourceId, StrideConstraints,
};
use covalent_solver::model::Modifier;
use covalent_solver::solve::Request;

/// A list of trial results, with the machine and the time for which they are evaluated.
#[derive(Clone, Debug)]
pub struct TrialResults {
    environment: Environment,
    now: u64,
    results: Vec<TrialResult>,
    index: HashIndex,
}

/// The indices of trial results in the list, by the hash of [`TrialResult::identity`].
#[derive(Clone, Debug, Default)]
struct HashIndex {
    hasher: RandomState,
    by_hash: HashMap<u64, Vec<usize>>,
}

impl HashIndex {
    /// Returns the index of the result that `result` repeats, and the hash of `result`. The index is `None` if no result is
    /// repeated.
    fn find(&self, results: &[TrialResult], result: &TrialResult) -> (Option<usize>, u64) {
        let hash = self.hasher.hash_one(result.identity());
        let mut candidates = self.by_hash.get(&hash).into_iter().flatten();
        let found = candidates.find(|index| results[**index].is_repeat_of(result));
        (found.copied(), hash)
    }
}

/// A request with the constraints of the trial results that are valid for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppliedResults {
    /// The request with the added constraints.
    pub request: Request,
    /// The trial results that changed the request.
    pub results: Vec<TrialResult>,
}

impl TrialResults {
    /// The time for which a learnt result is valid, in seconds: thirty days.
    pub const LIFETIME_SECONDS: u64 = 30 * 24 * 60 * 60;

    /// Makes a list without results for one machine; `now` is the current time in seconds since 1970.
    #[must_use]
    pub fn empty(environment: Environment, now: u64) -> Self {
        Self {
            environment,
            now,
            results: Vec::new(),
            index: HashIndex::default(),
        }
    }

    /// Makes a list with the quirks that ship with this crate; `now` is the current time in seconds since 1970.
    #[must_use]
    pub fn with_quirks(environment: Environment, now: u64) -> Self {
        let mut results = Self::empty(environment, now);
        quirks::quirks()
            .into_iter()
            .for_each(|quirk| results.add(quirk));
        results
    }

    /// Returns the machine for which the results are evaluated.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns the time for which the results are evaluated, in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Returns all results, including those that are not valid for this machine and time.
    #[must_use]
    pub fn all(&self) -> &[TrialResult] {
        &self.results
    }

    /// Returns the results that trials on this machine have shown. Only these are stored in a file, because quirks ship with the
    /// crate.
    pub fn learnt(&self) -> impl Iterator<Item = &TrialResult> {
        self.results
            .iter()
            .filter(|result| matches!(result.origin, Origin::Learnt { .. }))
    }

    /// Returns whether a result is valid: it has not expired, and this machine meets its conditions.
    #[must_use]
    pub fn is_valid(&self, result: &TrialResult) -> bool {
        result.expires.is_none_or(|end| self.now < end)
            && result.conditions.are_met_by(&self.environment)
    }

    /// Adds a result. A result that repeats an earlier one ([`TrialResult::is_repeat_of`]) replaces the earlier result. If both
    /// results were learnt at different times, the count in [`Origin::Learnt`] grows by one. If both results expire, the later
    /// expiry is kept; otherwise the expiry of the new result is kept.
    pub fn add(&mut self, result: TrialResult) {
        let (index, hash) = self.index.find(&self.results, &result);
        match index {
            Some(index) => {
                let known = &mut self.results[index];
                let times = match (&known.origin, &result.origin) {
                    (Origin::Learnt { times, at }, Origin::Learnt { at: again, .. })
                        if at != again =>
                    {
                        times.saturating_add(1)
                    }
                    (_, Origin::Learnt { times, .. }) => *times,
                    _ => 0,
                };
                let expires = known.expires.max(result.expires);
                *known = result;
                known.expires = known.expires.and(expires);
                if let Origin::Learnt { times: seen, .. } = &mut known.origin {
                    *seen = times;
                }
            }
            None => {
                let same_hash = self.index.by_hash.entry(hash).or_default();
                same_hash.push(self.results.len());
                self.results.push(result);
            }
        }
    }

    /// Removes the learnt results for which `which` returns true, and returns them.
    pub fn forget(&mut self, which: impl Fn(&TrialResult) -> bool) -> Vec<TrialResult> {
        let (forgotten, kept): (Vec<TrialResult>, Vec<TrialResult>) =
            std::mem::take(&mut self.results)
                .into_iter()
                .partition(|result| {
                    matches!(result.origin, Origin::Learnt { .. }) && which(result)
                });
        self.index = HashIndex::default();
        kept.into_iter().for_each(|result| self.add(result));
        forgotten
    }

    /// Returns the request with the constraints that the valid results add.
    ///
    /// A result can only remove plans: every plan of the returned request is also a plan of `request`.
    #[must_use]
    pub fn apply(&self, request: &Request) -> AppliedResults {
        let mut limited = request.clone();
        let mut used = Vec::new();
        let mut exclusions = Vec::new();
        let index = RequestIndex::of(request);
        for result in self.results.iter().filter(|result| self.is_valid(result)) {
            let mut changes = false;
            for number in index.participants(&result.participant) {
                let participant = &mut limited.participants[number];
                if !result.participant.matches(participant) {
                    continue;
                }
                match &result.effect {
                    Effect::StrideAlignment { bytes } => {
                        for choice in participant.choices_mut().filter(|own| has_stride(own)) {
                            changes |= align(&mut choice.image.stride, *bytes);
                        }
                    }
                    Effect::Refuses {
                        source,
                        scope,
                        refusal,
                    } => {
                        let is_requested = |own| request.extents().any(|extent| extent == own);
                        if !scope.extent.is_none_or(is_requested) {
                            continue;
                        }
                        let found = index
                            .sources(source)
                            .filter(|source| imports_from(participant, source))
                            .map(|source| Exclusion {
                                source: source.id.clone(),
                                participant: Some(number),
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
                used.push(result.clone());
            }
        }
        AppliedResults {
            request: exclude(&limited, &exclusions),
            results: used,
        }
    }

    /// Adds a result for a refusal that was seen `times` times, and returns the result.
    ///
    /// The result is valid only on a machine with the same [`Environment`], for [`TrialResults::LIFETIME_SECONDS`].
    pub fn learn(
        &mut self,
        participant: &Participant,
        source: &SourceId,
        scope: Scope,
        refusal: &Refusal,
        times: u32,
    ) -> TrialResult {
        let result = TrialResult {
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
            expires: Some(self.now.saturating_add(Self::LIFETIME_SECONDS)),
        };
        self.add(result.clone());
        result
    }
}

/// The participants and sources of a request, indexed by the fields with which a trial result selects them.
struct RequestIndex<'a> {
    /// The indices of participants, by driver.
    by_driver: BTreeMap<&'a str, Vec<usize>>,
    /// The indices of participants, by driver and location.
    by_device: BTreeMap<(&'a str, &'a str), Vec<usize>>,
    /// The sources, sorted by their identifiers.
    sources: Vec<&'a Source>,
}

impl<'a> RequestIndex<'a> {
    fn of(request: &'a Request) -> Self {
        let mut by_driver: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut by_device: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (number, participant) in request.participants.iter().enumerate() {
            let device = &participant.device;
            let (driver, location) = (device.driver.as_str(), device.location.as_str());
            by_driver.entry(driver).or_default().push(number);
            by_device
                .entry((driver, location))
                .or_default()
                .push(number);
        }
        let mut sources: Vec<&Source> = request.sources.iter().collect();
        sources.sort_by(|one, two| one.id.cmp(&two.id));
        Self {
            by_driver,
            by_device,
            sources,
        }
    }

    /// Returns the indices of the participants whose driver and location match the selector. Role and interface are not compared.
    fn participants(&self, selector: &ParticipantSelector) -> impl Iterator<Item = usize> + use<> {
        let ParticipantSelector {
            driver, location, ..
        } = selector;
        let numbers = match location {
            Some(location) => self.by_device.get(&(driver.as_str(), location.as_str())),
            None => self.by_driver.get(driver.as_str()),
        };
        numbers.cloned().unwrap_or_default().into_iter()
    }

    /// Returns the sources whose identifiers match a pattern.
    fn sources(&self, pattern: &str) -> impl Iterator<Item = &'a Source> {
        let prefix = pattern.strip_suffix('*').unwrap_or(pattern);
        let first = self
            .sources
            .partition_point(|source| source.id.as_str() < prefix);
        let from = &self.sources[first..];
        let end = from.partition_point(|source| source_matches(source, pattern));
        from[..end].iter().copied()
    }
}

/// Returns whether a participant imports a source's memory in any of its alternatives.
///
/// A role that imports no memory, such as the CPU, has no import policy. For such a participant the result is always true.
fn imports_from(participant: &Participant, source: &Source) -> bool {
    !participant.role.imports()
        || participant.choices().any(|choice| {
            let imports = &choice.memory.imports;
            imports.takes(source, &participant.device)
        })
}

/// Returns whether any accepted modifier has a stride in bytes: `LINEAR`, or an implicit modifier, with which the driver may
/// choose a linear layout.
///
/// A stride alignment does not apply to tiled modifiers, because the driver chooses their layout.
fn has_stride(choice: &Constraints) -> bool {
    choice.formats.as_ref().is_none_or(|formats| {
        formats
            .iter()
            .any(|pair| pair.modifier == Modifier::LINEAR || pair.modifier.is_implicit())
    })
}

/// Requires strides to be multiples of `bytes` in addition to the constraint's alignment. Returns whether the constraint changed.
fn align(stride: &mut StrideConstraints, bytes: u32) -> bool {
    let own = CommonMultiple::of(stride.alignment.into());
    let both = own.and(CommonMultiple::of(bytes.into())).get();
    let Some(both) = both.and_then(|both| u32::try_from(both).ok()) else {
        // No 32-bit stride is a multiple of both alignments. With an alignment above the maximum, no stride is feasible.
        let infeasible = (u32::MAX, u32::MAX.saturating_sub(1));
        let changes = (stride.alignment, stride.maximum) != infeasible;
        (stride.alignment, stride.maximum) = infeasible;
        return changes;
    };
    let changes = stride.alignment != both;
    stride.alignment = both;
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial_results::result::comparisons;
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

    fn result(location: &str, source: &str) -> TrialResult {
        let refusal = Refusal::of_errno("vkms", "ADDFB2", 22, "no");
        let display = Participant::new("vkms", device("vkms", location), Role::Display);
        let mut results = TrialResults::empty(Environment::default(), 1);
        results.learn(
            &display,
            &SourceId::new(source),
            Scope::default(),
            &refusal,
            2,
        )
    }

    #[test]
    fn results_are_added_and_applied_with_a_linear_number_of_comparisons() {
        const RESULTS: usize = 100_000;
        let mut results = TrialResults::empty(Environment::default(), 1);
        let template = result("place", "heap:a");
        let before = comparisons();
        for number in 0..RESULTS {
            let mut one = template.clone();
            one.participant.location = Some(number.to_string());
            results.add(one.clone());
            results.add(one);
        }
        assert_eq!(results.all().len(), RESULTS);
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
        assert_eq!(results.apply(&request).results.len(), 100);
        assert_eq!(
            results.forget(|result| result.participant.location.is_none()),
            []
        );
        let compared = comparisons() - before;
        assert!(compared <= 2 * RESULTS + 1000, "{compared} comparisons");
    }

    #[test]
    fn index_and_effect_match_the_same_sources() {
        let mut request = Request::new(Extent::new(64, 64).unwrap());
        for id in [
            "heap:b", "heap:a", "heap", "udmabuf", "heap:a", "dumb:x", "heaq",
        ] {
            request.sources.push(Source::new(SourceId::new(id), id));
        }
        let index = RequestIndex::of(&request);
        for pattern in [
            "heap:a", "heap:*", "heap*", "*", "none", "none*", "", "udmabuf*",
        ] {
            let mut expected: Vec<&str> = request
                .sources
                .iter()
                .filter(|source| source_matches(source, pattern))
                .map(|source| source.id.as_str())
                .collect();
            expected.sort_unstable();
            let found: Vec<&str> = index.sources(pattern).map(|one| one.id.as_str()).collect();
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn stride_alignment_that_no_stride_meets_leaves_no_plan() {
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
        let mut results = TrialResults::empty(Environment::default(), 1);
        results.add(TrialResult {
            participant: ParticipantSelector {
                driver: "card".to_owned(),
                location: None,
                role: None,
                interface: None,
            },
            effect: Effect::StrideAlignment { bytes: 65_537 },
            conditions: Conditions::default(),
            origin: Origin::Quirk {
                reference: "a test".to_owned(),
            },
            expires: None,
        });
        let applied = results.apply(&request);
        assert_eq!(applied.results.len(), 1);
        let solution = solve(&applied.request);
        assert!(
            matches!(solution, covalent_solver::solve::Solution::Split(_)),
            "{}",
            solution.explain()
        );
    }
}
