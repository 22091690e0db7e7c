//! Buffer pools, import caches, dma-buf names and descriptors, and allocation from many threads.

use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::buffer::{
    Buffer, ContentOwner, CpuAccess, Descriptor, PlaneDescriptor, Pool, Pooled, reference_count,
};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_tests::check_support::Sources;
use covalent_tests::check_support::pixels;
use covalent_tests::check_support::{processor, vga};

use super::{CheckOutcome, CheckRunner, import_cache, soak};

pub(crate) fn run(runner: &mut CheckRunner) {
    let sources = Sources::discover();
    runner.watch(&sources);
    for source in sources.declarations() {
        let id = source.id.as_str();
        runner.check(
            &format!("buffers::pool_over_{id}_reuses_a_buffer_of_the_same_owner"),
            || pool_reuses_a_buffer_of_the_same_owner(&sources, id),
        );
        runner.check(
            &format!("buffers::pool_over_{id}_zeroes_for_another_owner"),
            || pool_zeroes_for_another_owner(&sources, id),
        );
    }
    runner.check("buffers::pool_does_not_give_on_what_another_holds", || {
        pool_does_not_give_on_what_another_holds(&sources)
    });
    runner.check("buffers::pool_keeps_no_more_than_its_limit", || {
        pool_keeps_no_more_than_its_limit(&sources)
    });
    runner.check("buffers::pool_without_an_allocation_reports_it", || {
        pool_without_an_allocation_reports_it(&sources)
    });
    runner.check("buffers::name_is_what_fdinfo_shows", || {
        name_is_what_fdinfo_shows(&sources)
    });
    runner.check("buffers::planes_with_fds_of_one_dma_buf_share_it", || {
        planes_with_fds_of_one_dma_buf_share_it(&sources)
    });
    runner.check(
        "buffers::fd_that_is_closed_or_has_no_file_is_refused",
        fd_that_is_closed_or_has_no_file_is_refused,
    );
    for card in sources.cards() {
        let name = card.path().display();
        runner.check(
            &format!("buffers::import_into_{name}_is_made_once_and_not_kept"),
            || import_cache::cached(&sources, card),
        );
        runner.check(
            &format!("buffers::threads_that_import_and_close_on_{name}_leak_nothing"),
            || import_cache::racing(&sources, card),
        );
    }
    for source in sources.declarations() {
        let id = source.id.as_str();
        runner.check(&format!("buffers::hundred_threads_take_from_{id}"), || {
            hundred_threads_take_from_a_source(&sources, id)
        });
        runner.check(
            &format!("buffers::thousands_from_{id}_leave_nothing"),
            || soak::allocations(&sources, id, 2000),
        );
    }
}

/// Plans a picture in XRGB8888 that the CPU accesses, from the source `id`.
pub(crate) fn plan(sources: &Sources, id: &str, extent: Extent) -> Result<Plan> {
    let mut request = Request::new(extent);
    request.participants.push(processor(Fourcc::XRGB8888));
    request.sources = sources.declarations();
    request.sources.retain(|source| source.id.as_str() == id);
    match solve(&request) {
        Solution::Share(plan) => Ok(plan),
        solution => bail!("{}", solution.explain()),
    }
}

/// Takes a buffer from the pool. If the pool has none, the sources allocate it.
fn take(pool: &Pool, owner: ContentOwner, plan: &Plan, sources: &Sources) -> Result<Pooled> {
    let taken = pool.take(owner, plan, |plan| sources.allocate(plan))?;
    taken.context("the source allocated no buffer")
}

fn pool_reuses_a_buffer_of_the_same_owner(sources: &Sources, id: &str) -> Result<CheckOutcome> {
    let (pool, owner) = (Pool::new(u64::MAX), ContentOwner::new());
    let plan = plan(sources, id, vga()?)?;
    let first = take(&pool, owner, &plan, sources)?;
    ensure!(!first.is_reused(), "a new pool returned a used buffer");
    let identity = first.identity();
    let pattern = pixels::pattern(&first, 1)?;
    pixels::write(&first, &pattern)?;
    drop(first);
    // The pool has a free buffer, so it must not call this function.
    let must_not_allocate = |_: &Plan| -> Result<Vec<Buffer>> {
        bail!("the pool allocated although it has a free buffer")
    };
    for _ in 0..1000 {
        let again = pool
            .take(owner, &plan, must_not_allocate)?
            .context("the pool returned no buffer")?;
        ensure!(
            again.is_reused() && again.identity() == identity,
            "the pool did not return its free buffer"
        );
    }
    let again = pool
        .take(owner, &plan, must_not_allocate)?
        .context("the pool returned no buffer")?;
    pixels::same(&pixels::read(&again)?, &pattern)?;
    // The pool does not lend a buffer again while it is in use.
    let second = take(&pool, owner, &plan, sources)?;
    ensure!(
        second.identity() != identity,
        "the pool lent a buffer that is in use"
    );
    Ok(CheckOutcome::Passed)
}

fn pool_zeroes_for_another_owner(sources: &Sources, id: &str) -> Result<CheckOutcome> {
    let pool = Pool::new(u64::MAX);
    // At this size the dma-buf has padding after the picture, because dma-bufs consist of whole pages.
    let plan = plan(sources, id, Extent::new(642, 481)?)?;
    let first = take(&pool, ContentOwner::new(), &plan, sources)?;
    let whole = whole_dmabuf(&first)?;
    let size = usize::try_from(whole.layout().total_bytes())?;
    let mapping = whole.map()?;
    mapping
        .access(CpuAccess::Write)?
        .write(0, 0, &vec![0xa5; size])?;
    drop(mapping);
    drop(whole);
    let identity = first.identity();
    drop(first);
    let second = take(&pool, ContentOwner::new(), &plan, sources)?;
    ensure!(
        second.is_reused() && second.identity() == identity,
        "the pool did not reuse the buffer for another owner"
    );
    let whole = whole_dmabuf(&second)?;
    let mut bytes = vec![0xff; size];
    whole
        .map()?
        .access(CpuAccess::Read)?
        .read(0, 0, &mut bytes)?;
    let dirty = bytes.iter().filter(|byte| **byte != 0).count();
    ensure!(
        dirty == 0,
        "{dirty} of {size} bytes that another owner wrote were not zeroed"
    );
    Ok(CheckOutcome::Passed)
}

/// Imports the whole dma-buf, padding included, as one plane of bytes.
fn whole_dmabuf(buffer: &Buffer) -> Result<Buffer> {
    let size = buffer
        .layout()
        .memory_sizes()
        .first()
        .context("the buffer has no dma-buf")?;
    let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let rows = u32::try_from(size / 4096)?;
    Ok(Buffer::import(Descriptor {
        extent: Extent::new(4096, rows)?,
        format: FormatModifier::linear(Fourcc::R8),
        planes: vec![PlaneDescriptor {
            fd: fd.try_clone_to_owned()?,
            offset_bytes: 0,
            stride_bytes: 4096,
        }],
    })?)
}

fn pool_does_not_give_on_what_another_holds(sources: &Sources) -> Result<CheckOutcome> {
    let pool = Pool::new(u64::MAX);
    let plan = plan(sources, "heap:system", vga()?)?;
    let first = take(&pool, ContentOwner::new(), &plan, sources)?;
    let identity = first.identity();
    // The duplicated fd keeps the dma-buf open, as an fd in another process would.
    let held = first
        .dmabuf_fd(0)
        .context("the buffer has no dma-buf")?
        .try_clone_to_owned()?;
    drop(first);
    let second = take(&pool, ContentOwner::new(), &plan, sources)?;
    ensure!(
        !second.is_reused(),
        "the pool reused a buffer whose dma-buf is held elsewhere"
    );
    ensure!(
        reference_count(&held) == Some(1),
        "the pool keeps a dma-buf that it may not reuse"
    );
    drop(second);
    // A clone of the buffer keeps it in use.
    let owner = ContentOwner::new();
    let third = take(&pool, owner, &plan, sources)?;
    let clone = Buffer::clone(&third);
    drop(third);
    let fourth = take(&pool, owner, &plan, sources)?;
    ensure!(
        fourth.identity() != clone.identity(),
        "the pool lent a buffer that a clone still uses"
    );
    ensure!(
        fourth.identity() != identity,
        "the pool reused a buffer whose dma-buf is held elsewhere"
    );
    Ok(CheckOutcome::Passed)
}

fn pool_keeps_no_more_than_its_limit(sources: &Sources) -> Result<CheckOutcome> {
    let plan = plan(sources, "heap:system", vga()?)?;
    let one = plan.layout().total_bytes();
    let (pool, owner) = (Pool::new(2 * one), ContentOwner::new());
    let four: Vec<Pooled> = (0..4)
        .map(|_| take(&pool, owner, &plan, sources))
        .collect::<Result<_>>()?;
    let last: Vec<_> = four
        .iter()
        .skip(2)
        .map(|buffer| buffer.identity())
        .collect();
    drop(four);
    ensure!(
        pool.unused_bytes() == 2 * one,
        "the pool of two buffers keeps {} bytes",
        pool.unused_bytes()
    );
    let again = take(&pool, owner, &plan, sources)?;
    ensure!(
        last.contains(&again.identity()),
        "the pool kept its oldest buffers rather than its newest"
    );
    pool.forget(owner);
    ensure!(
        pool.unused_bytes() == 0,
        "the pool keeps {} bytes of an owner that it should forget",
        pool.unused_bytes()
    );
    drop(again);
    ensure!(
        pool.unused_bytes() == one,
        "the pool should keep one buffer and keeps {} bytes",
        pool.unused_bytes()
    );
    Ok(CheckOutcome::Passed)
}

fn pool_without_an_allocation_reports_it(sources: &Sources) -> Result<CheckOutcome> {
    let plan = plan(sources, "heap:system", vga()?)?;
    let pool = Pool::new(u64::MAX);
    let answer = pool.take(ContentOwner::new(), &plan, |_| Err::<Vec<Buffer>, _>("no"));
    ensure!(matches!(answer, Err("no")), "{answer:?}");
    let nothing = pool.take(ContentOwner::new(), &plan, |_| {
        Ok::<Vec<Buffer>, &str>(Vec::new())
    });
    ensure!(matches!(nothing, Ok(None)), "{nothing:?}");
    Ok(CheckOutcome::Passed)
}

fn name_is_what_fdinfo_shows(sources: &Sources) -> Result<CheckOutcome> {
    use std::os::fd::AsRawFd;
    let plan = plan(sources, "heap:system", vga()?)?;
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let shown = || -> Result<String> {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let name = text.lines().find_map(|line| line.strip_prefix("name:"));
        Ok(name.unwrap_or_default().trim().to_owned())
    };
    ensure!(
        shown()? == "covalent-XR24-640x480-2560",
        "fdinfo shows the wrong name {:?}",
        shown()?
    );
    ensure!(buffer.set_name("camera"), "the kernel refused the name");
    ensure!(
        shown()? == "camera",
        "fdinfo shows the wrong name {:?}",
        shown()?
    );
    ensure!(
        buffer.set_name(&"x".repeat(100)),
        "the kernel refused a long name"
    );
    ensure!(
        shown()? == "x".repeat(31),
        "fdinfo shows the wrong name {:?}",
        shown()?
    );
    ensure!(
        buffer.set_name("a\0b"),
        "the kernel refused a name with a zero byte"
    );
    ensure!(
        shown()? == "a",
        "fdinfo shows the wrong name {:?}",
        shown()?
    );
    Ok(CheckOutcome::Passed)
}

fn planes_with_fds_of_one_dma_buf_share_it(sources: &Sources) -> Result<CheckOutcome> {
    let plan = plan(sources, "heap:system", vga()?)?;
    let buffer = sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")?;
    let fd = buffer.dmabuf_fd(0).context("the buffer has no dma-buf")?;
    let plane = |offset_bytes, stride_bytes| -> Result<PlaneDescriptor> {
        Ok(PlaneDescriptor {
            fd: fd.try_clone_to_owned()?,
            offset_bytes,
            stride_bytes,
        })
    };
    let before = covalent_tests::judge::process::fd_count(std::process::id())?;
    let planar = Buffer::import(Descriptor {
        extent: vga()?,
        format: FormatModifier::linear(Fourcc::YUV420),
        planes: vec![plane(0, 640)?, plane(307_200, 320)?, plane(384_000, 320)?],
    })?;
    let fds = covalent_tests::judge::process::fd_count(std::process::id())?;
    ensure!(
        planar.dmabuf_count() == 1,
        "the planes of one dma-buf count as {} dma-bufs",
        planar.dmabuf_count()
    );
    ensure!(
        fds == before + 1,
        "the buffer keeps {} fds of one dma-buf",
        fds - before
    );
    Ok(CheckOutcome::Passed)
}

fn fd_that_is_closed_or_has_no_file_is_refused() -> Result<CheckOutcome> {
    use covalent_alloc::buffer::{DescriptorError, DmabufError};
    use rustix::fs::{Mode, OFlags, open};
    // Safe Rust cannot pass a closed fd. An O_PATH fd is most similar to it: it refers to a path, and not to an open file.
    let path = open("/dev/null", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let answer = Buffer::import(Descriptor {
        extent: vga()?,
        format: FormatModifier::linear(Fourcc::XRGB8888),
        planes: vec![PlaneDescriptor {
            fd: path,
            offset_bytes: 0,
            stride_bytes: 2560,
        }],
    });
    ensure!(
        matches!(
            answer,
            Err(DescriptorError::Dmabuf {
                plane: 0,
                source: DmabufError::NotDmabuf { .. } | DmabufError::Kernel { .. }
            })
        ),
        "{answer:?}"
    );
    Ok(CheckOutcome::Passed)
}

/// Allocates a dumb buffer of the card, which the card can always import.
pub(crate) fn allocate_dumb_buffer(sources: &Sources, card: &Card) -> Result<Buffer> {
    let id = sources
        .declarations()
        .into_iter()
        .find(|source| source.id.as_str().starts_with("dumb:") && source.is_of(card.identity()))
        .context("the card has no dumb buffers")?
        .id;
    let plan = plan(sources, id.as_str(), vga()?)?;
    sources
        .allocate(&plan)?
        .pop()
        .context("the source allocated no buffer")
}

/// Returns whether the card has a CRTC and so can drive a display.
pub(crate) fn has_display(card: &Card) -> bool {
    use drm::control::Device as _;
    card.resource_handles()
        .is_ok_and(|resources| !resources.crtcs().is_empty())
}

fn hundred_threads_take_from_a_source(sources: &Sources, id: &str) -> Result<CheckOutcome> {
    let plan = plan(sources, id, Extent::new(64, 64)?)?;
    let failed = thread::scope(|scope| {
        let all: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let buffers = sources.allocate(&plan)?;
                    ensure!(!buffers.is_empty(), "the source allocated no buffer");
                    Ok(())
                })
            })
            .collect();
        all.into_iter()
            .filter_map(|thread| thread.join().ok()?.err())
            .map(|error| format!("{error:#}"))
            .collect::<Vec<_>>()
    });
    // The memory may not suffice for the allocations of all threads. If it does not, the error must be that of the source's
    // budget.
    let others: Vec<_> = failed
        .iter()
        .filter(|error| {
            !error.contains("nothing was allocated") && !error.contains("annot allocate")
        })
        .collect();
    ensure!(others.is_empty(), "{others:?}");
    ensure!(failed.len() < 100, "no thread allocated: {failed:?}");
    Ok(CheckOutcome::Passed)
}
