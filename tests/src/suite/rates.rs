//! Theme `rates`: checks that `covalent bench` measures every source and participant, and leaks nothing. The measured numbers are
//! only checked for plausibility.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::vm::config::Config;

use super::compositor::{COMMAND_LIMIT, bufinfo};
use super::context::run_checked;
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[Case::new(
    "rates::every_source_is_measured_without_leaks",
    Config::Bochs,
    every_source_is_measured_without_leaks,
)];

/// The time limit of a round of all measurements and its warm-up on a busy machine without KVM.
const LONG_LIMIT: Duration = Duration::from_secs(240);

#[derive(Debug, Deserialize)]
struct Report {
    version: u32,
    rounds: usize,
    rows: Vec<Row>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Deserialize)]
struct Row {
    operation: String,
    source: String,
    participant: Option<String>,
    bytes: u64,
    n: usize,
    min_ns: u64,
    lower_quartile_ns: u64,
    median_ns: u64,
    upper_quartile_ns: u64,
    max_ns: u64,
}

#[derive(Debug, Deserialize)]
struct LeftOut {
    source: String,
    why: String,
}

fn every_source_is_measured_without_leaks(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let before = bufinfo(context)?;
    let guest = context.guest()?;
    let probed = run_checked(guest, "covalent probe --json", LONG_LIMIT)?;
    let line = "covalent bench --rounds 1 --json --plot /tmp/bench.svg";
    let measured = run_checked(guest, line, LONG_LIMIT)?;
    let plot = guest.get("/tmp/bench.svg")?;
    context.save_artefact("bench.json", &measured.stdout)?;
    context.save_artefact("bench.svg", &plot)?;
    let report: Report = serde_json::from_slice(&measured.stdout).context("the report")?;
    ensure!(report.version == 1, "version {}", report.version);
    ensure!(report.rounds >= 1, "no round counted");
    for row in &report.rows {
        let in_order = [
            row.min_ns,
            row.lower_quartile_ns,
            row.median_ns,
            row.upper_quartile_ns,
            row.max_ns,
        ];
        ensure!(
            in_order.is_sorted() && row.min_ns > 0 && row.bytes >= 640 * 480 * 4,
            "{row:?}"
        );
        ensure!((1..=report.rounds).contains(&row.n), "{row:?}");
    }

    let probed: Value = serde_json::from_slice(&probed.stdout)?;
    let sources = probed["sources"]
        .as_array()
        .context("the report has no sources")?;
    ensure!(sources.len() >= 5, "{} sources", sources.len());
    let of = |source: &str| -> BTreeSet<&str> {
        let rows = report.rows.iter().filter(|row| row.source == source);
        rows.map(|row| row.operation.as_str()).collect()
    };
    for source in sources {
        let id = source["id"].as_str().context("a source without a name")?;
        let operations = of(id);
        // If a source is a queue of coded pictures, or its driver does not support the format, the report lists it with a reason.
        if !operations.contains("allocate") {
            let why = report.left_out.iter().find(|one| one.source == id);
            let why = why.with_context(|| format!("{id} is not measured"))?;
            ensure!(
                !why.why.is_empty()
                    && !["heap:", "udmabuf", "dumb:"]
                        .iter()
                        .any(|kind| id.starts_with(kind)),
                "{why:?}"
            );
            continue;
        }
        for operation in ["free", "map", "first_write", "write", "read"] {
            ensure!(
                operations.contains(operation),
                "the report has only the operations {operations:?} of {id}"
            );
        }
    }
    ensure!(
        of("plain memory").len() == 2,
        "the report has no copies of plain memory for the comparison"
    );
    for participant in [
        "bochs-drm import",
        "bochs-drm primary plane",
        "vgem import",
        "vivid",
    ] {
        let imports = report.rows.iter().filter(|row| {
            row.operation == "import"
                && row.source == "heap:system"
                && row
                    .participant
                    .as_ref()
                    .is_some_and(|name| name.contains(participant))
        });
        ensure!(
            imports.count() > 0,
            "{participant} imports nothing: {:?}",
            report.left_out
        );
    }
    let svg = String::from_utf8(plot)?;
    ensure!(
        svg.starts_with("<svg")
            && svg.contains("heap:system")
            && svg.trim_end().ends_with("</svg>"),
        "no picture: {svg}"
    );
    let left = bufinfo(context)?;
    ensure!(left.len() <= before.len(), "{left:?} are left");
    let running = context
        .sh("pgrep -c -x covalent-prove || true", COMMAND_LIMIT)?
        .text();
    ensure!(
        running.trim() == "0",
        "{running} helper processes are still running"
    );
    Ok(Outcome::Passed)
}
