//! Theme `matrix`: what the solver says of every pair is what its drivers do, on other boots and memory sizes too, and what
//! was learnt survives whatever becomes of its file.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::vm::config::{Config, Memory};
use crate::vm::guest::Guest;
use crate::vm::link::Output;
use crate::vm::wire::Status;

use super::{Bench, Case, Outcome};

/// Thousands of trials on a busy machine without KVM.
const LONG: Duration = Duration::from_secs(1200);
/// Such a case, with its boots.
const LIMIT: Duration = Duration::from_secs(1800);
/// Enough for one verb of the tool.
const SOON: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "matrix::virtio_verdicts_are_what_drivers_do",
        Config::Virtio,
        verdicts,
    )
    .limit(LIMIT),
    Case::new(
        "matrix::bochs_verdicts_are_what_drivers_do",
        Config::Bochs,
        verdicts,
    )
    .limit(LIMIT),
    Case::new(
        "matrix::vkms_verdicts_are_what_drivers_do",
        Config::Vkms,
        verdicts,
    )
    .limit(LIMIT),
    Case::new(
        "matrix::virtio_verdicts_in_4g_are_what_drivers_do",
        Config::Virtio,
        verdicts,
    )
    .memory(Memory::FOUR_GIBIBYTES)
    .limit(LIMIT),
    Case::new(
        "matrix::virtio_verdicts_in_6g_are_what_drivers_do",
        Config::Virtio,
        verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::bochs_verdicts_in_6g_are_what_drivers_do",
        Config::Bochs,
        verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::vkms_verdicts_in_6g_are_what_drivers_do",
        Config::Vkms,
        verdicts,
    )
    .memory(Memory::SIX_GIBIBYTES)
    .limit(LIMIT)
    .full(),
    Case::new(
        "matrix::facts_learnt_at_one_size_hold_in_another_boot_and_size",
        Config::Virtio,
        learnt,
    )
    .limit(LIMIT),
    Case::new(
        "matrix::plan_that_all_take_is_proved",
        Config::Virtio,
        proved,
    ),
    Case::new(
        "matrix::display_that_another_drives_is_untested",
        Config::Virtio,
        driven,
    ),
    Case::new(
        "matrix::helper_that_is_killed_again_and_again_is_survived",
        Config::Bochs,
        killed,
    ),
    Case::new(
        "matrix::helper_that_is_not_there_is_named",
        Config::Bochs,
        no_helper,
    ),
    Case::new(
        "matrix::facts_file_that_is_damaged_is_set_aside",
        Config::Bochs,
        damaged,
    ),
    Case::new(
        "matrix::facts_file_of_a_newer_version_is_left_alone",
        Config::Bochs,
        newer,
    ),
    Case::new(
        "matrix::facts_folder_that_cannot_be_written_is_told",
        Config::Virtio,
        unwritable,
    ),
];

fn verdicts(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let options = if bench.is_full() {
        "--size 640x480 --size 1280x720 --size 642x482"
    } else {
        "--size 640x480"
    };
    bench.sh("echo 16 > /proc/sys/vm/nr_hugepages", SOON)?;
    let before = buffers(bench)?;
    verify(bench, "matrix.json", options)?;
    let after = buffers(bench)?;
    ensure!(before == after, "{before} dma-bufs before, {after} after");
    bench.sh("echo 0 > /proc/sys/vm/nr_hugepages", SOON)?;
    Ok(Outcome::Passed)
}

/// Runs `covalent matrix --verify` and fails with the cells in which verdict and drivers disagree.
fn verify(bench: &mut Bench<'_>, name: &str, options: &str) -> anyhow::Result<Value> {
    let line = format!("covalent matrix --verify --json {options}");
    let output = bench.guest()?.sh(&line, LONG)?;
    bench.keep(name, &output.stdout)?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{line}` ended with {}: {words}", output.status))?;
    judge(&report)?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(report)
}

/// Checks a report: nothing is wrong in it, and it is of enough.
fn judge(report: &Value) -> anyhow::Result<()> {
    let cells = report["cells"].as_array().context("no cells")?;
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
    let said = |said: &str| {
        cells
            .iter()
            .filter(|cell| cell["said"] == said && cell["judgement"] == "agrees")
            .count()
    };
    // What is not tried shows nothing: the cards and cameras of a guest are idle.
    let (untested, all) = (of("untested"), cells.len());
    ensure!(untested * 20 <= all, "{untested} of {all} were not tried");
    for verdict in ["guaranteed", "impossible"] {
        ensure!(said(verdict) >= 20, "only {} {verdict}", said(verdict));
    }
    ensure!(report["helper_deaths"] == 0, "helper processes died");
    Ok(())
}

/// How many dma-bufs there are in the whole guest.
fn buffers(bench: &mut Bench<'_>) -> anyhow::Result<String> {
    let line = "sed -n 's/^Total \\([0-9]*\\) objects.*/\\1/p' /sys/kernel/debug/dma_buf/bufinfo";
    Ok(bench.sh(line, SOON)?.text())
}

/// A request in which the display claims to import what it does not, and its own memory is the last choice.
fn claim(bench: &mut Bench<'_>, size: &str, path: &str) -> anyhow::Result<()> {
    let record = "covalent plan --camera /dev/video0 --display /dev/dri/card0 --format XR24";
    bench.sh(&format!("{record} --size {size} --record {path}"), SOON)?;
    let guest = bench.guest()?;
    let mut request: Value = serde_json::from_slice(&guest.get(path)?)?;
    let participants = request["participants"]
        .as_array_mut()
        .context("no participants")?;
    let display = participants
        .iter_mut()
        .find(|participant| participant["role"] == "display")
        .context("no display")?;
    display["constraints"]["memory"]["imports"] = "any".into();
    let sources = request["sources"].as_array_mut().context("no sources")?;
    let own = sources
        .iter_mut()
        .find(|source| {
            source["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("dumb:virtio"))
        })
        .context("no dumb buffers")?;
    own["device"] = Value::Null;
    own["guarantees"]["cost"] = "queue".into();
    guest.put(path, &serde_json::to_vec(&request)?, 0o644)?;
    Ok(())
}

fn source_of(solution: &Value) -> &str {
    solution["share"]["source_name"].as_str().unwrap_or("none")
}

fn learnt(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    bench.fresh_guest()?;
    claim(bench, "640x360", "/tmp/small.json")?;
    // Before anything was learnt, the claim is believed.
    let believed: Value = serde_json::from_slice(
        &bench
            .sh("covalent plan --from /tmp/small.json --json", SOON)?
            .stdout,
    )?;
    ensure!(
        source_of(&believed) != "virtio_gpu dumb" && source_of(&believed) != "none",
        "the request makes no claim: {}",
        source_of(&believed)
    );
    let line = "covalent plan --from /tmp/small.json --prove --json";
    let proven: Value = serde_json::from_slice(&bench.sh(line, LONG)?.stdout)?;
    bench.keep("proven.json", proven.to_string().as_bytes())?;
    ensure!(
        proven["ending"] == "proved",
        "it ended {}",
        proven["ending"]
    );
    ensure!(
        source_of(&proven["solution"]) == "virtio_gpu dumb",
        "it comes from {}",
        source_of(&proven["solution"])
    );
    let facts = proven["learnt"].as_array().map_or(0, Vec::len);
    ensure!(facts >= 3, "only {facts} facts");
    let path = bench.sh("covalent facts path", SOON)?.text();
    let file = bench.guest()?.get(&path)?;
    bench.keep("facts.json", &file)?;

    // Another boot and another size: what was learnt holds, nothing is tried, and every verdict is true.
    bench.fresh_guest()?;
    carry(bench, &path, &file)?;
    claim(bench, "640x480", "/tmp/large.json")?;
    let known: Value = serde_json::from_slice(
        &bench
            .sh("covalent plan --from /tmp/large.json --json", SOON)?
            .stdout,
    )?;
    let source = source_of(&known);
    ensure!(
        !["dma-heap system", "udmabuf", "vgem dumb"].contains(&source),
        "what was learnt is forgotten: it comes from {source}"
    );
    verify(
        bench,
        "same-memory.json",
        "--size 640x480 --size 1280x720 --format XR24 --format NV12",
    )?;

    // More memory is another machine: the facts are there and not in force.
    let mut boot = bench.boot();
    boot.machine.memory = Memory::FOUR_GIBIBYTES;
    bench.discard();
    let guest = Guest::boot(bench.image(), &boot)?;
    guest.sh(&format!("mkdir -p $(dirname {path})"), SOON)?;
    guest.put(&path, &file, 0o644)?;
    let listed = guest.sh("covalent facts list --json", SOON)?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    let listed = listed.as_array().context("no list")?;
    let own: Vec<&Value> = listed
        .iter()
        .filter(|one| one["fact"]["origin"]["learnt"].is_object())
        .collect();
    ensure!(own.len() == facts, "{} of {facts} facts", own.len());
    ensure!(
        own.iter().all(|one| one["in_force"] == false),
        "facts of 2 GiB are in force in 4 GiB"
    );
    let report = guest.sh(
        "covalent matrix --verify --json --format XR24 --format NV12",
        LONG,
    )?;
    bench.keep("more-memory.json", &report.stdout)?;
    judge(&serde_json::from_slice(&report.stdout)?)?;
    ensure!(report.status.success(), "it ended with {}", report.status);
    guest.stop()?;
    Ok(Outcome::Passed)
}

fn carry(bench: &mut Bench<'_>, path: &str, file: &[u8]) -> anyhow::Result<()> {
    bench.sh(&format!("mkdir -p $(dirname {path})"), SOON)?;
    bench.guest()?.put(path, file, 0o644)?;
    Ok(())
}

fn proved(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let line =
        "covalent plan --camera /dev/video0 --display /dev/dri/card0 --cpu rarely --prove --json";
    let proven: Value = serde_json::from_slice(&bench.sh(line, SOON)?.stdout)?;
    ensure!(proven["ending"] == "proved", "{proven}");
    let tried = proven["tried"].as_array().context("nothing was tried")?;
    ensure!(tried.len() == 4, "{} tried", tried.len());
    ensure!(
        tried.iter().all(|one| one["outcome"] == "proved"),
        "{tried:?}"
    );
    // Whoever drives the card next finds it without a master.
    let masters = "awk 'FNR > 1 && $4 == \"y\"' /sys/kernel/debug/dri/*/clients";
    let left = bench.sh(masters, SOON)?.text();
    ensure!(left.is_empty(), "somebody is DRM master: {left}");
    Ok(Outcome::Passed)
}

fn driven(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    // modetest drives the card until its input ends.
    let line = "connector=$(modetest -M virtio_gpu -c | awk '/connected/ { print $1; exit }'); \
                sleep 30 | modetest -M virtio_gpu -s $connector:640x480 >/tmp/modetest.txt 2>&1 & \
                for try in $(seq 100); do grep -q setting /tmp/modetest.txt && break; sleep 0.1; done; \
                covalent plan --camera /dev/video0 --display /dev/dri/card0 --prove --json; status=$?; \
                kill %1 2>/dev/null; wait; exit $status";
    let output = bench.sh(&format!("bash -c '{}'", line.replace('\'', "'\\''")), LONG)?;
    let proven: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(proven["ending"] == "untested", "{}", proven["ending"]);
    let untested = proven["tried"]
        .as_array()
        .context("nothing was tried")?
        .iter()
        .find_map(|one| one["outcome"]["untestable"].as_str())
        .context("nothing is untested")?
        .to_owned();
    ensure!(untested.contains("another DRM master"), "{untested}");
    ensure!(untested.contains("is a framebuffer"), "{untested}");
    Ok(Outcome::Passed)
}

fn killed(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let script = "#!/bin/sh\n(sleep 0.7; kill -9 $$) &\nexec covalent-prove\n";
    bench
        .guest()?
        .put("/tmp/mortal", script.as_bytes(), 0o755)?;
    let line =
        "COVALENT_PROVE=/tmp/mortal covalent matrix --verify --json --format XR24 --format NV12";
    let output = bench.guest()?.sh(line, LONG)?;
    let report: Value = serde_json::from_slice(&output.stdout).with_context(|| words(&output))?;
    let deaths = report["helper_deaths"].as_u64().unwrap_or(0);
    ensure!(deaths > 0, "nobody died");
    // A kill is of the moment: each trial is made again, and the verdicts hold.
    ensure!(
        output.status.success(),
        "after {deaths} deaths: {}; {}",
        output.status,
        report["summary"]
    );
    let kept = bench.sh("covalent facts export", SOON)?.text();
    let kept: Value = serde_json::from_str(&kept)?;
    ensure!(kept["facts"] == serde_json::json!([]), "{kept}");
    Ok(Outcome::Passed)
}

fn words(output: &Output) -> String {
    format!(
        "it ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )
}

/// Checks the status and that the message holds all of `wanted`.
fn expect(output: &Output, status: u8, wanted: &[&str]) -> anyhow::Result<()> {
    ensure!(
        output.status == Status::Code(status),
        "{status} was expected: {}",
        words(output)
    );
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(!told.contains("panicked"), "{told}");
    for word in wanted {
        ensure!(told.contains(word), "{word:?} is not said: {told}");
    }
    Ok(())
}

fn no_helper(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let guest = bench.guest()?;
    let program = "covalent plan --camera /dev/video0 --prove";
    let output = guest.sh(&format!("COVALENT_PROVE=/nowhere/helper {program}"), SOON)?;
    expect(&output, 1, &["/nowhere/helper", "COVALENT_PROVE"])?;
    // Alone in its folder.
    let line = "mkdir -p /tmp/alone && cp $(command -v covalent) /tmp/alone/ && /tmp/alone/covalent matrix";
    let output = guest.sh(line, SOON)?;
    expect(&output, 1, &["/tmp/alone/covalent-prove", "COVALENT_PROVE"])?;
    // Some other program, and one that says nothing at all.
    let output = guest.sh(&format!("COVALENT_PROVE=/bin/true {program}"), SOON)?;
    expect(&output, 1, &["/bin/true", "not the helper program"])?;
    guest.put("/tmp/mute", b"#!/bin/sh\nexec sleep 1000\n", 0o755)?;
    let output = guest.sh(&format!("COVALENT_PROVE=/tmp/mute {program}"), SOON)?;
    expect(&output, 1, &["/tmp/mute", "no answer in time"])?;
    // Started by a person it says what it is for.
    let output = guest.sh("covalent-prove < /dev/null", SOON)?;
    expect(&output, 2, &["covalent matrix"])?;
    Ok(Outcome::Passed)
}

/// A line of shell with a cache of its own, in which the facts' file holds `contents`.
fn with_facts(bench: &mut Bench<'_>, contents: &[u8]) -> anyhow::Result<String> {
    bench.sh("rm -rf /tmp/cache; mkdir -p /tmp/cache/covalent", SOON)?;
    let guest = bench.guest()?;
    guest.put("/tmp/cache/covalent/facts.json", contents, 0o644)?;
    Ok("XDG_CACHE_HOME=/tmp/cache".to_owned())
}

fn damaged(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let whole = br#"{"format":"covalent facts","version":1,"facts":[]}"#;
    for contents in [
        &whole[..30],
        b"",
        b"\xff\xfe\0",
        br#"{"format":"covalent facts","version":1,"facts":[{"participant":3}]}"#,
    ] {
        let cache = with_facts(bench, contents)?;
        let guest = bench.guest()?;
        let line = format!("{cache} covalent plan --camera /dev/video0 --display /dev/dri/card0");
        let output = guest.sh(&line, SOON)?;
        // The plan is made all the same.
        expect(
            &output,
            0,
            &["/tmp/cache/covalent/facts.json", "damaged", "moved to"],
        )?;
        let aside = guest.sh("cat /tmp/cache/covalent/facts.json.damaged-*", SOON)?;
        ensure!(aside.stdout == contents, "what was damaged is lost");
        let again = guest.sh(&line, SOON)?;
        ensure!(
            again.stderr.is_empty(),
            "it is told again: {}",
            words(&again)
        );
    }
    let cache = with_facts(bench, whole)?;
    let sound = bench
        .guest()?
        .sh(&format!("{cache} covalent facts list"), SOON)?;
    expect(&sound, 0, &[])?;
    ensure!(sound.stderr.is_empty(), "{}", words(&sound));
    Ok(Outcome::Passed)
}

fn newer(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let contents = br#"{"format":"covalent facts","version":2,"facts":{"by":"name"}}"#;
    let cache = with_facts(bench, contents)?;
    let guest = bench.guest()?;
    let plan = "covalent plan --camera /dev/video0 --display /dev/dri/card0";
    let output = guest.sh(&format!("{cache} {plan} --prove"), SOON)?;
    expect(&output, 0, &["newer version", "facts.json"])?;
    let output = guest.sh(&format!("{cache} covalent facts forget --all"), SOON)?;
    expect(&output, 1, &["newer version"])?;
    let left = guest.get("/tmp/cache/covalent/facts.json")?;
    ensure!(left == contents, "it was changed");
    Ok(Outcome::Passed)
}

fn unwritable(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    claim(bench, "640x480", "/tmp/claim.json")?;
    let guest = bench.guest()?;
    // Root may write everywhere but below a file and in /proc.
    for folder in ["/dev/null", "/proc/nowhere"] {
        let line =
            format!("XDG_CACHE_HOME={folder} covalent plan --from /tmp/claim.json --prove --json");
        let output = guest.sh(&line, LONG)?;
        expect(&output, 0, &[folder, "facts.json"])?;
        let proven: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(proven["ending"] == "proved", "{}", proven["ending"]);
        ensure!(
            proven["learnt"]
                .as_array()
                .is_some_and(|facts| !facts.is_empty()),
            "nothing was learnt that could have been lost"
        );
    }
    let output = guest.sh("env -u XDG_CACHE_HOME -u HOME covalent facts path", SOON)?;
    expect(&output, 1, &["XDG_CACHE_HOME", "HOME"])?;
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
            .map(|(said, judgement)| json!({"said": said, "judgement": judgement}))
            .collect();
        json!({"cells": cells, "helper_deaths": 0})
    }

    #[test]
    fn report_with_a_wrong_cell_or_too_few_is_refused() {
        assert!(judge(&report(&[])).is_ok());
        assert!(judge(&report(&[("possible", "listed")])).is_ok());
        assert!(judge(&report(&[("guaranteed", "mismatch")])).is_err());
        assert!(judge(&report(&[("possible", "unlisted")])).is_err());
        assert!(judge(&report(&[("guaranteed", "untested"); 5])).is_err());
        assert!(judge(&json!({"cells": [], "helper_deaths": 0})).is_err());
    }
}
