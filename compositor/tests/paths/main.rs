//! Tests every option that takes a path with every type of file at the path.
#![allow(clippy::unwrap_used)] // a failed unwrap fails the test

use std::any::TypeId;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use clap::CommandFactory as _;
use covalent_compositor::options::Options;
use rustix::fs::{CWD, FileType, Mode};

/// The options that take a path, grouped by what the compositor does with the path.
const WRITTEN: [&str; 3] = ["report", "screenshot", "trace"];
const FOLDERS: [&str; 1] = ["writeback"];
const NODES: [&str; 1] = ["device"];
const SOCKETS: [&str; 1] = ["control"];
const READ: [&str; 2] = ["check-config", "config"];
/// The option whose value is a socket name or an absolute path.
const SOCKET: &str = "socket";

#[test]
fn option_that_takes_a_path_is_listed() {
    let command = Options::command();
    let is_path =
        |argument: &&clap::Arg| argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let mut found: Vec<_> = command
        .get_arguments()
        .filter(is_path)
        .map(|argument| argument.get_long().unwrap())
        .collect();
    found.sort_unstable();
    let mut decided = [&WRITTEN[..], &FOLDERS, &NODES, &SOCKETS, &READ].concat();
    decided.sort_unstable();
    assert_eq!(found, decided);
    assert!(
        command
            .get_arguments()
            .any(|argument| argument.get_long() == Some(SOCKET))
    );
}

/// Creates files of every type in a folder. Returns each path with a piece of the expected error message.
fn create_files(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let at = |name: &str| folder.join(name);
    let mode = Mode::RUSR | Mode::WUSR;
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).unwrap();
    drop(UnixListener::bind(at("socket")).unwrap());
    fs::create_dir(at("inner")).unwrap();
    fs::write(at("target"), "kept").unwrap();
    symlink(at("target"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    let mut all = vec![
        (at("fifo"), "a named pipe"),
        (at("socket"), "a socket"),
        (at("inner"), "a folder"),
        (at("link"), "a symbolic link"),
        (at("dangling"), "a symbolic link"),
        (at("none/file"), "No such file"),
    ];
    let zero = rustix::fs::makedev(1, 5);
    match rustix::fs::mknodat(CWD, at("device"), FileType::CharacterDevice, mode, zero) {
        Ok(()) => all.push((at("device"), "a device node")),
        Err(error) => println!("skipped, because no device node can be made here: {error}"),
    }
    fs::write(at("foreign"), "theirs").unwrap();
    match std::os::unix::fs::chown(at("foreign"), Some(12345), None) {
        Ok(()) => all.push((at("foreign"), "belongs to user 12345")),
        Err(error) => println!("skipped, because this user cannot give files away: {error}"),
    }
    all
}

fn remove_files(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => fs::remove_dir(&path).unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
    }
}

fn compositor(arguments: &[&OsStr], command: &str) -> Command {
    // All runs share one runtime directory, because each run uses the first free socket name.
    let runtime = Path::new(env!("CARGO_TARGET_TMPDIR")).join("runtime");
    fs::create_dir_all(&runtime).unwrap();
    let mut line = Command::new(env!("CARGO_BIN_EXE_covalent-compositor"));
    line.env("XDG_RUNTIME_DIR", runtime)
        .env_remove("RUST_LOG")
        .args(["--backend", "headless", "--renderer", "software"])
        .args(arguments)
        .args(["--", "sh", "-c", command]);
    line
}

fn run(arguments: &[&OsStr], command: &str) -> Output {
    let start = Instant::now();
    let output = compositor(arguments, command).output().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(120),
        "{arguments:?} takes too long"
    );
    output
}

fn assert_rejected(arguments: &[&OsStr], cause: &str) {
    let output = run(arguments, "true");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
    assert!(
        stderr.contains(cause),
        "{arguments:?} lacks `{cause}`: {stderr}"
    );
}

#[test]
fn output_file_that_must_not_be_replaced_is_rejected() {
    for option in WRITTEN {
        let folder = tempfile::tempdir().unwrap();
        for (path, cause) in create_files(folder.path()) {
            let option = format!("--{option}");
            assert_rejected(&[OsStr::new(&option), path.as_os_str()], cause);
        }
        let kept = fs::read_to_string(folder.path().join("target")).unwrap();
        assert_eq!(kept, "kept", "{option}");
        assert!(!folder.path().join("nowhere").exists(), "{option}");
    }
}

#[test]
fn output_file_is_private_and_replaces_the_old_one() {
    // A screenshot needs a presented frame, which does not exist without a client.
    for option in WRITTEN.into_iter().filter(|option| *option != "screenshot") {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        fs::write(&path, "old").unwrap();
        fs::hard_link(&path, &other).unwrap();
        let option = format!("--{option}");
        let output = run(&[OsStr::new(&option), path.as_os_str()], "sleep 1");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{option}: {stderr}");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600, "{option}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "old", "{option}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{option}");
    }
}

#[test]
fn socket_path_that_is_not_a_socket_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    for option in SOCKETS.iter().chain([&SOCKET]) {
        for (path, cause) in create_files(folder.path()) {
            if cause != "a socket" {
                // The compositor checks the type of the file before the owner, because it would replace only a socket.
                let stderr = match cause {
                    "belongs to user 12345" => "a regular file",
                    cause => cause,
                };
                let option = format!("--{option}");
                assert_rejected(&[OsStr::new(&option), path.as_os_str()], stderr);
                assert!(cause == "No such file" || path.symlink_metadata().is_ok());
            }
        }
        remove_files(folder.path());
    }
    fs::write(folder.path().join("target"), "kept").unwrap();
    let file = folder.path().join("target");
    assert_rejected(
        &[OsStr::new("--socket"), file.as_os_str()],
        "a regular file",
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    // Binding the socket would truncate the lock file.
    let lock = folder.path().join("new.lock");
    fs::write(&lock, "kept").unwrap();
    let new = folder.path().join("new");
    assert_rejected(&[OsStr::new("--socket"), new.as_os_str()], "new.lock");
    assert_eq!(fs::read_to_string(&lock).unwrap(), "kept");
    fs::remove_file(&lock).unwrap();
    let output = run(&[OsStr::new("--socket"), new.as_os_str()], "true");
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn configuration_file_that_cannot_be_used_is_rejected_without_waiting() {
    for option in READ {
        let folder = tempfile::tempdir().unwrap();
        for (path, cause) in create_files(folder.path()) {
            // The texts of the regular files are no TOML.
            let cause = match (cause, path.exists()) {
                ("belongs to user 12345", _) => "foreign:1:",
                ("a symbolic link", true) => "link:1:",
                ("a symbolic link", false) => "No such file",
                (cause, _) => cause,
            };
            let option = format!("--{option}");
            assert_rejected(&[OsStr::new(&option), path.as_os_str()], cause);
        }
    }
}

#[test]
fn printed_configuration_is_valid_and_a_problem_has_its_place() {
    let compositor = |arguments: &[&str], home: &Path| {
        let mut line = Command::new(env!("CARGO_BIN_EXE_covalent-compositor"));
        line.args(arguments).env("XDG_CONFIG_HOME", home);
        let output = line.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        (code, text(output.stdout), text(output.stderr))
    };
    let folder = tempfile::tempdir().unwrap();
    let (code, printed, _) = compositor(&["--print-config"], folder.path());
    assert_eq!(code, 0);
    let (code, stdout, _) = compositor(&["--check-config"], folder.path());
    assert_eq!(code, 0);
    assert!(stdout.contains("does not exist"), "{stdout}");
    fs::create_dir(folder.path().join("covalent")).unwrap();
    let path = folder.path().join("covalent/compositor.toml");
    fs::write(&path, printed).unwrap();
    let (code, stdout, stderr) = compositor(&["--check-config"], folder.path());
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.ends_with("is valid\n"), "{stdout}");
    fs::write(&path, "\n  kiosks = true\n").unwrap();
    for arguments in [
        &["--check-config"][..],
        &["--check-config", "--config", path.to_str().unwrap()],
    ] {
        let (code, stdout, stderr) = compositor(arguments, folder.path());
        assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}");
        let expected = format!("{}:2:3: ", path.display());
        assert!(stderr.starts_with(&expected), "{stderr}");
        assert!(stderr.contains("the nearest one is kiosk"), "{stderr}");
    }
}

#[test]
fn configuration_of_the_user_that_is_not_valid_does_not_end_the_session() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("covalent")).unwrap();
    fs::write(
        folder.path().join("covalent/compositor.toml"),
        "kiosks = true\n",
    )
    .unwrap();
    let output = compositor(&[], "true")
        .env("XDG_CONFIG_HOME", folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("compositor.toml:1:1: "), "{stderr}");
    let output = compositor(&[OsStr::new("--no-config")], "true")
        .env("XDG_CONFIG_HOME", folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn program_of_the_configuration_is_started_with_the_compositor() {
    let folder = tempfile::tempdir().unwrap();
    let (path, started) = (folder.path().join("file"), folder.path().join("started"));
    let program = format!(
        "printf %s \"$WAYLAND_DISPLAY\" >{}.new; mv {0}.new {0}",
        started.display()
    );
    fs::write(&path, format!("autostart = [{program:?}]\n")).unwrap();
    let wait = format!("until [ -e {} ]; do sleep 0.1; done", started.display());
    let output = run(&[OsStr::new("--config"), path.as_os_str()], &wait);
    assert!(output.status.success(), "{output:?}");
    let display = fs::read_to_string(&started).unwrap();
    assert!(display.starts_with("wayland-"), "{display}");
}

#[test]
fn control_socket_is_private_and_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (path, seen) = (folder.path().join("control"), folder.path().join("seen"));
    let line = format!("stat -c '%a %F' {} >{}", path.display(), seen.display());
    let output = run(&[OsStr::new("--control"), path.as_os_str()], &line);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(&seen).unwrap(), "600 socket\n");
    assert!(!path.exists());
    let output = run(&[OsStr::new("--no-control")], "true");
    let ready = String::from_utf8(output.stdout).unwrap();
    assert!(ready.contains("\"control\":null"), "{ready}");
}

#[test]
fn device_that_is_not_a_card_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    for (path, _) in create_files(folder.path()) {
        let start = Instant::now();
        let output = Command::new(env!("CARGO_BIN_EXE_covalent-compositor"))
            .args(["--backend", "kms", "--device"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{path:?}");
        assert!(start.elapsed() < Duration::from_secs(60), "{path:?}");
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("target")).unwrap(),
        "kept"
    );
}

#[test]
fn full_disk_loses_trace_events_and_not_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, done) = (folder.path().join("disk"), folder.path().join("done"));
    fs::create_dir(&disk).unwrap();
    let trace = disk.join("trace");
    let inner = compositor(
        &[OsStr::new("--trace"), trace.as_os_str()],
        &format!("sleep 2; touch {}", done.display()),
    );
    let mut line = Command::new("unshare");
    line.args(["--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs -o size=16k full \"$0\" || exit 77; \
             head -c 16384 /dev/zero >\"$0/fill\"; exec \"$@\"",
        )
        .arg(&disk)
        .arg(inner.get_program())
        .args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => line.env(name, value),
            None => line.env_remove(name),
        };
    }
    let output = line.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || stderr.contains("unshare failed") {
        println!("skipped, because no file system can be mounted here: {stderr}");
        return;
    }
    assert!(
        done.exists(),
        "the session ended before its command: {stderr}"
    );
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is incomplete"), "{stderr}");
}

#[test]
fn command_line_with_control_characters_is_rejected_with_a_printable_error() {
    let hostile = "\u{1b}[2J\nforged:\u{202e}\u{9b}m";
    for before in [
        "",
        "--",
        "--backend=",
        "--mode=",
        "--report=/proc/none/",
        "--socket=/proc/none/",
        "--control=/proc/none/",
        "--trace=/proc/none/",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_covalent-compositor"))
            .args(["--backend", "headless", "--renderer", "software"])
            .arg(format!("{before}{hostile}"))
            .output()
            .unwrap();
        assert!(!output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        for text_line in stderr.lines() {
            assert_eq!(
                covalent_alloc::text::printable(text_line),
                text_line,
                "{before}"
            );
            assert!(!text_line.starts_with("forged:"), "{before}: {stderr}");
        }
    }
}
