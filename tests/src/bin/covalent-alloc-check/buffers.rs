//! What happens to buffers: given again, imported once, used by many threads, made and freed without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{
    Buffer, ContentOwner, CpuAccess, Descriptor, ImportCache, PlaneDescriptor, Pool, Pooled,
    reference_count,
};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_tests::witness::Sources;
use covalent_tests::witness::pixels;
use covalent_tests::witness::{processor, vga};

use super::{Seen, Tally, soak};

pub(crate) fn run(tally: &mut Tally) {
    let sources = Sources::discover();
    tally.watch(&sources);
    for source in sources.declarations() {
        let id = source.id.as_str();
        tally.check(
            &format!("buffers::pool_over_{id}_gives_the_owners_own_again"),
            || pool_hit(&sources, id),
        );
        tally.check(
            &format!("buffers::pool_over_{id}_zeroes_for_another_owner"),
            || pool_crossing(&sources, id),
        );
    }
    tally.check("buffers::pool_does_not_give_on_what_another_holds", || {
        pool_held(&sources)
    });
    tally.check("buffers::pool_keeps_no_more_than_its_limit", || {
        pool_limit(&sources)
    });
    tally.check("buffers::pool_that_gets_nothing_says_so", || {
        pool_refused(&sources)
    });
    tally.check("buffers::name_is_what_fdinfo_shows", || name(&sources));
    tally.check("buffers::planes_under_several_fds_are_one_memory", || {
        one_memory(&sources)
    });
    tally.check(
        "buffers::fd_that_is_closed_or_has_no_file_is_refused",
        bad_fd,
    );
    for card in sources.cards() {
        let name = card.path().display();
        tally.check(
            &format!("buffers::import_into_{name}_is_made_once_and_not_kept"),
            || cached(&sources, card),
        );
        tally.check(
            &format!("buffers::threads_that_import_and_close_on_{name}_leak_nothing"),
            || racing(&sources, card),
        );
    }
    for source in sources.declarations() {
        let id = source.id.as_str();
        tally.check(&format!("buffers::hundred_threads_take_from_{id}"), || {
            threads(&sources, id)
        });
        tally.check(
            &format!("buffers::thousands_from_{id}_leave_nothing"),
            || soak::allocations(&sources, id, 2000),
        );
    }
}

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

fn take(pool: &Pool, owner: ContentOwner, plan: &Plan, sources: &Sources) -> Result<Pooled> {
    let taken = pool.take(owner, plan, |plan| sources.allocate(plan))?;
    taken.context("the source gave nothing")
}

fn pool_hit(sources: &Sources, id: &str) -> Result<Seen> {
    let (pool, owner) = (Pool::new(u64::MAX), ContentOwner::new());
    let plan = plan(sources, id, vga()?)?;
    let first = take(&pool, owner, &plan, sources)?;
    ensure!(!first.is_reused(), "a new pool has a buffer");
    let identity = first.identity();
    let pattern = pixels::pattern(&first, 1)?;
    pixels::write(&first, &pattern)?;
    drop(first);
    // Nothing may be asked of anybody: an allocation here is the failure.
    let nobody = |_: &Plan| -> Result<Vec<Buffer>> { bail!("it was asked for") };
    for _ in 0..1000 {
        let again = pool.take(owner, &plan, nobody)?.context("nothing")?;
        ensure!(
            again.is_reused() && again.identity() == identity,
            "another buffer"
        );
    }
    let again = pool.take(owner, &plan, nobody)?.context("nothing")?;
    pixels::same(&pixels::read(&again)?, &pattern)?;
    // While it is in use, it is not there twice.
    let second = take(&pool, owner, &plan, sources)?;
    ensure!(second.identity() != identity, "one buffer for two");
    Ok(Seen::Passed)
}

fn pool_crossing(sources: &Sources, id: &str) -> Result<Seen> {
    let pool = Pool::new(u64::MAX);
    // An odd size, so that there is room behind the picture.
    let plan = plan(sources, id, Extent::new(642, 481)?)?;
    let first = take(&pool, ContentOwner::new(), &plan, sources)?;
    let whole = whole(&first)?;
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
        "it was not given on"
    );
    let whole = self::whole(&second)?;
    let mut bytes = vec![0xff; size];
    whole
        .map()?
        .access(CpuAccess::Read)?
        .read(0, 0, &mut bytes)?;
    let dirty = bytes.iter().filter(|byte| **byte != 0).count();
    ensure!(dirty == 0, "{dirty} of {size} bytes are the other owner's");
    Ok(Seen::Passed)
}

/// The whole dma-buf as one plane, padding included.
fn whole(buffer: &Buffer) -> Result<Buffer> {
    let size = buffer
        .layout()
        .memory_sizes()
        .first()
        .context("no memory")?;
    let fd = buffer.dmabuf_fd(0).context("no memory")?;
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

fn pool_held(sources: &Sources) -> Result<Seen> {
    let pool = Pool::new(u64::MAX);
    let plan = plan(sources, "heap:system", vga()?)?;
    let first = take(&pool, ContentOwner::new(), &plan, sources)?;
    let identity = first.identity();
    // As another process would hold it that was sent the fd.
    let held = first
        .dmabuf_fd(0)
        .context("no memory")?
        .try_clone_to_owned()?;
    drop(first);
    let second = take(&pool, ContentOwner::new(), &plan, sources)?;
    ensure!(
        !second.is_reused(),
        "it was given on while another holds it"
    );
    ensure!(reference_count(&held) == Some(1), "the pool still has it");
    drop(second);
    // A clone that is kept is a use that lasts.
    let owner = ContentOwner::new();
    let third = take(&pool, owner, &plan, sources)?;
    let clone = Buffer::clone(&third);
    drop(third);
    let fourth = take(&pool, owner, &plan, sources)?;
    ensure!(fourth.identity() != clone.identity(), "one buffer for two");
    ensure!(fourth.identity() != identity, "it was given on");
    Ok(Seen::Passed)
}

fn pool_limit(sources: &Sources) -> Result<Seen> {
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
        "{} bytes are kept",
        pool.unused_bytes()
    );
    let again = take(&pool, owner, &plan, sources)?;
    ensure!(last.contains(&again.identity()), "the oldest were kept");
    pool.forget(owner);
    ensure!(
        pool.unused_bytes() == 0,
        "{} bytes are kept",
        pool.unused_bytes()
    );
    drop(again);
    ensure!(
        pool.unused_bytes() == one,
        "{} bytes are kept",
        pool.unused_bytes()
    );
    Ok(Seen::Passed)
}

fn pool_refused(sources: &Sources) -> Result<Seen> {
    let plan = plan(sources, "heap:system", vga()?)?;
    let pool = Pool::new(u64::MAX);
    let answer = pool.take(ContentOwner::new(), &plan, |_| Err::<Vec<Buffer>, _>("no"));
    ensure!(matches!(answer, Err("no")), "{answer:?}");
    let nothing = pool.take(ContentOwner::new(), &plan, |_| {
        Ok::<Vec<Buffer>, &str>(Vec::new())
    });
    ensure!(matches!(nothing, Ok(None)), "{nothing:?}");
    Ok(Seen::Passed)
}

fn name(sources: &Sources) -> Result<Seen> {
    use std::os::fd::AsRawFd;
    let plan = plan(sources, "heap:system", vga()?)?;
    let buffer = sources.allocate(&plan)?.pop().context("no buffer")?;
    let fd = buffer.dmabuf_fd(0).context("no memory")?;
    let shown = || -> Result<String> {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        let name = text.lines().find_map(|line| line.strip_prefix("name:"));
        Ok(name.unwrap_or_default().trim().to_owned())
    };
    ensure!(
        shown()? == "covalent-XR24-640x480-2560",
        "it is called {:?}",
        shown()?
    );
    ensure!(buffer.set_name("camera"), "the kernel took no name");
    ensure!(shown()? == "camera", "it is called {:?}", shown()?);
    ensure!(buffer.set_name(&"x".repeat(100)), "a long name");
    ensure!(shown()? == "x".repeat(31), "it is called {:?}", shown()?);
    ensure!(buffer.set_name("a\0b"), "a name with a zero");
    ensure!(shown()? == "a", "it is called {:?}", shown()?);
    Ok(Seen::Passed)
}

fn one_memory(sources: &Sources) -> Result<Seen> {
    let plan = plan(sources, "heap:system", vga()?)?;
    let buffer = sources.allocate(&plan)?.pop().context("no buffer")?;
    let fd = buffer.dmabuf_fd(0).context("no memory")?;
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
        "{} memories",
        planar.dmabuf_count()
    );
    ensure!(fds == before + 1, "{} fds for one dma-buf", fds - before);
    Ok(Seen::Passed)
}

fn bad_fd() -> Result<Seen> {
    use covalent_alloc::buffer::{DescriptorError, DmabufError};
    use rustix::fs::{Mode, OFlags, open};
    // As near to a closed fd as safe Rust comes: one that names a file and has none open.
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
    Ok(Seen::Passed)
}

/// A buffer that the card takes: its own.
pub(crate) fn own(sources: &Sources, card: &Card) -> Result<Buffer> {
    let id = sources
        .declarations()
        .into_iter()
        .find(|source| source.id.as_str().starts_with("dumb:") && source.is_of(card.identity()))
        .context("the card gives nothing")?
        .id;
    let plan = plan(sources, id.as_str(), vga()?)?;
    sources.allocate(&plan)?.pop().context("no buffer")
}

pub(crate) fn shows(card: &Card) -> bool {
    use drm::control::Device as _;
    card.resource_handles()
        .is_ok_and(|resources| !resources.crtcs().is_empty())
}

fn cached(sources: &Sources, card: &Card) -> Result<Seen> {
    if !shows(card) {
        return Ok(Seen::Skipped("the card drives no display".to_owned()));
    }
    let cache: ImportCache<Framebuffer> = ImportCache::default();
    let asked = AtomicU32::new(0);
    let import = |buffer: &Buffer| {
        asked.fetch_add(1, Ordering::Relaxed);
        card.framebuffer(buffer)
    };
    let buffer = own(sources, card)?;
    let one = cache.get_or_import(&buffer, import)?;
    let two = cache.get_or_import(&buffer, import)?;
    ensure!(
        Arc::ptr_eq(&one, &two) && asked.load(Ordering::Relaxed) == 1,
        "two imports"
    );
    // The same memory as somebody else describes it is the same buffer.
    let described = Buffer::import(Descriptor {
        extent: buffer.layout().extent(),
        format: buffer.layout().format(),
        planes: vec![PlaneDescriptor {
            fd: buffer
                .dmabuf_fd(0)
                .context("no memory")?
                .try_clone_to_owned()?,
            offset_bytes: 0,
            stride_bytes: buffer
                .layout()
                .planes()
                .first()
                .context("no plane")?
                .stride_bytes,
        }],
    })?;
    let three = cache.get_or_import(&described, import)?;
    ensure!(
        Arc::ptr_eq(&one, &three),
        "another import of the same memory"
    );
    drop((one, two, three));
    ensure!(cache.is_empty(), "the cache keeps an import alive");
    cache.get_or_import(&buffer, import)?;
    ensure!(asked.load(Ordering::Relaxed) == 2, "an import of the dead");
    Ok(Seen::Passed)
}

fn racing(sources: &Sources, card: &Card) -> Result<Seen> {
    if !shows(card) {
        return Ok(Seen::Skipped("the card drives no display".to_owned()));
    }
    let buffer = own(sources, card)?;
    let failed = thread::scope(|scope| {
        let all: Vec<_> = (0..16)
            .map(|_| {
                let (card, buffer) = (card.clone(), buffer.clone());
                scope.spawn(move || -> Result<()> {
                    for _ in 0..20 {
                        // A handle that another thread closed too early makes this fail.
                        drop(card.framebuffer(&buffer)?);
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter()
            .filter_map(|thread| match thread.join() {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("{error:#}")),
                Err(_) => Some("a panic".to_owned()),
            })
            .collect::<Vec<_>>()
    });
    ensure!(failed.is_empty(), "{failed:?}");
    Ok(Seen::Passed)
}

fn threads(sources: &Sources, id: &str) -> Result<Seen> {
    let plan = plan(sources, id, Extent::new(64, 64)?)?;
    let failed = thread::scope(|scope| {
        let all: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let buffers = sources.allocate(&plan)?;
                    ensure!(!buffers.is_empty(), "no buffer");
                    Ok(())
                })
            })
            .collect();
        all.into_iter()
            .filter_map(|thread| thread.join().ok()?.err())
            .map(|error| format!("{error:#}"))
            .collect::<Vec<_>>()
    });
    // What is there may not suffice for all at once; that is said, and nothing else may happen.
    let others: Vec<_> = failed
        .iter()
        .filter(|words| !words.contains("was not asked for") && !words.contains("annot allocate"))
        .collect();
    ensure!(others.is_empty(), "{others:?}");
    ensure!(failed.len() < 100, "nobody got anything: {failed:?}");
    Ok(Seen::Passed)
}
