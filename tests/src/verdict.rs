//! The verdict on a case, a check or a row.

use serde::{Deserialize, Serialize};

/// The verdict on a case, a check or a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It behaved as expected.
    Passed,
    /// It did not behave as expected.
    Failed,
    /// It could not be run.
    Skipped,
}
