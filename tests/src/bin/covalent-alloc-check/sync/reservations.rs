//! Checks implicit fences of dma-bufs: sw_sync fences that are imported into the reservation object, and fences of vgem.

use std::fs::File;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Access, Pollable as _, Reservation, ReservationError};
use covalent_tests::check_support::sys;
use covalent_tests::sw_sync::{SwSyncTimeline, check_signalled, check_unsignalled};
use drm::buffer::Buffer as _;
use drm::buffer::DrmFourcc;
use drm::control::Device as _;

use super::dumb;
use crate::{CheckOutcome, CheckRunner};

pub(super) fn run(runner: &mut CheckRunner) {
    for driver in ["vgem", "virtio_gpu", "bochs-drm", "vkms"] {
        let there = Card::list()
            .iter()
            .any(|path| Card::open(path).is_ok_and(|card| card.driver() == driver));
        if there {
            runner.check(
                &format!("sync::writers_fence_on_{driver}s_buffer_blocks_readers_and_writers"),
                || writers_fence_blocks_readers_and_writers(driver),
            );
            runner.check(
                &format!("sync::readers_fence_on_{driver}s_buffer_blocks_writers_alone"),
                || readers_fence_blocks_writers_alone(driver),
            );
        }
    }
    runner.check(
        "sync::vgem_fences_are_exported_from_its_buffer",
        vgem_fences_are_exported_from_its_buffer,
    );
    runner.check(
        "sync::reservation_of_a_file_that_is_no_dmabuf_is_refused",
        || {
            let null = File::open("/dev/null")?;
            match Reservation::of(null.as_fd()) {
                Err(ReservationError::Dmabuf(_)) => Ok(CheckOutcome::Passed),
                other => bail!("opening the reservation object of /dev/null returned {other:?}"),
            }
        },
    );
}

fn writers_fence_blocks_readers_and_writers(driver: &str) -> Result<CheckOutcome> {
    let buffer = dumb(driver)?;
    let reservation = buffer.reservation();
    check_signalled(&reservation.fence_before(Access::Write)?)?;
    ensure!(
        reservation.wait(Access::Write)?.is_empty(),
        "a new buffer has pending fences"
    );
    let sw_sync = SwSyncTimeline::new()?;
    reservation.add(&sw_sync.fence(1)?, Access::Write)?;
    let mut waits = Vec::new();
    for access in [Access::Read, Access::Write] {
        check_unsignalled(&reservation.fence_before(access)?)?;
        ensure!(
            !reservation.is_ready(access)?,
            "the buffer polls as ready to {access} although a writer is pending"
        );
        waits.extend(reservation.wait(access)?);
    }
    ensure!(
        waits.len() == 2,
        "the reservation returned {} waits",
        waits.len()
    );
    sw_sync.advance(1)?;
    for wait in waits {
        ensure!(
            wait.is_signalled()?,
            "{wait:?} did not end with the fence's signal"
        );
    }
    for access in [Access::Read, Access::Write] {
        check_signalled(&reservation.fence_before(access)?)?;
        ensure!(
            reservation.is_ready(access)?,
            "the buffer polls as busy for {access} although its fence is signalled"
        );
    }
    Ok(CheckOutcome::Passed)
}

fn readers_fence_blocks_writers_alone(driver: &str) -> Result<CheckOutcome> {
    let buffer = dumb(driver)?;
    let reservation = buffer.reservation();
    let sw_sync = SwSyncTimeline::new()?;
    reservation.add(&sw_sync.fence(1)?, Access::Read)?;
    check_signalled(&reservation.fence_before(Access::Read)?)?;
    ensure!(
        reservation.is_ready(Access::Read)?,
        "a reader has to wait for another reader"
    );
    let before = reservation.fence_before(Access::Write)?;
    check_unsignalled(&before)?;
    let waits = reservation.wait(Access::Write)?;
    ensure!(
        waits.len() == 1,
        "the reservation returned {} waits",
        waits.len()
    );
    sw_sync.advance(1)?;
    check_signalled(&before)?;
    ensure!(
        waits
            .iter()
            .all(|wait| wait.is_signalled().unwrap_or(false)),
        "a wait did not end with the fence's signal"
    );
    Ok(CheckOutcome::Passed)
}

fn vgem_fences_are_exported_from_its_buffer() -> Result<CheckOutcome> {
    let card = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .find(|card| card.driver() == "vgem")
        .context("no card has the driver vgem")?;
    let dumb = card.create_dumb_buffer((64, 64), DrmFourcc::Xrgb8888, 32)?;
    let dmabuf = card.buffer_to_prime_fd(dumb.handle(), drm::CLOEXEC | drm::RDWR)?;
    let reservation = Reservation::of(dmabuf.as_fd())?;
    let handle: u32 = dumb.handle().into();
    for (writes, read_waits) in [(false, false), (true, true)] {
        let number = sys::vgem_attach(card.as_fd(), handle, writes)?;
        let (reading, writing) = (
            reservation.fence_before(Access::Read)?,
            reservation.fence_before(Access::Write)?,
        );
        if read_waits {
            check_unsignalled(&reading)?;
        } else {
            check_signalled(&reading)?;
        }
        check_unsignalled(&writing)?;
        sys::vgem_signal(card.as_fd(), number)?;
        check_signalled(&reading)?;
        check_signalled(&writing)?;
        ensure!(
            reservation.is_ready(Access::Write)?,
            "the buffer polls as busy although its fence is signalled"
        );
    }
    card.destroy_dumb_buffer(dumb)?;
    Ok(CheckOutcome::Passed)
}
