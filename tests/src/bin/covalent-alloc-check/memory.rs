//! Checks udmabuf: memfds and huge pages become dma-bufs.

use std::fs::File;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::backend::udmabuf::{MemfdError, Udmabuf, UdmabufError};
use covalent_alloc::buffer::identify;
use covalent_alloc::constraint::Source;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_tests::check_support::{processor, vga};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, ftruncate, memfd_create};
use rustix::io::Errno;

use super::{CheckOutcome, CheckRunner};

const PAGE: u64 = 4096;

/// A memfd of four pages that udmabuf must refuse: a name, the seals, an offset and a size in bytes, and the expected error.
type BadMemfd = (&'static str, SealFlags, u64, u64, fn(&MemfdError) -> bool);

const BAD_MEMFDS: &[BadMemfd] = &[
    ("no_shrink_seal", SealFlags::GROW, 0, PAGE, |error| {
        *error == MemfdError::NotSealed
    }),
    (
        "write_seal",
        SealFlags::SHRINK.union(SealFlags::WRITE),
        0,
        PAGE,
        |error| *error == MemfdError::NotWritable,
    ),
    ("unaligned_size", SealFlags::SHRINK, 0, PAGE + 1, |error| {
        matches!(error, MemfdError::Unaligned { .. })
    }),
    ("unaligned_offset", SealFlags::SHRINK, 1, PAGE, |error| {
        matches!(error, MemfdError::Unaligned { .. })
    }),
    ("size_of_0", SealFlags::SHRINK, 0, 0, |error| {
        *error == MemfdError::Empty
    }),
    ("past_the_end", SealFlags::SHRINK, PAGE, 4 * PAGE, |error| {
        matches!(error, MemfdError::ExceedsMemfd { .. })
    }),
    (
        "offset_that_overflows",
        SealFlags::SHRINK,
        u64::MAX - PAGE + 1,
        PAGE,
        |error| matches!(error, MemfdError::ExceedsMemfd { .. }),
    ),
];

pub(crate) fn run(runner: &mut CheckRunner) {
    for (name, seals, offset, size, is_expected) in BAD_MEMFDS {
        runner.check(
            &format!("memory::memfd_with_{name}_is_refused"),
            || match Udmabuf::open()?.share(memfd(*seals)?, *offset, *size) {
                Err(UdmabufError::Memfd { source, .. }) if is_expected(&source) => {
                    Ok(CheckOutcome::Passed)
                }
                Err(error) => bail!("udmabuf refused the memfd with an unexpected error: {error}"),
                Ok(_) => bail!("udmabuf accepted a memfd that it should refuse"),
            },
        );
    }
    runner.check("memory::file_that_is_no_memfd_is_refused", || {
        let null = File::open("/dev/null")?;
        match Udmabuf::open()?.share(null, 0, PAGE) {
            Err(UdmabufError::Memfd {
                source: MemfdError::NotMemfd(error),
                ..
            }) if error == Errno::INVAL.into() => Ok(CheckOutcome::Passed),
            answer => bail!("sharing a file that is no memfd returned {answer:?}"),
        }
    });
    runner.check("memory::more_than_the_limit_is_refused", || {
        let limit = std::fs::read_to_string("/sys/module/udmabuf/parameters/size_limit_mb")?;
        let megabytes: u64 = limit.trim().parse()?;
        // ftruncate allocates no pages, so the size costs no memory.
        let size = (megabytes + 1) << 20;
        let large = memfd_create("large", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&large, size)?;
        rustix::fs::fcntl_add_seals(&large, SealFlags::SHRINK)?;
        match Udmabuf::open()?.share(large, 0, size) {
            Err(UdmabufError::Limit { .. }) => Ok(CheckOutcome::Passed),
            answer => bail!("sharing a memfd above size_limit_mb returned {answer:?}"),
        }
    });
    runner.check("memory::changed_size_limit_is_read_again", changed_limit);
    runner.check("memory::shared_memfd_can_no_longer_shrink", || {
        let memfd = memfd(SealFlags::SHRINK)?;
        let shared = Udmabuf::open()?.share(&memfd, PAGE, 2 * PAGE)?;
        let (_, size) = identify(&shared)?;
        ensure!(
            size == 2 * PAGE,
            "the dma-buf has {size} bytes instead of two pages"
        );
        let shrunk = ftruncate(&memfd, PAGE);
        ensure!(
            shrunk == Err(Errno::PERM),
            "truncating the memfd returned {shrunk:?}"
        );
        let shrunk = ftruncate(&shared, PAGE);
        ensure!(
            shrunk == Err(Errno::INVAL),
            "truncating the dma-buf returned {shrunk:?}"
        );
        drop(memfd);
        let (_, size) =
            identify(&shared).context("the dma-buf must be usable after its memfd was closed")?;
        ensure!(size == 2 * PAGE, "the dma-buf has {size} bytes");
        Ok(CheckOutcome::Passed)
    });
    let sizes = Udmabuf::huge_page_sizes();
    runner.check("memory::machine_has_huge_pages", || {
        ensure!(!sizes.is_empty(), "no huge pages are reserved");
        Ok(CheckOutcome::Passed)
    });
    for page_bytes in sizes {
        runner.check(
            &format!("memory::page_of_{page_bytes}_is_counted_as_a_whole"),
            || {
                let udmabuf = Udmabuf::open_huge(page_bytes)?;
                let source = udmabuf.source();
                ensure!(
                    source.guarantees.contiguous_up_to_bytes == page_bytes,
                    "{source:?}"
                );
                let free = source
                    .guarantees
                    .available_bytes
                    .context("the source does not declare its budget")?;
                let all = u32::try_from(free / page_bytes)?;
                ensure!(
                    plan(source.clone(), all).is_ok(),
                    "the solver has no plan for all free pages"
                );
                ensure!(
                    plan(source.clone(), all + 1).is_err(),
                    "the solver has a plan for more pages than are free"
                );
                let buffers = udmabuf.allocate(&plan(source, 1)?)?;
                let size = buffers
                    .first()
                    .context("the source allocated no buffer")?
                    .layout()
                    .total_bytes();
                ensure!(size == page_bytes, "the dma-buf has {size} bytes");
                let left = udmabuf.source().guarantees.available_bytes;
                ensure!(
                    left == Some(free - page_bytes),
                    "{left:?} bytes are free after one page of {free} was allocated"
                );
                Ok(CheckOutcome::Passed)
            },
        );
        runner.check(
            &format!("memory::page_of_{page_bytes}_that_is_not_free_is_refused_by_the_crate"),
            || {
                let udmabuf = Udmabuf::open_huge(page_bytes)?;
                let plan = plan(udmabuf.source(), 1)?;
                let free = udmabuf.source().guarantees.available_bytes;
                // fallocate on a hugetlb memfd allocates every free huge page.
                let logarithm = page_bytes.ilog2();
                let flags = MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(logarithm << 26);
                let taken = memfd_create("taken", MemfdFlags::CLOEXEC | flags)?;
                fallocate(
                    &taken,
                    FallocateFlags::empty(),
                    0,
                    free.context("the source does not declare its budget")?,
                )?;
                match udmabuf.allocate(&plan) {
                    Err(UdmabufError::Budget {
                        available_bytes: 0,
                        huge: true,
                        ..
                    }) => {}
                    answer => bail!("allocating without free huge pages returned {answer:?}"),
                }
                drop(taken);
                ensure!(
                    udmabuf.allocate(&plan)?.len() == 1,
                    "no buffer was allocated although the page is free again"
                );
                Ok(CheckOutcome::Passed)
            },
        );
    }
}

/// covalent-alloc reads udmabuf's size limit when it opens udmabuf. It reads the limit again only if a buffer exceeds the known
/// value.
fn changed_limit() -> Result<CheckOutcome> {
    const LIMIT: &str = "/sys/module/udmabuf/parameters/size_limit_mb";
    let usual = std::fs::read_to_string(LIMIT)?;
    let outcome = (|| {
        let early = Udmabuf::open()?;
        // A buffer has 1228800 bytes, more than the limit of 1 MiB.
        let plan = plan(early.source(), 1)?;
        std::fs::write(LIMIT, "1")?;
        match early.allocate(&plan) {
            Err(UdmabufError::Limit {
                maximum_bytes: 1_048_576,
                ..
            }) => {}
            answer => bail!("with the lowered limit, the allocation returned {answer:?}"),
        }
        let late = Udmabuf::open()?;
        ensure!(
            late.allocate(&plan).is_err(),
            "a buffer over the limit was allocated"
        );
        std::fs::write(LIMIT, usual.trim())?;
        late.allocate(&plan)
            .context("allocate after the limit was raised")?;
        Ok(CheckOutcome::Passed)
    })();
    std::fs::write(LIMIT, usual.trim())?;
    outcome
}

/// Plans `count` buffers of this source for the CPU.
fn plan(source: Source, count: u32) -> Result<Plan> {
    let extent: Extent = vga()?;
    let request = Request {
        count,
        participants: vec![processor(Fourcc::XRGB8888)],
        sources: vec![source],
        ..Request::new(extent)
    };
    match solve(&request) {
        Solution::Share(plan) => Ok(plan),
        solution => bail!("{}", solution.explain()),
    }
}

/// Creates a memfd of four pages with these seals.
fn memfd(seals: SealFlags) -> Result<OwnedFd> {
    let memfd = memfd_create("frame", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&memfd, 4 * PAGE)?;
    rustix::fs::fcntl_add_seals(&memfd, seals)?;
    Ok(memfd)
}
