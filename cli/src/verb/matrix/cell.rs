//! A cell of the matrix: the solver's verdict on a source and a participant for one format and size, and the outcome of the
//! trial.

use std::fmt;

use covalent_alloc::constraint::SourceId;
use covalent_alloc::model::{Extent, FormatModifier};
use covalent_alloc::trial::{Outcome, RefusalKind};
use serde::{Deserialize, Serialize};

use super::compare::Comparison;

/// The solver's verdict on whether a participant can import a source's buffer of one format and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SolverVerdict {
    Guaranteed,
    Possible,
    Impossible,
}

/// The result for one source, one participant, one format and one size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) source: SourceId,
    pub(super) participant: String,
    pub(super) format: FormatModifier,
    pub(super) size: Extent,
    #[serde(rename = "said")]
    pub(super) verdict: SolverVerdict,
    /// The reasons why the verdict is not `Guaranteed`.
    pub(super) reasons: Vec<String>,
    /// Whether the participant lists this format among those that it accepts.
    pub(super) is_listed: bool,
    /// The outcome of the trial; `None` if the source cannot allocate such a buffer.
    pub(super) outcome: Option<Outcome>,
    #[serde(rename = "judgement")]
    pub(super) comparison: Comparison,
}

impl Cell {
    /// Returns whether `--verify` fails because of this cell.
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self.comparison, Comparison::Mismatch | Comparison::Unlisted)
    }

    /// Returns whether the driver refused a buffer that the solver guarantees, and would refuse it again (a structural refusal).
    /// Such a refusal is stored as a trial result.
    pub(super) fn is_worth_learning(&self) -> bool {
        self.verdict == SolverVerdict::Guaranteed
            && self
                .outcome
                .as_ref()
                .and_then(Outcome::refusal)
                .is_some_and(|refusal| refusal.kind == RefusalKind::Structural)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            SolverVerdict::Guaranteed => "guaranteed",
            SolverVerdict::Possible => "possible",
            SolverVerdict::Impossible => "impossible",
        };
        write!(
            out,
            "wrong: {} to {} in {} at {}: {verdict}, and ",
            self.source, self.participant, self.format, self.size
        )?;
        match (&self.outcome, self.comparison) {
            (_, Comparison::Unlisted) => {
                write!(out, "no listed reason why the verdict is uncertain")?
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
