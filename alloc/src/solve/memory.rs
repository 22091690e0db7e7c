//! Whether a source's memory serves, whatever the format.

use super::doubt::Doubt;
use super::failure::Refused;
use super::problem::{Party, is_hidden};
use super::sweep::Sweep;
use crate::constraint::{AddressWindow, Coherency, Field, Owners, Protection, Role, Source};

impl<'p, 'a> Sweep<'p, 'a, '_> {
    /// Checks all that does not hang on the format.
    pub(super) fn check_memory(
        &self,
        number: usize,
        source: &Source,
        doubts: &mut Vec<Doubt>,
    ) -> Result<(), Refused> {
        if !self.problem.is_understood {
            return Err(Refused::Request);
        }
        if !self.problem.understood_sources.contains(number) {
            return Err(Refused::Source);
        }
        if self.view.copies && is_hidden(source) {
            return Err(Refused::Copies);
        }
        let mut window = AddressWindow::default();
        let mut reaching = Owners::default();
        let mut unsaid = Owners::default();
        let mut coherent = Owners::default();
        let mut untransferred = Owners::default();
        for (place, choice) in self.members() {
            let kept = self.view.keeps(place);
            let memory = &choice.constraints.memory;
            for (field, refused) in &choice.refuses {
                if kept.contains(*field) && refused.contains(number) {
                    return Err(Refused::Demand(place, *field));
                }
            }
            if source.guarantees.protected && memory.protection == Protection::Unsaid {
                unsaid = unsaid.union(&Owners::one(place));
            }
            if kept.contains(Field::Coherency)
                && memory.coherency == Coherency::Coherent
                && source.guarantees.coherent.is_none()
            {
                coherent = coherent.union(&Owners::one(place));
            }
            if kept.contains(Field::Coherency)
                && memory.coherency >= Coherency::Untransferred
                && source.guarantees.device_copy != Some(false)
                && self.has_owner(number)
                && self.has_other(number)
            {
                if source.guarantees.device_copy == Some(true) {
                    return Err(Refused::Demand(place, Field::Coherency));
                }
                untransferred = untransferred.union(&Owners::one(place));
            }
            if kept.contains(Field::Address)
                && memory.address != AddressWindow::default()
                && !self.is_own(place, number)
            {
                window.lowest = window.lowest.max(memory.address.lowest);
                window.highest = window.highest.min(memory.address.highest);
                reaching = reaching.union(&Owners::one(place));
            }
        }
        if !window.overlaps(&source.guarantees.address) {
            return Err(Refused::Address(window, reaching));
        }
        if !window.contains(&source.guarantees.address) {
            doubts.push(Doubt::Address {
                owners: reaching,
                window,
            });
        }
        if !coherent.is_empty() {
            doubts.push(Doubt::Coherency { owners: coherent });
        }
        if !untransferred.is_empty() {
            doubts.push(Doubt::DeviceCopy {
                owners: untransferred,
            });
        }
        if !unsaid.is_empty() {
            doubts.push(Doubt::Protection { owners: unsaid });
        }
        Ok(())
    }

    /// Returns whether what is written into a source's memory has to be brought to the copy that its device works on.
    pub(super) fn needs_transfers(&self, number: usize) -> bool {
        let source = self.problem.sources.get(number);
        source.is_some_and(|source| source.guarantees.device_copy == Some(true))
            && self.has_owner(number)
            && (self.view.copies || self.has_other(number))
    }

    /// Returns whether any member's device works on a source's memory as its own.
    fn has_owner(&self, number: usize) -> bool {
        self.touching().any(|party| party.works_on(number))
    }

    /// Returns whether any member touches a source's memory that is not its own.
    fn has_other(&self, number: usize) -> bool {
        self.touching().any(|party| !party.works_on(number))
    }

    /// Returns the members that touch pixels.
    fn touching(&self) -> impl Iterator<Item = &'p Party<'a>> {
        let parties = &self.problem.parties;
        let members = self.view.members.iter();
        members
            .filter_map(|place| parties.get(*place))
            .filter(|party| party.participant.role != Role::Compositor)
    }

    /// Returns whether a source is on a participant's own device, which can use what it gives itself.
    pub(super) fn is_own(&self, place: usize, number: usize) -> bool {
        let party = self.problem.parties.get(place);
        party.is_some_and(|party| party.own.contains(number))
    }
}
