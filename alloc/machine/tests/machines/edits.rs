//! Edits of a recording that remove the value on which a plan depends.

use covalent_machine::Machine;
use covalent_solver::constraint::{Participant, Source};
use covalent_solver::model::{FormatModifier, Modifier};

/// Changes the participant with this name.
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

/// Removes from a participant the pairs of format and modifier for which `removed` returns true.
pub(crate) fn remove_formats(
    machine: &mut Machine,
    name: &str,
    removed: impl Fn(FormatModifier) -> bool,
) {
    participant(machine, name, |participant| {
        for choice in participant.choices_mut() {
            let pairs = choice.formats.iter().flat_map(|formats| formats.iter());
            choice.formats = Some(pairs.filter(|pair| !removed(*pair)).collect());
        }
    });
}

/// Returns whether the modifier is not `LINEAR`.
pub(crate) fn is_tiled(pair: FormatModifier) -> bool {
    pair.modifier != Modifier::LINEAR
}

/// Returns whether the name of the modifier begins with `prefix`.
pub(crate) fn has_modifier(prefix: &str) -> impl Fn(FormatModifier) -> bool {
    move |pair| pair.modifier.to_string().starts_with(prefix)
}

/// Changes the source with this identifier.
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

/// Removes the guarantee of contiguous memory from a source.
pub(crate) fn make_scattered(machine: &mut Machine, id: &str) {
    source(machine, id, |source| {
        source.guarantees.contiguous_up_to_bytes = 0
    });
}

/// Removes a source.
pub(crate) fn remove_source(machine: &mut Machine, id: &str) {
    for declared in &mut machine.declared {
        let before = declared.sources.len();
        declared
            .sources
            .retain(|recorded| recorded.source.id.as_str() != id);
        assert_eq!(declared.sources.len() + 1, before, "{id}");
    }
}
