//! How a case, a check or a row ended.

use serde::{Deserialize, Serialize};

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// What it claims was seen.
    Passed,
    /// It was not.
    Failed,
    /// It could not be looked at.
    Skipped,
}
