//! A process that has no fds left: everything says so, loses nothing, and goes on when there are fds again.

use std::fs::File;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Access, SyncDevice, Timeline, Until};
use covalent_tests::sw_sync::SwSyncTimeline;
use drm::control::Device as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{device, dumb};
use crate::{Seen, Tally};

pub(super) fn run(tally: &mut Tally) {
    tally.check("sync::process_without_fds_is_told_and_loses_nothing", told);
}

/// Does something while no fd is left.
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

fn told() -> Result<Seen> {
    let Some(found) = device()? else {
        return Ok(Seen::Skipped("no card has timelines".to_owned()));
    };
    let card = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .find(|card| card.driver() == found.driver())
        .context("the card has gone")?;
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
    let ask = || -> Vec<(&str, Option<String>)> {
        let words = |error: &dyn std::error::Error| error.to_string();
        vec![
            ("clone", fence.try_clone().err().map(|error| words(&error))),
            (
                "merge",
                fence.merge(&second).err().map(|error| words(&error)),
            ),
            ("export", timeline.export().err().map(|error| words(&error))),
            ("fence", point.fence().err().map(|error| words(&error))),
            (
                "wait",
                point
                    .wait(Until::Signalled)
                    .err()
                    .map(|error| words(&error)),
            ),
            (
                "carried",
                reservation
                    .fence_before(Access::Read)
                    .err()
                    .map(|error| words(&error)),
            ),
            (
                "poll",
                reservation
                    .wait(Access::Read)
                    .err()
                    .map(|error| words(&error)),
            ),
            (
                "device",
                SyncDevice::new(&card).err().map(|error| words(&error)),
            ),
        ]
    };
    // What needs no fd works without.
    let (answers, set) =
        without_fds(|| (ask(), timeline.point(2).map(|two| two.set_fence(&second))))?;
    set??;
    for (what, answer) in answers {
        let words = answer.with_context(|| format!("{what} went well without fds"))?;
        ensure!(words.contains("no fds left"), "{what}: {words}");
    }
    ensure!(next_handle()? == handle, "a syncobj's handle is left");
    for (what, answer) in ask() {
        ensure!(answer.is_none(), "{what}, with fds again: {answer:?}");
    }
    ensure!(next_handle()? == handle, "a syncobj's handle is left");
    Ok(Seen::Passed)
}
