//! Theme `pools`: a dma-heap and the queue of a camera allocate from the same CMA region of 32 MiB. Checks that the reports of
//! both state how many buffers fit in the region. When the region is exhausted, small frames of the queue come from the page
//! allocator.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::vm::config::Config;
use crate::wire::Status;

use super::{Case, Outcome, TestContext};

/// The time limit of one command.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) const CASES: &[Case] = &[Case::new(
    "pools::region_of_a_heap_and_a_queue_counts_the_buffers_that_fit",
    Config::Vkms,
    region_of_a_heap_and_a_queue_counts_the_buffers_that_fit,
)
.contiguous(32)];

/// The two sources that allocate from the same contiguous region.
const HEAP: &str = "heap:default_cma_region";
const QUEUE: &str = "v4l2:vivid@platform:vivid-001:capture";

fn region_of_a_heap_and_a_queue_counts_the_buffers_that_fit(
    context: &mut TestContext<'_>,
) -> anyhow::Result<Outcome> {
    // A frame takes 8 MiB of the region, so even an unused region cannot hold five frames.
    let large =
        "covalent plan --camera /dev/video2 --size 1920x1080 --format XR24 --count 5 --json";
    let solution = solution(context, large)?;
    for source in [HEAP, QUEUE] {
        let why = rejection(&solution, source)?;
        ensure!(
            why.contains("4 of 5 buffers fit in default_cma_region"),
            "{source}: {why}"
        );
    }
    let (status, message) = allocate(context, 5, "")?;
    ensure!(
        status == Status::Code(4) && message.contains("4 of 5 buffers fit in default_cma_region"),
        "{status}: {message}"
    );

    // A frame takes less than 4 MiB. The queue can allocate 20 of these frames, although together they are larger than the
    // region.
    let small =
        "covalent plan --camera /dev/video2 --size 1280x720 --format XR24 --count 20 --json";
    let solution = self::solution(context, small)?;
    let plan = &solution["share"];
    ensure!(
        plan["source"] == QUEUE && plan["verdict"] == "guaranteed" && plan["pools"].is_null(),
        "{plan}"
    );
    let why = rejection(&solution, HEAP)?;
    ensure!(
        why.contains("8 of 20 buffers fit in default_cma_region"),
        "{why}"
    );
    context.sh(&stream(1280, 720, 20, 1), LIMIT)?;

    // While the queue holds two large frames, the heap cannot allocate three frames. Afterwards the heap can allocate them.
    let held = format!(
        "{} > /dev/null 2>&1 & holder=$!; \
         for attempt in $(seq 100); do [ $(awk '/CmaFree/ {{ print $2 }}' /proc/meminfo) -lt 17000 ] && break; sleep 0.1; done;",
        stream(1920, 1080, 2, 100_000)
    );
    let (status, message) = allocate(context, 3, &held)?;
    ensure!(
        status == Status::Code(7) && message.contains("of 3 buffers fit in default_cma_region"),
        "{status}: {message}"
    );
    let (status, message) = allocate(context, 3, "")?;
    ensure!(status == Status::Code(0), "{status}: {message}");
    Ok(Outcome::Passed)
}

/// Returns the command with which the queue allocates `count` buffers and then streams `frames` frames.
fn stream(width: u32, height: u32, count: u32, frames: u32) -> String {
    format!(
        "v4l2-ctl -d /dev/video2 --set-fmt-video=width={width},height={height},pixelformat=XR24 \
         --stream-mmap={count} --stream-count={frames}"
    )
}

fn solution(context: &mut TestContext<'_>, line: &str) -> anyhow::Result<Value> {
    let output = context.guest()?.sh(line, LIMIT)?;
    context.save_artefact("plan.json", &output.stdout)?;
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{line}` ended with {} and printed no JSON", output.status))
}

/// Returns the reason why a source was rejected for the buffers that all participants share.
fn rejection(solution: &Value, source: &str) -> anyhow::Result<String> {
    let whole = solution.get("share").unwrap_or(&solution["split"]);
    let rejections = whole["rejections"]
        .as_array()
        .context("the solution has no list of rejections")?;
    let own = rejections.iter().find(|own| own["source"] == source);
    let own = own.with_context(|| format!("{source} is not rejected: {solution}"))?;
    Ok(own["words"].as_str().unwrap_or_default().to_owned())
}

/// Allocates frames of 1920x1080 from the heap while the shell command `before` runs; returns the exit status and stderr.
fn allocate(
    context: &mut TestContext<'_>,
    count: u32,
    before: &str,
) -> anyhow::Result<(Status, String)> {
    let after = if before.is_empty() {
        ""
    } else {
        "kill $holder; wait $holder;"
    };
    let line = format!(
        "{before} covalent alloc {HEAP} --size 1920x1080 --format XR24 --count {count} > /dev/null; \
         status=$?; {after} exit $status"
    );
    let output = context.guest()?.sh(&line, LIMIT)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status, message))
}
