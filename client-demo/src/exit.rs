//! How a program of this project ends: one number for each kind of ending, the same in every binary.

use std::io::Write as _;
use std::process::ExitCode;

use covalent_alloc::text::PrintableWriter;

/// What a program's exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for was done.
    Done = 0,
    /// Something that no other status describes.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The camera is not there, or is no camera.
    NoCamera = 3,
    /// No format in common, or no plan without a copy.
    NoPlan = 4,
    /// The compositor is not there.
    NoCompositor = 5,
    /// Another program holds the camera.
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

/// An ending with its reason: what a `main` prints and the status it leaves.
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    /// Says why the program ends and with which status.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }

    /// Returns the status.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Many errors name their cause in their own words; then it is not said again.
        let mut said = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            if !said.contains(&cause) {
                said.push_str(": ");
                said.push_str(&cause);
            }
        }
        f.write_str(&said)
    }
}

/// As it is displayed: a `main` that returns an error prints this.
impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The causes are in the words.
        None
    }
}

/// Runs `program`; prints what went wrong on stderr as `NAME: REASON` and turns the ending into the process's status.
#[must_use]
pub fn conclude(name: &str, program: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    match program() {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            // stderr may be closed; the status still tells.
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
    struct Telling {
        source: std::io::Error,
    }

    #[test]
    fn failure_names_each_cause_once() {
        let telling = Telling {
            source: std::io::ErrorKind::NotFound.into(),
        };
        let failure = Failure::new(
            Exit::NoCamera,
            anyhow::Error::from(telling).context("no stream"),
        );
        assert_eq!(
            failure.to_string(),
            "no stream: opening the camera failed: entity not found"
        );
        assert_eq!(failure.exit(), Exit::NoCamera);
    }
}
