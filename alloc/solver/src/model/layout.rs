//! The layout of an image: where each plane lies in its dma-buf.
//!
//! ```text
//! dma-buf 0: ├─ offset of plane 0 ─┤├─ stride ─┤├─ stride ─┤ …   plane 0 (luma, or all channels)
//!            ├────────────── offset of plane 1 ──────────────┤├─ stride ─┤├─ stride ─┤ …   plane 1 (chroma)
//! ```
//!
//! The planes of an image share one dma-buf, or each has one of its own (disjoint).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Extent, FormatModifier, Fourcc, LayoutError, Modifier};
use crate::reading::budget::list;

/// The layout of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlaneLayout {
    /// The index of the dma-buf that holds the plane.
    pub memory: usize,
    /// Bytes from the start of the dma-buf to the plane's first row.
    pub offset_bytes: u64,
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
    /// Bytes of the plane; stride × rows for a linear layout.
    pub size_bytes: u64,
}

/// The layout of an image. Every plane lies inside its dma-buf, which [`Layout::new`] has checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Layout {
    extent: Extent,
    format: FormatModifier,
    planes: Vec<PlaneLayout>,
    memory_sizes: Vec<u64>,
}

/// Reads a serialised layout and checks it as [`Layout::new`] does.
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
        }
        let Unchecked {
            extent,
            format,
            planes,
            memory_sizes,
        } = Unchecked::deserialize(deserializer)?;
        Self::new(extent, format, planes, memory_sizes).map_err(D::Error::custom)
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
    /// The most planes of an image, and the most dma-bufs.
    pub const MAXIMUM_PLANES: usize = 4;

    /// The greatest supported stride alignment in bytes. Hardware needs 4096 at most.
    const LARGEST_ALIGNMENT: u32 = 1 << 20;

    /// Makes a layout and checks the planes against their format and dma-bufs.
    ///
    /// A linear plane needs at least stride × rows bytes. A plane with another modifier needs its `size_bytes`, as the driver
    /// reports it.
    ///
    /// # Errors
    /// [`LayoutError`] with the plane and the numbers.
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
                // The plane has as many blocks a row as the first plane, including padding. V4L2 derives them from bytesperline
                // in the same way.
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

    /// Returns the same planes in dma-bufs of other sizes, as an allocator reports them.
    ///
    /// # Errors
    /// [`LayoutError::OutOfBounds`] if a plane no longer fits.
    pub fn with_memory_sizes(&self, memory_sizes: Vec<u64>) -> Result<Self, LayoutError> {
        Self::new(self.extent, self.format, self.planes.clone(), memory_sizes)
    }

    /// Returns the same planes with another modifier. No tiling takes less memory than linear rows, so this is a lower bound.
    pub(crate) fn with_modifier(&self, modifier: Modifier) -> Self {
        Self {
            format: FormatModifier::new(self.format.fourcc, modifier),
            ..self.clone()
        }
    }

    /// Returns the width and height in pixels.
    #[must_use]
    pub const fn extent(&self) -> Extent {
        self.extent
    }

    /// Returns format and modifier.
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

    /// Returns the bytes of one row of a plane without padding; `None` for an unknown format or plane.
    #[must_use]
    pub fn row_bytes(&self, plane: usize) -> Option<u32> {
        self.format
            .fourcc
            .info()?
            .planes
            .get(plane)?
            .row_bytes(self.extent.width())
    }

    /// Returns the rows of a plane; `None` for an unknown format or plane.
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

    /// Returns the least bytes of a plane. The last row of a linear plane needs only its pixels, but kernel interfaces such as
    /// ADDFB2 demand whole strides.
    fn needed_bytes(&self, plane: usize) -> Option<u64> {
        let place = self.planes.get(plane)?;
        if self.format.modifier != Modifier::LINEAR {
            return Some(place.size_bytes);
        }
        u64::from(place.stride_bytes).checked_mul(u64::from(self.rows(plane)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_whose_dma_buf_sizes_overflow_is_refused() {
        let planes = Layout::linear(extent(64, 32), Fourcc::NV12, 1, 0)
            .unwrap()
            .planes;
        let format = FormatModifier::linear(Fourcc::NV12);
        let of = |sizes| Layout::new(extent(64, 32), format, planes.clone(), sizes);
        assert_eq!(of(vec![u64::MAX, 1]), Err(LayoutError::Uncountable));
        assert_eq!(of(vec![u64::MAX]).unwrap().total_bytes(), u64::MAX);
    }

    fn extent(width: u32, height: u32) -> Extent {
        Extent::new(width, height).unwrap()
    }

    fn xrgb(stride_bytes: u32, offset_bytes: u64, memory: u64) -> Result<Layout, LayoutError> {
        let plane = PlaneLayout {
            memory: 0,
            offset_bytes,
            stride_bytes,
            size_bytes: 0,
        };
        Layout::new(
            extent(640, 480),
            FormatModifier::linear(Fourcc::XRGB8888),
            vec![plane],
            vec![memory],
        )
    }

    #[test]
    fn linear_nv12_has_chroma_after_luma() {
        let layout = Layout::linear(extent(642, 481), Fourcc::NV12, 64, 0).unwrap();
        let [luma, chroma] = layout.planes() else {
            panic!()
        };
        assert_eq!((luma.stride_bytes, chroma.stride_bytes), (704, 704));
        assert_eq!(
            (chroma.offset_bytes, chroma.size_bytes),
            (704 * 481, 704 * 241)
        );
        assert_eq!(layout.memory_sizes(), [704 * (481 + 241)]);
    }

    #[test]
    fn linear_i420_halves_the_stride() {
        let layout = Layout::linear(extent(640, 480), Fourcc::YUV420, 1, 0).unwrap();
        let strides: Vec<u32> = layout
            .planes()
            .iter()
            .map(|plane| plane.stride_bytes)
            .collect();
        assert_eq!(strides, [640, 320, 320]);
        assert_eq!(layout.total_bytes(), 640 * 480 * 3 / 2);
    }

    #[test]
    fn linear_with_alignment_48_is_a_multiple_of_48() {
        let layout = Layout::linear(extent(641, 2), Fourcc::XRGB8888, 48, 0).unwrap();
        assert_eq!(layout.planes()[0].stride_bytes, 2592);
    }

    #[test]
    fn layout_at_the_edge_of_its_memory_is_accepted_and_past_it_refused() {
        assert!(xrgb(2560, 0, 2560 * 480).is_ok());
        assert!(matches!(
            xrgb(2560, 4, 2560 * 480),
            Err(LayoutError::OutOfBounds { plane: 0, .. })
        ));
        assert!(matches!(
            xrgb(2559, 0, 1 << 30),
            Err(LayoutError::Stride {
                row_bytes: 2560,
                ..
            })
        ));
        assert!(matches!(
            xrgb(u32::MAX, u64::MAX - 8, u64::MAX),
            Err(LayoutError::Overflow { plane: 0 })
        ));
    }

    #[test]
    fn layout_with_a_wrong_number_of_planes_or_no_memory_is_refused() {
        let format = FormatModifier::linear(Fourcc::NV12);
        let plane = PlaneLayout {
            memory: 3,
            offset_bytes: 0,
            stride_bytes: 640,
            size_bytes: 0,
        };
        assert!(matches!(
            Layout::new(extent(640, 480), format, vec![plane], vec![1 << 30]),
            Err(LayoutError::PlaneCount {
                expected: 2,
                found: 1,
                ..
            })
        ));
        assert!(matches!(
            Layout::new(extent(640, 480), format, vec![plane; 2], vec![1 << 30]),
            Err(LayoutError::NoMemory {
                memory: 3,
                dmabufs: 1,
                ..
            })
        ));
        let unknown = FormatModifier::linear(Fourcc(7));
        assert!(matches!(
            Layout::new(extent(1, 1), unknown, vec![plane], vec![9]),
            Err(LayoutError::UnknownFormat(_))
        ));
    }

    #[test]
    fn layout_that_was_written_is_read_again_and_one_that_cannot_be_is_not() {
        let extent = Extent::new(64, 32).unwrap();
        let layout = Layout::linear(extent, Fourcc::NV12, 64, 0).unwrap();
        let text = serde_json::to_string(&layout).unwrap();
        let read: Layout = serde_json::from_str(&text).unwrap();
        assert_eq!(read, layout);
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["memory_sizes"] = serde_json::json!([64]);
        let error = serde_json::from_value::<Layout>(value.clone()).unwrap_err();
        assert!(error.to_string().contains("plane 0"), "{error}");
        value["memory_sizes"] = serde_json::json!([0, 0, 0, 0, 0]);
        let error = serde_json::from_value::<Layout>(value).unwrap_err();
        assert!(error.to_string().contains("at most 4"), "{error}");
    }
}
