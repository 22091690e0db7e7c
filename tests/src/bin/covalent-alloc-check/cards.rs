//! Checks every card: buffers of every source become framebuffers, the open file does not stay DRM master, and a refused
//! framebuffer leaks no GEM handle.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::{Card, DrmError, PlaneKind};
use covalent_alloc::constraint::Participant;
use covalent_alloc::model::Fourcc;
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::{processor, vga};
use drm::Device as _;
use drm::control::Device as _;

use super::{CheckOutcome, CheckRunner};

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    runner.watch(&sources);
    for card in sources.cards() {
        let path = card.path();
        let name = path.display().to_string();
        runner.check(&format!("cards::{name}::opening_leaves_no_master"), || {
            let card = Card::open(path)?;
            let other = RawCard(File::options().read(true).write(true).open(path)?);
            // The first process that opens a card without a master becomes its master. Only the master can drop master.
            other
                .release_master_lock()
                .context("the first open file of the card is still DRM master")?;
            drop(card);
            Ok(CheckOutcome::Passed)
        });
        runner.check(
            &format!("cards::{name}::primary_and_render_node_open_the_same_card"),
            || {
                let card = Card::open(path)?;
                for node in std::fs::read_dir("/dev/dri")?.flatten() {
                    let number = node.metadata()?.rdev();
                    if let Ok(found) = Card::open_by_device(number) {
                        let same = found.identity().same_device(card.identity());
                        ensure!(
                            !same || found.path() == card.path(),
                            "{} is not {name}",
                            found.path().display()
                        );
                    }
                }
                ensure!(
                    Card::open_by_device(0x7fff_ffff).is_err(),
                    "a device number without a device opened a card"
                );
                Ok(CheckOutcome::Passed)
            },
        );
        runner.check(
            &format!("cards::{name}::framebuffer_that_is_refused_leaves_no_handle"),
            || refused_framebuffer(&sources, card),
        );
        for source in sources.declarations() {
            runner.check(
                &format!("cards::{name}::framebuffer_from_{}", source.id),
                || {
                    let Some(display) = display(card)? else {
                        return Ok(CheckOutcome::Skipped(
                            "the card drives no display".to_owned(),
                        ));
                    };
                    let request = Request {
                        participants: vec![display],
                        sources: vec![source.clone()],
                        preferred_fourcc: Some(Fourcc::XRGB8888),
                        ..Request::new(vga()?)
                    };
                    let (plan, verdict) = match solve(&request) {
                        Solution::Share(plan) => {
                            let verdict = plan.verdict();
                            (plan, Some(verdict))
                        }
                        _ => {
                            let alone = Request {
                                participants: vec![processor(Fourcc::XRGB8888)],
                                ..request
                            };
                            match solve(&alone) {
                                Solution::Share(plan) => (plan, None),
                                solution => bail!("{}", solution.explain()),
                            }
                        }
                    };
                    let buffers = sources.allocate(&plan)?;
                    let buffer = buffers.first().context("the source allocated no buffer")?;
                    match (verdict, card.framebuffer(buffer)) {
                        (Some(_), Ok(framebuffer)) => {
                            let second = card
                                .framebuffer(buffer)
                                .context("import the same buffer a second time")?;
                            ensure!(
                                second.handle() != framebuffer.handle(),
                                "two framebuffers of one buffer have the same id"
                            );
                            drop(framebuffer);
                            let second = card
                                .get_framebuffer(second.handle())
                                .context("dropping the first framebuffer removed the second")?;
                            // DRM_IOCTL_MODE_GETFB returns a new GEM handle to root, which must be closed.
                            if let Some(handle) = second.buffer() {
                                card.close_buffer(handle)?;
                            }
                            Ok(CheckOutcome::Passed)
                        }
                        (Some(Verdict::Guaranteed), Err(error)) => {
                            Err(error).context("the import failed although the solver guarantees it")
                        }
                        (Some(_), Err(error)) => Ok(CheckOutcome::Skipped(format!(
                            "the import is possible but not guaranteed, and failed: {error}"
                        ))),
                        (None, Err(DrmError::Import { .. })) => Ok(CheckOutcome::Passed),
                        (None, Err(error)) => Err(error)
                            .context("the import failed as the solver predicts, but with an unexpected error"),
                        (None, Ok(_)) => bail!("the import succeeded although the solver says that it is impossible"),
                    }
                },
            );
        }
    }
}

/// Checks that the card refuses a framebuffer in UYVY, which no plane of these cards supports. The card allocated the buffer
/// itself, so only the framebuffer can be refused, and not the import of the dma-buf.
fn refused_framebuffer(sources: &Sources, card: &Card) -> Result<CheckOutcome> {
    let mut request = Request::new(vga()?);
    request.participants.push(processor(Fourcc::UYVY));
    request.sources = sources.declarations();
    request
        .sources
        .retain(|source| source.id.as_str().starts_with("dumb:") && source.is_of(card.identity()));
    let Solution::Share(plan) = solve(&request) else {
        return Ok(CheckOutcome::Skipped(
            "the card has no dumb buffers".to_owned(),
        ));
    };
    let buffers = sources.allocate(&plan)?;
    match card.framebuffer(buffers.first().context("the source allocated no buffer")?) {
        Err(DrmError::Request { .. }) => Ok(CheckOutcome::Passed),
        Err(error) => Err(error).context("the framebuffer was refused with an unexpected error"),
        Ok(_) => bail!("the card created a framebuffer in UYVY, which no plane supports"),
    }
}

/// A card that is opened without covalent-alloc.
struct RawCard(File);

impl std::os::fd::AsFd for RawCard {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for RawCard {}

/// Returns the card's first primary plane as a participant; `None` if the card drives no display.
fn display(card: &Card) -> Result<Option<Participant>> {
    // Without DRM_CLIENT_CAP_UNIVERSAL_PLANES, GETPLANERESOURCES lists only overlay planes.
    let _ = card.set_client_capability(drm::ClientCapability::UniversalPlanes, true);
    for plane in card.plane_handles().unwrap_or_default() {
        if card.plane_kind(plane)? == PlaneKind::Primary {
            return Ok(Some(card.participant(plane)?));
        }
    }
    Ok(None)
}
