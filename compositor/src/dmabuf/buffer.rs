//! A dma-buf that a client sent, with what was made of it so far.

use std::cell::{Cell, OnceCell};
use std::io;

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{Buffer, CpuAccess, MapGuard, Mapping};

use crate::render::gles::Imported;
use crate::render::{PixelFormat, ReadPlanes};
use crate::steps::Traced;
use crate::transient::{FaultKind, persist};

/// A client's dma-buf, imported once for all frames that show it.
#[derive(Debug)]
pub struct ClientBuffer {
    buffer: Buffer,
    format: PixelFormat,
    /// Made when the CPU reads the buffer for the first time: a buffer that is only scanned out is never mapped.
    mapping: OnceCell<Mapping>,
    /// Made when the display is to show it for the first time; a refusal is remembered as well, unless it passes by itself.
    framebuffer: OnceCell<Result<Framebuffer, FramebufferRefusal>>,
    tested: Cell<Option<u64>>,
    imported: Imported,
    commits: Cell<u64>,
}

impl ClientBuffer {
    /// Takes a buffer whose description was checked.
    pub fn new(buffer: Buffer, format: PixelFormat) -> Self {
        Self {
            buffer,
            format,
            mapping: OnceCell::new(),
            framebuffer: OnceCell::new(),
            tested: Cell::new(None),
            imported: Imported::default(),
            commits: Cell::new(0),
        }
    }

    /// Returns the memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Returns how pixels are laid out.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Returns what the GPU's renderer made of it.
    pub fn imported(&self) -> &Imported {
        &self.imported
    }

    /// Counts a commit of the buffer.
    pub fn committed(&self) {
        self.commits.set(self.commits.get().wrapping_add(1));
    }

    /// Returns what a trace calls it since its last commit.
    pub fn traced(&self) -> Traced {
        Traced {
            buffer: self.buffer.identity().0,
            round: self.commits.get().wrapping_sub(1),
        }
    }

    /// Finds out whether the CPU could read it, without keeping it mapped.
    ///
    /// # Errors
    ///
    /// Why it could not.
    pub fn try_map(&self) -> io::Result<()> {
        persist(|| self.buffer.map())
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Returns its framebuffer on the card, imported the first time it is asked for.
    ///
    /// # Errors
    ///
    /// Why the card refuses it, in words.
    pub fn framebuffer(&self, card: &Card) -> Result<&Framebuffer, FramebufferRefusal> {
        remember(&self.framebuffer, || {
            persist(|| card.framebuffer(&self.buffer)).map_err(|error| FramebufferRefusal {
                kind: FaultKind::of(&error),
                reason: error.to_string(),
            })
        })
    }

    /// Tells whether the display passed a test commit with it in the mode of that generation.
    pub fn is_tested(&self, generation: u64) -> bool {
        self.tested.get() == Some(generation)
    }

    /// Notes that it did.
    pub fn set_tested(&self, generation: u64) {
        self.tested.set(Some(generation));
    }

    /// Opens it for reading.
    ///
    /// # Errors
    ///
    /// When it cannot be mapped, or its exporter does not let the CPU in.
    pub fn open(&self) -> io::Result<DmabufPlanes<'_>> {
        let mapping = match self.mapping.get() {
            Some(mapping) => mapping,
            None => {
                let mapping = persist(|| self.buffer.map()).map_err(io::Error::other)?;
                self.mapping.get_or_init(|| mapping)
            }
        };
        let guard = persist(|| mapping.access(CpuAccess::Read)).map_err(io::Error::other)?;
        Ok(DmabufPlanes {
            guard,
            strides: self
                .buffer
                .layout()
                .planes()
                .iter()
                .map(|plane| usize::try_from(plane.stride_bytes).unwrap_or(usize::MAX))
                .collect(),
        })
    }
}

/// Why a card makes no framebuffer of a buffer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct FramebufferRefusal {
    /// Whether it may make one later.
    pub kind: FaultKind,
    /// What it answered, in words.
    pub reason: String,
}

/// Makes something once; of refusals, only those that are for good are kept.
fn remember<T>(
    cell: &OnceCell<Result<T, FramebufferRefusal>>,
    make: impl FnOnce() -> Result<T, FramebufferRefusal>,
) -> Result<&T, FramebufferRefusal> {
    if cell.get().is_none() {
        match make() {
            Err(refusal) if refusal.kind != FaultKind::Permanent => return Err(refusal),
            // It was empty a moment ago, and nothing here is reached from two places.
            made => drop(cell.set(made)),
        }
    }
    match cell.get() {
        Some(Ok(made)) => Ok(made),
        Some(Err(refusal)) => Err(refusal.clone()),
        None => Err(FramebufferRefusal {
            kind: FaultKind::Transient,
            reason: "it is being made".to_owned(),
        }),
    }
}

/// A dma-buf that is open for reading.
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
    fn framebuffer_refused_for_a_moment_is_asked_for_again_and_one_refused_for_good_is_not() {
        let refusal = |kind| FramebufferRefusal {
            kind,
            reason: "no".to_owned(),
        };
        let cell = OnceCell::new();
        for kind in [FaultKind::Transient, FaultKind::NotMaster] {
            assert!(remember(&cell, || Err(refusal(kind))).is_err());
        }
        assert_eq!(remember(&cell, || Ok(7)).ok(), Some(&7));
        let cell: OnceCell<Result<i32, _>> = OnceCell::new();
        assert!(remember(&cell, || Err(refusal(FaultKind::Permanent))).is_err());
        assert!(remember(&cell, || Ok(7)).is_err());
    }
}
