//! The processor's turn: it says for what it would have to wait, and does not.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::buffer::CpuAccess;
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    Access, AccessDecision, AccessTracker, Accessor, CpuAccessDecision, Point, Pollable as _,
};
use covalent_alloc::sync::{SyncPoint, Timeline};
use covalent_tests::held::Held;

use super::{device, dumb};
use crate::{Seen, Tally};

pub(super) fn run(tally: &mut Tally) {
    tally.check(
        "sync::processor_is_told_of_carried_fences_and_does_not_sleep",
        carried,
    );
    tally.check(
        "sync::processor_is_told_of_points_that_no_buffer_carries",
        explicit,
    );
}

/// What no question may take: a fence of this check is held for as long as it likes.
const AT_ONCE: Duration = Duration::from_secs(5);

fn carried() -> Result<Seen> {
    let buffer = dumb("vgem")?;
    let mapping = buffer.map()?;
    let held = Held::new()?;
    buffer.reservation().add(&held.fence(1)?, Access::Read)?;
    let asked = Instant::now();
    // Readers do not wait for a reader.
    match mapping.try_access(CpuAccess::Read, &[])? {
        CpuAccessDecision::Granted(_) => {}
        CpuAccessDecision::Wait(waits) => bail!("a reader waits for {waits:?}"),
    }
    let CpuAccessDecision::Wait(waits) = mapping.try_access(CpuAccess::Write, &[])? else {
        bail!("it writes what is read");
    };
    ensure!(asked.elapsed() < AT_ONCE, "it slept");
    ensure!(waits.len() == 1 && !waits[0].is_signalled()?, "{waits:?}");
    held.advance(1)?;
    ensure!(waits[0].is_signalled()?, "{waits:?}");
    match mapping.try_access(CpuAccess::ReadWrite, &[])? {
        CpuAccessDecision::Granted(_) => Ok(Seen::Passed),
        CpuAccessDecision::Wait(waits) => bail!("it still waits for {waits:?}"),
    }
}

fn explicit() -> Result<Seen> {
    let Some(device) = device()? else {
        return Ok(Seen::Skipped("no card has timelines".to_owned()));
    };
    let buffer = dumb("vgem")?;
    let mapping = buffer.map()?;
    let point: Point = Timeline::create(&device)?.point(1)?;
    let (gpu, processor) = (
        Accessor::new("gpu", [SyncMechanism::Timeline]),
        Accessor::new("processor", []),
    );
    let mut ledger: AccessTracker<SyncPoint> = AccessTracker::new("frame");
    let AccessDecision::Granted(turn, _) = ledger.begin_write(&gpu)? else {
        bail!("nobody has it");
    };
    ledger.end(turn, Some(point.clone().into()))?;
    let AccessDecision::Wait(after) = ledger.begin_read(&processor)? else {
        bail!("the processor was given what is not written");
    };
    // The dma-buf itself knows of nothing: the guard alone would not wait.
    ensure!(
        buffer.reservation().is_ready(Access::Write)?,
        "it carries a fence"
    );
    let CpuAccessDecision::Wait(waits) = mapping.try_access(CpuAccess::Read, &after)? else {
        bail!("it reads what is not written");
    };
    let wait = waits.first().context("nothing to poll")?;
    ensure!(!wait.is_signalled()?, "it is over before the point");
    point.signal()?;
    ensure!(wait.is_signalled()?, "it goes on");
    let AccessDecision::Granted(turn, after) = ledger.begin_read(&processor)? else {
        bail!("it still waits");
    };
    match mapping.try_access(CpuAccess::Read, &after)? {
        CpuAccessDecision::Granted(_) => {}
        CpuAccessDecision::Wait(waits) => bail!("it still waits for {waits:?}"),
    }
    ledger.end(turn, None)?;
    Ok(Seen::Passed)
}
