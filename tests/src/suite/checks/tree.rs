//! `check::tree`: checks that every tracked file is small and is text, except pictures in `docs/`.
//!
//! A compiled package, a dump or a recording that is committed once stays in every clone, and nobody can review it. The check
//! reads the content of the files, because the name of a file does not show what it contains.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};
use std::process::{Command, Stdio};

use crate::suite::Outcome;

/// The largest size of a tracked file, in bytes: 1 MiB.
const LARGEST_BYTES: u64 = 1 << 20;

/// The folder in which pictures may be binary files.
const PICTURES: &str = "docs/";

/// The reason of the skip if the checkout is not a git repository.
const WITHOUT_GIT: &str = "git does not list this checkout's files";

/// The signature at the start of every PNG.
const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// The folders of home directories. A path below one of them exists only on one machine.
const HOMES: [&str; 2] = ["/home/", "/Users/"];

/// The user names in paths that examples and tests may contain.
const NOBODY: [&str; 4] = ["ada", "name", "user", "you"];

/// Checks every file that git tracks in `folder`, with the content of the working tree.
///
/// First, it checks a temporary repository that contains a binary file, and fails if it does not find this file.
pub(super) fn check(folder: &Path) -> Result<Outcome, String> {
    let Some(names) = tracked(folder) else {
        return Ok(Outcome::Skip(WITHOUT_GIT.to_owned()));
    };
    check_finds_test_binary()?;
    if names.is_empty() {
        return Err(format!("git tracks no file in {}", folder.display()));
    }
    let wrong = objections(folder, &names);
    if wrong.is_empty() {
        Ok(Outcome::Passed)
    } else {
        Err(wrong.join("\n"))
    }
}

/// Creates a repository with one tracked binary file, one untracked, and one that was removed again. Checks that only the tracked
/// file is found.
fn check_finds_test_binary() -> Result<(), String> {
    let objections_to_test_files = || -> io::Result<Option<Vec<String>>> {
        let folder = tempfile::tempdir()?;
        let file = |name| folder.path().join(name);
        let git = |args: &[&str]| {
            let mut command = git(folder.path());
            let status = command.args(args).stdout(Stdio::null()).status()?;
            if status.success() {
                Ok(())
            } else {
                Err(io::Error::other(format!(
                    "git {args:?} ended with {status}"
                )))
            }
        };
        git(&["init", "--quiet"])?;
        for name in ["tracked.txt", "removed.txt"] {
            fs::write(file(name), [0; 4])?;
        }
        git(&["add", "--all"])?;
        fs::remove_file(file("removed.txt"))?;
        fs::write(file("new.txt"), [0; 4])?;
        // A folder inside a repository is not its top folder.
        fs::create_dir(file("inside"))?;
        if tracked(&file("inside")).is_some() {
            return Ok(None);
        }
        Ok(tracked(folder.path()).map(|names| objections(folder.path(), &names)))
    };
    match objections_to_test_files() {
        Ok(Some(found))
            if found.len() == 1 && found[0].starts_with("tracked.txt: it is binary") =>
        {
            Ok(())
        }
        Ok(found) => Err(format!(
            "the check must find exactly the tracked file of three binary test files, but found {found:?}"
        )),
        Err(error) => Err(format!("create test files in a repository: {error}")),
    }
}

/// Returns a git command for `folder`. Git refuses folders of other users unless `safe.directory` allows them; for this check
/// the owner does not matter.
fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.args(["-c", "safe.directory=*", "-C"]).arg(folder);
    // A git hook or alias that runs the suite has set these variables for its own repository.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Returns the reasons why files of `folder` may not be tracked, one line each.
fn objections(folder: &Path, names: &[Box<Path>]) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| {
            let why = objection(folder, name)?;
            Some(format!("{}: {why}", name.display()))
        })
        .collect()
}

/// Returns the names of the files that git tracks; `None` if git is not installed, or if `folder` is not the top folder of a
/// repository.
fn tracked(folder: &Path) -> Option<Vec<Box<Path>>> {
    let git = |args: &[&str]| {
        let output = git(folder).args(args).output().ok()?;
        output.status.success().then_some(output.stdout)
    };
    // If an archive was unpacked inside another repository, that repository does not track the files of the archive.
    if !git(&["rev-parse", "--show-prefix"])?
        .trim_ascii()
        .is_empty()
    {
        return None;
    }
    let list = git(&["ls-files", "-z"])?;
    let names = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| Path::new(OsStr::from_bytes(name)).into());
    Some(names.collect())
}

/// Returns why the file `name` of `folder` may not be tracked; `None` if it may be tracked.
fn objection(folder: &Path, name: &Path) -> Option<String> {
    let path = folder.join(name);
    let about = match fs::symlink_metadata(&path) {
        Ok(about) => about,
        // The file is tracked, but was removed from the working tree.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("read its metadata: {error}")),
    };
    if about.is_symlink() {
        return match fs::read_link(&path) {
            Ok(target) if leaves_tree(name, &target) => Some(format!(
                "it is a link to {}, outside of the repository",
                target.display()
            )),
            Ok(_) => None,
            Err(error) => Some(format!("read the link: {error}")),
        };
    }
    if about.is_dir() {
        return Some("it is a submodule, whose files this check cannot see".to_owned());
    }
    if about.len() > LARGEST_BYTES {
        return Some(format!(
            "it has {} bytes; a tracked file has at most {LARGEST_BYTES}",
            about.len()
        ));
    }
    let mut bytes = Vec::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(LARGEST_BYTES).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Some(format!("read it: {error}"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if !text.contains('\0') => objection_to_text(text),
        _ if !name.as_os_str().as_bytes().starts_with(PICTURES.as_bytes()) => Some(format!(
            "it is binary; only pictures in {PICTURES} are, and test data is kept as text"
        )),
        _ => objection_to_picture(&bytes).map(|why| {
            format!("it is binary and no PNG, the only format for pictures in {PICTURES}: {why}")
        }),
    }
}

/// Returns whether a symbolic link at `name` with this target points out of the repository.
fn leaves_tree(name: &Path, target: &Path) -> bool {
    let mut depth = name.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::Normal(_) => depth = depth.saturating_add(1),
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

/// Returns why a text may not be tracked: it contains a conflict marker of git, or a path in a person's home directory.
fn objection_to_text(text: &str) -> Option<String> {
    text.lines().enumerate().find_map(|(index, line)| {
        let number = index.saturating_add(1);
        if is_conflict_mark(line) {
            return Some(format!("line {number} is the mark of a merge conflict"));
        }
        let home = home_of_one_machine(line)?;
        Some(format!(
            "line {number} has {home}, a path in a person's home directory; use one of these user names in examples: {}",
            NOBODY.join(", ")
        ))
    })
}

/// Returns whether a line is a conflict marker, which git writes for changes that it cannot merge.
fn is_conflict_mark(line: &str) -> bool {
    // The marker between both versions, a row of `=`, is not searched for, because Markdown has such rows below headings.
    ['<', '>', '|'].into_iter().any(|sign| {
        line.strip_prefix(&sign.to_string().repeat(7))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

/// Returns the home directory that a line names, unless its user name is one of those that examples use.
fn home_of_one_machine(line: &str) -> Option<&str> {
    HOMES.iter().find_map(|homes| {
        line.match_indices(homes).find_map(|(at, _)| {
            let rest = &line[at + homes.len()..];
            let end = rest
                .find(|sign: char| !(sign.is_ascii_alphanumeric() || "_-.".contains(sign)))
                .unwrap_or(rest.len());
            let person = &rest[..end];
            let is_one = person.starts_with(|sign: char| sign.is_ascii_alphanumeric());
            (is_one && !NOBODY.contains(&person)).then(|| &line[at..at + homes.len() + end])
        })
    })
}

/// Returns why these bytes are not a PNG; `None` if they begin and end as a PNG, no bytes follow the end, and the picture can be
/// decoded.
fn objection_to_picture(bytes: &[u8]) -> Option<String> {
    let Some(mut rest) = bytes.strip_prefix(&PNG) else {
        return Some("it does not begin with the signature of PNG".to_owned());
    };
    loop {
        // Each chunk consists of a length, a name of four letters, as many bytes as the length states, and a checksum.
        let Some((length, tail)) = rest.split_first_chunk::<4>() else {
            return Some("it is cut short".to_owned());
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let is_last = tail.starts_with(b"IEND");
        let Some(next) = tail.get(length.saturating_add(8)..) else {
            return Some("it is cut short".to_owned());
        };
        rest = next;
        if is_last {
            break;
        }
    }
    if !rest.is_empty() {
        return Some(format!("{} bytes follow its end", rest.len()));
    }
    image::load_from_memory_with_format(bytes, image::ImageFormat::Png)
        .err()
        .map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Returns the objection to a file that `create` creates. The root file system in which tests run has no git.
    fn objection_to(name: &str, create: impl FnOnce(&Path)) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        create(&folder.path().join(name));
        let mut objections = objections(folder.path(), &[Path::new(name).into()]);
        assert!(objections.len() <= 1, "{objections:?}");
        objections.pop()
    }

    fn with_file(name: &str, bytes: &[u8]) -> Option<String> {
        objection_to(name, |path| fs::write(path, bytes).unwrap())
    }

    fn refused(name: &str, bytes: &[u8], why: &str) {
        let message = with_file(name, bytes).expect(why);
        assert!(message.starts_with(&format!("{name}: ")), "{message}");
        assert!(message.contains(why), "{message}");
    }

    fn png() -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        image::RgbImage::new(3, 2)
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    #[test]
    fn file_over_a_mebibyte_is_refused_in_any_folder() {
        let largest = usize::try_from(LARGEST_BYTES).unwrap();
        let line = b"text\n".repeat(largest / 5 + 1);
        assert_eq!(with_file("notes.txt", &line[..largest]), None);
        refused("notes.txt", &line[..=largest], "it has 1048577 bytes");
        refused("docs/large.svg", &line[..=largest], "it has 1048577 bytes");
    }

    #[test]
    fn binary_with_any_name_is_refused() {
        refused("harmless.txt", b"PK\x03\x04\0\0", "it is binary");
        refused("main.c", b"caf\xe9 in Latin-1\n", "it is binary");
        refused("notes.md", b"U\0T\0F\0", "it is binary");
        refused("picture.png", &png(), "it is binary");
        assert_eq!(with_file("wheel.whl", b"text after all\n"), None);
    }

    #[test]
    fn picture_in_docs_that_is_no_png_is_refused() {
        assert_eq!(with_file("docs/a.png", &png()), None);
        assert_eq!(with_file("docs/a.svg", b"<svg/>\n"), None);
        refused(
            "docs/a.svg",
            b"\x1f\x8b\x08\0",
            "does not begin with the signature of PNG",
        );
        refused("docs/a.png", &PNG, "cut short");
        let cut = png();
        refused("docs/a.png", &cut[..cut.len() - 5], "cut short");
        refused(
            "docs/a.png",
            &[png(), b"PK\x03\x04\0".to_vec()].concat(),
            "5 bytes follow its end",
        );
        let mut damaged = png();
        let at = damaged.len() - 20;
        damaged[at] ^= 0xff;
        refused("docs/a.png", &damaged, "no PNG");
    }

    #[test]
    fn link_out_of_the_repository_is_refused() {
        for target in ["/etc/hostname", "../../etc", "../docs/../../x"] {
            let message =
                objection_to("docs/link", |path| symlink(target, path).unwrap()).expect(target);
            assert!(message.contains("outside of the repository"), "{message}");
        }
        let inside = objection_to("docs/link", |path| symlink("../main.rs", path).unwrap());
        assert_eq!(inside, None);
    }

    #[test]
    fn mark_of_a_merge_conflict_is_refused() {
        for sign in ["<", ">", "|"] {
            let text = format!("a\n{} theirs\nb\n", sign.repeat(7));
            refused("a.rs", text.as_bytes(), "line 2 is the mark of a merge");
        }
        let heading = format!("Heading\n{}\n", "=".repeat(7));
        assert_eq!(with_file("a.md", heading.as_bytes()), None);
    }

    #[test]
    fn path_of_one_machine_is_refused() {
        let line = format!("cd {}mallory/src && make\n", HOMES[0]);
        let message = format!("line 1 has {}mallory", HOMES[0]);
        refused("a.md", line.as_bytes(), &message);
        for line in ["cd /home/ada/src\n", "ls /home/*\n", "mount /home/\n"] {
            assert_eq!(with_file("a.md", line.as_bytes()), None);
        }
    }

    #[test]
    fn file_that_is_missing_is_ignored() {
        assert_eq!(objection_to("removed.bin", |_| ()), None);
    }

    #[test]
    fn folder_without_a_repository_is_skipped_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), [0; 4]).unwrap();
        let skip = Outcome::Skip(WITHOUT_GIT.to_owned());
        assert_eq!(check(folder.path()).unwrap(), skip);
    }
}
