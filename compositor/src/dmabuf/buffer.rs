//! A client's dma-buf with its cached mapping, framebuffer and EGL import.

use std::cell::{Cell, OnceCell};
use std::io;
use std::path::{Path, PathBuf};

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{Buffer, CpuAccess, MapGuard, Mapping};
use covalent_alloc::sync::CpuAccessDecision;

use crate::frame_trace::TracedBuffer;
use crate::render::gles::{ImportCache, is_linear};
use crate::render::{PixelFormat, ReadPlanes};
use crate::transient::{FaultKind, retry_transient};

/// A client's dma-buf, imported once for all frames that show it.
#[derive(Debug)]
pub struct ClientBuffer {
    buffer: Buffer,
    format: PixelFormat,
    /// The CPU mapping, which is created when the CPU first reads the buffer. A buffer that is only scanned out is never mapped.
    mapping: OnceCell<Mapping>,
    framebuffers: Framebuffers,
    imported: ImportCache,
    commits: Cell<u64>,
}

impl ClientBuffer {
    /// Wraps a buffer whose parameters were validated.
    pub fn new(buffer: Buffer, format: PixelFormat) -> Self {
        Self {
            buffer,
            format,
            mapping: OnceCell::new(),
            framebuffers: Framebuffers::default(),
            imported: ImportCache::default(),
            commits: Cell::new(0),
        }
    }

    /// Returns the dma-buf and its layout.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Returns the pixel format of the buffer.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Returns the cached import of the GPU renderer.
    pub fn imported(&self) -> &ImportCache {
        &self.imported
    }

    /// Increments the number of commits of the buffer.
    pub fn count_commit(&self) {
        self.commits.set(self.commits.get().wrapping_add(1));
    }

    /// Returns the identity of the buffer's latest commit in the frame trace.
    pub fn traced(&self) -> TracedBuffer {
        TracedBuffer {
            buffer: self.buffer.identity().0,
            round: self.commits.get().wrapping_sub(1),
        }
    }

    /// Maps the buffer for the CPU and unmaps it again, to test whether the CPU can read it.
    ///
    /// # Errors
    ///
    /// When the exporter does not allow the mapping.
    pub fn try_map(&self) -> io::Result<()> {
        retry_transient(|| self.buffer.map())
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Returns the framebuffer on the card, which is created by the first call.
    ///
    /// # Errors
    ///
    /// When the card rejects the import or the framebuffer.
    pub fn framebuffer(&self, card: &Card) -> Result<&Framebuffer, FramebufferRejection> {
        cache_result(self.framebuffers.of(card.path()), || {
            retry_transient(|| card.framebuffer(&self.buffer)).map_err(|error| {
                FramebufferRejection {
                    kind: FaultKind::of(&error),
                    reason: error.to_string(),
                }
            })
        })
    }

    /// Returns whether the CPU can read the pixels: the layout is linear.
    pub fn is_linear(&self) -> bool {
        is_linear(&self.buffer)
    }

    /// Starts CPU read access, without waiting for write fences. The compositor must not block on such a fence, because a client
    /// can add one to its buffer at any time, even after the commit was applied.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if a write fence is not signalled. Other errors if the buffer is not linear or cannot be mapped, or if its
    /// exporter rejects `DMA_BUF_IOCTL_SYNC`.
    pub fn open(&self) -> io::Result<DmabufPlanes<'_>> {
        Ok(DmabufPlanes {
            guard: self.begin_access(CpuAccess::Read)?,
            strides: self
                .buffer
                .layout()
                .planes()
                .iter()
                .map(|plane| usize::try_from(plane.stride_bytes).unwrap_or(usize::MAX))
                .collect(),
        })
    }

    /// Writes rows of `row_bytes` bytes to the first plane, beginning with its first row, without waiting for fences.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if a fence is not signalled: a device of the client still uses the buffer. Other errors if the buffer is not
    /// linear, is read-only or cannot be mapped, if the rows exceed it, or if its exporter rejects `DMA_BUF_IOCTL_SYNC`.
    pub fn write_rows(&self, row_bytes: usize, rows: &[u8]) -> io::Result<()> {
        let guard = self.begin_access(CpuAccess::Write)?;
        for (number, row) in (0..).zip(rows.chunks_exact(row_bytes.max(1))) {
            guard
                .write_row(0, number, 0, row)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// Maps the buffer if it is not mapped, and starts CPU access.
    fn begin_access(&self, access: CpuAccess) -> io::Result<MapGuard<'_>> {
        if !self.is_linear() {
            let modifier = self.buffer.layout().format().modifier;
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("the CPU cannot access the modifier {modifier}"),
            ));
        }
        let mapping = match self.mapping.get() {
            Some(mapping) => mapping,
            None => {
                let mapping = retry_transient(|| self.buffer.map()).map_err(io::Error::other)?;
                self.mapping.get_or_init(|| mapping)
            }
        };
        let decision =
            retry_transient(|| mapping.try_access(access, &[])).map_err(io::Error::other)?;
        match decision {
            CpuAccessDecision::Granted(guard) => Ok(guard),
            CpuAccessDecision::Wait(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The framebuffers of a buffer, as a linked list with an entry for each card. A framebuffer is created when a card first scans
/// out the buffer. A permanent rejection by the card is cached as well.
#[derive(Debug, Default)]
struct Framebuffers(OnceCell<Box<CardFramebuffer>>);

/// An entry of the list: the framebuffer on one card, and the remaining entries.
#[derive(Debug)]
struct CardFramebuffer {
    card: PathBuf,
    result: OnceCell<Result<Framebuffer, FramebufferRejection>>,
    others: Framebuffers,
}

impl Framebuffers {
    /// Returns the cached framebuffer or rejection of a card.
    fn of(&self, card: &Path) -> &OnceCell<Result<Framebuffer, FramebufferRejection>> {
        let mut framebuffers = self;
        loop {
            let framebuffer = framebuffers.0.get_or_init(|| {
                Box::new(CardFramebuffer {
                    card: card.to_owned(),
                    result: OnceCell::new(),
                    others: Self::default(),
                })
            });
            if framebuffer.card == card {
                return &framebuffer.result;
            }
            framebuffers = &framebuffer.others;
        }
    }
}

/// The reason why a card cannot create a framebuffer of a buffer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct FramebufferRejection {
    /// Whether a later attempt to create the framebuffer may succeed.
    pub kind: FaultKind,
    /// The kernel's error as text.
    pub reason: String,
}

/// Creates a value once and caches it. A rejection is cached only if it is permanent.
fn cache_result<T>(
    cell: &OnceCell<Result<T, FramebufferRejection>>,
    create: impl FnOnce() -> Result<T, FramebufferRejection>,
) -> Result<&T, FramebufferRejection> {
    if cell.get().is_none() {
        match create() {
            Err(rejection) if rejection.kind != FaultKind::Permanent => return Err(rejection),
            // The cell was empty above, and `create` cannot access the cell.
            created => drop(cell.set(created)),
        }
    }
    match cell.get() {
        Some(Ok(created)) => Ok(created),
        Some(Err(rejection)) => Err(rejection.clone()),
        None => Err(FramebufferRejection {
            kind: FaultKind::Transient,
            reason: "the framebuffer is being created".to_owned(),
        }),
    }
}

/// The planes of a dma-buf during CPU read access.
#[derive(Debug)]
pub struct DmabufPlanes<'a> {
    guard: MapGuard<'a>,
    strides: Vec<usize>,
}

impl ReadPlanes for DmabufPlanes<'_> {
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let offset = u64::try_from(offset).map_err(io::Error::other)?;
        self.guard
            .read(plane, offset, into)
            .map_err(io::Error::other)
    }

    fn stride(&self, plane: usize) -> usize {
        self.strides.get(plane).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framebuffer_of_one_card_is_not_that_of_another() {
        let framebuffers = Framebuffers::default();
        let paths = ["/dev/dri/card0", "/dev/dri/card1", "/dev/dri/card2"].map(Path::new);
        let cells = paths.map(|path| std::ptr::from_ref(framebuffers.of(path)));
        assert_eq!(
            cells,
            paths.map(|path| std::ptr::from_ref(framebuffers.of(path)))
        );
        assert!(cells[0] != cells[1] && cells[1] != cells[2] && cells[0] != cells[2]);
    }

    #[test]
    fn framebuffer_rejected_transiently_is_requested_again_and_one_rejected_permanently_is_not() {
        let rejection = |kind| FramebufferRejection {
            kind,
            reason: "no".to_owned(),
        };
        let cell = OnceCell::new();
        for kind in [FaultKind::Transient, FaultKind::NotMaster] {
            assert!(cache_result(&cell, || Err(rejection(kind))).is_err());
        }
        assert_eq!(cache_result(&cell, || Ok(7)).ok(), Some(&7));
        let cell: OnceCell<Result<i32, _>> = OnceCell::new();
        assert!(cache_result(&cell, || Err(rejection(FaultKind::Permanent))).is_err());
        assert!(cache_result(&cell, || Ok(7)).is_err());
    }
}
