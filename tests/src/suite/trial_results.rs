//! Theme `trial_results`: checks that trial results that were stored in one boot and at one size apply to other boots and sizes,
//! and that a damaged, foreign or unwritable file does no harm.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::vm::config::{Config, Memory};
use crate::vm::guest::Guest;

use super::matrix::{COMMAND_LIMIT, LIMIT, LONG_LIMIT, exit_message, expect, judge, verify};
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "trial_results::learnt_at_one_size_apply_after_reboot_at_another_size",
        Config::Virtio,
        learnt_at_one_size_apply_after_reboot_at_another_size,
    )
    .last()
    .limit(LIMIT),
    Case::new(
        "trial_results::refusal_by_gbm_applies_to_gbm_alone",
        Config::Venus,
        refusal_by_gbm_applies_to_gbm_alone,
    ),
    Case::new(
        "trial_results::damaged_file_is_renamed_and_reported",
        Config::Bochs,
        damaged_file_is_renamed_and_reported,
    ),
    Case::new(
        "trial_results::file_of_a_newer_version_stays_unchanged",
        Config::Bochs,
        file_of_a_newer_version_stays_unchanged,
    ),
    Case::new(
        "trial_results::unwritable_folder_is_reported",
        Config::Virtio,
        unwritable_folder_is_reported,
    ),
];

fn learnt_at_one_size_apply_after_reboot_at_another_size(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.fresh_guest()?;
    write_wrong_claim(context, "640x360", "/tmp/small.json")?;
    // Before any trial, the solver trusts the wrong claim in the request.
    let untried: Value = serde_json::from_slice(
        &context
            .sh("covalent plan --from /tmp/small.json --json", COMMAND_LIMIT)?
            .stdout,
    )?;
    ensure!(
        source_of(&untried) != "virtio_gpu dumb" && source_of(&untried) != "none",
        "the request has no wrong claim: {}",
        source_of(&untried)
    );
    let line = "covalent plan --from /tmp/small.json --prove --json";
    let tried: Value = serde_json::from_slice(&context.sh(line, LONG_LIMIT)?.stdout)?;
    context.save_artefact("tried.json", tried.to_string().as_bytes())?;
    ensure!(
        tried["ending"] == "proved",
        "the trials ended with {}",
        tried["ending"]
    );
    ensure!(
        source_of(&tried["solution"]) == "virtio_gpu dumb",
        "the plan has the source {}",
        source_of(&tried["solution"])
    );
    let count = tried["learnt"].as_array().map_or(0, Vec::len);
    ensure!(count >= 3, "only {count} trial results");
    let path = context.sh("covalent facts path", COMMAND_LIMIT)?.text();
    let file = context.guest()?.get(&path)?;
    context.save_artefact("facts.json", &file)?;

    // After a reboot and at another size the stored results apply: no trial is repeated, and every verdict is correct.
    context.fresh_guest()?;
    copy_file(context, &path, &file)?;
    write_wrong_claim(context, "640x480", "/tmp/large.json")?;
    let stored: Value = serde_json::from_slice(
        &context
            .sh("covalent plan --from /tmp/large.json --json", COMMAND_LIMIT)?
            .stdout,
    )?;
    let source = source_of(&stored);
    ensure!(
        !["dma-heap system", "udmabuf", "vgem dumb"].contains(&source),
        "the stored results do not apply: the plan has the source {source}"
    );
    verify(
        context,
        "same-memory.json",
        "--size 640x480 --size 1280x720 --format XR24 --format NV12",
    )?;

    // A guest with another memory size is another machine: the results are listed, but do not apply.
    let mut boot = context.boot();
    boot.machine.memory = Memory::FOUR_GIBIBYTES;
    context.discard();
    let guest = Guest::boot(context.image(), &boot)?;
    guest.sh(&format!("mkdir -p $(dirname {path})"), COMMAND_LIMIT)?;
    guest.put(&path, &file, 0o644)?;
    let listed = guest.sh("covalent facts list --json", COMMAND_LIMIT)?;
    let listed: Value = serde_json::from_slice(&listed.stdout)?;
    let listed = listed["facts"]
        .as_array()
        .context("the output has no list of trial results")?;
    let own: Vec<&Value> = listed
        .iter()
        .filter(|one| one["fact"]["origin"]["learnt"].is_object())
        .collect();
    ensure!(own.len() == count, "{} of {count} trial results", own.len());
    ensure!(
        own.iter().all(|one| one["in_force"] == false),
        "trial results of 2 GiB apply in 4 GiB"
    );
    let report = guest.sh(
        "covalent matrix --verify --json --format XR24 --format NV12",
        LONG_LIMIT,
    )?;
    context.save_artefact("more-memory.json", &report.stdout)?;
    judge(&serde_json::from_slice(&report.stdout)?)?;
    ensure!(
        report.status.success(),
        "`covalent matrix --verify` ended with {}",
        report.status
    );
    guest.stop()?;
    Ok(Outcome::Passed)
}

/// The request claims that Mesa's driver for a virtio-gpu with a renderer imports any memory. The driver refuses, and the refusal
/// is stored only for GBM.
fn refusal_by_gbm_applies_to_gbm_alone(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let path = "/tmp/gbm.json";
    let record = "covalent plan --gbm /dev/dri/card0 --format XR24";
    context.sh(&format!("{record} --record {path}"), LONG_LIMIT)?;
    let guest = context.guest()?;
    let mut request: Value = serde_json::from_slice(&guest.get(path)?)?;
    request["participants"][0]["constraints"]["memory"]["imports"] = "any".into();
    let sources = request["sources"]
        .as_array_mut()
        .context("the request has no sources")?;
    sources.retain(|source| source["id"] == "heap:system");
    ensure!(sources.len() == 1, "the request has no heap as source");
    guest.put(path, &serde_json::to_vec(&request)?, 0o644)?;
    let line = format!("XDG_CACHE_HOME=/tmp/gbm covalent plan --from {path}");
    let output = guest.sh(&format!("{line} --prove --json"), LONG_LIMIT)?;
    // No further plan is left, so the exit code is 4.
    expect(&output, 4, &[])?;
    let tried: Value = serde_json::from_slice(&output.stdout)?;
    let learnt = tried["learnt"].as_array().context("nothing was learnt")?;
    ensure!(!learnt.is_empty(), "{tried}");
    // All drivers of Mesa are in one library, whose name contains the version.
    let library = "basename /usr/lib/x86_64-linux-gnu/libgallium-*.so .so";
    let library = context.sh(library, COMMAND_LIMIT)?.text();
    let mesa = library.strip_prefix("libgallium-").context("no Mesa")?;
    for result in learnt {
        ensure!(result["participant"]["interface"] == "gbm", "{result}");
        ensure!(
            result["conditions"]["mesa"] == mesa,
            "the conditions of the trial result do not contain Mesa {mesa}: {result}"
        );
    }
    let guest = context.guest()?;
    let stored = guest.sh(&line, COMMAND_LIMIT)?;
    expect(&stored, 4, &[])?;
    let text = stored.text();
    ensure!(text.contains("refused memory of heap:system"), "{text}");
    Ok(Outcome::Passed)
}

fn copy_file(context: &mut TestContext<'_>, path: &str, file: &[u8]) -> anyhow::Result<()> {
    context.sh(&format!("mkdir -p $(dirname {path})"), COMMAND_LIMIT)?;
    context.guest()?.put(path, file, 0o644)?;
    Ok(())
}

/// Writes a request in which the display wrongly claims to import any memory, and in which the display's own memory is the last
/// choice.
fn write_wrong_claim(context: &mut TestContext<'_>, size: &str, path: &str) -> anyhow::Result<()> {
    let record = "covalent plan --camera /dev/video0 --display /dev/dri/card0 --format XR24";
    context.sh(
        &format!("{record} --size {size} --record {path}"),
        COMMAND_LIMIT,
    )?;
    let guest = context.guest()?;
    let mut request: Value = serde_json::from_slice(&guest.get(path)?)?;
    let participants = request["participants"]
        .as_array_mut()
        .context("the request has no participants")?;
    let display = participants
        .iter_mut()
        .find(|participant| participant["role"] == "display")
        .context("the request has no display")?;
    display["constraints"]["memory"]["imports"] = "any".into();
    let sources = request["sources"]
        .as_array_mut()
        .context("the request has no sources")?;
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
fn with_file(context: &mut TestContext<'_>, contents: &[u8]) -> anyhow::Result<String> {
    context.sh(
        "rm -rf /tmp/cache; mkdir -p /tmp/cache/covalent",
        COMMAND_LIMIT,
    )?;
    let guest = context.guest()?;
    guest.put("/tmp/cache/covalent/facts.json", contents, 0o644)?;
    Ok("XDG_CACHE_HOME=/tmp/cache".to_owned())
}

fn damaged_file_is_renamed_and_reported(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let whole = br#"{"format":"covalent facts","version":1,"facts":[]}"#;
    for contents in [
        &whole[..30],
        br#"{"format":"covalent facts","version":1,"facts":[{"participant":3}]}"#,
    ] {
        let cache = with_file(context, contents)?;
        let guest = context.guest()?;
        let line = format!("{cache} covalent plan --camera /dev/video0 --display /dev/dri/card0");
        let output = guest.sh(&line, COMMAND_LIMIT)?;
        // Although the file is damaged, the tool must print the plan.
        expect(
            &output,
            0,
            &["/tmp/cache/covalent/facts.json", "damaged", "moved to"],
        )?;
        let aside = guest.sh(
            "cat /tmp/cache/covalent/facts.json.damaged-*",
            COMMAND_LIMIT,
        )?;
        ensure!(aside.stdout == contents, "the damaged file was not kept");
        let again = guest.sh(&line, COMMAND_LIMIT)?;
        ensure!(
            again.stderr.is_empty(),
            "the damaged file is reported again: {}",
            exit_message(&again)
        );
    }
    // The tool must not move a file that Covalent did not write.
    let foreign = b"\xff\xfe\0";
    let cache = with_file(context, foreign)?;
    let guest = context.guest()?;
    let line = format!("{cache} covalent plan --camera /dev/video0 --display /dev/dri/card0");
    let output = guest.sh(&line, COMMAND_LIMIT)?;
    expect(&output, 0, &["/tmp/cache/covalent/facts.json"])?;
    let left = guest.get("/tmp/cache/covalent/facts.json")?;
    ensure!(left == foreign, "the file was changed");
    let beside = guest.sh("ls -A /tmp/cache/covalent", COMMAND_LIMIT)?.text();
    ensure!(
        beside == "facts.json",
        "the folder has more files: {beside}"
    );
    // An empty file contains no results, and must cause no message.
    let cache = with_file(context, b"")?;
    let line = format!("{cache} covalent facts list");
    let empty = context.guest()?.sh(&line, COMMAND_LIMIT)?;
    expect(&empty, 0, &[])?;
    ensure!(empty.stderr.is_empty(), "{}", exit_message(&empty));
    let cache = with_file(context, whole)?;
    let sound = context
        .guest()?
        .sh(&format!("{cache} covalent facts list"), COMMAND_LIMIT)?;
    expect(&sound, 0, &[])?;
    ensure!(sound.stderr.is_empty(), "{}", exit_message(&sound));
    Ok(Outcome::Passed)
}

fn file_of_a_newer_version_stays_unchanged(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let contents = br#"{"format":"covalent facts","version":2,"facts":{"by":"name"}}"#;
    let cache = with_file(context, contents)?;
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
    ensure!(left == contents, "the file was changed");
    Ok(Outcome::Passed)
}

fn unwritable_folder_is_reported(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    write_wrong_claim(context, "640x480", "/tmp/claim.json")?;
    let guest = context.guest()?;
    // Root may write everywhere, except below a path that is no folder, and in /proc.
    for folder in ["/dev/null", "/proc/nowhere"] {
        let line =
            format!("XDG_CACHE_HOME={folder} covalent plan --from /tmp/claim.json --prove --json");
        let output = guest.sh(&line, LONG_LIMIT)?;
        expect(&output, 0, &[folder, "trial results: "])?;
        let tried: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(tried["ending"] == "proved", "{}", tried["ending"]);
        ensure!(
            tried["learnt"]
                .as_array()
                .is_some_and(|results| !results.is_empty()),
            "no trial result was stored"
        );
    }
    let output = guest.sh(
        "env -u XDG_CACHE_HOME -u HOME covalent facts path",
        COMMAND_LIMIT,
    )?;
    expect(&output, 1, &["XDG_CACHE_HOME", "HOME"])?;
    Ok(Outcome::Passed)
}
