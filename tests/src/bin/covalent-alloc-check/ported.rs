//! Assertions of IGT and the Vulkan CTS about the kernel and drivers that no other theme makes. Only the assertions come from
//! these projects; the code was written for this program. `tests/PORTED.md` lists where each of their tests is.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Access, FenceStatus, Pollable as _, Reservation};
use covalent_tests::check_support::sys;
use covalent_tests::sw_sync::{SwSyncTimeline, check_signalled, check_unsignalled};
use drm::buffer::{Buffer as _, DrmFourcc, Handle};
use drm::control::{Device as _, dumbbuffer::DumbBuffer};

use super::{CheckOutcome, CheckRunner};

/// After this time vgem signals a fence that userspace has not signalled (VGEM_FENCE_TIMEOUT). The check allows `SLACK` more.
const VGEM_FENCE_TIMEOUT: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(10);

/// A check of one card.
type Check = fn(&Card) -> Result<CheckOutcome>;

const CARD_CHECKS: &[(&str, Check)] = &[
    ("own_export_is_imported_as_the_same_handle", self_import),
    (
        "export_imported_by_another_file_is_the_same_memory",
        with_two_files,
    ),
    ("handle_that_is_closed_is_imported_anew", reimport),
    ("export_outlives_handle_and_file", export_outlives),
    ("framebuffer_that_was_removed_is_not_found", getfb),
    ("framebuffer_is_returned_as_it_was_added", getfb2),
    ("framebuffer_without_a_buffer_is_refused", addfb),
];

/// A check of fences, which needs no card.
type FenceCheck = fn() -> Result<CheckOutcome>;

const FENCE_CHECKS: &[(&str, FenceCheck)] = &[
    ("exported_fence_excludes_fences_added_later", snapshot),
    ("exported_fence_waits_for_all_writers", several),
    ("writers_fence_replaces_no_readers", both_kinds),
    ("vgem_fence_that_is_not_signalled_times_out", timed_out),
];

pub(crate) fn run(runner: &mut CheckRunner) {
    let cards: Vec<Card> = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .collect();
    for card in &cards {
        for (name, check) in CARD_CHECKS {
            runner.check(&format!("ported::{}::{name}", card.driver()), || {
                check(card)
            });
        }
    }
    for (name, check) in FENCE_CHECKS {
        runner.check(&format!("ported::dma_buf::{name}"), check);
    }
}

/// Allocates a dumb buffer of 64x64 pixels.
fn dumb(card: &Card) -> Result<DumbBuffer> {
    Ok(card.create_dumb_buffer((64, 64), DrmFourcc::Xrgb8888, 32)?)
}

/// Exports a GEM handle as a dma-buf.
fn export(card: &Card, handle: Handle) -> Result<OwnedFd> {
    Ok(card.buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR)?)
}

/// Returns the inode of a file.
fn inode(fd: BorrowedFd<'_>) -> Result<u64> {
    Ok(File::from(fd.try_clone_to_owned()?).metadata()?.ino())
}

/// IGT prime_self_import, basic-with_one_bo: an import into the exporting open file returns the handle that was exported.
fn self_import(card: &Card) -> Result<CheckOutcome> {
    let buffer = dumb(card)?;
    let exported = export(card, buffer.handle())?;
    let found = card.prime_fd_to_buffer(exported.as_fd())?;
    ensure!(
        found == buffer.handle(),
        "the import returned {found:?} for {buffer:?}"
    );
    let again = export(card, found)?;
    ensure!(
        inode(again.as_fd())? == inode(exported.as_fd())?,
        "two exports of one handle are different dma-bufs"
    );
    card.destroy_dumb_buffer(buffer)?;
    Ok(CheckOutcome::Passed)
}

/// IGT prime_self_import, basic-with_two_files: another open file gets its own handle for the same dma-buf.
fn with_two_files(card: &Card) -> Result<CheckOutcome> {
    let other = Card::open(card.path())?;
    let buffer = dumb(card)?;
    let exported = export(card, buffer.handle())?;
    let theirs = match other.prime_fd_to_buffer(exported.as_fd()) {
        Ok(theirs) => theirs,
        Err(error) => bail!("the card cannot import its own export: {error}"),
    };
    let twice = other.prime_fd_to_buffer(exported.as_fd())?;
    ensure!(
        theirs == twice,
        "two imports of one dma-buf returned different handles"
    );
    let back = export(&other, theirs)?;
    ensure!(
        inode(back.as_fd())? == inode(exported.as_fd())?,
        "the import exports another dma-buf"
    );
    // After the exporter has destroyed the buffer, the import keeps it alive.
    card.destroy_dumb_buffer(buffer)?;
    drop(exported);
    let last = export(&other, theirs)?;
    ensure!(
        inode(last.as_fd())? == inode(back.as_fd())?,
        "the import did not keep the buffer alive"
    );
    other.close_buffer(theirs)?;
    ensure!(
        export(&other, theirs).is_err(),
        "a closed handle can be exported"
    );
    Ok(CheckOutcome::Passed)
}

/// IGT prime_self_import, reimport-vs-gem_close, in one thread: a closed handle is invalid, and the dma-buf can be imported
/// again.
fn reimport(card: &Card) -> Result<CheckOutcome> {
    let other = Card::open(card.path())?;
    let buffer = dumb(card)?;
    let exported = export(card, buffer.handle())?;
    for _ in 0..3 {
        let handle = other.prime_fd_to_buffer(exported.as_fd())?;
        other.close_buffer(handle)?;
        ensure!(
            other.close_buffer(handle).is_err(),
            "a closed handle was closed again"
        );
    }
    card.destroy_dumb_buffer(buffer)?;
    Ok(CheckOutcome::Passed)
}

/// IGT prime_self_import, export-vs-gem_close: an exported dma-buf stays valid after its handle and the exporting file are
/// closed.
fn export_outlives(card: &Card) -> Result<CheckOutcome> {
    let other = Card::open(card.path())?;
    let buffer = dumb(&other)?;
    let exported = export(&other, buffer.handle())?;
    let before = inode(exported.as_fd())?;
    other.destroy_dumb_buffer(buffer)?;
    drop(other);
    let handle = card.prime_fd_to_buffer(exported.as_fd())?;
    ensure!(
        inode(export(card, handle)?.as_fd())? == before,
        "the import exports another dma-buf"
    );
    card.close_buffer(handle)?;
    Ok(CheckOutcome::Passed)
}

/// Returns the skip of the check if the card has no framebuffers.
fn skip_without_framebuffers(card: &Card) -> Option<CheckOutcome> {
    card.resource_handles()
        .is_err()
        .then(|| CheckOutcome::Skipped("the card has no framebuffers".to_owned()))
}

/// IGT kms_getfb, getfb-handle-closed and getfb-handle-not-fb.
fn getfb(card: &Card) -> Result<CheckOutcome> {
    if let Some(skipped) = skip_without_framebuffers(card) {
        return Ok(skipped);
    }
    let buffer = dumb(card)?;
    let framebuffer = card.add_framebuffer(&buffer, 24, 32)?;
    let found = card.get_framebuffer(framebuffer)?;
    let size = (found.size(), found.pitch(), found.bpp(), found.depth());
    ensure!(
        size == ((64, 64), buffer.pitch(), 32, 24),
        "GETFB returned size, pitch, bpp and depth {size:?}"
    );
    if let Some(handle) = found.buffer() {
        card.close_buffer(handle)?;
    }
    card.destroy_framebuffer(framebuffer)?;
    ensure!(
        card.get_framebuffer(framebuffer).is_err(),
        "a removed framebuffer is found"
    );
    ensure!(
        card.destroy_framebuffer(framebuffer).is_err(),
        "a framebuffer was removed twice"
    );
    card.destroy_dumb_buffer(buffer)?;
    Ok(CheckOutcome::Passed)
}

/// IGT kms_getfb, getfb2-handle-closed, getfb2-accept-nv12 and getfb2-into-addfb2: a framebuffer can be added again with the data
/// that GETFB2 returned.
fn getfb2(card: &Card) -> Result<CheckOutcome> {
    if let Some(skipped) = skip_without_framebuffers(card) {
        return Ok(skipped);
    }
    let buffer = dumb(card)?;
    let framebuffer = card.add_planar_framebuffer(
        &DumbFramebuffer(&buffer),
        drm::control::FbCmd2Flags::empty(),
    )?;
    let found = card.get_planar_framebuffer(framebuffer)?;
    ensure!(
        found.pixel_format() == DrmFourcc::Xrgb8888
            && found.size() == (64, 64)
            && found.pitches()[0] == buffer.pitch()
            && found.offsets()[0] == 0,
        "{found:?}"
    );
    let handle =
        found.buffers()[0].context("GETFB2 returned no handle although this process is root")?;
    let again = RawFramebuffer {
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
        "a removed framebuffer is found"
    );
    card.destroy_dumb_buffer(buffer)?;
    Ok(CheckOutcome::Passed)
}

/// IGT kms_addfb_basic, bad-handle, unused-pitches and bad-pitch-*: a closed handle and pitches that are too small are refused.
fn addfb(card: &Card) -> Result<CheckOutcome> {
    if let Some(skipped) = skip_without_framebuffers(card) {
        return Ok(skipped);
    }
    let buffer = dumb(card)?;
    let closed = {
        let destroyed = dumb(card)?;
        let handle = destroyed.handle();
        card.destroy_dumb_buffer(destroyed)?;
        handle
    };
    let framebuffer = |handle, pitch| RawFramebuffer {
        handle,
        size: (64, 64),
        pitch,
    };
    let none = drm::control::FbCmd2Flags::empty();
    ensure!(
        card.add_planar_framebuffer(&framebuffer(closed, buffer.pitch()), none)
            .is_err(),
        "a framebuffer was added with a closed handle"
    );
    // Each pitch is smaller than a row, or is no multiple of the bytes of a pixel.
    for pitch in [0, 32, 63, 64 * 4 - 1] {
        ensure!(
            card.add_planar_framebuffer(&framebuffer(buffer.handle(), pitch), none)
                .is_err(),
            "a framebuffer was added with a pitch of {pitch} bytes"
        );
    }
    card.destroy_dumb_buffer(buffer)?;
    Ok(CheckOutcome::Passed)
}

/// A framebuffer of a dumb buffer, without a modifier.
struct DumbFramebuffer<'a>(&'a DumbBuffer);

impl drm::buffer::PlanarBuffer for DumbFramebuffer<'_> {
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

/// A framebuffer with any handle. Its size and pitch may be wrong.
struct RawFramebuffer {
    handle: Handle,
    size: (u32, u32),
    pitch: u32,
}

impl drm::buffer::PlanarBuffer for RawFramebuffer {
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

/// IGT dmabuf_sync_file, export-before-signal and export-wait-after-attach: an exported fence does not wait for fences that are
/// added later.
fn snapshot() -> Result<CheckOutcome> {
    let buffer = super::sync::dumb("vgem")?;
    let reservation = buffer.reservation();
    let sw_sync = SwSyncTimeline::new()?;
    let before = reservation.fence_before(Access::Write)?;
    reservation.add(&sw_sync.fence(1)?, Access::Write)?;
    let first = reservation.fence_before(Access::Read)?;
    reservation.add(&sw_sync.fence(2)?, Access::Write)?;
    let second = reservation.fence_before(Access::Read)?;
    check_signalled(&before)?;
    check_unsignalled(&first)?;
    check_unsignalled(&second)?;
    sw_sync.advance(1)?;
    check_signalled(&first)?;
    check_unsignalled(&second)?;
    sw_sync.advance(1)?;
    check_signalled(&second)?;
    Ok(CheckOutcome::Passed)
}

/// IGT dmabuf_sync_file, import-multiple-read-write: an exported fence waits for all imported fences.
fn several() -> Result<CheckOutcome> {
    let buffer = super::sync::dumb("vgem")?;
    let reservation = buffer.reservation();
    let timelines: Vec<SwSyncTimeline> = (0..5)
        .map(|_| SwSyncTimeline::new())
        .collect::<Result<_>>()?;
    for sw_sync in &timelines {
        reservation.add(&sw_sync.fence(1)?, Access::Write)?;
    }
    let all = reservation.fence_before(Access::Read)?;
    // The last fence is signalled first.
    for sw_sync in timelines.iter().rev() {
        check_unsignalled(&all)?;
        ensure!(
            !reservation.is_ready(Access::Read)?,
            "the buffer polls as ready although a writer is pending"
        );
        sw_sync.advance(1)?;
    }
    check_signalled(&all)?;
    ensure!(
        reservation.is_ready(Access::Write)?,
        "the buffer polls as busy although all fences are signalled"
    );
    Ok(CheckOutcome::Passed)
}

/// IGT dmabuf_sync_file, import-multiple-read-only: the reservation object keeps the fences of readers separate from those of
/// writers.
fn both_kinds() -> Result<CheckOutcome> {
    let buffer = super::sync::dumb("vgem")?;
    let reservation = buffer.reservation();
    let (reader, writer) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
    reservation.add(&reader.fence(1)?, Access::Read)?;
    check_signalled(&reservation.fence_before(Access::Read)?)?;
    reservation.add(&writer.fence(1)?, Access::Write)?;
    let (reading, writing) = (
        reservation.fence_before(Access::Read)?,
        reservation.fence_before(Access::Write)?,
    );
    check_unsignalled(&reading)?;
    writer.advance(1)?;
    check_signalled(&reading)?;
    check_unsignalled(&writing)?;
    reader.advance(1)?;
    check_signalled(&writing)?;
    Ok(CheckOutcome::Passed)
}

/// IGT vgem_slow, nohang: vgem signals a fence after ten seconds if userspace does not signal it. The fence's status need not be
/// an error.
fn timed_out() -> Result<CheckOutcome> {
    let card = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .find(|card| card.driver() == "vgem")
        .context("no card has the driver vgem")?;
    let buffer = dumb(&card)?;
    let exported = export(&card, buffer.handle())?;
    let reservation = Reservation::of(exported.as_fd())?;
    let began = Instant::now();
    sys::vgem_attach(card.as_fd(), buffer.handle().into(), true)?;
    let fence = reservation.fence_before(Access::Write)?;
    check_unsignalled(&fence)?;
    while !fence.is_signalled()? {
        ensure!(
            began.elapsed() < VGEM_FENCE_TIMEOUT + SLACK,
            "the fence is still pending"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(
        began.elapsed() + Duration::from_secs(1) >= VGEM_FENCE_TIMEOUT,
        "the fence signalled too early, after {:?}",
        began.elapsed()
    );
    let status = fence.status()?;
    ensure!(
        status != FenceStatus::Unsignalled,
        "the fence polls as signalled and its status is {status:?}"
    );
    card.destroy_dumb_buffer(buffer)?;
    Ok(CheckOutcome::Passed)
}
