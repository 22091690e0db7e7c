//! Measures the time of allocations in nanoseconds.

use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::buffer::{ContentOwner, Pool};
use covalent_tests::check_support::Sources;
use serde::Serialize;

use super::bench_case::BenchCase;

/// The number of times that the pool lends its buffer in one round. Lending it once takes as little time as reading the clock.
const HITS: u64 = 100;

/// The time at which the kernel allocates the pages of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pages {
    /// The kernel allocates the pages together with the buffer.
    #[serde(rename = "given")]
    AtAllocation,
    /// The kernel allocates the pages at the first access. The measured time does not include an access.
    #[serde(rename = "owed")]
    OnAccess,
    /// The kernel allocates the pages at the first access. The measured time includes an access to every page.
    #[serde(rename = "touched")]
    OnAccessIncluded,
}

/// The times for one source and buffer size in nanoseconds. Each is the median of all rounds except the first. Each round
/// allocates and frees one buffer.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    source: String,
    bytes: u32,
    pages: Pages,
    /// The time with the bare ioctls.
    bare: u64,
    /// The time through covalent-alloc.
    ours: u64,
    /// The time to take a free buffer from a pool and to return it.
    pool_hit: u64,
}

/// Measures every source in every size. The two methods alternate, so that slow changes of the system affect both equally.
pub(super) fn measure(prefix: &str, rounds: usize) -> Result<Vec<Cost>> {
    ensure!(
        rounds >= 2,
        "--rounds has to be at least 2, because the first round is not counted"
    );
    let sources = Sources::discover();
    let mut cases = BenchCase::all(&sources)?;
    cases.retain(|case| case.source.starts_with(prefix));
    ensure!(
        !cases.is_empty(),
        "no source has an identifier that begins with {prefix}"
    );
    let mut costs = Vec::new();
    for of_source in cases.chunk_by(|one, other| one.source == other.source) {
        let named = || of_source.first().map(|case| case.source.clone());
        let mut measured = of_source
            .iter()
            .map(|case| measure_case(case, Pages::AtAllocation, rounds))
            .collect::<Result<Vec<_>>>()
            .with_context(|| format!("{:?}", named()))?;
        // The kernel needs time in proportion to the size to zero pages. If a large buffer takes about as long as a small one,
        // its pages are allocated later.
        let bare = |cost: Option<&Cost>| cost.map_or(0, |cost| cost.bare);
        if bare(measured.last()) < bare(measured.first()).saturating_mul(2) {
            for cost in &mut measured {
                cost.pages = Pages::OnAccess;
            }
            for case in of_source {
                measured.push(measure_case(case, Pages::OnAccessIncluded, rounds)?);
            }
        }
        costs.append(&mut measured);
    }
    Ok(costs)
}

/// Measures `rounds` rounds of a case, alternately with the bare ioctls and through the crate.
fn measure_case(case: &BenchCase<'_>, pages: Pages, rounds: usize) -> Result<Cost> {
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut measure = |use_bare: bool| -> Result<()> {
            wait_for_kernel_frees();
            let from = Instant::now();
            if use_bare {
                let fd = case.bare_ioctls()?;
                if pages == Pages::OnAccessIncluded {
                    case.fill(fd.as_fd())?;
                }
            } else {
                let buffers = case.through_crate()?;
                if pages == Pages::OnAccessIncluded {
                    let memory = buffers.first().and_then(|buffer| buffer.dmabuf_fd(0));
                    case.fill(memory.context("the buffer has no dma-buf")?)?;
                }
            }
            let into = if use_bare { &mut bare } else { &mut ours };
            into.push(nanoseconds(from)?);
            Ok(())
        };
        // The second method may reuse pages that the first method freed, so the order of the methods alternates.
        let bare_first = round % 2 == 0;
        measure(bare_first)?;
        measure(!bare_first)?;
    }
    Ok(Cost {
        source: case.source.clone(),
        bytes: case.bytes,
        pages,
        bare: median(&bare),
        ours: median(&ours),
        pool_hit: median(&pool_hits(case, rounds)?),
    })
}

/// Returns the mean time of each round in which a pool lends a free buffer and gets it back. All rounds use the same buffer.
fn pool_hits(case: &BenchCase<'_>, rounds: usize) -> Result<Vec<u64>> {
    let (pool, owner) = (Pool::new(u64::MAX), ContentOwner::new());
    let take = || -> Result<()> {
        let taken = pool.take(owner, &case.plan, |_| case.through_crate())?;
        taken.map(drop).context("the pool returned no buffer")
    };
    take()?;
    let round = |_| -> Result<u64> {
        let from = Instant::now();
        for _ in 0..HITS {
            take()?;
        }
        Ok(nanoseconds(from)?.div_ceil(HITS))
    };
    (0..rounds).map(round).collect()
}

/// Waits until drivers have freed dropped buffers. virtio-gpu frees them in a kernel thread after the device's response.
fn wait_for_kernel_frees() {
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(2));
    }
}

fn nanoseconds(from: Instant) -> Result<u64> {
    Ok(u64::try_from(from.elapsed().as_nanos())?)
}

/// Returns the median of all rounds except the first, which fills caches of the process and the kernel.
fn median(rounds: &[u64]) -> u64 {
    let mut counted: Vec<u64> = rounds.iter().skip(1).copied().collect();
    counted.sort_unstable();
    counted.get(counted.len() / 2).copied().unwrap_or_default()
}

/// Prints the medians as a table.
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

/// Returns how many times as large as `other` the number `one` is.
#[allow(clippy::cast_precision_loss, reason = "four digits are shown")]
fn ratio(one: u64, other: u64) -> f64 {
    one as f64 / other.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ignores_the_first_round() {
        assert_eq!(median(&[1000, 3, 1, 2]), 2);
        assert_eq!(median(&[7]), 0);
    }
}
