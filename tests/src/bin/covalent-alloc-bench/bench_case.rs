//! One source, both ways: through the crate, and by its bare ioctls.

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

/// Bytes a row: a page, so that every size is whole rows.
const STRIDE: u32 = 4096;

/// The sizes of buffers, in bytes.
pub(super) const SIZES: [u32; 3] = [64 << 10, 1 << 20, 8 << 20];

/// A source without the crate.
enum Bare {
    Heap(File),
    Udmabuf(File),
    Dumb(File),
}

/// One source and one size.
pub(super) struct BenchCase<'a> {
    /// The source's identifier.
    pub(super) source: String,
    /// The size of a buffer.
    pub(super) bytes: u32,
    /// What the solver made of it, once.
    pub(super) plan: Plan,
    sources: &'a Sources,
    bare: Bare,
}

impl<'a> BenchCase<'a> {
    /// Every source that has bare ioctls, in every size; `sources` are those that are open.
    pub(super) fn all(sources: &'a Sources) -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for source in sources.declarations() {
            for bytes in SIZES {
                let id = source.id.as_str();
                let Some(bare) = Bare::of(id)? else {
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

    /// Allocates through the crate.
    pub(super) fn ours(&self) -> Result<Vec<Buffer>> {
        Ok(self.sources.allocate(&self.plan)?)
    }

    /// Has all the pages of a buffer there.
    pub(super) fn fill(&self, memory: BorrowedFd<'_>) -> Result<()> {
        Ok(sys::populate(memory, usize::try_from(self.bytes)?)?)
    }

    /// Allocates by the ioctls, as short as it can be.
    pub(super) fn bare(&self) -> Result<OwnedFd> {
        let bytes = u64::from(self.bytes);
        match &self.bare {
            Bare::Heap(heap) => Ok(sys::heap_alloc(heap.as_fd(), bytes)?),
            Bare::Udmabuf(udmabuf) => {
                let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
                let memfd = rustix::fs::memfd_create("bare", flags)?;
                rustix::fs::ftruncate(&memfd, bytes)?;
                rustix::fs::fcntl_add_seals(&memfd, SealFlags::SHRINK)?;
                Ok(sys::udmabuf_create(udmabuf.as_fd(), memfd.as_fd(), bytes)?)
            }
            Bare::Dumb(card) => Ok(sys::dumb(card.as_fd(), STRIDE / 4, self.bytes / STRIDE)?),
        }
    }
}

impl Bare {
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
            Some(("dumb", place)) => {
                let is_it = |path: &Path| {
                    Card::open(path).is_ok_and(|card| {
                        place == format!("{}@{}", card.driver(), card.identity().location)
                    })
                };
                let path = Card::list().into_iter().find(|path| is_it(path));
                let card = open(&path.with_context(|| format!("no card is {place}"))?)?;
                Some(Self::Dumb(card))
            }
            _ => None,
        })
    }
}

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
        solution => bail!("{bytes} bytes from {id}: {}", solution.explain()),
    }
}
