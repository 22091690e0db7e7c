//! What `covalent-interop-check` finds: rows of behaviours, and the table of all machines that they were tried on. Lines of
//! `covalent-alloc-check` are read as rows too.

#[cfg(feature = "harness")]
mod skips;
#[cfg(feature = "harness")]
mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

#[cfg(feature = "harness")]
pub use skips::Skips;
#[cfg(feature = "harness")]
pub use table::{Cell, Table};

/// The ways between Vulkan and other drivers, in the order in which they are tried.
pub const BEHAVIOURS: [&str; 10] = [
    "vulkan_and_heap",
    "vulkan_and_udmabuf",
    "vulkan_and_gbm",
    "vulkan_to_vulkan",
    "application_device",
    "v4l2_to_vulkan",
    "vulkan_to_v4l2_output",
    "vulkan_to_encoder",
    "vulkan_to_kms",
    "through_the_compositor",
];

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The way, one of [`BEHAVIOURS`].
    pub behaviour: String,
    /// Who with whom, in which format.
    pub row: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it failed or was skipped; what is to be known of one that passed.
    pub reason: String,
}

impl Row {
    /// Reads a line of `covalent-alloc-check`: `passed NAME`, `failed NAME: why` or `skipped NAME: why`. The theme takes the
    /// place of the behaviour. `None` where it is no such line.
    #[must_use]
    pub fn parse(theme: &str, line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        let (verdict, (name, reason)) = match word {
            "passed" => (Verdict::Passed, (rest, "")),
            "failed" => (Verdict::Failed, rest.split_once(": ").unwrap_or((rest, ""))),
            "skipped" => (
                Verdict::Skipped,
                rest.split_once(": ").unwrap_or((rest, "")),
            ),
            _ => return None,
        };
        Some(Self {
            behaviour: theme.to_owned(),
            row: name.to_owned(),
            verdict,
            reason: reason.to_owned(),
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        };
        write!(out, "{verdict} {}/{}", self.behaviour, self.row)?;
        if self.reason.is_empty() {
            Ok(())
        } else {
            write!(out, ": {}", self.reason)
        }
    }
}
