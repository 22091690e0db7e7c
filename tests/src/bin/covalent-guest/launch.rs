//! `launch`: creates a session, takes the terminal, joins a control group, and executes a command's program.
//!
//! These steps belong between fork and exec, where a program with several threads may only call async-signal-safe functions. So
//! `covalent-guest serve` starts this program again, and the new process performs the steps with a single thread.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The exit status if `launch` itself fails. `env`, `nice` and `timeout` use the same status.
const FAILED: u8 = 125;
/// The exit status if the program exists but cannot be executed. A shell uses the same status.
const CANNOT_RUN: u8 = 126;
/// The exit status if the program does not exist. A shell uses the same status.
const NOT_FOUND: u8 = 127;

/// The value of the argument GROUP for a command without a control group.
const NO_GROUP: &str = "-";

/// Returns the arguments of `covalent-guest` that precede the arguments of the command.
pub(crate) fn words(group: Option<&Path>, terminal: bool, folder: &Path) -> Vec<OsString> {
    vec![
        "launch".into(),
        group.map_or_else(|| NO_GROUP.into(), Into::into),
        if terminal { "terminal" } else { "pipes" }.into(),
        folder.into(),
    ]
}

/// Executes the program. Returns only if this fails.
pub(crate) fn run(words: &[OsString]) -> ExitCode {
    let [group, stdio, folder, program, arguments @ ..] = words else {
        eprintln!("usage: covalent-guest launch GROUP terminal|pipes FOLDER PROGRAM [ARGUMENT]...");
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

/// Makes this process a session in its control group, with its terminal and folder. The error names the operation.
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
