//! Theme `board`: checks reserved memory of a devicetree on an aarch64 board. The tool must list the regions, use them in plans,
//! allocate from them, and report a missing region.
//!
//! Each devicetree is QEMU's own with overlays from `tests/board`. `dtc` and `fdtoverlay` apply the overlays, as on any board.

use std::fs;

use anyhow::{Context as _, ensure};
use covalent_alloc::machine::devicetree::Tree;
use covalent_alloc::machine::{Job, Machine, ReservedMemory};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Solution, solve};
use serde_json::{Value, json};

use crate::judge::schema;
use crate::vm::build::checkout;
use crate::vm::config::Config;
use crate::vm::devicetree::{CAMERA, Devicetree};
use crate::vm::guest::Guest;
use crate::wire::Status;

use super::context::run_checked;
use super::machines::{PlanRequest, compare};
use super::matrix::{COMMAND_LIMIT, LONG_LIMIT};
use super::{Case, Outcome, TestContext};

/// These cases run only with `--full`. Without a cache, building the board's root file system and compiling for it take ten
/// minutes.
pub(super) const CASES: &[Case] = &[
    case(
        "board::buffers_of_the_pools_heap_lie_in_the_region",
        allocation,
    ),
    case(
        "board::missing_pool_remedy_of_doctor_adds_it",
        remedy_adds_pool,
    ),
    case("board::plan_follows_the_links_of_the_tree", linked_pool),
    case("board::recording_gives_same_plans_on_the_host", recording),
    case(
        "board::regions_are_shown_with_their_heaps_and_devices",
        regions_listed,
    ),
    case("board::tree_without_regions_reports_none", without_regions),
];

const fn case(name: &'static str, run: super::Run) -> Case {
    Case::new(name, Config::Board, run).full()
}

/// A devicetree overlay: a camera with two pools, of which the first is too small for a large picture.
const NARROW: &str = include_str!("../../board/narrow.dts");
/// The devicetree property that links the camera to its pools.
const LINK: &str = "memory-region = <&statistics>, <&camera_pool>;";

/// The camera's pool in the usual devicetree and in [`NARROW`]. It has 64 MiB.
const POOL: &str = "camera-pool@60000000";
const POOL_BYTES: u64 = 64 << 20;
const POOL_WINDOW: (u64, u64) = (0x6000_0000, 0x63ff_ffff);

/// The options for a picture of eight megabytes. The kernel has no contiguous block of this size, unless the devicetree reserves
/// it.
const LARGE: &str = "--camera /dev/video0 --display /dev/dri/card0 --size 1920x1080";

/// The requests that are solved both for the recorded board and on the board itself.
const REQUESTS: [PlanRequest; 3] = [
    ("--camera /dev/video0 --display /dev/dri/card0", |job| {
        job.cameras.push("/dev/video0".to_owned());
        job.displays.push("/dev/dri/card0".to_owned());
    }),
    (
        "--camera /dev/video0 --display VGEM --count 6 --format NV12",
        |job| {
            job.cameras.push("/dev/video0".to_owned());
            job.count = 6;
            job.format = Some(Fourcc::NV12);
        },
    ),
    ("--display /dev/dri/card0 --display VGEM", |job| {
        job.displays.push("/dev/dri/card0".to_owned());
    }),
];

/// Boots a board with this devicetree. The board has no contiguous memory except the regions that the devicetree reserves.
fn boot(context: &TestContext<'_>, tree: Devicetree) -> anyhow::Result<Guest> {
    let mut boot = context.boot();
    boot.machine.contiguous_mebibytes = 0;
    boot.machine.devicetree = Some(tree);
    Ok(Guest::boot(context.image(), &boot)?)
}

/// Returns QEMU's own devicetree.
fn qemu_tree(context: &TestContext<'_>) -> anyhow::Result<Devicetree> {
    Ok(Devicetree::from_qemu(
        context.image(),
        &context.boot().machine,
    )?)
}

fn run_json(guest: &Guest, line: &str) -> anyhow::Result<Value> {
    let output = guest.sh(line, LONG_LIMIT)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{line}` ended with {}: {stderr}", output.status))
}

fn source<'a>(report: &'a Value, id: &str) -> anyhow::Result<&'a Value> {
    let sources = report["sources"]
        .as_array()
        .context("the report has no sources")?;
    sources
        .iter()
        .find(|source| source["id"] == id)
        .with_context(|| format!("no source {id} among {}", report["sources"]))
}

fn regions_listed(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let report = run_json(context.guest()?, "covalent probe --json")?;
    context.save_artefact("probe.json", report.to_string().as_bytes())?;
    let path = checkout().join("docs/schema/probe.json");
    let rules: Value = serde_json::from_slice(&fs::read(&path)?)?;
    schema::check(&rules, &report).with_context(|| path.display().to_string())?;

    let window = json!({"lowest": POOL_WINDOW.0, "highest": POOL_WINDOW.1});
    let regions = report["reserved_memory"]
        .as_array()
        .context("the report has no regions")?;
    let named = |name: &str| {
        let found = regions.iter().find(|region| region["name"] == name);
        found.with_context(|| format!("no region {name} in {regions:?}"))
    };
    ensure!(regions.len() == 2, "{regions:?}");
    let pool = named(POOL)?;
    for (field, value) in [
        ("path", json!(format!("/reserved-memory/{POOL}"))),
        ("ranges", json!([window])),
        ("size_bytes", json!(POOL_BYTES)),
        ("reusable", json!(true)),
        ("no_map", json!(false)),
        ("heaps", json!([format!("heap:{POOL}")])),
        (
            "users",
            json!([{"node": "/camera", "participants": ["vivid capture"]}]),
        ),
    ] {
        ensure!(pool[field] == value, "{field} of {pool} is not {value}");
    }
    let firmware = named("firmware@70000000")?;
    for (field, value) in [
        (
            "ranges",
            json!([{"lowest": 0x7000_0000_u64, "highest": 0x701f_ffff_u64}]),
        ),
        ("no_map", json!(true)),
        ("heaps", json!([])),
        ("users", json!([])),
    ] {
        ensure!(
            firmware[field] == value,
            "{field} of {firmware} is not {value}"
        );
    }
    // Two sources get their guarantees from the regions: the pool's dma-heap, and the camera's own memory, which the driver
    // allocates from the pool.
    for id in [
        format!("heap:{POOL}"),
        "v4l2:vivid@platform:vivid-000:capture".to_owned(),
    ] {
        let guarantees = &source(&report, &id)?["guarantees"];
        ensure!(guarantees["address"] == window, "{id}: {guarantees}");
        ensure!(
            guarantees["contiguous_up_to_bytes"] == POOL_BYTES,
            "{id}: {guarantees}"
        );
    }
    let elsewhere = &source(&report, "heap:default_cma_region")?["guarantees"];
    ensure!(elsewhere["address"] != window, "{elsewhere}");

    // The text output lists the regions too. The kernel's copy of the devicetree contains the values of the overlay.
    let text = context.sh("covalent probe", LONG_LIMIT)?.text();
    context.save_artefact("probe.txt", text.as_bytes())?;
    for line in [
        "  camera-pool@60000000: 65536 KiB at 0x60000000 to 0x63ffffff, a pool, a CMA area",
        "      allocated by heap:camera-pool@60000000",
        "      used by /camera (vivid capture)",
        "  firmware@70000000: 2048 KiB at 0x70000000 to 0x701fffff, reserved, not mapped by the kernel",
    ] {
        ensure!(text.lines().any(|own| own == line), "no {line:?} in {text}");
    }
    let reg = context
        .guest()?
        .get(&format!("/proc/device-tree/reserved-memory/{POOL}/reg"))?;
    let expected = [0_u32, 0x6000_0000, 0, 0x400_0000].map(u32::to_be_bytes);
    ensure!(reg == expected.concat(), "{reg:?}");
    Ok(Outcome::Passed)
}

fn without_regions(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let guest = boot(context, qemu_tree(context)?)?;
    let report = run_json(&guest, "covalent probe --json")?;
    ensure!(report["reserved_memory"] == json!([]), "{report}");
    let text = run_checked(&guest, "covalent probe", LONG_LIMIT)?.text();
    ensure!(
        text.contains("Reserved memory (devicetree):\n  none"),
        "{text}"
    );
    // No device needs contiguous memory, so no pool is missing.
    ensure!(
        pool_remedy(&guest)?.is_none(),
        "the doctor reports a missing pool, which no device needs"
    );
    guest.stop()?;
    Ok(Outcome::Passed)
}

/// The camera's `memory-region` property names two reserved regions; the first is too small. With this property the solver
/// chooses the dma-heap of the second region, and the trials of the plan succeed. Without it the solver chooses the memory of the
/// camera's queue, and the allocation fails, because the driver allocates from the first region.
fn linked_pool(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let board = qemu_tree(context)?.with_overlay(CAMERA)?;
    let narrow = board.with_overlay(NARROW)?;
    ensure!(
        NARROW.contains(LINK),
        "the overlay does not contain the link from the camera to its pools"
    );
    let unlinked = board.with_overlay(&NARROW.replace(LINK, ""))?;
    context.save_artefact("narrow.dts", narrow.source()?.as_bytes())?;

    let guest = boot(context, narrow.clone())?;
    let record = "covalent probe --size 1920x1080 --record /tmp/machine.json";
    run_checked(&guest, record, LONG_LIMIT)?;
    let recording = guest.get("/tmp/machine.json")?;
    context.save_artefact("machine.json", &recording)?;
    let heap = format!("heap:{POOL}");
    let plan = run_json(&guest, &format!("covalent plan {LARGE} --json"))?;
    ensure!(plan["share"]["source"] == heap.as_str(), "{plan}");
    let proved = run_checked(
        &guest,
        &format!("covalent plan {LARGE} --prove"),
        LONG_LIMIT,
    )?
    .text();
    context.save_artefact("linked.txt", proved.as_bytes())?;
    ensure!(
        proved.starts_with(&format!("dma-heap {POOL} allocates")),
        "{proved}"
    );
    ensure!(
        proved.ends_with("every participant accepted the buffer (3 trials)"),
        "{proved}"
    );

    // The same guest solves with a devicetree that has the regions, but in which the camera has no `memory-region` property.
    guest.put("/tmp/unlinked.dtb", unlinked.bytes(), 0o644)?;
    let line = format!("covalent plan {LARGE} --devicetree /tmp/unlinked.dtb");
    let plan_without_link = run_json(&guest, &format!("{line} --json"))?;
    ensure!(
        plan_without_link["share"]["source"] == "v4l2:vivid@platform:vivid-000:capture",
        "{plan_without_link}"
    );
    let trials_without_link = run_checked(&guest, &format!("{line} --prove"), LONG_LIMIT)?.text();
    context.save_artefact("unlinked.txt", trials_without_link.as_bytes())?;
    ensure!(
        trials_without_link.contains("refused plan: vivid MMAP"),
        "{trials_without_link}"
    );
    guest.stop()?;

    // On the host, the solver returns the same two plans for the recorded board with these two devicetrees.
    let mut machine = Machine::from_json(&recording)?;
    let mut job = Job::new(Extent::new(1920, 1080)?, 4);
    job.cameras.push("/dev/video0".to_owned());
    job.displays.push("/dev/dri/card0".to_owned());
    for (tree, expected) in [
        (&narrow, heap.as_str()),
        (&unlinked, "v4l2:vivid@platform:vivid-000:capture"),
    ] {
        machine.devicetree = Some(ReservedMemory::of(&Tree::from_flat(tree.bytes())?));
        let solution = solve(&machine.request(&job)?.request);
        ensure!(
            matches!(&solution, Solution::Share(plan) if plan.source().as_str() == expected),
            "not {expected}: {}",
            solution.explain()
        );
    }
    Ok(Outcome::Passed)
}

/// Returns the remedy that `covalent doctor` prints for a device without a pool; `None` if it does not report such a device.
fn pool_remedy(guest: &Guest) -> anyhow::Result<Option<String>> {
    let report = run_json(guest, "covalent doctor --json")?;
    let findings = report["findings"]
        .as_array()
        .context("the report has no findings")?;
    let found = findings
        .iter()
        .find(|finding| finding["id"] == "devicetree-pool");
    let Some(found) = found else { return Ok(None) };
    ensure!(found["severity"] == "limits", "{found}");
    let line = found["remedy"]["line"].as_str();
    Ok(Some(line.context("the finding has no remedy")?.to_owned()))
}

/// Boots a board whose camera has no pool. The remedy that `covalent doctor` prints must add one.
fn remedy_adds_pool(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let lacking = qemu_tree(context)?.with_overlay(CAMERA)?;
    let line = format!("covalent plan {LARGE} --prove");
    let guest = boot(context, lacking.clone())?;
    let remedy = pool_remedy(&guest)?.context("the doctor reports no missing pool")?;
    context.save_artefact("remedy.sh", remedy.as_bytes())?;
    let before = guest.sh(&line, LONG_LIMIT)?;
    context.save_artefact("before.txt", before.text().as_bytes())?;
    ensure!(
        before.status == Status::Code(4),
        "without a pool, `{line}` ended with {}: {}",
        before.status,
        before.text()
    );
    guest.stop()?;

    // The command of the remedy is run unchanged, and compiles the overlay.
    let tree = lacking.with_overlay_from(&remedy, "covalent-pool.dtbo")?;
    context.save_artefact("mended.dts", tree.source()?.as_bytes())?;
    let guest = boot(context, tree)?;
    ensure!(
        pool_remedy(&guest)?.is_none(),
        "the doctor still reports a missing pool"
    );
    let report = run_json(&guest, "covalent probe --json")?;
    ensure!(
        report["reserved_memory"][0]["heaps"] == json!(["heap:camera-pool"]),
        "{}",
        report["reserved_memory"]
    );
    let after = run_checked(&guest, &line, LONG_LIMIT)?.text();
    context.save_artefact("after.txt", after.as_bytes())?;
    let log = run_checked(&guest, "dmesg", COMMAND_LIMIT)?.text();
    ensure!(
        log.contains("assigned reserved memory node camera-pool"),
        "the kernel assigned no pool to the camera's driver: {log}"
    );
    let alloc = "covalent alloc heap:camera-pool --size 1920x1080 --format XR24 --count 4";
    run_checked(&guest, alloc, LONG_LIMIT)?;
    guest.stop()?;
    Ok(Outcome::Passed)
}

fn recording(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    compare(context, &REQUESTS)
}

/// Returns three counters of the kernel for a CMA region: pages that were allocated, pages that were released, and pages that are
/// free.
fn cma_counters(context: &mut TestContext<'_>, region: &str) -> anyhow::Result<[u64; 3]> {
    let folder = format!("/sys/kernel/mm/cma/{region}");
    let line = format!(
        "cat {folder}/alloc_pages_success {folder}/release_pages_success {folder}/available_pages"
    );
    let text = context.sh(&line, COMMAND_LIMIT)?.text();
    let numbers: Vec<u64> = text.lines().map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().ok().context("not three numbers")
}

fn allocation(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    let log = context.sh("dmesg", COMMAND_LIMIT)?.text();
    ensure!(
        log.contains("created CMA memory pool at 0x0000000060000000, size 64 MiB"),
        "the kernel has not created the pool: {log}"
    );
    let (before, others) = (
        cma_counters(context, POOL)?,
        cma_counters(context, "reserved")?,
    );
    let line = format!("covalent alloc heap:{POOL} --size 640x480 --format NV12 --count 3 --json");
    let report = run_json(context.guest()?, &line)?;
    let buffers = report["buffers"]
        .as_array()
        .context("the report has no buffers")?;
    ensure!(buffers.len() == 3, "{report}");
    ensure!(
        buffers.iter().all(|buffer| buffer["exporter"] == POOL),
        "{report}"
    );
    let bytes: u64 = buffers
        .iter()
        .flat_map(|buffer| buffer["memory_bytes"].as_array().into_iter().flatten())
        .filter_map(Value::as_u64)
        .map(|bytes| bytes.next_multiple_of(4096))
        .sum();
    ensure!(bytes >= 3 * 640 * 480 * 3 / 2, "{report}");
    let after = cma_counters(context, POOL)?;
    // The kernel allocated exactly these pages, only from this region, and all of them were released.
    let pages = [after[0] - before[0], after[1] - before[1]];
    ensure!(
        pages == [bytes / 4096; 2],
        "for {bytes} bytes, the kernel allocated and released {pages:?} pages"
    );
    ensure!(
        after[2] == before[2],
        "after all buffers were freed, the number of free pages differs by {}",
        before[2].abs_diff(after[2])
    );
    ensure!(
        cma_counters(context, "reserved")?[0] == others[0],
        "pages of another region were allocated"
    );

    // The camera's own buffers come from the pool too, because the devicetree links the camera to the pool.
    context.sh("covalent probe", LONG_LIMIT)?;
    ensure!(
        cma_counters(context, POOL)?[0] > after[0],
        "the camera's memory comes from another region"
    );

    // A request for more memory than the region has is refused before any page is allocated.
    let line = format!("covalent alloc heap:{POOL} --size 1920x1080 --format XR24 --count 9");
    let output = context.guest()?.sh(&line, LONG_LIMIT)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status == Status::Code(4) && stderr.contains(POOL),
        "allocating nine buffers of 8 MB from 64 MiB ends with {}: {stderr}",
        output.status
    );
    ensure!(
        cma_counters(context, POOL)?[2] == before[2],
        "the number of free pages of {POOL} changed, although the allocation was refused"
    );
    Ok(Outcome::Passed)
}
