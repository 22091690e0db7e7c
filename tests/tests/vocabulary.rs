//! Checks that no identifier in this tree is a word that `tests/vocabulary.toml` lists, unless the file lists an exception. The
//! listed words are not standard terms; the file gives the standard term for each.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vocabulary {
    /// The words, each with its standard term.
    words: BTreeMap<String, String>,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// An exception: some of the words may be identifiers in this folder or file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    words: BTreeSet<String>,
    /// The beginning of the paths of the files to which the exception applies.
    path: String,
    reason: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Adds the paths of the Rust sources in a folder, except those in build folders and hidden folders.
fn sources(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.to_str().unwrap();
        if entry.file_type().unwrap().is_dir() {
            if !name.starts_with('.') && !name.starts_with("target") {
                sources(&entry.path(), paths);
            }
        } else if name.ends_with(".rs") {
            paths.push(entry.path());
        }
    }
}

/// Returns the length in bytes of a raw string whose prefix is before `rest`; `None` if `rest` does not begin a raw string.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    let body = rest[hashes..].strip_prefix(b"\"")?;
    let close = [b"\"", "#".repeat(hashes).as_bytes()].concat();
    let end = body.windows(close.len()).position(|part| part == close)?;
    Some(hashes + 1 + end + close.len())
}

/// Returns the identifiers in the text of a Rust source file, except those in comments, strings and characters.
fn identifiers(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    while let Some(byte) = bytes.get(at).copied() {
        let rest = &text.as_bytes()[at..];
        let next = rest.get(1).copied().unwrap_or(0);
        if rest.starts_with(b"//") {
            at += rest
                .iter()
                .position(|byte| *byte == b'\n')
                .unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            let end = rest.windows(2).position(|pair| pair == b"*/");
            at += end.map_or(rest.len(), |end| end + 2);
        } else if byte == b'"' {
            let mut end = 1;
            while rest.get(end).is_some_and(|byte| *byte != b'"') {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            at += end + 1;
        } else if byte == b'\'' && (next == b'\\' || rest.get(2) == Some(&b'\'')) {
            let end = rest.iter().skip(2).position(|byte| *byte == b'\'');
            at += end.map_or(1, |end| end + 3);
        } else if byte.is_ascii_alphabetic() || byte == b'_' {
            let length = rest.iter().take_while(|byte| is_word(**byte)).count();
            let word = &text[at..at + length];
            at += length;
            match (word, raw_string(&rest[length..])) {
                ("r" | "br" | "cr", Some(bytes)) => at += bytes,
                _ => _ = found.insert(word),
            }
        } else {
            at += 1;
        }
    }
    found
}

#[test]
fn identifier_is_found_outside_of_comments_and_strings_alone() {
    let text = "// ledger\nfn tell(a: u8) { /* party */ let x = \"doubts \\\" ways\"; let y = r#\"wish\"#; let b = br\"prove\"; let z = 'Q'; f::<'w>(y) }";
    let found = identifiers(text);
    for name in ["fn", "tell", "a", "x", "y", "z", "f", "w"] {
        assert!(found.contains(name), "{name}: {found:?}");
    }
    for name in [
        "ledger", "party", "doubts", "ways", "wish", "prove", "br", "Q",
    ] {
        assert!(!found.contains(name), "{name}: {found:?}");
    }
}

#[test]
fn name_is_no_word_that_the_field_has_another_for() {
    let text = fs::read_to_string(root().join("tests/vocabulary.toml")).unwrap();
    let vocabulary: Vocabulary = toml::from_str(&text).unwrap();
    let mut paths = Vec::new();
    sources(&root(), &mut paths);
    let mut wrong = Vec::new();
    let mut unused: BTreeSet<(usize, &String)> = vocabulary
        .exceptions
        .iter()
        .enumerate()
        .flat_map(|(place, exception)| exception.words.iter().map(move |word| (place, word)))
        .collect();
    let mut files = 0;
    for path in &paths {
        let text = fs::read_to_string(path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap();
        files += 1;
        let stem = Path::new(path).file_stem().and_then(|stem| stem.to_str());
        let mut names = identifiers(&text);
        names.extend(stem);
        for word in names {
            let Some(instead) = vocabulary.words.get(word) else {
                continue;
            };
            let excepted: Vec<_> = vocabulary
                .exceptions
                .iter()
                .enumerate()
                .filter(|(_, exception)| path.starts_with(&exception.path))
                .filter_map(|(place, exception)| Some((place, exception.words.get(word)?)))
                .collect();
            if excepted.is_empty() {
                wrong.push(format!("{path}: {word}; say {instead}"));
            }
            for exception in excepted {
                unused.remove(&exception);
            }
        }
    }
    assert!(files > 100, "only {files} files were read");
    assert!(
        wrong.is_empty(),
        "{} names:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        unused.is_empty(),
        "exceptions that no identifier needs: {unused:?}"
    );
    assert!(
        vocabulary
            .exceptions
            .iter()
            .all(|exception| !exception.reason.is_empty())
    );
}
