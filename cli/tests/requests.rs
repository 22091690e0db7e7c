//! Plans for requests in files. An error about an invalid request names the field.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Runs `covalent plan` with a request in a file, and returns the exit code and the error text.
fn plan(folder: &Path, request: &str) -> (Option<i32>, String) {
    plan_with(folder, request, &[])
}

/// Runs `covalent plan` as [`plan`] does, with further options.
fn plan_with(folder: &Path, request: &str, options: &[&str]) -> (Option<i32>, String) {
    let path = folder.join("request.json");
    std::fs::write(&path, request).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_covalent"))
        .args(["plan", "--from", path.to_str().unwrap()])
        .args(options)
        .env("XDG_CACHE_HOME", folder)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn request() -> Value {
    let participant = |name: &str| {
        json!({
            "name": name,
            "device": {"driver": "made-up", "location": "", "node": ""},
            "role": "display",
        })
    };
    json!({
        "extent": "640x480",
        "count": 2,
        "participants": [participant("one"), participant("two")],
        "sources": [{"id": "heap:made-up", "name": "made-up heap"}],
        "preferred_fourcc": null,
    })
}

#[test]
fn plan_that_is_only_possible_has_an_exit_code_where_a_guaranteed_one_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let code = |request: &Value, options: &[&str]| {
        plan_with(folder.path(), &request.to_string(), options).0
    };
    let mut request_value = request();
    for verdict in ["possible", "guaranteed"] {
        assert_eq!(code(&request_value, &["--require", verdict]), Some(0));
    }
    // No participant and no source declares whether the heap's memory is contiguous.
    request_value["participants"][0]["constraints"] =
        json!({"version": 2, "memory": {"contiguity": "contiguous"}});
    assert_eq!(code(&request_value, &[]), Some(0));
    assert_eq!(code(&request_value, &["--require", "possible"]), Some(0));
    assert_eq!(
        code(&request_value, &["--require", "guaranteed", "--json"]),
        Some(14)
    );
    request_value["participants"][0]["constraints"]["formats"] = json!([]);
    assert_eq!(code(&request_value, &["--require", "guaranteed"]), Some(4));
}

#[test]
fn error_of_a_file_of_another_kind_is_printed_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.json");
    std::fs::write(&path, r#"{"/dev/dri/card0": {"driver": {}}}"#).unwrap();
    for verb in [
        ["doctor", "--from"],
        ["matrix", "--from"],
        ["plan", "--from"],
        ["plan", "--machine"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_covalent"))
            .args(verb)
            .arg(&path)
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.matches("missing field").count() <= 1,
            "{verb:?}: {text}"
        );
        assert!(
            text.matches("covalent-machine").count() <= 1,
            "{verb:?}: {text}"
        );
    }
}

#[test]
fn request_with_an_invalid_value_is_refused_with_its_field() {
    let folder = tempfile::tempdir().unwrap();
    for (place, pointer, value) in [
        ("count", "/count", json!(u32::MAX)),
        ("extent", "/extent", json!("0x0")),
        ("participants[1].name", "/participants/1/name", json!("one")),
        (
            "participants[0].role",
            "/participants/0/role",
            json!("spectator"),
        ),
        ("sources[0].id", "/sources/0/id", json!(null)),
    ] {
        let mut request = request();
        *request.pointer_mut(pointer).unwrap() = value;
        let (code, error) = plan(folder.path(), &request.to_string());
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&format!("{place}: ")), "{error}");
        assert!(error.contains("request.json"), "{error}");
    }
}

#[test]
fn request_with_constraints_of_a_newer_version_has_no_plan() {
    let folder = tempfile::tempdir().unwrap();
    let mut request = request();
    request["participants"][0]["constraints"] = json!({"version": 99});
    let (code, error) = plan(folder.path(), &request.to_string());
    assert_eq!(code, Some(4), "{error}");
}
