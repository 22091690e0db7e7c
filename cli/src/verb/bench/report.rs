//! The report of `covalent bench` as data. Its field names are those of `--json`.

use std::fmt;

use covalent_alloc::model::{Extent, Fourcc};
use serde::Serialize;

use super::quartiles::Quartiles;

/// The version of this report. It grows when a field is removed or changes its meaning, not when one is added.
pub(super) const VERSION: u32 = 1;

/// The source name under which copies of this process's ordinary memory are reported.
pub(super) const PLAIN_MEMORY: &str = "plain memory";

/// The report of `covalent bench`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    /// The kernel's release.
    pub(super) kernel: String,
    pub(super) size: Extent,
    pub(super) format: Fourcc,
    /// The number of rounds that count, without the warm-up round.
    pub(super) rounds: u32,
    /// The number of rounds that were requested.
    #[serde(rename = "rounds_wanted")]
    pub(super) rounds_requested: u32,
    pub(super) rows: Vec<Row>,
    #[serde(rename = "left_out")]
    pub(super) skipped: Vec<SkippedOperation>,
}

/// The times of one operation on a buffer of one source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) key: OperationKey,
    /// The size of the buffer in bytes, padding included.
    pub(super) bytes: u64,
    #[serde(flatten)]
    pub(super) quartiles: Quartiles,
}

/// Identifies a measurement: the operation, the source of the buffer, and for an import the participant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct OperationKey {
    pub(super) operation: Operation,
    /// The participant that imports; `None` for operations of the source alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) participant: Option<String>,
    pub(super) source: String,
}

/// An operation that could not be measured, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SkippedOperation {
    #[serde(flatten)]
    pub(super) key: OperationKey,
    pub(super) why: String,
}

/// An operation on a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    /// One buffer is allocated.
    Allocate,
    /// The buffer is freed.
    Free,
    /// The buffer is mapped into this process, and unmapped.
    Map,
    /// All bytes of the buffer are written for the first time through a mapping: the pages are faulted in, and allocated if the
    /// source allocates them only at the first access.
    FirstWrite,
    /// All bytes of the buffer are written.
    Write,
    /// All bytes of the buffer are read.
    Read,
    /// A participant imports the buffer.
    Import,
    /// The participant releases its import.
    Release,
}

impl Operation {
    /// Returns whether the CPU copies bytes in this operation. The rate of such an operation is in bytes a second.
    pub(super) const fn copies(self) -> bool {
        matches!(self, Self::FirstWrite | Self::Write | Self::Read)
    }

    /// Returns the name of the operation for headings.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::Free => "free",
            Self::Map => "map and unmap",
            Self::FirstWrite => "first write",
            Self::Write => "write",
            Self::Read => "read",
            Self::Import => "import",
            Self::Release => "release import",
        }
    }
}

impl fmt::Display for OperationKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.operation.title(), self.source)?;
        match &self.participant {
            Some(participant) => write!(out, " by {participant}"),
            None => Ok(()),
        }
    }
}

impl OperationKey {
    /// Returns the heading under which the row is listed. Each operation has a heading; imports have one for each participant.
    pub(super) fn heading(&self) -> String {
        match &self.participant {
            Some(participant) => format!("{}: {participant}", self.operation.title()),
            None => self.operation.title().to_owned(),
        }
    }
}

impl Row {
    /// Returns the rate as text: gigabytes a second for copies, operations a second otherwise.
    pub(super) fn rate(&self) -> String {
        let median = self.quartiles.median_ns.max(1);
        if self.key.operation.copies() {
            format!("{} GB/s", digits(ratio(self.bytes, median)))
        } else {
            format!("{}/s", with_si_prefix(ratio(1_000_000_000, median)))
        }
    }
}

/// Returns how many times as large as `other` the number `one` is.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

/// Formats nanoseconds in the largest unit in which the number is at least 1.
pub(super) fn time(nanoseconds: u64) -> String {
    for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")] {
        if nanoseconds >= unit {
            return format!("{} {name}", digits(ratio(nanoseconds, unit)));
        }
    }
    format!("{nanoseconds} ns")
}

/// Formats a number with the prefix k or M.
fn with_si_prefix(value: f64) -> String {
    match value {
        1_000_000.0.. => format!("{} M", digits(value / 1_000_000.0)),
        1_000.0.. => format!("{} k", digits(value / 1_000.0)),
        _ => digits(value),
    }
}

/// Formats a number with three significant digits, or with all digits before the decimal point.
fn digits(value: f64) -> String {
    let places = match value {
        ..0.1 => 3,
        ..10.0 => 2,
        ..100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn row(operation: Operation, source: &str, participant: Option<&str>, median: u64) -> Row {
        let times: Vec<u64> = [80, 95, 100, 110, 150]
            .iter()
            .map(|percent| median * percent / 100)
            .collect();
        Row {
            key: OperationKey {
                operation,
                participant: participant.map(str::to_owned),
                source: source.to_owned(),
            },
            bytes: 1_228_800,
            quartiles: Quartiles::of(&times).unwrap(),
        }
    }

    /// The report of a machine with a heap, a card and a camera.
    pub(in super::super) fn report() -> Report {
        let mut rows = Vec::new();
        for (source, factor) in [("heap:system", 1), ("dumb:virtio_gpu@virtio0", 3)] {
            rows.push(row(Operation::Allocate, source, None, 210_000 * factor));
            rows.push(row(Operation::Free, source, None, 30_000 * factor));
            rows.push(row(Operation::Map, source, None, 11_000 * factor));
            rows.push(row(Operation::FirstWrite, source, None, 900_000 * factor));
            rows.push(row(Operation::Write, source, None, 130_000 * factor));
            rows.push(row(Operation::Read, source, None, 120_000 * factor));
        }
        rows.push(row(Operation::Write, PLAIN_MEMORY, None, 100_000));
        rows.push(row(Operation::Read, PLAIN_MEMORY, None, 101_000));
        let camera = Some("vivid capture (/dev/video0)");
        rows.push(row(Operation::Import, "heap:system", camera, 4_200_000));
        rows.push(row(Operation::Release, "heap:system", camera, 950));
        Report {
            version: VERSION,
            kernel: "7.3.4".to_owned(),
            size: Extent::new(640, 480).unwrap(),
            format: Fourcc::XRGB8888,
            rounds: 5,
            rounds_requested: 11,
            rows,
            skipped: vec![SkippedOperation {
                key: OperationKey {
                    operation: Operation::Import,
                    participant: Some("virtio_gpu import".to_owned()),
                    source: "heap:system".to_owned(),
                },
                why: "it takes only buffers that it allocated itself".to_owned(),
            }],
        }
    }

    #[test]
    fn rate_of_a_copy_is_in_bytes_and_of_others_in_operations() {
        let report = report();
        assert_eq!(report.rows[0].rate(), "4.76 k/s");
        assert_eq!(report.rows[4].rate(), "9.45 GB/s");
        assert_eq!(time(950), "950 ns");
        assert_eq!(time(4_200_000), "4.20 ms");
        assert_eq!(digits(0.0123), "0.012");
    }

    #[test]
    fn report_as_json_matches_its_snapshot() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&report()).unwrap());
    }
}
