//! Tests every option that takes a path with every kind of file that a path can name.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "paths/run.rs"]
mod run;
#[path = "paths/table.rs"]
mod table;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;
use std::process::Output;

use run::{Folder, line, run, run_in, run_with, run_with_full_disk, valid_file};
use table::{PATHS, PathOption, Use};

fn options_with(uses: &[Use]) -> impl Iterator<Item = &'static PathOption> {
    let uses = uses.to_vec();
    PATHS
        .iter()
        .filter(move |option| uses.contains(&option.path_use))
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that the tool failed with a message that names the path and the cause.
fn assert_refused(option: &PathOption, path: &Path, output: &Output, cause: &str) {
    let words = words(output);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{option:?} {path:?}: {words}"
    );
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        words.contains(name),
        "{option:?} does not name {name}: {words}"
    );
    assert!(
        words.contains(cause),
        "{option:?} {path:?} lacks `{cause}`: {words}"
    );
}

#[test]
fn output_path_that_is_not_a_regular_file_is_refused_and_kept() {
    for option in options_with(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let mut others = folder.special_files();
        fs::create_dir(folder.path("inner")).unwrap();
        others.push((folder.path("inner"), "a folder"));
        let before = folder.names();
        for (path, kind) in &others {
            let kept = path.symlink_metadata().unwrap();
            assert_refused(option, path, &run(&line(option, path)), kind);
            let now = path.symlink_metadata().unwrap();
            assert_eq!(
                (now.ino(), now.mode()),
                (kept.ino(), kept.mode()),
                "{option:?}"
            );
        }
        assert_eq!(folder.names(), before, "{option:?}");
    }
}

#[test]
fn output_path_that_is_a_link_is_not_followed() {
    for option in options_with(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let links = folder.links();
        for (link, _) in &links {
            assert_refused(option, link, &run(&line(option, link)), "a symbolic link");
            assert!(link.symlink_metadata().unwrap().file_type().is_symlink());
        }
        assert_eq!(
            fs::read_to_string(&links[0].1).unwrap(),
            "kept",
            "{option:?}"
        );
        assert!(!links[1].1.exists(), "{option:?} made the target of a link");
    }
}

#[test]
fn output_file_of_another_user_is_not_replaced() {
    for option in options_with(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let Some(path) = folder.file_of_other_user() else {
            return;
        };
        assert_refused(
            option,
            &path,
            &run(&line(option, &path)),
            "belongs to user 12345",
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs", "{option:?}");
    }
}

#[test]
fn output_file_is_private_and_replaces_the_old_file() {
    for option in options_with(&[Use::Write]) {
        let folder = Folder::new();
        let (path, other) = (folder.path("file"), folder.path("other"));
        let output = run(&line(option, &path));
        assert!(path.exists(), "{option:?}: {}", words(&output));
        assert_eq!(
            path.metadata().unwrap().mode() & 0o7777,
            0o600,
            "{option:?}"
        );
        let first = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        fs::hard_link(&path, &other).unwrap();
        // A relative path works as well.
        run_in(path.parent().unwrap(), &line(option, Path::new("file")));
        assert_eq!(
            path.metadata().unwrap().mode() & 0o7777,
            0o600,
            "{option:?}"
        );
        assert_eq!(
            fs::read_to_string(&other).unwrap(),
            "old",
            "{option:?} wrote into the old file"
        );
        assert_eq!(fs::read(&path).unwrap().len(), first.len(), "{option:?}");
        assert_eq!(
            folder.names(),
            [OsString::from("file"), OsString::from("other")]
        );
    }
}

#[test]
fn output_file_that_cannot_be_written_is_an_error_and_the_old_file_is_kept() {
    for option in options_with(&[Use::Write]) {
        let folder = Folder::new();
        let path = folder.path("file");
        fs::write(&path, "old").unwrap();
        let output = run_with_full_disk(&line(option, &path));
        assert_refused(option, &path, &output, "ulimit -f");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "{option:?}");
        assert_eq!(folder.names(), [OsString::from("file")], "{option:?}");
    }
    for option in options_with(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let missing = folder.path("none").join("file");
        assert_refused(
            option,
            &missing,
            &run(&line(option, &missing)),
            "that its folder exists",
        );
        if option.path_use == Use::Write {
            // /proc contains no ordinary files, so not even root can create a file there.
            let forbidden = Path::new("/proc/covalent-file");
            let output = run(&line(option, forbidden));
            assert_refused(option, forbidden, &output, "cannot write");
        }
    }
}

#[test]
fn input_path_that_is_not_a_regular_file_is_refused_and_kept() {
    for option in options_with(&[Use::Read, Use::ReadEnd, Use::ReadTree]) {
        let folder = Folder::new();
        let mut others = folder.special_files();
        if option.path_use != Use::ReadTree {
            fs::create_dir(folder.path("inner")).unwrap();
            others.push((folder.path("inner"), "a folder"));
        }
        for (path, kind) in &others {
            assert_refused(option, path, &run(&line(option, path)), kind);
            assert!(path.symlink_metadata().is_ok());
        }
        for name in ["none", "none/file"] {
            let path = folder.path(name);
            assert_refused(option, &path, &run(&line(option, &path)), "No such file");
        }
        let (link, _) = &folder.links()[1];
        assert_refused(option, link, &run(&line(option, link)), "No such file");
    }
}

#[test]
fn input_file_is_read_through_a_link_a_relative_path_and_the_standard_input() {
    for option in options_with(&[Use::Read, Use::ReadEnd, Use::ReadTree]) {
        let folder = Folder::new();
        let path = valid_file(option, &folder);
        let plain = run(&line(option, &path));
        let link = folder.path("a-link");
        symlink(fs::canonicalize(&path).unwrap(), &link).unwrap();
        assert_eq!(run(&line(option, &link)).stdout, plain.stdout, "{option:?}");
        let parent = link.parent().unwrap();
        let relative = run_in(parent, &line(option, Path::new("a-link")));
        assert_eq!(relative.stdout, plain.stdout, "{option:?}");
        if option.path_use == Use::Read {
            let input = fs::read(&path).unwrap();
            let piped = run_with(&line(option, Path::new("-")), &input);
            assert_eq!(
                (piped.status.code(), &piped.stdout),
                (plain.status.code(), &plain.stdout),
                "{option:?}: {}",
                words(&piped)
            );
        }
    }
}

#[test]
fn input_file_that_is_too_long_is_refused() {
    for option in options_with(&[Use::Read, Use::ReadTree]) {
        let folder = Folder::new();
        let path = folder.path("long");
        // The file is sparse and takes no space on the disk.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_refused(option, &path, &run(&line(option, &path)), "bytes");
    }
}

#[test]
fn node_that_is_not_a_device_of_its_kind_is_refused_and_kept() {
    for option in options_with(&[Use::Node]) {
        let folder = Folder::new();
        let (paths, target, nowhere) = folder.of_every_kind();
        for path in &paths {
            assert_refused(option, path, &run(&line(option, path)), "");
        }
        assert_eq!(fs::read_to_string(target).unwrap(), "kept");
        assert!(!nowhere.exists());
        assert!(paths[0].symlink_metadata().unwrap().file_type().is_fifo());
    }
}

#[test]
fn socket_path_where_nothing_listens_is_refused_and_kept() {
    for option in options_with(&[Use::Socket]) {
        let folder = Folder::new();
        let (paths, target, nowhere) = folder.of_every_kind();
        for path in &paths {
            let kept = path.symlink_metadata().ok();
            assert_refused(option, path, &run(&line(option, path)), "cannot connect");
            let now = path.symlink_metadata().ok();
            assert_eq!(now.map(|now| now.ino()), kept.map(|kept| kept.ino()));
        }
        assert_eq!(fs::read_to_string(target).unwrap(), "kept");
        assert!(!nowhere.exists());
    }
}

#[test]
fn output_folder_is_created_and_its_files_are_kept() {
    for option in options_with(&[Use::Folder]) {
        let folder = Folder::new();
        for (path, kind) in folder.special_files() {
            assert_refused(option, &path, &run(&line(option, &path)), kind);
        }
        let new = folder.path("above/new");
        assert!(run(&line(option, &new)).status.success());
        let page = new.join("covalent.1");
        // Man pages are readable for all users.
        assert_eq!(page.metadata().unwrap().mode() & 0o400, 0o400);
        assert!(new.join("covalent-facts-export.1").exists());
        let (_, target) = &folder.links()[0];
        fs::remove_file(&page).unwrap();
        symlink(target, &page).unwrap();
        assert_refused(option, &page, &run(&line(option, &new)), "a symbolic link");
        assert_eq!(fs::read_to_string(target).unwrap(), "kept");
    }
}
