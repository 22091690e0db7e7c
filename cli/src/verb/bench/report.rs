//! What was measured, as data.

use std::fmt;

use covalent_alloc::model::{Extent, Fourcc};
use serde::Serialize;

use super::spread::Spread;

/// The version of this report: it grows when a field goes or changes its meaning, not when one comes.
pub(super) const VERSION: u32 = 1;

/// What the peer of all copies is called: ordinary memory of this process.
pub(super) const PLAIN: &str = "plain memory";

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: u32,
    /// The kernel's release.
    pub(super) kernel: String,
    pub(super) size: Extent,
    pub(super) format: Fourcc,
    /// Rounds that count; one before them warmed all up.
    pub(super) rounds: u32,
    /// Rounds that were asked for.
    pub(super) rounds_wanted: u32,
    pub(super) rows: Vec<Row>,
    pub(super) left_out: Vec<LeftOut>,
}

/// One operation on one source, and on one participant where it is an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) what: What,
    /// Bytes of a buffer's pixels, padding included.
    pub(super) bytes: u64,
    #[serde(flatten)]
    pub(super) spread: Spread,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct What {
    pub(super) operation: Operation,
    /// Whose pixels are imported by whom; none for what a source does alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) participant: Option<String>,
    pub(super) source: String,
}

/// What could not be measured, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LeftOut {
    #[serde(flatten)]
    pub(super) what: What,
    pub(super) why: String,
}

/// What is done to a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    /// One buffer is allocated.
    Allocate,
    /// It is given back.
    Free,
    /// It is mapped for the processor, and unmapped.
    Map,
    /// All of it is written for the first time through a mapping: its pages are faulted in, and come only then where the
    /// allocation still owed them.
    FirstWrite,
    /// All of it is written.
    Write,
    /// All of it is read.
    Read,
    /// A participant imports it.
    Import,
    /// The participant lets go of it.
    Release,
}

impl Operation {
    /// Whether bytes are moved by the processor, so that a rate is one of bytes.
    pub(super) const fn copies(self) -> bool {
        matches!(self, Self::FirstWrite | Self::Write | Self::Read)
    }

    /// What it is called in a heading.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Allocate => "allocate",
            Self::Free => "free",
            Self::Map => "map and unmap",
            Self::FirstWrite => "first write",
            Self::Write => "write",
            Self::Read => "read",
            Self::Import => "import",
            Self::Release => "let go",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.operation.title(), self.source)?;
        match &self.participant {
            Some(participant) => write!(out, " by {participant}"),
            None => Ok(()),
        }
    }
}

impl What {
    /// Under which heading it stands: one for each operation, and for each participant that imports.
    pub(super) fn heading(&self) -> String {
        match &self.participant {
            Some(participant) => format!("{}: {participant}", self.operation.title()),
            None => self.operation.title().to_owned(),
        }
    }
}

impl Row {
    /// How much was done in a second, in words.
    pub(super) fn rate(&self) -> String {
        let median = self.spread.median_ns.max(1);
        if self.what.operation.copies() {
            format!("{} GB/s", digits(ratio(self.bytes, median)))
        } else {
            format!("{}/s", often(ratio(1_000_000_000, median)))
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other as f64
}

/// Nanoseconds in the largest unit of which there is one.
pub(super) fn time(nanoseconds: u64) -> String {
    for (unit, name) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")] {
        if nanoseconds >= unit {
            return format!("{} {name}", digits(ratio(nanoseconds, unit)));
        }
    }
    format!("{nanoseconds} ns")
}

/// How often in a second, in thousands and millions.
fn often(value: f64) -> String {
    match value {
        1_000_000.0.. => format!("{} M", digits(value / 1_000_000.0)),
        1_000.0.. => format!("{} k", digits(value / 1_000.0)),
        _ => digits(value),
    }
}

/// Three digits, or all in front of the point.
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
            what: What {
                operation,
                participant: participant.map(str::to_owned),
                source: source.to_owned(),
            },
            bytes: 1_228_800,
            spread: Spread::of(&times).unwrap(),
        }
    }

    /// A machine with a heap, a card and a camera, as a run would tell of it.
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
        rows.push(row(Operation::Write, PLAIN, None, 100_000));
        rows.push(row(Operation::Read, PLAIN, None, 101_000));
        let camera = Some("vivid capture (/dev/video0)");
        rows.push(row(Operation::Import, "heap:system", camera, 4_200_000));
        rows.push(row(Operation::Release, "heap:system", camera, 950));
        Report {
            version: VERSION,
            kernel: "7.3.4".to_owned(),
            size: Extent::new(640, 480).unwrap(),
            format: Fourcc::XRGB8888,
            rounds: 5,
            rounds_wanted: 11,
            rows,
            left_out: vec![LeftOut {
                what: What {
                    operation: Operation::Import,
                    participant: Some("virtio_gpu import".to_owned()),
                    source: "heap:system".to_owned(),
                },
                why: "it takes only buffers that it allocated itself".to_owned(),
            }],
        }
    }

    #[test]
    fn rate_of_a_copy_is_in_bytes_and_of_others_in_times() {
        let report = report();
        assert_eq!(report.rows[0].rate(), "4.76 k/s");
        assert_eq!(report.rows[4].rate(), "9.45 GB/s");
        assert_eq!(time(950), "950 ns");
        assert_eq!(time(4_200_000), "4.20 ms");
        assert_eq!(digits(0.0123), "0.012");
    }

    #[test]
    fn report_as_json_has_its_version() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&report()).unwrap());
    }
}
