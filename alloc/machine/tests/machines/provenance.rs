//! Tests that every value of a board has a provenance that a reader can look up.

use covalent_machine::{Provenance, ProvenanceByPath};
use covalent_solver::constraint::{FormatSet, Participant, Pool, Role, Source};
use serde_json::{Value, json};

use crate::recordings::{boards, read};

/// Collects the paths of all values that differ from their default.
fn paths(value: &Value, path: &str, default: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if !path.ends_with("per_fourcc") => {
            for (name, value) in fields {
                let default = default.get(name).unwrap_or(&Value::Null);
                paths(value, &format!("{path}.{name}"), default, found);
            }
        }
        value if value != default => found.push(path.to_owned()),
        _ => {}
    }
}

/// The projects whose source a provenance may name, with their versions.
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

/// The words with which a text about an unknown value may begin.
const QUESTIONS: [&str; 5] = ["how ", "in which ", "where ", "whether ", "which "];

/// Returns whether a text contains a file path with at least three components.
fn has_path(text: &str) -> bool {
    text.split([' ', ',', ':', ';', '(', ')'])
        .any(|word| word.split('/').filter(|part| !part.is_empty()).count() >= 3)
}

/// Asserts that a reader can look the value up: the provenance has an address, a project and a file, or the title of a document.
pub(crate) fn assert_can_be_looked_up(value: &str, provenance: &Provenance) {
    let is_found = match provenance {
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
        // An unknown value has nothing to look up, so the text states the open question.
        Provenance::Unknown { what } => {
            QUESTIONS.iter().any(|word| what.starts_with(word)) && !what.ends_with(['.', '?'])
        }
        other => panic!("{value}: {other}"),
    };
    assert!(is_found, "{value}: cannot be looked up: {provenance}");
}

fn check_provenance(board: &str, name: &str, found: Vec<String>, provenance: &ProvenanceByPath) {
    for path in found {
        match provenance.of(&path) {
            Some(Provenance::Measured) => {
                panic!(
                    "{board}, {name}: {path} is marked as measured, on a board that was not recorded"
                )
            }
            Some(provenance) => {
                assert_can_be_looked_up(&format!("{board}, {name}, {path}"), provenance);
            }
            None => panic!("{board}, {name}: {path} has no provenance"),
        }
    }
}

#[test]
fn value_of_a_board_has_a_provenance_that_can_be_looked_up() {
    assert!(boards().len() >= 12);
    for board in boards() {
        let machine = read(&board);
        // The values of a board were not measured on the board, and the origin of the recording says so.
        assert!(
            machine
                .origin
                .starts_with("Written down from public facts; nobody asked such a machine."),
            "{board}: {}",
            machine.origin
        );
        assert_eq!(machine.recorded_at, 0, "{board}");
        for recorded in &machine.pools {
            let own = &recorded.pool;
            let default = json!(Pool::new(own.id.clone(), own.name.clone()));
            let mut found = Vec::new();
            paths(&json!(own), "pool", &default, &mut found);
            found.push("pool.capacity_bytes".to_owned());
            check_provenance(&board, own.id.as_str(), found, &recorded.provenance);
        }
        for declared in &machine.declared {
            for recorded in &declared.participants {
                let own = &recorded.participant;
                let default = Participant::new(own.name.clone(), own.device.clone(), own.role);
                let default = json!({"constraints": default.constraints()});
                let value =
                    json!({"constraints": own.constraints(), "alternatives": own.alternatives()});
                let mut found = Vec::new();
                paths(&value, "participant", &default, &mut found);
                // If a field has no constraint, the reason may be that the constraint is not known. So these fields need a
                // provenance too.
                for always in [
                    "formats",
                    "image.stride",
                    "memory.contiguity",
                    "memory.address",
                ] {
                    found.push(format!("participant.constraints.{always}"));
                }
                found.retain(|path| {
                    !path.ends_with("alternatives") || !own.alternatives().is_empty()
                });
                check_provenance(&board, &own.name, found, &recorded.provenance);
            }
            for recorded in &declared.sources {
                let own = &recorded.source;
                let default = json!(Source::new(own.id.clone(), own.name.clone()));
                let mut found = Vec::new();
                paths(&json!(own), "source", &default, &mut found);
                found.push("source.guarantees.contiguous_up_to_bytes".to_owned());
                check_provenance(&board, own.id.as_str(), found, &recorded.provenance);
            }
        }
    }
}

/// Asserts that every path with a provenance is the path of a value.
fn check_paths(board: &str, name: &str, whole: &Value, provenance: &ProvenanceByPath) {
    for path in provenance.0.keys() {
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(
            whole.pointer(&pointer).is_some(),
            "{board}, {name}: there is no {path}"
        );
    }
}

#[test]
fn path_with_a_provenance_is_the_path_of_a_value() {
    for board in boards() {
        for recorded in &read(&board).pools {
            let whole = json!({"pool": recorded.pool});
            check_paths(
                &board,
                recorded.pool.id.as_str(),
                &whole,
                &recorded.provenance,
            );
        }
        for declared in &read(&board).declared {
            for recorded in &declared.participants {
                let whole = json!({"participant": recorded.participant});
                let name = &recorded.participant.name;
                check_paths(&board, name, &whole, &recorded.provenance);
            }
            for recorded in &declared.sources {
                let whole = json!({"source": recorded.source});
                let name = recorded.source.id.as_str();
                check_paths(&board, name, &whole, &recorded.provenance);
            }
        }
    }
}

/// The provenance of a copier's formats is the provenance of its device's queues.
#[test]
fn copier_of_a_board_reads_and_writes_what_the_queues_of_its_device_take() {
    let mut count = 0;
    for board in boards() {
        for declared in &read(&board).declared {
            for copier in &declared.copiers {
                let takes = |role: Role| -> FormatSet {
                    let all = declared.participants.iter().map(|own| &own.participant);
                    let queues = all
                        .filter(|own| own.device.same_device(&copier.device) && own.role == role);
                    let formats = queues
                        .flat_map(Participant::choices)
                        .flat_map(|choice| &choice.formats);
                    formats.flat_map(FormatSet::iter).collect()
                };
                assert!(!copier.reads.is_empty(), "{board}, {}", copier.name);
                for (formats, role) in [
                    (&copier.reads, Role::Output),
                    (&copier.writes, Role::Capture),
                ] {
                    let known = takes(role);
                    assert!(
                        formats.iter().all(|pair| known.contains(pair)),
                        "{board}, {}: {role:?}",
                        copier.name
                    );
                }
                count += 1;
            }
        }
    }
    assert!(count > 0);
}
