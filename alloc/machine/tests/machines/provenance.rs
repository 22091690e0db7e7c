//! How every value of a board is known.

use covalent_machine::{Provenance, ProvenanceByPath};
use covalent_solver::constraint::{Participant, Source};
use serde_json::{Value, json};

use crate::recorded::{boards, read};

/// The places of everything that a participant or a source asks or promises beyond nothing.
fn places(value: &Value, place: &str, nothing: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !place.ends_with("per_fourcc") => {
            for (name, value) in fields {
                let none = nothing.get(name).unwrap_or(&Value::Null);
                places(value, &format!("{place}.{name}"), none, found);
            }
        }
        value if value != nothing => found.push(place.to_owned()),
        _ => {}
    }
}

/// Whose sources are named.
const PROJECTS: [&str; 8] = [
    "Linux 7.3",
    "raspberrypi/linux",
    "github.com/",
    "Mesa",
    "libva",
    "libcamera",
    "FFmpeg",
    "covalent-alloc",
];

/// Words with which begins what is not known of a thing.
const QUESTIONS: [&str; 5] = ["how ", "in which ", "where ", "whether ", "which "];

/// Whether a text names a file or a folder below two others.
fn has_path(text: &str) -> bool {
    text.split([' ', ',', ':', ';', '(', ')'])
        .any(|word| word.split('/').filter(|part| !part.is_empty()).count() >= 3)
}

/// Whoever doubts a value finds the place that it is from: an address, a project and a file, or a document by its title.
pub(crate) fn assert_can_be_looked_up(value: &str, grounds: &Provenance) {
    let is_found = match grounds {
        Provenance::Reported { place } => place.starts_with("https://"),
        Provenance::DriverSource { place } => {
            has_path(place) && PROJECTS.iter().any(|project| place.contains(project))
        }
        Provenance::Documentation { place } => {
            let titles = [
                "https://",
                "VK_",
                "covalent-alloc: ",
                "kernel documentation, \"",
            ];
            titles.iter().any(|title| place.starts_with(title))
                || PROJECTS.iter().any(|project| place.starts_with(project)) && place.contains('/')
        }
        // Nothing can be looked up, so it says which question is open.
        Provenance::Unknown { what } => {
            QUESTIONS.iter().any(|word| what.starts_with(word)) && !what.ends_with(['.', '?'])
        }
        other => panic!("{value}: {other}"),
    };
    assert!(is_found, "{value}: nobody can look this up: {grounds}");
}

fn check_grounds(board: &str, name: &str, found: Vec<String>, grounds: &ProvenanceByPath) {
    for place in found {
        match grounds.of(&place) {
            Some(Provenance::Measured) => panic!("{board}, {name}: nobody measured {place}"),
            Some(grounds) => assert_can_be_looked_up(&format!("{board}, {name}, {place}"), grounds),
            None => panic!("{board}, {name}: nothing tells where {place} is from"),
        }
    }
}

#[test]
fn every_value_of_a_board_says_where_it_is_from() {
    assert!(boards().len() >= 12);
    for board in boards() {
        let machine = read(&board);
        // No value of a board is its own answer, which is what the origin of a recorded machine says.
        assert!(
            machine
                .origin
                .starts_with("Written down from public facts; nobody asked such a machine."),
            "{board}: {}",
            machine.origin
        );
        assert_eq!(machine.recorded_at, 0, "{board}");
        for declared in &machine.declared {
            for recorded in &declared.participants {
                let own = &recorded.participant;
                let nothing = Participant::new(own.name.clone(), own.device.clone(), own.role);
                let nothing = json!({"constraints": nothing.constraints()});
                let value =
                    json!({"constraints": own.constraints(), "alternatives": own.alternatives()});
                let mut found = Vec::new();
                places(&value, "participant", &nothing, &mut found);
                // What demands nothing may be so because nobody knows: that is said too.
                for always in [
                    "formats",
                    "image.stride",
                    "memory.contiguity",
                    "memory.address",
                ] {
                    found.push(format!("participant.constraints.{always}"));
                }
                found.retain(|place| {
                    !place.ends_with("alternatives") || !own.alternatives().is_empty()
                });
                check_grounds(&board, &own.name, found, &recorded.grounds);
            }
            for recorded in &declared.sources {
                let own = &recorded.source;
                let nothing = json!(Source::new(own.id.clone(), own.name.clone()));
                let mut found = Vec::new();
                places(&json!(own), "source", &nothing, &mut found);
                found.push("source.guarantees.contiguous_up_to_bytes".to_owned());
                check_grounds(&board, own.id.as_str(), found, &recorded.grounds);
            }
        }
    }
}

/// Every place for which grounds are given is one of a value.
fn check_places(board: &str, name: &str, whole: &Value, grounds: &ProvenanceByPath) {
    for place in grounds.0.keys() {
        let pointer = format!("/{}", place.replace('.', "/"));
        assert!(
            whole.pointer(&pointer).is_some(),
            "{board}, {name}: there is no {place}"
        );
    }
}

#[test]
fn every_place_that_has_grounds_is_a_values() {
    for board in boards() {
        for declared in &read(&board).declared {
            for recorded in &declared.participants {
                let whole = json!({"participant": recorded.participant});
                let name = &recorded.participant.name;
                check_places(&board, name, &whole, &recorded.grounds);
            }
            for recorded in &declared.sources {
                let whole = json!({"source": recorded.source});
                let name = recorded.source.id.as_str();
                check_places(&board, name, &whole, &recorded.grounds);
            }
        }
    }
}
