//! A format as a queue has it: parsed from what TRY_FMT, S_FMT and G_FMT answer.

use std::fmt;

use super::pixel_format::{Disjoint, PixelFormat};
use super::sys;
use crate::model::{Extent, ExtentError, FormatModifier, Fourcc, Layout, LayoutError, PlaneLayout};

/// What a queue made of a format that it was asked for. The driver may change every number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedFormat {
    /// Width and height in pixels.
    pub extent: Extent,
    /// Its code.
    pub pixel_format: PixelFormat,
    /// For each memory: bytes from one row to the next, of its first plane.
    pub strides_bytes: Vec<u32>,
    /// For each memory: bytes that the driver writes or reads.
    pub sizes_bytes: Vec<u32>,
}

impl fmt::Display for NegotiatedFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} in {}, {:?} bytes a row, {:?} bytes",
            self.extent, self.pixel_format, self.strides_bytes, self.sizes_bytes
        )
    }
}

impl NegotiatedFormat {
    /// What to ask for to get `layout`; `None` when no V4L2 code says it.
    pub(super) fn of_layout(layout: &Layout) -> Option<Self> {
        let disjoint = if layout.memory_sizes().len() > 1 {
            Disjoint::Yes
        } else {
            Disjoint::No
        };
        let pixel_format = PixelFormat::from_fourcc(layout.format().fourcc, disjoint)?;
        let mut strides_bytes = Vec::new();
        let mut sizes_bytes = Vec::new();
        for memory in 0..layout.memory_sizes().len() {
            let mut planes = layout
                .planes()
                .iter()
                .filter(|plane| plane.memory == memory);
            let first = planes.next()?;
            // What the picture needs, not what the memory has: an allocator rounds up to pages.
            let end = planes.fold(
                first.size_bytes.checked_add(first.offset_bytes)?,
                |end, plane| end.max(plane.size_bytes.saturating_add(plane.offset_bytes)),
            );
            strides_bytes.push(first.stride_bytes);
            sizes_bytes.push(u32::try_from(end).ok()?);
        }
        Some(Self {
            extent: layout.extent(),
            pixel_format,
            strides_bytes,
            sizes_bytes,
        })
    }

    /// The layout that this format gives; `None` for a code that DRM does not know.
    ///
    /// Chroma strides inside one memory follow from the first plane's, as V4L2 defines them.
    ///
    /// # Errors
    /// [`LayoutError`] when the driver's numbers contradict each other.
    pub fn layout(&self) -> Option<Result<Layout, LayoutError>> {
        let (fourcc, disjoint) = self.pixel_format.fourcc()?;
        Some(match disjoint {
            Disjoint::No => self.joint_layout(fourcc),
            Disjoint::Yes => self.disjoint_layout(fourcc),
        })
    }

    fn joint_layout(&self, fourcc: Fourcc) -> Result<Layout, LayoutError> {
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

    fn disjoint_layout(&self, fourcc: Fourcc) -> Result<Layout, LayoutError> {
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

    pub(super) fn of_answer(format: &sys::Format) -> Result<Self, ExtentError> {
        if Self::is_multiplanar(format.kind) {
            let answer = format.multiplanar();
            let planes = answer.planes;
            let count = usize::from(answer.plane_count);
            Ok(Self {
                extent: Extent::new(answer.width, answer.height)?,
                pixel_format: PixelFormat(answer.pixel_format),
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
            let answer = format.pix();
            Ok(Self {
                extent: Extent::new(answer.width, answer.height)?,
                pixel_format: PixelFormat(answer.pixel_format),
                strides_bytes: vec![answer.bytes_per_line],
                sizes_bytes: vec![answer.size_image],
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(code: [u8; 4], strides: &[u32], sizes: &[u32]) -> NegotiatedFormat {
        NegotiatedFormat {
            extent: Extent::new(640, 480).unwrap(),
            pixel_format: PixelFormat(u32::from_le_bytes(code)),
            strides_bytes: strides.to_vec(),
            sizes_bytes: sizes.to_vec(),
        }
    }

    #[test]
    fn format_of_one_memory_derives_the_chroma_stride() {
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
    fn format_of_several_memories_has_a_plane_in_each() {
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
    fn format_of_a_lying_driver_is_refused() {
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
    fn format_survives_the_kernel_structures() {
        for kind in [sys::CAPTURE, sys::OUTPUT_MPLANE] {
            let negotiated = format(*b"NV12", &[640], &[460_800]);
            assert_eq!(
                NegotiatedFormat::of_answer(&negotiated.to_request(kind)),
                Ok(negotiated)
            );
        }
        assert!(NegotiatedFormat::of_answer(&sys::Format::empty(sys::CAPTURE)).is_err());
    }
}
