//! Theme `facts`: what was learnt on one boot and size holds on others, and survives whatever becomes of its file.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::vm::config::{Config, Memory};
use crate::vm::guest::Guest;

use super::matrix::{LIMIT, LONG, SOON, expect, judge, verify, words};
use super::{Bench, Case, Outcome};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "facts::learnt_at_one_size_hold_in_another_boot_and_size",
        Config::Virtio,
        learnt,
    )
    .last()
    .limit(LIMIT),
    Case::new(
        "facts::refusal_by_gbm_is_learnt_of_gbm_alone",
        Config::Venus,
        learnt_of_gbm,
    ),
    Case::new(
        "facts::file_that_is_damaged_is_set_aside",
        Config::Bochs,
        damaged,
    ),
    Case::new(
        "facts::file_of_a_newer_version_is_left_alone",
        Config::Bochs,
        newer,
    ),
    Case::new(
        "facts::folder_that_cannot_be_written_is_told",
        Config::Virtio,
        unwritable,
    ),
];

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
    let listed = listed["facts"].as_array().context("no list")?;
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

/// Mesa's driver for a virtio-gpu that renders is said to import anything: it refuses, and that is a fact on GBM.
fn learnt_of_gbm(bench: &mut Bench<'_>) -> anyhow::Result<Outcome> {
    let path = "/tmp/gbm.json";
    let record = "covalent plan --gbm /dev/dri/card0 --format XR24";
    bench.sh(&format!("{record} --record {path}"), LONG)?;
    let guest = bench.guest()?;
    let mut request: Value = serde_json::from_slice(&guest.get(path)?)?;
    request["participants"][0]["constraints"]["memory"]["imports"] = "any".into();
    let sources = request["sources"].as_array_mut().context("no sources")?;
    sources.retain(|source| source["id"] == "heap:system");
    ensure!(sources.len() == 1, "the heap is not there");
    guest.put(path, &serde_json::to_vec(&request)?, 0o644)?;
    let line = format!("XDG_CACHE_HOME=/tmp/gbm covalent plan --from {path}");
    let output = guest.sh(&format!("{line} --prove --json"), LONG)?;
    // Nothing is left to take: code 4.
    expect(&output, 4, &[])?;
    let proven: Value = serde_json::from_slice(&output.stdout)?;
    let learnt = proven["learnt"].as_array().context("nothing was learnt")?;
    ensure!(!learnt.is_empty(), "{proven}");
    // Its drivers are one library, whose name has the version.
    let library = "basename /usr/lib/x86_64-linux-gnu/libgallium-*.so .so";
    let library = bench.sh(library, SOON)?.text();
    let mesa = library.strip_prefix("libgallium-").context("no Mesa")?;
    for fact in learnt {
        ensure!(fact["participant"]["interface"] == "gbm", "{fact}");
        ensure!(
            fact["conditions"]["mesa"] == mesa,
            "it is not keyed by Mesa {mesa}: {fact}"
        );
    }
    let guest = bench.guest()?;
    let known = guest.sh(&line, SOON)?;
    expect(&known, 4, &[])?;
    let told = known.text();
    ensure!(told.contains("refused memory of heap:system"), "{told}");
    Ok(Outcome::Passed)
}

fn carry(bench: &mut Bench<'_>, path: &str, file: &[u8]) -> anyhow::Result<()> {
    bench.sh(&format!("mkdir -p $(dirname {path})"), SOON)?;
    bench.guest()?.put(path, file, 0o644)?;
    Ok(())
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
    // What Covalent never wrote is nobody's to move.
    let foreign = b"\xff\xfe\0";
    let cache = with_facts(bench, foreign)?;
    let guest = bench.guest()?;
    let line = format!("{cache} covalent plan --camera /dev/video0 --display /dev/dri/card0");
    let output = guest.sh(&line, SOON)?;
    expect(&output, 0, &["/tmp/cache/covalent/facts.json"])?;
    let left = guest.get("/tmp/cache/covalent/facts.json")?;
    ensure!(left == foreign, "it was changed");
    let beside = guest.sh("ls -A /tmp/cache/covalent", SOON)?.text();
    ensure!(beside == "facts.json", "there is more: {beside}");
    // An empty one has no facts, and is nothing to speak of.
    let cache = with_facts(bench, b"")?;
    let line = format!("{cache} covalent facts list");
    let empty = bench.guest()?.sh(&line, SOON)?;
    expect(&empty, 0, &[])?;
    ensure!(empty.stderr.is_empty(), "{}", words(&empty));
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
        expect(&output, 0, &[folder, "trial results: "])?;
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
