//! Runs the tool with hostile names in every input. The output must contain only printable characters and line breaks that the
//! tool itself writes.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "paths/run.rs"]
#[allow(dead_code, reason = "this test uses only some of the kinds of paths")]
mod run;
#[path = "paths/table.rs"]
#[allow(
    dead_code,
    reason = "this test does not read how each option uses its path"
)]
mod table;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use covalent_alloc::text::printable;
use serde_json::{Value, json};

use run::{Folder, line, run};

/// A name with control sequences that clear the screen and set a title, with line breaks, with characters that change the text
/// direction, and with invisible characters.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\nforged:\r\u{8}\t\u{202e}\u{2066}\u{200b}\u{feff}\u{9b}31m\u{7f}\u{2028}\u{e0041}\u{ad}";

/// Returns a text as long as the escaped hostile text, so that the tool wraps lines at the same places.
fn harmless() -> String {
    "x".repeat(printable(HOSTILE).chars().count())
}

/// Removes the escape sequences of colours, which the tool itself prints.
fn without_colours(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(place) = rest.find("\u{1b}[") {
        out.push_str(&rest[..place]);
        let sequence = &rest[place + 2..];
        let end = sequence.find(|letter: char| !letter.is_ascii_digit() && letter != ';');
        match end {
            Some(end) if sequence[end..].starts_with('m') => rest = &sequence[end + 1..],
            _ => {
                out.push('\u{1b}');
                rest = &rest[place + 1..];
            }
        }
    }
    out + rest
}

/// Asserts that the output contains only printable characters and line breaks, and that no line begins with text of a hostile
/// name.
fn assert_clean(what: &str, output: &Output) {
    for stream in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(stream).unwrap_or_else(|_| panic!("{what}: not UTF-8"));
        for text_line in text.lines() {
            assert_eq!(printable(text_line), text_line, "{what}");
            assert!(
                !text_line.trim_start().starts_with("forged:"),
                "{what}: {text}"
            );
        }
    }
    assert!(
        output.status.code().is_some(),
        "{what}: {:?}",
        output.status
    );
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(!words.contains("panicked"), "{what}: {words}");
}

/// Returns the number of lines on both streams.
fn line_count(output: &Output) -> usize {
    [&output.stdout, &output.stderr]
        .into_iter()
        .map(|stream| stream.iter().filter(|byte| **byte == b'\n').count())
        .sum()
}

/// Adds the path of every string in a JSON value to `found`. In a list, only the first entry that has a field is used.
fn fields(
    value: &Value,
    path: &mut Vec<String>,
    seen: &mut BTreeSet<String>,
    found: &mut Vec<Vec<String>>,
) {
    match value {
        Value::String(_) => {
            let field: Vec<&str> = path
                .iter()
                .map(|part| {
                    if part.parse::<usize>().is_ok() {
                        "*"
                    } else {
                        part
                    }
                })
                .collect();
            if seen.insert(field.join("/")) {
                found.push(path.clone());
            }
        }
        Value::Array(values) => {
            for (index, inner) in values.iter().enumerate() {
                path.push(index.to_string());
                fields(inner, path, seen, found);
                path.pop();
            }
        }
        Value::Object(map) => {
            for (name, inner) in map {
                path.push(name.clone());
                fields(inner, path, seen, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Returns a copy of the JSON value in which `added` is appended to the string at `path`.
fn with_text(value: &Value, path: &[String], added: &str) -> Value {
    let mut value = value.clone();
    let mut field = &mut value;
    for part in path {
        field = match field {
            Value::Array(values) => &mut values[part.parse::<usize>().unwrap()],
            other => &mut other[part.as_str()],
        };
    }
    *field = Value::String(format!("{}{added}", field.as_str().unwrap()));
    value
}

/// Appends hostile text to every field of a file, one at a time, and runs the tool on it.
fn try_fields(file: &Value, path: &Path, runs: &[&[&OsStr]]) {
    let mut found = Vec::new();
    fields(file, &mut Vec::new(), &mut BTreeSet::new(), &mut found);
    assert!(found.len() > 3, "{found:?}");
    for field in &found {
        let outputs = |added: &str| -> Vec<Output> {
            fs::write(path, with_text(file, field, added).to_string()).unwrap();
            runs.iter().map(|words| run(words)).collect()
        };
        let plain = outputs(&harmless());
        for ((hostile, plain), words) in outputs(HOSTILE).iter().zip(&plain).zip(runs) {
            let what = format!("{words:?} with hostile {}", field.join("/"));
            assert_clean(&what, hostile);
            assert_eq!(hostile.status.code(), plain.status.code(), "{what}");
            assert_eq!(line_count(hostile), line_count(plain), "{what}");
        }
    }
}

fn sample(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Splits a command line at its blanks, and replaces `FILE` by `file`.
fn words<'a>(line: &'a str, file: &'a Path) -> Vec<&'a OsStr> {
    line.split(' ')
        .map(|word| {
            if word == "FILE" {
                file.as_os_str()
            } else {
                OsStr::new(word)
            }
        })
        .collect()
}

fn try_lines(file: &Value, path: &Path, all: &[&str]) {
    let runs: Vec<Vec<&OsStr>> = all.iter().map(|line| words(line, path)).collect();
    let runs: Vec<&[&OsStr]> = runs.iter().map(Vec::as_slice).collect();
    try_fields(file, path, &runs);
}

#[test]
fn machine_with_hostile_names_is_printed_without_additional_lines() {
    let folder = Folder::new();
    let path = folder.path("machine.json");
    let original = sample("tests/machines/raspberry-pi-4.json");
    let machine = read(&original);
    let diff = format!("diff FILE {}", original.to_str().unwrap());
    try_lines(
        &machine,
        &path,
        &[
            "plan --machine FILE --decoder /dev/video19 --gbm /dev/dri/card0 --display vc4",
            "plan --machine FILE --decoder /dev/video19 --display vc4 --json",
            "plan --machine FILE --camera nobody",
            &diff,
        ],
    );
}

#[test]
fn request_with_hostile_names_is_printed_without_additional_lines() {
    let folder = Folder::new();
    let path = folder.path("request.json");
    let machine = sample("tests/machines/mediatek-mt8195.json");
    run(&words(
        &format!(
            "plan --machine {} --decoder /dev/video0 --display mediatek --record FILE",
            machine.to_str().unwrap()
        ),
        &path,
    ));
    try_lines(
        &read(&path),
        &path,
        &["plan --from FILE", "plan --from FILE --json"],
    );
}

#[test]
fn matrix_with_hostile_names_is_printed_and_drawn_without_additional_lines() {
    let folder = Folder::new();
    let (path, picture) = (folder.path("matrix.json"), folder.path("matrix.svg"));
    let mut matrix = read(&sample("docs/matrix/bochs.json"));
    // A few cells are enough, because together they have all fields.
    let cells = matrix["cells"].as_array_mut().unwrap();
    let refused = |cell: &Value| cell["outcome"].is_object();
    let last = cells.iter().rev().find(|cell| refused(cell)).cloned();
    cells.truncate(40);
    cells.extend(last);
    matrix["learnt"] = json!(["a trial result"]);
    let svg = format!("matrix --from FILE --svg {}", picture.to_str().unwrap());
    try_lines(
        &matrix,
        &path,
        &["matrix --from FILE", "matrix --from FILE --json", &svg],
    );
    let text = fs::read_to_string(&picture).unwrap();
    assert!(
        text.lines()
            .all(|text_line| printable(text_line) == text_line)
    );
}

/// Returns a machine with every problem that `covalent doctor` finds, so that all remedies are printed.
fn machine_with_all_problems() -> Value {
    let refused = json!({"errno": 13, "words": "Permission denied"});
    let file = |group: &str, mode: u32| json!({"owner": 0, "group": group, "mode": mode, "refusal": refused});
    json!({
        "version": 1,
        "kernel": {"release": "7.3.4", "options": {"DRM": "y"}, "modules": {"udmabuf": "available"}},
        "user": {"id": 1000, "name": "ada", "groups": ["ada"], "listed_groups": ["ada", "render"]},
        "container": null,
        "nodes": [
            {"path": "/dev/dri/card0", "kind": "card", "number": [226, 0], "file": file("video", 0o660)},
            {"path": "/dev/dri/renderD128", "kind": "render", "number": [226, 128], "file": file("render", 0o660)},
            {"path": "/dev/dma_heap/system", "kind": "heap", "number": [251, 0], "file": file("root", 0o600)},
            {"path": "/dev/video0", "kind": "video", "number": [81, 0], "file": null}
        ],
        "cards": [{
            "node": "/dev/dri/card0", "driver": "amdgpu", "imports_foreign": false, "import": "it says no",
            "shows": true, "has_timelines": false, "has_render_node": false
        }],
        "queues": [{"name": "vivid capture", "node": "/dev/video0", "needs_contiguous": true}],
        "driverless": [{"address": "0000:00:02.0", "alias": "pci:v00001234d00001111"}],
        "limits": {"files": 10, "files_hard": 10},
        "vulkan": {"has_loader": false, "drivers": ["/a.json"]},
        "seat": {
            "socket_path": "/run/seatd.sock", "socket": file("root", 0o660), "has_logind": false, "session": null,
            "desktop": null, "has_seatd": true, "has_systemd": false
        },
        "lacking_pools": [{"words": "unicam needs one piece", "snippet": "&{/soc} { a = <1>; };"}],
        "no_helper": "it is not there",
        "distribution": ["debian"]
    })
}

#[test]
fn snapshot_with_hostile_names_is_checked_without_additional_lines() {
    let folder = Folder::new();
    let path = folder.path("snapshot.json");
    for in_container in [false, true] {
        let mut snapshot = machine_with_all_problems();
        if in_container {
            snapshot["container"] = json!("/.dockerenv");
        }
        let mut found = Vec::new();
        fields(&snapshot, &mut Vec::new(), &mut BTreeSet::new(), &mut found);
        for field in &found {
            fs::write(&path, with_text(&snapshot, field, HOSTILE).to_string()).unwrap();
            for line in ["doctor --from FILE", "doctor --from FILE --json"] {
                assert_clean(
                    &format!("{line} with hostile {field:?}"),
                    &run(&words(line, &path)),
                );
            }
        }
    }
}

#[test]
fn line_to_paste_runs_no_command_of_a_hostile_name() {
    let folder = Folder::new();
    let (path, proof) = (folder.path("snapshot.json"), folder.path("proof"));
    let attack = [
        "; touch PROOF; #",
        "$(touch PROOF)",
        "`touch PROOF`",
        "'; touch PROOF; '",
        "' && touch PROOF #",
        "\ntouch PROOF\n",
        "|touch PROOF",
    ];
    for in_container in [false, true] {
        let mut snapshot = machine_with_all_problems();
        if in_container {
            snapshot["container"] = json!("/.dockerenv");
        }
        let mut found = Vec::new();
        fields(&snapshot, &mut Vec::new(), &mut BTreeSet::new(), &mut found);
        for field in &found {
            for attack in attack {
                let attack = attack.replace("PROOF", proof.to_str().unwrap());
                fs::write(&path, with_text(&snapshot, field, &attack).to_string()).unwrap();
                let output = run(&words("doctor --from FILE --json", &path));
                let Ok(report) = serde_json::from_slice::<Value>(&output.stdout) else {
                    assert_eq!(output.status.code(), Some(1), "{field:?}");
                    continue;
                };
                for finding in report["findings"].as_array().unwrap() {
                    let Some(pasted) = finding["remedy"]["line"].as_str() else {
                        continue;
                    };
                    // A PATH without programs and a shell function make every command of the line do nothing, except `touch`.
                    let script = format!(
                        "PATH=/proc/none; command_not_found_handle() {{ :; }}; touch() {{ /bin/touch \"$@\"; }}; \
                         sudo() {{ \"$@\"; }}; sh() {{ eval \"$2\"; }}; tee() {{ :; }}; dtc() {{ :; }}\n{pasted}\n"
                    );
                    let ran = std::process::Command::new("sh")
                        .arg("-c")
                        .arg(script)
                        .output()
                        .unwrap();
                    assert!(!proof.exists(), "{field:?}: {pasted}: {ran:?}");
                }
            }
        }
    }
}

#[test]
fn colours_are_the_only_escape_sequences_in_the_output() {
    let folder = Folder::new();
    let path = folder.path("snapshot.json");
    let snapshot = with_text(
        &machine_with_all_problems(),
        &["queues".into(), "0".into(), "node".into()],
        HOSTILE,
    );
    fs::write(&path, snapshot.to_string()).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_covalent"));
    command.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
    let mut output = command
        .args(["doctor", "--from"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains("\u{1b}[1m"), "no colours: {text}");
    output.stdout = without_colours(&text).into_bytes();
    assert_clean("doctor in colours", &output);
}

#[test]
fn facts_with_hostile_names_are_listed_without_additional_lines() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path("covalent")).unwrap();
    let path = folder.path("covalent/facts.json");
    for text in [
        HOSTILE.to_owned(),
        json!({"version": HOSTILE}).to_string(),
        json!({"version": 1, "facts": [{"who": HOSTILE}]}).to_string(),
        json!({"version": 1, HOSTILE: 3, "facts": HOSTILE}).to_string(),
    ] {
        for line in ["facts list", "facts export", "facts forget x"] {
            fs::write(&path, &text).unwrap();
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_covalent"))
                .args(line.split(' '))
                .env("XDG_CACHE_HOME", folder.path(""))
                .output()
                .unwrap();
            assert_clean(line, &output);
        }
    }
}

#[test]
fn path_with_a_hostile_name_is_printed_escaped() {
    let names: [&[u8]; 2] = [HOSTILE.as_bytes(), b"\xff\xfe\nforged:\x1b[2J"];
    for option in table::PATHS {
        for name in names {
            // This folder does not exist, so no file in it exists.
            let path = Path::new("/proc/none").join(OsStr::from_bytes(name));
            let output = run(&line(option, &path));
            assert_clean(&format!("{option:?}"), &output);
            let plain = run(&line(option, Path::new("/proc/none/plain")));
            assert_eq!(line_count(&output), line_count(&plain), "{option:?}");
            // The file exists, but does not have the format that the option expects.
            let folder = Folder::new();
            let path = folder.path(OsStr::from_bytes(&name[..name.len().min(40)]));
            fs::write(&path, HOSTILE).unwrap();
            assert_clean(&format!("{option:?}"), &run(&line(option, &path)));
        }
    }
}

#[test]
fn argument_that_is_hostile_is_refused_with_printable_text() {
    let texts: [&[u8]; 2] = [HOSTILE.as_bytes(), b"\xff\xfe\nforged:\x1b[2J"];
    for verb in [
        "", "probe", "plan", "alloc", "matrix", "inspect", "bench", "diff", "doctor", "facts",
        "man",
    ] {
        for text in texts {
            let text = OsStr::from_bytes(text);
            for before in [
                "",
                "--",
                "--size=",
                "--pid=",
                "--layout=",
                "--format=",
                "--source=",
                "--with=",
            ] {
                let mut words: Vec<OsString> = Vec::new();
                if !verb.is_empty() {
                    words.push(verb.into());
                }
                // The argument begins with `-`, because `man` would create a folder with any other name.
                let mut word = OsString::from(if verb == "man" && before.is_empty() {
                    "-"
                } else {
                    before
                });
                word.push(text);
                words.push(word);
                if verb == "alloc" {
                    words.extend(["--size", "8x8", "--format", "XR24"].map(OsString::from));
                }
                assert_clean(&format!("{words:?}"), &run(&words));
            }
        }
    }
}

#[test]
fn process_with_a_hostile_name_is_found_and_printed_escaped() {
    let folder = Folder::new();
    // The kernel uses the first 15 bytes of the program's file name as the name of the process.
    let name = "\u{1b}[2J\nforged:\u{202e}";
    let program = folder.path(name);
    fs::copy("/bin/sleep", &program).unwrap();
    let mut child = std::process::Command::new(&program)
        .arg("60")
        .spawn()
        .unwrap();
    let named = run(&[OsStr::new("inspect"), OsStr::new("--pid"), OsStr::new(name)]);
    let all = run(&["inspect"]);
    let by_fd = run(&[
        OsStr::new("inspect"),
        OsStr::new("--pid"),
        OsStr::new(name),
        OsStr::new("--fd"),
        OsStr::new("0"),
    ]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(
        named.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&named.stderr)
    );
    for (what, output) in [("--pid", named), ("all", all), ("--fd", by_fd)] {
        assert_clean(what, &output);
    }
}
