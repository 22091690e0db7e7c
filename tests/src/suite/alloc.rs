//! Theme `alloc`: checks that each backend of the allocator keeps the guarantees that it declares, and that drivers accept the
//! buffers that plans describe.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::interop::{Row, Skips};
use crate::vm::config::{Config, Memory};
use crate::wire::Status;

use super::{Case, Outcome, TestContext};

/// The time limit of a check of all devices on a busy machine without KVM.
const LONG_LIMIT: Duration = Duration::from_secs(240);
/// The time limit of one command of the tool.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[
    Case::new(
        "alloc::virtio_sources_conform",
        Config::Virtio,
        check_sources,
    ),
    Case::new("alloc::bochs_sources_conform", Config::Bochs, check_sources),
    Case::new("alloc::vkms_sources_conform", Config::Vkms, check_sources),
    Case::new(
        "alloc::virtio_queues_take_what_is_guaranteed",
        Config::Virtio,
        check_queues,
    ),
    Case::new(
        "alloc::vkms_queues_take_what_is_guaranteed",
        Config::Vkms,
        check_queues,
    ),
    Case::new(
        "alloc::queues_in_4g_take_what_is_guaranteed",
        Config::Virtio,
        check_queues,
    )
    .memory(Memory::FOUR_GIBIBYTES),
    Case::new(
        "alloc::virtio_cards_take_what_is_guaranteed",
        Config::Virtio,
        check_cards,
    ),
    Case::new(
        "alloc::bochs_cards_take_what_is_guaranteed",
        Config::Bochs,
        check_cards,
    ),
    Case::new(
        "alloc::vkms_cards_take_what_is_guaranteed",
        Config::Vkms,
        check_cards,
    ),
    Case::new(
        "alloc::wrong_buffer_descriptors_are_refused",
        Config::Virtio,
        wrong_buffer_descriptors_are_refused,
    ),
    Case::new(
        "alloc::virtio_camera_and_display_share_the_cards_memory",
        Config::Virtio,
        virtio_camera_and_display_share_the_cards_memory,
    ),
    Case::new(
        "alloc::bochs_camera_and_display_share_the_cards_memory",
        Config::Bochs,
        bochs_camera_and_display_share_the_cards_memory,
    ),
    Case::new(
        "alloc::vkms_camera_and_display_share_the_cards_memory",
        Config::Vkms,
        vkms_camera_and_display_share_the_cards_memory,
    ),
    Case::new(
        "alloc::contiguous_camera_plan_takes_contiguous_memory",
        Config::Vkms,
        contiguous_camera_plan_takes_contiguous_memory,
    ),
    Case::new(
        "alloc::contiguous_camera_and_virtio_are_never_guaranteed",
        Config::Virtio,
        contiguous_camera_and_virtio_are_never_guaranteed,
    ),
    Case::new(
        "alloc::unsupported_format_is_explained",
        Config::Virtio,
        unsupported_format_is_explained,
    ),
    Case::new(
        "alloc::tool_allocates_from_every_source",
        Config::Virtio,
        tool_allocates_from_every_source,
    ),
];

fn check_sources(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    with_huge_pages(context, 24, |context| check(context, "sources"))
}

/// Reserves huge pages for the sources that allocate from them, and calls `act`.
pub(super) fn with_huge_pages<T>(
    context: &mut TestContext<'_>,
    pages: u32,
    act: impl FnOnce(&mut TestContext<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    context.sh(
        &format!("echo {pages} > /proc/sys/vm/nr_hugepages"),
        COMMAND_LIMIT,
    )?;
    let outcome = act(context);
    context.sh("echo 0 > /proc/sys/vm/nr_hugepages", COMMAND_LIMIT)?;
    outcome
}

fn check_queues(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    with_huge_pages(context, 8, |context| check(context, "queues"))
}

fn check_cards(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check(context, "cards")
}

fn wrong_buffer_descriptors_are_refused(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    check(context, "hostile")
}

/// Runs one theme of `covalent-alloc-check`, and saves its output as `checks.txt`. Each check that the theme skips must be listed
/// in `tests/checks.toml`.
pub(super) fn check(context: &mut TestContext<'_>, theme: &str) -> anyhow::Result<Outcome> {
    check_within(context, theme, LONG_LIMIT)
}

/// Runs one theme of `covalent-alloc-check` with this time limit.
pub(super) fn check_within(
    context: &mut TestContext<'_>,
    theme: &str,
    limit: Duration,
) -> anyhow::Result<Outcome> {
    let output = context
        .guest()?
        .sh(&format!("covalent-alloc-check {theme}"), limit)?;
    context.save_artefact("checks.txt", &output.stdout)?;
    let text = output.text();
    let rows: Vec<Row> = text
        .lines()
        .filter_map(|line| Row::parse(theme, line))
        .collect();
    let skips = Skips::of_checks().context("tests/checks.toml")?;
    let outcome = context.judge(&skips, &rows)?;
    // If all rows passed and the program still failed, it ended before its last row.
    ensure!(
        output.status.success(),
        "covalent-alloc-check {theme} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(outcome)
}

/// Solves for a camera and the first card, and returns the plan.
fn plan(context: &mut TestContext<'_>, camera: &str) -> anyhow::Result<Value> {
    let line =
        format!("covalent plan --camera {camera} --display /dev/dri/card0 --size 640x480 --json");
    let output = context.sh(&line, COMMAND_LIMIT)?;
    context.save_artefact("plan.json", &output.stdout)?;
    let solution: Value = serde_json::from_slice(&output.stdout)?;
    solution
        .get("share")
        .cloned()
        .context("the solver has no buffer that the camera and the card share")
}

fn own_memory(
    context: &mut TestContext<'_>,
    source: &str,
    fourcc: &str,
) -> anyhow::Result<Outcome> {
    let plan = plan(context, "/dev/video0")?;
    ensure!(
        plan["source_name"] == source,
        "the plan has the source {} instead of {source}",
        plan["source_name"]
    );
    let format = &plan["layout"]["format"];
    ensure!(
        format["fourcc"] == fourcc && format["modifier"] == "LINEAR",
        "the plan has the format {format}"
    );
    ensure!(
        plan["verdict"] == "guaranteed",
        "the plan is {}",
        plan["verdict"]
    );
    Ok(Outcome::Passed)
}

fn virtio_camera_and_display_share_the_cards_memory(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    own_memory(context, "virtio_gpu dumb", "XR24")
}

fn bochs_camera_and_display_share_the_cards_memory(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    own_memory(context, "bochs-drm dumb", "XR24")
}

fn vkms_camera_and_display_share_the_cards_memory(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // The planes of vkms accept NV12, whose frames have fewer bytes than frames in XR24.
    own_memory(context, "vkms dumb", "NV12")
}

fn contiguous_camera_plan_takes_contiguous_memory(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let plan = plan(context, "/dev/video2")?;
    // Fewer devices can import the camera's own memory than the memory of the CMA heap, and the guarantee is as strong, so the
    // solver prefers it.
    ensure!(
        plan["verdict"] == "guaranteed",
        "the plan is {}",
        plan["verdict"]
    );
    let name = plan["source_name"].as_str().unwrap_or_default();
    ensure!(
        ["vivid MMAP", "dma-heap default_cma_region"].contains(&name),
        "the plan has the source {name}"
    );
    Ok(Outcome::Passed)
}

fn contiguous_camera_and_virtio_are_never_guaranteed(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    let plan = plan(context, "/dev/video2")?;
    ensure!(
        plan["verdict"] == "possible",
        "the plan is {}",
        plan["verdict"]
    );
    let caveats = plan["doubts"].to_string();
    ensure!(
        caveats.contains("physically contiguous"),
        "the caveats of the plan are {caveats}"
    );
    Ok(Outcome::Passed)
}

fn unsupported_format_is_explained(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let line =
        "covalent plan --camera /dev/video0 --display /dev/dri/card0 --size 640x480 --format NV12";
    let output = context.guest()?.sh(line, COMMAND_LIMIT)?;
    let text = output.text();
    ensure!(
        output.status == Status::Code(4),
        "`{line}` ended with {}",
        output.status
    );
    for expected in [
        "accepts only XR24 LINEAR",
        "accepts only NV12 LINEAR",
        "copies 1228800 bytes a frame",
    ] {
        ensure!(
            text.contains(expected),
            "`{expected}` is missing in the output: {text}"
        );
    }
    Ok(Outcome::Passed)
}

fn tool_allocates_from_every_source(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let found: Value =
        serde_json::from_slice(&context.sh("covalent probe --json", LONG_LIMIT)?.stdout)?;
    context.save_artefact("probe.json", found.to_string().as_bytes())?;
    let sources = found["sources"]
        .as_array()
        .context("the report has no sources")?;
    let mut allocated = 0;
    for source in sources {
        let id = source["id"].as_str().context("a source without a name")?;
        if id.starts_with("v4l2:") {
            continue;
        }
        // GBM and Vulkan allocate only sizes and formats that their driver supports, so a picture is requested instead of bytes.
        let picture = if id.starts_with("gbm:") || id.starts_with("vulkan:") {
            "--size 640x480 --format XR24"
        } else {
            "--size 641x481 --format NV12"
        };
        let line = format!("covalent alloc {id} {picture} --count 2 --json");
        let report: Value = serde_json::from_slice(&context.sh(&line, COMMAND_LIMIT)?.stdout)?;
        let buffers = report["buffers"]
            .as_array()
            .context("the report has no buffers")?;
        ensure!(buffers.len() == 2, "{} buffers from {id}", buffers.len());
        ensure!(report["written_bytes"] == report["read_bytes"], "{report}");
        allocated += 1;
    }
    ensure!(allocated >= 4, "only {allocated} sources");
    Ok(Outcome::Passed)
}
