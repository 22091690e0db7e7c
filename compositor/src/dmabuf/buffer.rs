//! A dma-buf that a client sent, with what was made of it so far.

use std::cell::{Cell, OnceCell};
use std::io;

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::buffer::{Buffer, CpuAccess, MapGuard, Mapping};

use crate::render::gles::Imported;
use crate::render::{PixelFormat, ReadPlanes};
use crate::steps::Traced;

/// A client's dma-buf, imported once for all frames that show it.
#[derive(Debug)]
pub struct ClientBuffer {
    buffer: Buffer,
    format: PixelFormat,
    /// Made when the CPU reads the buffer for the first time: a buffer that is only scanned out is never mapped.
    mapping: OnceCell<Mapping>,
    /// Made when the display is to show it for the first time; a refusal is remembered as well.
    framebuffer: OnceCell<Result<Framebuffer, String>>,
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
        self.buffer.map().map(drop).map_err(io::Error::other)
    }

    /// Returns its framebuffer on the card, imported the first time it is asked for.
    ///
    /// # Errors
    ///
    /// Why the card refuses it, in words.
    pub fn framebuffer(&self, card: &Card) -> Result<&Framebuffer, &str> {
        self.framebuffer
            .get_or_init(|| {
                card.framebuffer(&self.buffer)
                    .map_err(|error| error.to_string())
            })
            .as_ref()
            .map_err(String::as_str)
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
                let mapping = self.buffer.map().map_err(io::Error::other)?;
                self.mapping.get_or_init(|| mapping)
            }
        };
        let guard = mapping.access(CpuAccess::Read).map_err(io::Error::other)?;
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
