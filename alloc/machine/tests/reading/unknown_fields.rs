//! Tests that an unknown field is kept or refused by every function that reads a machine file or a request.

use covalent_machine::{Declared, Machine, MissingDevice, RecordedParticipant, RecordedSource};
use covalent_machine_tests::common::{camera, device, display, request, system_heap};
use covalent_solver::constraint::{
    AddressWindow, Constraints, Contiguity, Field, Guarantees, ImageConstraints, MemoryConstraints,
    Participant, SideConstraints, Source, StrideConstraints,
};
use covalent_solver::model::DeviceIdentity;
use covalent_solver::solve::{Request, Solution, solve};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::{Value, json};

fn sharing() -> Request {
    request(
        vec![camera(Contiguity::Scattered), display("card")],
        vec![system_heap(2)],
    )
}

/// Adds a field that this version does not know, as a newer version would write it.
fn with_newer(value: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).unwrap();
    value["newer"] = json!(7);
    value
}

/// Asserts that an unknown field is written again, or that the error names the field.
fn keeps_or_refuses<T: Serialize>(read: Result<T, serde_json::Error>) {
    match read {
        Ok(read) => assert_eq!(serde_json::to_value(&read).unwrap()["newer"], json!(7)),
        Err(error) => assert!(error.to_string().contains("newer"), "{error}"),
    }
}

#[test]
fn unknown_field_read_by_any_function_is_kept_or_refused() {
    let own = sharing();
    let participant = &own.participants[0];
    // If the type has an inherent function `deserialize`, this calls that function and not the trait's.
    keeps_or_refuses(Constraints::deserialize(with_newer(
        participant.constraints(),
    )));
    keeps_or_refuses(ImageConstraints::deserialize(with_newer(
        &ImageConstraints::default(),
    )));
    keeps_or_refuses(MemoryConstraints::deserialize(with_newer(
        &MemoryConstraints::default(),
    )));
    keeps_or_refuses(Participant::deserialize(with_newer(participant)));
    keeps_or_refuses(Source::deserialize(with_newer(&own.sources[0])));
    keeps_or_refuses(Guarantees::deserialize(with_newer(&Guarantees::default())));
    keeps_or_refuses(Request::deserialize(with_newer(&own)));
    keeps_or_refuses(Machine::deserialize(with_newer(&Machine::new("a", "b"))));
    keeps_or_refuses(Declared::deserialize(with_newer(&Declared::default())));
    keeps_or_refuses(MissingDevice::deserialize(with_newer(
        &MissingDevice::default(),
    )));
    let recorded = RecordedParticipant::measured(participant.clone());
    keeps_or_refuses(RecordedParticipant::deserialize(with_newer(&recorded)));
    let recorded = RecordedSource::measured(own.sources[0].clone());
    keeps_or_refuses(RecordedSource::deserialize(with_newer(&recorded)));
    // These types cannot keep an unknown field, so they refuse it.
    keeps_or_refuses(SideConstraints::deserialize(with_newer(
        &SideConstraints::default(),
    )));
    keeps_or_refuses(StrideConstraints::deserialize(with_newer(
        &StrideConstraints::default(),
    )));
    let window = AddressWindow::default();
    keeps_or_refuses(AddressWindow::deserialize(with_newer(&window)));
    keeps_or_refuses(DeviceIdentity::deserialize(with_newer(&device("card"))));
}

#[test]
fn list_in_place_of_an_object_is_refused() {
    for text in ["[]", "[1]", "[1, null, {}, {}, {}, [], 0]"] {
        assert!(serde_json::from_str::<Constraints>(text).is_err(), "{text}");
        assert!(
            serde_json::from_str::<ImageConstraints>(text).is_err(),
            "{text}"
        );
    }
}

/// Reads a value with each function of `serde_json`.
fn read_with_each_function<T: DeserializeOwned>(value: &Value) -> [Result<T, String>; 4] {
    let text = value.to_string();
    let words = |error: serde_json::Error| error.to_string();
    [
        serde_json::from_value(value.clone()).map_err(words),
        serde_json::from_str(&text).map_err(words),
        serde_json::from_slice(text.as_bytes()).map_err(words),
        serde_json::from_reader(text.as_bytes()).map_err(words),
    ]
}

#[test]
fn machine_of_another_kind_or_version_is_refused_by_every_function() {
    for (field, wrong, words) in [
        ("version", json!(2), "version 2"),
        ("version", json!(0), "version"),
        ("version", json!(u32::MAX), "version 4294967295"),
        ("format", json!("covalent-facts"), "covalent-machine"),
    ] {
        let mut value = serde_json::to_value(Machine::new("a board", "made up")).unwrap();
        value[field] = wrong;
        for read in read_with_each_function::<Machine>(&value) {
            let error = read.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let own = Machine::deserialize(&value).unwrap_err().to_string();
        assert!(own.contains(words), "{own}");
    }
}

#[test]
fn constraints_of_an_unknown_version_are_infeasible() {
    for version in [0, 3, 99, u32::MAX] {
        let mut request = sharing();
        assert!(matches!(solve(&request), Solution::Share(_)));
        request.participants[0].for_each_choice(|own| own.version = version);
        let Solution::Split(split) = solve(&request) else {
            panic!("version {version} is ignored")
        };
        let [only] = split.conflict() else {
            panic!("{:?}", split.conflict())
        };
        assert_eq!(
            (only.field, only.owner.as_str()),
            (Field::Unknown, "vivid capture")
        );
        assert!(only.words.contains(&format!("version {version}")), "{only}");
        // The unknown version is kept, and the request is still infeasible after it is read again.
        let text = serde_json::to_string(&request).unwrap();
        let again: Request = serde_json::from_str(&text).unwrap();
        assert_eq!(again, request);
        assert!(matches!(solve(&again), Solution::Split(_)));
    }
}

#[test]
fn alternative_of_an_unknown_version_is_skipped() {
    let mut request = sharing();
    let mut newer = request.participants[0].constraints().clone();
    newer.version = 2;
    request.participants[0].push_alternative(newer);
    let Solution::Share(plan) = solve(&request) else {
        panic!("the other alternative is feasible")
    };
    assert_eq!(plan.steps()[0].alternative, 0);
}

#[test]
fn source_of_an_unknown_version_is_infeasible() {
    let mut request = sharing();
    request.sources[0].constraints.version = 7;
    let Solution::Split(split) = solve(&request) else {
        panic!("version 7 is ignored")
    };
    assert!(split.explain().contains("version 7"), "{}", split.explain());
}

#[test]
fn different_sources_with_one_identifier_are_infeasible() {
    let mut request = sharing();
    let first = request.sources[0].clone();
    // Two sources with the same identifier and equal values are not ambiguous.
    request.sources.push(first);
    assert!(matches!(solve(&request), Solution::Share(_)));
    request.sources[1].guarantees.contiguous_up_to_bytes = 0;
    let Solution::Split(split) = solve(&request) else {
        panic!("the plan names an ambiguous source")
    };
    assert!(
        split.explain().contains("same identifier"),
        "{}",
        split.explain()
    );
}
