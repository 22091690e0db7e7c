//! Allocates and imports many buffers. The process must not accumulate fds, dma-bufs or memory.

use std::process;

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::model::Extent;
use covalent_tests::check_support::Sources;
use covalent_tests::judge::bufinfo;
use covalent_tests::judge::process::fd_count;

use super::buffers::{allocate_dumb_buffer, has_display, plan};
use super::{CheckOutcome, CheckRunner};

/// The number of buffers that the theme `soak` allocates from each source.
const LONG: u32 = 100_000;
/// The number of buffers that the theme `soak` allocates from each source of huge pages. The kernel zeroes each huge page
/// completely, which takes half a million instructions or more.
const LONG_HUGE: u32 = 10_000;
/// The number of framebuffers that the theme `soak` creates on each card.
const LONG_IMPORTS: u32 = 20_000;

/// The allowed growth of the resident memory after the first tenth of the rounds, in bytes. It is less than three bytes for each
/// round.
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

/// Allocates and frees `rounds` buffers of a source.
pub(crate) fn allocations(sources: &Sources, id: &str, rounds: u32) -> Result<CheckOutcome> {
    let plan = plan(sources, id, Extent::new(64, 64)?)?;
    expect_no_growth(rounds, || {
        ensure!(
            !sources.allocate(&plan)?.is_empty(),
            "the source allocated no buffer"
        );
        Ok(())
    })
}

/// Checks that framebuffers which are made and removed many times leave nothing.
fn framebuffers(sources: &Sources, card: &Card) -> Result<CheckOutcome> {
    if !has_display(card) {
        return Ok(CheckOutcome::Skipped(
            "the card drives no display".to_owned(),
        ));
    }
    let buffer = allocate_dumb_buffer(sources, card)?;
    expect_no_growth(LONG_IMPORTS, || {
        drop(card.framebuffer(&buffer)?);
        Ok(())
    })
}

/// Calls `act` `rounds` times. After each tenth of the rounds, checks that the process uses no more resources than after the
/// first tenth.
fn expect_no_growth(rounds: u32, mut act: impl FnMut() -> Result<()>) -> Result<CheckOutcome> {
    let mut first = None;
    for tenth in 1..=10 {
        for _ in 0..rounds / 10 {
            act()?;
        }
        // In the first tenth the process's heap grows to its final size.
        let now = ResourceUsage::now()?;
        let first = first.get_or_insert_with(|| now.clone());
        ensure!(
            now.fds == first.fds && now.dma_bufs == first.dma_bufs,
            "after {tenth} tenths of {rounds} rounds the process uses {now:?}, and after the first {first:?}"
        );
        ensure!(
            now.resident_bytes <= first.resident_bytes.saturating_add(GROWTH_BYTES),
            "after {tenth} tenths of {rounds} rounds the process uses {now:?}, and after the first {first:?}"
        );
    }
    Ok(CheckOutcome::Passed)
}

/// The resources that the process and the kernel use.
#[derive(Clone, Debug)]
struct ResourceUsage {
    fds: usize,
    dma_bufs: usize,
    resident_bytes: u64,
}

impl ResourceUsage {
    /// Returns the resources that are in use now.
    fn now() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/self/statm")?;
        let pages = text
            .split_whitespace()
            .nth(1)
            .context("/proc/self/statm has no second field")?;
        Ok(Self {
            fds: fd_count(process::id())?,
            dma_bufs: bufinfo::read()?.len(),
            resident_bytes: pages.parse::<u64>()? * 4096,
        })
    }
}
