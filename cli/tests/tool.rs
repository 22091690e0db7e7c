//! The user interface of the tool: help, completions, man pages, colours, and pictures of recorded matrices.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// All verbs of the tool.
const VERBS: [&str; 13] = [
    "probe",
    "plan",
    "alloc",
    "matrix",
    "inspect",
    "bench",
    "diff",
    "doctor",
    "facts",
    "import",
    "report",
    "completions",
    "man",
];

/// The guest configurations whose recorded matrices are in `docs/matrix`.
const CONFIGURATIONS: [&str; 5] = ["bochs", "full", "venus", "virtio", "vkms"];

fn run(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_covalent"));
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
        .args(words)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stdout_of(words: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(words, variables);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn recorded(configuration: &str) -> String {
    let path = docs().join(format!("matrix/{configuration}.json"));
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_of_every_verb_has_an_example() {
    for verb in VERBS {
        let help = stdout_of(&[verb, "--help"], &[]);
        let (_, examples) = help
            .split_once("\nExamples:\n")
            .unwrap_or_else(|| panic!("{verb} shows no example: {help}"));
        assert!(examples.contains(&format!("covalent {verb}")), "{help}");
        assert!(
            help.lines().all(|line| line.chars().count() <= 120),
            "{help}"
        );
    }
    let help = stdout_of(&["--help"], &[]);
    for verb in VERBS {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
    }
    assert!(help.contains("Exit codes:"), "{help}");
}

/// Writes a report like that of `covalent report` into a folder, and returns its path.
fn report(folder: &Path) -> PathBuf {
    let path = folder.join("report.json");
    let variables = [("USER", "ada"), ("HOME", "/home/ada")];
    let machine = docs().join("../tests/machines/raspberry-pi-4.json");
    let words = ["report", "--no-matrix", "--out", path.to_str().unwrap()];
    let plan = [
        "--",
        "--machine",
        machine.to_str().unwrap(),
        "--display",
        "vc4",
    ];
    let text = stdout_of(&[&words[..], &plan[..]].concat(), &variables);
    assert!(text.contains("written: "), "{text}");
    path
}

#[test]
fn report_is_read_by_every_verb_and_has_no_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = report(folder.path());
    let text = fs::read_to_string(&path).unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|one: char| !one.is_alphanumeric() && one != '-');
        parts.map(str::to_owned).collect()
    };
    for name in ["ada", host.trim()] {
        assert!(!words(&text).contains(&name.to_owned()), "{name}");
    }
    let path = path.to_str().unwrap();
    let code = |verb: &[&str]| run(verb, &[]).status.code();
    assert!(matches!(code(&["doctor", "--from", path]), Some(0 | 13)));
    assert_eq!(code(&["plan", "--from", path]), Some(0));
    assert_eq!(code(&["diff", path, path]), Some(0));
    let planned = run(&["plan", "--machine", path, "--display", "nothing"], &[]);
    let error = String::from_utf8_lossy(&planned.stderr).into_owned();
    assert!(
        error.contains("no display of the recorded machine"),
        "{error}"
    );
    let matrix = run(&["matrix", "--from", path], &[]);
    let error = String::from_utf8_lossy(&matrix.stderr).into_owned();
    assert!(
        error.contains("a report of `covalent report`, which has no field `matrix`"),
        "{error}"
    );
}

#[test]
fn completions_contain_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let text = stdout_of(&["completions", shell], &[]);
        for verb in VERBS {
            assert!(text.contains(verb), "{shell} does not know {verb}");
        }
    }
    let output = run(&["completions", "tcsh"], &[]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn man_pages_are_written_for_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("man1");
    stdout_of(&["man", new.to_str().unwrap()], &[]);
    for verb in VERBS {
        let page = fs::read_to_string(new.join(format!("covalent-{verb}.1"))).unwrap();
        assert!(page.contains("Examples:"), "{verb}: {page}");
    }
    let page = fs::read_to_string(new.join("covalent.1")).unwrap();
    assert!(page.contains("Exit codes:"), "{page}");
}

#[test]
fn colours_are_printed_on_terminals_or_if_forced() {
    let file = recorded("virtio");
    let words = ["matrix", "--from", &file];
    let plain = stdout_of(&words, &[]);
    assert!(!plain.contains('\u{1b}'), "colours into a pipe");
    let forced = stdout_of(&words, &[("CLICOLOR_FORCE", "1")]);
    assert!(forced.contains("\u{1b}[32m"), "no colours: {forced}");
    let refused = stdout_of(&words, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]);
    assert_eq!(refused, plain);
}

#[test]
fn table_of_every_recorded_matrix_fits_80_columns() {
    for configuration in CONFIGURATIONS {
        let text = stdout_of(&["matrix", "--from", &recorded(configuration)], &[]);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{configuration}: {line}");
        }
        assert!(text.contains("heap:system"), "{text}");
    }
}

/// The pictures in the README show the recorded matrices. This command draws one: `covalent matrix --from docs/matrix/NAME.json
/// --svg docs/matrix-NAME.svg --title "Configuration NAME"`.
#[test]
fn pictures_in_docs_match_their_recorded_matrices() {
    let folder = tempfile::tempdir().unwrap();
    for configuration in CONFIGURATIONS {
        let picture = folder.path().join("matrix.svg");
        let title = format!("Configuration {configuration}");
        let words = [
            "matrix",
            "--from",
            &recorded(configuration),
            "--svg",
            picture.to_str().unwrap(),
            "--title",
            &title,
        ];
        stdout_of(&words, &[]);
        let committed = docs().join(format!("matrix-{configuration}.svg"));
        assert!(
            fs::read(&picture).unwrap() == fs::read(&committed).unwrap(),
            "{} does not match its matrix: draw it again",
            committed.display()
        );
    }
}

#[test]
fn recorded_matrix_is_printed_unchanged() {
    let file = recorded("vkms");
    let again = stdout_of(&["matrix", "--from", &file, "--json"], &[]);
    assert_eq!(again, fs::read_to_string(&file).unwrap());
}

#[test]
fn recording_that_is_damaged_is_refused_with_its_file_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read_to_string(recorded("bochs")).unwrap();
    let newer = whole.replacen("\"version\": 1", "\"version\": 2", 1);
    for (name, text, words) in [
        ("half.json", &whole[..whole.len() / 2], "not a matrix"),
        ("empty.json", "", "not a matrix"),
        ("newer.json", &newer, "version 2"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let output = run(&["matrix", "--from", path.to_str().unwrap()], &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(name) && error.contains(words), "{error}");
    }
}

#[test]
fn recorded_machine_has_the_same_findings_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("machine.json");
    let file = path.to_str().unwrap();
    // The findings depend on the machine that runs the test, so they are compared with those of a recording of the same machine.
    let here = run(&["doctor", "--record", file, "--json"], &[]);
    let there = run(&["doctor", "--from", file, "--json"], &[]);
    assert_eq!(here.stdout, there.stdout);
    assert_eq!(here.status.code(), there.status.code());
    fs::write(&path, "{\"version\": 9}").unwrap();
    let output = run(&["doctor", "--from", file], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("version 9"));
}

#[test]
fn recording_that_is_too_long_is_refused_with_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.json");
    // The file is sparse: it has a tebibyte, and takes no space on the disk.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    for (verb, most) in [("doctor", "16777216 bytes"), ("matrix", "16777216 bytes")] {
        let output = run(&[verb, "--from", path.to_str().unwrap()], &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("long.json") && error.contains(most),
            "{error}"
        );
    }
}

#[test]
fn recording_with_an_invalid_value_is_refused_with_line_column_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.json");
    let snapshot = "{\"version\": 1,\n\"nodes\": [{\"path\": \"/dev/x\", \"kind\": \"odd\"}]}";
    let matrix = fs::read_to_string(recorded("bochs")).unwrap();
    let matrix = matrix.replacen("\"is_listed\":true", "\"is_listed\":7", 1);
    for (verb, text, field) in [
        ("doctor", snapshot, "nodes[0].kind"),
        ("matrix", &matrix, "].is_listed"),
    ] {
        fs::write(&path, text).unwrap();
        let output = run(&[verb, "--from", path.to_str().unwrap()], &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        for words in ["odd.json", "line ", "column ", field] {
            assert!(error.contains(words), "{verb}: {error}");
        }
    }
}

#[test]
fn gpu_that_is_not_known_is_answered_with_those_that_are() {
    for arguments in [
        ["probe", "--as", "voodoo2"].as_slice(),
        &["plan", "--gpu", "voodoo2"],
        &["plan", "--machine", "gpu:voodoo2", "--vulkan"],
        &["diff", "gpu:voodoo2", "gpu:navi31"],
    ] {
        let output = run(arguments, &[]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("no GPU is called voodoo2") && error.contains("navi31, "),
            "{error}"
        );
    }
}

#[test]
fn gpu_without_its_shim_is_answered_with_the_line_that_installs_it() {
    let output = run(&["probe", "--as", "navi31"], &[]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    // On a machine with the package mesa-drm-shim the command succeeds.
    if !output.status.success() {
        assert!(
            error.contains("apt install mesa-drm-shim mesa-vulkan-drivers"),
            "{error}"
        );
    }
}
