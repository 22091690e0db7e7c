//! Checks of the reports and exit codes of `covalent matrix`.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::LONG_LIMIT;
use crate::suite::TestContext;
use crate::vm::link::Output;
use crate::wire::Status;

/// Runs `covalent matrix --verify`. If it fails, the error lists the cells in which the verdict and the drivers disagree.
pub(crate) fn verify(
    context: &mut TestContext<'_>,
    name: &str,
    options: &str,
) -> anyhow::Result<Value> {
    let line = format!("covalent matrix --verify --json {options}");
    let output = context.guest()?.sh(&line, LONG_LIMIT)?;
    context.save_artefact(name, &output.stdout)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{line}` ended with {}: {stderr}", output.status))?;
    judge(&report)?;
    ensure!(
        output.status.success(),
        "`{line}` ended with {}",
        output.status
    );
    Ok(report)
}

/// Checks that a report has no wrong cell, enough cells, and few untested cells.
pub(crate) fn judge(report: &Value) -> anyhow::Result<()> {
    let cells = report["cells"]
        .as_array()
        .context("the report has no cells")?;
    let wrong: Vec<String> = cells
        .iter()
        .filter(|cell| ["mismatch", "unlisted"].contains(&cell["judgement"].as_str().unwrap_or("")))
        .take(20)
        .map(|cell| {
            format!(
                "{} to {} in {} at {}: {}, and {}",
                cell["source"],
                cell["participant"],
                cell["format"],
                cell["size"],
                cell["said"],
                cell["outcome"]
            )
        })
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let of = |judgement: &str| {
        cells
            .iter()
            .filter(|cell| cell["judgement"] == judgement)
            .count()
    };
    let agreeing = |verdict: &str| {
        cells
            .iter()
            .filter(|cell| cell["said"] == verdict && cell["judgement"] == "agrees")
            .count()
    };
    // A cell that was not tried does not verify the verdict, so at most one cell in twenty may be untested. The guest's cards and
    // cameras are idle, so nearly all cells can be tried. Cells with an implicit modifier are not counted, because only the
    // driver itself can allocate with such a modifier.
    let implicit = cells
        .iter()
        .filter(|cell| cell["judgement"] == "untested" && cell["format"]["modifier"] == "INVALID")
        .count();
    let (untested, all) = (of("untested") - implicit, cells.len());
    ensure!(
        untested * 20 <= all,
        "{untested} of {all} cells were not tried, more than one in twenty"
    );
    for verdict in ["guaranteed", "impossible"] {
        ensure!(
            agreeing(verdict) >= 20,
            "the verdict {verdict} agrees with the driver in only {} cells",
            agreeing(verdict)
        );
    }
    ensure!(
        report["helper_deaths"] == 0,
        "helper processes of `covalent matrix` crashed or were killed"
    );
    Ok(())
}

/// The prefixes of the identifiers of GBM and Vulkan sources, and a part of the names of the participants that import with GBM
/// and Vulkan.
const DRIVERS: [(&str, &str); 2] = [("gbm:", " GBM"), ("vulkan:", " image")];

/// Checks that a report has GBM and Vulkan as sources and as participants, each with guaranteed pairs that were tried. Every
/// guest has lavapipe and a card that GBM supports.
pub(crate) fn has_drivers(report: &Value) -> anyhow::Result<()> {
    let cells = report["cells"]
        .as_array()
        .context("the report has no cells")?;
    let guarantees: Vec<&Value> = cells
        .iter()
        .filter(|cell| cell["said"] == "guaranteed" && cell["judgement"] == "agrees")
        .collect();
    let contains = |cell: &Value, field: &str, part: &str| {
        cell[field].as_str().is_some_and(|text| text.contains(part))
    };
    for (source, participant) in DRIVERS {
        for (field, part) in [("source", source), ("participant", participant)] {
            let count = guarantees
                .iter()
                .filter(|cell| contains(cell, field, part))
                .count();
            ensure!(count >= 10, "{count} guarantees with {field} {part:?}");
        }
    }
    Ok(())
}

pub(crate) fn exit_message(output: &Output) -> String {
    format!(
        "the command ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )
}

/// Checks the exit code, and that stderr contains all of `expected` and no panic.
pub(crate) fn expect(output: &Output, status: u8, expected: &[&str]) -> anyhow::Result<()> {
    ensure!(
        output.status == Status::Code(status),
        "the exit code {status} was expected: {}",
        exit_message(output)
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(!stderr.contains("panicked"), "{stderr}");
    for word in expected {
        ensure!(stderr.contains(word), "{word:?} is not in stderr: {stderr}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(cells: &[(&str, &str)]) -> Value {
        let filler = (0..40).map(|number| {
            if number % 2 == 0 {
                ("guaranteed", "agrees")
            } else {
                ("impossible", "agrees")
            }
        });
        let cells: Vec<Value> = filler
            .chain(cells.iter().copied())
            .map(|(verdict, judgement)| json!({"said": verdict, "judgement": judgement}))
            .collect();
        json!({"cells": cells, "helper_deaths": 0})
    }

    #[test]
    fn has_drivers_without_their_rows_is_an_error() {
        let cell = |source: &str, participant: &str, verdict: &str| json!({"source": source, "participant": participant, "said": verdict, "judgement": "agrees"});
        let all = [
            cell("gbm:vgem@vgem", "processor reading", "guaranteed"),
            cell("vulkan:llvmpipe@uuid:0", "processor reading", "guaranteed"),
            cell("heap:system", "vgem GBM", "guaranteed"),
            cell("heap:system", "llvmpipe image", "guaranteed"),
        ];
        let report = |left_out: Option<usize>, verdict: &str| {
            let kept = all
                .iter()
                .enumerate()
                .filter(|(place, _)| Some(*place) != left_out)
                .map(|(_, cell)| {
                    let mut cell = cell.clone();
                    cell["said"] = verdict.into();
                    cell
                });
            let cells: Vec<Value> = kept.flat_map(|cell| vec![cell; 10]).collect();
            json!({"cells": cells})
        };
        assert!(has_drivers(&report(None, "guaranteed")).is_ok());
        assert!(has_drivers(&report(None, "impossible")).is_err());
        for place in 0..all.len() {
            assert!(has_drivers(&report(Some(place), "guaranteed")).is_err());
        }
    }

    #[test]
    fn judge_with_a_wrong_cell_or_too_few_is_an_error() {
        assert!(judge(&report(&[])).is_ok());
        assert!(judge(&report(&[("possible", "listed")])).is_ok());
        assert!(judge(&report(&[("guaranteed", "mismatch")])).is_err());
        assert!(judge(&report(&[("possible", "unlisted")])).is_err());
        assert!(judge(&report(&[("guaranteed", "untested"); 5])).is_err());
        assert!(judge(&json!({"cells": [], "helper_deaths": 0})).is_err());
    }
}
