//! Rows: tried one after another in a process that may die, and told as they come.

use std::io::{Write as _, stdout};

use anyhow::Result;
use covalent_tests::interop::Row;
use covalent_tests::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// How a row ended that did not fail.
pub(crate) enum RowOutcome {
    /// What it claims was seen.
    Passed,
    /// The same, and what is to be known of it.
    PassedWithNote(String),
    /// It cannot be seen here.
    Skipped(String),
}

/// What the process that tries tells the one that watches it, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Told {
    /// A row begins.
    Begin {
        /// Its behaviour.
        behaviour: String,
        /// Its name.
        row: String,
    },
    /// What is tried now is only possible, by these doubts: a driver that ends the process refutes nothing.
    Doubt(String),
    /// It has ended.
    End(Row),
    /// All have.
    Done,
}

/// The rows of one behaviour after another.
pub(crate) struct Rows {
    behaviour: &'static str,
    /// Rows that an earlier process has tried.
    done: usize,
    begun: usize,
}

impl Rows {
    /// Leaves out the first `done` rows.
    pub(crate) fn after(done: usize) -> Self {
        Self {
            behaviour: "",
            done,
            begun: 0,
        }
    }

    /// Says to which behaviour the next rows belong.
    pub(crate) fn of(&mut self, behaviour: &'static str) {
        self.behaviour = behaviour;
    }

    /// Tries one row, unless an earlier process has.
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
        tell(&Told::Begin {
            behaviour: behaviour.clone(),
            row: row.clone(),
        });
        let (verdict, reason) = match attempt() {
            Ok(RowOutcome::Passed) => (Verdict::Passed, String::new()),
            Ok(RowOutcome::PassedWithNote(words)) => (Verdict::Passed, words),
            Ok(RowOutcome::Skipped(why)) => (Verdict::Skipped, why),
            Err(error) => (Verdict::Failed, format!("{error:#}")),
        };
        tell(&Told::End(Row {
            behaviour,
            row,
            verdict,
            reason: reason.replace('\n', "; "),
        }));
    }

    /// A row that cannot be tried at all.
    pub(crate) fn skip(&mut self, row: impl Into<String>, why: &str) {
        self.row(row, || Ok(RowOutcome::Skipped(why.to_owned())));
    }
}

/// Tells the process that watches. Where it is gone there is nobody to tell.
pub(crate) fn tell(told: &Told) {
    if let Ok(line) = serde_json::to_string(told) {
        let mut out = stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}
