//! Files, links, FIFOs and sockets of the test's own making.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use super::*;

/// Makes one of each kind that must not be read or replaced, and returns it with what it is called.
fn others(folder: &Path) -> Vec<(PathBuf, &'static str)> {
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
    for (path, kind) in others(folder.path()) {
        let error = read(&path, 10).unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
        let error = replace(&path, b"new").unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
        assert!(create(&path).is_err() && path.symlink_metadata().is_ok());
    }
    assert_eq!(names(folder.path()), ["fifo", "folder", "socket"]);
}

#[test]
fn link_is_followed_by_who_reads_and_refused_by_who_writes() {
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
        Err(FileError::TooLarge { most: 4, .. })
    ));
}

#[test]
fn file_that_is_replaced_is_private_and_whole() {
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
    // The old file's other name still has it.
    assert_eq!(fs::read(folder.path().join("other")).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["file", "other"]);
}

#[test]
fn file_that_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut new = NewFile::create(&path).unwrap();
    new.write_all(b"new").unwrap();
    drop(new);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn file_that_was_put_there_since_is_kept() {
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
fn file_that_grows_is_seen_at_its_place() {
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
        // Only root can make a file of another user.
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
fn file_that_is_not_there_is_told_from_what_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = read(&folder.path().join("none"), 10).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let error = replace(&folder.path().join("none/file"), b"").unwrap_err();
    assert!(error.to_string().contains("none/file"), "{error}");
}
