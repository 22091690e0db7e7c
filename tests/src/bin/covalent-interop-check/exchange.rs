//! A device and the CPU exchange pixels through one buffer, without fences and with sw_sync fences that are signalled late.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Gpu, Image, PendingCopy, Submission};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::sync::{Access, Fence, Pollable as _};
use covalent_tests::check_support::pixels::{pattern, read, same, write};
use covalent_tests::sw_sync::SwSyncTimeline;
use covalent_tests::sw_sync::check_unsignalled;

use super::rows::RowOutcome;

/// The longest time for a copy after its fence is signalled. The CPU and the device are emulated.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// The time for which a check observes that a device does not begin before its acquire fence.
const PENDING_TIME: Duration = Duration::from_millis(20);

/// Checks that the device reads what the CPU wrote, and that the CPU reads what the device wrote.
pub(crate) fn both_ways(gpu: &Gpu, buffer: &Buffer) -> Result<RowOutcome> {
    let image = gpu.import(buffer)?;
    let (first, second) = (pattern(buffer, 1)?, pattern(buffer, 2)?);
    write(buffer, &first)?;
    same(&image.read()?, &first).context("the device must read the pixels that the CPU wrote")?;
    image.write(&second)?;
    same(&read(buffer)?, &second).context("the CPU must read the pixels that the device wrote")?;
    Ok(RowOutcome::Passed)
}

/// Returns the skip of rows with fences if sw_sync is not available or the device cannot wait for a sync_file; `None` otherwise.
pub(crate) fn fences_unavailable(gpu: &Gpu) -> Option<RowOutcome> {
    if let Err(error) = SwSyncTimeline::new() {
        return Some(RowOutcome::Skipped(format!(
            "sw_sync is not available: {error:#}"
        )));
    }
    (!gpu.device_sync().semaphore_from_sync_file)
        .then(|| RowOutcome::Skipped(format!("{} cannot wait for a sync_file", gpu.name())))
}

/// Checks that the device's read waits for a pending fence, and returns the pixels that were written before the fence was
/// signalled.
pub(crate) fn reads_after_a_fence(gpu: &Gpu, buffer: &Buffer) -> Result<RowOutcome> {
    let image = gpu.import(buffer)?;
    let (old, new) = (pattern(buffer, 3)?, pattern(buffer, 4)?);
    write(buffer, &old)?;
    let sw_sync = SwSyncTimeline::new()?;
    let reading = image.begin_read(submission_after(sw_sync.fence(1)?))?;
    expect_pending(&reading)?;
    write(buffer, &new)?;
    sw_sync.advance(1)?;
    same(&pixels_when_done(&reading)?, &new).context("the device read before its acquire fence")?;
    Ok(RowOutcome::Passed)
}

/// Checks that the device's write waits for a pending fence. The CPU waits for the device with poll() on the dma-buf, and reads
/// what the device wrote.
pub(crate) fn is_read_after_its_fence(gpu: &Gpu, buffer: &Buffer) -> Result<RowOutcome> {
    let image = gpu.import(buffer)?;
    let (old, new) = (pattern(buffer, 5)?, pattern(buffer, 6)?);
    write(buffer, &old)?;
    let sw_sync = SwSyncTimeline::new()?;
    let mut writing = image.begin_write(
        &new,
        Submission {
            exported: true,
            ..submission_after(sw_sync.fence(1)?)
        },
    )?;
    expect_pending(&writing)?;
    same(&read(buffer)?, &old).context("the device wrote before its acquire fence")?;
    let reservation = buffer.reservation();
    let note = if gpu.exports_wait() {
        // The driver's export of a fence blocks. So the reservation object gets a sw_sync fence, which a thread signals when the
        // device's work completes.
        let done = SwSyncTimeline::new()?;
        reservation.add(&done.fence(1)?, Access::Write)?;
        expect_ready(buffer, false)?;
        sw_sync.advance(1)?;
        let helper = thread::spawn(move || -> Result<()> {
            ensure!(
                writing.wait(TIMEOUT)?,
                "the device does not complete its work"
            );
            done.advance(1)
        });
        wait_for(buffer)?;
        helper.join().ok().context("the helper thread panicked")??;
        "the driver exports a fence only when its work is complete, so a helper thread signals the fence"
    } else {
        let fence = writing
            .submitted()
            .export()?
            .context("the write completed before its acquire fence")?;
        check_unsignalled(&fence)?;
        reservation.add(&fence, Access::Write)?;
        expect_ready(buffer, false)?;
        sw_sync.advance(1)?;
        wait_for(buffer)?;
        ""
    };
    expect_ready(buffer, true)?;
    same(&read(buffer)?, &new).context("the CPU must read the pixels that the device wrote")?;
    Ok(if note.is_empty() {
        RowOutcome::Passed
    } else {
        RowOutcome::PassedWithNote(note.to_owned())
    })
}

/// Returns a submission that waits for one fence.
pub(crate) fn submission_after(fence: Fence) -> Submission {
    Submission {
        wait_fences: vec![fence],
        ..Submission::default()
    }
}

/// Checks that a copy is not complete yet.
pub(crate) fn expect_pending(copying: &PendingCopy) -> Result<()> {
    ensure!(
        !copying.wait(PENDING_TIME)?,
        "the device completed before its acquire fence"
    );
    Ok(())
}

/// Waits until a copy is complete, and returns its pixels.
pub(crate) fn pixels_when_done(copying: &PendingCopy) -> Result<Vec<Vec<u8>>> {
    ensure!(
        copying.wait(TIMEOUT)?,
        "the device does not complete its work"
    );
    Ok(copying.pixels()?)
}

/// Writes pixels with the device, and waits until the write is complete.
pub(crate) fn draw(image: &Image, planes: &[Vec<u8>]) -> Result<()> {
    let writing = image.begin_write(planes, Submission::default())?;
    ensure!(
        writing.wait(TIMEOUT)?,
        "the device does not complete its work"
    );
    Ok(())
}

/// Checks whether poll() on the dma-buf reports that it can be read.
pub(crate) fn expect_ready(buffer: &Buffer, ready: bool) -> Result<()> {
    let is_ready = buffer.reservation().is_ready(Access::Read)?;
    ensure!(
        is_ready == ready,
        "the dma-buf polls as {}",
        if is_ready { "ready" } else { "busy" }
    );
    Ok(())
}

/// Waits in poll(), as an event loop does, until the writers of a buffer have completed.
pub(crate) fn wait_for(buffer: &Buffer) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    for wait in buffer.reservation().wait(Access::Read)? {
        let mut fds = [PollFd::new(&wait, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout)))?;
        if !wait.is_signalled()? {
            bail!("the dma-buf's fences are not signalled");
        }
    }
    Ok(())
}
