//! Theme `tool`: checks that the JSON output of `covalent` matches its schemas, and that an interrupted command prints its
//! results so far.

use std::fs;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::judge::schema;
use crate::vm::build::checkout;
use crate::vm::config::Config;

use super::matrix::{COMMAND_LIMIT, LONG_LIMIT};
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "tool::json_of_every_verb_matches_its_schema",
        Config::Virtio,
        json_of_every_verb_matches_its_schema,
    ),
    Case::new(
        "tool::interrupted_matrix_prints_its_partial_report",
        Config::Virtio,
        interrupted_matrix_prints_its_partial_report,
    ),
];

/// Each schema, and a command that prints such a report. Some commands exit with a code other than 0 because of their findings.
const REPORTS: [(&str, &str); 14] = [
    (
        "alloc",
        "covalent alloc heap:system --size 640x480 --format NV12 --json",
    ),
    (
        "bench",
        "covalent bench --source heap:system --rounds 1 --json",
    ),
    (
        "diff",
        "covalent probe --record /tmp/small.json --size 320x240 >/dev/null; \
         covalent probe --record /tmp/large.json --size 640x480 >/dev/null; \
         covalent diff /tmp/small.json /tmp/large.json --json",
    ),
    ("doctor", "covalent doctor --json"),
    ("facts", "covalent facts list --json"),
    (
        "import",
        "printf 'Driver Info:\\n\\tDriver name : uvcvideo\\nFormat Video Capture:\\n\\tWidth/Height : 640/480\\n\\tPixel Format : '\\''YUYV'\\''\\n' \
         | covalent import - --json",
    ),
    (
        "inspect",
        "covalent-compositor --mode 640x480 -- covalent-camera --size 640x480 --frames 60 >/dev/null 2>&1 & \
         for try in $(seq 100); do \
         covalent inspect --pid covalent-camera --json >/tmp/inspect.json 2>/dev/null && break; sleep 0.1; \
         done; cat /tmp/inspect.json; wait",
    ),
    (
        "matrix",
        "covalent matrix --source heap:system --format XR24 --json",
    ),
    (
        "plan",
        "covalent plan --camera /dev/video0 --display /dev/dri/card0 --json",
    ),
    (
        "plan",
        "covalent plan --camera /dev/video0 --display /dev/dri/card0 --format NV12 --json",
    ),
    (
        "plan-prove",
        "covalent plan --camera /dev/video0 --display /dev/dri/card0 --prove --json",
    ),
    ("probe", "covalent probe --json"),
    ("probe-list", "covalent probe --as list --json"),
    (
        "watch",
        "covalent-compositor --mode 640x480 --socket watched -- covalent-camera --size 640x480 --frames 60 >/dev/null 2>&1 & \
         for try in $(seq 100); do \
         covalent watch --socket $XDG_RUNTIME_DIR/covalent-watched --leaks --once --json >/tmp/watch.json 2>/dev/null && \
         grep -q '\"dma-buf\"' /tmp/watch.json && break; sleep 0.1; \
         done; cat /tmp/watch.json; wait",
    ),
];

fn json_of_every_verb_matches_its_schema(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let folder = checkout().join("docs/schema");
    let read = |name: &str| -> anyhow::Result<Value> {
        let path = folder.join(format!("{name}.json"));
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    };
    for (name, line) in REPORTS {
        let output = context.guest()?.sh(line, LONG_LIMIT)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`{line}` ended with {}: {stderr}", output.status))?;
        let schema = read(name)?;
        schema::check(&schema, &report).with_context(|| format!("`{line}` and {name}.json"))?;
        // A schema that accepts every report would detect no error. So the schema must reject the report if any of its fields is
        // removed.
        let mut less = report.clone();
        for field in report
            .as_object()
            .context("the report is no object")?
            .keys()
        {
            less.as_object_mut()
                .context("the report is no object")?
                .remove(field);
            ensure!(
                schema::check(&schema, &less).is_err(),
                "{name}.json does not require `{field}`"
            );
            less = report.clone();
        }
    }
    // Each schema must be used by at least one report.
    for entry in fs::read_dir(&folder)? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let name = file.trim_end_matches(".json");
        ensure!(
            REPORTS.iter().any(|(known, _)| *known == name),
            "no report uses {file}"
        );
    }
    Ok(Outcome::Passed)
}

fn interrupted_matrix_prints_its_partial_report(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        // The matrix has thousands of cells, so it is far from complete when the first progress line appears.
        let line = format!(
            "cd /tmp; covalent matrix --json --svg cut.svg >cut.json 2>cut.log & pid=$!; \
             for try in $(seq 400); do grep -q ' tried' cut.log && break; sleep 0.1; done; \
             kill -{signal} $pid; wait $pid; echo $?"
        );
        let ended = context.sh(&line, LONG_LIMIT)?.text();
        ensure!(
            ended == code.to_string(),
            "after SIG{signal}, `covalent matrix` ended with {ended}"
        );
        let log = context.sh("cat /tmp/cut.log", COMMAND_LIMIT)?.text();
        let report: Value = serde_json::from_slice(&context.guest()?.get("/tmp/cut.json")?)?;
        ensure!(
            report["interrupted"] == true,
            "SIG{signal}: the report does not state the interruption"
        );
        let cells = report["cells"]
            .as_array()
            .context("the report has no cells")?;
        let total: usize = log
            .lines()
            .find_map(|line| line.split_once(" of ")?.1.split(' ').next()?.parse().ok())
            .with_context(|| format!("no total in {log:?}"))?;
        ensure!(
            !cells.is_empty() && cells.len() < total,
            "after SIG{signal}, the report has {} of {total} cells",
            cells.len()
        );
        // The signal must not make any cell wrong.
        ensure!(
            report["summary"]["mismatches"] == 0 && report["helper_deaths"] == 0,
            "{}",
            report["summary"]
        );
        let picture = context.sh("cat /tmp/cut.svg", COMMAND_LIMIT)?.text();
        ensure!(
            picture.ends_with("</svg>") && picture.contains("interrupted"),
            "the picture does not state the interruption"
        );
    }
    Ok(Outcome::Passed)
}
