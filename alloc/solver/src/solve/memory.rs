//! Checks whether a source's memory serves the members, regardless of the format.

use std::rc::Rc;

use super::bits::Bits;
use super::candidate_search::CandidateSearch;
use super::caveat::Caveat;
use super::memory_requirements::MemoryRequirements;
use super::prepared_participant::{PreparedParticipant, is_cpu_inaccessible};
use super::rejection::SourceRejection;
use super::source_evaluation::SourceEvaluation;
use crate::constraint::{
    AddressWindow, Coherency, Exports, Field, Imports, MemoryScope, Protection, Role, Source,
};

impl<'p, 'a> CandidateSearch<'p, 'a, '_> {
    /// Returns what all members together demand of memory. It is computed at the first call.
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
                unsure_imports: Vec::new(),
                owned: Bits::none(sources),
                foreign: Bits::none(sources),
                unexported: Bits::none(sources),
                shared: Bits::none(sources),
            };
            self.problem
                .work
                .charge(self.view.members.len().saturating_mul(6).saturating_add(32));
            for (member, choice) in self.members() {
                let kept = self.view.keeps(member);
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
                if kept.contains(Field::Exports) && memory.exports != Exports::Declared {
                    needs.unexported.add(&self.problem.participant(member).own);
                }
                if kept.contains(Field::Imports)
                    && matches!(memory.imports, Imports::Unknown { .. })
                    && self.problem.participant(member).participant.role.imports()
                {
                    needs.unsure_imports.push(member);
                }
                if kept.contains(Field::Coherency) {
                    if memory.coherency == Coherency::Coherent {
                        needs.coherent.push(member);
                    }
                    if memory.coherency >= Coherency::Untransferred {
                        needs.untransferred.push(member);
                    }
                }
                if kept.contains(Field::Address) && memory.address != AddressWindow::default() {
                    needs.window.lowest = needs.window.lowest.max(memory.address.lowest);
                    needs.window.highest = needs.window.highest.min(memory.address.highest);
                    needs.address_limited.push((member, memory.address));
                    needs
                        .own_of_address_limited
                        .add(&self.problem.participant(member).own);
                }
            }
            if !needs.unexported.is_empty() || self.problem.has_scopes {
                self.problem.work.charge(self.view.members.len());
                for prepared in self.pixel_accessors() {
                    if prepared.participant.role.imports() {
                        needs.shared.add_complement(&prepared.own);
                    } else {
                        needs.shared = Bits::all(sources);
                    }
                }
            }
            if !needs.untransferred.is_empty() {
                self.problem.work.charge(self.view.members.len());
                for prepared in self.pixel_accessors() {
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

    /// Returns whether a source's memory passes all checks that do not depend on the format.
    pub(super) fn memory_serves(&self, number: usize, source: &Source) -> bool {
        if !self.problem.is_understood
            || !self.problem.understood_sources.contains(number)
            || (self.view.cpu_copies && is_cpu_inaccessible(source))
        {
            return false;
        }
        let needs = self.needs();
        if needs.rejected.contains(number)
            || (needs.unexported.contains(number) && needs.shared.contains(number))
            || self.out_of_scope(number, source).is_some()
            || (!needs.untransferred.is_empty()
                && source.guarantees.has_shadow_copy == Some(true)
                && needs.owned.contains(number)
                && needs.foreign.contains(number))
        {
            return false;
        }
        self.window(number).overlaps(&source.guarantees.address)
    }

    /// Returns the first member whose device is not in the source's scope.
    fn out_of_scope(&self, number: usize, source: &Source) -> Option<usize> {
        if source.guarantees.scope == MemoryScope::Everybody
            || !self.needs().shared.contains(number)
        {
            return None;
        }
        let listed = source.guarantees.scope.len().saturating_add(1);
        self.members().map(|(member, _)| member).find(|member| {
            let participant = self.problem.participant(*member).participant;
            let work = listed.saturating_add(participant.groups.len());
            self.problem.work.charge(work);
            let maps = participant.maps && !is_cpu_inaccessible(source);
            participant.role.imports() && !maps && !source.serves(participant)
        })
    }

    /// Returns the range of addresses that are reached by all members that are not on the source's own device.
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

    /// Iterates over the members that are not on the source's device and do not reach all addresses.
    fn foreign_address_limited(
        &self,
        number: usize,
    ) -> impl Iterator<Item = (usize, AddressWindow)> {
        let members = self.view.members.len();
        self.problem.work.charge(members.saturating_mul(2));
        let limited = self.needs().address_limited.iter().copied();
        limited.filter(move |(member, _)| !self.is_own(*member, number))
    }

    /// Returns why a source's memory does not serve the members. If a member rejects it, the first such member is reported.
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
        for (member, choice) in self.members() {
            self.problem.work.charge(2);
            let kept = self.view.keeps(member);
            let rejects = choice.rejects.iter();
            let first = rejects
                .filter(|(field, rejected)| kept.contains(*field) && rejected.contains(number))
                .map(|(field, _)| *field)
                .next();
            let coherency = is_copied
                && kept.contains(Field::Coherency)
                && choice.constraints.memory.coherency >= Coherency::Untransferred;
            let exports = needs.shared.contains(number)
                && kept.contains(Field::Exports)
                && choice.constraints.memory.exports != Exports::Declared
                && self.is_own(member, number);
            let first = first.or(exports.then_some(Field::Exports));
            if let Some(field) = first.or(coherency.then_some(Field::Coherency)) {
                return SourceRejection::Demand(member, field);
            }
        }
        if let Some(member) = self.out_of_scope(number, source) {
            return SourceRejection::Scope(member);
        }
        let address_limited = self
            .foreign_address_limited(number)
            .map(|(member, _)| member);
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
                        .map(|(member, _)| member)
                        .collect(),
                    window,
                });
            }
            let demands: Vec<Rc<str>> = needs
                .unsure_imports
                .iter()
                .filter(|member| !self.is_own(**member, number))
                .map(|member| self.problem.demand(*member, Field::Imports))
                .collect();
            if !demands.is_empty() {
                self.problem.work.charge(demands.len());
                caveats.push(Caveat::Imports {
                    demands: demands.into(),
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
            if source.guarantees.is_unknown {
                caveats.push(Caveat::UnknownMemory);
            }
            if source.guarantees.protected {
                self.problem.work.charge(self.view.members.len());
                let unsaid = self.members().filter(|(_, choice)| {
                    choice.constraints.memory.protection == Protection::Unspecified
                });
                let owners: Vec<usize> = unsaid.map(|(member, _)| member).collect();
                if !owners.is_empty() {
                    caveats.push(Caveat::Protection {
                        owners: owners.into(),
                    });
                }
            }
            caveats
        })
    }

    /// Returns whether frames have to be transferred to or from a shadow copy on the source's device.
    pub(super) fn needs_transfers(&self, number: usize) -> bool {
        let source = self.problem.source(number);
        source.guarantees.has_shadow_copy == Some(true)
            && self
                .pixel_accessors()
                .any(|prepared| prepared.works_on(number))
            && (self.view.cpu_copies
                || self
                    .pixel_accessors()
                    .any(|prepared| !prepared.works_on(number)))
    }

    /// Iterates over the members that access pixels.
    fn pixel_accessors(&self) -> impl Iterator<Item = &'p PreparedParticipant<'a>> {
        let problem = self.problem;
        let members = self.view.members.iter();
        members
            .map(|member| problem.participant(*member))
            .filter(|prepared| prepared.participant.role != Role::Compositor)
    }
}
