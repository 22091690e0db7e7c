//! One cell: what the solver says of a pair in one picture, and what its drivers did.

use std::fmt;

use covalent_alloc::constraint::SourceId;
use covalent_alloc::model::{Extent, FormatModifier};
use covalent_alloc::trial::{Outcome, RefusalKind};
use serde::{Deserialize, Serialize};

use super::judge::Judgement;

/// What the solver says of one pair in one picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Guaranteed,
    Possible,
    Impossible,
}

/// One source, one participant, one format, one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) source: SourceId,
    pub(super) participant: String,
    pub(super) format: FormatModifier,
    pub(super) size: Extent,
    /// What the solver says, and why it is not sure or sure that it cannot be.
    pub(super) said: Said,
    pub(super) reasons: Vec<String>,
    /// Whether the participant has this format at this size at all.
    pub(super) is_listed: bool,
    /// What the drivers did; none where they cannot be asked.
    pub(super) outcome: Option<Outcome>,
    pub(super) judgement: Judgement,
}

impl Cell {
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self.judgement, Judgement::Mismatch | Judgement::Unlisted)
    }

    pub(super) fn is_worth_learning(&self) -> bool {
        self.said == Said::Guaranteed
            && self
                .outcome
                .as_ref()
                .and_then(Outcome::refusal)
                .is_some_and(|refusal| refusal.kind == RefusalKind::Structural)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = match self.said {
            Said::Guaranteed => "guaranteed",
            Said::Possible => "possible",
            Said::Impossible => "impossible",
        };
        write!(
            out,
            "wrong: {} to {} in {} at {}: {said}, and ",
            self.source, self.participant, self.format, self.size
        )?;
        match (&self.outcome, self.judgement) {
            (_, Judgement::Unlisted) => {
                write!(out, "no listed reason why nothing better is known")?
            }
            (Some(outcome), _) => write!(out, "{outcome}")?,
            (None, _) => write!(out, "not tried")?,
        }
        if !self.reasons.is_empty() {
            write!(out, " [{}]", self.reasons.join("; "))?;
        }
        Ok(())
    }
}
