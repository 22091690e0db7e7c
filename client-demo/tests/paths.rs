//! Tests every option that takes a path with every type of file.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "paths/table.rs"]
#[allow(dead_code, reason = "the programs use the rest")]
mod table;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode};

/// The exit code of a program that finds no compositor.
const NO_COMPOSITOR: i32 = 5;

fn run(program: &str, arguments: &[&str], path: Option<&Path>) -> Option<Output> {
    let file = match program {
        "covalent-camera" => Some(env!("CARGO_BIN_EXE_covalent-camera")),
        "covalent-pattern" => Some(env!("CARGO_BIN_EXE_covalent-pattern")),
        _ => option_env!("CARGO_BIN_EXE_covalent-vulkan"),
    };
    let Some(file) = file else {
        println!("skipped, because {program} is not built without its feature");
        return None;
    };
    let started_at = Instant::now();
    let output = Command::new(file)
        .args(arguments)
        .args(path)
        .env("XDG_RUNTIME_DIR", "/proc/none")
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    assert!(
        started_at.elapsed() < Duration::from_secs(120),
        "{arguments:?} takes too long"
    );
    Some(output)
}

/// Creates files that an option must not replace. Returns each path with a piece of the expected error message.
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

#[test]
fn file_to_write_that_must_stay_is_refused_at_once() {
    for (program, option) in table::WRITTEN.iter().chain(table::WRITTEN_ON_DEMAND) {
        let folder = tempfile::tempdir().unwrap();
        for (path, cause) in create_files(folder.path()) {
            let Some(output) = run(program, &[&format!("--{option}")], Some(&path)) else {
                continue;
            };
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(1),
                "{program} {path:?}: {stderr}"
            );
            assert!(
                stderr.contains(cause),
                "{program} {path:?} lacks `{cause}`: {stderr}"
            );
        }
        assert_eq!(
            fs::read_to_string(folder.path().join("target")).unwrap(),
            "kept"
        );
        assert!(!folder.path().join("nowhere").exists());
    }
}

#[test]
fn socket_path_that_is_not_a_socket_is_refused_at_once() {
    /// The exit code of a program that finds no camera. The program checks the path before it opens the camera.
    const NO_CAMERA: i32 = 3;
    for (program, option) in table::SOCKETS {
        let folder = tempfile::tempdir().unwrap();
        for (path, cause) in create_files(folder.path()) {
            let arguments = ["--device", "/dev/null", &format!("--{option}")];
            let output = run(program, &arguments, Some(&path)).unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            let (status, cause) = match cause {
                "a socket" => (NO_CAMERA, "/dev/null"),
                // The error names the type of the file instead of its owner. The program checks the type first, because it would
                // replace only a socket.
                "belongs to user 12345" => (1, "a regular file"),
                cause => (1, cause),
            };
            assert_eq!(
                output.status.code(),
                Some(status),
                "{program} {path:?}: {stderr}"
            );
            assert!(
                stderr.contains(cause),
                "{program} {path:?} lacks `{cause}`: {stderr}"
            );
            assert!(cause == "No such file" || path.symlink_metadata().is_ok());
        }
        assert_eq!(
            fs::read_to_string(folder.path().join("target")).unwrap(),
            "kept"
        );
    }
}

#[test]
fn file_that_is_written_is_private_and_replaces_the_old_one() {
    for (program, option) in table::WRITTEN {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("file"), folder.path().join("other"));
        fs::write(&path, "old").unwrap();
        fs::hard_link(&path, &other).unwrap();
        let Some(output) = run(program, &[&format!("--{option}")], Some(&path)) else {
            continue;
        };
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(1), "{program}: {stderr}");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600, "{program}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "old", "{program}");
        let text = fs::read(&path).unwrap();
        assert!(
            serde_json::from_slice::<serde_json::Value>(&text).is_ok(),
            "{program}"
        );
    }
}

#[test]
fn node_that_is_no_device_of_its_kind_is_refused_at_once() {
    for (program, option) in table::NODES {
        let folder = tempfile::tempdir().unwrap();
        for (path, _) in create_files(folder.path()) {
            let Some(output) = run(program, &[&format!("--{option}")], Some(&path)) else {
                continue;
            };
            let status = output.status.code();
            assert!(
                status.is_some_and(|code| code != 0),
                "{program} {path:?}: {output:?}"
            );
        }
        assert_eq!(
            fs::read_to_string(folder.path().join("target")).unwrap(),
            "kept"
        );
    }
}

#[test]
fn argument_with_control_characters_is_refused_in_printable_text() {
    let hostile = "\u{1b}[2J\nforged:\u{202e}\u{9b}m";
    let options = table::WRITTEN.iter().chain(table::NODES);
    for (program, option) in options.chain(table::SOCKETS) {
        for before in [
            "",
            "--",
            "--size=",
            "--source=",
            &format!("--{option}=/proc/none/"),
        ] {
            let Some(output) = run(program, &[&format!("{before}{hostile}")], None) else {
                continue;
            };
            assert!(!output.status.success(), "{program} {before}");
            let stderr = String::from_utf8(output.stderr).unwrap();
            for text_line in stderr.lines() {
                assert_eq!(covalent_alloc::text::printable(text_line), text_line);
                assert!(
                    !text_line.starts_with("forged:"),
                    "{program} {before}: {stderr}"
                );
            }
        }
    }
}

#[test]
fn client_without_a_compositor_exits_with_its_status() {
    let output = run("covalent-pattern", &[], None).unwrap();
    assert_eq!(output.status.code(), Some(NO_COMPOSITOR));
}
