//! Results of `covalent-interop-check`: rows, which are grouped by behaviour, and the table of all machines. Lines of
//! `covalent-alloc-check` are parsed as rows too.

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

/// The behaviours. Each is a pair of Vulkan and another driver. They run in this order.
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

/// The result of one row, which is one check of a behaviour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The behaviour, one of [`BEHAVIOURS`], or the theme of `covalent-alloc-check`.
    pub behaviour: String,
    /// The row's name: the devices, the source and the format.
    pub row: String,
    /// Whether the row passed.
    pub verdict: Verdict,
    /// The reason why the row failed or was skipped. For a passed row, the condition under which it passed, or an empty text.
    pub reason: String,
}

impl Row {
    /// Parses a line of `covalent-alloc-check`: `passed NAME`, `failed NAME: why` or `skipped NAME: why`. The theme becomes the
    /// behaviour. Returns `None` for other lines.
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
