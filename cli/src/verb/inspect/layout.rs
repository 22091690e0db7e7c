//! The pixel layouts of dma-bufs: from the command line, from a framebuffer that a card displays, or from the name of the
//! dma-buf.

use std::str::FromStr;

use covalent_alloc::backend::drm::ScanoutFramebuffer;
use covalent_alloc::buffer::{BufferIdentity, NamedLayout, named_layout};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Layout, Modifier};

use super::report::{LayoutOrigin, PixelLayout, PixelPlane};

/// The value of `--layout`, such as `640x480:NV12:640,640@307200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayoutSpec {
    pub(super) size: Extent,
    pub(super) fourcc: Fourcc,
    pub(super) planes: Vec<LayoutSpecPlane>,
}

/// One plane in the value of `--layout`: `STRIDE[@OFFSET][/FD]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayoutSpecPlane {
    pub(super) stride_bytes: u32,
    pub(super) offset_bytes: Option<u32>,
    pub(super) fd: Option<u32>,
}

impl FromStr for LayoutSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(size), Some(fourcc), Some(planes)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(
                "a layout is written SIZE:FORMAT:STRIDE, such as 640x480:XR24:2560".to_owned(),
            );
        };
        Ok(Self {
            size: size.parse().map_err(words)?,
            fourcc: fourcc.parse().map_err(words)?,
            planes: planes
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()?,
        })
    }
}

impl FromStr for LayoutSpecPlane {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is not a plane: write STRIDE, STRIDE@OFFSET or STRIDE@OFFSET/FD");
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let (rest, fd) = match text.split_once('/') {
            Some((rest, fd)) => (rest, Some(number(fd)?)),
            None => (text, None),
        };
        let (stride, offset) = match rest.split_once('@') {
            Some((stride, offset)) => (stride, Some(number(offset)?)),
            None => (rest, None),
        };
        Ok(Self {
            stride_bytes: number(stride)?,
            offset_bytes: offset,
            fd,
        })
    }
}

/// Returns the text of an error.
fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl LayoutSpec {
    /// Returns the offset and stride of every plane. If only the first stride is given, the strides of the other planes are
    /// computed from it. A plane without an offset starts where the plane before it ends.
    ///
    /// # Errors
    /// A text that says what is missing.
    pub(super) fn pixel_layout(&self, modifier: Modifier) -> Result<PixelLayout, String> {
        let info = self.fourcc.info();
        let plane_count = info.map_or(self.planes.len(), |info| info.planes.len());
        let planes = match self.planes.as_slice() {
            [only] if plane_count > 1 && only.fd.is_none() => {
                let first = only.offset_bytes.unwrap_or(0);
                planes_of_stride(self.size, self.fourcc, only.stride_bytes)?
                    .into_iter()
                    .map(|plane| {
                        let offset_bytes = plane.offset_bytes.checked_add(first);
                        Some(PixelPlane {
                            offset_bytes: offset_bytes?,
                            ..plane
                        })
                    })
                    .collect::<Option<Vec<_>>>()
                    .ok_or("an offset lies past 4 GiB")?
            }
            given if given.len() == plane_count => {
                let mut end = 0_u32;
                let mut planes = Vec::with_capacity(plane_count);
                for (number, plane) in given.iter().enumerate() {
                    let default_offset = if plane.fd.is_some() { 0 } else { end };
                    let offset_bytes = plane.offset_bytes.unwrap_or(default_offset);
                    planes.push(PixelPlane {
                        offset_bytes,
                        stride_bytes: plane.stride_bytes,
                        fd: plane.fd,
                    });
                    if plane.fd.is_none() {
                        let rows = info
                            .and_then(|info| info.planes.get(number))
                            .map_or(0, |shape| shape.rows(self.size.height()));
                        end = plane
                            .stride_bytes
                            .checked_mul(rows)
                            .and_then(|bytes| bytes.checked_add(offset_bytes))
                            .ok_or("an offset lies past 4 GiB")?;
                    }
                }
                planes
            }
            given => {
                return Err(format!(
                    "{} has {plane_count} planes, and {} were given",
                    self.fourcc,
                    given.len()
                ));
            }
        };
        Ok(PixelLayout {
            origin: LayoutOrigin::Options,
            size: self.size,
            format: FormatModifier::new(self.fourcc, modifier),
            planes,
        })
    }
}

/// Returns the planes of a linear picture whose first plane has this stride. Each plane starts where the plane before it ends.
fn planes_of_stride(size: Extent, fourcc: Fourcc, stride: u32) -> Result<Vec<PixelPlane>, String> {
    let layout = Layout::linear(size, fourcc, 1, stride).map_err(words)?;
    planes_of(&layout).ok_or_else(|| "an offset lies past 4 GiB".to_owned())
}

/// Returns the planes of a layout; `None` if an offset exceeds 32 bits.
fn planes_of(layout: &Layout) -> Option<Vec<PixelPlane>> {
    let planes = layout.planes().iter().map(|plane| {
        Some(PixelPlane {
            offset_bytes: u32::try_from(plane.offset_bytes).ok()?,
            stride_bytes: plane.stride_bytes,
            fd: None,
        })
    });
    planes.collect()
}

/// Returns the layout that Covalent encoded in the dma-buf's name; `None` if the name encodes no layout.
pub(super) fn of_name(name: &str, size_bytes: u64) -> Option<PixelLayout> {
    let (size, format, planes) = match named_layout(name, size_bytes)? {
        NamedLayout::Whole(layout) => {
            let planes = planes_of(&layout)?;
            (layout.extent(), layout.format(), planes)
        }
        // A name of this form has a size and a format, but neither strides nor a modifier.
        NamedLayout::Picture(size, fourcc) => (
            size,
            FormatModifier::new(fourcc, Modifier::INVALID),
            Vec::new(),
        ),
        _ => return None,
    };
    Some(PixelLayout {
        origin: LayoutOrigin::Name,
        size,
        format,
        planes,
    })
}

/// Returns the layout of a framebuffer that is displayed from this dma-buf. Framebuffers with planes in several dma-bufs are
/// skipped, because only `--layout` can name the fds of the other dma-bufs.
pub(super) fn of_display(framebuffers: &[ScanoutFramebuffer], inode: u64) -> Option<PixelLayout> {
    let memory = BufferIdentity(inode);
    let framebuffer = framebuffers.iter().find(|framebuffer| {
        let mut planes = framebuffer.planes.iter();
        planes.all(|plane| plane.memory == memory)
    })?;
    Some(PixelLayout {
        origin: LayoutOrigin::Display,
        size: framebuffer.extent,
        format: framebuffer.format,
        planes: framebuffer
            .planes
            .iter()
            .map(|plane| PixelPlane {
                offset_bytes: plane.offset_bytes,
                stride_bytes: plane.stride_bytes,
                fd: None,
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strides_and_offsets(layout: &PixelLayout) -> Vec<(u32, u32)> {
        let planes = layout.planes.iter();
        planes
            .map(|plane| (plane.stride_bytes, plane.offset_bytes))
            .collect()
    }

    fn parsed(text: &str) -> Result<PixelLayout, String> {
        text.parse::<LayoutSpec>()?.pixel_layout(Modifier::LINEAR)
    }

    #[test]
    fn layout_with_missing_strides_and_offsets_is_completed() {
        let one = parsed("640x480:XR24:2560").unwrap();
        assert_eq!(strides_and_offsets(&one), [(2560, 0)]);
        assert_eq!(
            strides_and_offsets(&parsed("640x480:XRGB8888:2560@4096").unwrap()),
            [(2560, 4096)]
        );
        assert_eq!(
            strides_and_offsets(&parsed("640x480:NV12:768").unwrap()),
            [(768, 0), (768, 768 * 480)]
        );
        assert_eq!(
            strides_and_offsets(&parsed("640x480:YU12:640@64").unwrap()),
            [(640, 64), (320, 64 + 307_200), (320, 64 + 307_200 + 76_800)]
        );
        assert_eq!(
            strides_and_offsets(&parsed("640x480:NV12:640,640").unwrap()),
            [(640, 0), (640, 307_200)]
        );
        let two_dmabufs = parsed("640x480:NV12:640/7,640/8").unwrap();
        assert_eq!(strides_and_offsets(&two_dmabufs), [(640, 0), (640, 0)]);
        assert_eq!(two_dmabufs.planes[1].fd, Some(8));
    }

    #[test]
    fn layout_that_is_invalid_is_refused_with_the_reason() {
        for (text, words) in [
            ("640x480", "SIZE:FORMAT:STRIDE"),
            ("640x0:XR24:1", "is not a valid image size"),
            ("640x480:toolong:1", "names no pixel format"),
            ("640x480:XR24:-1", "is not a plane"),
            ("640x480:XR24:", "is not a plane"),
            ("640x480:XR24:4@x", "is not a plane"),
            ("640x480:NV12:640,640,640", "has 2 planes, and 3 were given"),
            ("640x480:NV12:4294967295,1", "past 4 GiB"),
            ("640x480:NV12:640@4294967295", "past 4 GiB"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn name_is_a_layout_only_if_covalent_gave_it() {
        let whole = of_name("covalent-NV12-640x480-640", 460_800).unwrap();
        assert_eq!(strides_and_offsets(&whole), [(640, 0), (640, 307_200)]);
        assert_eq!(of_name("covalent-NV12-640x480-640", 460_799), None);
        assert!(
            of_name("covalent-NV12-640x480", 1)
                .unwrap()
                .planes
                .is_empty()
        );
        assert_eq!(of_name("gralloc", 4096), None);
    }

    proptest! {
        #[test]
        fn text_of_any_kind_is_parsed_without_a_panic(text in ".*", inode: u64, numbered in "[0-9x]{1,9}:(XR24|NV12|YU12):[0-9@/,]{0,40}") {
            let _ = (parsed(&text), parsed(&numbered), of_name(&text, inode));
        }
    }
}
