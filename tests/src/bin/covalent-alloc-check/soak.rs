//! Buffers that are made and freed without end.

use std::process;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::model::Extent;
use covalent_tests::check_support::Sources;
use covalent_tests::judge::bufinfo;
use covalent_tests::judge::process::fd_count;

use super::buffers::{own, plan, shows};
use super::{CheckOutcome, CheckRunner};

/// How many a long soak makes of each source.
const LONG: u32 = 100_000;
/// Huge pages are zeroed whole each time, half a million instructions and more.
const LONG_HUGE: u32 = 10_000;
/// How many framebuffers a long soak makes of each card.
const LONG_IMPORTS: u32 = 20_000;

/// What may be resident more at the end than after the first tenth: less than three bytes a round in a long soak.
const GROWTH_BYTES: u64 = 256 << 10;

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    runner.watch(&sources);
    for source in sources.declarations() {
        let id = source.id.as_str();
        let rounds = if id.starts_with("udmabuf:") {
            LONG_HUGE
        } else {
            LONG
        };
        runner.check(&format!("soak::{rounds}_from_{id}_leave_nothing"), || {
            allocations(&sources, id, rounds)
        });
    }
    for card in sources.cards() {
        let name = card.path().display();
        runner.check(
            &format!("soak::{LONG_IMPORTS}_framebuffers_on_{name}_leave_nothing"),
            || framebuffers(&sources, card),
        );
    }
}

/// Makes and frees `rounds` buffers of a source.
pub(crate) fn allocations(sources: &Sources, id: &str, rounds: u32) -> Result<CheckOutcome> {
    let plan = plan(sources, id, Extent::new(64, 64)?)?;
    level(rounds, || {
        ensure!(!sources.allocate(&plan)?.is_empty(), "no buffer");
        Ok(())
    })
}

fn framebuffers(sources: &Sources, card: &Card) -> Result<CheckOutcome> {
    if !shows(card) {
        return Ok(CheckOutcome::Skipped(
            "the card drives no display".to_owned(),
        ));
    }
    let buffer = own(sources, card)?;
    level(LONG_IMPORTS, || {
        drop(card.framebuffer(&buffer)?);
        Ok(())
    })
}

/// Looks ten times what is held while something is done again and again: each time the same.
fn level(rounds: u32, mut act: impl FnMut() -> Result<()>) -> Result<CheckOutcome> {
    let mut first = None;
    for tenth in 1..=10 {
        for _ in 0..rounds / 10 {
            act()?;
        }
        // The process's own memory grows to what it needs in the first tenth.
        let now = ResourceUsage::now()?;
        let first = first.get_or_insert_with(|| now.clone());
        ensure!(
            now.fds == first.fds && now.dma_bufs == first.dma_bufs,
            "after {tenth} tenths of {rounds}: {now:?}, and after one {first:?}"
        );
        ensure!(
            now.resident_bytes <= first.resident_bytes.saturating_add(GROWTH_BYTES),
            "after {tenth} tenths of {rounds}: {now:?}, and after one {first:?}"
        );
    }
    Ok(CheckOutcome::Passed)
}

#[derive(Clone, Debug)]
struct ResourceUsage {
    fds: usize,
    dma_bufs: usize,
    resident_bytes: u64,
}

impl ResourceUsage {
    fn now() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/self/statm")?;
        let pages = text.split_whitespace().nth(1).context("statm")?;
        Ok(Self {
            fds: fd_count(process::id())?,
            dma_bufs: bufinfo::read()?.len(),
            resident_bytes: pages.parse::<u64>()? * 4096,
        })
    }
}
