//! Semaphores and fences of Vulkan devices, imported from and exported to sync_files and timelines, with sw_sync fences that the
//! checks signal late.
//!
//! lavapipe's export of a sync_file blocks until the work is complete, so an exported fence is never pending. `Gpu::exports_wait`
//! reports this property. These checks verify it: an export returns only after the fence for which the work waits is signalled.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Gpu, Submission, VulkanError};
use covalent_alloc::sync::{Fence, Pollable as _, SyncDevice, Timeline};
use covalent_tests::check_support::Sources;

use super::{device, dumb};
use crate::{CheckOutcome, CheckRunner};
use covalent_tests::check_support::pixels::{pattern, read, same, write};
use covalent_tests::sw_sync::{SwSyncTimeline, check_signalled};

/// The time for which a check observes that the work does not complete. A device that wrongly does not wait needs less time for
/// its work.
const PENDING_TIME: Duration = Duration::from_millis(200);

/// The longest time for a device's work on an emulated, busy CPU.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A check of one Vulkan device.
type Check = fn(&Gpu) -> Result<CheckOutcome>;

const CHECKS: &[(&str, Check)] = &[
    (
        "device_reports_its_synchronisation_abilities",
        device_reports_its_synchronisation_abilities,
    ),
    ("work_waits_for_a_sync_file", work_waits_for_a_sync_file),
    (
        "work_is_exported_as_a_sync_file_and_not_too_early",
        work_is_exported_as_a_sync_file_and_not_too_early,
    ),
    (
        "fence_is_signalled_by_an_imported_sync_file",
        fence_is_signalled_by_an_imported_sync_file,
    ),
    (
        "fence_is_exported_as_a_sync_file_and_not_too_early",
        fence_is_exported_as_a_sync_file_and_not_too_early,
    ),
    (
        "work_after_a_point_signals_another_point",
        work_after_a_point_signals_another_point,
    ),
    (
        "work_waits_for_a_point_that_was_not_submitted",
        work_waits_for_a_point_that_was_not_submitted,
    ),
    (
        "timeline_import_without_support_is_refused",
        timeline_import_without_support_is_refused,
    ),
    (
        "export_of_an_unsubmitted_semaphore_is_refused",
        export_of_an_unsubmitted_semaphore_is_refused,
    ),
    (
        "copy_after_a_pending_fence_writes_nothing_before_it",
        copy_after_a_pending_fence_writes_nothing_before_it,
    ),
    (
        "work_dropped_while_pending_completes_later",
        work_dropped_while_pending_completes_later,
    ),
    ("thousand_exports_complete", thousand_exports_complete),
];

pub(super) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover_with_drivers();
    let mut tried = 0;
    for gpu in sources.gpus().filter(|gpu| gpu.is_cpu()) {
        tried += 1;
        let driver = gpu.identity().driver.clone();
        for (name, check) in CHECKS {
            runner.check(&format!("sync::{driver}::{name}"), || check(gpu));
        }
    }
    runner.check("sync::some_vulkan_device_is_there", || {
        ensure!(
            tried > 0,
            "no Vulkan device of a CPU driver can be used: {:?}",
            sources.unavailable()
        );
        Ok(CheckOutcome::Passed)
    });
}

fn device_reports_its_synchronisation_abilities(gpu: &Gpu) -> Result<CheckOutcome> {
    let abilities = gpu.device_sync();
    ensure!(
        abilities.semaphore_from_sync_file
            && abilities.semaphore_to_sync_file
            && abilities.fence_from_sync_file
            && abilities.fence_to_sync_file
            && abilities.timeline,
        "{abilities:?}"
    );
    ensure!(
        gpu.exports_wait(),
        "the device reports that its exports do not wait"
    );
    Ok(CheckOutcome::Passed)
}

fn submission_after(fence: &Fence) -> Result<Submission> {
    Ok(Submission {
        wait_fences: vec![fence.try_clone()?],
        ..Submission::default()
    })
}

fn work_waits_for_a_sync_file(gpu: &Gpu) -> Result<CheckOutcome> {
    let sw_sync = SwSyncTimeline::new()?;
    let work = gpu.submit(submission_after(&sw_sync.fence(1)?)?)?;
    ensure!(
        !work.wait(PENDING_TIME)? && !work.is_finished()?,
        "the device did not wait for its acquire fence or point"
    );
    sw_sync.advance(1)?;
    ensure!(
        work.wait(TIMEOUT)?,
        "the work does not complete after its fences are signalled"
    );
    ensure!(
        work.is_finished()?,
        "the wait ended and the work is pending"
    );
    // This work has to wait for two fences.
    let (one, two) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    let work = gpu.submit(Submission {
        wait_fences: vec![one.fence(1)?, two.fence(1)?],
        ..Submission::default()
    })?;
    one.advance(1)?;
    ensure!(
        !work.wait(PENDING_TIME)?,
        "the work waited for the first of two fences only"
    );
    two.advance(1)?;
    ensure!(
        work.wait(TIMEOUT)?,
        "the work does not complete after its fences are signalled"
    );
    Ok(CheckOutcome::Passed)
}

/// Checks that `export` either returns a pending fence, or returns only after `sw_sync` was advanced.
fn not_too_early(
    sw_sync: &SwSyncTimeline,
    export: impl FnOnce() -> Result<Option<Fence>, VulkanError> + Send,
) -> Result<()> {
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        scope.spawn(move || sender.send(export()));
        match receiver.recv_timeout(PENDING_TIME) {
            // A device whose export does not block returns a pending fence.
            Ok(given) => {
                let fence =
                    given?.context("the export reports completion while its fence is pending")?;
                covalent_tests::sw_sync::check_unsignalled(&fence)?;
                sw_sync.advance(1)?;
                let limit = std::time::Instant::now() + TIMEOUT;
                while !fence.is_signalled()? && std::time::Instant::now() < limit {
                    thread::sleep(Duration::from_millis(1));
                }
                check_signalled(&fence)
            }
            Err(RecvTimeoutError::Timeout) => {
                sw_sync.advance(1)?;
                match receiver
                    .recv_timeout(TIMEOUT)
                    .context("the export did not return")??
                {
                    Some(fence) => check_signalled(&fence),
                    None => Ok(()),
                }
            }
            Err(error) => Err(error.into()),
        }
    })
}

fn work_is_exported_as_a_sync_file_and_not_too_early(gpu: &Gpu) -> Result<CheckOutcome> {
    let sw_sync = SwSyncTimeline::new()?;
    let mut work = gpu.submit(Submission {
        exported: true,
        ..submission_after(&sw_sync.fence(1)?)?
    })?;
    not_too_early(&sw_sync, || work.export())?;
    match work.export() {
        Err(VulkanError::NotSubmitted { .. }) => Ok(CheckOutcome::Passed),
        other => bail!("a semaphore that was exported is exported again: {other:?}"),
    }
}

fn fence_is_signalled_by_an_imported_sync_file(gpu: &Gpu) -> Result<CheckOutcome> {
    let sw_sync = SwSyncTimeline::new()?;
    let fence = gpu.fence_from_sync_file(sw_sync.fence(1)?)?;
    ensure!(
        !fence.is_signalled()? && !fence.wait(PENDING_TIME)?,
        "the fence is signalled before the imported sync_file"
    );
    sw_sync.advance(1)?;
    ensure!(
        fence.wait(TIMEOUT)? && fence.is_signalled()?,
        "the fence is not signalled after the imported sync_file"
    );
    Ok(CheckOutcome::Passed)
}

fn fence_is_exported_as_a_sync_file_and_not_too_early(gpu: &Gpu) -> Result<CheckOutcome> {
    let sw_sync = SwSyncTimeline::new()?;
    let mut work = gpu.submit(Submission {
        fence: Some(gpu.fence()?),
        ..submission_after(&sw_sync.fence(1)?)?
    })?;
    let fence = work.fence().context("the submission has no fence")?;
    ensure!(
        !fence.is_signalled()?,
        "the fence is signalled before the work may begin"
    );
    not_too_early(&sw_sync, || fence.export())?;
    ensure!(work.wait(TIMEOUT)?, "the work does not complete");
    Ok(CheckOutcome::Passed)
}

/// Returns a card that has timelines.
fn timelines() -> Result<SyncDevice> {
    device()?.context("no card here has timelines")
}

/// Submits work that waits for a point that is not signalled, and whose completion signals a point of another timeline. A thread
/// exports the completion, because the export may block.
fn work_after_a_point_signals_another_point(gpu: &Gpu) -> Result<CheckOutcome> {
    let card = timelines()?;
    let sw_sync = SwSyncTimeline::new()?;
    let (acquire, release) = (
        Timeline::create(&card)?.point(4)?,
        Timeline::create(&card)?.point(9)?,
    );
    acquire.set_fence(&sw_sync.fence(1)?)?;
    let mut work = gpu.submit(Submission {
        exported: true,
        ..submission_after(&acquire.fence()?)?
    })?;
    thread::scope(|scope| {
        let completion = scope.spawn(|| -> Result<()> {
            match work.export()? {
                Some(fence) => release.set_fence(&fence)?,
                None => release.signal()?,
            }
            Ok(())
        });
        thread::sleep(PENDING_TIME);
        ensure!(
            !release.is_signalled()?,
            "the release point is signalled before the acquire point"
        );
        sw_sync.advance(1)?;
        completion
            .join()
            .map_err(|_| anyhow::anyhow!("the exporting thread panicked"))?
    })?;
    ensure!(
        release.is_signalled()?,
        "the completion did not signal the release point"
    );
    Ok(CheckOutcome::Passed)
}

fn work_waits_for_a_point_that_was_not_submitted(gpu: &Gpu) -> Result<CheckOutcome> {
    let (first, second) = (gpu.timeline()?, gpu.timeline()?);
    let work = gpu.submit(Submission {
        wait_points: vec![(first.clone(), 3)],
        signal_points: vec![(second.clone(), 5)],
        ..Submission::default()
    })?;
    ensure!(
        !work.wait(PENDING_TIME)? && second.value()? == 0,
        "the device did not wait for its acquire fence or point"
    );
    first.signal(2)?;
    ensure!(
        !work.wait(PENDING_TIME)?,
        "the work began at a point below its acquire point"
    );
    first.signal(7)?;
    ensure!(
        second.wait(5, TIMEOUT)? && second.value()? == 5,
        "the work did not signal its point"
    );
    match first.signal(7) {
        Err(VulkanError::NotIncreasing {
            requested: 7,
            current: 7,
            ..
        }) => {}
        other => bail!("a point that is signalled already was signalled again: {other:?}"),
    }
    let again = Submission {
        signal_points: vec![(second, 5)],
        ..Submission::default()
    };
    match gpu.submit(again) {
        Err(VulkanError::NotIncreasing {
            requested: 5,
            current: 5,
            ..
        }) => Ok(CheckOutcome::Passed),
        other => bail!("work may signal a point that is signalled already: {other:?}"),
    }
}

fn timeline_import_without_support_is_refused(gpu: &Gpu) -> Result<CheckOutcome> {
    let syncobj = Timeline::create(&timelines()?)?.export()?;
    let abilities = gpu.device_sync();
    if abilities.timeline_is_syncobj {
        gpu.import_timeline(&syncobj)?;
        return Ok(CheckOutcome::Passed);
    }
    match gpu.import_timeline(&syncobj) {
        Err(VulkanError::Lacks { .. }) => {}
        other => bail!("a device without support imported a syncobj: {other:?}"),
    }
    match (abilities.timeline_shared, gpu.timeline()?.export()) {
        (false, Err(VulkanError::Lacks { .. })) => Ok(CheckOutcome::Passed),
        (true, Ok(fd)) => {
            let (one, other) = (gpu.import_timeline(&fd)?, gpu.import_timeline(&fd)?);
            one.signal(2)?;
            ensure!(
                other.value()? == 2,
                "two imports of one timeline are different timelines"
            );
            Ok(CheckOutcome::Passed)
        }
        (reported, result) => {
            bail!(
                "the device reports timeline_shared {reported}, and the export returned {result:?}"
            )
        }
    }
}

fn export_of_an_unsubmitted_semaphore_is_refused(gpu: &Gpu) -> Result<CheckOutcome> {
    let not_there = |result: Result<Option<Fence>, VulkanError>| match result {
        Err(VulkanError::NotSubmitted { .. }) => Ok(()),
        other => bail!("exporting a semaphore or fence that was not submitted returned {other:?}"),
    };
    not_there(gpu.semaphore()?.export())?;
    not_there(gpu.fence()?.export())?;
    not_there(gpu.submit(Submission::default())?.export())?;
    Ok(CheckOutcome::Passed)
}

fn copy_after_a_pending_fence_writes_nothing_before_it(gpu: &Gpu) -> Result<CheckOutcome> {
    let buffer = dumb("vgem")?;
    let image = gpu.import(&buffer)?;
    let (old, new) = (pattern(&buffer, 11)?, pattern(&buffer, 12)?);
    write(&buffer, &old)?;
    let sw_sync = SwSyncTimeline::new()?;
    let mut writing = image.begin_write(&new, submission_after(&sw_sync.fence(1)?)?)?;
    ensure!(
        !writing.wait(PENDING_TIME)?,
        "the device did not wait for its acquire fence or point"
    );
    same(&read(&buffer)?, &old).context("the copy wrote while its fence was pending")?;
    sw_sync.advance(1)?;
    ensure!(
        writing.wait(TIMEOUT)?,
        "the work does not complete after its fences are signalled"
    );
    ensure!(
        writing.submitted().is_finished()?,
        "the wait ended and the copy is pending"
    );
    same(&read(&buffer)?, &new).context("the copy did not write")?;
    // A read returns the pixels at the time of the fence's signal, and not those at the submission.
    let sw_sync = SwSyncTimeline::new()?;
    let reading = image.begin_read(submission_after(&sw_sync.fence(1)?)?)?;
    ensure!(
        reading.pixels().is_err(),
        "a pending copy returned its pixels"
    );
    ensure!(
        !reading.wait(PENDING_TIME)?,
        "the device did not wait for its acquire fence or point"
    );
    write(&buffer, &old)?;
    sw_sync.advance(1)?;
    ensure!(
        reading.wait(TIMEOUT)?,
        "the work does not complete after its fences are signalled"
    );
    same(&reading.pixels()?, &old)?;
    Ok(CheckOutcome::Passed)
}

fn work_dropped_while_pending_completes_later(gpu: &Gpu) -> Result<CheckOutcome> {
    let buffer = dumb("vgem")?;
    let image = gpu.import(&buffer)?;
    let (old, new) = (pattern(&buffer, 13)?, pattern(&buffer, 14)?);
    write(&buffer, &old)?;
    let sw_sync = SwSyncTimeline::new()?;
    drop(image.begin_write(&new, submission_after(&sw_sync.fence(1)?)?)?);
    drop(image);
    same(&read(&buffer)?, &old)?;
    sw_sync.advance(1)?;
    // The queue executes work in the order of submission.
    ensure!(
        gpu.submit(Submission::default())?.wait(TIMEOUT)?,
        "an empty submission does not complete"
    );
    same(&read(&buffer)?, &new).context("work that was dropped was not done")?;
    // The next submission frees the resources of the work whose handle was dropped.
    ensure!(
        gpu.submit(Submission::default())?.wait(TIMEOUT)?,
        "an empty submission does not complete"
    );
    Ok(CheckOutcome::Passed)
}

fn thousand_exports_complete(gpu: &Gpu) -> Result<CheckOutcome> {
    let sw_sync = SwSyncTimeline::new()?;
    for number in 1..=1000 {
        let mut work = gpu.submit(Submission {
            exported: true,
            ..submission_after(&sw_sync.fence(number)?)?
        })?;
        sw_sync.advance(1)?;
        if let Some(fence) = work.export()? {
            check_signalled(&fence)?;
        }
        ensure!(work.wait(TIMEOUT)?, "submission {number} does not complete");
    }
    Ok(CheckOutcome::Passed)
}
