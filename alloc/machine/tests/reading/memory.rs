//! Tests of the memory for parsing a machine file or a request, valid or not: it is at most the documented multiple of the text's
//! length. Values that are nested too deeply are refused.

use covalent_machine::Machine;
use covalent_solver::solve::Request;

use crate::sys::measured;

/// The documented limit of memory: `TIMES` bytes for each byte of the text, and `MORE` bytes.
const TIMES: usize = 16;
const MORE: usize = 64 << 20;

/// Repeats a text until it has about the given length in bytes.
fn repeated(piece: &str, bytes: usize) -> String {
    let mut text = piece.repeat(bytes / piece.len());
    text.pop();
    text
}

/// Returns texts of about `bytes` bytes that take the most memory for their length. The name of each text says what it repeats.
fn worst(bytes: usize) -> Vec<(&'static str, String)> {
    let machine = |declared: &str, more: &str| {
        format!(
            r#"{{"format":"covalent-machine","version":1,"name":"","origin":"","declared":[{declared}]{more}}}"#
        )
    };
    let participant = |more: &str| {
        machine(
            &format!(
                r#"{{"participants":[{{"participant":{{"name":"p","device":{{"driver":"","location":"","node":""}},"role":"import"{more}}}}}]}}"#
            ),
            "",
        )
    };
    let constraints = |own: &str| participant(&format!(r#","constraints":{{{own}}}"#));
    let many = |piece: &str| repeated(piece, bytes);
    vec![
        ("sizes", machine(&many("{},"), "")),
        (
            "unknown lists",
            machine("", &format!(r#","newer":[{}]"#, many("[],"))),
        ),
        (
            "unknown objects",
            machine("", &format!(r#","newer":[{}]"#, many(r#"{"":0},"#))),
        ),
        (
            "unknown texts",
            machine("", &format!(r#","newer":[{}]"#, many(r#""","#))),
        ),
        (
            "alternatives",
            participant(&format!(r#","alternatives":[{}]"#, many("{},"))),
        ),
        (
            "alternatives with a format",
            participant(&format!(
                r#","alternatives":[{}]"#,
                many(r#"{"per_fourcc":{"R8":{}}},"#)
            )),
        ),
        (
            "participants",
            machine(
                &format!(
                    r#"{{"participants":[{}]}}"#,
                    many(
                        r#"{"participant":{"name":"","device":{"driver":"","location":"","node":""},"role":"import"}},"#
                    )
                ),
                "",
            ),
        ),
        (
            "pairs with fields that are unknown",
            constraints(&format!(
                r#""formats":[{}]"#,
                many(r#"{"fourcc":"R8","modifier":"LINEAR","":0},"#)
            )),
        ),
        (
            "strides",
            constraints(&format!(
                r#""image":{{"stride":{{"preferred":[{}]}}}}"#,
                many("7,")
            )),
        ),
        (
            "sources by name",
            constraints(&format!(r#""memory":{{"preferred":[{}]}}"#, many(r#""","#))),
        ),
        (
            "missing",
            machine(
                &format!(
                    r#"{{"missing":[{}]}}"#,
                    many(r#"{"name":"","why":"","":0},"#)
                ),
                "",
            ),
        ),
        (
            "regions",
            machine(
                "",
                &format!(r#","devicetree":{{"regions":[{}]}}"#, many("{},")),
            ),
        ),
        (
            "ranges",
            machine(
                "",
                &format!(
                    r#","devicetree":{{"regions":[{{"ranges":[{}]}}]}}"#,
                    many("{},")
                ),
            ),
        ),
        (
            "facts",
            machine("", &format!(r#","facts":[{}]"#, many("{},"))),
        ),
        (
            "a format",
            format!(r#"{{"format":[{}],"version":1}}"#, many(r#"{"":0},"#)),
        ),
    ]
}

#[test]
fn machine_file_takes_no_more_than_the_stated_multiple() {
    let bytes = 4 << 20;
    for (what, text) in worst(bytes) {
        let (_, usage) = measured(|| Machine::from_json(text.as_bytes()).is_ok());
        let peak = usage.peak_bytes;
        assert!(
            peak <= TIMES * text.len() + MORE,
            "{what}: {} bytes take {peak}",
            text.len()
        );
    }
}

#[test]
fn request_file_takes_no_more_than_the_stated_multiple() {
    let bytes = 4 << 20;
    let request = |more: &str| {
        format!(r#"{{"extent":"1x1","count":1,"participants":[],"sources":[]{more}}}"#)
    };
    let many = |piece: &str| repeated(piece, bytes);
    let participants = many(
        r#"{"name":"","device":{"driver":"","location":"","node":""},"role":"import","constraints":{"per_fourcc":{"R8":{}}},"alternatives":[{"per_fourcc":{"R8":{}}}]},"#,
    );
    for text in [
        request(&format!(r#","newer":[{}]"#, many(r#"{"":0},"#))),
        request(&format!(r#","more_extents":[{}]"#, many(r#""1x1","#))),
        format!(r#"{{"extent":"1x1","count":1,"participants":[{participants}],"sources":[]}}"#),
        format!(
            r#"{{"extent":"1x1","count":1,"participants":[],"sources":[{}]}}"#,
            many(r#"{"id":"","name":""},"#)
        ),
    ] {
        let (_, usage) = measured(|| Request::from_json(text.as_bytes()).is_ok());
        let peak = usage.peak_bytes;
        assert!(
            peak <= TIMES * text.len() + MORE,
            "{} bytes take {peak}",
            text.len()
        );
    }
}

#[test]
fn recorded_machine_takes_less_than_four_times_its_length() {
    // This recording has the most deeply nested structures. Each structure is in memory only once while the recording is read.
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../tests/machines/guest-full.json"
    );
    let text = std::fs::read(path).unwrap();
    let (read, usage) = measured(|| Machine::from_json(&text));
    let peak = usage.peak_bytes;
    read.unwrap();
    assert!(peak < 4 * text.len(), "{} bytes take {peak}", text.len());
}

#[test]
fn value_that_is_nested_too_deeply_is_refused() {
    for depth in [33, 100, 10_000, 1_000_000] {
        let text = format!(
            r#"{{"extent":"1x1","count":1,"participants":[],"sources":[],"newer":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        let error = Request::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(
            error.starts_with("newer") && error.contains("deep"),
            "{error}"
        );
        assert!(error.contains("line 1 column"), "{error}");
    }
}
