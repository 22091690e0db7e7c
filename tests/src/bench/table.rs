//! The results of `./x bench`, as a text table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::measure::PipelineCosts;
use super::scenario::Scenario;

/// A quantity that is measured for each pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Processor time of the clients for each presented frame, in ms.
    ClientMs,
    /// Processor time of the compositor for each presented frame, in ms.
    CompositorMs,
    /// Processor time of clients and compositor for each presented frame, in ms.
    TotalMs,
    /// The number of frames that each client shows in a second.
    Rate,
    /// The number of system calls of the clients for each presented frame.
    Calls,
    /// The number of those system calls that are ioctls.
    Ioctls,
    /// MiB that the CPU copied for each frame, in client and compositor. Only Covalent's programs report this.
    CopiedMiB,
    /// The median time from the camera's timestamp to the presentation, in ms. Only Covalent's programs report this.
    LatencyMs,
    /// The time for the start and the end of the client, which belongs to no frame, in ms.
    StartMs,
    /// The number of frames of the longer run that were not presented, if the program reports it.
    Lost,
    /// The peak memory in dma-bufs, in MiB.
    DmabufMiB,
    /// The peak memory of the clients, in MiB.
    ClientMiB,
    /// The peak memory of the compositor, in MiB.
    CompositorMiB,
    /// Processor time of the compositor during one second without clients, in ms.
    IdleMs,
}

impl Column {
    /// All columns, in the order of the table.
    pub const ALL: [Self; 14] = [
        Self::ClientMs,
        Self::CompositorMs,
        Self::TotalMs,
        Self::Rate,
        Self::Calls,
        Self::Ioctls,
        Self::CopiedMiB,
        Self::LatencyMs,
        Self::StartMs,
        Self::Lost,
        Self::DmabufMiB,
        Self::ClientMiB,
        Self::CompositorMiB,
        Self::IdleMs,
    ];

    /// Returns the heading of the column, which has one or two words.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::ClientMs => "client ms",
            Self::CompositorMs => "compos. ms",
            Self::TotalMs => "both ms",
            Self::Rate => "frames/s",
            Self::Calls => "calls",
            Self::Ioctls => "ioctls",
            Self::CopiedMiB => "copied MiB",
            Self::LatencyMs => "latency ms",
            Self::StartMs => "start ms",
            Self::Lost => "lost",
            Self::DmabufMiB => "dmabuf MiB",
            Self::ClientMiB => "client MiB",
            Self::CompositorMiB => "comp. MiB",
            Self::IdleMs => "idle ms/s",
        }
    }

    /// Returns whether a larger number is better.
    #[must_use]
    pub fn is_better_high(self) -> bool {
        self == Self::Rate
    }

    /// Returns whether `./x bench` fails if Covalent is worse than another project in this column.
    fn is_judged(self) -> bool {
        matches!(
            self,
            Self::TotalMs | Self::Rate | Self::Calls | Self::CopiedMiB
        )
    }
}

/// The median, the minimum and the maximum of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub least: f64,
    /// The maximum.
    pub most: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: *sorted.get(sorted.len() / 2)?,
            least: *sorted.first()?,
            most: *sorted.last()?,
        })
    }
}

/// The results of one pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The name of the scenario.
    pub name: String,
    /// The job of the clients.
    pub job: String,
    /// Whether all programs of the pipeline are Covalent's.
    pub own: bool,
    /// The commands of the compositor and of the client.
    pub commands: [String; 2],
    /// The reason why the pipeline could not be measured; `None` if it was measured.
    pub failed: Option<String>,
    /// The measured quantities.
    pub columns: BTreeMap<Column, Spread>,
}

/// The results of `./x bench`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rows {
    /// The name of the subject that was compared.
    pub subject: String,
    /// The guest's kernel, and the versions of the programs.
    pub versions: BTreeMap<String, String>,
    /// Whether the guest's processors were emulated. In this case only ratios apply to real hardware.
    pub emulated: bool,
    /// The small and the large number of frames of the two runs.
    pub frames: [u32; 2],
    /// The number of rounds, in each of which every pipeline was run.
    pub rounds: u32,
    /// The results of each pipeline.
    pub rows: Vec<Row>,
}

impl Row {
    /// Creates a row from the measurements of all rounds. If a round failed, the row contains the first failure.
    #[must_use]
    pub fn new(scenario: &Scenario, rounds: &[PipelineCosts]) -> Self {
        let mut values: BTreeMap<Column, Vec<f64>> = BTreeMap::new();
        for (column, value) in rounds.iter().flatten().flatten() {
            values.entry(*column).or_default().push(*value);
        }
        let failed = rounds.iter().find_map(|round| round.as_ref().err());
        let spread = |(column, values): (Column, Vec<f64>)| Some((column, Spread::of(&values)?));
        Self {
            name: scenario.name.to_owned(),
            job: scenario.job.to_owned(),
            own: scenario.is_own(),
            commands: [scenario.compositor.to_owned(), scenario.client.to_owned()],
            failed: failed.cloned(),
            columns: values.into_iter().filter_map(spread).collect(),
        }
    }

    /// Returns the median of a column.
    fn median(&self, column: Column) -> Option<f64> {
        self.columns.get(&column).map(|spread| spread.median)
    }
}

impl Rows {
    /// Returns the table as text, with the median of each quantity. A pipeline that was not measured has the reason instead.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let width = self.rows.iter().map(|row| row.name.len()).max();
        let width = width.unwrap_or_default();
        let has = |column: &Column| self.rows.iter().any(|row| row.columns.contains_key(column));
        let columns: Vec<Column> = Column::ALL.into_iter().filter(has).collect();
        let mut job = "";
        for row in &self.rows {
            // Writing to a String cannot fail.
            if row.job != job {
                job = &row.job;
                let _ = write!(
                    text,
                    "{}{job}\n{:width$}",
                    if text.is_empty() { "" } else { "\n" },
                    ""
                );
                for column in &columns {
                    let _ = write!(text, " {:>10}", column.heading());
                }
                text.push('\n');
            }
            let _ = write!(text, "{:width$}", row.name);
            if row.columns.is_empty() {
                let reason = row.failed.as_deref().unwrap_or("the pipeline was not run");
                let _ = writeln!(text, "  not measured: {reason}");
                continue;
            }
            for column in &columns {
                let cell = row.median(*column).map_or("-".to_owned(), number);
                let _ = write!(text, " {cell:>10}");
            }
            text.push('\n');
        }
        text
    }

    /// Returns a line for each job and column in which Covalent's best pipeline is worse than the best pipeline of another
    /// project.
    #[must_use]
    pub fn lost_columns(&self) -> Vec<String> {
        let mut jobs: Vec<&str> = self.rows.iter().map(|row| row.job.as_str()).collect();
        jobs.dedup();
        let mut lines = Vec::new();
        for job in jobs {
            for column in Column::ALL.into_iter().filter(|column| column.is_judged()) {
                let best = |own: bool| {
                    let rows = self
                        .rows
                        .iter()
                        .filter(|row| row.job == job && row.own == own);
                    let medians = rows.filter_map(|row| Some((row.median(column)?, row)));
                    medians.min_by(|(one, _), (other, _)| {
                        let order = one.total_cmp(other);
                        if column.is_better_high() {
                            order.reverse()
                        } else {
                            order
                        }
                    })
                };
                let (Some((ours, own)), Some((theirs, other))) = (best(true), best(false)) else {
                    continue;
                };
                // From round to round, the rate on the same display varies by less than this factor.
                const TOLERANCE: f64 = 1.03;
                let is_lost = if column.is_better_high() {
                    ours * TOLERANCE < theirs
                } else {
                    ours > theirs * TOLERANCE
                };
                if is_lost {
                    lines.push(format!(
                        "{job}: {} {} of {}, {} of {}",
                        column.heading(),
                        number(ours),
                        own.name,
                        number(theirs),
                        other.name
                    ));
                }
            }
        }
        lines
    }
}

/// Returns a number as text with at most three significant digits.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Subject;

    fn rows(own_ms: f64, other_ms: f64) -> Rows {
        let scenarios = Subject::Compositor.scenarios();
        let round = |ms: f64| Ok(BTreeMap::from([(Column::TotalMs, ms)]));
        Rows {
            subject: "compositor".to_owned(),
            versions: BTreeMap::new(),
            emulated: true,
            frames: [10, 20],
            rounds: 3,
            rows: vec![
                Row::new(
                    &scenarios[0],
                    &[round(own_ms), round(own_ms * 3.0), round(0.1)],
                ),
                Row::new(&scenarios[1], &[round(other_ms)]),
                Row::new(&scenarios[2], &[Err("sway has no seat".to_owned())]),
            ],
        }
    }

    #[test]
    fn spread_of_several_rounds_has_the_median_and_both_ends() {
        let spread = rows(2.0, 9.0).rows[0].columns[&Column::TotalMs];
        let expected = Spread {
            median: 2.0,
            least: 0.1,
            most: 6.0,
        };
        assert_eq!(spread, expected);
    }

    #[test]
    fn table_of_a_pipeline_that_failed_has_its_reason() {
        let table = rows(2.0, 9.0).table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "a full-screen wl_shm window");
        assert!(
            lines[2].starts_with("covalent: shm") && lines[2].ends_with(" 2.00"),
            "{table}"
        );
        assert_eq!(lines[4], "sway: shm      not measured: sway has no seat");
    }

    #[test]
    fn lost_columns_name_the_columns_in_which_another_project_is_better() {
        assert_eq!(rows(2.0, 9.0).lost_columns(), Vec::<String>::new());
        assert_eq!(
            rows(2.0, 1.5).lost_columns(),
            ["a full-screen wl_shm window: both ms 2.00 of covalent: shm, 1.50 of weston: shm"]
        );
    }
}
