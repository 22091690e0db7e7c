//! What allocations cost, in nanoseconds of the guest's clock.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::buffer::{ContentOwner, Pool};
use covalent_tests::witness::Sources;
use serde::Serialize;

use super::contest::Contest;

/// How many times a pool gives a buffer in one round: one time is as short as reading the clock.
const HITS: u64 = 100;

/// When the pages of a buffer are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pages {
    /// When it is allocated.
    Given,
    /// When they are touched: of an allocation nothing but its name was made.
    Owed,
    /// Owed, and all of them touched by a mapping, as a part of what was measured.
    Touched,
}

/// What one source and size cost: medians of all rounds but the first, each of one allocation and its end.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    source: String,
    bytes: u32,
    pages: Pages,
    /// By the bare ioctls.
    bare: u64,
    /// Through the crate.
    ours: u64,
    /// The same buffer again, from a pool and back.
    pool_hit: u64,
}

/// Measures every source in every size; both ways take turns, so that what changes with time meets both alike.
pub(super) fn measure(prefix: &str, rounds: usize) -> Result<Vec<Cost>> {
    ensure!(rounds >= 2, "the first round does not count");
    let sources = Sources::discover();
    let mut contests = Contest::all(&sources)?;
    contests.retain(|contest| contest.source.starts_with(prefix));
    ensure!(!contests.is_empty(), "no source begins with {prefix}");
    let mut costs = Vec::new();
    for of_one in contests.chunk_by(|one, other| one.source == other.source) {
        let named = || of_one.first().map(|contest| contest.source.clone());
        let mut measured = of_one
            .iter()
            .map(|contest| one(contest, Pages::Given, rounds))
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("{:?}", named()))?;
        // Memory that has to be zeroed costs more the more there is of it.
        let bare = |cost: Option<&Cost>| cost.map_or(0, |cost| cost.bare);
        if bare(measured.last()) < bare(measured.first()).saturating_mul(2) {
            for cost in &mut measured {
                cost.pages = Pages::Owed;
            }
            for contest in of_one {
                measured.push(one(contest, Pages::Touched, rounds)?);
            }
        }
        costs.append(&mut measured);
    }
    Ok(costs)
}

fn one(contest: &Contest<'_>, pages: Pages, rounds: usize) -> Result<Cost> {
    let (mut bare, mut ours, mut hits) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut turn = |first: bool| -> Result<()> {
            settle();
            let from = Instant::now();
            if first {
                let fd = contest.bare()?;
                if pages == Pages::Touched {
                    contest.fill(fd.as_fd())?;
                }
            } else {
                let buffers = contest.ours()?;
                if pages == Pages::Touched {
                    let memory = buffers.first().and_then(|buffer| buffer.dmabuf_fd(0));
                    contest.fill(memory.context("no memory")?)?;
                }
            }
            let into = if first { &mut bare } else { &mut ours };
            into.push(nanoseconds(from)?);
            Ok(())
        };
        // What the one leaves in the kernel's lists the other finds.
        let first = round % 2 == 0;
        turn(first)?;
        turn(!first)?;
        hits.push(pool_hit(contest)?);
    }
    Ok(Cost {
        source: contest.source.clone(),
        bytes: contest.bytes,
        pages,
        bare: median(&bare),
        ours: median(&ours),
        pool_hit: median(&hits),
    })
}

/// Takes one buffer of a pool again and again.
fn pool_hit(contest: &Contest<'_>) -> Result<u64> {
    let (pool, owner) = (Pool::new(u64::MAX), ContentOwner::new());
    let take = || -> Result<()> {
        let taken = pool.take(owner, &contest.plan, |_| contest.ours())?;
        taken.map(drop).context("no buffer")
    };
    take()?;
    let from = Instant::now();
    for _ in 0..HITS {
        take()?;
    }
    Ok(nanoseconds(from)?.div_ceil(HITS))
}

/// Lets a card's driver free what was dropped: it does so when the device has answered, in a thread of the kernel.
fn settle() {
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(2));
    }
}

fn nanoseconds(from: Instant) -> Result<u64> {
    Ok(u64::try_from(from.elapsed().as_nanos())?)
}

/// The middle of all but the first, which fills the caches and lists of process and kernel.
fn median(rounds: &[u64]) -> u64 {
    let mut counted: Vec<u64> = rounds.iter().skip(1).copied().collect();
    counted.sort_unstable();
    counted.get(counted.len() / 2).copied().unwrap_or_default()
}

/// Prints the medians for a person.
pub(super) fn table(costs: &[Cost]) {
    println!("| source | bytes | pages | bare ns | ours ns | more | ours / bare | pool hit ns |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for cost in costs {
        let (bare, ours) = (cost.bare, cost.ours);
        println!(
            "| {} | {} | {:?} | {bare} | {ours} | {} | {:.4} | {} |",
            cost.source,
            cost.bytes,
            cost.pages,
            ours.saturating_sub(bare),
            ratio(ours, bare),
            cost.pool_hit,
        );
    }
}

#[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_leaves_the_first_out() {
        assert_eq!(median(&[1000, 3, 1, 2]), 2);
        assert_eq!(median(&[7]), 0);
    }
}
