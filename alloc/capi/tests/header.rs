//! Checks that the header is C99 and C++11 without warnings, that its structures have this crate's layout, and that it declares
//! every exported function.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn compiles(compiler: &str, words: &[&str]) {
    let output = Command::new(compiler)
        .args(words)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
        .arg(folder().join("tests/layout.c"))
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {words:?}: {stderr}");
}

#[test]
fn header_compiles_as_c99() {
    compiles("cc", &["-std=c99", "-x", "c"]);
}

#[test]
fn header_compiles_as_cpp() {
    // A machine with a C compiler need not have a C++ compiler.
    if Command::new("c++").arg("--version").output().is_ok() {
        compiles("c++", &["-std=c++11", "-x", "c++"]);
    }
}

/// Returns the names of the functions that a line declares or defines.
fn functions(line: &str) -> Vec<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    line.match_indices("covalent_")
        .filter_map(|(start, _)| {
            let rest = &line[start..];
            let end = rest.find(|letter| !is_name(letter))?;
            rest[end..].starts_with('(').then(|| rest[..end].to_owned())
        })
        .collect()
}

#[test]
fn header_declares_every_function_that_is_exported() {
    let read = |path: &str| fs::read_to_string(folder().join(path)).unwrap();
    let named = |text: &str, wanted: &dyn Fn(&str) -> bool| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| wanted(line));
        lines.flat_map(functions).collect()
    };
    let exported = named(&read("src/sys.rs"), &|line| {
        line.contains("extern \"C\" fn ")
    });
    let declared = named(&read("include/covalent.h"), &|line| {
        line.ends_with(");") && !line.starts_with([' ', '*', '\t'])
    });
    assert_eq!(exported, declared);
    assert_eq!(exported.len(), 9);
}
