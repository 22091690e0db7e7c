//! Whether a source's memory serves the members, whatever the format.

use super::bits::Bits;
use super::candidate_search::CandidateSearch;
use super::caveat::Caveat;
use super::memory_requirements::MemoryRequirements;
use super::prepared_participant::{PreparedParticipant, is_cpu_inaccessible};
use super::rejection::SourceRejection;
use super::source_evaluation::SourceEvaluation;
use crate::constraint::{AddressWindow, Coherency, Field, Protection, Role, Source};

impl<'p, 'a> CandidateSearch<'p, 'a, '_> {
    fn needs(&self) -> &MemoryRequirements {
        self.needs.get_or_init(|| {
            let sources = self.problem.sources.len();
            let mut needs = MemoryRequirements {
                rejected: Bits::none(sources),
                window: AddressWindow::default(),
                address_limited: Vec::new(),
                own_of_address_limited: Bits::none(sources),
                coherent: Vec::new(),
                untransferred: Vec::new(),
                owned: Bits::none(sources),
                foreign: Bits::none(sources),
            };
            self.problem
                .work
                .charge(self.view.members.len().saturating_mul(6).saturating_add(32));
            for (place, choice) in self.members() {
                let kept = self.view.keeps(place);
                if kept.is_empty() {
                    continue;
                }
                let memory = &choice.constraints.memory;
                for (field, rejected) in &choice.rejects {
                    if kept.contains(*field) {
                        needs.rejected.add(rejected);
                        self.problem.work.charge((sources >> 8).saturating_add(1));
                    }
                }
                if kept.contains(Field::Coherency) {
                    if memory.coherency == Coherency::Coherent {
                        needs.coherent.push(place);
                    }
                    if memory.coherency >= Coherency::Untransferred {
                        needs.untransferred.push(place);
                    }
                }
                if kept.contains(Field::Address) && memory.address != AddressWindow::default() {
                    needs.window.lowest = needs.window.lowest.max(memory.address.lowest);
                    needs.window.highest = needs.window.highest.min(memory.address.highest);
                    needs.address_limited.push(place);
                    needs
                        .own_of_address_limited
                        .add(&self.problem.participant(place).own);
                }
            }
            if !needs.untransferred.is_empty() {
                self.problem.work.charge(self.view.members.len());
                for prepared in self.touching() {
                    if prepared.participant.role.imports() {
                        needs.owned.add(&prepared.own);
                        needs.foreign.add_complement(&prepared.own);
                    } else {
                        needs.foreign = Bits::all(sources);
                    }
                }
            }
            needs
        })
    }

    /// Returns whether a source's memory serves the members in every check that does not depend on the format.
    pub(super) fn memory_serves(&self, number: usize, source: &Source) -> bool {
        if !self.problem.is_understood
            || !self.problem.understood_sources.contains(number)
            || (self.view.cpu_copies && is_cpu_inaccessible(source))
        {
            return false;
        }
        let needs = self.needs();
        if needs.rejected.contains(number)
            || (!needs.untransferred.is_empty()
                && source.guarantees.has_shadow_copy == Some(true)
                && needs.owned.contains(number)
                && needs.foreign.contains(number))
        {
            return false;
        }
        self.window(number).overlaps(&source.guarantees.address)
    }

    /// Returns the range of addresses that all members reach which are not on the source's own device.
    fn window(&self, number: usize) -> AddressWindow {
        let needs = self.needs();
        if !needs.own_of_address_limited.contains(number) {
            return needs.window;
        }
        let mut window = AddressWindow::default();
        for address in self
            .foreign_address_limited(number)
            .map(|(_, address)| address)
        {
            window.lowest = window.lowest.max(address.lowest);
            window.highest = window.highest.min(address.highest);
        }
        window
    }

    /// Iterates over the members that are not on the source's device and reach only a part of all addresses.
    fn foreign_address_limited(
        &self,
        number: usize,
    ) -> impl Iterator<Item = (usize, AddressWindow)> {
        let work = &self.problem.work;
        self.members().filter_map(move |(place, choice)| {
            work.charge(2);
            let address = choice.constraints.memory.address;
            let counts = self.view.keeps(place).contains(Field::Address)
                && address != AddressWindow::default()
                && !self.is_own(place, number);
            counts.then_some((place, address))
        })
    }

    /// Returns why a source's memory does not serve, by the first member that rejects it.
    pub(super) fn source_rejection(&self, number: usize, source: &Source) -> SourceRejection {
        if !self.problem.is_understood {
            return SourceRejection::Request;
        }
        if !self.problem.understood_sources.contains(number) {
            return SourceRejection::Source;
        }
        if self.view.cpu_copies && is_cpu_inaccessible(source) {
            return SourceRejection::Copies;
        }
        let needs = self.needs();
        let is_copied = source.guarantees.has_shadow_copy == Some(true)
            && needs.owned.contains(number)
            && needs.foreign.contains(number);
        for (place, choice) in self.members() {
            self.problem.work.charge(2);
            let kept = self.view.keeps(place);
            let rejects = choice.rejects.iter();
            let first = rejects
                .filter(|(field, rejected)| kept.contains(*field) && rejected.contains(number))
                .map(|(field, _)| *field)
                .next();
            let coherency = is_copied
                && kept.contains(Field::Coherency)
                && choice.constraints.memory.coherency >= Coherency::Untransferred;
            if let Some(field) = first.or(coherency.then_some(Field::Coherency)) {
                return SourceRejection::Demand(place, field);
            }
        }
        let address_limited = self.foreign_address_limited(number).map(|(place, _)| place);
        SourceRejection::Address(self.window(number), address_limited.collect())
    }

    /// Returns the caveats of a source that do not depend on the format.
    pub(super) fn caveats<'o>(&self, evaluation: &'o SourceEvaluation<'_>) -> &'o [Caveat] {
        evaluation.caveats.get_or_init(|| {
            let (number, source) = (evaluation.number, evaluation.source);
            let needs = self.needs();
            let mut caveats = Vec::new();
            let window = self.window(number);
            if !window.contains(&source.guarantees.address) {
                caveats.push(Caveat::Address {
                    owners: self
                        .foreign_address_limited(number)
                        .map(|(place, _)| place)
                        .collect(),
                    window,
                });
            }
            if source.guarantees.coherent.is_none() && !needs.coherent.is_empty() {
                self.problem.work.charge(needs.coherent.len() >> 2);
                caveats.push(Caveat::Coherency {
                    owners: needs.coherent.as_slice().into(),
                });
            }
            if source.guarantees.has_shadow_copy.is_none()
                && !needs.untransferred.is_empty()
                && needs.owned.contains(number)
                && needs.foreign.contains(number)
            {
                self.problem.work.charge(needs.untransferred.len() >> 2);
                caveats.push(Caveat::ShadowCopy {
                    owners: needs.untransferred.as_slice().into(),
                });
            }
            if source.guarantees.protected {
                self.problem.work.charge(self.view.members.len());
                let unsaid = self.members().filter(|(_, choice)| {
                    choice.constraints.memory.protection == Protection::Unspecified
                });
                let owners: Vec<usize> = unsaid.map(|(place, _)| place).collect();
                if !owners.is_empty() {
                    caveats.push(Caveat::Protection {
                        owners: owners.into(),
                    });
                }
            }
            caveats
        })
    }

    /// Returns whether frames have to be transferred to or from the shadow copy of the source's device.
    pub(super) fn needs_transfers(&self, number: usize) -> bool {
        let source = self.problem.source(number);
        source.guarantees.has_shadow_copy == Some(true)
            && self.touching().any(|prepared| prepared.works_on(number))
            && (self.view.cpu_copies || self.touching().any(|prepared| !prepared.works_on(number)))
    }

    /// Iterates over the members that access pixels.
    fn touching(&self) -> impl Iterator<Item = &'p PreparedParticipant<'a>> {
        let problem = self.problem;
        let members = self.view.members.iter();
        members
            .map(|place| problem.participant(*place))
            .filter(|prepared| prepared.participant.role != Role::Compositor)
    }
}
