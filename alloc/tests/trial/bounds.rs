//! Tests that a read of a file of trial results takes bounded memory, whatever the file contains.

use std::fmt::Write as _;

use covalent_alloc::trial::{TrialResultError, TrialResultStore};

use super::sys::measured;

/// The documented limit of the memory for reading a file, as a multiple of the file's length.
const MEMORY_FACTOR: usize = 64;
/// The additional memory in bytes that a read of any file may take: buffers of the standard library, and the text of an error.
const BASE_BYTES: usize = 64 << 10;
const LENGTH: usize = 512 << 10;

fn file(results: &str) -> String {
    format!("{{\"format\":\"covalent facts\",\"version\":1,\"facts\":[{results}]}}")
}

/// Repeats an item up to [`LENGTH`] bytes. Each `#` in the item is replaced by the item's number.
fn repeat_up_to_length(item: &str) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() > LENGTH {
            break;
        }
        let comma = if number > 0 { "," } else { "" };
        write!(text, "{comma}{}", item.replace('#', &number.to_string())).unwrap();
    }
    text
}

const SMALLEST: &str = r#"{"participant":{"driver":""},"effect":{"stride_alignment":{"bytes":1}},"origin":{"learnt":{"at":1,"times":1}}}"#;

fn with_host(host: &str) -> String {
    SMALLEST.replace(
        "\"origin\"",
        &format!("\"conditions\":{{\"host\":[{host}]}},\"origin\""),
    )
}

#[test]
fn file_of_results_takes_memory_in_proportion_to_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("facts.json");
    let long = SMALLEST.replace(
        "\"driver\":\"\"",
        &format!("\"driver\":\"{}\"", "\\n".repeat(LENGTH / 2)),
    );
    for (name, text, is_read) in [
        (
            "smallest results",
            file(&repeat_up_to_length(SMALLEST)),
            true,
        ),
        ("a long name", file(&long), true),
        (
            "features of a host",
            file(&with_host(&repeat_up_to_length("\"#\""))),
            true,
        ),
        (
            "features that are the same",
            file(&with_host(&repeat_up_to_length("\"\""))),
            true,
        ),
        ("an unknown list", file(&repeat_up_to_length("0")), false),
        (
            "an unknown field",
            file(&SMALLEST.replace(
                "\"origin\"",
                &format!("\"x\":[{}],\"origin\"", repeat_up_to_length("0")),
            )),
            false,
        ),
        ("depth", file(&"[".repeat(LENGTH)), false),
        (
            "depth of objects",
            file(&"{\"effect\":".repeat(LENGTH / 10)),
            false,
        ),
        ("not results", repeat_up_to_length("{}"), false),
    ] {
        std::fs::write(&path, &text).unwrap();
        let (read, usage) = measured(|| TrialResultStore::at(path.clone()).read());
        let most = usage.peak_bytes;
        let bound = text.len() * MEMORY_FACTOR + BASE_BYTES;
        assert!(
            most <= bound,
            "{name}: the read took {most} bytes of memory for a file of {} bytes",
            text.len()
        );
        match read {
            Ok(results) => assert!(is_read && !results.is_empty(), "{name}"),
            Err(TrialResultError::Damaged { .. } | TrialResultError::Unrecognised { .. }) => {
                assert!(!is_read, "{name}")
            }
            Err(other) => panic!("{name}: {other}"),
        }
        let _ = std::fs::remove_file(&path);
    }
}
