//! Buffers handed from device to device in every pair of languages, with fences held back for random times. Each frame's
//! pixels are its number, so that who comes too early or too late sees another's.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    Access, AccessDecision, AccessKind, AccessToken, AccessTracker, AccessTrackerError, Accessor,
    Acquire, FenceState, PriorAccess, SyncDevice, SyncPoint, TrackedFence as _, export_wait,
};
use covalent_tests::witness::sys::Pixels;

use super::device::{Device, Random, Shared, sleep_until};
use super::{device, dumb};
use crate::{Seen, Tally};

/// Hand-overs behind a moment that was seen pending.
const HANDOVERS: u32 = 10_000;
const BUFFERS: usize = 6;
const SLOWEST: Duration = Duration::from_micros(800);

pub(super) fn run(tally: &mut Tally) {
    tally.check(
        "sync::10000_handovers_behind_held_fences_arrive_in_order",
        || {
            let Some(syncobjs) = device()? else {
                return Ok(Seen::Skipped("no card has timelines".to_owned()));
            };
            let seen = pipeline(&syncobjs, &[], HANDOVERS)?;
            println!("note handovers: {seen:?}");
            ensure!(
                seen.wrong == 0,
                "{} frames were wrong: {seen:?}",
                seen.wrong
            );
            ensure!(seen.pending >= HANDOVERS, "{seen:?}");
            ensure!(seen.out_of_order > 0, "all fences signalled in their order");
            ensure!(
                seen.told.iter().all(|count| *count > 0),
                "a language was never spoken: {seen:?}"
            );
            Ok(Seen::Passed)
        },
    );
    let deaf: [(&str, &[SyncMechanism]); 4] = [
        (
            "all",
            &[
                SyncMechanism::SyncFile,
                SyncMechanism::Timeline,
                SyncMechanism::Implicit,
            ],
        ),
        ("sync_files", &[SyncMechanism::SyncFile]),
        ("points", &[SyncMechanism::Timeline]),
        ("carried_fences", &[SyncMechanism::Implicit]),
    ];
    for (what, deaf) in deaf {
        let name = format!("sync::handovers_that_do_not_wait_for_{what}_arrive_in_disorder");
        tally.check(&name, || {
            let Some(syncobjs) = device()? else {
                return Ok(Seen::Skipped("no card has timelines".to_owned()));
            };
            let seen = pipeline(&syncobjs, deaf, 1_000)?;
            println!("note handovers: {seen:?}");
            ensure!(
                seen.wrong > 0,
                "nobody comes too early, so the other check sees nothing: {seen:?}"
            );
            Ok(Seen::Passed)
        });
    }
}

/// What a run has seen.
#[derive(Debug, Default)]
struct Run {
    frames: u32,
    /// Hand-overs behind a moment that was seen pending.
    pending: u32,
    /// DeviceSync that were over before one that was handed out earlier.
    out_of_order: u32,
    /// Hand-overs by sync_file, point, reservation, and by waiting.
    told: [u32; 4],
    wrong: u32,
    /// Devices that were done before what they had to wait for, as the ledger saw.
    caught: u32,
}

fn pipeline(syncobjs: &SyncDevice, deaf: &[SyncMechanism], handovers: u32) -> Result<Run> {
    let languages = [
        ("sync_file", Some(SyncMechanism::SyncFile)),
        ("timeline", Some(SyncMechanism::Timeline)),
        ("implicit", Some(SyncMechanism::Implicit)),
        ("mute", None),
    ];
    let start = |role: &str| -> Result<Vec<Device>> {
        (1..)
            .zip(languages)
            .map(|(seed, (name, language))| {
                let name = format!("{name} {role}");
                let seed = seed + u64::try_from(role.len())? * 7919;
                Device::start(&name, language, syncobjs, seed, SLOWEST)
            })
            .collect()
    };
    let (mut writers, mut readers) = (start("writer")?, start("reader")?);
    let mut buffers = Vec::new();
    for number in 0..BUFFERS {
        let buffer = dumb("vgem")?;
        let pixels = Arc::new(Pixels::map(buffer.dmabuf_fd(0).context("no memory")?)?);
        let shared = Arc::new(Shared { buffer, pixels });
        buffers.push((shared, AccessTracker::new(format!("buffer {number}"))));
    }
    let mut random = Random(0x5eed_c0de);
    let mut run = Run::default();
    let mut last: Vec<Option<SyncPoint>> = vec![None; BUFFERS];
    while run.pending < handovers && run.frames < handovers * 4 {
        run.frames += 1;
        let place = random.choose(BUFFERS);
        let (shared, ledger) = &mut buffers[place];
        // A mute device ends its turn when it is done, which holds this thread up: rarely, or nothing would overlap.
        // It cannot be deaf: without the ledger's waits it gets no turn at all.
        let mut pick = || match random.choose(16) {
            0 if deaf.is_empty() => 3,
            other => other % 3,
        };
        let (writer, reader) = (&mut writers[pick()], &mut readers[pick()]);
        for (device, access) in [(writer, Access::Write), (reader, Access::Read)] {
            let behind = turn(ledger, device, shared, access, deaf, &mut run)?;
            let over = |moment: &Option<SyncPoint>| {
                moment
                    .as_ref()
                    .is_some_and(|moment| moment.state() == FenceState::Signalled)
            };
            // The one that was handed out last is over and an earlier one is not.
            let earlier = last.iter().flatten().next();
            if earlier.is_some_and(|moment| moment.state() == FenceState::Pending)
                && last.iter().skip(1).any(over)
            {
                run.out_of_order += 1;
            }
            last.rotate_left(1);
            last.pop();
            last.push(behind);
        }
    }
    for device in writers.into_iter().chain(readers) {
        run.wrong += device.stop()?;
    }
    Ok(run)
}

/// One turn of one device, which is told what the ledger says, or, where it is deaf, nothing.
fn turn(
    ledger: &mut AccessTracker<SyncPoint>,
    device: &mut Device,
    shared: &Arc<Shared>,
    access: Access,
    deaf: &[SyncMechanism],
    run: &mut Run,
) -> Result<Option<SyncPoint>> {
    match access {
        Access::Read => act(
            ledger,
            AccessTracker::begin_read,
            device,
            shared,
            access,
            deaf,
            run,
        ),
        Access::Write => act(
            ledger,
            AccessTracker::begin_write,
            device,
            shared,
            access,
            deaf,
            run,
        ),
    }
}

type Ask<K> = fn(
    &mut AccessTracker<SyncPoint>,
    &Accessor,
) -> Result<AccessDecision<K, SyncPoint>, AccessTrackerError>;

fn act<K: AccessKind>(
    ledger: &mut AccessTracker<SyncPoint>,
    ask: Ask<K>,
    device: &mut Device,
    shared: &Arc<Shared>,
    access: Access,
    deaf: &[SyncMechanism],
    run: &mut Run,
) -> Result<Option<SyncPoint>> {
    let mut seen_pending = false;
    let (turn, after): (AccessToken<K>, Vec<PriorAccess<SyncPoint>>) = loop {
        match ask(ledger, &device.party)? {
            AccessDecision::Granted(turn, after) => break (turn, after),
            AccessDecision::Wait(after) => {
                run.told[3] += 1;
                for past in after {
                    seen_pending |= past.fence.state() == FenceState::Pending;
                    sleep_until(&past.fence.wait()?)?;
                }
            }
        }
    };
    seen_pending |= after
        .iter()
        .any(|past| past.fence.state() == FenceState::Pending);
    run.pending += u32::from(seen_pending);
    let told = match device.language {
        Some(language) if !deaf.contains(&language) => loop {
            let room = device.room()?;
            match export_wait(&shared.buffer, &after, language, Some(&room))? {
                Acquire::NotSubmitted(waits) => {
                    for wait in waits {
                        sleep_until(&wait)?;
                    }
                }
                told => break told,
            }
        },
        _ => Acquire::NoWait,
    };
    match &told {
        Acquire::Fence(_) => run.told[0] += 1,
        Acquire::Point(_) => run.told[1] += 1,
        Acquire::Implicit => run.told[2] += 1,
        Acquire::NoWait => {}
        other => bail!("{other:?}"),
    }
    let behind = device.submit(shared, access, run.frames, told)?;
    if behind.is_none() && !device.next_done()? {
        run.wrong += 1;
    }
    match ledger.end(turn, behind.clone()) {
        // Found out where it was so early that the ledger could see it.
        Err(AccessTrackerError::DidNotWait { .. }) if !deaf.is_empty() => run.caught += 1,
        ended => ended?,
    }
    Ok(behind)
}
