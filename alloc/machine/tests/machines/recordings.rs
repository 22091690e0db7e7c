//! Access to the recordings in `tests/machines`.

use std::path::{Path, PathBuf};

use covalent_machine::Machine;

pub(crate) fn path(name: &str) -> PathBuf {
    folder().join(name).with_extension("json")
}

pub(crate) fn read(name: &str) -> Machine {
    Machine::from_json(&std::fs::read(path(name)).unwrap())
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the names of all recordings. Recordings of QEMU guests have names that begin with `guest-`.
pub(crate) fn all() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Returns the names of the recordings that were written from published facts.
pub(crate) fn boards() -> Vec<String> {
    let mut names = all();
    names.retain(|name| !name.starts_with("guest-"));
    names
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/machines")
}

#[test]
fn board_answers_at_every_size() {
    for board in boards() {
        let sizes: Vec<_> = read(&board).sizes().collect();
        assert!(sizes.is_empty(), "{board}: {sizes:?}");
    }
}
