//! The layout of an image: the position of each plane in its dma-buf.
//!
//! ```text
//! dma-buf 0: ├─ offset of plane 0 ─┤├─ stride ─┤├─ stride ─┤ …   plane 0 (luma, or all channels)
//!            ├────────────── offset of plane 1 ──────────────┤├─ stride ─┤├─ stride ─┤ …   plane 1 (chroma)
//! ```
//!
//! The planes of an image share one dma-buf, or each plane has a dma-buf of its own (disjoint).
//!
//! The extent of a layout is the coded extent, from which the number of rows and the strides follow. The picture is the visible
//! rectangle in the coded extent, and is usually as large. A decoder whose blocks have 16 rows writes a picture of 1080 rows into
//! a coded extent of 1088 rows.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Extent, FormatModifier, Fourcc, LayoutError, Modifier, Rect};
use crate::reading::budget::list;

/// The layout of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlaneLayout {
    /// The index of the dma-buf that contains the plane.
    pub memory: usize,
    /// The number of bytes from the start of the dma-buf to the first row of the plane.
    pub offset_bytes: u64,
    /// The number of bytes from one row to the next.
    pub stride_bytes: u32,
    /// The size of the plane in bytes. For a linear layout it is stride × rows.
    pub size_bytes: u64,
}

/// The bytes of one plane that contain the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisibleBytes {
    /// The index of the first row of the plane that contains the picture.
    pub first_row: u32,
    /// The number of rows that contain the picture.
    pub rows: u32,
    /// The index of the first byte in each of these rows.
    pub first_byte: u32,
    /// The number of bytes in each of these rows.
    pub row_bytes: u32,
}

/// The layout of an image. Every plane lies inside its dma-buf, which [`Layout::new`] has checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Layout {
    extent: Extent,
    format: FormatModifier,
    planes: Vec<PlaneLayout>,
    memory_sizes: Vec<u64>,
    /// The visible rectangle; `None` if all of the image is visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    visible: Option<Rect>,
}

/// Reads a serialised layout and checks it like [`Layout::new`].
impl<'de> Deserialize<'de> for Layout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unchecked {
            extent: Extent,
            format: FormatModifier,
            #[serde(deserialize_with = "at_most_planes")]
            planes: Vec<PlaneLayout>,
            #[serde(deserialize_with = "at_most_planes")]
            memory_sizes: Vec<u64>,
            #[serde(default)]
            visible: Option<Rect>,
        }
        let Unchecked {
            extent,
            format,
            planes,
            memory_sizes,
            visible,
        } = Unchecked::deserialize(deserializer)?;
        Self::new(extent, format, planes, memory_sizes)
            .and_then(|layout| layout.with_visible(visible.unwrap_or(Rect::whole(extent))))
            .map_err(D::Error::custom)
    }
}

/// Reads a list with at most [`Layout::MAXIMUM_PLANES`] items.
fn at_most_planes<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    list(deserializer, Layout::MAXIMUM_PLANES, "planes or dma-bufs")
}

impl Layout {
    /// The maximum number of planes of an image, and the maximum number of dma-bufs of an image.
    pub const MAXIMUM_PLANES: usize = 4;

    /// The maximum stride alignment that is supported, in bytes. No known hardware needs more than 4096.
    const LARGEST_ALIGNMENT: u32 = 1 << 20;

    /// Makes a layout and checks the planes against their format and dma-bufs.
    ///
    /// A linear plane needs at least stride × rows bytes. A plane with another modifier needs its `size_bytes`, as the driver
    /// reports it.
    ///
    /// # Errors
    /// [`LayoutError`], with the index of the plane and the sizes.
    pub fn new(
        extent: Extent,
        format: FormatModifier,
        planes: Vec<PlaneLayout>,
        memory_sizes: Vec<u64>,
    ) -> Result<Self, LayoutError> {
        if format.modifier == Modifier::LINEAR {
            let info = format
                .fourcc
                .info()
                .ok_or(LayoutError::UnknownFormat(format.fourcc))?;
            let (expected, found) = (info.planes.len(), planes.len());
            if expected != found {
                return Err(LayoutError::PlaneCount {
                    fourcc: format.fourcc,
                    expected,
                    found,
                });
            }
            for (plane, (layout, shape)) in planes.iter().zip(info.planes).enumerate() {
                let overflow = LayoutError::Overflow { plane };
                let row_bytes = shape.row_bytes(extent.width()).ok_or(overflow)?;
                if layout.stride_bytes < row_bytes {
                    return Err(LayoutError::Stride {
                        plane,
                        stride_bytes: layout.stride_bytes,
                        row_bytes,
                    });
                }
            }
        } else if planes.is_empty() || planes.len() > Self::MAXIMUM_PLANES {
            return Err(LayoutError::PlaneCount {
                fourcc: format.fourcc,
                expected: 1,
                found: planes.len(),
            });
        }
        let mut sizes = memory_sizes.iter();
        sizes
            .try_fold(0_u64, |sum, size| sum.checked_add(*size))
            .ok_or(LayoutError::Uncountable)?;
        let layout = Self {
            extent,
            format,
            planes,
            memory_sizes,
            visible: None,
        };
        for (plane, place) in layout.planes.iter().enumerate() {
            let dmabufs = layout.memory_sizes.len();
            let memory_bytes =
                *layout
                    .memory_sizes
                    .get(place.memory)
                    .ok_or(LayoutError::NoMemory {
                        plane,
                        memory: place.memory,
                        dmabufs,
                    })?;
            let size_bytes = layout
                .needed_bytes(plane)
                .ok_or(LayoutError::Overflow { plane })?
                .max(place.size_bytes);
            let end = place
                .offset_bytes
                .checked_add(size_bytes)
                .ok_or(LayoutError::Overflow { plane })?;
            if end > memory_bytes {
                return Err(LayoutError::OutOfBounds {
                    plane,
                    offset_bytes: place.offset_bytes,
                    size_bytes,
                    memory_bytes,
                });
            }
        }
        Ok(layout)
    }

    /// Makes a linear layout with all planes in one dma-buf, one after another.
    ///
    /// Strides are multiples of `stride_alignment` bytes and at least `stride_minimum` bytes. The chroma strides follow from the
    /// first plane's, because a single-planar V4L2 queue and a dumb buffer have only one stride.
    ///
    /// # Errors
    /// [`LayoutError`] for an unknown format, an unsupported alignment, or a size that overflows.
    pub fn linear(
        extent: Extent,
        fourcc: Fourcc,
        stride_alignment: u32,
        stride_minimum: u32,
    ) -> Result<Self, LayoutError> {
        if stride_alignment == 0 || stride_alignment > Self::LARGEST_ALIGNMENT {
            return Err(LayoutError::Alignment(stride_alignment));
        }
        let info = fourcc.info().ok_or(LayoutError::UnknownFormat(fourcc))?;
        let overflow = |plane| LayoutError::Overflow { plane };
        let first = info
            .planes
            .first()
            .ok_or(LayoutError::UnknownFormat(fourcc))?;
        let first_row = first.row_bytes(extent.width()).ok_or(overflow(0))?;
        let first_stride = first_row
            .max(stride_minimum)
            .checked_next_multiple_of(stride_alignment)
            .ok_or(overflow(0))?;
        let mut planes = Vec::with_capacity(info.planes.len());
        let mut offset_bytes = 0_u64;
        for (plane, shape) in info.planes.iter().enumerate() {
            let stride_bytes = if plane == 0 {
                first_stride
            } else {
                // The plane has as many blocks in a row as the first plane, including padding. V4L2 derives the chroma stride
                // from `bytesperline` in the same way.
                let blocks = first_stride.div_ceil(first.block_bytes.max(1));
                let columns = blocks.saturating_mul(first.hsub);
                columns
                    .div_ceil(shape.hsub)
                    .checked_mul(shape.block_bytes)
                    .ok_or(overflow(plane))?
            };
            let size_bytes = u64::from(stride_bytes)
                .checked_mul(u64::from(shape.rows(extent.height())))
                .ok_or(overflow(plane))?;
            planes.push(PlaneLayout {
                memory: 0,
                offset_bytes,
                stride_bytes,
                size_bytes,
            });
            offset_bytes = offset_bytes
                .checked_add(size_bytes)
                .ok_or(overflow(plane))?;
        }
        Self::new(
            extent,
            FormatModifier::linear(fourcc),
            planes,
            vec![offset_bytes],
        )
    }

    /// Returns a layout with the same planes in dma-bufs of other sizes, which an allocator has reported.
    ///
    /// # Errors
    /// [`LayoutError::OutOfBounds`] if a plane does not fit into its dma-buf.
    pub fn with_memory_sizes(&self, memory_sizes: Vec<u64>) -> Result<Self, LayoutError> {
        let layout = Self::new(self.extent, self.format, self.planes.clone(), memory_sizes)?;
        Ok(Self {
            visible: self.visible,
            ..layout
        })
    }

    /// Returns a layout with the same planes and another visible rectangle.
    ///
    /// # Errors
    /// [`LayoutError::Visible`] if the rectangle is not inside of the extent.
    pub fn with_visible(self, visible: Rect) -> Result<Self, LayoutError> {
        if !visible.is_inside(self.extent) {
            return Err(LayoutError::Visible {
                visible,
                extent: self.extent,
            });
        }
        Ok(Self {
            visible: (visible != Rect::whole(self.extent)).then_some(visible),
            ..self
        })
    }

    /// Returns a layout with the same planes and another modifier. No tiling takes less memory than linear rows, so the result is
    /// a lower bound.
    pub(crate) fn with_modifier(&self, modifier: Modifier) -> Self {
        Self {
            format: FormatModifier::new(self.format.fourcc, modifier),
            ..self.clone()
        }
    }

    /// Returns the coded width and height in pixels. This is the size that is passed to devices, and the number of rows and the
    /// strides follow from it.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// Returns the visible rectangle, which contains the picture. The pixels outside of it are undefined.
    #[must_use]
    pub const fn visible(&self) -> Rect {
        match self.visible {
            Some(visible) => visible,
            None => Rect::whole(self.extent),
        }
    }

    /// Returns whether the visible rectangle is smaller than the extent.
    #[must_use]
    pub const fn is_cropped(&self) -> bool {
        self.visible.is_some()
    }

    /// Returns the pair of format and modifier.
    #[must_use]
    pub const fn format(&self) -> FormatModifier {
        self.format
    }

    /// Returns the planes, in DRM's order.
    #[must_use]
    pub fn planes(&self) -> &[PlaneLayout] {
        &self.planes
    }

    /// Returns the size of each dma-buf in bytes.
    #[must_use]
    pub fn memory_sizes(&self) -> &[u64] {
        &self.memory_sizes
    }

    /// Returns the sum of the dma-bufs' sizes in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.memory_sizes.iter().sum()
    }

    /// Returns the number of bytes in one row of a plane, without padding; `None` for an unknown format or plane.
    #[must_use]
    pub fn row_bytes(&self, plane: usize) -> Option<u32> {
        self.format
            .fourcc
            .info()?
            .planes
            .get(plane)?
            .row_bytes(self.extent.width())
    }

    /// Returns the number of rows of a plane; `None` for an unknown format or plane.
    #[must_use]
    pub fn rows(&self, plane: usize) -> Option<u32> {
        Some(
            self.format
                .fourcc
                .info()?
                .planes
                .get(plane)?
                .rows(self.extent.height()),
        )
    }

    /// Returns the bytes of a plane that contain the picture; `None` for an unknown format or plane.
    ///
    /// If the picture begins or ends inside of a block of pixels, all bytes of that block are included.
    #[must_use]
    pub fn visible_bytes(&self, plane: usize) -> Option<VisibleBytes> {
        let shape = self.format.fourcc.info()?.planes.get(plane)?;
        let visible = self.visible();
        let first_row = visible.y().checked_div(shape.vsub)?;
        let end_row = shape.rows(visible.y().checked_add(visible.height())?);
        let first_byte = visible
            .x()
            .checked_div(shape.hsub)?
            .checked_mul(shape.block_bytes)?;
        let end_byte = shape.row_bytes(visible.x().checked_add(visible.width())?)?;
        Some(VisibleBytes {
            first_row,
            rows: end_row.checked_sub(first_row)?,
            first_byte,
            row_bytes: end_byte.checked_sub(first_byte)?,
        })
    }

    /// Returns the minimum size of a plane in bytes. The last row of a linear plane could end with its last pixel, but kernel
    /// interfaces such as `DRM_IOCTL_MODE_ADDFB2` require a whole stride.
    fn needed_bytes(&self, plane: usize) -> Option<u64> {
        let place = self.planes.get(plane)?;
        if self.format.modifier != Modifier::LINEAR {
            return Some(place.size_bytes);
        }
        u64::from(place.stride_bytes).checked_mul(u64::from(self.rows(plane)?))
    }
}

#[cfg(test)]
mod tests;
