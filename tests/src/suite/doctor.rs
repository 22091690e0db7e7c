//! Theme `doctor`: in guests that are misconfigured on purpose, checks that `covalent doctor` names the cause, and that the
//! remedy that it prints works.

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::compositor::PIPELINE_LIMIT;
use super::matrix::COMMAND_LIMIT;
use super::{Case, Outcome, TestContext};
use crate::vm::config::Config;
use crate::vm::guest::shell;
use crate::wire::Status;

/// The tool's exit code if a finding is blocking.
const BLOCKED: u8 = 13;
/// The compositor's exit code if it can drive no display.
const NO_DISPLAY: u8 = 10;

/// The command of the demo: camera, compositor and display, for a few frames.
const DEMO: &str =
    "covalent-compositor --mode 640x480 -- covalent-camera --size 640x480 --frames 20";

/// The prefix that runs a command as an ordinary user who has just logged in.
const AS_USER: &str =
    "setpriv --reuid=ada --regid=ada --init-groups env HOME=/home/ada XDG_RUNTIME_DIR=/tmp/ada";

pub(super) const CASES: &[Case] = &[
    Case::new(
        "doctor::container_without_dri_remedy_runs_the_demo",
        Config::Virtio,
        container_without_dri_remedy_runs_the_demo,
    ),
    Case::new(
        "doctor::healthy_guest_has_no_blocking_finding",
        Config::Virtio,
        healthy_guest_has_no_blocking_finding,
    ),
    Case::new(
        "doctor::missing_huge_pages_remedy_reserves_them",
        Config::Bochs,
        missing_huge_pages_remedy_reserves_them,
    ),
    Case::new(
        "doctor::low_limits_remedies_raise_them",
        Config::Virtio,
        low_limits_remedies_raise_them,
    ),
    Case::new(
        "doctor::missing_udmabuf_node_remedy_creates_it",
        Config::Bochs,
        missing_udmabuf_node_remedy_creates_it,
    ),
    Case::new(
        "doctor::user_without_groups_remedies_grant_access",
        Config::Virtio,
        user_without_groups_remedies_grant_access,
    )
    .last(),
];

/// The JSON report of `covalent doctor`.
#[derive(Debug, Deserialize)]
struct Report {
    version: u32,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    severity: String,
    remedy: Option<Remedy>,
}

#[derive(Debug, Deserialize)]
struct Remedy {
    line: String,
    note: Option<String>,
}

impl Report {
    fn find(&self, id: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.id == id)
    }

    /// Returns the remedy of the finding `id`. Fails if there is no such finding or remedy, or if its severity differs.
    fn remedy(&self, id: &str, severity: &str) -> anyhow::Result<&Remedy> {
        let finding = self
            .find(id)
            .with_context(|| format!("`covalent doctor` does not report {id}: {self:?}"))?;
        ensure!(finding.severity == severity, "{finding:?}");
        finding.remedy.as_ref().context("the finding has no remedy")
    }
}

/// Runs `covalent doctor` after the shell code `before`, which may set limits or a user, and checks its exit code.
fn doctor(context: &mut TestContext<'_>, before: &str) -> anyhow::Result<Report> {
    let line = format!("{before} covalent doctor --json");
    let output = context.guest()?.sh(&bash(&line), COMMAND_LIMIT)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Report =
        serde_json::from_slice(&output.stdout).with_context(|| format!("`{line}`: {stderr}"))?;
    ensure!(report.version == 1, "version {}", report.version);
    let blocks = report
        .findings
        .iter()
        .any(|finding| finding.severity == "blocks");
    let expected = if blocks { BLOCKED } else { 0 };
    ensure!(
        output.status == Status::Code(expected),
        "`{line}` ended with {}: {report:?}",
        output.status
    );
    Ok(report)
}

/// Returns a bash command that runs a line with a `sudo` that only runs its arguments.
fn bash(line: &str) -> String {
    let line = format!("sudo() {{ \"$@\"; }}; {line}");
    format!("bash -c '{}'", line.replace('\'', "'\\''"))
}

fn healthy_guest_has_no_blocking_finding(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let report = doctor(context, "")?;
    ensure!(
        report
            .findings
            .iter()
            .all(|finding| finding.severity != "blocks"),
        "{report:?}"
    );
    // QEMU is not started with blob resources for the guest's card.
    report.remedy("card-import", "limits")?;
    // `covalent doctor` reports the same findings for a recording of this guest.
    let line = "covalent doctor --record /tmp/machine.json --json > /tmp/here.json; \
                covalent doctor --from /tmp/machine.json --json | cmp - /tmp/here.json; \
                covalent doctor --strict > /tmp/report.txt; test $? = 13 && awk 'length > 200' /tmp/report.txt";
    let long = context.sh(line, COMMAND_LIMIT)?.text();
    ensure!(long.is_empty(), "{long}");
    Ok(Outcome::Passed)
}

/// Runs the demo with memory of this source. Checks that the demo succeeds if `runs` is set, and fails otherwise.
fn demo_of(context: &mut TestContext<'_>, source: &str, runs: bool) -> anyhow::Result<()> {
    let line = format!("{DEMO} --source {source}");
    let output = context.guest()?.sh(&line, PIPELINE_LIMIT)?;
    ensure!(
        output.status.success() == runs,
        "`{line}` ended with {}",
        output.status
    );
    Ok(())
}

fn missing_udmabuf_node_remedy_creates_it(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh("rm /dev/udmabuf", COMMAND_LIMIT)?;
    let report = doctor(context, "")?;
    let line = report.remedy("udmabuf-node", "limits")?.line.clone();
    demo_of(context, "udmabuf", false)?;
    context.sh(&bash(&line), COMMAND_LIMIT)?;
    demo_of(context, "udmabuf", true)?;
    let report = doctor(context, "")?;
    ensure!(report.find("udmabuf-node").is_none(), "{report:?}");
    Ok(Outcome::Passed)
}

fn missing_huge_pages_remedy_reserves_them(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // This queue of vivid imports only contiguous memory. A frame fits in one huge page.
    let demo = "udmabuf:2048k --device /dev/video2";
    context.sh("echo 0 > /proc/sys/vm/nr_hugepages", COMMAND_LIMIT)?;
    let report = doctor(context, "")?;
    let line = report.remedy("huge-pages", "limits")?.line.clone();
    demo_of(context, demo, false)?;
    context.sh(&bash(&line), COMMAND_LIMIT)?;
    let report = doctor(context, "")?;
    ensure!(report.find("huge-pages").is_none(), "{report:?}");
    demo_of(context, demo, true)?;
    context.sh("echo 0 > /proc/sys/vm/nr_hugepages", COMMAND_LIMIT)?;
    Ok(Outcome::Passed)
}

fn low_limits_remedies_raise_them(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    for (limit, id, severity) in [
        ("ulimit -Sn 64;", "open-files-limit", "limits"),
        ("ulimit -n 64;", "open-files-limit", "limits"),
        ("ulimit -Sf 1024;", "file-size-limit", "limits"),
        ("ulimit -l 64;", "locked-memory-limit", "notes"),
    ] {
        let report = doctor(context, limit)?;
        let line = &report.remedy(id, severity)?.line;
        let after = doctor(context, &format!("{limit} {line};"))?;
        ensure!(after.find(id).is_none(), "after `{line}`: {after:?}");
        let line = format!("{limit} {line}; {DEMO}");
        let output = context.guest()?.sh(&bash(&line), PIPELINE_LIMIT)?;
        ensure!(
            output.status.success(),
            "`{line}` ended with {}",
            output.status
        );
    }
    Ok(Outcome::Passed)
}

/// A script that imitates a container as far as device nodes matter: `/dev/dri` contains only the nodes that `--device` adds.
const CONTAINER: &str = "#!/bin/sh
set -e
mkdir -p /tmp/machine && mount --bind /dev /tmp/machine
mount -t tmpfs none /dev/dri
while [ \"$1\" = --device ]; do
    mount --bind \"/tmp/machine/${2#/dev/}\" \"$2\"
    shift 2
done
exec sh -c \"$1\"
";

fn container_without_dri_remedy_runs_the_demo(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    guest.put("/tmp/container", CONTAINER.as_bytes(), 0o755)?;
    let run = |flags: &str, line: &str| {
        let line = line.replace('\'', "'\\''");
        format!("unshare --mount /tmp/container {flags} '{line}'")
    };
    let failed = guest.sh(&run("", DEMO), PIPELINE_LIMIT)?;
    ensure!(
        failed.status == Status::Code(NO_DISPLAY),
        "{}",
        failed.status
    );
    let inside = |flags: &str, before: &str| {
        let line = format!("{before} covalent doctor --json > /tmp/inside.json; true");
        run(flags, &line)
    };
    let look = |context: &mut TestContext<'_>, line: &str| -> anyhow::Result<Report> {
        context.sh(line, COMMAND_LIMIT)?;
        let text = context.guest()?.get("/tmp/inside.json")?;
        Ok(serde_json::from_slice(&text)?)
    };
    let report = look(context, &inside("", ""))?;
    let remedy = report.remedy("card-node", "blocks")?;
    ensure!(remedy.line == "--device /dev/dri", "{}", remedy.line);
    // The remedy is an option for the next start of the container.
    let after = look(context, &inside(&remedy.line, ""))?;
    ensure!(after.find("card-node").is_none(), "{after:?}");
    ensure!(after.find("render-node").is_none(), "{after:?}");
    let demo = run(&remedy.line, DEMO);
    context.sh(&demo, PIPELINE_LIMIT)?;
    // The note contains the command that makes the devices available in a running container.
    let note = remedy.note.as_deref().context("the remedy has no note")?;
    let (_, line) = note
        .split_once("permit it: ")
        .context("the note contains no command")?;
    let after = look(context, &inside("", &format!("{line};")))?;
    ensure!(after.find("card-node").is_none(), "{after:?}");
    context.sh(&run("", &format!("{line} && {DEMO}")), PIPELINE_LIMIT)?;
    Ok(Outcome::Passed)
}

/// Checks a user who is in no group: the dma-heaps belong to root, and the cards and cameras to their groups.
fn user_without_groups_remedies_grant_access(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    context.sh(
        "useradd --create-home ada && install -d -o ada -m 700 /tmp/ada",
        COMMAND_LIMIT,
    )?;
    let report = doctor(context, AS_USER)?;
    let mut lines: Vec<String> = Vec::new();
    for (id, severity) in [
        ("card-permission", "blocks"),
        ("heap-permission", "blocks"),
        ("udmabuf-permission", "blocks"),
        ("video-permission", "blocks"),
        ("seat-manager", "blocks"),
        ("render-permission", "limits"),
    ] {
        let line = report.remedy(id, severity)?.line.clone();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let demo = format!("{AS_USER} {DEMO}");
    let failed = context.guest()?.sh(&demo, PIPELINE_LIMIT)?;
    ensure!(!failed.status.success(), "the demo ran without permissions");
    // A process that a command starts in the guest ends with that command. So all remedies are pasted into one shell, which keeps
    // running.
    let pasted = bash(&format!("{}; exec sleep 600", lines.join("; ")));
    let session = context.guest()?.start(shell(&pasted))?;
    let wait_for_remedies = "for try in $(seq 300); do pgrep -x sleep >/dev/null && test -S /run/seatd.sock && exit; sleep 0.1; done; exit 1";
    context.sh(wait_for_remedies, COMMAND_LIMIT)?;
    let report = doctor(context, AS_USER)?;
    let left: Vec<&str> = report
        .findings
        .iter()
        .map(|finding| finding.id.as_str())
        .filter(|id| id.ends_with("-permission") || id.starts_with("seat-"))
        .collect();
    ensure!(left.is_empty(), "after {lines:?}: {left:?}");
    context.sh(&demo, PIPELINE_LIMIT)?;
    context.sh(
        &format!("{AS_USER} covalent alloc heap:system --size 640x480 --format XR24"),
        COMMAND_LIMIT,
    )?;
    session.kill()?;
    // The guest has other users and udev rules now, so no other case may use it.
    context.discard();
    Ok(Outcome::Passed)
}
