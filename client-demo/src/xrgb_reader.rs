//! Reads the picture of a buffer as XRGB8888, a few rows at a time, so that the rows stay in the CPU's cache.

use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::buffer::{AccessError, CpuAccess, MapGuard, Mapping};
use covalent_alloc::model::{Fourcc, Layout, PlaneInfo, VisibleBytes};

use crate::xrgb::{Conversion, ConversionError, PlaneRows, Rows};

/// The number of rows that are converted at a time. It is even, because two rows may share their chroma samples.
const ROWS: u32 = 32;

/// Why a picture cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The buffer cannot be mapped or read.
    #[error("a frame cannot be read by the CPU: {0}")]
    Access(#[from] AccessError),
    /// The pixels cannot be converted.
    #[error(transparent)]
    Conversion(#[from] ConversionError),
    /// The layout has no rows, or the visible rectangle begins inside a block of pixels that share a chroma sample.
    #[error("a picture in {0} cannot be read row by row; choose another format with --format")]
    Layout(Fourcc),
}

/// Reads buffers of one layout. Its scratch memory is reused for each picture.
#[derive(Debug)]
pub struct XrgbReader {
    conversion: Conversion,
    planes: [Vec<u8>; 3],
    converted: Vec<u8>,
}

impl XrgbReader {
    /// Creates a reader of buffers with this layout.
    ///
    /// # Errors
    ///
    /// [`ReadError::Conversion`], [`ReadError::Layout`].
    pub fn new(layout: &Layout, colours: Colours) -> Result<Self, ReadError> {
        let format = layout.format().fourcc;
        let info = format.info().ok_or(ReadError::Layout(format))?;
        let visible = layout.visible();
        let is_aligned = |plane: &PlaneInfo| {
            visible.x().checked_rem(plane.hsub) == Some(0)
                && visible.y().checked_rem(plane.vsub) == Some(0)
        };
        if !info.planes.iter().all(is_aligned) {
            return Err(ReadError::Layout(format));
        }
        Ok(Self {
            conversion: Conversion::new(format, colours)?,
            planes: Default::default(),
            converted: Vec::new(),
        })
    }

    /// Reads a picture from top to bottom. `each` is called with a few rows at a time, without padding between them.
    ///
    /// # Errors
    ///
    /// [`ReadError`], and the error of `each`.
    pub fn read<E: From<ReadError>>(
        &mut self,
        mapping: &Mapping,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let layout = mapping.buffer().layout();
        let extent = layout.visible().extent();
        let guard = mapping.access(CpuAccess::Read).map_err(ReadError::from)?;
        for first in (0..extent.height()).step_by(usize::try_from(ROWS).unwrap_or(1)) {
            let height = ROWS.min(extent.height().saturating_sub(first));
            let mut strides = [0; 3];
            for (plane, (bytes, stride)) in self.planes.iter_mut().zip(&mut strides).enumerate() {
                if let Some(place) = layout.visible_bytes(plane) {
                    read_rows(&guard, layout, plane, place, (first, height), bytes)
                        .map_err(ReadError::from)?;
                    *stride = place.row_bytes;
                }
            }
            let [one, two, three] = &self.planes;
            let plane = |bytes, stride_bytes| PlaneRows {
                bytes,
                stride_bytes,
            };
            let rows = Rows {
                planes: [
                    plane(one, strides[0]),
                    plane(two, strides[1]),
                    plane(three, strides[2]),
                ],
                width: extent.width(),
                height,
            };
            self.conversion
                .convert(&rows, &mut self.converted)
                .map_err(ReadError::from)?;
            each(&self.converted)?;
        }
        Ok(())
    }
}

/// Reads the rows of a plane that belong to `count` rows of the picture, without padding between them.
fn read_rows(
    guard: &MapGuard<'_>,
    layout: &Layout,
    plane: usize,
    visible: VisibleBytes,
    (first, count): (u32, u32),
    into: &mut Vec<u8>,
) -> Result<(), AccessError> {
    let info = layout.format().fourcc.info();
    let vsub = info
        .and_then(|info| info.planes.get(plane))
        .map_or(1, |info| info.vsub.max(1));
    let row_bytes = usize::try_from(visible.row_bytes).unwrap_or(usize::MAX);
    let (first, count) = (first / vsub, count.div_ceil(vsub));
    let rows = usize::try_from(count).unwrap_or(usize::MAX);
    into.resize(row_bytes.saturating_mul(rows), 0);
    let lines = visible.first_row.saturating_add(first)..;
    for (row, bytes) in lines.zip(into.chunks_exact_mut(row_bytes.max(1))) {
        guard.read_row(plane, row, visible.first_byte.into(), bytes)?;
    }
    Ok(())
}
