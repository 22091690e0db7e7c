//! Tests with the files, links, FIFOs and sockets that they create.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use super::*;

/// Creates one file of each type that must not be read or replaced, and returns it with the name of the type in messages.
fn irregular_files(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let fifo = folder.join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let socket = folder.join("socket");
    drop(UnixListener::bind(&socket).unwrap());
    let inner = folder.join("folder");
    fs::create_dir(&inner).unwrap();
    vec![
        (fifo, "a named pipe"),
        (socket, "a socket"),
        (inner, "a folder"),
    ]
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn file_that_is_not_regular_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (path, kind) in irregular_files(folder.path()) {
        let error = read(&path, 10).unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
        let error = replace(&path, b"new").unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
        assert!(create(&path).is_err() && path.symlink_metadata().is_ok());
    }
    assert_eq!(names(folder.path()), ["fifo", "folder", "socket"]);
}

#[test]
fn link_is_followed_for_reading_and_refused_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    fs::write(&target, "old").unwrap();
    symlink(&target, &link).unwrap();
    assert_eq!(read(&link, 10).unwrap(), b"old");
    let dangling = folder.path().join("dangling");
    symlink(folder.path().join("nowhere"), &dangling).unwrap();
    for link in [&link, &dangling] {
        let error = replace(link, b"new").unwrap_err().to_string();
        assert!(error.contains("a symbolic link"), "{error}");
        assert!(create(link).is_err());
    }
    assert_eq!(fs::read(&target).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["dangling", "link", "target"]);
}

#[test]
fn file_that_is_too_long_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "12345").unwrap();
    assert_eq!(read(&path, 5).unwrap(), b"12345");
    assert!(matches!(
        read(&path, 4),
        Err(FileError::TooLarge { max_bytes: 4, .. })
    ));
}

#[test]
fn replaced_file_is_private_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    fs::hard_link(&path, folder.path().join("other")).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
    let mut new = NewFile::create(&path).unwrap();
    new.write_all(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    new.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    // The other hard link still has the contents of the old file.
    assert_eq!(fs::read(folder.path().join("other")).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["file", "other"]);
}

#[test]
fn file_that_is_not_committed_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut new = NewFile::create(&path).unwrap();
    new.write_all(b"new").unwrap();
    drop(new);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn file_that_was_created_since_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let new = NewFile::create(&path).unwrap();
    symlink("elsewhere", &path).unwrap();
    assert!(matches!(
        new.commit(),
        Err(FileError::Kind {
            kind: FileKind::Link,
            ..
        })
    ));
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn growing_file_is_visible_at_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    let mut file = create(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
    file.write_all(b"line\n").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"line\n");
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn file_of_another_user_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "theirs").unwrap();
    if std::os::unix::fs::chown(&path, Some(12345), None).is_err() {
        // The test needs a file of another user, which only root can create.
        return;
    }
    for error in [
        replace(&path, b"new").unwrap_err(),
        read_own(&path, 10).unwrap_err(),
    ] {
        assert!(
            matches!(error, FileError::Owner { owner: 12345, .. }),
            "{error}"
        );
    }
    assert_eq!(read(&path, 10).unwrap(), b"theirs");
}

#[test]
fn missing_file_is_distinguished_from_an_unreadable_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(&folder.path().join("none"), 10).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = replace(&folder.path().join("none/file"), b"").unwrap_err();
    assert!(error.to_string().contains("none/file"), "{error}");
}

#[test]
fn path_with_a_trailing_slash_or_dot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for end in ["new/", "new/.", ".."] {
        let error = replace(&folder.path().join(end), b"").unwrap_err();
        assert!(matches!(error, FileError::System { .. }), "{error}");
    }
    let error = replace(Path::new(""), b"").unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn file_is_written_to_the_folder_that_was_opened_after_it_is_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let (own, theirs) = (folder.path().join("own"), folder.path().join("theirs"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&theirs).unwrap();
    let mut new = NewFile::create(&own.join("file")).unwrap();
    new.write_all(b"new").unwrap();
    // Another user, who may rename entries of the parent folder, replaces the folder by a link.
    fs::rename(&own, folder.path().join("moved")).unwrap();
    symlink(&theirs, &own).unwrap();
    new.commit().unwrap();
    assert_eq!(names(&theirs), [""; 0]);
    assert_eq!(names(&folder.path().join("moved")), ["file"]);
}

#[test]
fn file_with_a_name_of_the_maximal_length_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let name = "é".repeat(127);
    replace(&folder.path().join(&name), b"new").unwrap();
    assert_eq!(names(folder.path()), [name]);
}

#[test]
fn shared_file_has_the_mode_of_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, shared) = (folder.path().join("plain"), folder.path().join("shared"));
    fs::write(&plain, "").unwrap();
    replace_for(&shared, b"", FileAccess::Shared).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode();
    assert_eq!(mode(&shared), mode(&plain));
}

#[test]
fn folder_is_created_with_its_parents_and_not_changed_if_it_exists() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("above/own");
    make_folder(&path, FileAccess::Private).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    make_folder(&path, FileAccess::Private).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o755);
    for (path, kind) in irregular_files(root.path()).into_iter().take(2) {
        let error = make_folder(&path, FileAccess::Private)
            .unwrap_err()
            .to_string();
        assert!(error.contains(kind), "{error}");
    }
}

#[test]
fn check_of_a_path_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    check(&folder.path().join("new")).unwrap();
    check_socket(&folder.path().join("new.sock")).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
    let kinds = irregular_files(folder.path());
    for (path, kind) in &kinds {
        let error = check(path).unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
        // `check_socket` accepts an existing socket, because the library that binds the socket removes it.
        assert_eq!(check_socket(path).is_ok(), *kind == "a socket");
    }
    let file = folder.path().join("file");
    fs::write(&file, "kept").unwrap();
    let error = check_socket(&file).unwrap_err().to_string();
    assert!(error.contains("only a socket is accepted"), "{error}");
    assert!(check(&folder.path().join("none/file")).is_err());
}
