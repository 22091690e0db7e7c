//! Tests of the store with files that the tests create.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::*;
use crate::constraint::{Participant, Role, SourceId};
use crate::model::DeviceIdentity;
use crate::trial::{Refusal, Scope};

fn store() -> (tempfile::TempDir, TrialResultStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = TrialResultStore::at(folder.path().join("deep/facts.json"));
    (folder, store)
}

fn learn(store: &TrialResultStore, source: &str) {
    let device = DeviceIdentity {
        driver: "vkms".to_owned(),
        location: "vkms".to_owned(),
        node: "/dev/dri/card0".to_owned(),
    };
    let display = Participant::new("vkms", device, Role::Display);
    let refusal = Refusal::of_errno("vkms", "ADDFB2", 22, "no");
    store
        .update(|results| {
            results.learn(
                &display,
                &SourceId::new(source),
                Scope::default(),
                &refusal,
                2,
            )
        })
        .unwrap();
}

fn beside(store: &TrialResultStore, ending: &str) -> Vec<PathBuf> {
    fs::read_dir(store.path().parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.display().to_string().contains(ending))
        .collect()
}

#[test]
fn results_are_read_back_as_written() {
    let (_folder, store) = store();
    assert_eq!(store.read().unwrap(), []);
    learn(&store, "heap:a");
    learn(&store, "heap:b");
    let learnt = store.read().unwrap();
    assert_eq!(learnt.len(), 2);
    let (results, read) = store.load();
    read.unwrap();
    assert_eq!(results.learnt().cloned().collect::<Vec<_>>(), learnt);
    assert!(learnt.iter().all(|one| results.is_valid(one)));
    store.update(|results| results.forget(|_| true)).unwrap();
    assert_eq!(store.read().unwrap(), []);
    assert_eq!(beside(&store, ".new"), [] as [PathBuf; 0]);
}

#[test]
fn damaged_file_of_covalent_is_set_aside_and_kept() {
    let (_folder, store) = store();
    learn(&store, "heap:a");
    let good = fs::read(store.path()).unwrap();
    let cases: [(Vec<u8>, &str); 5] = [
        (good[..good.len() / 2].to_vec(), "EOF"),
        (good[..good.len() - 3].to_vec(), "EOF"),
        (
            b"{\"format\":\"covalent facts\",\"version\":1,\"facts\":[{}]}".to_vec(),
            "facts[0]: missing field",
        ),
        (
            b" {\"format\" : \"covalent facts\",\"version\":-1}".to_vec(),
            "version: invalid value",
        ),
        (
            String::from_utf8(good.clone())
                .unwrap()
                .replace("\"extent\": null", "\"extent\": \"0x5\"")
                .into_bytes(),
            "facts[0].effect.refuses.scope.extent: ",
        ),
    ];
    for (number, (damaged, words)) in cases.iter().enumerate() {
        fs::write(store.path(), damaged).unwrap();
        let Err(TrialResultError::Damaged { aside, why, .. }) = store.read() else {
            panic!("the store read a damaged file without an error")
        };
        assert!(why.contains(words), "{why}");
        assert_eq!(fs::read(&aside).unwrap(), *damaged);
        // The damaged file was moved, so there is no file, and the next result creates one.
        assert_eq!(store.read().unwrap(), []);
        assert_eq!(beside(&store, "damaged").len(), number + 1);
    }
    learn(&store, "heap:b");
    assert_eq!(store.read().unwrap().len(), 1);
}

/// Lists the entries of a folder, with their modes and contents.
fn entries(folder: &Path) -> Vec<(PathBuf, u32, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.display().to_string().ends_with(".lock"))
        .map(|path| {
            let mode = path.symlink_metadata().unwrap().mode();
            let is_file = path.symlink_metadata().unwrap().is_file();
            let bytes = if is_file {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            (path, mode, bytes)
        })
        .collect();
    all.sort();
    all
}

/// Checks that both a read and an update fail and do not change the folder; returns the error of the read.
fn error_without_a_change(store: &TrialResultStore, what: &str) -> TrialResultError {
    let folder = store.path().parent().unwrap();
    let before = entries(folder);
    let error = store.read().unwrap_err();
    let (results, read) = store.load();
    assert!(read.is_err() && !results.all().is_empty(), "{what}");
    assert!(store.update(|_| ()).is_err(), "{what}");
    assert_eq!(entries(folder), before, "{what}");
    error
}

#[test]
fn file_that_covalent_did_not_write_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = TrialResultStore::at(folder.path().join("facts.json"));
    for foreign in [
        b"\x89PNG\r\n\x1a\n\0\0".to_vec(),
        b"\0\xff\xfe".to_vec(),
        b"{\"format\":\"other\",\"version\":1,\"facts\":[]}".to_vec(),
        b"{\"format\":\"covalent factsheet\"".to_vec(),
        b"#!/bin/sh\nexit\n".to_vec(),
        b"[1, 2".to_vec(),
        vec![b'['; 100_000],
        vec![b' '; MAX_BYTES + 1],
    ] {
        fs::write(store.path(), &foreign).unwrap();
        error_without_a_change(&store, &String::from_utf8_lossy(&foreign[..2]));
    }
}

#[test]
fn file_with_an_unknown_field_is_not_changed_and_the_field_is_named() {
    let (_folder, store) = store();
    learn(&store, "heap:a");
    let good = fs::read_to_string(store.path()).unwrap();
    for (from, to, path) in [
        (
            "\"kernel\":",
            "\"firmware\": \"3\", \"kernel\":",
            "facts[0].conditions.firmware",
        ),
        ("\"facts\":", "\"more\": 3, \"facts\":", "more"),
        (
            "\"driver\":",
            "\"serial\": 3, \"driver\":",
            "facts[0].participant.serial",
        ),
        ("\"refuses\":", "\"slows\":", "facts[0].effect"),
        (
            "\"structural\"",
            "\"thermal\"",
            "facts[0].effect.refuses.refusal.kind",
        ),
    ] {
        let newer = good.replacen(from, to, 1);
        assert_ne!(newer, good, "{from}");
        fs::write(store.path(), newer).unwrap();
        let error = error_without_a_change(&store, path);
        assert!(
            matches!(error, TrialResultError::Unrecognised { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(path), "{error}");
    }
}

#[test]
fn file_that_is_not_regular_is_neither_waited_for_nor_moved() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| TrialResultStore::at(folder.path().join(name));
    let (fifo, node, socket, inner) = (at("fifo"), at("node"), at("socket"), at("inner"));
    mknodat(CWD, fifo.path(), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    drop(UnixListener::bind(socket.path()).unwrap());
    fs::create_dir(inner.path()).unwrap();
    let link = at("link");
    symlink(fifo.path(), link.path()).unwrap();
    let mut all = vec![
        (fifo, "pipe"),
        (socket, "socket"),
        (inner, "folder"),
        (link, "pipe"),
    ];
    // The test needs a device node, which only root can create.
    let null = rustix::fs::makedev(1, 3);
    if mknodat(
        CWD,
        node.path(),
        FileType::CharacterDevice,
        Mode::RUSR,
        null,
    )
    .is_ok()
    {
        all.push((node, "device"));
    }
    for (store, words) in &all {
        let error = error_without_a_change(store, words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn link_to_a_file_is_read_and_never_written_through() {
    let folder = tempfile::tempdir().unwrap();
    let target = TrialResultStore::at(folder.path().join("target"));
    learn(&target, "heap:a");
    let link = TrialResultStore::at(folder.path().join("link"));
    symlink(target.path(), link.path()).unwrap();
    assert_eq!(link.read().unwrap().len(), 1);
    let before = entries(folder.path());
    let error = link.update(|_| ()).unwrap_err().to_string();
    assert!(error.contains("link"), "{error}");
    // A damaged file behind a link is not moved either.
    fs::write(target.path(), "{\"format\":\"covalent facts\",").unwrap();
    assert!(matches!(link.read(), Err(TrialResultError::File(_))));
    assert_eq!(entries(folder.path()).len(), before.len());
}

#[test]
fn links_at_the_names_of_new_file_and_lock_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    let store = TrialResultStore::at(folder.path().join("facts.json"));
    symlink(&victim, folder.path().join("facts.json.new")).unwrap();
    learn(&store, "heap:a");
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    let lock = folder.path().join("facts.json.lock");
    fs::remove_file(&lock).unwrap();
    symlink(folder.path().join("made"), &lock).unwrap();
    let error = store.update(|_| ()).unwrap_err().to_string();
    assert!(error.contains("link"), "{error}");
    assert!(!folder.path().join("made").exists());
    fs::remove_file(&lock).unwrap();
    mknodat(CWD, &lock, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let error = store.update(|_| ()).unwrap_err().to_string();
    assert!(error.contains("pipe"), "{error}");
}

#[test]
fn folder_and_files_are_accessible_only_to_their_owner() {
    let (_folder, store) = store();
    learn(&store, "heap:a");
    let mode = |path: &Path| path.metadata().unwrap().mode() & 0o777;
    assert_eq!(mode(store.path().parent().unwrap()), 0o700);
    assert_eq!(mode(store.path()), 0o600);
    assert_eq!(mode(&store.beside("lock")), 0o600);
}

#[test]
fn results_are_read_from_a_folder_without_write_permission() {
    let (_folder, store) = store();
    learn(&store, "heap:a");
    let folder = store.path().parent().unwrap();
    fs::remove_file(store.beside("lock")).unwrap();
    fs::set_permissions(folder, PermissionsExt::from_mode(0o500)).unwrap();
    assert_eq!(store.read().unwrap().len(), 1);
    fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(beside(&store, "facts").len(), 1);
}

#[test]
fn cache_of_another_user_is_neither_read_nor_written_by_root() {
    use std::os::unix::fs::chown;
    let (folder, store) = store();
    learn(&store, "heap:a");
    let inner = store.path().parent().unwrap();
    if chown(inner, Some(12_345), None).is_err() {
        // The test needs a folder of another user, which only root can create.
        return;
    }
    let error = store.update(|_| ()).unwrap_err().to_string();
    assert!(error.contains("12345"), "{error}");
    chown(store.path(), Some(12_345), None).unwrap();
    let error = store.read().unwrap_err().to_string();
    assert!(error.contains("12345"), "{error}");
    // In a folder of another user, the store does not create a folder either.
    chown(folder.path(), Some(12_345), None).unwrap();
    let below = TrialResultStore::at(folder.path().join("cache/covalent/facts.json"));
    assert!(below.update(|_| ()).is_err());
    assert!(!folder.path().join("cache").exists());
}

#[test]
fn empty_file_has_no_results_and_is_overwritten() {
    let (_folder, store) = store();
    learn(&store, "heap:a");
    fs::write(store.path(), "\n").unwrap();
    assert_eq!(store.read().unwrap(), []);
    learn(&store, "heap:b");
    assert_eq!(store.read().unwrap().len(), 1);
    assert_eq!(beside(&store, "damaged"), [] as [PathBuf; 0]);
}

#[test]
fn results_that_exceed_the_file_size_are_kept_from_the_newest() {
    let (_folder, store) = store();
    learn(&store, "heap:a");
    let one = store.read().unwrap().remove(0);
    let some = |number: u64| {
        let mut result = one.clone();
        result.participant.location = Some(number.to_string() + &"x".repeat(4000));
        result.origin = Origin::Learnt {
            at: number,
            times: 2,
        };
        result
    };
    store
        .update(|results| (0..2500).for_each(|number| results.add(some(number))))
        .unwrap();
    assert!(usize::try_from(store.path().metadata().unwrap().len()).unwrap() <= MAX_BYTES);
    let kept = store.read().unwrap();
    assert!((1000..2501).contains(&kept.len()), "{}", kept.len());
    assert!(kept.contains(&some(2499)) && !kept.contains(&some(0)));
}

#[test]
fn file_of_a_newer_version_is_not_changed() {
    let (_folder, store) = store();
    learn(&store, "heap:a");
    let newer = b"{\"format\":\"covalent facts\",\"version\":2,\"facts\":{\"by\":\"name\"}}";
    fs::write(store.path(), newer).unwrap();
    assert!(matches!(
        store.read(),
        Err(TrialResultError::Newer { version: 2, .. })
    ));
    let (results, read) = store.load();
    assert!(read.is_err() && !results.all().is_empty());
    assert!(matches!(
        store.update(|_| ()),
        Err(TrialResultError::Newer { .. })
    ));
    assert_eq!(fs::read(store.path()).unwrap(), newer);
}

#[test]
fn folder_that_cannot_be_created_is_named() {
    let (folder, _) = store();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let store = TrialResultStore::at(file.join("facts.json"));
    let error = store.update(|_| ()).unwrap_err().to_string();
    assert!(error.contains("facts.json"), "{error}");
}

#[test]
fn results_of_concurrent_writers_are_all_kept() {
    let (_folder, store) = store();
    thread::scope(|scope| {
        for number in 0..8 {
            let store = &store;
            scope.spawn(move || learn(store, &format!("heap:{number}")));
        }
    });
    assert_eq!(store.read().unwrap().len(), 8);
}

#[test]
fn documented_example_can_be_read() {
    let text = include_str!("mod.rs");
    let example: String = text
        .lines()
        .skip_while(|line| !line.contains("```json"))
        .skip(1)
        .take_while(|line| !line.contains("```"))
        .map(|line| line.trim_start_matches("//! ").trim_start_matches("//!"))
        .collect();
    let contents: Contents = serde_json::from_str(&example).unwrap();
    assert_eq!(contents.results.len(), 1);
    assert_eq!(
        contents.results[0].to_string(),
        "virtio_gpu at virtio0 (display) refuses memory of heap:system in XR24 LINEAR at every size (PRIME_FD_TO_HANDLE: No such device (os error 19)); seen 2 times here"
    );
}
