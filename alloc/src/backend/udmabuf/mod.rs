//! udmabuf: ordinary memory of this process as dma-bufs, in pages of any size that the machine has.
//!
//! The memfd behind each dma-buf is sealed against shrinking, growing and further seals before the kernel takes its pages,
//! and closed afterwards: nobody can pull memory away from under a mapping.

mod backend;
mod pages;
mod share;
mod sys;

pub use backend::Udmabufs;
pub use share::MemfdError;

use crate::text::printable_path;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use thiserror::Error;

use self::pages::Pages;
use super::machine;
use crate::buffer::Buffer;
use crate::constraint::{MemoryCost, Source, SourceId};
use crate::solve::Plan;

const NODE: &str = "/dev/udmabuf";
const LIMIT: &str = "/sys/module/udmabuf/parameters/size_limit_mb";

/// Why udmabuf gave no memory.
#[derive(Error)]
#[non_exhaustive]
pub enum UdmabufError {
    /// The node cannot be opened.
    #[error("{node} cannot be opened: {source}{}", open_remedy(*source), node = printable_path(node))]
    Open {
        /// The node.
        node: PathBuf,
        /// What the kernel answered.
        source: Errno,
    },
    /// The plan names another source.
    #[error("{source_name}: the plan is for {planned}, which has to allocate it")]
    NotPlanned {
        /// This source.
        source_name: String,
        /// The source that the plan names.
        planned: String,
    },
    /// More than a dma-buf of udmabuf may have.
    #[error("{source_name} was not asked for {needed_bytes} bytes: {LIMIT} allows {maximum_bytes}")]
    Limit {
        /// This source.
        source_name: String,
        /// What a buffer needs.
        needed_bytes: u64,
        /// What is allowed.
        maximum_bytes: u64,
    },
    /// More than the machine can give.
    #[error("{source_name} was not asked for {needed_bytes} bytes: only {available_bytes} can be taken{}", budget_remedy(*.huge))]
    Budget {
        /// This source.
        source_name: String,
        /// What all buffers need.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
        /// Whether huge pages are short.
        huge: bool,
    },
    /// The kernel refused.
    #[error("{source_name}: {operation} for {bytes} bytes failed: {source}")]
    Allocate {
        /// This source.
        source_name: String,
        /// The system call.
        operation: &'static str,
        /// What was asked for.
        bytes: u64,
        /// What the kernel answered.
        source: Errno,
    },
    /// The caller's memory cannot become a dma-buf.
    #[error("{source_name} was not asked: {source}")]
    Memfd {
        /// This source.
        source_name: String,
        /// What is wrong with the memory.
        source: MemfdError,
    },
    /// What udmabuf gave is no usable dma-buf.
    #[error("{source_name}: what was allocated is unusable: {why}")]
    Unusable {
        /// This source.
        source_name: String,
        /// What is wrong with it.
        why: String,
    },
}

crate::debug_as_display!(UdmabufError);

fn open_remedy(error: Errno) -> &'static str {
    match error {
        Errno::ACCESS | Errno::PERM => {
            "; the node is for the user of the active seat (udev's tag uaccess) and for the group `kvm`"
        }
        Errno::NOENT => "; `modprobe udmabuf` makes it, where the kernel has it",
        _ => "",
    }
}

fn budget_remedy(huge: bool) -> &'static str {
    if huge {
        "; vm.nr_hugepages sets how many huge pages there are"
    } else {
        " without harm to others"
    }
}

/// The open udmabuf device, with one page size.
#[derive(Debug)]
pub struct Udmabuf {
    fd: OwnedFd,
    pages: Pages,
    /// The limit of when it was opened; asked again only where it matters.
    maximum_bytes: Option<u64>,
}

impl Udmabuf {
    /// Opens udmabuf for ordinary pages.
    ///
    /// # Errors
    /// [`UdmabufError::Open`].
    pub fn open() -> Result<Self, UdmabufError> {
        Self::open_pages(Pages::Ordinary)
    }

    /// Opens udmabuf for huge pages of one size in bytes.
    ///
    /// # Errors
    /// [`UdmabufError::Open`].
    pub fn open_huge(page_bytes: u64) -> Result<Self, UdmabufError> {
        Self::open_pages(Pages::Huge(page_bytes))
    }

    /// Lists the sizes in bytes of huge pages of which the machine has any, smallest first.
    #[must_use]
    pub fn huge_page_sizes() -> Vec<u64> {
        Pages::huge_sizes()
    }

    fn open_pages(pages: Pages) -> Result<Self, UdmabufError> {
        let fd = rustix::fs::open(NODE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(
            |source| UdmabufError::Open {
                node: NODE.into(),
                source,
            },
        )?;
        Ok(Self {
            fd,
            pages,
            maximum_bytes: maximum_bytes(),
        })
    }

    /// Declares what udmabuf gives and promises with these pages.
    #[must_use]
    pub fn source(&self) -> Source {
        let mut source = Source::new(self.id(), self.source_name());
        if self.pages.is_huge() {
            // A buffer takes whole pages, and a plan counts them.
            source.constraints.image.size_alignment_bytes = self.pages.bytes();
        }
        let guarantees = &mut source.guarantees;
        // A buffer begins where a page begins.
        guarantees.contiguous_up_to_bytes = self.pages.bytes();
        guarantees.address = machine::memory_window();
        guarantees.cached = Some(true);
        guarantees.cost = if self.pages.is_huge() {
            MemoryCost::Reserved
        } else {
            MemoryCost::System
        };
        guarantees.maximum_bytes = maximum_bytes();
        guarantees.available_bytes = self.pages.available_bytes();
        source
    }

    /// Allocates the buffers of a plan.
    ///
    /// # Errors
    /// [`UdmabufError`]. Nothing stays allocated then.
    pub fn allocate(&self, plan: &Plan) -> Result<Vec<Buffer>, UdmabufError> {
        if *plan.source() != self.id() {
            return Err(UdmabufError::NotPlanned {
                source_name: self.source_name(),
                planned: plan.source_name().to_owned(),
            });
        }
        let layout = plan.layout();
        let sizes: Vec<u64> = layout
            .memory_sizes()
            .iter()
            .map(|bytes| self.pages.whole(*bytes))
            .collect();
        self.check_limit(sizes.iter().copied().max().unwrap_or_default())?;
        let needed_bytes = sizes
            .iter()
            .copied()
            .fold(0, u64::saturating_add)
            .saturating_mul(u64::from(plan.count()));
        if let Some(available_bytes) = self.pages.fewer_available_than(needed_bytes) {
            return Err(UdmabufError::Budget {
                source_name: self.source_name(),
                needed_bytes,
                available_bytes,
                huge: self.pages.is_huge(),
            });
        }
        (0..plan.count())
            .map(|_| {
                let memories = sizes
                    .iter()
                    .map(|bytes| self.allocate_memory(*bytes))
                    .collect::<Result<Vec<_>, _>>()?;
                Buffer::assemble(layout, memories, &self.source_name()).map_err(|error| {
                    UdmabufError::Unusable {
                        source_name: self.source_name(),
                        why: error.to_string(),
                    }
                })
            })
            .collect()
    }

    fn allocate_memory(&self, bytes: u64) -> Result<OwnedFd, UdmabufError> {
        let failed = |operation| {
            move |source| UdmabufError::Allocate {
                source_name: self.source_name(),
                operation,
                bytes,
                source,
            }
        };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | self.pages.flags();
        let memfd = rustix::fs::memfd_create("covalent", flags).map_err(failed("memfd_create"))?;
        let bytes = self.pages.whole(bytes);
        rustix::fs::ftruncate(&memfd, bytes).map_err(failed("ftruncate"))?;
        rustix::fs::fcntl_add_seals(
            &memfd,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )
        .map_err(failed("F_ADD_SEALS"))?;
        sys::create(self.fd.as_fd(), memfd.as_fd(), 0, bytes).map_err(|source| {
            // All that the kernel calls invalid was checked, but for a limit that has come down since.
            match self.check_limit_of(maximum_bytes(), bytes) {
                Err(error) if source == Errno::INVAL => error,
                _ => failed("UDMABUF_CREATE")(source),
            }
        })
    }

    fn check_limit(&self, needed_bytes: u64) -> Result<(), UdmabufError> {
        // A limit that may have gone up since is asked again; reading it each time costs as much as 16 KiB of memory.
        self.check_limit_of(self.maximum_bytes, needed_bytes)
            .or_else(|_| self.check_limit_of(maximum_bytes(), needed_bytes))
    }

    fn check_limit_of(&self, limit: Option<u64>, needed_bytes: u64) -> Result<(), UdmabufError> {
        match limit {
            Some(maximum_bytes) if needed_bytes > maximum_bytes => Err(UdmabufError::Limit {
                source_name: self.source_name(),
                needed_bytes,
                maximum_bytes,
            }),
            _ => Ok(()),
        }
    }

    fn id(&self) -> SourceId {
        match self.pages {
            Pages::Ordinary => SourceId::new("udmabuf"),
            Pages::Huge(bytes) => SourceId::new(format!("udmabuf:{}k", bytes >> 10)),
        }
    }

    fn source_name(&self) -> String {
        match self.pages {
            Pages::Ordinary => "udmabuf".to_owned(),
            Pages::Huge(bytes) => format!("udmabuf of {} KiB pages", bytes >> 10),
        }
    }
}

fn maximum_bytes() -> Option<u64> {
    machine::number(LIMIT)?.checked_mul(1 << 20)
}
