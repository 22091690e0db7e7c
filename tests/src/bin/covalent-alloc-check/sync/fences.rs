//! Fences of sw_sync: what they are before and after, merged and failed.

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::sync::{Fence, FenceError, FenceStatus, Pollable as _, Timeline};
use covalent_tests::held::{Held, signalled, unsignalled};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::{device, dumb};
use crate::{Seen, Tally};

pub(super) fn run(tally: &mut Tally) {
    tally.check("sync::fence_signals_when_its_driver_says_so", one);
    tally.check("sync::fences_merged_signal_with_the_last", merged);
    tally.check("sync::fence_of_a_driver_that_is_gone_has_failed", failed);
    tally.check("sync::fd_that_is_no_fence_is_refused", hostile);
}

fn now() -> Result<Duration> {
    let now = clock_gettime(ClockId::Monotonic);
    Ok(Duration::new(
        u64::try_from(now.tv_sec)?,
        u32::try_from(now.tv_nsec)?,
    ))
}

fn one() -> Result<Seen> {
    let driver = Held::new()?;
    let fence = driver.fence(1)?;
    ensure!(fence.signalled_at()?.is_none(), "it says when it signalled");
    let parts = fence.parts()?;
    let [part] = parts.as_slice() else {
        bail!("{parts:?}")
    };
    ensure!(part.driver == "sw_sync", "{part:?}");
    let before = now()?;
    driver.advance(1)?;
    signalled(&fence)?;
    let at = fence.signalled_at()?.context("it does not say when")?;
    ensure!(
        (before..=now()?).contains(&at),
        "it signalled at {at:?}, and was told to at {before:?}"
    );
    signalled(&fence.try_clone()?)?;
    Ok(Seen::Passed)
}

fn merged() -> Result<Seen> {
    let (one, other) = (Held::new()?, Held::new()?);
    let fences = [one.fence(1)?, other.fence(1)?, one.fence(2)?];
    let all = Fence::merge_all(&fences)?.context("none")?;
    // Of one timeline the later fence is enough.
    ensure!(all.parts()?.len() == 2, "{:?}", all.parts()?);
    // Out of their order.
    other.advance(1)?;
    unsignalled(&all)?;
    ensure!(all.signalled_at()?.is_none(), "it says when");
    one.advance(1)?;
    unsignalled(&all)?;
    one.advance(1)?;
    signalled(&all)?;
    let last = fences[2].signalled_at()?;
    ensure!(last.is_some() && all.signalled_at()? == last, "at {last:?}");
    Ok(Seen::Passed)
}

fn failed() -> Result<Seen> {
    let (gone, stays) = (Held::new()?, Held::new()?);
    let (fence, good) = (gone.fence(1)?, stays.fence(1)?);
    let both = fence.merge(&good)?;
    drop(gone);
    let expected = FenceStatus::Failed(Errno::NOENT);
    ensure!(fence.status()? == expected, "it is {:?}", fence.status()?);
    ensure!(fence.is_signalled()?, "who waits for it waits for ever");
    unsignalled(&both)?;
    stays.advance(1)?;
    ensure!(both.status()? == expected, "it is {:?}", both.status()?);
    ensure!(both.is_signalled()?, "who waits for both waits for ever");
    Ok(Seen::Passed)
}

fn hostile() -> Result<Seen> {
    let buffer = dumb("vgem")?;
    let dmabuf = buffer.dmabuf_fd(0).context("no memory")?;
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
            other => bail!("{name}: {other:?}"),
        }
    }
    Ok(Seen::Passed)
}
