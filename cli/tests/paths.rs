//! Every path that the tool is given, leading to whatever a path can lead to.
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

use run::{Folder, good, line, run, run_full, run_in, run_with};
use table::{PATHS, PathOption, Use};

fn of(uses: &[Use]) -> impl Iterator<Item = &'static PathOption> {
    let wanted = uses.to_vec();
    PATHS
        .iter()
        .filter(move |option| wanted.contains(&option.is))
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The tool said no, in words that name the path.
fn is_refused(option: &PathOption, path: &Path, output: &Output, cause: &str) {
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
fn file_to_write_that_is_no_file_is_refused_at_once_and_kept() {
    for option in of(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let mut others = folder.others();
        fs::create_dir(folder.path("inner")).unwrap();
        others.push((folder.path("inner"), "a folder"));
        let before = folder.names();
        for (path, kind) in &others {
            let kept = path.symlink_metadata().unwrap();
            is_refused(option, path, &run(&line(option, path)), kind);
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
fn link_in_the_place_of_a_file_to_write_is_not_followed() {
    for option in of(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let links = folder.links();
        for (link, _) in &links {
            is_refused(option, link, &run(&line(option, link)), "a symbolic link");
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
fn file_of_another_user_is_not_replaced() {
    for option in of(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let Some(path) = folder.foreign() else { return };
        is_refused(
            option,
            &path,
            &run(&line(option, &path)),
            "belongs to user 12345",
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs", "{option:?}");
    }
}

#[test]
fn file_that_is_written_is_private_and_takes_the_place_of_the_old_one_whole() {
    for option in of(&[Use::Write]) {
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
        // A relative path, too.
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
fn file_that_cannot_be_written_is_told_and_the_old_one_kept() {
    for option in of(&[Use::Write]) {
        let folder = Folder::new();
        let path = folder.path("file");
        fs::write(&path, "old").unwrap();
        let output = run_full(&line(option, &path));
        is_refused(option, &path, &output, "ulimit -f");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "{option:?}");
        assert_eq!(folder.names(), [OsString::from("file")], "{option:?}");
    }
    for option in of(&[Use::Write, Use::WriteLate]) {
        let folder = Folder::new();
        let missing = folder.path("none").join("file");
        is_refused(
            option,
            &missing,
            &run(&line(option, &missing)),
            "that its folder exists",
        );
        if option.is == Use::Write {
            // Nobody, root included, makes files there.
            let forbidden = Path::new("/proc/covalent-file");
            let output = run(&line(option, forbidden));
            is_refused(option, forbidden, &output, "cannot write");
        }
    }
}

#[test]
fn file_to_read_that_is_no_file_is_refused_at_once_and_kept() {
    for option in of(&[Use::Read, Use::ReadEnd, Use::ReadTree]) {
        let folder = Folder::new();
        let mut others = folder.others();
        if option.is != Use::ReadTree {
            fs::create_dir(folder.path("inner")).unwrap();
            others.push((folder.path("inner"), "a folder"));
        }
        for (path, kind) in &others {
            is_refused(option, path, &run(&line(option, path)), kind);
            assert!(path.symlink_metadata().is_ok());
        }
        for name in ["none", "none/file"] {
            let path = folder.path(name);
            is_refused(option, &path, &run(&line(option, &path)), "No such file");
        }
        let (link, _) = &folder.links()[1];
        is_refused(option, link, &run(&line(option, link)), "No such file");
    }
}

#[test]
fn file_to_read_is_found_by_a_link_and_a_relative_path_and_the_standard_input() {
    for option in of(&[Use::Read, Use::ReadEnd, Use::ReadTree]) {
        let folder = Folder::new();
        let path = good(option, &folder);
        let plain = run(&line(option, &path));
        let link = folder.path("a-link");
        symlink(fs::canonicalize(&path).unwrap(), &link).unwrap();
        assert_eq!(run(&line(option, &link)).stdout, plain.stdout, "{option:?}");
        let parent = link.parent().unwrap();
        let relative = run_in(parent, &line(option, Path::new("a-link")));
        assert_eq!(relative.stdout, plain.stdout, "{option:?}");
        if option.is == Use::Read {
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
fn file_to_read_that_is_longer_than_any_is_refused() {
    for option in of(&[Use::Read, Use::ReadTree]) {
        let folder = Folder::new();
        let path = folder.path("long");
        // Without a byte on the disk.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        is_refused(option, &path, &run(&line(option, &path)), "bytes");
    }
}

#[test]
fn node_that_is_no_device_of_its_kind_is_refused_at_once_and_kept() {
    for option in of(&[Use::Node]) {
        let folder = Folder::new();
        let mut paths: Vec<_> = folder.others().into_iter().map(|(path, _)| path).collect();
        let [(link, target), (dangling, nowhere)] = folder.links();
        fs::create_dir(folder.path("inner")).unwrap();
        paths.extend([link, dangling, folder.path("inner"), folder.path("none")]);
        for path in &paths {
            is_refused(option, path, &run(&line(option, path)), "");
        }
        assert_eq!(fs::read_to_string(target).unwrap(), "kept");
        assert!(!nowhere.exists());
        assert!(paths[0].symlink_metadata().unwrap().file_type().is_fifo());
    }
}

#[test]
fn folder_to_fill_is_made_and_what_is_in_it_kept() {
    for option in of(&[Use::Folder]) {
        let folder = Folder::new();
        for (path, kind) in folder.others() {
            is_refused(option, &path, &run(&line(option, &path)), kind);
        }
        let new = folder.path("above/new");
        assert!(run(&line(option, &new)).status.success());
        let page = new.join("covalent.1");
        // They are for everybody.
        assert_eq!(page.metadata().unwrap().mode() & 0o400, 0o400);
        assert!(new.join("covalent-facts-export.1").exists());
        let (_, target) = &folder.links()[0];
        fs::remove_file(&page).unwrap();
        symlink(target, &page).unwrap();
        is_refused(option, &page, &run(&line(option, &new)), "a symbolic link");
        assert_eq!(fs::read_to_string(target).unwrap(), "kept");
    }
}
