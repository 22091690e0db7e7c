//! What stands in the way: what, why it matters, how much, and the line that helps.

use serde::{Deserialize, Serialize};

/// How much something stands in the way, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Something here cannot be used at all.
    Blocks,
    /// All works, with fewer sources, in smaller sizes or slower.
    Limits,
    /// Of interest to some.
    Notes,
}

impl Severity {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Blocks => "blocks",
            Self::Limits => "limits",
            Self::Notes => "note",
        }
    }
}

/// One thing that stands in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// A name for scripts, like `udmabuf-permission`.
    pub(crate) id: String,
    pub(crate) severity: Severity,
    /// What is wrong.
    pub(crate) what: String,
    /// What cannot be done because of it.
    pub(crate) why: String,
    /// What helps; none where nothing on this machine does.
    pub(crate) remedy: Option<Remedy>,
}

/// What helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remedy {
    /// A line to paste: into a shell, or where the note says.
    pub(crate) line: String,
    /// What else has to be known: where the line belongs, or what must follow.
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

    /// Adds a line for a shell.
    #[must_use]
    pub(crate) fn helped_by(mut self, line: impl Into<String>) -> Self {
        self.remedy = Some(Remedy {
            line: line.into(),
            note: None,
        });
        self
    }

    /// Says why there is no line to paste: `what` is not of its kind, like a group's name with a space in it.
    #[must_use]
    pub(crate) fn unhelped(mut self, what: &str) -> Self {
        self.why.push_str(&format!(
            " No line is given that would help: {what} has letters that such names do not have, and must not be pasted."
        ));
        self
    }

    /// Says more of the line.
    #[must_use]
    pub(crate) fn noting(mut self, note: impl Into<String>) -> Self {
        if let Some(remedy) = &mut self.remedy {
            remedy.note = Some(note.into());
        }
        self
    }
}
