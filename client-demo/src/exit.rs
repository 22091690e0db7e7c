//! The exit codes of the programs. All binaries use the same codes.

use std::io::Write as _;
use std::process::ExitCode;

use covalent_alloc::text::{PrintableWriter, joined_causes};

/// The exit status of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The program completed its task.
    Done = 0,
    /// An error that has no code of its own.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// There is no such device, or it is not a camera.
    NoCamera = 3,
    /// The camera and the compositor have no format in common, or there is no plan without a copy.
    NoPlan = 4,
    /// There is no compositor to connect to.
    NoCompositor = 5,
    /// Another program uses the camera.
    CameraBusy = 6,
    /// The buffers could not be allocated.
    Allocation = 7,
    /// The camera went away while it streamed.
    CameraGone = 8,
    /// The compositor went away while it was used.
    CompositorGone = 9,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit status that the program ends with.
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// Creates a failure from an exit status and an error.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }

    /// Creates a failure with [`Exit::Unexpected`].
    pub fn unexpected(error: impl Into<anyhow::Error>) -> Self {
        Self::new(Exit::Unexpected, error)
    }

    /// Returns the exit code of the failure.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&joined_causes(self.error.chain()))
    }
}

/// The same text as `Display`, because a `main` that returns an error prints `Debug`.
impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The displayed text includes the causes.
        None
    }
}

/// Runs `program` and returns the exit code; prints a failure on stderr as `NAME: REASON`.
#[must_use]
pub fn run_to_exit_code(name: &str, program: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    match program() {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            // stderr may be closed. The exit code is returned in any case.
            let _ = writeln!(PrintableWriter::new(std::io::stderr()), "{name}: {failure}");
            failure.exit().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("opening the camera failed: {source}")]
    struct CameraOpenError {
        source: std::io::Error,
    }

    #[test]
    fn failure_with_several_causes_names_each_once() {
        let open_error = CameraOpenError {
            source: std::io::ErrorKind::NotFound.into(),
        };
        let failure = Failure::new(
            Exit::NoCamera,
            anyhow::Error::from(open_error).context("no stream"),
        );
        assert_eq!(
            failure.to_string(),
            "no stream: opening the camera failed: entity not found"
        );
        assert_eq!(failure.exit(), Exit::NoCamera);
    }
}
