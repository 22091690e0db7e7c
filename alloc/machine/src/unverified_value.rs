//! A value of a recorded machine that is not known and on which a plan depends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value that the recording marks as not known. A plan that depends on the value may be wrong if the value is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UnverifiedValue {
    /// The name in the plan of the participant or source that has the value.
    #[serde(rename = "who")]
    pub owner: String,
    /// The path of the value in the recording, such as `participant.constraints.image.stride`.
    #[serde(rename = "place")]
    pub path: String,
    /// What is not known, as text that follows "not known:".
    pub what: String,
}

impl fmt::Display for UnverifiedValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}): {}", self.owner, self.path, self.what)
    }
}
