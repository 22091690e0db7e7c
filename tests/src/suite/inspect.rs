//! Theme `inspect`: checks that `covalent inspect` shows what the kernel reports about live dma-bufs, to root and to other users.

mod pictures;

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::judge::bufinfo::Object;
use crate::picture::{BARS_100, Region, check_bars};
use crate::pipeline::Pipeline;
use crate::vm::config::Config;
use crate::vm::guest::{Guest, shell};
use crate::wire::{Status, Stream};

use super::compositor::{COMMAND_LIMIT, PIPELINE_LIMIT, bufinfo};
use super::context::run_checked;
use super::{Case, Outcome, TestContext};

pub(super) const CASES: &[Case] = &[
    Case::new(
        "inspect::camera_frames_in_native_formats_become_pictures",
        Config::Bochs,
        pictures::camera_frames_in_native_formats_become_pictures,
    ),
    Case::new(
        "inspect::every_pixel_format_becomes_a_picture",
        Config::Bochs,
        pictures::every_pixel_format_becomes_a_picture,
    ),
    Case::new(
        "inspect::pending_fence_is_shown_to_its_owner",
        Config::Bochs,
        pending_fence_is_shown_to_its_owner,
    ),
    Case::new(
        "inspect::running_pipeline_matches_bufinfo",
        Config::Bochs,
        running_pipeline_matches_bufinfo,
    ),
];

/// A prefix that runs a command as the user nobody, without supplementary groups.
const ORDINARY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// The parts of the tool's report that are compared with the kernel.
#[derive(Debug, Deserialize)]
struct Report {
    version: u32,
    buffers: Vec<Buffer>,
    hidden: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Buffer {
    inode: u64,
    size_bytes: u64,
    exporter: String,
    name: Option<String>,
    age_ns: Option<u64>,
    holders: Vec<Holder>,
    attached: Option<Vec<String>>,
    fences: Option<Fences>,
    picture: Option<Picture>,
}

#[derive(Debug, Deserialize)]
struct Picture {
    #[serde(rename = "told_by")]
    origin: String,
    size: String,
    fourcc: String,
    modifier: String,
    planes: Vec<Plane>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Plane {
    offset_bytes: u32,
    stride_bytes: u32,
}

#[derive(Debug, Deserialize)]
struct Holder {
    command: String,
    fds: Vec<u32>,
}

#[derive(Debug, Deserialize)]
struct Fences {
    writers: Vec<Fence>,
    readers: Vec<Fence>,
}

#[derive(Debug, Deserialize)]
struct Fence {
    timeline: String,
    state: String,
    at_least_ns: Option<u64>,
}

fn report(guest: &Guest, line: &str) -> anyhow::Result<Report> {
    let output = run_checked(guest, &format!("{line} --json"), COMMAND_LIMIT)?;
    let report: Report = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{line}: {}", output.text()))?;
    ensure!(report.version == 1, "version {}", report.version);
    Ok(report)
}

/// Runs a command, and checks its exit code and that its output contains all of `expected`.
fn expect(guest: &Guest, line: &str, code: u8, expected: &[&str]) -> anyhow::Result<()> {
    let output = guest.sh(line, COMMAND_LIMIT)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &output.text();
    ensure!(
        output.status == Status::Code(code),
        "`{line}` ended with {}: {text}",
        output.status
    );
    for word in expected {
        ensure!(
            text.contains(word),
            "`{line}` does not print {word:?}: {text}"
        );
    }
    Ok(())
}

fn running_pipeline_matches_bufinfo(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    // vivid's second instance has dma-contig queues, which attach to the dma-bufs that they import.
    let pipeline = Pipeline {
        camera: "/dev/video2".to_owned(),
        client: "--size 640x480 --fps 30 --frames 400 --source heap:default_cma_region".to_owned(),
        ..Pipeline::default()
    };
    let guest = context.guest()?;
    let pattern = "v4l2-ctl -d /dev/video2 -c test_pattern=1,osd_text_mode=2";
    run_checked(guest, pattern, COMMAND_LIMIT)?;
    let mut running = pipeline.start(guest)?;
    running.wait_for_frames(20, PIPELINE_LIMIT)?;
    let listed = run_checked(guest, "covalent-judge bufinfo", COMMAND_LIMIT)?;
    let shown = report(guest, "covalent inspect --pid covalent-camera")?;
    let reported = "covalent inspect --pid covalent-camera --report /tmp/pipeline/frames.jsonl";
    let reported = report(guest, reported)?;
    let fd = shown
        .buffers
        .first()
        .and_then(|buffer| fd_of(buffer, "covalent-camera"))
        .context("the camera has no dma-buf")?;
    let one = format!("covalent inspect --pid covalent-camera --fd {fd}");
    let printed = run_checked(
        guest,
        &format!("{one} --png /tmp/frame.png --wait 20"),
        COMMAND_LIMIT,
    )?;
    let png = guest.get("/tmp/frame.png")?;
    expect(
        guest,
        &format!("{one} --layout 640x480:XR24:2559 --png /tmp/none.png"),
        1,
        &["stride of 2559 bytes does not hold a row"],
    )?;
    let ordinary = format!("{ORDINARY} covalent inspect");
    expect(
        guest,
        &format!("{ordinary} --pid covalent-camera"),
        1,
        &["another user's", "CAP_SYS_PTRACE"],
    )?;
    let seen = report(guest, &ordinary)?;
    let finished = running.finish(PIPELINE_LIMIT)?;
    context.save_artefact("camera.txt", &printed.stdout)?;
    context.save_artefact("camera.png", &png)?;

    // Every buffer has the same layout, but the layouts have different origins. For the buffer that the display shows, the origin
    // is the framebuffer. For the other buffers it is the name of the dma-buf, or the compositor's report if `--report` is given.
    check_layouts(&shown, &["display", "name"])?;
    check_layouts(&reported, &["display", "report"])?;
    let listed: Vec<Object> = serde_json::from_slice(&listed.stdout)?;
    let queued: BTreeSet<u64> = finished.camera.buffers.iter().copied().collect();
    let inodes: BTreeSet<u64> = shown.buffers.iter().map(|buffer| buffer.inode).collect();
    ensure!(
        inodes == queued,
        "the tool lists the dma-bufs {inodes:?}, but the client queued {queued:?}"
    );
    for buffer in &shown.buffers {
        let object = listed.iter().find(|object| object.inode == buffer.inode);
        let object = object.with_context(|| format!("bufinfo has no {}", buffer.inode))?;
        let attached = buffer.attached.clone().unwrap_or_default();
        ensure!(
            buffer.exporter == object.exporter
                && buffer.size_bytes == object.size_bytes
                && buffer.name.as_deref() == Some("covalent-XR24-640x480-2560")
                && buffer.age_ns.is_some_and(|age| age > 0),
            "the tool reports {buffer:?}, but bufinfo has {object:?}"
        );
        ensure!(
            attached == object.attached && attached.iter().any(|device| device.contains("vivid")),
            "the tool lists {attached:?} as attached devices, but bufinfo has {object:?}"
        );
        ensure!(
            fd_of(buffer, "covalent-camera").is_some()
                && fd_of(buffer, "covalent-compos").is_some(),
            "the camera client and the compositor do not both hold the buffer: {buffer:?}"
        );
        ensure!(
            buffer.fences.is_some(),
            "the tool shows no fences: {buffer:?}"
        );
    }
    let picture = image::load_from_memory(&png)?.to_rgb8();
    check_bars(&picture, Region::whole(&picture), &BARS_100, 1)?;
    ensure!(
        seen.buffers.is_empty() && seen.hidden.len() >= 2,
        "an ordinary user sees {seen:?}"
    );
    Ok(Outcome::Passed)
}

/// Checks that the layout of every buffer is known, and that the layouts have exactly these origins.
fn check_layouts(report: &Report, origins: &[&str]) -> anyhow::Result<()> {
    let mut found = BTreeSet::new();
    for buffer in &report.buffers {
        let picture = buffer.picture.as_ref().context("no layout is listed")?;
        ensure!(
            picture.size == "640x480" && picture.fourcc == "XR24" && picture.modifier == "LINEAR",
            "{picture:?}"
        );
        let rows = Plane {
            offset_bytes: 0,
            stride_bytes: 2560,
        };
        ensure!(picture.planes == [rows], "{picture:?}");
        found.insert(picture.origin.as_str());
    }
    let expected: BTreeSet<&str> = origins.iter().copied().collect();
    ensure!(
        found == expected,
        "the layouts come from {found:?}, not from {expected:?}"
    );
    Ok(())
}

/// Returns the fd with which the process `command` holds a buffer.
fn fd_of(buffer: &Buffer, command: &str) -> Option<u32> {
    let mut holders = buffer.holders.iter();
    let holder = holders.find(|holder| holder.command == command)?;
    holder.fds.first().copied()
}

fn pending_fence_is_shown_to_its_owner(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = context.guest()?;
    run_checked(guest, "modprobe sw_sync", COMMAND_LIMIT)?;
    // The process that finally holds the buffer runs as an ordinary user.
    let line = format!("exec covalent-alloc-check hold -- {ORDINARY} sleep 300");
    let mut holder = guest.start(shell(&line))?;
    let output = holder
        .line(Stream::Out, COMMAND_LIMIT)?
        .context("the program printed nothing")?;
    let (fd, inode) = output
        .split_once(' ')
        .context("the program did not print an fd and an inode")?;
    let inode: u64 = inode.trim().parse()?;
    // The process runs as root until it executes `sleep`.
    let named =
        "for _ in $(seq 100); do pgrep -x sleep >/dev/null && exit 0; sleep 0.1; done; exit 1";
    run_checked(guest, named, COMMAND_LIMIT)?;
    let pid = run_checked(guest, "pgrep -x sleep | tail -n 1", COMMAND_LIMIT)?.text();
    let pid = pid.trim();
    for user in ["", ORDINARY] {
        let line = format!("{user} covalent inspect --pid {pid} --fd {fd}");
        let shown = report(guest, &format!("{line} --watch 0.5"))?;
        let [buffer] = shown.buffers.as_slice() else {
            anyhow::bail!("one buffer was expected: {shown:?}");
        };
        // The common PRIME code of DRM exports vgem's buffers, so the exporter is named `drm`.
        ensure!(
            buffer.inode == inode && buffer.exporter == "drm",
            "the tool describes the dma-buf with inode {inode} as {buffer:?}"
        );
        let fences = buffer.fences.as_ref().context("no fences are listed")?;
        let [writer] = fences.writers.as_slice() else {
            anyhow::bail!("one writer was expected: {fences:?}");
        };
        ensure!(fences.readers.is_empty(), "{fences:?}");
        ensure!(
            writer.state == "pending" && writer.at_least_ns >= Some(500_000_000),
            "{writer:?}"
        );
        ensure!(!writer.timeline.is_empty(), "{writer:?}");
        ensure!(
            buffer.attached.is_some() == user.is_empty(),
            "only root reads debugfs: {buffer:?}"
        );
        // The tool must not write an unfinished picture, and must wait for the fence only until the time limit.
        let png = format!("{line} --png /tmp/half.png --wait 0.3");
        expect(
            guest,
            &png,
            1,
            &["still pending after 0.3 s", "pending for"],
        )?;
    }
    holder.kill()?;
    holder.wait(COMMAND_LIMIT)?;
    ensure!(
        bufinfo(context)?.iter().all(|object| object.inode != inode),
        "{inode} is left"
    );
    Ok(Outcome::Passed)
}
