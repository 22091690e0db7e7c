//! udmabuf: dma-bufs that consist of the pages of a memfd, of ordinary pages or of any huge page size of the machine.
//!
//! The memfd of each dma-buf is sealed against shrinking, growing and further seals before UDMABUF_CREATE, and closed afterwards.
//! So no process can truncate the memfd while its pages are mapped.

mod backend;
mod pages;
mod share;
mod sys;

pub use backend::Udmabufs;
pub use share::MemfdError;

use crate::SystemError;
use crate::text::printable_path;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use thiserror::Error;

use self::pages::Pages;
use super::meminfo;
use crate::buffer::Buffer;
use crate::constraint::{MemoryCost, Source, SourceId};
use crate::solve::Plan;

/// The device node of udmabuf, and the parameter of its module that limits the size of a buffer.
const NODE: &str = "/dev/udmabuf";
const LIMIT: &str = "/sys/module/udmabuf/parameters/size_limit_mb";

/// Why a udmabuf operation failed.
#[derive(Error)]
#[non_exhaustive]
pub enum UdmabufError {
    /// The device node cannot be opened.
    #[error("{node} cannot be opened: {source}{}", open_remedy(*source), node = printable_path(node))]
    Open {
        /// The device node.
        node: PathBuf,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The plan is for another source than this one.
    #[error(
        "{source_name} cannot allocate this plan, which is for the source {planned}; allocate from that source"
    )]
    NotPlanned {
        /// The name of the udmabuf source.
        source_name: String,
        /// The source that the plan names.
        planned: String,
    },
    /// A buffer exceeds the size limit of udmabuf (its module parameter `size_limit_mb`).
    #[error(
        "{source_name}: a buffer needs {needed_bytes} bytes, and {LIMIT} allows {maximum_bytes}; nothing was allocated. Write a larger number of MiB to that file as root"
    )]
    Limit {
        /// The name of the udmabuf source.
        source_name: String,
        /// The size of the buffer in bytes.
        needed_bytes: u64,
        /// The size limit of udmabuf in bytes.
        maximum_bytes: u64,
    },
    /// The allocation would exceed the available memory.
    #[error("{source_name}: {needed_bytes} bytes are needed, and only {available_bytes} are available{}; nothing was allocated", budget_remedy(*.huge))]
    Budget {
        /// The name of the udmabuf source.
        source_name: String,
        /// The size of all buffers of the plan, in bytes.
        needed_bytes: u64,
        /// The available memory, in bytes.
        available_bytes: u64,
        /// Whether the pages are huge pages.
        huge: bool,
    },
    /// A system call failed.
    #[error("{source_name}: {operation} for {bytes} bytes failed: {source}")]
    Allocate {
        /// The name of the udmabuf source.
        source_name: String,
        /// The system call that failed.
        operation: &'static str,
        /// The requested size in bytes.
        bytes: u64,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The caller's memfd cannot become a dma-buf.
    #[error("{source_name}: UDMABUF_CREATE was not called: {source}")]
    Memfd {
        /// The name of the udmabuf source.
        source_name: String,
        /// Why the memfd cannot become a dma-buf.
        source: MemfdError,
    },
    /// The dma-buf cannot be used for the plan.
    #[error("{source_name}: the allocated buffer cannot be used: {why}")]
    Unusable {
        /// The name of the udmabuf source.
        source_name: String,
        /// Why the dma-buf cannot be used.
        why: String,
    },
}

crate::debug_as_display!(UdmabufError);

fn open_remedy(error: SystemError) -> &'static str {
    match error.errno() {
        Errno::ACCESS | Errno::PERM => {
            "; the node is for the user of the active seat (udev's tag uaccess) and for the group `kvm`"
        }
        Errno::NOENT => "; `modprobe udmabuf` creates the node, if the kernel has the module",
        _ => "",
    }
}

fn budget_remedy(huge: bool) -> &'static str {
    if huge {
        "; vm.nr_hugepages sets the number of huge pages"
    } else {
        " without harm to other programs"
    }
}

/// An open udmabuf device that allocates pages of one size.
#[derive(Debug)]
pub struct Udmabuf {
    fd: OwnedFd,
    pages: Pages,
    /// The size limit of a buffer in bytes, as read when the device was opened. If a buffer exceeds the limit, the limit is read
    /// again.
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

    /// Lists, in bytes and in ascending order, the huge page sizes for which the machine has reserved pages.
    #[must_use]
    pub fn huge_page_sizes() -> Vec<u64> {
        Pages::huge_sizes()
    }

    fn open_pages(pages: Pages) -> Result<Self, UdmabufError> {
        let fd = rustix::fs::open(NODE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(
            |source| UdmabufError::Open {
                node: NODE.into(),
                source: source.into(),
            },
        )?;
        Ok(Self {
            fd,
            pages,
            maximum_bytes: maximum_bytes(),
        })
    }

    /// Declares udmabuf as a memory source, with its guarantees for this page size.
    #[must_use]
    pub fn source(&self) -> Source {
        let mut source = Source::new(self.id(), self.source_name());
        if self.pages.is_huge() {
            // A buffer occupies whole pages, so the solver rounds its size up to a multiple of the page size.
            source.constraints.image.size_alignment_bytes = self.pages.bytes();
        }
        let guarantees = &mut source.guarantees;
        // A buffer begins at the start of a page, so each page of it is contiguous.
        guarantees.contiguous_up_to_bytes = self.pages.bytes();
        guarantees.address = meminfo::memory_window();
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
    /// [`UdmabufError`]. After an error nothing stays allocated.
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
            .map(|bytes| self.pages.round_up(*bytes))
            .collect();
        self.check_limit(sizes.iter().copied().max().unwrap_or_default())?;
        let needed_bytes = sizes
            .iter()
            .copied()
            .fold(0, u64::saturating_add)
            .saturating_mul(u64::from(plan.count()));
        if let Some(available_bytes) = self.pages.available_if_insufficient(needed_bytes) {
            return Err(UdmabufError::Budget {
                source_name: self.source_name(),
                needed_bytes,
                available_bytes,
                huge: self.pages.is_huge(),
            });
        }
        (0..plan.count())
            .map(|_| {
                let dmabufs = sizes
                    .iter()
                    .map(|bytes| self.allocate_memory(*bytes))
                    .collect::<Result<Vec<_>, _>>()?;
                Buffer::assemble(layout, dmabufs, &self.source_name()).map_err(|error| {
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
            move |source: Errno| UdmabufError::Allocate {
                source_name: self.source_name(),
                operation,
                bytes,
                source: source.into(),
            }
        };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | self.pages.flags();
        let memfd = rustix::fs::memfd_create("covalent", flags).map_err(failed("memfd_create"))?;
        let bytes = self.pages.round_up(bytes);
        rustix::fs::ftruncate(&memfd, bytes).map_err(failed("ftruncate"))?;
        rustix::fs::fcntl_add_seals(
            &memfd,
            SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
        )
        .map_err(failed("F_ADD_SEALS"))?;
        sys::create(self.fd.as_fd(), memfd.as_fd(), 0, bytes).map_err(|source| {
            // The other causes of EINVAL were checked before the call, so EINVAL means that the limit was lowered after it was
            // read.
            match self.check_limit_of(maximum_bytes(), bytes) {
                Err(error) if source == Errno::INVAL => error,
                _ => failed("UDMABUF_CREATE")(source),
            }
        })
    }

    fn check_limit(&self, needed_bytes: u64) -> Result<(), UdmabufError> {
        // If a buffer exceeds the limit, the limit is read again, because it can have been raised since the device was opened. It
        // is not read for every buffer, because a read takes as long as the allocation of 16 KiB.
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
    meminfo::read_number(LIMIT)?.checked_mul(1 << 20)
}
