//! A recording without the fact that decides a plan.

use covalent_machine::Machine;
use covalent_solver::constraint::{Participant, Source};
use covalent_solver::model::{FormatModifier, Modifier};

/// What the participant of this name takes instead.
pub(crate) fn participant(machine: &mut Machine, name: &str, change: impl Fn(&mut Participant)) {
    let mut found = 0;
    for declared in &mut machine.declared {
        for recorded in &mut declared.participants {
            if recorded.participant.name == name {
                change(&mut recorded.participant);
                found += 1;
            }
        }
    }
    assert_eq!(found, 1, "{name}");
}

/// The participant takes fewer pairs.
pub(crate) fn fewer(machine: &mut Machine, name: &str, gone: impl Fn(FormatModifier) -> bool) {
    participant(machine, name, |participant| {
        for choice in participant.choices_mut() {
            let pairs = choice.formats.iter().flat_map(|formats| formats.iter());
            choice.formats = Some(pairs.filter(|pair| !gone(*pair)).collect());
        }
    });
}

pub(crate) fn is_arranged(pair: FormatModifier) -> bool {
    pair.modifier != Modifier::LINEAR
}

pub(crate) fn is_of(modifier: &str) -> impl Fn(FormatModifier) -> bool {
    move |pair| pair.modifier.to_string().starts_with(modifier)
}

pub(crate) fn source(machine: &mut Machine, id: &str, change: impl Fn(&mut Source)) {
    let mut found = 0;
    for declared in &mut machine.declared {
        for recorded in &mut declared.sources {
            if recorded.source.id.as_str() == id {
                change(&mut recorded.source);
                found += 1;
            }
        }
    }
    assert_eq!(found, 1, "{id}");
}

pub(crate) fn scattered(machine: &mut Machine, id: &str) {
    source(machine, id, |source| {
        source.guarantees.contiguous_up_to_bytes = 0
    });
}

pub(crate) fn gone(machine: &mut Machine, id: &str) {
    for declared in &mut machine.declared {
        let before = declared.sources.len();
        declared
            .sources
            .retain(|recorded| recorded.source.id.as_str() != id);
        assert_eq!(declared.sources.len() + 1, before, "{id}");
    }
}
