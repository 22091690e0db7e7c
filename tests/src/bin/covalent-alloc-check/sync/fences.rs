//! Checks sync_files of sw_sync: their status before and after the signal, merged fences, and fences with an error.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::sync::{Fence, FenceError, FenceStatus, Pollable as _, Timeline};
use covalent_tests::sw_sync::{SwSyncTimeline, check_signalled, check_unsignalled};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::{device, dumb};
use crate::{CheckOutcome, CheckRunner};

pub(super) fn run(runner: &mut CheckRunner) {
    runner.check(
        "sync::fence_is_signalled_when_its_timeline_advances",
        fence_is_signalled_when_its_timeline_advances,
    );
    runner.check(
        "sync::merged_fence_is_signalled_with_its_last_part",
        merged_fence_is_signalled_with_its_last_part,
    );
    runner.check(
        "sync::fence_of_a_closed_timeline_has_an_error",
        fence_of_a_closed_timeline_has_an_error,
    );
    runner.check(
        "sync::fd_that_is_no_sync_file_is_refused",
        fd_that_is_no_sync_file_is_refused,
    );
}

fn now() -> Result<Duration> {
    let now = clock_gettime(ClockId::Monotonic);
    Ok(Duration::new(
        u64::try_from(now.tv_sec)?,
        u32::try_from(now.tv_nsec)?,
    ))
}

fn fence_is_signalled_when_its_timeline_advances() -> Result<CheckOutcome> {
    let driver = SwSyncTimeline::new()?;
    let fence = driver.fence(1)?;
    ensure!(
        fence.signalled_at()?.is_none(),
        "an unsignalled fence has a timestamp"
    );
    let parts = fence.parts()?;
    let [part] = parts.as_slice() else {
        bail!("the sync_file should hold one fence and holds {parts:?}")
    };
    ensure!(part.driver == "sw_sync", "{part:?}");
    let before = now()?;
    driver.advance(1)?;
    check_signalled(&fence)?;
    let at = fence
        .signalled_at()?
        .context("a signalled fence has no timestamp")?;
    ensure!(
        (before..=now()?).contains(&at),
        "the fence's timestamp is {at:?}, but the timeline advanced after {before:?}"
    );
    check_signalled(&fence.try_clone()?)?;
    Ok(CheckOutcome::Passed)
}

fn merged_fence_is_signalled_with_its_last_part() -> Result<CheckOutcome> {
    let (one, other) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    let fences = [one.fence(1)?, other.fence(1)?, one.fence(2)?];
    let all = Fence::merge_all(&fences)?.context("no fence was merged")?;
    // The merged sync_file holds only the latest fence of each timeline.
    ensure!(all.parts()?.len() == 2, "{:?}", all.parts()?);
    // The fences are signalled in another order than that in which they were merged.
    other.advance(1)?;
    check_unsignalled(&all)?;
    ensure!(
        all.signalled_at()?.is_none(),
        "an unsignalled fence has a timestamp"
    );
    one.advance(1)?;
    check_unsignalled(&all)?;
    one.advance(1)?;
    check_signalled(&all)?;
    let last = fences[2].signalled_at()?;
    ensure!(
        last.is_some() && all.signalled_at()? == last,
        "the merged fence's timestamp is not that of its last part, {last:?}"
    );
    Ok(CheckOutcome::Passed)
}

fn fence_of_a_closed_timeline_has_an_error() -> Result<CheckOutcome> {
    let (closed, open) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    let (fence, good) = (closed.fence(1)?, open.fence(1)?);
    let both = fence.merge(&good)?;
    drop(closed);
    let expected = FenceStatus::Failed(Errno::NOENT.into());
    ensure!(
        fence.status()? == expected,
        "the fence is {:?}",
        fence.status()?
    );
    ensure!(
        fence.is_signalled()?,
        "a wait for the failed fence never ends"
    );
    check_unsignalled(&both)?;
    open.advance(1)?;
    ensure!(
        both.status()? == expected,
        "the merged fence is {:?}",
        both.status()?
    );
    ensure!(
        both.is_signalled()?,
        "a wait for the merged fence never ends"
    );
    Ok(CheckOutcome::Passed)
}

fn fd_that_is_no_sync_file_is_refused() -> Result<CheckOutcome> {
    let buffer = dumb("vgem")?;
    let dmabuf = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let memfd = rustix::fs::memfd_create("no fence", rustix::fs::MemfdFlags::CLOEXEC)?;
    let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
    let mut others: Vec<(&str, OwnedFd)> = vec![
        ("a dma-buf", dmabuf.try_clone_to_owned()?),
        ("a memfd", memfd),
        ("an eventfd", eventfd),
        ("/dev/null", File::open("/dev/null")?.into()),
    ];
    if let Some(device) = device()? {
        others.push(("a timeline", Timeline::create(&device)?.export()?));
    }
    for (name, fd) in others {
        match Fence::import(fd.as_fd().try_clone_to_owned()?) {
            Err(FenceError::NotFence { .. }) => {}
            other => bail!("the import of {name} returned {other:?}"),
        }
    }
    Ok(CheckOutcome::Passed)
}
