//! Bytes from outside: anything at all, files that were damaged, and files of newer versions.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::{camera, dumb, generate, hostile, request, system_heap, virtio_display};
use covalent_alloc::constraint::{
    Constraints, Contiguity, Exports, Imports, Participant, Protection,
};
use covalent_alloc::model::Fourcc;
use covalent_alloc::solve::{Request, Solution, solve, ways};
use proptest::prelude::*;
use serde_json::Value;

/// Takes some bytes out of a text and puts others in.
fn damaged(text: String) -> impl Strategy<Value = Vec<u8>> {
    let length = text.len();
    let edit = (0..length, 0..6_usize, "[\\[\\]{}\",:a-z0-9_. -]{0,6}");
    prop::collection::vec(edit, 1..4).prop_map(move |edits| {
        let mut bytes = text.clone().into_bytes();
        for (at, gone, put) in edits {
            let at = at.min(bytes.len());
            let end = (at + gone).min(bytes.len());
            bytes.splice(at..end, put.into_bytes());
        }
        bytes
    })
}

/// Every object within a value, as JSON pointers.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(path.clone());
            for (name, value) in fields {
                objects(value, format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                objects(value, format!("{path}/{place}"), found);
            }
        }
        _ => {}
    }
}

/// A request that shares and has an object of every kind that there is in a file.
fn sharing() -> Request {
    let mut camera = camera(Contiguity::Scattered);
    camera
        .constraints
        .per_fourcc
        .insert(Fourcc::XRGB8888, Default::default());
    camera.alternatives.push(Constraints {
        formats: camera.constraints.formats.clone(),
        ..Constraints::default()
    });
    let mut display = virtio_display();
    display.constraints.memory.exports = Exports::Declared;
    display.constraints.memory.protection = Protection::Refused;
    assert!(matches!(
        display.constraints.memory.imports,
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
        hostile::descriptor(&bytes);
        hostile::kernel_texts(&bytes);
    }

    #[test]
    fn any_blob_of_formats_is_read_or_refused(
        counts in prop::array::uniform6(0..80_u32),
        bytes in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        // The header leads somewhere near, else nearly every blob is refused by its first number.
        let mut blob: Vec<u8> = counts.iter().flat_map(|word| word.to_ne_bytes()).collect();
        blob.extend(bytes);
        hostile::in_formats_blob(&blob);
    }

    #[test]
    fn any_name_of_a_dma_buf_is_a_name(
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

#[test]
fn unknown_field_at_any_depth_is_kept_and_met_by_nothing_unless_it_is_optional() {
    let request = sharing();
    let before = ways(&request);
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
                assert_eq!(ways(&read), before, "{path}");
            } else if is_pair
                || path.starts_with("/participants/0/constraints")
                || path.contains("/alternatives")
                || path.starts_with("/sources")
            {
                // The pair, the alternative or the source is lost, and others may do.
                assert!(ways(&read).len() <= before.len(), "{path}");
            } else {
                let Solution::Split(split) = solve(&read) else {
                    panic!("{path} was dropped")
                };
                assert!(split.explain().contains("newer"), "{path}");
            }
        }
    }
    assert!(kept > 40, "{kept}");
    // These have no place to keep it in, and say so.
    refused.dedup();
    refused.retain(|path| !path.ends_with("/imports") && !path.ends_with("/per_fourcc"));
    let device = "/participants/1/constraints/memory/imports/only_from/devices/0";
    assert_eq!(refused, [device]);
}

#[test]
fn terms_of_one_format_under_two_names_are_refused() {
    let text = r#"{"per_fourcc": {"XR24": {}, "XRGB8888": {"padding_bytes": 4096}}}"#;
    let error = serde_json::from_str::<Constraints>(text).unwrap_err();
    assert!(error.to_string().contains("XR24 is there twice"), "{error}");
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
    assert_eq!(participant.constraints.image.stride.minimum, 640);
    assert_eq!(participant.demands().len(), 1);
}
