//! Theme `machines`: checks that solving on the host for the recording of a guest gives the same plans as solving in the guest
//! itself.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use covalent_alloc::constraint::CpuUse;
use covalent_alloc::machine::{Difference, Job, Machine};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::solve;
use serde_json::Value;

use crate::vm::config::Config;
use crate::wire::Status;

use super::matrix::LONG_LIMIT;
use super::{Case, Outcome, TestContext};

/// The guests that every run covers: the one with all displays that need no GL, and the one whose display needs GL.
pub(super) const CASES: &[Case] = &[
    Case::new(
        "machines::virtio_recording_gives_same_plans_on_the_host",
        Config::Virtio,
        check_recording,
    )
    .full(),
    Case::new(
        "machines::bochs_recording_gives_same_plans_on_the_host",
        Config::Bochs,
        check_recording,
    )
    .full(),
    Case::new(
        "machines::vkms_recording_gives_same_plans_on_the_host",
        Config::Vkms,
        check_recording,
    )
    .full(),
    Case::new(
        "machines::venus_recording_gives_same_plans_on_the_host",
        Config::Venus,
        check_recording,
    ),
    Case::new(
        "machines::full_recording_gives_same_plans_on_the_host",
        Config::Full,
        check_recording,
    ),
];

/// The options of a `covalent plan`, and a function that sets the same request in a job of the library.
pub(super) type PlanRequest = (&'static str, fn(&mut Job));

const REQUESTS: [PlanRequest; 5] = [
    ("--camera /dev/video0 --display /dev/dri/card0", |job| {
        job.cameras.push("/dev/video0".to_owned());
        job.displays.push("/dev/dri/card0".to_owned());
    }),
    // This request has a queue that needs contiguous memory, a vgem card, which has no plane, and a number of buffers that is not
    // the default.
    (
        "--camera /dev/video2 --output /dev/video1 --display VGEM --count 6",
        |job| {
            job.cameras.push("/dev/video2".to_owned());
            job.outputs.push("/dev/video1".to_owned());
            job.count = 6;
        },
    ),
    (
        "--camera /dev/video0 --camera /dev/video2 --cpu often --format YUYV",
        |job| {
            job.cameras
                .extend(["/dev/video0".to_owned(), "/dev/video2".to_owned()]);
            job.cpu = Some(CpuUse::Often);
            job.format = Some(Fourcc::YUYV);
        },
    ),
    (
        "--camera /dev/video2 --display /dev/dri/card0 --format NV12",
        |job| {
            job.cameras.push("/dev/video2".to_owned());
            job.displays.push("/dev/dri/card0".to_owned());
            job.format = Some(Fourcc::NV12);
        },
    ),
    (
        "--camera /dev/video0 --gbm /dev/dri/card0 --vulkan --format XR24",
        |job| {
            job.cameras.push("/dev/video0".to_owned());
            job.gbm.push("/dev/dri/card0".to_owned());
            job.vulkan = true;
            job.format = Some(Fourcc::XRGB8888);
        },
    ),
];

fn check_recording(context: &mut TestContext<'_>) -> anyhow::Result<Outcome> {
    compare(context, &REQUESTS)
}

/// Records the guest, and compares the plans for the recording with the plans that the guest makes. In the options, VGEM stands
/// for the node of the guest's vgem card.
pub(super) fn compare(
    context: &mut TestContext<'_>,
    requests: &[PlanRequest],
) -> anyhow::Result<Outcome> {
    let config = context.boot().machine.config;
    let size = Extent::new(640, 480)?;
    let path = "/tmp/machine.json";
    context.sh(&format!("covalent probe --record {path}"), LONG_LIMIT)?;
    let bytes = context.guest()?.get(path)?;
    context.save_artefact("machine.json", &bytes)?;
    let machine = Machine::from_json(&bytes)?;
    let vgem = vgem(config)?;
    for (options, fill_job) in requests {
        let mut job = Job::new(size, 4);
        fill_job(&mut job);
        if options.contains("VGEM") {
            job.displays.push(vgem.clone());
        }
        let options = options.replace("VGEM", &vgem);
        let line = format!("covalent plan --size {size} {options} --json");
        let output = context.guest()?.sh(&line, LONG_LIMIT)?;
        // Exit code 4 is valid too: no buffer suits all participants, and the solution is split.
        ensure!(
            [Status::Code(0), Status::Code(4)].contains(&output.status),
            "{line} ended with {}: {}",
            output.status,
            output.text()
        );
        let mut live: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{line} printed no JSON"))?;
        // The report has a field `version`, which the library's solution lacks.
        let version = live
            .as_object_mut()
            .and_then(|fields| fields.remove("version"));
        ensure!(version == Some(1.into()), "{line}: version {version:?}");
        let recorded = serde_json::to_value(solve(&machine.request(&job)?.request))?;
        context.save_artefact("recorded.json", recorded.to_string().as_bytes())?;
        context.save_artefact("live.json", live.to_string().as_bytes())?;
        ensure!(
            recorded == live,
            "{options}: solving for the recording gives another plan than the guest"
        );
    }
    // The committed recording must be that of the same guest.
    let committed = committed(config);
    let committed = Machine::from_json(
        &std::fs::read(&committed).with_context(|| format!("reading {}", committed.display()))?,
    )?;
    if committed.environment == machine.environment {
        let difference = Difference::between(&committed, &machine);
        ensure!(
            difference.plans.is_empty(),
            "tests/machines has a recording of an older guest: record the guest again\n{}",
            difference.explain()
        );
    }
    Ok(Outcome::Passed)
}

/// Returns the node of the guest's vgem card.
fn vgem(config: Config) -> anyhow::Result<String> {
    let number = config
        .cards()
        .iter()
        .position(|driver| *driver == "vgem")
        .context("the configuration has no vgem card")?;
    Ok(format!("/dev/dri/card{number}"))
}

fn committed(config: Config) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("machines/guest-{config}.json"))
}
