//! Tests with untrusted input: arbitrary bytes, damaged files, and files of newer versions.
#![allow(missing_docs, clippy::unwrap_used)]

use covalent_machine::{
    Declared, Job, Machine, MachineError, MissingDevice, RecordedParticipant, RecordedSource,
    Region, RegionUser, ReservedMemory,
};
use covalent_machine_tests::common::{
    camera, dumb, generate, hostile, request, system_heap, virtio_display,
};
use covalent_solver::constraint::{
    AddressWindow, Constraints, Contiguity, Exports, Imports, Participant, Protection,
};
use covalent_solver::model::Fourcc;
use covalent_solver::solve::{Request, Solution, candidates, solve};
use proptest::prelude::*;
use serde_json::Value;

/// Replaces a few ranges of a text.
fn damaged(text: String) -> impl Strategy<Value = Vec<u8>> {
    let length = text.len();
    let edit = (0..length, 0..6_usize, "[\\[\\]{}\",:a-z0-9_. -]{0,6}");
    prop::collection::vec(edit, 1..4).prop_map(move |edits| {
        let mut bytes = text.clone().into_bytes();
        for (at, removed, inserted) in edits {
            let at = at.min(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, inserted.into_bytes());
        }
        bytes
    })
}

/// Collects the JSON pointers of all objects within a value.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(path.clone());
            for (name, value) in fields {
                objects(value, format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                objects(value, format!("{path}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// Makes a feasible request that contains every kind of JSON object that a file may have.
fn sharing() -> Request {
    let mut camera = camera(Contiguity::Scattered);
    camera.for_each_choice(|own| {
        own.per_fourcc.insert(Fourcc::XRGB8888, Default::default());
    });
    camera.push_alternative(Constraints {
        formats: camera.constraints().formats.clone(),
        ..Constraints::default()
    });
    let mut display = virtio_display();
    display.for_each_choice(|own| {
        own.memory.exports = Exports::Declared;
        own.memory.protection = Protection::Rejected;
    });
    assert!(matches!(
        display.constraints().memory.imports,
        Imports::OnlyFrom { .. }
    ));
    request(
        vec![camera, display],
        vec![system_heap(2), dumb("virtio_gpu")],
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        hostile::constraint_file(&bytes);
        hostile::request_file(&bytes);
        hostile::machine_file(&bytes);
        hostile::descriptor(&bytes);
        hostile::kernel_texts(&bytes);
    }

    #[test]
    fn any_blob_of_formats_is_read_or_refused(
        counts in prop::array::uniform6(0..80_u32),
        bytes in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        // The offsets in the header are made small. With arbitrary offsets, nearly every blob would be refused at its first
        // field.
        let mut blob: Vec<u8> = counts.iter().flat_map(|word| word.to_ne_bytes()).collect();
        blob.extend(bytes);
        hostile::in_formats_blob(&blob);
    }

    #[test]
    fn any_name_of_a_dma_buf_is_read_as_a_name(
        parts in prop::collection::vec(prop_oneof![
            Just("\n".to_owned()),
            Just("\t".to_owned()),
            Just("\tAttached Devices:\n".to_owned()),
            Just("Total 0 devices attached\n".to_owned()),
            Just("Total 9 objects, 1 bytes".to_owned()),
            Just("name:\t".to_owned()),
            Just("ino:\t9\n".to_owned()),
            Just("00000001".to_owned()),
            "\\PC{0,4}",
        ], 0..6)
    ) {
        hostile::kernel_texts(parts.concat().as_bytes());
    }

    #[test]
    fn any_numbers_of_a_descriptor_are_checked(
        (width, height, format, modifier) in (1..300_u64, 1..300_u64, 0..12_u64, 0..3_u64),
        sizes in prop::collection::vec(prop_oneof![0..200_000_u64, any::<u64>()], 1..4),
        planes in prop::collection::vec((0..4_u64, prop_oneof![0..5000_u64, any::<u64>()], prop_oneof![0..2000_u64, any::<u64>()], prop_oneof![0..5000_u64, any::<u64>()]), 0..5),
    ) {
        let mut numbers = vec![width, height, format, modifier, sizes.len() as u64];
        numbers.extend(&sizes);
        numbers.push(planes.len() as u64);
        for (memory, offset, stride, size) in planes {
            numbers.extend([memory, offset, stride, size]);
        }
        let bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        hostile::descriptor(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn damaged_participant_is_read_or_refused(
        bytes in generate::participant(0).prop_flat_map(|own| damaged(serde_json::to_string(&own).unwrap()))
    ) {
        hostile::constraint_file(&bytes);
    }

    #[test]
    fn damaged_request_is_solved_or_refused(
        bytes in generate::request().prop_flat_map(|own| damaged(serde_json::to_string(&own).unwrap()))
    ) {
        hostile::request_file(&bytes);
    }
}

/// Makes a machine in which every field has a value.
fn machine() -> Machine {
    let mut machine = Machine::new("a board", "made up");
    machine.recorded_at = 1;
    machine.environment.kernel = "7.3".to_owned();
    machine.trial_results.push(
        serde_json::from_value(serde_json::json!({
            "participant": {"driver": "vivid"},
            "effect": {"stride_alignment": {"bytes": 64}},
            "origin": {"learnt": {"at": 1, "times": 2}},
        }))
        .unwrap(),
    );
    machine.devicetree = Some(ReservedMemory {
        regions: vec![Region {
            path: "/reserved-memory/isp@90000000".to_owned(),
            compatible: vec!["shared-dma-pool".to_owned()],
            ranges: vec![AddressWindow::of_bits(32)],
            reusable: true,
            ..Region::default()
        }],
        users: vec![RegionUser {
            node: "/soc/isp".to_owned(),
            compatible: Vec::new(),
            regions: vec!["/reserved-memory/isp@90000000".to_owned()],
            extra_fields: Default::default(),
        }],
        extra_fields: Default::default(),
    });
    let request = sharing();
    machine.declared.push(Declared {
        size: Some(request.extent),
        participants: request
            .participants
            .into_iter()
            .map(RecordedParticipant::measured)
            .collect(),
        sources: request
            .sources
            .into_iter()
            .map(RecordedSource::measured)
            .collect(),
        missing: vec![MissingDevice {
            name: "udmabuf".to_owned(),
            reason: "not there".to_owned(),
            ..MissingDevice::default()
        }],
        ..Declared::default()
    });
    machine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn damaged_machine_is_read_or_refused(
        bytes in Just(()).prop_flat_map(|()| damaged(machine().to_json().unwrap()))
    ) {
        hostile::machine_file(&bytes);
    }
}

/// Makes a job that names all participants of a machine.
fn job_of_all(machine: &Machine) -> Job {
    let size = machine.sizes().next().unwrap();
    let mut job = Job::new(size, 2);
    for recorded in machine.participants_at(size).unwrap() {
        job.others.push(recorded.participant.name.clone());
    }
    job
}

#[test]
fn unknown_field_of_a_machine_is_kept_and_infeasible_unless_it_is_optional() {
    let machine = machine();
    assert!(matches!(
        solve(&machine.request(&job_of_all(&machine)).unwrap().request),
        Solution::Share(_)
    ));
    let value = serde_json::to_value(&machine).unwrap();
    let mut paths = Vec::new();
    objects(&value, String::new(), &mut paths);
    let (mut kept, mut refused) = (0, Vec::new());
    for path in paths {
        for (newer, optional) in [
            (serde_json::json!(7.1), false),
            (serde_json::json!({"optional": true, "steps": [1]}), true),
        ] {
            let mut value = value.clone();
            let object = value.pointer_mut(&path).unwrap().as_object_mut().unwrap();
            object.insert("newer".to_owned(), newer);
            let text = value.to_string();
            let read = match Machine::from_json(text.as_bytes()) {
                Ok(read) => read,
                Err(error) => {
                    refused.push((path.clone(), error.to_string()));
                    continue;
                }
            };
            let written: Value = serde_json::from_str(&read.to_json().unwrap()).unwrap();
            assert_eq!(written, value, "{path}");
            kept += 1;
            let solution = solve(&read.request(&job_of_all(&read)).unwrap().request);
            let own = path.rsplit_once('/').map_or("", |(_, own)| own);
            let affects_all = path.is_empty() || path == "/declared/0" || own == "environment";
            if optional {
                assert!(matches!(solution, Solution::Share(_)), "{path}");
            } else if affects_all {
                let Solution::Split(split) = solution else {
                    panic!("{path} was dropped")
                };
                assert!(split.explain().contains("newer"), "{path}");
            }
        }
    }
    assert!(kept > 60, "{kept}");
    // These objects cannot keep an unknown field, so the file is refused.
    for (path, error) in refused {
        assert!(
            [
                "/facts/",
                "/imports",
                "/per_fourcc",
                "/devices/",
                "/grounds",
                "/ranges/"
            ]
            .iter()
            .any(|part| path.contains(part)),
            "{path}: {error}"
        );
    }
}

#[test]
fn machine_of_a_newer_version_is_another_error_than_a_damaged_one() {
    let mut value = serde_json::to_value(machine()).unwrap();
    value["version"] = 2.into();
    value["declared"] = "something else altogether".into();
    let error = Machine::from_json(value.to_string().as_bytes()).unwrap_err();
    assert!(
        matches!(error, MachineError::Newer { version: 2 }),
        "{error}"
    );
    assert!(
        error.to_string().contains("use a newer covalent"),
        "{error}"
    );
    value["version"] = 1.into();
    let error = Machine::from_json(value.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, MachineError::Damaged(_)), "{error}");
    for other in [
        "{}",
        "[]",
        "7",
        r#"{"format": "covalent-machine"}"#,
        r#"{"format": "covalent-machine", "version": 0}"#,
    ] {
        assert!(Machine::from_json(other.as_bytes()).is_err(), "{other}");
    }
}

#[test]
fn machine_with_too_many_or_duplicate_entries_is_refused() {
    let long = vec![b' '; Machine::MAXIMUM_BYTES + 1];
    assert!(matches!(
        Machine::from_json(&long),
        Err(MachineError::TooLong { .. })
    ));
    let refused = |change: fn(&mut Machine)| {
        let mut own = machine();
        change(&mut own);
        let text = own.to_json().unwrap();
        Machine::from_json(text.as_bytes()).unwrap_err().to_string()
    };
    for (change, words) in [
        (
            (|own| own.declared[0].missing = vec![own.declared[0].missing[0].clone(); 300])
                as fn(&mut Machine),
            "300",
        ),
        (
            |own| {
                let first = own.declared[0].participants[0].clone();
                own.declared[0].participants.push(first);
            },
            "participant vivid capture",
        ),
        (
            |own| {
                let first = own.declared[0].sources[0].clone();
                own.declared[0].sources.push(first);
            },
            "source heap:system",
        ),
        (
            |own| {
                let first = own.declared[0].clone();
                own.declared.push(first);
            },
            "size 640x480 twice",
        ),
        (
            |own| {
                let worse = Constraints::default();
                own.declared[0].participants[0]
                    .participant
                    .set_choices(worse.clone(), vec![worse; 9]);
            },
            "9 alternatives",
        ),
    ] {
        let error = refused(change);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn unknown_field_at_any_depth_is_kept_and_infeasible_unless_it_is_optional() {
    let request = sharing();
    let before = candidates(&request);
    let value = serde_json::to_value(&request).unwrap();
    let mut paths = Vec::new();
    objects(&value, String::new(), &mut paths);
    let (mut kept, mut refused) = (0, Vec::new());
    for path in paths {
        for (newer, optional) in [
            (serde_json::json!(7.1), false),
            (serde_json::json!({"optional": true, "steps": [1]}), true),
        ] {
            let mut value = value.clone();
            let object = value.pointer_mut(&path).unwrap().as_object_mut().unwrap();
            object.insert("newer".to_owned(), newer.clone());
            let Ok(read) = serde_json::from_value::<Request>(value.clone()) else {
                refused.push(path.clone());
                continue;
            };
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(written, value, "{path}");
            kept += 1;
            let is_pair = path.contains("/formats/");
            if optional || path.contains("/guarantees") {
                assert_eq!(candidates(&read), before, "{path}");
            } else if is_pair
                || path.starts_with("/participants/0/constraints")
                || path.contains("/alternatives")
                || path.starts_with("/sources")
            {
                // The format pair, the alternative or the source with the unknown field becomes infeasible. Others may still be
                // feasible.
                assert!(candidates(&read).len() <= before.len(), "{path}");
            } else {
                let Solution::Split(split) = solve(&read) else {
                    panic!("{path} was dropped")
                };
                assert!(split.explain().contains("newer"), "{path}");
            }
        }
    }
    assert!(kept > 40, "{kept}");
    // These objects cannot keep an unknown field, so the request is refused.
    refused.dedup();
    refused.retain(|path| !path.ends_with("/imports") && !path.ends_with("/per_fourcc"));
    let device = "/participants/1/constraints/memory/imports/only_from/devices/0";
    assert_eq!(refused, [device]);
}

#[test]
fn constraints_of_one_format_under_two_names_are_refused() {
    let text = r#"{"per_fourcc": {"XR24": {}, "XRGB8888": {"padding_bytes": 4096}}}"#;
    let error = serde_json::from_str::<Constraints>(text).unwrap_err();
    assert!(error.to_string().contains("XR24 occurs twice"), "{error}");
}

#[test]
fn participant_of_the_first_version_is_still_read() {
    let text = r#"{
        "name": "camera",
        "device": {"driver": "vivid", "location": "platform:vivid-000", "node": "/dev/video0"},
        "role": "capture",
        "constraints": {"version": 1, "image": {"stride": {"minimum": 640}}}
    }"#;
    let participant: Participant = serde_json::from_str(text).unwrap();
    assert_eq!(participant.constraints().image.stride.minimum, 640);
    assert_eq!(participant.demands().len(), 1);
}
