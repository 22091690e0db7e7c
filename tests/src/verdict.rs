//! The verdict on a case, a check or a row.

use serde::{Deserialize, Serialize};

/// The verdict on a case, a check or a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The case, check or row behaved as expected.
    Passed,
    /// The case, check or row did not behave as expected.
    Failed,
    /// The case, check or row could not be run.
    Skipped,
}
