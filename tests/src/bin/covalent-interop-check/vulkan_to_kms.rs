//! Vulkan and KMS: a display scans out the buffer that the device wrote, after the device has signalled its fence.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::FormatSet;
use covalent_alloc::model::{FormatModifier, Fourcc};
use covalent_alloc::solve::Plan;
use covalent_tests::check_support::pixels::{colours, pattern, read, resemble};
use covalent_tests::check_support::processor;
use covalent_tests::sw_sync::SwSyncTimeline;

use super::display::Display;
use super::exchange::{self, TIMEOUT, draw, expect_pending, submission_after};
use super::held_picture;
use super::rows::{RowOutcome, Rows};
use super::test_machine::{PlanResult, TestMachine, classify};

/// The formats of which the comparison can compute the colours.
const FORMATS: [Fourcc; 3] = [Fourcc::XRGB8888, Fourcc::XBGR8888, Fourcc::RGB565];

/// The time for which a check observes that a page flip does not happen before its fence.
const PENDING_TIME: Duration = Duration::from_millis(100);

/// The allowed difference of each channel. A display whose channels have fewer bits rounds the colours.
const TOLERANCE: u8 = 8;

pub(crate) fn run(machine: &TestMachine, rows: &mut Rows) {
    let cards: Vec<Card> = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .collect();
    let mut any = false;
    for (gpu, formats) in &machine.gpus {
        let device = &gpu.identity().driver;
        for card in &cards {
            let name = card.driver().to_owned();
            match Display::take(card) {
                Ok(None) => continue,
                Ok(Some(_)) => {}
                Err(error) => {
                    rows.skip(format!("{device} to {name}"), &format!("{error:#}"));
                    continue;
                }
            }
            any = true;
            for fourcc in FORMATS {
                let is_common = formats.contains(&FormatModifier::linear(fourcc))
                    && card
                        .listed_formats()
                        .contains(&FormatModifier::linear(fourcc));
                if is_common
                    && (machine.full || fourcc == Fourcc::XRGB8888 || fourcc == Fourcc::RGB565)
                {
                    rows.row(format!("{device} to {name} in {fourcc}"), || {
                        check_shown(machine, gpu, card, fourcc)
                    });
                }
            }
            rows.row(format!("{device} to {name} after a pending fence"), || {
                match exchange::fences_unavailable(gpu) {
                    Some(skipped) => Ok(skipped),
                    None => shown_after_fence(machine, gpu, card),
                }
            });
        }
    }
    if !any {
        rows.skip("any", "no card of this machine drives a display");
    }
}

/// Plans a buffer that the device draws and the display shows.
fn plan(machine: &TestMachine, gpu: &Gpu, display: &Display, fourcc: Fourcc) -> Result<PlanResult> {
    let extent = display.extent()?;
    let mut shown = display.card.participant(display.plane)?;
    shown.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(fourcc)]))
    });
    let participants = vec![shown, gpu.participant(extent, Some(fourcc))?];
    Ok(machine.plan(extent, participants, machine.sources.declarations()))
}

/// Checks that the display shows the picture that the device drew.
fn check_shown(
    machine: &TestMachine,
    gpu: &Gpu,
    card: &Card,
    fourcc: Fourcc,
) -> Result<RowOutcome> {
    let mut display = Display::take(card)?.context("the display was disconnected")?;
    let plan = match plan(machine, gpu, &display, fourcc)? {
        PlanResult::Plan(plan) => plan,
        PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
    };
    let attempt = |display: &mut Display| -> Result<RowOutcome> {
        let buffer = allocate_one(machine, &plan)?;
        let pixels = pattern(&buffer, 13)?;
        draw(&gpu.import(&buffer)?, &pixels)?;
        let framebuffer = card.framebuffer(&buffer)?;
        display.present(&framebuffer, TIMEOUT)?;
        if !display.has_writeback() {
            return Ok(RowOutcome::PassedWithNote(
                "the flip happened; the card has no writeback connector, so the suite checks the picture from outside"
                    .to_owned(),
            ));
        }
        let back = allocate_writeback(machine, display)?;
        let into = card.framebuffer(&back)?;
        let expected = colours(fourcc, &pixels)?;
        let is_there = || -> Result<bool> {
            let found = colours(Fourcc::XRGB8888, &read(&back)?)?;
            Ok(resemble(&found, &expected, TOLERANCE))
        };
        ensure!(
            display.write_back(&framebuffer, &into, is_there)?,
            "the card's writeback differs from what the device drew"
        );
        Ok(RowOutcome::Passed)
    };
    let outcome = attempt(&mut display);
    classify(&plan, outcome)
}

/// Checks that the display waits for a pending IN_FENCE_FD, which is signalled after the device has drawn.
fn shown_after_fence(machine: &TestMachine, gpu: &Gpu, card: &Card) -> Result<RowOutcome> {
    let mut display = Display::take(card)?.context("the display was disconnected")?;
    if !display.has_in_fence() {
        return Ok(RowOutcome::Skipped(
            "the plane has no IN_FENCE_FD".to_owned(),
        ));
    }
    let plan = match plan(machine, gpu, &display, Fourcc::XRGB8888)? {
        PlanResult::Plan(plan) => plan,
        PlanResult::Impossible(why) => return Ok(RowOutcome::Skipped(why)),
    };
    let attempt = |display: &mut Display| -> Result<RowOutcome> {
        let (before, buffer) = (allocate_one(machine, &plan)?, allocate_one(machine, &plan)?);
        let first = card.framebuffer(&before)?;
        display.show(&first, None)?;
        ensure!(
            display.wait_for_flip(TIMEOUT)?,
            "the first framebuffer is not shown"
        );
        let image = gpu.import(&buffer)?;
        let pixels = pattern(&buffer, 14)?;
        let (slow, done) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
        let writing = image.begin_write(&pixels, submission_after(slow.fence(1)?))?;
        let framebuffer = card.framebuffer(&buffer)?;
        let drawn = done.fence(1)?;
        display.show(&framebuffer, Some(std::os::fd::AsFd::as_fd(&drawn)))?;
        ensure!(
            !display.wait_for_flip(PENDING_TIME)?,
            "the framebuffer is shown before the device began to draw"
        );
        expect_pending(&writing)?;
        slow.advance(1)?;
        ensure!(
            writing.wait(TIMEOUT)?,
            "the device does not complete its work"
        );
        ensure!(
            !display.wait_for_flip(PENDING_TIME)?,
            "the framebuffer is shown before its IN_FENCE_FD is signalled"
        );
        done.advance(1)?;
        ensure!(
            display.wait_for_flip(TIMEOUT)?,
            "the framebuffer is not shown"
        );
        Ok(RowOutcome::PassedWithNote(
            "this thread signals the display's fence after the device's completion".to_owned(),
        ))
    };
    let outcome = attempt(&mut display);
    classify(&plan, outcome)
}

fn allocate_one(machine: &TestMachine, plan: &Plan) -> Result<Buffer> {
    machine
        .sources
        .allocate(plan)?
        .pop()
        .context("the source allocated no buffer")
}

/// Allocates a dumb buffer of the card, into which the card writes its output.
pub(crate) fn allocate_writeback(machine: &TestMachine, display: &Display) -> Result<Buffer> {
    let mut sources = machine.sources.declarations();
    sources.retain(|source| {
        source.id.as_str().starts_with("dumb:") && source.is_of(display.card.identity())
    });
    let participants = vec![processor(Fourcc::XRGB8888)];
    match machine.plan(display.extent()?, participants, sources) {
        PlanResult::Plan(plan) => allocate_one(machine, &plan),
        PlanResult::Impossible(why) => anyhow::bail!("{why}"),
    }
}

/// Shows one picture until standard input ends, so that another program can check the display.
pub(crate) fn show(machine: &TestMachine, card: &str, seed: usize) -> Result<()> {
    let card = Card::open(card.as_ref())?;
    let mut display = Display::take(&card)?.context("the card drives no connected display")?;
    let (gpu, _) = machine
        .gpus
        .first()
        .context("the machine has no Vulkan device")?;
    let plan = match plan(machine, gpu, &display, Fourcc::XRGB8888)? {
        PlanResult::Plan(plan) => plan,
        PlanResult::Impossible(why) => anyhow::bail!("{why}"),
    };
    let buffer = allocate_one(machine, &plan)?;
    draw(&gpu.import(&buffer)?, &pattern(&buffer, seed)?)?;
    let framebuffer = card.framebuffer(&buffer)?;
    display.present(&framebuffer, TIMEOUT)?;
    held_picture::hold(&format!(
        "shown {} from {}",
        gpu.identity().driver,
        plan.source_name()
    ))
}
