//! The last steps before a command's program begins: a session, a terminal and a control group of its own.
//!
//! A process of its own does this, since the steps belong between fork and exec, where a program with more than one
//! thread can do little that is safe.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The launch itself failed, as `env`, `nice` and `timeout` tell it.
const FAILED: u8 = 125;
/// The program was found but cannot be run, as a shell tells it.
const CANNOT_RUN: u8 = 126;
/// There is no such program, as a shell tells it.
const NOT_FOUND: u8 = 127;

/// What stands for "no control group".
const NO_GROUP: &str = "-";

/// The words that start `argv` in `folder` through this process.
pub(crate) fn words(group: Option<&Path>, terminal: bool, folder: &Path) -> Vec<OsString> {
    vec![
        "launch".into(),
        group.map_or_else(|| NO_GROUP.into(), Into::into),
        if terminal { "terminal" } else { "pipes" }.into(),
        folder.into(),
    ]
}

/// Becomes the program; comes back only where that fails.
pub(crate) fn run(words: &[OsString]) -> ExitCode {
    let [group, stdio, folder, program, arguments @ ..] = words else {
        eprintln!("covalent-guest launch: GROUP terminal|pipes FOLDER PROGRAM [ARGUMENT]...");
        return ExitCode::from(FAILED);
    };
    if let Err((what, error)) = prepare(group, stdio == "terminal", folder) {
        eprintln!(
            "covalent-guest: start {}: {what}: {error}",
            program.to_string_lossy()
        );
        return ExitCode::from(FAILED);
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!(
        "covalent-guest: start {}: {error}",
        program.to_string_lossy()
    );
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        CANNOT_RUN
    })
}

fn prepare(group: &OsStr, terminal: bool, folder: &OsStr) -> Result<(), (String, io::Error)> {
    rustix::process::setsid().map_err(|errno| ("begin a session".to_owned(), errno.into()))?;
    if terminal {
        rustix::process::ioctl_tiocsctty(io::stdin())
            .map_err(|errno| ("take the terminal".to_owned(), errno.into()))?;
    }
    if group != NO_GROUP {
        std::fs::write(group, "0")
            .map_err(|error| (format!("join {}", group.to_string_lossy()), error))?;
    }
    std::env::set_current_dir(folder)
        .map_err(|error| (format!("go to {}", folder.to_string_lossy()), error))
}
