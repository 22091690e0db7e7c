//! What nobody knows of a machine, and a plan for it rests on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value of which nothing tells whether it is right: a plan that rests on it holds as far as it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnverifiedValue {
    /// The participant or source of whom it is, by the name that it has in the plan.
    pub who: String,
    /// The place of the value in the recording, such as `participant.constraints.image.stride`.
    pub place: String,
    /// What is not known, in words that follow "not known:".
    pub what: String,
}

impl fmt::Display for UnverifiedValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({}): {}", self.who, self.place, self.what)
    }
}
