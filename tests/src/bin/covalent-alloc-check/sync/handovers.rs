//! Passes buffers between simulated devices with every pair of synchronisation mechanisms, with fences that are signalled after
//! random delays. The pixels of each frame contain its number. A device that reads too early or writes too late therefore
//! produces a wrong frame.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    Access, AccessDecision, AccessKind, AccessToken, AccessTracker, AccessTrackerError, Accessor,
    Acquire, FenceState, PriorAccess, SyncDevice, SyncPoint, TrackedFence as _, export_wait,
};
use covalent_tests::check_support::sys::Pixels;

use super::device::{Device, Random, Shared, sleep_until};
use super::{device, dumb};
use crate::{CheckOutcome, CheckRunner};

/// The number of accesses that must follow a fence that was observed as pending.
const HANDOVERS: u32 = 10_000;
const BUFFERS: usize = 6;
/// The longest time for which an access is delayed.
const SLOWEST: Duration = Duration::from_micros(800);

pub(super) fn run(runner: &mut CheckRunner) {
    runner.check(
        "sync::10000_accesses_after_pending_fences_see_the_right_pixels",
        || {
            let Some(syncobjs) = device()? else {
                return Ok(CheckOutcome::Skipped("no card has timelines".to_owned()));
            };
            let result = pipeline(&syncobjs, &[], HANDOVERS)?;
            println!("note handovers: {result:?}");
            ensure!(
                result.wrong == 0,
                "{} frames had wrong pixels: {result:?}",
                result.wrong
            );
            ensure!(
                result.pending >= HANDOVERS,
                "too few accesses followed a pending fence: {result:?}"
            );
            ensure!(
                result.out_of_order > 0,
                "all fences were signalled in the order in which they were created, so no reordering was tested"
            );
            ensure!(
                result.acquires.iter().all(|count| *count > 0),
                "a synchronisation mechanism was never used: {result:?}"
            );
            Ok(CheckOutcome::Passed)
        },
    );
    let faults: [(&str, &[SyncMechanism]); 4] = [
        (
            "all_fences",
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
    for (what, ignored) in faults {
        let name = format!("sync::devices_that_ignore_{what}_see_wrong_pixels");
        runner.check(&name, || {
            let Some(syncobjs) = device()? else {
                return Ok(CheckOutcome::Skipped("no card has timelines".to_owned()));
            };
            let result = pipeline(&syncobjs, ignored, 1_000)?;
            println!("note handovers: {result:?}");
            ensure!(
                result.wrong > 0,
                "no frame was wrong although devices did not wait, so the check of correct devices detects nothing: {result:?}"
            );
            Ok(CheckOutcome::Passed)
        });
    }
}

/// The counters of one run of the simulated pipeline.
#[derive(Debug, Default)]
struct PipelineResult {
    frames: u32,
    /// The number of accesses that followed a fence that was observed as pending.
    pending: u32,
    /// The number of fences that were signalled before a fence that was created earlier.
    out_of_order: u32,
    /// The number of accesses that waited by a sync_file, by a timeline point, by the reservation object, and in this process.
    acquires: [u32; 4],
    wrong: u32,
    /// The number of accesses that completed before the fence for which they had to wait, as the access tracker reported.
    caught: u32,
}

/// Passes buffers from writers to readers until `handovers` accesses followed a pending fence. Devices with one of the `ignored`
/// mechanisms do not wait for fences.
fn pipeline(
    syncobjs: &SyncDevice,
    ignored: &[SyncMechanism],
    handovers: u32,
) -> Result<PipelineResult> {
    let mechanisms = [
        ("sync_file", Some(SyncMechanism::SyncFile)),
        ("timeline", Some(SyncMechanism::Timeline)),
        ("implicit", Some(SyncMechanism::Implicit)),
        ("no fences", None),
    ];
    let start = |role: &str| -> Result<Vec<Device>> {
        (1..)
            .zip(mechanisms)
            .map(|(seed, (name, mechanism))| {
                let name = format!("{name} {role}");
                let seed = seed + u64::try_from(role.len())? * 7919;
                Device::start(&name, mechanism, syncobjs, seed, SLOWEST)
            })
            .collect()
    };
    let (mut writers, mut readers) = (start("writer")?, start("reader")?);
    let mut buffers = Vec::new();
    for number in 0..BUFFERS {
        let buffer = dumb("vgem")?;
        let pixels = Arc::new(Pixels::map(
            buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?,
        )?);
        let shared = Arc::new(Shared { buffer, pixels });
        buffers.push((shared, AccessTracker::new(format!("buffer {number}"))));
    }
    let mut random = Random(0x5eed_c0de);
    let mut result = PipelineResult::default();
    let mut last: Vec<Option<SyncPoint>> = vec![None; BUFFERS];
    while result.pending < handovers && result.frames < handovers * 4 {
        result.frames += 1;
        let index = random.choose(BUFFERS);
        let (shared, tracker) = &mut buffers[index];
        // An access of a device without fences blocks this thread until the device's work is complete. Such a device is chosen
        // rarely, because otherwise no accesses would overlap. This thread waits for the fences on behalf of the device, so the
        // device cannot ignore fences.
        let mut pick = || match random.choose(16) {
            0 if ignored.is_empty() => 3,
            other => other % 3,
        };
        let (writer, reader) = (&mut writers[pick()], &mut readers[pick()]);
        for (device, access) in [(writer, Access::Write), (reader, Access::Read)] {
            let completion = access_buffer(tracker, device, shared, access, ignored, &mut result)?;
            let is_over = |completion: &Option<SyncPoint>| {
                completion
                    .as_ref()
                    .is_some_and(|completion| completion.state() == FenceState::Signalled)
            };
            // A fence that was created later is signalled while the oldest fence is pending.
            let oldest = last.iter().flatten().next();
            if oldest.is_some_and(|completion| completion.state() == FenceState::Pending)
                && last.iter().skip(1).any(is_over)
            {
                result.out_of_order += 1;
            }
            last.rotate_left(1);
            last.pop();
            last.push(completion);
        }
    }
    for device in writers.into_iter().chain(readers) {
        result.wrong += device.stop()?;
    }
    Ok(result)
}

/// Performs one access of one device. The device waits as the access tracker requires, or does not wait if its mechanism is
/// `ignored`.
fn access_buffer(
    tracker: &mut AccessTracker<SyncPoint>,
    device: &mut Device,
    shared: &Arc<Shared>,
    access: Access,
    ignored: &[SyncMechanism],
    result: &mut PipelineResult,
) -> Result<Option<SyncPoint>> {
    match access {
        Access::Read => perform(
            tracker,
            AccessTracker::begin_read,
            device,
            shared,
            access,
            ignored,
            result,
        ),
        Access::Write => perform(
            tracker,
            AccessTracker::begin_write,
            device,
            shared,
            access,
            ignored,
            result,
        ),
    }
}

/// The function [`AccessTracker::begin_read`] or [`AccessTracker::begin_write`].
type BeginAccess<K> = fn(
    &mut AccessTracker<SyncPoint>,
    &Accessor,
) -> Result<AccessDecision<K, SyncPoint>, AccessTrackerError>;

/// Performs one access of a device: begins it as soon as the tracker grants it, exports what the device has to wait for, submits
/// the job, and counts in `result` what happened. Returns the completion of the job; `None` if the job is complete.
fn perform<K: AccessKind>(
    tracker: &mut AccessTracker<SyncPoint>,
    begin: BeginAccess<K>,
    device: &mut Device,
    shared: &Arc<Shared>,
    access: Access,
    ignored: &[SyncMechanism],
    result: &mut PipelineResult,
) -> Result<Option<SyncPoint>> {
    let mut seen_pending = false;
    let (token, after): (AccessToken<K>, Vec<PriorAccess<SyncPoint>>) = loop {
        match begin(tracker, &device.accessor)? {
            AccessDecision::Granted(token, after) => break (token, after),
            AccessDecision::Wait(after) => {
                result.acquires[3] += 1;
                for prior in after {
                    seen_pending |= prior.fence.state() == FenceState::Pending;
                    sleep_until(&prior.fence.wait()?)?;
                }
            }
        }
    };
    seen_pending |= after
        .iter()
        .any(|prior| prior.fence.state() == FenceState::Pending);
    result.pending += u32::from(seen_pending);
    let acquire = match device.mechanism {
        Some(mechanism) if !ignored.contains(&mechanism) => loop {
            let point = device.next_acquire_point()?;
            match export_wait(&shared.buffer, &after, mechanism, Some(&point))? {
                Acquire::NotSubmitted(waits) => {
                    for wait in waits {
                        sleep_until(&wait)?;
                    }
                }
                acquire => break acquire,
            }
        },
        _ => Acquire::NoWait,
    };
    match &acquire {
        Acquire::Fence(_) => result.acquires[0] += 1,
        Acquire::Point(_) => result.acquires[1] += 1,
        Acquire::Implicit => result.acquires[2] += 1,
        Acquire::NoWait => {}
        other => bail!("export_wait returned {other:?}"),
    }
    let completion = device.submit(shared, access, result.frames, acquire)?;
    if completion.is_none() && !device.next_done()? {
        result.wrong += 1;
    }
    match tracker.end(token, completion.clone()) {
        // The device did not wait, and completed before the fence, so the tracker reports it.
        Err(AccessTrackerError::DidNotWait { .. }) if !ignored.is_empty() => result.caught += 1,
        ended => ended?,
    }
    Ok(completion)
}
