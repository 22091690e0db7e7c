//! Runs one pipeline in the guest, and computes the cost of a frame.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::vm::guest::Guest;

use super::scenario::Scenario;
use super::table::Column;

const SCRIPT: &str = include_str!("measure.sh");
const SCRIPT_PATH: &str = "/tmp/measure.sh";

/// The camera's rate in frames a second. The programs reach this rate on both displays, even on emulated processors.
const FPS: u32 = 30;
/// The camera's rate in frames a second while system calls are counted. Each system call takes so long then that a program would
/// skip frames of a faster camera; the system calls for skipped frames would be counted for the frames that the program shows.
const TRACED_FPS: u32 = 5;

/// The minimum processor time in ms that a compositor needs for a shown frame. If it used less, it did not show the frames.
const LEAST_COMPOSITOR_MS: f64 = 0.05;

/// The time limit for one run of a client, in seconds. A client that needs longer has stopped.
const RUN_LIMIT_SECONDS: u32 = 150;
/// The time limit for the script: two runs of the clients, the start of a compositor and the clean-up.
const LIMIT: Duration = Duration::from_secs(2 * 150 + 120);

/// The costs of a pipeline in one round, by column; or the reason why the pipeline could not be measured.
pub type PipelineCosts = Result<BTreeMap<Column, f64>, String>;

/// The output of the measurement script.
#[derive(Debug, Default, PartialEq)]
struct ScriptOutput {
    numbers: BTreeMap<String, f64>,
    /// The reports that Covalent's clients print, by the name of the run.
    reports: BTreeMap<String, Vec<Value>>,
}

/// Runs a pipeline twice, for the small and for the large number of `frames`, and returns the costs of a frame. With `traced`, it
/// returns only the numbers of system calls, because counting them changes the times.
///
/// # Errors
/// A program of the pipeline fails; the message contains the output of the program.
pub fn measure(
    guest: &Guest,
    scenario: &Scenario,
    frames: [u32; 2],
    traced: bool,
) -> anyhow::Result<BTreeMap<Column, f64>> {
    guest.put(SCRIPT_PATH, SCRIPT.as_bytes(), 0o755)?;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let line = format!(
        "COMPOSITOR={} CLIENT={} CLIENTS={} SHORT={} LONG={} TRACED={} FPS={} LIMIT={RUN_LIMIT_SECONDS} sh {SCRIPT_PATH}",
        quoted(scenario.compositor),
        quoted(scenario.client),
        scenario.clients,
        frames[0],
        frames[1],
        u8::from(traced),
        if traced { TRACED_FPS } else { FPS },
    );
    let output = guest.sh(&line, LIMIT)?;
    let printed = parse(&output.text())?;
    ensure!(
        printed.numbers.contains_key("done"),
        "the script ended early: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let costs = costs(&printed, frames, scenario.clients, traced);
    let compositor_ms = costs.get(&Column::CompositorMs);
    ensure!(
        compositor_ms.is_none_or(|ms| *ms >= LEAST_COMPOSITOR_MS),
        "the compositor took no time, so the client's frames were not shown"
    );
    Ok(costs)
}

/// Parses the output of the guest's script: the reports of the clients, and numbers with their names.
fn parse(text: &str) -> anyhow::Result<ScriptOutput> {
    let mut printed = ScriptOutput::default();
    for line in text.lines() {
        if let Some(reason) = line.strip_prefix("failed: ") {
            bail!("{reason}");
        }
        if let Some(rest) = line.strip_prefix("report ") {
            let (label, object) = rest
                .split_once(' ')
                .context("a client's report is not a JSON object")?;
            let object = serde_json::from_str(object).context("a client's report")?;
            let reports = printed.reports.entry(label.to_owned()).or_default();
            reports.push(object);
            continue;
        }
        if let Some((name, number)) = line.split_once(' ') {
            // A line whose value is not a number is a message of a program.
            if let Ok(number) = number.trim().parse::<f64>() {
                // For a pipeline with several clients, the script prints one line with a number of system calls for each client.
                *printed.numbers.entry(name.to_owned()).or_default() += number;
            }
        }
    }
    Ok(printed)
}

/// Computes the cost of a frame from the difference of both runs.
fn costs(
    printed: &ScriptOutput,
    asked: [u32; 2],
    clients: u32,
    traced: bool,
) -> BTreeMap<Column, f64> {
    let number = |name: String| printed.numbers.get(&name).copied();
    let labels = ["short", "long"];
    // The clients of other projects do not report how many frames they showed. For these clients the requested number is used.
    let frames: Vec<f64> = labels
        .iter()
        .zip(asked)
        .map(|(label, asked)| match printed.reports.get(*label) {
            Some(reports) => reports
                .iter()
                .filter_map(|report| report["frames"].as_f64())
                .sum(),
            None => f64::from(asked) * f64::from(clients),
        })
        .collect();
    let more = frames[1] - frames[0];
    let mut costs = BTreeMap::new();
    let mut set = |column, value: Option<f64>| {
        if let Some(value) = value.filter(|value: &f64| value.is_finite()) {
            costs.insert(column, value);
        }
    };
    let slope = |name: &str| {
        let [short, long] = labels.map(|label| number(format!("{label}.{name}")));
        Some((long? - short?) / more)
    };
    if traced {
        set(Column::Calls, slope("client_calls"));
        set(Column::Ioctls, slope("client_ioctls"));
        return costs;
    }
    let client_ms = slope("client_us").map(to_ms);
    let compositor_ms = slope("compositor_us").map(to_ms);
    set(Column::ClientMs, client_ms);
    set(Column::CompositorMs, compositor_ms);
    set(
        Column::TotalMs,
        client_ms.map(|client_ms| client_ms + compositor_ms.unwrap_or_default()),
    );
    // The wall time covers the frames of all clients, so it is multiplied by their number to get the rate of one client.
    let wall_us = slope("wall_us").map(|us| us * f64::from(clients));
    set(Column::Rate, wall_us.map(|us| 1e6 / us));
    let start_ms = wall_us.and_then(|us| {
        let first = frames[0] / f64::from(clients);
        Some((number("short.wall_us".to_owned())? - us * first) / 1000.0)
    });
    set(Column::StartMs, start_ms.filter(|ms| *ms > 0.0));
    let own = |path: &[&str]| {
        let reports = printed.reports.get("long")?;
        let values: Vec<f64> = reports
            .iter()
            .filter_map(|report| path.iter().fold(report, |value, key| &value[*key]).as_f64())
            .collect();
        let count = u32::try_from(values.len())
            .ok()
            .filter(|count| *count > 0)?;
        Some(values.iter().sum::<f64>() / f64::from(count))
    };
    set(
        Column::CopiedMiB,
        own(&["cpu_copied_bytes_per_frame"]).map(to_mib),
    );
    set(Column::LatencyMs, own(&["latency_ms", "p50"]));
    let lost = own(&["dropped"]).or_else(|| own(&["discarded"]));
    let lost_by_camera = || number("long.lost_by_camera_1".to_owned());
    set(Column::Lost, lost.or_else(lost_by_camera));
    let mib = |name: &str| number(name.to_owned()).map(to_mib);
    set(Column::DmabufMiB, mib("long.dmabuf_peak_bytes"));
    set(Column::ClientMiB, mib("long.client_memory_bytes"));
    set(Column::CompositorMiB, mib("compositor_memory_bytes"));
    let idle_us = number("idle.compositor_us_in_3_s".to_owned());
    set(Column::IdleMs, idle_us.map(|us| to_ms(us) / 3.0));
    costs
}

/// Converts microseconds to milliseconds.
fn to_ms(us: f64) -> f64 {
    us / 1000.0
}

/// Converts bytes to MiB.
fn to_mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "\
short.wall_us 3000000
short.client_us 900000
short.compositor_us 400000
short.lost_by_camera_1 0
long.wall_us 7000000
long.client_us 1900000
long.compositor_us 1000000
long.dmabuf_peak_bytes 4194304
long.lost_by_camera_1 3
idle.compositor_us_in_3_s 3000
done 1";

    #[test]
    fn costs_of_a_frame_are_the_difference_of_both_runs() {
        let printed = parse(PRINTED).unwrap();
        let costs = costs(&printed, [50, 150], 1, false);
        let expected = [
            (Column::ClientMs, 10.0),
            (Column::CompositorMs, 6.0),
            (Column::TotalMs, 16.0),
            (Column::Rate, 25.0),
            (Column::StartMs, 1000.0),
            (Column::Lost, 3.0),
            (Column::DmabufMiB, 4.0),
            (Column::IdleMs, 1.0),
        ];
        assert_eq!(costs, BTreeMap::from(expected));
    }

    #[test]
    fn costs_of_covalents_clients_are_by_the_frames_that_they_report() {
        let reports = "\nreport short {\"frames\": 40, \"dropped\": 9}\nreport long {\"frames\": 140, \"dropped\": 7, \
                       \"cpu_copied_bytes_per_frame\": 0, \"latency_ms\": {\"p50\": 12.5}}";
        let printed = parse(&format!("{PRINTED}{reports}")).unwrap();
        let costs = costs(&printed, [50, 200], 1, false);
        assert_eq!(costs[&Column::ClientMs], 10.0);
        assert_eq!(costs[&Column::Lost], 7.0);
        assert_eq!(costs[&Column::CopiedMiB], 0.0);
        assert_eq!(costs[&Column::LatencyMs], 12.5);
    }

    #[test]
    fn costs_of_a_traced_run_are_the_system_calls_alone() {
        let text = "short.client_calls 700\nshort.client_ioctls 100\nlong.client_calls 1700\nlong.client_ioctls 400\ndone 1";
        let costs = costs(&parse(text).unwrap(), [50, 150], 1, true);
        let expected = [(Column::Calls, 10.0), (Column::Ioctls, 3.0)];
        assert_eq!(costs, BTreeMap::from(expected));
    }

    #[test]
    fn costs_of_a_traced_run_of_two_clients_count_the_calls_of_both() {
        let text = "short.client_calls 300\nshort.client_calls 400\nlong.client_calls 800\nlong.client_calls 900\ndone 1";
        let costs = costs(&parse(text).unwrap(), [50, 150], 2, true);
        assert_eq!(costs, BTreeMap::from([(Column::Calls, 5.0)]));
    }

    #[test]
    fn parse_of_a_failure_is_an_error_with_its_reason() {
        let error =
            parse("short.wall_us 1\nfailed: the client ended with 1: no camera").unwrap_err();
        assert_eq!(error.to_string(), "the client ended with 1: no camera");
    }
}
