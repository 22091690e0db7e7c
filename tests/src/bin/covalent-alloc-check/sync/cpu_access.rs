//! Checks CPU access: `try_access` returns the fences that the caller has to wait for, and does not block.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::buffer::CpuAccess;
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    Access, AccessDecision, AccessTracker, Accessor, CpuAccessDecision, Point, Pollable as _,
};
use covalent_alloc::sync::{SyncPoint, Timeline};
use covalent_tests::sw_sync::SwSyncTimeline;

use super::{device, dumb};
use crate::{CheckOutcome, CheckRunner};

pub(super) fn run(runner: &mut CheckRunner) {
    runner.check(
        "sync::cpu_access_with_pending_implicit_fences_returns_them_without_blocking",
        cpu_access_with_pending_implicit_fences_does_not_block,
    );
    runner.check(
        "sync::cpu_access_with_pending_points_returns_them_without_blocking",
        cpu_access_with_pending_points_does_not_block,
    );
}

/// The longest time for a call that must not block. The fences stay pending until the check signals them.
const CALL_LIMIT: Duration = Duration::from_secs(5);

fn cpu_access_with_pending_implicit_fences_does_not_block() -> Result<CheckOutcome> {
    let buffer = dumb("vgem")?;
    let mapping = buffer.map()?;
    let sw_sync = SwSyncTimeline::new()?;
    buffer.reservation().add(&sw_sync.fence(1)?, Access::Read)?;
    let called = Instant::now();
    // A reader does not have to wait for another reader.
    match mapping.try_access(CpuAccess::Read, &[])? {
        CpuAccessDecision::Granted(_) => {}
        CpuAccessDecision::Wait(waits) => bail!("a reader has to wait for {waits:?}"),
    }
    let CpuAccessDecision::Wait(waits) = mapping.try_access(CpuAccess::Write, &[])? else {
        bail!("a writer does not have to wait for a pending reader");
    };
    ensure!(called.elapsed() < CALL_LIMIT, "try_access blocked");
    ensure!(waits.len() == 1 && !waits[0].is_signalled()?, "{waits:?}");
    sw_sync.advance(1)?;
    ensure!(waits[0].is_signalled()?, "{waits:?}");
    match mapping.try_access(CpuAccess::ReadWrite, &[])? {
        CpuAccessDecision::Granted(_) => Ok(CheckOutcome::Passed),
        CpuAccessDecision::Wait(waits) => {
            bail!("after the fence is signalled, try_access returns {waits:?}")
        }
    }
}

fn cpu_access_with_pending_points_does_not_block() -> Result<CheckOutcome> {
    let Some(device) = device()? else {
        return Ok(CheckOutcome::Skipped("no card has timelines".to_owned()));
    };
    let buffer = dumb("vgem")?;
    let mapping = buffer.map()?;
    let point: Point = Timeline::create(&device)?.point(1)?;
    let (gpu, cpu) = (
        Accessor::new("gpu", [SyncMechanism::Timeline]),
        Accessor::new("processor", []),
    );
    let mut tracker: AccessTracker<SyncPoint> = AccessTracker::new("frame");
    let AccessDecision::Granted(token, _) = tracker.begin_write(&gpu)? else {
        bail!("the first access of a buffer has to wait");
    };
    tracker.end(token, Some(point.clone().into()))?;
    let AccessDecision::Wait(after) = tracker.begin_read(&cpu)? else {
        bail!("the CPU may read before the GPU has written");
    };
    // The reservation object has no fence, so implicit synchronisation of the dma-buf would not wait.
    ensure!(
        buffer.reservation().is_ready(Access::Write)?,
        "the reservation object has a pending fence, although the GPU signals a timeline point"
    );
    let CpuAccessDecision::Wait(waits) = mapping.try_access(CpuAccess::Read, &after)? else {
        bail!("try_access allows a read before the GPU has written");
    };
    let wait = waits.first().context("try_access returned no wait")?;
    ensure!(
        !wait.is_signalled()?,
        "the wait ended before the point was signalled"
    );
    point.signal()?;
    ensure!(
        wait.is_signalled()?,
        "the wait did not end with the point's signal"
    );
    let AccessDecision::Granted(token, after) = tracker.begin_read(&cpu)? else {
        bail!("the CPU has to wait for a signalled point");
    };
    match mapping.try_access(CpuAccess::Read, &after)? {
        CpuAccessDecision::Granted(_) => {}
        CpuAccessDecision::Wait(waits) => {
            bail!("after the point is signalled, try_access returns {waits:?}")
        }
    }
    tracker.end(token, None)?;
    Ok(CheckOutcome::Passed)
}
