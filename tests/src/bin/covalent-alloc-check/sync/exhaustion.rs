//! Checks a process that has no free file descriptor: every operation reports this, leaks nothing, and works again when fds are
//! free.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Access, SyncDevice, Timeline, Until};
use covalent_tests::sw_sync::SwSyncTimeline;
use drm::control::Device as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{device, dumb};
use crate::{CheckOutcome, CheckRunner};

pub(super) fn run(runner: &mut CheckRunner) {
    runner.check(
        "sync::operations_without_fds_report_it_and_leak_nothing",
        operations_without_fds_report_it_and_leak_nothing,
    );
}

/// Calls `act` while the process has no free file descriptor.
fn without_fds<T>(act: impl FnOnce() -> T) -> Result<T> {
    let used = covalent_tests::judge::process::fd_count(std::process::id())?;
    let before = getrlimit(Resource::Nofile);
    let null = File::open("/dev/null")?;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(u64::try_from(used)? + 8),
            maximum: before.maximum,
        },
    )?;
    let mut all = Vec::new();
    while let Ok(another) = null.try_clone() {
        all.push(another);
    }
    let outcome = act();
    drop(all);
    setrlimit(Resource::Nofile, before)?;
    Ok(outcome)
}

fn operations_without_fds_report_it_and_leak_nothing() -> Result<CheckOutcome> {
    let Some(found) = device()? else {
        return Ok(CheckOutcome::Skipped("no card has timelines".to_owned()));
    };
    let card = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .find(|card| card.driver() == found.driver())
        .context("the card disappeared")?;
    let device = SyncDevice::new(&card)?;
    let next_handle = || -> Result<u32> {
        let handle = card.create_syncobj(false)?;
        card.destroy_syncobj(handle)?;
        Ok(handle.into())
    };
    let buffer = dumb("vgem")?;
    let reservation = buffer.reservation();
    let (one, other) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    let (fence, second) = (one.fence(1)?, other.fence(1)?);
    reservation.add(&fence, Access::Write)?;
    let timeline = Timeline::create(&device)?;
    let point = timeline.point(1)?;
    point.set_fence(&fence)?;
    let handle = next_handle()?;
    let errors = || -> Vec<(&str, Option<String>)> {
        let text = |error: &dyn std::error::Error| error.to_string();
        vec![
            ("clone", fence.try_clone().err().map(|error| text(&error))),
            (
                "merge",
                fence.merge(&second).err().map(|error| text(&error)),
            ),
            ("export", timeline.export().err().map(|error| text(&error))),
            ("fence", point.fence().err().map(|error| text(&error))),
            (
                "wait",
                point.wait(Until::Signalled).err().map(|error| text(&error)),
            ),
            (
                "carried",
                reservation
                    .fence_before(Access::Read)
                    .err()
                    .map(|error| text(&error)),
            ),
            (
                "poll",
                reservation
                    .wait(Access::Read)
                    .err()
                    .map(|error| text(&error)),
            ),
            (
                "device",
                SyncDevice::new(&card).err().map(|error| text(&error)),
            ),
        ]
    };
    // DRM_IOCTL_SYNCOBJ_TRANSFER needs no fd, so it succeeds without free fds.
    let (found, set) = without_fds(|| {
        (
            errors(),
            timeline.point(2).map(|two| two.set_fence(&second)),
        )
    })?;
    set??;
    for (operation, error) in found {
        let error = error.with_context(|| format!("{operation} succeeded without free fds"))?;
        ensure!(
            error.contains("no file descriptors left"),
            "{operation}: {error}"
        );
    }
    ensure!(next_handle()? == handle, "a syncobj handle was leaked");
    for (operation, error) in errors() {
        ensure!(
            error.is_none(),
            "{operation} fails although fds are free again: {error:?}"
        );
    }
    ensure!(next_handle()? == handle, "a syncobj handle was leaked");
    Ok(CheckOutcome::Passed)
}
