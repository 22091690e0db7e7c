//! Fences on dma-bufs: sw_sync's put there and found again, and vgem's own.

use std::fs::File;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Access, Pollable as _, Reservation, ReservationError};
use covalent_tests::held::{Held, signalled, unsignalled};
use covalent_tests::witness::sys;
use drm::buffer::Buffer as _;
use drm::buffer::DrmFourcc;
use drm::control::Device as _;

use super::dumb;
use crate::{Seen, Tally};

pub(super) fn run(tally: &mut Tally) {
    for driver in ["vgem", "virtio_gpu", "bochs-drm", "vkms"] {
        let there = Card::list()
            .iter()
            .any(|path| Card::open(path).is_ok_and(|card| card.driver() == driver));
        if there {
            tally.check(
                &format!("sync::writers_fence_on_{driver}s_buffer_holds_readers_and_writers"),
                || writer(driver),
            );
            tally.check(
                &format!("sync::readers_fence_on_{driver}s_buffer_holds_writers_alone"),
                || reader(driver),
            );
        }
    }
    tally.check("sync::vgems_own_fences_are_seen_on_its_buffer", vgem);
    tally.check(
        "sync::reservation_of_a_file_that_is_no_dmabuf_is_refused",
        || {
            let null = File::open("/dev/null")?;
            match Reservation::of(null.as_fd()) {
                Err(ReservationError::Dmabuf(_)) => Ok(Seen::Passed),
                other => bail!("{other:?}"),
            }
        },
    );
}

fn writer(driver: &str) -> Result<Seen> {
    let buffer = dumb(driver)?;
    let reservation = buffer.reservation();
    signalled(&reservation.fence_before(Access::Write)?)?;
    ensure!(reservation.wait(Access::Write)?.is_empty(), "it is busy");
    let held = Held::new()?;
    reservation.add(&held.fence(1)?, Access::Write)?;
    let mut waits = Vec::new();
    for access in [Access::Read, Access::Write] {
        unsignalled(&reservation.fence_before(access)?)?;
        ensure!(!reservation.is_ready(access)?, "it may {access}");
        waits.extend(reservation.wait(access)?);
    }
    ensure!(waits.len() == 2, "{} waits", waits.len());
    held.advance(1)?;
    for wait in waits {
        ensure!(wait.is_signalled()?, "{wait:?} goes on");
    }
    for access in [Access::Read, Access::Write] {
        signalled(&reservation.fence_before(access)?)?;
        ensure!(reservation.is_ready(access)?, "it may not {access}");
    }
    Ok(Seen::Passed)
}

fn reader(driver: &str) -> Result<Seen> {
    let buffer = dumb(driver)?;
    let reservation = buffer.reservation();
    let held = Held::new()?;
    reservation.add(&held.fence(1)?, Access::Read)?;
    signalled(&reservation.fence_before(Access::Read)?)?;
    ensure!(
        reservation.is_ready(Access::Read)?,
        "readers wait for one another"
    );
    let before = reservation.fence_before(Access::Write)?;
    unsignalled(&before)?;
    let waits = reservation.wait(Access::Write)?;
    ensure!(waits.len() == 1, "{} waits", waits.len());
    held.advance(1)?;
    signalled(&before)?;
    ensure!(
        waits
            .iter()
            .all(|wait| wait.is_signalled().unwrap_or(false)),
        "a wait goes on"
    );
    Ok(Seen::Passed)
}

fn vgem() -> Result<Seen> {
    let card = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .find(|card| card.driver() == "vgem")
        .context("no vgem")?;
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
            unsignalled(&reading)?;
        } else {
            signalled(&reading)?;
        }
        unsignalled(&writing)?;
        sys::vgem_signal(card.as_fd(), number)?;
        signalled(&reading)?;
        signalled(&writing)?;
        ensure!(reservation.is_ready(Access::Write)?, "it stays busy");
    }
    card.destroy_dumb_buffer(dumb)?;
    Ok(Seen::Passed)
}
