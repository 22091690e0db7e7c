//! DeviceSync of Vulkan devices, to and from sync_files and timelines, behind fences that are held back.
//!
//! lavapipe makes a sync_file only when its work is done, so what comes out of it is never seen pending. That is said of it
//! (`Gpu::exports_wait`) and held against it here: an export returns when the fence before it is signalled, and not before.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Gpu, Submission, VulkanError};
use covalent_alloc::sync::{Fence, Pollable as _, SyncDevice, Timeline};
use covalent_tests::witness::Sources;

use super::{device, dumb};
use crate::{Seen, Tally};
use covalent_tests::held::{Held, signalled};
use covalent_tests::witness::pixels::{pattern, read, same, write};

/// Longer than a device takes that does not wait for what it should.
const BLINK: Duration = Duration::from_millis(200);

/// Enough for an emulated processor that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

type Check = fn(&Gpu) -> Result<Seen>;

const CHECKS: &[(&str, Check)] = &[
    ("it_says_what_it_does_with_moments", says),
    ("work_waits_for_a_sync_file", sync_file_to_semaphore),
    (
        "work_leaves_as_a_sync_file_and_not_too_early",
        semaphore_to_sync_file,
    ),
    ("fence_signals_with_a_sync_file", sync_file_to_fence),
    (
        "fence_leaves_as_a_sync_file_and_not_too_early",
        fence_to_sync_file,
    ),
    ("point_goes_through_work_to_another_point", between_points),
    ("work_waits_for_a_point_that_nobody_has_submitted", timeline),
    ("timeline_that_is_not_shared_says_so", unshared),
    ("moment_of_nobody_is_refused", unsubmitted),
    ("copy_behind_a_held_fence_touches_nothing_before", copy),
    ("work_dropped_while_held_back_ends_later", dropped),
    ("thousand_moments_leave_nothing_behind", many),
];

pub(super) fn run(tally: &mut Tally) {
    let sources = Sources::discover_with_drivers();
    let mut tried = 0;
    for gpu in sources.gpus().filter(|gpu| gpu.is_processor()) {
        tried += 1;
        let driver = gpu.identity().driver.clone();
        for (name, check) in CHECKS {
            tally.check(&format!("sync::{driver}::{name}"), || check(gpu));
        }
    }
    tally.check("sync::some_vulkan_device_is_there", || {
        ensure!(tried > 0, "none is: {:?}", sources.unavailable());
        Ok(Seen::Passed)
    });
}

fn says(gpu: &Gpu) -> Result<Seen> {
    let moments = gpu.device_sync();
    ensure!(
        moments.semaphore_from_sync_file
            && moments.semaphore_to_sync_file
            && moments.fence_from_sync_file
            && moments.fence_to_sync_file
            && moments.timeline,
        "{moments:?}"
    );
    ensure!(gpu.exports_wait(), "its exports do not wait");
    Ok(Seen::Passed)
}

fn after(fence: &Fence) -> Result<Submission> {
    Ok(Submission {
        after: vec![fence.try_clone()?],
        ..Submission::default()
    })
}

fn sync_file_to_semaphore(gpu: &Gpu) -> Result<Seen> {
    let held = Held::new()?;
    let work = gpu.submit(after(&held.fence(1)?)?)?;
    ensure!(!work.wait(BLINK)? && !work.is_over()?, "it did not wait");
    held.advance(1)?;
    ensure!(work.wait(PATIENCE)?, "it waits for ever");
    ensure!(work.is_over()?, "it is over and is not");
    // Two fences: the work waits for both.
    let (one, two) = (Held::new()?, Held::new()?);
    let work = gpu.submit(Submission {
        after: vec![one.fence(1)?, two.fence(1)?],
        ..Submission::default()
    })?;
    one.advance(1)?;
    ensure!(!work.wait(BLINK)?, "it waited for the first alone");
    two.advance(1)?;
    ensure!(work.wait(PATIENCE)?, "it waits for ever");
    Ok(Seen::Passed)
}

/// What `export` gives, which returns only once `held` is advanced.
fn not_too_early(
    held: &Held,
    export: impl FnOnce() -> Result<Option<Fence>, VulkanError> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        scope.spawn(move || sender.send(export()));
        match receiver.recv_timeout(BLINK) {
            // A device that does not wait gives a fence that is pending.
            Ok(given) => {
                let fence = given?.context("it says that it is over while it is held back")?;
                covalent_tests::held::unsignalled(&fence)?;
                held.advance(1)?;
                let limit = std::time::Instant::now() + PATIENCE;
                while !fence.is_signalled()? && std::time::Instant::now() < limit {
                    thread::sleep(Duration::from_millis(1));
                }
                signalled(&fence)
            }
            Err(RecvTimeoutError::Timeout) => {
                held.advance(1)?;
                match receiver.recv_timeout(PATIENCE).context("no export")?? {
                    Some(fence) => signalled(&fence),
                    None => Ok(()),
                }
            }
            Err(error) => Err(error.into()),
        }
    })
}

fn semaphore_to_sync_file(gpu: &Gpu) -> Result<Seen> {
    let held = Held::new()?;
    let mut work = gpu.submit(Submission {
        exported: true,
        ..after(&held.fence(1)?)?
    })?;
    not_too_early(&held, || work.export())?;
    match work.export() {
        Err(VulkanError::NotSubmitted { .. }) => Ok(Seen::Passed),
        other => bail!("a moment that was taken out is there again: {other:?}"),
    }
}

fn sync_file_to_fence(gpu: &Gpu) -> Result<Seen> {
    let held = Held::new()?;
    let fence = gpu.fence_after(held.fence(1)?)?;
    ensure!(!fence.is_over()? && !fence.wait(BLINK)?, "it is over");
    held.advance(1)?;
    ensure!(fence.wait(PATIENCE)? && fence.is_over()?, "it goes on");
    Ok(Seen::Passed)
}

fn fence_to_sync_file(gpu: &Gpu) -> Result<Seen> {
    let held = Held::new()?;
    let mut work = gpu.submit(Submission {
        fence: Some(gpu.fence()?),
        ..after(&held.fence(1)?)?
    })?;
    let fence = work.fence().context("no fence")?;
    ensure!(!fence.is_over()?, "it is over");
    not_too_early(&held, || fence.export())?;
    ensure!(work.wait(PATIENCE)?, "the work goes on");
    Ok(Seen::Passed)
}

fn timelines() -> Result<SyncDevice> {
    device()?.context("no card here has timelines")
}

/// A point that nobody has signalled, through a device, to a point of another timeline: by a thread where the device waits.
fn between_points(gpu: &Gpu) -> Result<Seen> {
    let card = timelines()?;
    let held = Held::new()?;
    let (acquire, release) = (
        Timeline::create(&card)?.point(4)?,
        Timeline::create(&card)?.point(9)?,
    );
    acquire.set_fence(&held.fence(1)?)?;
    let mut work = gpu.submit(Submission {
        exported: true,
        ..after(&acquire.fence()?)?
    })?;
    thread::scope(|scope| {
        let completion = scope.spawn(|| -> Result<()> {
            match work.export()? {
                Some(fence) => release.set_fence(&fence)?,
                None => release.signal()?,
            }
            Ok(())
        });
        thread::sleep(BLINK);
        ensure!(!release.is_signalled()?, "the point came too early");
        held.advance(1)?;
        completion
            .join()
            .map_err(|_| anyhow::anyhow!("the thread died"))?
    })?;
    ensure!(release.is_signalled()?, "the point did not come");
    Ok(Seen::Passed)
}

fn timeline(gpu: &Gpu) -> Result<Seen> {
    let (first, second) = (gpu.timeline()?, gpu.timeline()?);
    let work = gpu.submit(Submission {
        after_points: vec![(first.clone(), 3)],
        signal_points: vec![(second.clone(), 5)],
        ..Submission::default()
    })?;
    ensure!(
        !work.wait(BLINK)? && second.value()? == 0,
        "it did not wait"
    );
    first.signal(2)?;
    ensure!(!work.wait(BLINK)?, "it waited for less");
    first.signal(7)?;
    ensure!(
        second.wait(5, PATIENCE)? && second.value()? == 5,
        "no signal"
    );
    match first.signal(7) {
        Err(VulkanError::Backwards {
            asked: 7, found: 7, ..
        }) => {}
        other => bail!("a number twice: {other:?}"),
    }
    let again = Submission {
        signal_points: vec![(second, 5)],
        ..Submission::default()
    };
    match gpu.submit(again) {
        Err(VulkanError::Backwards {
            asked: 5, found: 5, ..
        }) => Ok(Seen::Passed),
        other => bail!("a number twice by work: {other:?}"),
    }
}

fn unshared(gpu: &Gpu) -> Result<Seen> {
    let syncobj = Timeline::create(&timelines()?)?.export()?;
    let moments = gpu.device_sync();
    if moments.timeline_is_syncobj {
        gpu.import_timeline(&syncobj)?;
        return Ok(Seen::Passed);
    }
    match gpu.import_timeline(&syncobj) {
        Err(VulkanError::Lacks { .. }) => {}
        other => bail!("a syncobj is taken by who has none: {other:?}"),
    }
    match (moments.timeline_shared, gpu.timeline()?.export()) {
        (false, Err(VulkanError::Lacks { .. })) => Ok(Seen::Passed),
        (true, Ok(fd)) => {
            let (one, other) = (gpu.import_timeline(&fd)?, gpu.import_timeline(&fd)?);
            one.signal(2)?;
            ensure!(other.value()? == 2, "they are two");
            Ok(Seen::Passed)
        }
        (said, answer) => bail!("shared: {said}, and {answer:?}"),
    }
}

fn unsubmitted(gpu: &Gpu) -> Result<Seen> {
    let not_there = |result: Result<Option<Fence>, VulkanError>| match result {
        Err(VulkanError::NotSubmitted { .. }) => Ok(()),
        other => bail!("{other:?}"),
    };
    not_there(gpu.semaphore()?.export())?;
    not_there(gpu.fence()?.export())?;
    not_there(gpu.submit(Submission::default())?.export())?;
    Ok(Seen::Passed)
}

fn copy(gpu: &Gpu) -> Result<Seen> {
    let buffer = dumb("vgem")?;
    let image = gpu.import(&buffer)?;
    let (old, new) = (pattern(&buffer, 11)?, pattern(&buffer, 12)?);
    write(&buffer, &old)?;
    let held = Held::new()?;
    let mut writing = image.begin_write(&new, after(&held.fence(1)?)?)?;
    ensure!(!writing.wait(BLINK)?, "it did not wait");
    same(&read(&buffer)?, &old).context("written while held back")?;
    held.advance(1)?;
    ensure!(writing.wait(PATIENCE)?, "it waits for ever");
    ensure!(writing.submitted().is_over()?, "it goes on");
    same(&read(&buffer)?, &new).context("not written")?;
    // And a read: what is there when the fence comes, not what was there when it was asked for.
    let held = Held::new()?;
    let reading = image.begin_read(after(&held.fence(1)?)?)?;
    ensure!(reading.pixels().is_err(), "pixels of a copy that goes on");
    ensure!(!reading.wait(BLINK)?, "it did not wait");
    write(&buffer, &old)?;
    held.advance(1)?;
    ensure!(reading.wait(PATIENCE)?, "it waits for ever");
    same(&reading.pixels()?, &old)?;
    Ok(Seen::Passed)
}

fn dropped(gpu: &Gpu) -> Result<Seen> {
    let buffer = dumb("vgem")?;
    let image = gpu.import(&buffer)?;
    let (old, new) = (pattern(&buffer, 13)?, pattern(&buffer, 14)?);
    write(&buffer, &old)?;
    let held = Held::new()?;
    drop(image.begin_write(&new, after(&held.fence(1)?)?)?);
    drop(image);
    same(&read(&buffer)?, &old)?;
    held.advance(1)?;
    // Work is done in the order in which it was given.
    ensure!(
        gpu.submit(Submission::default())?.wait(PATIENCE)?,
        "it waits"
    );
    same(&read(&buffer)?, &new).context("work that was dropped was not done")?;
    // What it used goes with the next that is given.
    ensure!(
        gpu.submit(Submission::default())?.wait(PATIENCE)?,
        "it waits"
    );
    Ok(Seen::Passed)
}

fn many(gpu: &Gpu) -> Result<Seen> {
    let held = Held::new()?;
    for number in 1..=1000 {
        let mut work = gpu.submit(Submission {
            exported: true,
            ..after(&held.fence(number)?)?
        })?;
        held.advance(1)?;
        if let Some(fence) = work.export()? {
            signalled(&fence)?;
        }
        ensure!(work.wait(PATIENCE)?, "moment {number} does not come");
    }
    Ok(Seen::Passed)
}
