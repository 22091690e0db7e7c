//! How the pixels of a dma-buf lie: from options, from a card that shows it, from a compositor's report, or from its name.

use std::str::FromStr;

use covalent_alloc::backend::drm::Shown;
use covalent_alloc::buffer::{BufferIdentity, NamedLayout, named_layout};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc, Layout, Modifier};

use super::report::{Picture, PicturePlane, ToldBy};

/// What `--layout` says: `640x480:NV12:640,640@307200`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) size: Extent,
    pub(super) fourcc: Fourcc,
    pub(super) planes: Vec<SpecPlane>,
}

/// One plane as somebody describes it: `STRIDE[@OFFSET][/FD]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpecPlane {
    pub(super) stride_bytes: u32,
    pub(super) offset_bytes: Option<u32>,
    pub(super) fd: Option<u32>,
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(size), Some(fourcc), Some(planes)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err("write SIZE:FORMAT:STRIDE, such as 640x480:XR24:2560".to_owned());
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

impl FromStr for SpecPlane {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is no plane: write STRIDE, STRIDE@OFFSET or STRIDE@OFFSET/FD");
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

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Spec {
    /// Says where every plane lies. Where only the first stride is given the others follow from it, and where an offset is
    /// not, the plane lies behind the one before.
    ///
    /// # Errors
    /// What is missing, in words.
    pub(super) fn picture(&self, modifier: Modifier) -> Result<Picture, String> {
        let info = self.fourcc.info();
        let wanted = info.map_or(self.planes.len(), |info| info.planes.len());
        let planes = match self.planes.as_slice() {
            [only] if wanted > 1 && only.fd.is_none() => {
                let first = only.offset_bytes.unwrap_or(0);
                following(self.size, self.fourcc, only.stride_bytes)?
                    .into_iter()
                    .map(|plane| {
                        let offset_bytes = plane.offset_bytes.checked_add(first);
                        Some(PicturePlane {
                            offset_bytes: offset_bytes?,
                            ..plane
                        })
                    })
                    .collect::<Option<Vec<_>>>()
                    .ok_or("an offset past 4 GiB")?
            }
            given if given.len() == wanted => {
                let mut end = 0_u32;
                let mut planes = Vec::with_capacity(wanted);
                for (number, plane) in given.iter().enumerate() {
                    let behind = if plane.fd.is_some() { 0 } else { end };
                    let offset_bytes = plane.offset_bytes.unwrap_or(behind);
                    planes.push(PicturePlane {
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
                            .ok_or("an offset past 4 GiB")?;
                    }
                }
                planes
            }
            given => {
                return Err(format!(
                    "{} has {wanted} planes, and {} were given",
                    self.fourcc,
                    given.len()
                ));
            }
        };
        Ok(Picture {
            told_by: ToldBy::Options,
            size: self.size,
            format: FormatModifier::new(self.fourcc, modifier),
            planes,
        })
    }
}

/// The planes of rows with this first stride, one behind another.
fn following(size: Extent, fourcc: Fourcc, stride: u32) -> Result<Vec<PicturePlane>, String> {
    let layout = Layout::linear(size, fourcc, 1, stride).map_err(words)?;
    planes_of(&layout).ok_or_else(|| "an offset past 4 GiB".to_owned())
}

fn planes_of(layout: &Layout) -> Option<Vec<PicturePlane>> {
    let planes = layout.planes().iter().map(|plane| {
        Some(PicturePlane {
            offset_bytes: u32::try_from(plane.offset_bytes).ok()?,
            stride_bytes: plane.stride_bytes,
            fd: None,
        })
    });
    planes.collect()
}

/// What a dma-buf's name says, where the crate gave it.
pub(super) fn of_name(name: &str, size_bytes: u64) -> Option<Picture> {
    let (size, format, planes) = match named_layout(name, size_bytes)? {
        NamedLayout::Whole(layout) => {
            let planes = planes_of(&layout)?;
            (layout.extent(), layout.format(), planes)
        }
        // How rows lie is not said: nor which modifier.
        NamedLayout::Picture(size, fourcc) => (
            size,
            FormatModifier::new(fourcc, Modifier::INVALID),
            Vec::new(),
        ),
        _ => return None,
    };
    Some(Picture {
        told_by: ToldBy::Name,
        size,
        format,
        planes,
    })
}

/// What the cards that show a dma-buf say of it. Pictures over several dma-bufs are left to options.
pub(super) fn of_display(shown: &[Shown], inode: u64) -> Option<Picture> {
    let memory = BufferIdentity(inode);
    let shown = shown
        .iter()
        .find(|shown| shown.planes.iter().all(|plane| plane.memory == memory))?;
    Some(Picture {
        told_by: ToldBy::Display,
        size: shown.extent,
        format: shown.format,
        planes: shown
            .planes
            .iter()
            .map(|plane| PicturePlane {
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

    fn places(picture: &Picture) -> Vec<(u32, u32)> {
        let planes = picture.planes.iter();
        planes
            .map(|plane| (plane.stride_bytes, plane.offset_bytes))
            .collect()
    }

    fn picture(text: &str) -> Result<Picture, String> {
        text.parse::<Spec>()?.picture(Modifier::LINEAR)
    }

    #[test]
    fn layout_is_read_and_what_follows_from_it_is_filled_in() {
        let one = picture("640x480:XR24:2560").unwrap();
        assert_eq!(places(&one), [(2560, 0)]);
        assert_eq!(
            places(&picture("640x480:XRGB8888:2560@4096").unwrap()),
            [(2560, 4096)]
        );
        assert_eq!(
            places(&picture("640x480:NV12:768").unwrap()),
            [(768, 0), (768, 768 * 480)]
        );
        assert_eq!(
            places(&picture("640x480:YU12:640@64").unwrap()),
            [(640, 64), (320, 64 + 307_200), (320, 64 + 307_200 + 76_800)]
        );
        assert_eq!(
            places(&picture("640x480:NV12:640,640").unwrap()),
            [(640, 0), (640, 307_200)]
        );
        let apart = picture("640x480:NV12:640/7,640/8").unwrap();
        assert_eq!(places(&apart), [(640, 0), (640, 0)]);
        assert_eq!(apart.planes[1].fd, Some(8));
    }

    #[test]
    fn layout_that_is_none_says_what_is_missing() {
        for (text, words) in [
            ("640x480", "SIZE:FORMAT:STRIDE"),
            ("640x0:XR24:1", "no size of a picture"),
            ("640x480:toolong:1", "names no pixel format"),
            ("640x480:XR24:-1", "is no plane"),
            ("640x480:XR24:", "is no plane"),
            ("640x480:XR24:4@x", "is no plane"),
            ("640x480:NV12:640,640,640", "has 2 planes, and 3 were given"),
            ("640x480:NV12:4294967295,1", "past 4 GiB"),
            ("640x480:NV12:640@4294967295", "past 4 GiB"),
        ] {
            let error = picture(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn name_of_the_crate_is_a_layout_and_another_is_none() {
        let whole = of_name("covalent-NV12-640x480-640", 460_800).unwrap();
        assert_eq!(places(&whole), [(640, 0), (640, 307_200)]);
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
        fn any_text_is_read_without_a_panic(text in ".*", inode: u64, numbered in "[0-9x]{1,9}:(XR24|NV12|YU12):[0-9@/,]{0,40}") {
            let _ = (picture(&text), picture(&numbered), of_name(&text, inode));
        }
    }
}
