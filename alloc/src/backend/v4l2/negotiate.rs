//! The format of a queue, as VIDIOC_TRY_FMT, VIDIOC_S_FMT and VIDIOC_G_FMT return it.

use std::fmt;

use super::sys;
use super::{Disjoint, PixelFormat};
use crate::model::{
    Extent, ExtentError, FormatModifier, Fourcc, Layout, LayoutError, PlaneLayout, Rect,
};

/// The format that a driver returns for a requested format. The driver may change every value of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NegotiatedFormat {
    /// The coded width and height in pixels.
    pub extent: Extent,
    /// The rectangle of the frame that contains the picture, in pixels.
    pub visible: Rect,
    /// The pixel format.
    pub pixel_format: PixelFormat,
    /// For each memory plane: bytesperline, the stride in bytes of its first colour plane.
    pub strides_bytes: Vec<u32>,
    /// For each memory plane: sizeimage, the bytes that the driver reads or writes.
    pub sizes_bytes: Vec<u32>,
}

impl fmt::Display for NegotiatedFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} in {}, bytesperline {:?}, sizeimage {:?}",
            self.extent, self.pixel_format, self.strides_bytes, self.sizes_bytes
        )?;
        if self.visible != Rect::whole(self.extent) {
            write!(out, ", with the picture of {}", self.visible)?;
        }
        Ok(())
    }
}

impl NegotiatedFormat {
    /// Returns the format to request for `layout`; `None` if V4L2 has no pixel format for it.
    pub(super) fn of_layout(layout: &Layout) -> Option<Self> {
        let disjoint = if layout.memory_sizes().len() > 1 {
            Disjoint::Yes
        } else {
            Disjoint::No
        };
        let pixel_format = PixelFormat::from_format(layout.format(), disjoint)?;
        let mut strides_bytes = Vec::new();
        let mut sizes_bytes = Vec::new();
        for memory in 0..layout.memory_sizes().len() {
            let mut planes = layout
                .planes()
                .iter()
                .filter(|plane| plane.memory == memory);
            let first_plane = planes.next()?;
            // sizeimage is the number of bytes that the pixels need, and not the size of the dma-buf, which allocators round up
            // to pages.
            let end = planes.fold(
                first_plane
                    .size_bytes
                    .checked_add(first_plane.offset_bytes)?,
                |end, plane| end.max(plane.size_bytes.saturating_add(plane.offset_bytes)),
            );
            strides_bytes.push(first_plane.stride_bytes);
            sizes_bytes.push(u32::try_from(end).ok()?);
        }
        Some(Self {
            extent: layout.extent(),
            visible: layout.visible(),
            pixel_format,
            strides_bytes,
            sizes_bytes,
        })
    }

    /// Returns the layout of this format; `None` for a pixel format that does not contain pixels, such as a coded format.
    ///
    /// For tiled or compressed pixels the layout contains only the size of each memory plane, as the driver returns it. For
    /// linear pixels, the strides of the second and third colour plane in a memory plane follow from bytesperline, as V4L2
    /// defines.
    ///
    /// # Errors
    /// [`LayoutError`] if the driver's values are inconsistent.
    pub fn layout(&self) -> Option<Result<Layout, LayoutError>> {
        let layout = match self.pixel_format.tiled() {
            Some((format, _)) => self.layout_of_tiles(format),
            None => match self.pixel_format.fourcc()? {
                (fourcc, Disjoint::No) => self.layout_in_one_memory_plane(fourcc),
                (fourcc, Disjoint::Yes) => self.layout_in_several_memories(fourcc),
            },
        };
        Some(layout.and_then(|layout| layout.with_visible(self.visible)))
    }

    /// Returns the bytes of all dma-bufs of one frame.
    pub(super) fn total_bytes(&self) -> u64 {
        let sizes = self.sizes_bytes.iter();
        sizes.fold(0, |sum, size| sum.saturating_add(u64::from(*size)))
    }

    fn layout_of_tiles(&self, format: FormatModifier) -> Result<Layout, LayoutError> {
        let planes = self.strides_bytes.iter().zip(&self.sizes_bytes);
        let planes = planes
            .enumerate()
            .map(|(memory, (stride, size))| PlaneLayout {
                memory,
                offset_bytes: 0,
                stride_bytes: *stride,
                size_bytes: (*size).into(),
            });
        let sizes = self.sizes_bytes.iter().map(|size| u64::from(*size));
        Layout::new(self.extent, format, planes.collect(), sizes.collect())
    }

    fn layout_in_one_memory_plane(&self, fourcc: Fourcc) -> Result<Layout, LayoutError> {
        let stride = self.strides_bytes.first().copied().unwrap_or(0);
        let size = self.sizes_bytes.first().copied().unwrap_or(0);
        let layout = Layout::linear(self.extent, fourcc, 1, stride)?;
        let found = layout
            .planes()
            .first()
            .map_or(0, |plane| plane.stride_bytes);
        if found != stride {
            let row_bytes = layout.row_bytes(0).unwrap_or(0);
            return Err(LayoutError::Stride {
                plane: 0,
                stride_bytes: stride,
                row_bytes,
            });
        }
        layout.with_memory_sizes(vec![size.into()])
    }

    fn layout_in_several_memories(&self, fourcc: Fourcc) -> Result<Layout, LayoutError> {
        let info = fourcc.info().ok_or(LayoutError::UnknownFormat(fourcc))?;
        let mut planes = Vec::new();
        for (memory, (shape, stride)) in info.planes.iter().zip(&self.strides_bytes).enumerate() {
            let size_bytes = u64::from(*stride)
                .checked_mul(shape.rows(self.extent.height()).into())
                .ok_or(LayoutError::Overflow { plane: memory })?;
            planes.push(PlaneLayout {
                memory,
                offset_bytes: 0,
                stride_bytes: *stride,
                size_bytes,
            });
        }
        let sizes = self
            .sizes_bytes
            .iter()
            .map(|size| u64::from(*size))
            .collect();
        Layout::new(self.extent, FormatModifier::linear(fourcc), planes, sizes)
    }

    pub(super) fn is_multiplanar(kind: u32) -> bool {
        kind == sys::CAPTURE_MPLANE || kind == sys::OUTPUT_MPLANE
    }

    pub(super) fn to_request(&self, kind: u32) -> sys::Format {
        if Self::is_multiplanar(kind) {
            let mut multiplanar = sys::PixMultiplanar {
                width: self.extent.width(),
                height: self.extent.height(),
                pixel_format: self.pixel_format.0,
                field: sys::FIELD_NONE,
                plane_count: u8::try_from(self.strides_bytes.len()).unwrap_or(1),
                ..Default::default()
            };
            let mut planes = multiplanar.planes;
            for (plane, (stride, size)) in planes
                .iter_mut()
                .zip(self.strides_bytes.iter().zip(&self.sizes_bytes))
            {
                plane.bytes_per_line = *stride;
                plane.size_image = *size;
            }
            multiplanar.planes = planes;
            sys::Format::of_multiplanar(kind, multiplanar)
        } else {
            sys::Format::of_pix(
                kind,
                sys::Pix {
                    width: self.extent.width(),
                    height: self.extent.height(),
                    pixel_format: self.pixel_format.0,
                    field: sys::FIELD_NONE,
                    bytes_per_line: self.strides_bytes.first().copied().unwrap_or(0),
                    size_image: self.sizes_bytes.first().copied().unwrap_or(0),
                    ..Default::default()
                },
            )
        }
    }

    pub(super) fn from_format(format: &sys::Format) -> Result<Self, ExtentError> {
        if Self::is_multiplanar(format.kind) {
            let returned = format.multiplanar();
            let planes = returned.planes;
            let count = usize::from(returned.plane_count);
            let extent = Extent::new(returned.width, returned.height)?;
            Ok(Self {
                extent,
                visible: Rect::whole(extent),
                pixel_format: PixelFormat(returned.pixel_format),
                strides_bytes: planes
                    .iter()
                    .take(count)
                    .map(|plane| plane.bytes_per_line)
                    .collect(),
                sizes_bytes: planes
                    .iter()
                    .take(count)
                    .map(|plane| plane.size_image)
                    .collect(),
            })
        } else {
            let returned = format.pix();
            let extent = Extent::new(returned.width, returned.height)?;
            Ok(Self {
                extent,
                visible: Rect::whole(extent),
                pixel_format: PixelFormat(returned.pixel_format),
                strides_bytes: vec![returned.bytes_per_line],
                sizes_bytes: vec![returned.size_image],
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(code: [u8; 4], strides: &[u32], sizes: &[u32]) -> NegotiatedFormat {
        let extent = Extent::new(640, 480).unwrap();
        NegotiatedFormat {
            extent,
            visible: Rect::whole(extent),
            pixel_format: PixelFormat(u32::from_le_bytes(code)),
            strides_bytes: strides.to_vec(),
            sizes_bytes: sizes.to_vec(),
        }
    }

    #[test]
    fn tiled_format_has_the_memory_planes_that_the_driver_states() {
        let negotiated = format(*b"MM21", &[640, 640], &[327_680, 163_840]);
        let layout = negotiated.layout().unwrap().unwrap();
        assert_eq!(layout.format().to_string(), "NV12 MTK(TILE=16L32S)");
        assert_eq!(layout.memory_sizes(), [327_680, 163_840]);
        assert_eq!(NegotiatedFormat::of_layout(&layout), Some(negotiated));
        let tiles = format(*b"VT12", &[640], &[500_000]);
        let layout = tiles.layout().unwrap().unwrap();
        assert_eq!(layout.format().v4l2_code(), Some(tiles.pixel_format.0));
        assert_eq!(NegotiatedFormat::of_layout(&layout), Some(tiles));
        assert_eq!(format(*b"H264", &[0], &[1]).layout(), None);
    }

    #[test]
    fn format_with_one_memory_plane_derives_the_chroma_stride() {
        let layout = format(*b"YU12", &[704], &[704 * 720])
            .layout()
            .unwrap()
            .unwrap();
        let strides: Vec<u32> = layout
            .planes()
            .iter()
            .map(|plane| plane.stride_bytes)
            .collect();
        assert_eq!(strides, [704, 352, 352]);
    }

    #[test]
    fn format_with_several_memory_planes_has_a_colour_plane_in_each() {
        let negotiated = format(*b"NM12", &[640, 704], &[640 * 480, 704 * 240]);
        let layout = negotiated.layout().unwrap().unwrap();
        let planes: Vec<_> = layout
            .planes()
            .iter()
            .map(|plane| (plane.memory, plane.stride_bytes))
            .collect();
        assert_eq!(planes, [(0, 640), (1, 704)]);
        assert_eq!(NegotiatedFormat::of_layout(&layout), Some(negotiated));
    }

    #[test]
    fn visible_rectangle_is_the_layouts() {
        let mut negotiated = format(*b"NV12", &[640], &[460_800]);
        negotiated.visible = Rect::new(0, 0, Extent::new(640, 472).unwrap());
        let layout = negotiated.layout().unwrap().unwrap();
        assert_eq!(layout.visible(), negotiated.visible);
        assert_eq!(
            negotiated.to_string(),
            "640x480 in NV12, bytesperline [640], sizeimage [460800], with the picture of 640x472 at (0, 0)"
        );
        assert_eq!(
            NegotiatedFormat::of_layout(&layout),
            Some(negotiated.clone())
        );
        negotiated.visible = Rect::new(0, 16, negotiated.visible.extent());
        assert!(negotiated.layout().unwrap().is_err());
    }

    #[test]
    fn inconsistent_format_is_refused() {
        assert!(
            format(*b"XR24", &[2559], &[1 << 30])
                .layout()
                .unwrap()
                .is_err()
        );
        assert!(format(*b"XR24", &[2560], &[1]).layout().unwrap().is_err());
        assert!(format(*b"XR24", &[], &[]).layout().unwrap().is_err());
        assert!(
            format(*b"NM12", &[640], &[640 * 480])
                .layout()
                .unwrap()
                .is_err()
        );
        assert!(format(*b"MJPG", &[0], &[1]).layout().is_none());
    }

    #[test]
    fn format_is_unchanged_by_conversion_to_v4l2_format_and_back() {
        for kind in [sys::CAPTURE, sys::OUTPUT_MPLANE] {
            let negotiated = format(*b"NV12", &[640], &[460_800]);
            assert_eq!(
                NegotiatedFormat::from_format(&negotiated.to_request(kind)),
                Ok(negotiated)
            );
        }
        assert!(NegotiatedFormat::from_format(&sys::Format::empty(sys::CAPTURE)).is_err());
    }
}
