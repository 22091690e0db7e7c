//! A finding: the problem, its consequence, its severity, and its remedy.

use serde::{Deserialize, Serialize};

/// The severity of a finding, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// A buffer, device or program cannot be used at all.
    Blocks,
    /// Everything can be used, but with fewer sources, in smaller sizes or more slowly.
    Limits,
    /// The finding matters only for some uses.
    Notes,
}

impl Severity {
    /// Returns the word for the severity in the text output.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Limits => "limits",
            Self::Notes => "note",
        }
    }
}

/// A problem that a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// An identifier for scripts, such as `udmabuf-permission`.
    pub(crate) id: String,
    pub(crate) severity: Severity,
    /// The problem, with the device and the cause.
    pub(crate) what: String,
    /// The consequence of the problem: what cannot be done.
    pub(crate) why: String,
    /// The remedy; `None` if nothing on this machine solves the problem.
    pub(crate) remedy: Option<Remedy>,
}

/// A command or a configuration line that solves the problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remedy {
    /// The line to paste, into a shell or into the file that the note names.
    pub(crate) line: String,
    /// The place where the line belongs, or the next step after the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

impl Finding {
    pub(crate) fn new(
        id: impl Into<String>,
        severity: Severity,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self {
            id: id.into(),
            severity,
            what: what.into(),
            why: why.into(),
            remedy: None,
        }
    }

    /// Sets the line to paste.
    #[must_use]
    pub(crate) fn with_command(mut self, line: impl Into<String>) -> Self {
        self.remedy = Some(Remedy {
            line: line.into(),
            note: None,
        });
        self
    }

    /// Explains in the finding why it has no line to paste: `what` contains characters that would be unsafe in a shell.
    #[must_use]
    pub(crate) fn without_remedy(mut self, what: &str) -> Self {
        self.why.push_str(&format!(
            " There is no line to paste: {what} has characters that such names do not have, and pasting it would be unsafe."
        ));
        self
    }

    /// Sets the note on the line. Has no effect on a finding without a line.
    #[must_use]
    pub(crate) fn with_note(mut self, note: impl Into<String>) -> Self {
        if let Some(remedy) = &mut self.remedy {
            remedy.note = Some(note.into());
        }
        self
    }
}
