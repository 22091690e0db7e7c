//! Theme `trial_results`: trial results that were stored on one boot and at one size apply to others, and a damaged, foreign or
//! unwritable file does no harm.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::vm::config::{Config, Memory};
use crate::vm::guest::Guest;

use super::matrix::{COMMAND_LIMIT, LIMIT, LONG_LIMIT, expect, judge, verify, words};
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "trial_results::learnt_at_one_size_apply_after_reboot_at_another_size",
        Config::Virtio,
        learnt,
    )
    .last()
    .limit(LIMIT),
    Case::new(
        "trial_results::refusal_by_gbm_applies_to_gbm_alone",
        Config::Venus,
        learnt_of_gbm,
    ),
    Case::new(
        "trial_results::damaged_file_is_renamed_and_reported",
        Config::Bochs,
        damaged,
    ),
    Case::new(
        "trial_results::file_of_a_newer_version_stays_unchanged",
        Config::Bochs,
        newer,
    ),
    Case::new(
        "trial_results::unwritable_folder_is_reported",
        Config::Virtio,
        unwritable,
    ),
];

fn learnt(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    context.fresh_guest()?;
    claim(context, "640x360", "/tmp/small.json")?;
    // Before any trial, the solver trusts the recorded claim.
    let believed: Value = serde_json::from_slice(
        &context
            .sh("covalent plan --from /tmp/small.json --json", COMMAND_LIMIT)?
            .stdout,
    )?;
    ensure!(
        source_of(&believed) != "virtio_gpu dumb" && source_of(&believed) != "none",
        "the request makes no claim: {}",
        source_of(&believed)
    );
    let line = "covalent plan --from /tmp/small.json --prove --json";
    let proven: Value = serde_json::from_slice(&context.sh(line, LONG_LIMIT)?.stdout)?;
    context.keep("proven.json", proven.to_string().as_bytes())?;
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
    let path = context.sh("covalent facts path", COMMAND_LIMIT)?.text();
    let file = context.guest()?.get(&path)?;
    context.keep("facts.json", &file)?;

    // After a reboot and at another size the stored results apply: nothing is tried again, and every verdict is correct.
    context.fresh_guest()?;
    carry(context, &path, &file)?;
    claim(context, "640x480", "/tmp/large.json")?;
    let known: Value = serde_json::from_slice(
        &context
            .sh("covalent plan --from /tmp/large.json --json", COMMAND_LIMIT)?
            .stdout,
    )?;
    let source = source_of(&known);
    ensure!(
        !["dma-heap system", "udmabuf", "vgem dumb"].contains(&source),
        "what was learnt is forgotten: it comes from {source}"
    );
    verify(
        context,
        "same-memory.json",
        "--size 640x480 --size 1280x720 --format XR24 --format NV12",
    )?;

    // Another memory size is another machine: the results are listed, but do not apply.
    let mut boot = context.boot();
    boot.machine.memory = Memory::FOUR_GIBIBYTES;
    context.discard();
    let guest = Guest::boot(context.image(), &boot)?;
    guest.sh(&format!("mkdir -p $(dirname {path})"), COMMAND_LIMIT)?;
    guest.put(&path, &file, 0o644)?;
    let listed = guest.sh("covalent facts list --json", COMMAND_LIMIT)?;
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
        LONG_LIMIT,
    )?;
    context.keep("more-memory.json", &report.stdout)?;
    judge(&serde_json::from_slice(&report.stdout)?)?;
    ensure!(report.status.success(), "it ended with {}", report.status);
    guest.stop()?;
    Ok(Outcome::Passed)
}

/// The request claims that Mesa's driver for a virtio-gpu with a renderer imports any memory. The driver refuses, and the
/// refusal is stored for GBM alone.
fn learnt_of_gbm(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let path = "/tmp/gbm.json";
    let record = "covalent plan --gbm /dev/dri/card0 --format XR24";
    context.sh(&format!("{record} --record {path}"), LONG_LIMIT)?;
    let guest = context.guest()?;
    let mut request: Value = serde_json::from_slice(&guest.get(path)?)?;
    request["participants"][0]["constraints"]["memory"]["imports"] = "any".into();
    let sources = request["sources"].as_array_mut().context("no sources")?;
    sources.retain(|source| source["id"] == "heap:system");
    ensure!(sources.len() == 1, "the heap is not there");
    guest.put(path, &serde_json::to_vec(&request)?, 0o644)?;
    let line = format!("XDG_CACHE_HOME=/tmp/gbm covalent plan --from {path}");
    let output = guest.sh(&format!("{line} --prove --json"), LONG_LIMIT)?;
    // No candidate is left, which is exit code 4.
    expect(&output, 4, &[])?;
    let proven: Value = serde_json::from_slice(&output.stdout)?;
    let learnt = proven["learnt"].as_array().context("nothing was learnt")?;
    ensure!(!learnt.is_empty(), "{proven}");
    // All of Mesa's drivers are in one library, whose name contains the version.
    let library = "basename /usr/lib/x86_64-linux-gnu/libgallium-*.so .so";
    let library = context.sh(library, COMMAND_LIMIT)?.text();
    let mesa = library.strip_prefix("libgallium-").context("no Mesa")?;
    for fact in learnt {
        ensure!(fact["participant"]["interface"] == "gbm", "{fact}");
        ensure!(
            fact["conditions"]["mesa"] == mesa,
            "it is not keyed by Mesa {mesa}: {fact}"
        );
    }
    let guest = context.guest()?;
    let known = guest.sh(&line, COMMAND_LIMIT)?;
    expect(&known, 4, &[])?;
    let told = known.text();
    ensure!(told.contains("refused memory of heap:system"), "{told}");
    Ok(Outcome::Passed)
}

fn carry(context: &mut TestContext<'_>, path: &str, file: &[u8]) -> anyhow::Result<()> {
    context.sh(&format!("mkdir -p $(dirname {path})"), COMMAND_LIMIT)?;
    context.guest()?.put(path, file, 0o644)?;
    Ok(())
}

/// Writes a request in which the display claims to import any memory, which is wrong, and in which the display's own memory
/// ranks last.
fn claim(context: &mut TestContext<'_>, size: &str, path: &str) -> anyhow::Result<()> {
    let record = "covalent plan --camera /dev/video0 --display /dev/dri/card0 --format XR24";
    context.sh(
        &format!("{record} --size {size} --record {path}"),
        COMMAND_LIMIT,
    )?;
    let guest = context.guest()?;
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

/// Makes a cache folder whose file of trial results has these contents, and returns the variable assignment that selects it.
fn with_facts(context: &mut TestContext<'_>, contents: &[u8]) -> anyhow::Result<String> {
    context.sh(
        "rm -rf /tmp/cache; mkdir -p /tmp/cache/covalent",
        COMMAND_LIMIT,
    )?;
    let guest = context.guest()?;
    guest.put("/tmp/cache/covalent/facts.json", contents, 0o644)?;
    Ok("XDG_CACHE_HOME=/tmp/cache".to_owned())
}

fn damaged(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let whole = br#"{"format":"covalent facts","version":1,"facts":[]}"#;
    for contents in [
        &whole[..30],
        br#"{"format":"covalent facts","version":1,"facts":[{"participant":3}]}"#,
    ] {
        let cache = with_facts(context, contents)?;
        let guest = context.guest()?;
        let line = format!("{cache} covalent plan --camera /dev/video0 --display /dev/dri/card0");
        let output = guest.sh(&line, COMMAND_LIMIT)?;
        // The plan is made nevertheless.
        expect(
            &output,
            0,
            &["/tmp/cache/covalent/facts.json", "damaged", "moved to"],
        )?;
        let aside = guest.sh(
            "cat /tmp/cache/covalent/facts.json.damaged-*",
            COMMAND_LIMIT,
        )?;
        ensure!(aside.stdout == contents, "what was damaged is lost");
        let again = guest.sh(&line, COMMAND_LIMIT)?;
        ensure!(
            again.stderr.is_empty(),
            "it is told again: {}",
            words(&again)
        );
    }
    // A file that Covalent did not write is not moved.
    let foreign = b"\xff\xfe\0";
    let cache = with_facts(context, foreign)?;
    let guest = context.guest()?;
    let line = format!("{cache} covalent plan --camera /dev/video0 --display /dev/dri/card0");
    let output = guest.sh(&line, COMMAND_LIMIT)?;
    expect(&output, 0, &["/tmp/cache/covalent/facts.json"])?;
    let left = guest.get("/tmp/cache/covalent/facts.json")?;
    ensure!(left == foreign, "it was changed");
    let beside = guest.sh("ls -A /tmp/cache/covalent", COMMAND_LIMIT)?.text();
    ensure!(beside == "facts.json", "there is more: {beside}");
    // An empty file has no results, and causes no message.
    let cache = with_facts(context, b"")?;
    let line = format!("{cache} covalent facts list");
    let empty = context.guest()?.sh(&line, COMMAND_LIMIT)?;
    expect(&empty, 0, &[])?;
    ensure!(empty.stderr.is_empty(), "{}", words(&empty));
    let cache = with_facts(context, whole)?;
    let sound = context
        .guest()?
        .sh(&format!("{cache} covalent facts list"), COMMAND_LIMIT)?;
    expect(&sound, 0, &[])?;
    ensure!(sound.stderr.is_empty(), "{}", words(&sound));
    Ok(Outcome::Passed)
}

fn newer(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let contents = br#"{"format":"covalent facts","version":2,"facts":{"by":"name"}}"#;
    let cache = with_facts(context, contents)?;
    let guest = context.guest()?;
    let plan = "covalent plan --camera /dev/video0 --display /dev/dri/card0";
    let output = guest.sh(&format!("{cache} {plan} --prove"), COMMAND_LIMIT)?;
    expect(&output, 0, &["newer version", "facts.json"])?;
    let output = guest.sh(
        &format!("{cache} covalent facts forget --all"),
        COMMAND_LIMIT,
    )?;
    expect(&output, 1, &["newer version"])?;
    let left = guest.get("/tmp/cache/covalent/facts.json")?;
    ensure!(left == contents, "it was changed");
    Ok(Outcome::Passed)
}

fn unwritable(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    claim(context, "640x480", "/tmp/claim.json")?;
    let guest = context.guest()?;
    // Root may write everywhere, except below a file and in /proc.
    for folder in ["/dev/null", "/proc/nowhere"] {
        let line =
            format!("XDG_CACHE_HOME={folder} covalent plan --from /tmp/claim.json --prove --json");
        let output = guest.sh(&line, LONG_LIMIT)?;
        expect(&output, 0, &[folder, "facts: "])?;
        let proven: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(proven["ending"] == "proved", "{}", proven["ending"]);
        ensure!(
            proven["learnt"]
                .as_array()
                .is_some_and(|facts| !facts.is_empty()),
            "nothing was learnt that could have been lost"
        );
    }
    let output = guest.sh(
        "env -u XDG_CACHE_HOME -u HOME covalent facts path",
        COMMAND_LIMIT,
    )?;
    expect(&output, 1, &["XDG_CACHE_HOME", "HOME"])?;
    Ok(Outcome::Passed)
}
