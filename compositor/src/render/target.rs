//! The target that a renderer composes into.

use std::cell::OnceCell;
use std::io;

use covalent_alloc::buffer::{Buffer, CpuAccess, MapGuard, Mapping};
use smithay::backend::allocator::Buffer as _;
use smithay::backend::allocator::dmabuf::Dmabuf;

use crate::transient::retry_transient;

/// An output buffer that a renderer writes and a screenshot reads.
///
/// Bytes that are written to memory of this process are counted in [`written_bytes`](Self::written_bytes). Bytes that are written
/// to a dma-buf are counted by its access guard in `covalent_alloc::buffer::cpu_traffic`.
#[derive(Debug)]
pub struct Target {
    width: usize,
    height: usize,
    memory: Memory,
    written_bytes: u64,
}

/// Where the pixels of an output buffer are.
#[derive(Debug)]
enum Memory {
    /// Memory of this process, for virtual outputs.
    Own(Vec<u32>),
    /// A dma-buf that only the GPU renders to.
    Gpu(Dmabuf),
    /// A dma-buf in XRGB8888 into which the CPU draws through a mapping.
    Shared {
        buffer: Buffer,
        mapping: OnceCell<Mapping>,
    },
}

/// Write access to the rows of a target.
pub trait WriteRows {
    /// Calls `draw` to write `count` pixels (`0xAARRGGBB`) of row `y`, starting at column `x`.
    ///
    /// `draw` has to write all pixels. The initial content of the slice is unspecified.
    ///
    /// # Errors
    ///
    /// When the pixels exceed the target, or its memory cannot be written.
    fn fill(
        &mut self,
        at: (i32, i32),
        count: usize,
        draw: &mut dyn FnMut(&mut [u32]),
    ) -> io::Result<()>;

    /// Writes pixels (`0xAARRGGBB`) of row `y`, starting at column `x`.
    ///
    /// # Errors
    ///
    /// The errors of [`fill`](Self::fill).
    fn copy(&mut self, at: (i32, i32), pixels: &[u32]) -> io::Result<()> {
        self.fill(at, pixels.len(), &mut |row| row.copy_from_slice(pixels))
    }
}

impl Target {
    /// Creates a black target in memory of this process.
    pub fn memory(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            memory: Memory::Own(vec![0; width.saturating_mul(height)]),
            written_bytes: 0,
        }
    }

    /// Wraps a dma-buf in XRGB8888, which is mapped when it is first drawn to.
    pub fn shared(buffer: Buffer) -> Self {
        let extent = buffer.layout().extent();
        let pixels = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            width: pixels(extent.width()),
            height: pixels(extent.height()),
            memory: Memory::Shared {
                buffer,
                mapping: OnceCell::new(),
            },
            written_bytes: 0,
        }
    }

    /// Wraps a dma-buf that the GPU renders to.
    pub fn gpu(dmabuf: Dmabuf) -> Self {
        let pixels = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            width: pixels(dmabuf.width()),
            height: pixels(dmabuf.height()),
            memory: Memory::Gpu(dmabuf),
            written_bytes: 0,
        }
    }

    /// Returns the dma-buf of the GPU renderer; `None` for a target of the CPU renderer.
    pub fn dmabuf(&self) -> Option<&Dmabuf> {
        match &self.memory {
            Memory::Gpu(dmabuf) => Some(dmabuf),
            Memory::Own(_) | Memory::Shared { .. } => None,
        }
    }

    /// Unmaps the target until it is next drawn to.
    pub fn unmap(&mut self) {
        if let Memory::Shared { mapping, .. } = &mut self.memory {
            mapping.take();
        }
    }

    /// Returns the width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// Returns the number of bytes written so far, if the target is memory of this process.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Calls `draw` with write access.
    ///
    /// # Errors
    ///
    /// When the memory cannot be accessed, the target belongs to the GPU renderer, or `draw` fails.
    pub fn write(
        &mut self,
        draw: &mut dyn FnMut(&mut dyn WriteRows) -> io::Result<()>,
    ) -> io::Result<()> {
        match &mut self.memory {
            Memory::Own(colours) => draw(&mut OwnRows {
                colours,
                width: self.width,
                written_bytes: &mut self.written_bytes,
            }),
            Memory::Gpu(_) => Err(io::ErrorKind::Unsupported.into()),
            Memory::Shared { buffer, mapping } => {
                let guard = open(buffer, mapping, CpuAccess::Write)?;
                draw(&mut SharedRows {
                    guard,
                    width: self.width,
                    height: self.height,
                    row: Vec::new(),
                })
            }
        }
    }

    /// Reads all pixels as `0xAARRGGBB`.
    ///
    /// # Errors
    ///
    /// When the memory cannot be read, or the target belongs to the GPU renderer, which reads it by OpenGL ES.
    pub fn read(&self) -> io::Result<Vec<u32>> {
        match &self.memory {
            Memory::Own(colours) => Ok(colours.clone()),
            Memory::Gpu(_) => Err(io::ErrorKind::Unsupported.into()),
            Memory::Shared { buffer, mapping } => {
                let guard = open(buffer, mapping, CpuAccess::Read)?;
                let mut row = vec![0; self.width.saturating_mul(4)];
                let mut colours = Vec::with_capacity(self.width.saturating_mul(self.height));
                for y in 0..self.height {
                    let y = u32::try_from(y).map_err(io::Error::other)?;
                    guard
                        .read_row(0, y, 0, &mut row)
                        .map_err(io::Error::other)?;
                    colours.extend(
                        row.chunks_exact(4)
                            .map(|pixel| u32::from_le_bytes([pixel[0], pixel[1], pixel[2], 0xff])),
                    );
                }
                Ok(colours)
            }
        }
    }
}

/// Writes rows into memory of this process.
struct OwnRows<'a> {
    colours: &'a mut [u32],
    width: usize,
    written_bytes: &'a mut u64,
}

impl WriteRows for OwnRows<'_> {
    fn fill(
        &mut self,
        (x, y): (i32, i32),
        count: usize,
        draw: &mut dyn FnMut(&mut [u32]),
    ) -> io::Result<()> {
        let start = pixel_index(x, y, self.width, count)?;
        let row = self
            .colours
            .get_mut(start..start.saturating_add(count))
            .ok_or(io::ErrorKind::InvalidInput)?;
        draw(row);
        let bytes = u64::try_from(size_of_val(row)).unwrap_or(u64::MAX);
        *self.written_bytes = self.written_bytes.saturating_add(bytes);
        Ok(())
    }
}

/// Maps a buffer if it is not mapped, and starts CPU access.
fn open<'a>(
    buffer: &Buffer,
    mapping: &'a OnceCell<Mapping>,
    access: CpuAccess,
) -> io::Result<MapGuard<'a>> {
    let mapping = match mapping.get() {
        Some(mapping) => mapping,
        None => {
            let new_mapping = retry_transient(|| buffer.map()).map_err(io::Error::other)?;
            mapping.get_or_init(|| new_mapping)
        }
    };
    retry_transient(|| mapping.access(access)).map_err(io::Error::other)
}

/// Writes rows into a mapped dma-buf.
struct SharedRows<'a> {
    guard: MapGuard<'a>,
    width: usize,
    height: usize,
    /// The row that is being drawn. It is copied to the buffer afterwards, because no reference to the buffer's shared memory may
    /// exist.
    row: Vec<u32>,
}

impl WriteRows for SharedRows<'_> {
    fn fill(
        &mut self,
        (x, y): (i32, i32),
        count: usize,
        draw: &mut dyn FnMut(&mut [u32]),
    ) -> io::Result<()> {
        let (x_bytes, y) = self.row_start((x, y), count)?;
        self.row.resize(count, 0);
        draw(&mut self.row);
        if cfg!(target_endian = "big") {
            for pixel in &mut self.row {
                *pixel = pixel.to_le();
            }
        }
        self.guard
            .write_row(0, y, x_bytes, bytemuck::cast_slice(&self.row))
            .map_err(io::Error::other)
    }

    /// Writes the pixels directly to the buffer, without the scratch row.
    fn copy(&mut self, at: (i32, i32), pixels: &[u32]) -> io::Result<()> {
        if cfg!(target_endian = "big") {
            return self.fill(at, pixels.len(), &mut |row| row.copy_from_slice(pixels));
        }
        let (x_bytes, y) = self.row_start(at, pixels.len())?;
        self.guard
            .write_row(0, y, x_bytes, bytemuck::cast_slice(pixels))
            .map_err(io::Error::other)
    }
}

impl SharedRows<'_> {
    /// Returns the byte offset of a pixel in its row, and the row. Fails unless the row has `count` pixels from there on.
    fn row_start(&self, (x, y): (i32, i32), count: usize) -> io::Result<(u64, u32)> {
        pixel_index(x, y, self.width, count)?;
        let outside = |_| io::Error::from(io::ErrorKind::InvalidInput);
        if usize::try_from(y).map_err(outside)? >= self.height {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let x_bytes = u64::try_from(x).map_err(outside)? * 4;
        Ok((x_bytes, u32::try_from(y).map_err(outside)?))
    }
}

/// Returns the index of a pixel. Fails unless the row has `count` pixels from there on.
fn pixel_index(x: i32, y: i32, width: usize, count: usize) -> io::Result<usize> {
    let outside = || io::Error::from(io::ErrorKind::InvalidInput);
    let (x, y) = (
        usize::try_from(x).map_err(|_| outside())?,
        usize::try_from(y).map_err(|_| outside())?,
    );
    if x.checked_add(count).is_none_or(|end| end > width) {
        return Err(outside());
    }
    y.checked_mul(width)
        .and_then(|start| start.checked_add(x))
        .ok_or_else(outside)
}
