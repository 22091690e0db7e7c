//! What IGT's and the Vulkan CTS's tests assert of kernel and drivers, as far as no other theme does: assertions of theirs, and
//! code of ours. `tests/PORTED.md` says which of their tests is where.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Access, FenceStatus, Pollable as _, Reservation};
use covalent_tests::held::{Held, signalled, unsignalled};
use covalent_tests::witness::sys;
use drm::buffer::{Buffer as _, DrmFourcc, Handle};
use drm::control::{Device as _, dumbbuffer::DumbBuffer};

use super::{Seen, Tally};

/// After how long vgem gives up a fence that nobody signals, and how much later that is seen at the latest.
const GIVEN_UP: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(10);

type Check = fn(&Card) -> Result<Seen>;

const OF_CARDS: &[(&str, Check)] = &[
    ("imported_from_itself_is_one_handle", self_import),
    (
        "imported_by_another_file_is_the_same_memory",
        with_two_files,
    ),
    ("handle_that_is_closed_is_imported_anew", reimport),
    ("export_outlives_handle_and_file", export_outlives),
    ("framebuffer_that_is_gone_is_not_got", getfb),
    ("framebuffer_is_got_as_it_was_added", getfb2),
    ("framebuffer_without_a_buffer_is_refused", addfb),
];

type FenceCheck = fn() -> Result<Seen>;

const OF_FENCES: &[(&str, FenceCheck)] = &[
    ("export_is_of_that_moment_alone", snapshot),
    ("several_fences_hold_until_the_last", several),
    ("writers_fence_replaces_no_readers", both_kinds),
    ("vgems_forgotten_fence_ends_by_itself", forgotten),
];

pub(crate) fn run(tally: &mut Tally) {
    let cards: Vec<Card> = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .collect();
    for card in &cards {
        for (name, check) in OF_CARDS {
            tally.check(&format!("ported::{}::{name}", card.driver()), || {
                check(card)
            });
        }
    }
    for (name, check) in OF_FENCES {
        tally.check(&format!("ported::dma_buf::{name}"), check);
    }
}

fn dumb(card: &Card) -> Result<DumbBuffer> {
    Ok(card.create_dumb_buffer((64, 64), DrmFourcc::Xrgb8888, 32)?)
}

fn export(card: &Card, handle: Handle) -> Result<OwnedFd> {
    Ok(card.buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR)?)
}

fn inode(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(File::from(fd.try_clone_to_owned()?).metadata()?.ino())
}

/// IGT prime_self_import, basic-with_one_bo: the file that exported finds its own handle.
fn self_import(card: &Card) -> Result<Seen> {
    let buffer = dumb(card)?;
    let exported = export(card, buffer.handle())?;
    let found = card.prime_fd_to_buffer(exported.as_fd())?;
    ensure!(found == buffer.handle(), "{found:?} for {buffer:?}");
    let again = export(card, found)?;
    ensure!(
        inode(again.as_fd())? == inode(exported.as_fd())?,
        "two exports of one buffer are two dma-bufs"
    );
    card.destroy_dumb_buffer(buffer)?;
    Ok(Seen::Passed)
}

/// The same, basic-with_two_files: another file has a handle of its own, of the same dma-buf.
fn with_two_files(card: &Card) -> Result<Seen> {
    let other = Card::open(card.path())?;
    let buffer = dumb(card)?;
    let exported = export(card, buffer.handle())?;
    let theirs = match other.prime_fd_to_buffer(exported.as_fd()) {
        Ok(theirs) => theirs,
        Err(error) => bail!("its own kind is refused: {error}"),
    };
    let twice = other.prime_fd_to_buffer(exported.as_fd())?;
    ensure!(theirs == twice, "one buffer has two handles in one file");
    let back = export(&other, theirs)?;
    ensure!(
        inode(back.as_fd())? == inode(exported.as_fd())?,
        "another dma-buf came back"
    );
    // The buffer lives as long as one of both has it.
    card.destroy_dumb_buffer(buffer)?;
    drop(exported);
    let last = export(&other, theirs)?;
    ensure!(inode(last.as_fd())? == inode(back.as_fd())?, "it is gone");
    other.close_buffer(theirs)?;
    ensure!(export(&other, theirs).is_err(), "a closed handle exports");
    Ok(Seen::Passed)
}

/// The same, reimport-vs-gem_close, in turn: a handle that is closed is dead, and the dma-buf gives another.
fn reimport(card: &Card) -> Result<Seen> {
    let other = Card::open(card.path())?;
    let buffer = dumb(card)?;
    let exported = export(card, buffer.handle())?;
    for _ in 0..3 {
        let handle = other.prime_fd_to_buffer(exported.as_fd())?;
        other.close_buffer(handle)?;
        ensure!(other.close_buffer(handle).is_err(), "it is closed twice");
    }
    card.destroy_dumb_buffer(buffer)?;
    Ok(Seen::Passed)
}

/// The same, export-vs-gem_close: what was exported lives without its handle and its file.
fn export_outlives(card: &Card) -> Result<Seen> {
    let other = Card::open(card.path())?;
    let buffer = dumb(&other)?;
    let exported = export(&other, buffer.handle())?;
    let before = inode(exported.as_fd())?;
    other.destroy_dumb_buffer(buffer)?;
    drop(other);
    let handle = card.prime_fd_to_buffer(exported.as_fd())?;
    ensure!(
        inode(export(card, handle)?.as_fd())? == before,
        "another one"
    );
    card.close_buffer(handle)?;
    Ok(Seen::Passed)
}

/// Whether a card has framebuffers at all.
fn shows(card: &Card) -> Option<Seen> {
    card.resource_handles()
        .is_err()
        .then(|| Seen::Skipped("the card has no framebuffers".to_owned()))
}

/// IGT kms_getfb, getfb-handle-closed and getfb-handle-not-fb.
fn getfb(card: &Card) -> Result<Seen> {
    if let Some(seen) = shows(card) {
        return Ok(seen);
    }
    let buffer = dumb(card)?;
    let framebuffer = card.add_framebuffer(&buffer, 24, 32)?;
    let found = card.get_framebuffer(framebuffer)?;
    let size = (found.size(), found.pitch(), found.bpp(), found.depth());
    ensure!(size == ((64, 64), buffer.pitch(), 32, 24), "{size:?}");
    if let Some(handle) = found.buffer() {
        card.close_buffer(handle)?;
    }
    card.destroy_framebuffer(framebuffer)?;
    ensure!(
        card.get_framebuffer(framebuffer).is_err(),
        "it is there still"
    );
    ensure!(
        card.destroy_framebuffer(framebuffer).is_err(),
        "it goes twice"
    );
    card.destroy_dumb_buffer(buffer)?;
    Ok(Seen::Passed)
}

/// The same, getfb2-handle-closed, getfb2-accept-nv12 and getfb2-into-addfb2: what is got can be added once more.
fn getfb2(card: &Card) -> Result<Seen> {
    if let Some(seen) = shows(card) {
        return Ok(seen);
    }
    let buffer = dumb(card)?;
    let framebuffer =
        card.add_planar_framebuffer(&Plain(&buffer), drm::control::FbCmd2Flags::empty())?;
    let found = card.get_planar_framebuffer(framebuffer)?;
    ensure!(
        found.pixel_format() == DrmFourcc::Xrgb8888
            && found.size() == (64, 64)
            && found.pitches()[0] == buffer.pitch()
            && found.offsets()[0] == 0,
        "{found:?}"
    );
    let handle = found.buffers()[0].context("root gets no handle")?;
    let again = Got {
        handle,
        size: found.size(),
        pitch: found.pitches()[0],
    };
    let second = card.add_planar_framebuffer(&again, drm::control::FbCmd2Flags::empty())?;
    card.destroy_framebuffer(second)?;
    if handle != buffer.handle() {
        card.close_buffer(handle)?;
    }
    card.destroy_framebuffer(framebuffer)?;
    ensure!(
        card.get_planar_framebuffer(framebuffer).is_err(),
        "it is there still"
    );
    card.destroy_dumb_buffer(buffer)?;
    Ok(Seen::Passed)
}

/// IGT kms_addfb_basic, bad-handle and addfb25-bad-modifier, clobbered-modifier: no handle, a dead one, a modifier without its flag.
fn addfb(card: &Card) -> Result<Seen> {
    if let Some(seen) = shows(card) {
        return Ok(seen);
    }
    let buffer = dumb(card)?;
    let dead = {
        let gone = dumb(card)?;
        let handle = gone.handle();
        card.destroy_dumb_buffer(gone)?;
        handle
    };
    let got = |handle, pitch| Got {
        handle,
        size: (64, 64),
        pitch,
    };
    let none = drm::control::FbCmd2Flags::empty();
    ensure!(
        card.add_planar_framebuffer(&got(dead, buffer.pitch()), none)
            .is_err(),
        "a closed handle is shown"
    );
    // unused-pitches, bad-pitch-*: less than a row, and no multiple of a pixel's bytes.
    for pitch in [0, 32, 63, 64 * 4 - 1] {
        ensure!(
            card.add_planar_framebuffer(&got(buffer.handle(), pitch), none)
                .is_err(),
            "rows of {pitch} bytes are shown"
        );
    }
    card.destroy_dumb_buffer(buffer)?;
    Ok(Seen::Passed)
}

/// A dumb buffer as a framebuffer without modifier.
struct Plain<'a>(&'a DumbBuffer);

impl drm::buffer::PlanarBuffer for Plain<'_> {
    fn size(&self) -> (u32, u32) {
        self.0.size()
    }
    fn format(&self) -> DrmFourcc {
        DrmFourcc::Xrgb8888
    }
    fn modifier(&self) -> Option<drm::buffer::DrmModifier> {
        None
    }
    fn pitches(&self) -> [u32; 4] {
        [self.0.pitch(), 0, 0, 0]
    }
    fn handles(&self) -> [Option<Handle>; 4] {
        [Some(self.0.handle()), None, None, None]
    }
    fn offsets(&self) -> [u32; 4] {
        [0; 4]
    }
}

/// A handle with numbers that need not be right.
struct Got {
    handle: Handle,
    size: (u32, u32),
    pitch: u32,
}

impl drm::buffer::PlanarBuffer for Got {
    fn size(&self) -> (u32, u32) {
        self.size
    }
    fn format(&self) -> DrmFourcc {
        DrmFourcc::Xrgb8888
    }
    fn modifier(&self) -> Option<drm::buffer::DrmModifier> {
        None
    }
    fn pitches(&self) -> [u32; 4] {
        [self.pitch, 0, 0, 0]
    }
    fn handles(&self) -> [Option<Handle>; 4] {
        [Some(self.handle), None, None, None]
    }
    fn offsets(&self) -> [u32; 4] {
        [0; 4]
    }
}

/// IGT dmabuf_sync_file, export-before-signal and export-wait-after-attach: what comes later is not in what was exported.
fn snapshot() -> Result<Seen> {
    let buffer = super::sync::dumb("vgem")?;
    let reservation = buffer.reservation();
    let held = Held::new()?;
    let before = reservation.fence_before(Access::Write)?;
    reservation.add(&held.fence(1)?, Access::Write)?;
    let first = reservation.fence_before(Access::Read)?;
    reservation.add(&held.fence(2)?, Access::Write)?;
    let second = reservation.fence_before(Access::Read)?;
    signalled(&before)?;
    unsignalled(&first)?;
    unsignalled(&second)?;
    held.advance(1)?;
    signalled(&first)?;
    unsignalled(&second)?;
    held.advance(1)?;
    signalled(&second)?;
    Ok(Seen::Passed)
}

/// The same, import-multiple-read-write: who exports waits for all that were imported.
fn several() -> Result<Seen> {
    let buffer = super::sync::dumb("vgem")?;
    let reservation = buffer.reservation();
    let timelines: Vec<Held> = (0..5).map(|_| Held::new()).collect::<Result<_>>()?;
    for held in &timelines {
        reservation.add(&held.fence(1)?, Access::Write)?;
    }
    let all = reservation.fence_before(Access::Read)?;
    // The last one first: an order that nobody promised.
    for held in timelines.iter().rev() {
        unsignalled(&all)?;
        ensure!(
            !reservation.is_ready(Access::Read)?,
            "one of five is enough"
        );
        held.advance(1)?;
    }
    signalled(&all)?;
    ensure!(reservation.is_ready(Access::Write)?, "it stays busy");
    Ok(Seen::Passed)
}

/// The same, import-multiple-read-only: readers and writers are told apart, whatever comes after.
fn both_kinds() -> Result<Seen> {
    let buffer = super::sync::dumb("vgem")?;
    let reservation = buffer.reservation();
    let (reader, writer) = (Held::new()?, Held::new()?);
    reservation.add(&reader.fence(1)?, Access::Read)?;
    signalled(&reservation.fence_before(Access::Read)?)?;
    reservation.add(&writer.fence(1)?, Access::Write)?;
    let (reading, writing) = (
        reservation.fence_before(Access::Read)?,
        reservation.fence_before(Access::Write)?,
    );
    unsignalled(&reading)?;
    writer.advance(1)?;
    signalled(&reading)?;
    unsignalled(&writing)?;
    reader.advance(1)?;
    signalled(&writing)?;
    Ok(Seen::Passed)
}

/// IGT vgem_slow, nohang: a fence that nobody signals ends after ten seconds. (It does not say that nobody did.)
fn forgotten() -> Result<Seen> {
    let card = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .find(|card| card.driver() == "vgem")
        .context("no vgem")?;
    let buffer = dumb(&card)?;
    let exported = export(&card, buffer.handle())?;
    let reservation = Reservation::of(exported.as_fd())?;
    let began = Instant::now();
    sys::vgem_attach(card.as_fd(), buffer.handle().into(), true)?;
    let fence = reservation.fence_before(Access::Write)?;
    unsignalled(&fence)?;
    while !fence.is_signalled()? {
        ensure!(began.elapsed() < GIVEN_UP + SLACK, "it hangs");
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(
        began.elapsed() + Duration::from_secs(1) >= GIVEN_UP,
        "it was given up after {:?}",
        began.elapsed()
    );
    let status = fence.status()?;
    ensure!(status != FenceStatus::Unsignalled, "it is {status:?}");
    card.destroy_dumb_buffer(buffer)?;
    Ok(Seen::Passed)
}
