//! Runs the rows one after another in the child process, and reports each row to the parent.

use std::io::{Write as _, stdout};

use anyhow::Result;
use covalent_tests::interop::Row;
use covalent_tests::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// The outcome of a row that did not fail.
pub(crate) enum RowOutcome {
    /// The row verified what its name says.
    Passed,
    /// The row passed under the condition that the text names.
    PassedWithNote(String),
    /// The row cannot run on this machine, for this reason.
    Skipped(String),
}

/// A message of the child process to its parent: one line of JSON on stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ParentMessage {
    /// The child begins a row.
    Begin {
        /// The row's behaviour.
        behaviour: String,
        /// The row's name.
        row: String,
    },
    /// The plan of the current row is possible but not guaranteed, for these reasons. If a driver crashes in such a row, the row
    /// is skipped.
    Caveats(String),
    /// The row has ended.
    End(Row),
    /// All rows of this child have ended.
    Done,
}

/// Runs the rows of all behaviours in the child process.
pub(crate) struct Rows {
    behaviour: &'static str,
    /// The number of rows that earlier child processes ran.
    done: usize,
    begun: usize,
}

impl Rows {
    /// Creates a runner that skips the first `done` rows, which earlier child processes ran.
    pub(crate) fn after(done: usize) -> Self {
        Self {
            behaviour: "",
            done,
            begun: 0,
        }
    }

    /// Sets the behaviour of the following rows.
    pub(crate) fn of(&mut self, behaviour: &'static str) {
        self.behaviour = behaviour;
    }

    /// Runs one row, unless an earlier child process ran it.
    pub(crate) fn row(
        &mut self,
        row: impl Into<String>,
        attempt: impl FnOnce() -> Result<RowOutcome>,
    ) {
        let (behaviour, row) = (self.behaviour.to_owned(), row.into());
        self.begun = self.begun.saturating_add(1);
        if self.begun <= self.done {
            return;
        }
        send_to_parent(&ParentMessage::Begin {
            behaviour: behaviour.clone(),
            row: row.clone(),
        });
        let (verdict, reason) = match attempt() {
            Ok(RowOutcome::Passed) => (Verdict::Passed, String::new()),
            Ok(RowOutcome::PassedWithNote(note)) => (Verdict::Passed, note),
            Ok(RowOutcome::Skipped(why)) => (Verdict::Skipped, why),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        send_to_parent(&ParentMessage::End(Row {
            behaviour,
            row,
            verdict,
            reason: reason.replace('\n', "; "),
        }));
    }

    /// Reports a row that cannot run.
    pub(crate) fn skip(&mut self, row: impl Into<String>, why: &str) {
        self.row(row, || Ok(RowOutcome::Skipped(why.to_owned())));
    }
}

/// Sends a message to the parent. An error is ignored: if the parent has ended, the results are not needed.
pub(crate) fn send_to_parent(message: &ParentMessage) {
    if let Ok(line) = serde_json::to_string(message) {
        let mut out = stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
