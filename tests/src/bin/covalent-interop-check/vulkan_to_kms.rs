//! What Vulkan draws a display shows: scanned out of the buffer that the device wrote, behind its fence.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::FormatSet;
use covalent_alloc::model::{FormatModifier, Fourcc};
use covalent_alloc::solve::Plan;
use covalent_tests::sw_sync::SwSyncTimeline;
use covalent_tests::witness::pixels::{colours, pattern, read, resemble};
use covalent_tests::witness::processor;

use super::display::Display;
use super::exchange::{self, PATIENCE, after, draw, goes_on};
use super::rows::{Rows, Seen};
use super::world::{Planned, World, judge};

/// Formats of which it is known which colours their bytes are.
const FORMATS: [Fourcc; 3] = [Fourcc::XRGB8888, Fourcc::XBGR8888, Fourcc::RGB565];

/// How long a flip is waited for that must not come.
const HELD_BACK: Duration = Duration::from_millis(100);

/// How far channels may be apart: a display with fewer bits rounds.
const TOLERANCE: u8 = 8;

pub(crate) fn run(world: &World, rows: &mut Rows) {
    let cards: Vec<Card> = Card::list()
        .iter()
        .filter_map(|path| Card::open(path).ok())
        .collect();
    let mut any = false;
    for (gpu, formats) in &world.gpus {
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
                    && (world.full || fourcc == Fourcc::XRGB8888 || fourcc == Fourcc::RGB565)
                {
                    rows.row(format!("{device} to {name} in {fourcc}"), || {
                        shown(world, gpu, card, fourcc)
                    });
                }
            }
            rows.row(format!("{device} to {name} behind a held fence"), || {
                match exchange::cannot_hold(gpu) {
                    Some(seen) => Ok(seen),
                    None => flipped(world, gpu, card),
                }
            });
        }
    }
    if !any {
        rows.skip("any", "no card here drives a display");
    }
}

fn plan(world: &World, gpu: &Gpu, display: &Display, fourcc: Fourcc) -> Result<Planned> {
    let extent = display.extent()?;
    let mut shown = display.card.participant(display.plane)?;
    shown.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(fourcc)]))
    });
    let participants = vec![shown, gpu.participant(extent, Some(fourcc))?];
    Ok(world.plan(extent, participants, world.sources.declarations()))
}

/// The picture that the display shows is the one that the device drew.
fn shown(world: &World, gpu: &Gpu, card: &Card, fourcc: Fourcc) -> Result<Seen> {
    let mut display = Display::take(card)?.context("the display is gone")?;
    let plan = match plan(world, gpu, &display, fourcc)? {
        Planned::Plan(plan) => plan,
        Planned::Impossible(why) => return Ok(Seen::Skipped(why)),
    };
    let attempt = |display: &mut Display| -> Result<Seen> {
        let buffer = one(world, &plan)?;
        let pixels = pattern(&buffer, 13)?;
        draw(&gpu.import(&buffer)?, &pixels)?;
        let framebuffer = card.framebuffer(&buffer)?;
        display.show(&framebuffer, None)?;
        ensure!(display.flipped(PATIENCE)?, "it is never shown");
        if !display.writes_back() {
            return Ok(Seen::PassedBut(
                "it flipped; this card writes nothing back, so its picture is judged from outside"
                    .to_owned(),
            ));
        }
        let back = written(world, display)?;
        let into = card.framebuffer(&back)?;
        let expected = colours(fourcc, &pixels)?;
        let is_there = || -> Result<bool> {
            let found = colours(Fourcc::XRGB8888, &read(&back)?)?;
            Ok(resemble(&found, &expected, TOLERANCE))
        };
        ensure!(
            display.write_back(&framebuffer, &into, is_there)?,
            "what the card writes back is not what the device drew"
        );
        Ok(Seen::Passed)
    };
    let seen = attempt(&mut display);
    judge(&plan, seen)
}

/// The display waits for a fence that is held back, which signals when the device has drawn.
fn flipped(world: &World, gpu: &Gpu, card: &Card) -> Result<Seen> {
    let mut display = Display::take(card)?.context("the display is gone")?;
    if !display.takes_fences() {
        return Ok(Seen::Skipped("its plane waits for no fence".to_owned()));
    }
    let plan = match plan(world, gpu, &display, Fourcc::XRGB8888)? {
        Planned::Plan(plan) => plan,
        Planned::Impossible(why) => return Ok(Seen::Skipped(why)),
    };
    let attempt = |display: &mut Display| -> Result<Seen> {
        let (before, buffer) = (one(world, &plan)?, one(world, &plan)?);
        let first = card.framebuffer(&before)?;
        display.show(&first, None)?;
        ensure!(display.flipped(PATIENCE)?, "nothing is shown");
        let image = gpu.import(&buffer)?;
        let pixels = pattern(&buffer, 14)?;
        let (slow, done) = (SwSyncTimeline::new()?, SwSyncTimeline::new()?);
        let writing = image.begin_write(&pixels, after(slow.fence(1)?))?;
        let framebuffer = card.framebuffer(&buffer)?;
        let drawn = done.fence(1)?;
        display.show(&framebuffer, Some(std::os::fd::AsFd::as_fd(&drawn)))?;
        ensure!(
            !display.flipped(HELD_BACK)?,
            "it is shown before the fence that it had to wait for"
        );
        goes_on(&writing)?;
        slow.advance(1)?;
        ensure!(writing.wait(PATIENCE)?, "the device does not end");
        ensure!(!display.flipped(HELD_BACK)?, "it is shown too early");
        done.advance(1)?;
        ensure!(display.flipped(PATIENCE)?, "it is never shown");
        Ok(Seen::PassedBut(
            "the device's completion reaches the display's fence from this thread".to_owned(),
        ))
    };
    let seen = attempt(&mut display);
    judge(&plan, seen)
}

fn one(world: &World, plan: &Plan) -> Result<Buffer> {
    world.sources.allocate(plan)?.pop().context("no buffer")
}

/// A buffer for what the card writes back: its own memory.
fn written(world: &World, display: &Display) -> Result<Buffer> {
    let mut sources = world.sources.declarations();
    sources.retain(|source| {
        source.id.as_str().starts_with("dumb:") && source.is_of(display.card.identity())
    });
    let participants = vec![processor(Fourcc::XRGB8888)];
    match world.plan(display.extent()?, participants, sources) {
        Planned::Plan(plan) => one(world, &plan),
        Planned::Impossible(why) => anyhow::bail!("{why}"),
    }
}

/// Shows one picture until standard input ends, for who judges it from outside.
pub(crate) fn show(world: &World, card: &str, seed: usize) -> Result<()> {
    let card = Card::open(card.as_ref())?;
    let mut display = Display::take(&card)?.context("it drives no display")?;
    let (gpu, _) = world.gpus.first().context("no Vulkan device")?;
    let plan = match plan(world, gpu, &display, Fourcc::XRGB8888)? {
        Planned::Plan(plan) => plan,
        Planned::Impossible(why) => anyhow::bail!("{why}"),
    };
    let buffer = one(world, &plan)?;
    draw(&gpu.import(&buffer)?, &pattern(&buffer, seed)?)?;
    let framebuffer = card.framebuffer(&buffer)?;
    display.show(&framebuffer, None)?;
    ensure!(display.flipped(PATIENCE)?, "it is never shown");
    println!(
        "shown {} from {}",
        gpu.identity().driver,
        plan.source_name()
    );
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}
