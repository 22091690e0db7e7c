//! The commands in the repository's README.md that need no device print what the README shows.
//!
//! `UPDATE_README=1 cargo test -p covalent-cli --test readme` writes the outputs again.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a shell command in the root of the repository, with `covalent` in PATH, and returns stdout and stderr together.
fn output_of(line: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_covalent"));
    let mut folders = vec![program.parent().unwrap().to_owned()];
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {line}\n}} 2>&1")])
        .current_dir(tree())
        .env("PATH", std::env::join_paths(folders).unwrap())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Returns whether a command reads only files of the repository.
fn is_reproducible(command: &str) -> bool {
    command.starts_with("covalent ") && command.contains(" tests/")
}

#[test]
fn command_in_the_readme_prints_the_output_that_the_readme_shows() {
    let path = tree().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let mut written = String::new();
    let mut checked = 0;
    let mut lines = readme.lines().peekable();
    while let Some(line) = lines.next() {
        written.push_str(line);
        written.push('\n');
        let Some(first) = line.strip_prefix("$ ").filter(|own| is_reproducible(own)) else {
            continue;
        };
        let mut command = first.to_owned();
        while command.ends_with('\\') {
            let next = lines.next().unwrap();
            written.push_str(next);
            written.push('\n');
            command.push('\n');
            command.push_str(next);
        }
        // The output in the README ends at the next command or at the end of the block.
        while lines
            .next_if(|line| !line.starts_with("$ ") && *line != "```")
            .is_some()
        {}
        written.push_str(&output_of(&command));
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} commands were found");
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &written).unwrap();
    } else {
        assert_eq!(
            readme, written,
            "README.md is out of date; UPDATE_README=1 writes it again"
        );
    }
}
