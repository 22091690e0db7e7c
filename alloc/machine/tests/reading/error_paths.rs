//! Tests that an error about a value of a file names the path of the value.

use covalent_machine::{Declared, Machine, RecordedParticipant, RecordedSource};
use covalent_machine_tests::common::{camera, display, dumb, request, system_heap};
use covalent_solver::constraint::{Constraints, Contiguity};
use covalent_solver::model::Fourcc;
use covalent_solver::solve::Request;
use serde_json::{Value, json};

fn sharing() -> Request {
    let mut camera = camera(Contiguity::Scattered);
    camera.for_each_choice(|own| {
        own.per_fourcc.insert(Fourcc::XRGB8888, Default::default());
    });
    camera.push_alternative(Constraints::default());
    request(
        vec![camera, display("card")],
        vec![system_heap(2), dumb("card")],
    )
}

fn machine() -> Machine {
    let mut machine = Machine::new("a board", "made up");
    let request = sharing();
    let participants = request.participants.into_iter();
    let sources = request.sources.into_iter();
    machine.declared.push(Declared {
        size: Some(request.extent),
        participants: participants.map(RecordedParticipant::measured).collect(),
        sources: sources.map(RecordedSource::measured).collect(),
        ..Declared::default()
    });
    machine
}

/// Returns paths of values in a request, each with a value that is not valid at this path.
fn invalid_values() -> Vec<(&'static str, Value)> {
    vec![
        ("extent", json!("640by480")),
        ("extent", json!("0x480")),
        ("extent", json!("640x70000")),
        ("more_extents[0]", json!("0x0")),
        ("count", json!(u32::MAX)),
        ("count", json!(-1)),
        ("count", json!(4294967296_u64)),
        ("count", json!(0.5)),
        ("count", json!("4")),
        ("preferred_fourcc", json!("far too long")),
        ("participants[0].name", json!(7)),
        ("participants[0].role", json!("spectator")),
        ("participants[0].device.driver", json!(null)),
        ("participants[0].constraints.buffers_held", json!(u32::MAX)),
        (
            "participants[1].constraints.image.stride.alignment",
            json!("64"),
        ),
        (
            "participants[1].constraints.image.stride.alignment",
            json!(1_u64 << 32),
        ),
        (
            "participants[1].constraints.image.stride.preferred[0]",
            json!([]),
        ),
        (
            "participants[1].constraints.image.width.minimum",
            json!(1e300),
        ),
        (
            "participants[1].constraints.image.placement",
            json!("between"),
        ),
        (
            "participants[0].constraints.per_fourcc.XR24.stride.minimum",
            json!(-4),
        ),
        (
            "participants[0].constraints.formats[1].modifier",
            json!("TILED?"),
        ),
        (
            "participants[0].constraints.memory.address.highest",
            json!(-1),
        ),
        (
            "participants[0].constraints.memory.imports",
            json!("from_afar"),
        ),
        ("participants[0].constraints.sync[0]", json!("by_hand")),
        (
            "participants[0].alternatives[0].image.stride.packed",
            json!(1),
        ),
        ("sources[1].guarantees.contiguous_up_to_bytes", json!(1e40)),
        ("sources[1].guarantees.cost", json!("free")),
        ("sources[0].id", json!(1)),
    ]
}

/// Sets the value at a path such as `a.b[3].c`.
fn set(whole: &mut Value, path: &str, value: Value) {
    let pointer = path.replace('[', "/").replace(']', "").replace('.', "/");
    let pointer = format!("/{pointer}");
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    if let Some(own) = whole.pointer_mut(&pointer) {
        *own = value;
        return;
    }
    match whole.pointer_mut(parent) {
        Some(Value::Array(items)) => items.push(value),
        Some(Value::Object(fields)) => {
            fields.insert(last.to_owned(), value);
        }
        _ => {
            set(whole, &parent[1..], json!([]));
            set(whole, path, value);
        }
    }
}

#[test]
fn invalid_value_of_a_request_is_an_error_with_its_path() {
    for (path, value) in invalid_values() {
        let mut whole = serde_json::to_value(sharing()).unwrap();
        set(&mut whole, path, value.clone());
        let text = serde_json::to_string_pretty(&whole).unwrap();
        for error in [
            serde_json::from_str::<Request>(&text)
                .map(|_| ())
                .unwrap_err(),
            serde_json::from_value::<Request>(whole)
                .map(|_| ())
                .unwrap_err(),
        ] {
            let words = error.to_string();
            assert!(
                words.starts_with(&format!("{path}: ")),
                "{value} at {path}: {words}"
            );
        }
    }
}

#[test]
fn invalid_value_of_a_machine_is_an_error_with_its_path() {
    for (path, value) in invalid_values() {
        let rest = path.split_once(['.', '[']).map_or("", |(_, rest)| rest);
        let own = match path.split(['.', '[']).next() {
            Some(list @ ("participants" | "sources")) => {
                let (number, rest) = rest.split_once("].").unwrap();
                let kind = list.trim_end_matches('s');
                format!("declared[0].{list}[{number}].{kind}.{rest}")
            }
            Some("extent") => "declared[0].size".to_owned(),
            _ => continue,
        };
        let mut whole = serde_json::to_value(machine()).unwrap();
        set(&mut whole, &own, value.clone());
        let text = serde_json::to_string_pretty(&whole).unwrap();
        let error = Machine::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("{own}: ")),
            "{value} at {own}: {error}"
        );
    }
}

#[test]
fn duplicate_name_is_an_error_with_its_path() {
    let whole = serde_json::to_value(sharing()).unwrap();
    for (path, value, words) in [
        ("participants[1].name", "vivid capture", "vivid capture"),
        ("sources[1].id", "heap:system", "heap:system"),
    ] {
        let mut own = whole.clone();
        set(&mut own, path, json!(value));
        let error = serde_json::from_value::<Request>(own)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("{path}: ")) && error.contains(words),
            "{error}"
        );
    }
}

#[test]
fn duplicate_key_is_an_error_with_its_path() {
    let text = serde_json::to_string(&sharing()).unwrap();
    for (before, again, path) in [
        (r#""count":4"#, r#""count":4,"count":5"#, "count"),
        (
            r#""count":4"#,
            r#""count":4,"newer":1,"newer":{"optional":true}"#,
            "newer",
        ),
        (
            r#""count":4"#,
            r#""count":4,"newer":{"optional":true,"a":1,"a":2}"#,
            "newer",
        ),
        (
            r#""role":"display""#,
            r#""role":"display","role":"import""#,
            "participants[1]",
        ),
        (
            r#""per_fourcc":{"#,
            r#""per_fourcc":{"XR24":{},"#,
            "participants[0].constraints.per_fourcc",
        ),
        (
            r#""per_fourcc":{"#,
            r#""per_fourcc":{"XRGB8888":{},"#,
            "participants[0].constraints.per_fourcc",
        ),
        (
            r#""formats":[{"#,
            r#""formats":[{"tiles":1,"tiles":2,"#,
            "participants[0].constraints.formats[0]",
        ),
        (
            r#""stride":{"#,
            r#""stride":{"alignment":48,"#,
            "participants[0].constraints.image.stride",
        ),
    ] {
        assert!(text.contains(before), "{before}");
        let twice = text.replacen(before, again, 1);
        match serde_json::from_str::<Request>(&twice) {
            Ok(_) => panic!("{again} is accepted"),
            Err(error) => assert!(error.to_string().starts_with(path), "{again}: {error}"),
        }
    }
    let text = machine().to_json().unwrap();
    let grounds = r#""grounds": {"#;
    assert!(text.contains(grounds));
    let twice = text.replacen(grounds, r#""grounds": {"": "measured", "#, 1);
    let error = Machine::from_json(twice.as_bytes())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("declared[0].participants[0].grounds"),
        "{error}"
    );
}
