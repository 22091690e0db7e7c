//! The table of results, with a row for each behaviour and a column for each machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs, io};

use serde::Serialize;

use super::{BEHAVIOURS, Row};
use crate::verdict::Verdict;

/// The results of all machines.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// The name of each machine, and the results of its rows, in the order of the columns.
    pub columns: Vec<(String, Vec<Row>)>,
}

/// The result of one behaviour on one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Cell {
    /// No row failed. The numbers are those of the rows that passed and of the rows that were skipped.
    Passed(usize, usize),
    /// This number of rows failed.
    Failed(usize),
    /// All rows were skipped, for these reasons.
    Skipped(Vec<String>),
    /// The machine reported no row of the behaviour.
    Missing,
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Passed(count, 0) => format!("passed {count}"),
            Self::Passed(count, skipped) => format!("passed {count}, skipped {skipped}"),
            Self::Failed(count) => format!("FAILED {count}"),
            Self::Skipped(_) => "skipped".to_owned(),
            Self::Missing => "not tried".to_owned(),
        };
        out.pad(&text)
    }
}

impl Table {
    /// Returns the result of a behaviour on a machine.
    #[must_use]
    pub fn cell(&self, behaviour: &str, column: &str) -> Cell {
        let rows: Vec<&Row> = self
            .columns
            .iter()
            .filter(|(name, _)| name == column)
            .flat_map(|(_, rows)| rows)
            .filter(|row| row.behaviour == behaviour)
            .collect();
        let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
        let (passed, skipped) = (count(Verdict::Passed), count(Verdict::Skipped));
        match count(Verdict::Failed) {
            0 if passed > 0 => Cell::Passed(passed, skipped),
            0 if skipped > 0 => {
                let mut reasons: Vec<String> = rows.iter().map(|row| row.reason.clone()).collect();
                reasons.sort();
                reasons.dedup();
                Cell::Skipped(reasons)
            }
            0 => Cell::Missing,
            failed => Cell::Failed(failed),
        }
    }

    /// Writes the table as text and as JSON, to `NAME.txt` and `NAME.json`.
    ///
    /// # Errors
    /// The error of the file system.
    pub fn keep(&self, folder: &Path, name: &str) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(format!("{name}.txt")), self.to_string())?;
        let json = serde_json::to_vec_pretty(self)?;
        fs::write(folder.join(format!("{name}.json")), json)
    }

    /// Returns the number of rows with this verdict, by behaviour, machine and reason.
    fn reasons(&self, verdict: Verdict) -> BTreeMap<(&str, &str, &str), usize> {
        let mut reasons = BTreeMap::new();
        for (column, rows) in &self.columns {
            for row in rows.iter().filter(|row| row.verdict == verdict) {
                let key = (row.behaviour.as_str(), column.as_str(), row.reason.as_str());
                let count: &mut usize = reasons.entry(key).or_default();
                *count = count.saturating_add(1);
            }
        }
        reasons
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = BEHAVIOURS.iter().map(|name| name.len()).max().unwrap_or(0);
        let cells = |behaviour: &str| -> Vec<String> {
            self.columns
                .iter()
                .map(|(column, _)| self.cell(behaviour, column).to_string())
                .collect()
        };
        let width = BEHAVIOURS
            .iter()
            .flat_map(|behaviour| cells(behaviour))
            .chain(self.columns.iter().map(|(name, _)| name.clone()))
            .map(|text| text.len())
            .max()
            .unwrap_or(0);
        write!(out, "{:first$}", "")?;
        for (column, _) in &self.columns {
            write!(out, "  {column:width$}")?;
        }
        for behaviour in BEHAVIOURS {
            write!(out, "\n{behaviour:first$}")?;
            for cell in cells(behaviour) {
                write!(out, "  {cell:width$}")?;
            }
        }
        writeln!(out)?;
        for (verdict, word) in [(Verdict::Failed, "failed"), (Verdict::Skipped, "skipped")] {
            for ((behaviour, column, reason), count) in self.reasons(verdict) {
                writeln!(out, "{word} {behaviour} on {column} ({count}): {reason}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(behaviour: &str, verdict: Verdict, reason: &str) -> Row {
        Row {
            behaviour: behaviour.to_owned(),
            row: "one with another".to_owned(),
            verdict,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn cell_is_the_worst_of_its_rows_and_a_pass_outweighs_a_skip() {
        let heap = BEHAVIOURS[0];
        let table = |rows: &[Row]| Table {
            columns: vec![("virtio".to_owned(), rows.to_vec())],
        };
        let passed = row(heap, Verdict::Passed, "");
        let skipped = row(heap, Verdict::Skipped, "no card");
        let failed = row(heap, Verdict::Failed, "torn");
        let cell = |rows: &[Row]| table(rows).cell(heap, "virtio");
        assert_eq!(cell(&[]), Cell::Missing);
        assert_eq!(
            cell(&[skipped.clone(), skipped.clone()]),
            Cell::Skipped(vec!["no card".to_owned()])
        );
        assert_eq!(cell(&[passed.clone(), skipped]), Cell::Passed(1, 1));
        assert_eq!(cell(&[passed, failed]), Cell::Failed(1));
    }

    #[test]
    fn table_as_text_has_a_line_for_each_behaviour_and_reason() {
        let table = Table {
            columns: vec![
                (
                    "virtio".to_owned(),
                    vec![row(BEHAVIOURS[1], Verdict::Skipped, "no udmabuf")],
                ),
                ("full".to_owned(), Vec::new()),
            ],
        };
        let words = table.to_string();
        assert_eq!(words.lines().count(), BEHAVIOURS.len() + 2, "{words}");
        assert!(words.contains("skipped vulkan_and_udmabuf on virtio (1): no udmabuf"));
    }
}
