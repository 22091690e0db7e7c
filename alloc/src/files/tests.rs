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

#[test]
fn path_that_ends_as_a_folders_does_is_no_file() {
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
fn folder_that_is_moved_meanwhile_takes_its_file_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (own, theirs) = (folder.path().join("own"), folder.path().join("theirs"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&theirs).unwrap();
    let mut new = NewFile::create(&own.join("file")).unwrap();
    new.write_all(b"new").unwrap();
    // Somebody who may rename in the folder above puts a link in the place of the folder.
    fs::rename(&own, folder.path().join("moved")).unwrap();
    symlink(&theirs, &own).unwrap();
    new.commit().unwrap();
    assert_eq!(names(&theirs), [""; 0]);
    assert_eq!(names(&folder.path().join("moved")), ["file"]);
}

#[test]
fn file_whose_name_is_as_long_as_any_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let name = "é".repeat(127);
    replace(&folder.path().join(&name), b"new").unwrap();
    assert_eq!(names(folder.path()), [name]);
}

#[test]
fn file_that_others_may_read_has_the_mode_of_the_umask() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, shared) = (folder.path().join("plain"), folder.path().join("shared"));
    fs::write(&plain, "").unwrap();
    replace_for(&shared, b"", Access::Shared).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().mode();
    assert_eq!(mode(&shared), mode(&plain));
}

#[test]
fn folder_is_made_with_those_above_and_kept_where_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("above/own");
    make_folder(&path, Access::Private).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    make_folder(&path, Access::Private).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o755);
    for (path, kind) in others(root.path()).into_iter().take(2) {
        let error = make_folder(&path, Access::Private).unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
    }
}

#[test]
fn path_is_checked_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    check(&folder.path().join("new")).unwrap();
    check_socket(&folder.path().join("new.sock")).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);
    let kinds = others(folder.path());
    for (path, kind) in &kinds {
        let error = check(path).unwrap_err().to_string();
        assert!(error.contains(kind), "{error}");
        // The library that binds a socket removes what is there.
        assert_eq!(check_socket(path).is_ok(), *kind == "a socket");
    }
    let file = folder.path().join("file");
    fs::write(&file, "kept").unwrap();
    let error = check_socket(&file).unwrap_err().to_string();
    assert!(error.contains("only a socket is taken"), "{error}");
    assert!(check(&folder.path().join("none/file")).is_err());
}
