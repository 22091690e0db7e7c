//! A source and a buffer size of the benchmark. The buffer is allocated through covalent-alloc, and with the bare ioctls.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{FormatSet, Participant, Role};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_tests::check_support::Sources;
use rustix::fs::{MemfdFlags, SealFlags};

use super::sys;

/// The stride in bytes. It is one page, so that every buffer size is a whole number of rows.
const STRIDE: u32 = 4096;

/// The sizes of buffers, in bytes.
pub(super) const SIZES: [u32; 3] = [64 << 10, 1 << 20, 8 << 20];

/// The device node of a source, on which the bare ioctls are called.
enum BareSource {
    Heap(File),
    Udmabuf(File),
    Dumb(File),
}

/// A source and a buffer size.
pub(super) struct BenchCase<'a> {
    /// The source's identifier.
    pub(super) source: String,
    /// The size of a buffer in bytes.
    pub(super) bytes: u32,
    /// The plan for the buffer. The plan is solved once, before the measurement.
    pub(super) plan: Plan,
    sources: &'a Sources,
    bare: BareSource,
}

impl<'a> BenchCase<'a> {
    /// Returns a case for every size and for every available source that has bare ioctls.
    pub(super) fn all(sources: &'a Sources) -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for source in sources.declarations() {
            for bytes in SIZES {
                let id = source.id.as_str();
                let Some(bare) = BareSource::of(id)? else {
                    continue;
                };
                cases.push(Self {
                    source: id.to_owned(),
                    bytes,
                    plan: plan(sources, id, bytes)?,
                    sources,
                    bare,
                });
            }
        }
        Ok(cases)
    }

    /// Allocates the buffer through covalent-alloc.
    pub(super) fn through_crate(&self) -> Result<Vec<Buffer>> {
        Ok(self.sources.allocate(&self.plan)?)
    }

    /// Populates all pages of a dma-buf.
    pub(super) fn fill(&self, memory: BorrowedFd<'_>) -> Result<()> {
        Ok(sys::populate(memory, usize::try_from(self.bytes)?)?)
    }

    /// Allocates a buffer with the fewest possible ioctls.
    pub(super) fn bare_ioctls(&self) -> Result<OwnedFd> {
        let bytes = u64::from(self.bytes);
        match &self.bare {
            BareSource::Heap(heap) => Ok(sys::heap_alloc(heap.as_fd(), bytes)?),
            BareSource::Udmabuf(udmabuf) => {
                let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
                let memfd = rustix::fs::memfd_create("bare", flags)?;
                rustix::fs::ftruncate(&memfd, bytes)?;
                rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK)?;
                Ok(sys::udmabuf_create(udmabuf.as_fd(), memfd.as_fd(), bytes)?)
            }
            BareSource::Dumb(card) => Ok(sys::dumb(card.as_fd(), STRIDE / 4, self.bytes / STRIDE)?),
        }
    }
}

impl BareSource {
    /// Opens the device node of a source; returns `None` for a source that has no bare ioctls.
    fn of(id: &str) -> Result<Option<Self>> {
        let open = |path: &Path| {
            File::options()
                .read(true)
                .write(true)
                .open(path)
                .with_context(|| path.display().to_string())
        };
        Ok(match id.split_once(':') {
            None if id == "udmabuf" => Some(Self::Udmabuf(open("/dev/udmabuf".as_ref())?)),
            Some(("heap", name)) => {
                let node = Path::new("/dev/dma_heap").join(name);
                Some(Self::Heap(File::open(&node)?))
            }
            Some(("dumb", name)) => {
                let has_name = |path: &Path| {
                    Card::open(path).is_ok_and(|card| {
                        name == format!("{}@{}", card.driver(), card.identity().location)
                    })
                };
                let path = Card::list().into_iter().find(|path| has_name(path));
                let card = open(&path.with_context(|| format!("no card has the name {name}"))?)?;
                Some(Self::Dumb(card))
            }
            _ => None,
        })
    }
}

/// Plans a buffer of `bytes` bytes that only the CPU accesses, from the source `id`.
fn plan(sources: &Sources, id: &str, bytes: u32) -> Result<Plan> {
    let mut processor = Participant::processor(Role::CpuWrite);
    processor.for_each_choice(|own| {
        own.formats = Some(FormatSet::from([FormatModifier::linear(Fourcc::R8)]))
    });
    let mut request = Request::new(Extent::new(STRIDE, bytes / STRIDE)?);
    request.participants.push(processor);
    request.sources = sources.declarations();
    request.sources.retain(|source| source.id.as_str() == id);
    match solve(&request) {
        Solution::Share(plan) => Ok(plan),
        solution => bail!(
            "the solver has no plan for {bytes} bytes from {id}: {}",
            solution.explain()
        ),
    }
}
