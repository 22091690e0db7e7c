//! Tests of dumps from public reports: each dump describes the expected machine, and a damaged dump is imported or refused.
//!
//! Each folder in `tests/dumps` of the repository has the dumps of one machine, and a README with their source and facts.
#![allow(missing_docs, clippy::unwrap_used, clippy::cast_possible_truncation)]

mod cards;
mod mutations;
mod others;
#[path = "../../../solver/tests/common/sys.rs"]
mod sys;
mod videos;

use std::fs;
use std::path::{Path, PathBuf};

use covalent_machine::dump::{DumpFile, import};
use covalent_machine::{Job, Machine, RecordedParticipant, ResolvedRequest};
use covalent_solver::model::Extent;

/// Imports the files of a folder in the order of their names.
fn imported(folder: &str) -> Machine {
    let mut paths: Vec<PathBuf> = files(&dumps().join(folder)).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no dump");
    let contents: Vec<(String, Vec<u8>)> = paths
        .iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.to_owned(), fs::read(path).unwrap())
        })
        .collect();
    let files: Vec<DumpFile<'_>> = contents
        .iter()
        .map(|(name, bytes)| DumpFile { name, bytes })
        .collect();
    let machine = import(&files).unwrap();
    // An imported machine can be written and read again.
    let text = machine.to_json().unwrap();
    assert_eq!(Machine::from_json(text.as_bytes()).unwrap(), machine);
    machine
}

/// Imports one text.
fn imported_text(text: &str) -> Result<Machine, String> {
    let bytes = text.as_bytes();
    import(&[DumpFile {
        name: "text",
        bytes,
    }])
    .map_err(|error| error.to_string())
}

fn dumps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/dumps")
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| !path.ends_with("README.md"))
}

/// Returns the participant with this name, at any size.
fn participant<'machine>(machine: &'machine Machine, name: &str) -> &'machine RecordedParticipant {
    let mut all = machine.declared.iter().flat_map(|own| &own.participants);
    let found = all.find(|own| own.participant.name == name);
    found.unwrap_or_else(|| panic!("no {name}: {}", names(machine).join(", ")))
}

fn names(machine: &Machine) -> Vec<String> {
    let all = machine.declared.iter().flat_map(|own| &own.participants);
    all.map(|own| own.participant.name.clone()).collect()
}

/// Returns the names of a participant's formats.
fn formats(machine: &Machine, name: &str) -> Vec<String> {
    let own = &participant(machine, name).participant;
    let pairs = own.constraints().formats.as_ref().unwrap();
    pairs.iter().map(|pair| pair.to_string()).collect()
}

/// Returns the identifiers of the sources at all sizes.
fn sources(machine: &Machine) -> Vec<String> {
    let all = machine.declared.iter().flat_map(|own| &own.sources);
    all.map(|own| own.source.id.to_string()).collect()
}

/// Returns the texts about what is not known of a participant.
fn unknown(machine: &Machine, name: &str) -> String {
    let own = &participant(machine, name).provenance;
    let all: Vec<&str> = own.unknown().map(|(_, what)| what).collect();
    all.join("; ")
}

fn size(text: &str) -> Extent {
    text.parse().unwrap()
}

/// Makes the request of a job with these cameras and displays at one size.
fn request(machine: &Machine, at: &str, cameras: &[&str], displays: &[&str]) -> ResolvedRequest {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let job = Job {
        cameras: own(cameras),
        displays: own(displays),
        ..Job::new(size(at), 4)
    };
    machine.request(&job).unwrap()
}

#[test]
fn every_dump_has_a_readme_with_its_source() {
    let mut count = 0;
    for entry in fs::read_dir(dumps()).unwrap() {
        let folder = entry.unwrap().path();
        let readme = fs::read_to_string(folder.join("README.md")).unwrap();
        assert!(readme.contains("**Source:** http"), "{}", folder.display());
        assert!(readme.contains("**Facts:**"), "{}", folder.display());
        count += 1;
    }
    assert!(count >= COUNT, "{count}");
}

/// The number of folders with dumps in `tests/dumps`.
const COUNT: usize = 17;
