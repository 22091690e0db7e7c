//! What two parties write and read of one buffer, plainly and behind fences that are held back.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::vulkan::{Copying, Gpu, Image, Submission};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::sync::{Access, Fence, Pollable as _};
use covalent_tests::held::Held;
use covalent_tests::held::unsignalled;
use covalent_tests::witness::pixels::{pattern, read, same, write};

use super::rows::Seen;

/// How long a copy may take whose fence was let go: processor and device are emulated.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a device is left alone that must not go on.
const HELD_BACK: Duration = Duration::from_millis(20);

/// What one writes the other reads, both ways.
pub(crate) fn both_ways(gpu: &Gpu, buffer: &Buffer) -> Result<Seen> {
    let image = gpu.import(buffer)?;
    let (first, second) = (pattern(buffer, 1)?, pattern(buffer, 2)?);
    write(buffer, &first)?;
    same(&image.read()?, &first).context("the device reads what the processor wrote")?;
    image.write(&second)?;
    same(&read(buffer)?, &second).context("the processor reads what the device wrote")?;
    Ok(Seen::Passed)
}

/// A row about fences cannot be seen without something that holds them back, or a device that waits for them.
pub(crate) fn cannot_hold(gpu: &Gpu) -> Option<Seen> {
    if let Err(error) = Held::new() {
        return Some(Seen::Skipped(format!(
            "nothing holds fences back: {error:#}"
        )));
    }
    (!gpu.device_sync().semaphore_from_sync_file)
        .then(|| Seen::Skipped(format!("{} waits for no sync_file", gpu.name())))
}

/// The device is told to read before the pixels are there, behind a fence that is held back: it reads those that come.
pub(crate) fn reads_behind_a_fence(gpu: &Gpu, buffer: &Buffer) -> Result<Seen> {
    let image = gpu.import(buffer)?;
    let (old, new) = (pattern(buffer, 3)?, pattern(buffer, 4)?);
    write(buffer, &old)?;
    let held = Held::new()?;
    let reading = image.begin_read(after(held.fence(1)?))?;
    goes_on(&reading)?;
    write(buffer, &new)?;
    held.advance(1)?;
    same(&finished(&reading)?, &new)
        .context("the device read before the fence that it had to wait for")?;
    Ok(Seen::Passed)
}

/// The device writes behind a fence that is held back. Who reads next is told by the buffer's own fences, waits for them in
/// poll, and reads what was written.
pub(crate) fn is_read_behind_its_fence(gpu: &Gpu, buffer: &Buffer) -> Result<Seen> {
    let image = gpu.import(buffer)?;
    let (old, new) = (pattern(buffer, 5)?, pattern(buffer, 6)?);
    write(buffer, &old)?;
    let held = Held::new()?;
    let mut writing = image.begin_write(
        &new,
        Submission {
            exported: true,
            ..after(held.fence(1)?)
        },
    )?;
    goes_on(&writing)?;
    same(&read(buffer)?, &old)
        .context("the device wrote before the fence that it had to wait for")?;
    let reservation = buffer.reservation();
    let words = if gpu.exports_wait() {
        // Its export waits, which has no place in an event loop: another thread asks, and lets a fence go that is there already.
        let done = Held::new()?;
        reservation.add(&done.fence(1)?, Access::Write)?;
        polls_as(buffer, false)?;
        held.advance(1)?;
        let helper = thread::spawn(move || -> Result<()> {
            ensure!(writing.wait(PATIENCE)?, "it does not end");
            done.advance(1)
        });
        wait_for(buffer)?;
        helper.join().ok().context("the helper thread died")??;
        "the driver completes before it exports: its completion reaches the fence from a helper thread"
    } else {
        let fence = writing
            .submitted()
            .export()?
            .context("it is over already")?;
        unsignalled(&fence)?;
        reservation.add(&fence, Access::Write)?;
        polls_as(buffer, false)?;
        held.advance(1)?;
        wait_for(buffer)?;
        ""
    };
    polls_as(buffer, true)?;
    same(&read(buffer)?, &new).context("the processor reads what the device wrote")?;
    Ok(if words.is_empty() {
        Seen::Passed
    } else {
        Seen::PassedBut(words.to_owned())
    })
}

/// A submission behind one fence.
pub(crate) fn after(fence: Fence) -> Submission {
    Submission {
        after: vec![fence],
        ..Submission::default()
    }
}

/// Fails where the device does not wait.
pub(crate) fn goes_on(copying: &Copying) -> Result<()> {
    ensure!(
        !copying.wait(HELD_BACK)?,
        "the device is done before the fence that it had to wait for"
    );
    Ok(())
}

/// The pixels of a copy whose fence was let go.
pub(crate) fn finished(copying: &Copying) -> Result<Vec<Vec<u8>>> {
    ensure!(copying.wait(PATIENCE)?, "the device does not end");
    Ok(copying.pixels()?)
}

/// Writes with the device, and waits for it.
pub(crate) fn draw(image: &Image, planes: &[Vec<u8>]) -> Result<()> {
    let writing = image.begin_write(planes, Submission::default())?;
    ensure!(writing.wait(PATIENCE)?, "the device does not end");
    Ok(())
}

/// What an event loop sees of the fences that the buffer carries.
pub(crate) fn polls_as(buffer: &Buffer, ready: bool) -> Result<()> {
    let is_ready = buffer.reservation().is_ready(Access::Read)?;
    ensure!(
        is_ready == ready,
        "the buffer polls as {}",
        if is_ready { "ready" } else { "busy" }
    );
    Ok(())
}

/// Waits in poll until the writers of a buffer are done, as an event loop does.
pub(crate) fn wait_for(buffer: &Buffer) -> Result<()> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    for wait in buffer.reservation().wait(Access::Read)? {
        let mut fds = [PollFd::new(&wait, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        };
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience)))?;
        if !wait.is_signalled()? {
            bail!("the buffer's fences do not signal");
        }
    }
    Ok(())
}
