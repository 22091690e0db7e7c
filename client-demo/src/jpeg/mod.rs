//! Decodes the JPEG frames of a camera to XRGB8888.
//!
//! The bytes come from a device, so a frame is checked before the decoder gets it (`headers.rs`): its size is the camera's, it is
//! baseline with one scan, and it is complete. One scan bounds the work: the decoder reads each byte once and writes each pixel
//! once. The crate `zune-jpeg` decodes.

mod headers;
mod huffman;
#[cfg(test)]
pub(crate) mod synthetic;

use std::panic::{AssertUnwindSafe, catch_unwind};

use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::xrgb::PIXEL_BYTES;

use self::headers::Headers;

/// Why a frame cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// The frame ends before its end marker. A lost USB packet has this effect.
    #[error("the JPEG frame ends after {bytes} bytes without an end marker")]
    Truncated {
        /// The number of bytes of the frame.
        bytes: usize,
    },
    /// The picture has another size than the camera's format.
    #[error(
        "the JPEG frame is {found_width}x{found_height}, and the camera's format is {width}x{height}"
    )]
    Size {
        /// The width of the camera's format in pixels.
        width: u32,
        /// The height of the camera's format in pixels.
        height: u32,
        /// The width that the frame states.
        found_width: u32,
        /// The height that the frame states.
        found_height: u32,
    },
    /// The frame is not JPEG, or is JPEG of a kind that cameras do not write.
    #[error("the frame is not baseline JPEG with one scan: {0}")]
    Unsupported(&'static str),
    /// The decoder reports an error in the frame.
    #[error("the JPEG frame is damaged: {0}")]
    Damaged(String),
}

impl JpegError {
    /// Returns whether bytes are missing at the end of the frame.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Truncated { .. })
    }
}

/// Decodes frames of one size. Its memory is reused for each frame.
#[derive(Debug)]
pub struct JpegFrames {
    width: u32,
    height: u32,
    /// The frame up to its end marker, with Huffman tables.
    complete: Vec<u8>,
    picture: Vec<u8>,
}

impl JpegFrames {
    /// Creates a decoder of frames of this size in pixels.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            complete: Vec::new(),
            picture: Vec::new(),
        }
    }

    /// Decodes a frame, and returns its pixels in XRGB8888: `width * height * 4` bytes, without padding between the rows.
    ///
    /// # Errors
    ///
    /// [`JpegError`].
    pub fn decode(&mut self, frame: &[u8]) -> Result<&[u8], JpegError> {
        let headers = Headers::parse(frame)?;
        if (headers.width, headers.height) != (self.width, self.height) {
            return Err(JpegError::Size {
                width: self.width,
                height: self.height,
                found_width: headers.width,
                found_height: headers.height,
            });
        }
        let bytes = pixel_bytes(self.width, self.height)
            .ok_or(JpegError::Unsupported("its picture is too large"))?;
        self.picture.resize(bytes, 0);
        let (before_scan, scan) = headers.split(frame);
        self.complete.clear();
        self.complete.extend_from_slice(before_scan);
        if !headers.has_huffman_tables {
            // Cameras leave out the tables that every decoder of Motion JPEG knows.
            huffman::append_default_tables(&mut self.complete);
        }
        self.complete.extend_from_slice(scan);
        // The decoder converts one component to RGBA only. Its red, green and blue are equal, so that RGBA and BGRA are too.
        let colours = match headers.components {
            1 => ColorSpace::RGBA,
            _ => ColorSpace::BGRA,
        };
        let options = DecoderOptions::default()
            .set_max_width(usize::try_from(self.width).unwrap_or(0))
            .set_max_height(usize::try_from(self.height).unwrap_or(0))
            // Without this, the decoder fills the rest of a damaged frame with grey, and reports no error.
            .set_strict_mode(true)
            .jpeg_set_out_colorspace(colours);
        let (complete, picture) = (&self.complete, &mut self.picture);
        // An input that makes the decoder panic must not end the program.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            let cursor = ZCursor::new(complete.as_slice());
            zune_jpeg::JpegDecoder::new_with_options(cursor, options).decode_into(picture)
        }));
        match decoded {
            Ok(Ok(())) => Ok(&self.picture),
            Ok(Err(error)) => Err(JpegError::Damaged(error.to_string())),
            Err(_) => Err(JpegError::Damaged("the decoder panicked".to_owned())),
        }
    }
}

/// Returns the number of bytes of a picture in XRGB8888; `None` on overflow.
fn pixel_bytes(width: u32, height: u32) -> Option<usize> {
    let [width, height] = [width, height].map(|side| usize::try_from(side).ok());
    width?.checked_mul(height?)?.checked_mul(PIXEL_BYTES)
}

#[cfg(test)]
mod tests {
    use super::synthetic::{Picture, Sampling};
    use super::*;

    /// Colours of one block each, as luma and chroma of BT.601 in full range, and as blue, green and red.
    const COLOURS: [([u8; 3], [u8; 3]); 4] = [
        ([76, 85, 255], [0, 0, 254]),
        ([150, 44, 21], [0, 255, 1]),
        ([29, 255, 107], [254, 0, 0]),
        ([200, 128, 128], [200, 200, 200]),
    ];

    fn colour_at(x: u32, y: u32) -> usize {
        usize::try_from(x / 16 + y / 16).unwrap() % COLOURS.len()
    }

    fn bars(width: u32, height: u32, sampling: Sampling) -> Picture {
        Picture::new(width, height, sampling, |x, y| COLOURS[colour_at(x, y)].0)
    }

    fn check_bars(found: &[u8], width: u32, height: u32) {
        assert_eq!(found.len(), pixel_bytes(width, height).unwrap());
        for (index, pixel) in found.chunks_exact(PIXEL_BYTES).enumerate() {
            let index = u32::try_from(index).unwrap();
            let (x, y) = (index % width, index / width);
            // Chroma is interpolated between blocks.
            if [x % 16, y % 16]
                .iter()
                .any(|place| !(2..14).contains(place))
            {
                continue;
            }
            let expected = COLOURS[colour_at(x, y)].1;
            for (found, expected) in pixel.iter().zip(expected) {
                assert!(
                    found.abs_diff(expected) <= 4,
                    "{x} {y}: {pixel:?}, {expected:?}"
                );
            }
        }
    }

    #[test]
    fn frame_with_and_without_huffman_tables_has_the_colours_of_the_picture() {
        for sampling in [Sampling::Yuv444, Sampling::Yuv422, Sampling::Yuv420] {
            for (width, height) in [(64, 48), (33, 17), (1, 1)] {
                let picture = bars(width, height, sampling);
                let mut frames = JpegFrames::new(width, height);
                for has_tables in [true, false, true] {
                    let frame = picture.encode(has_tables);
                    check_bars(frames.decode(&frame).unwrap(), width, height);
                }
            }
        }
    }

    #[test]
    fn grey_frame_has_equal_channels() {
        let picture = Picture::new(32, 16, Sampling::Grey, |x, _| {
            [if x < 16 { 40 } else { 220 }, 128, 128]
        });
        let mut frames = JpegFrames::new(32, 16);
        let found = frames.decode(&picture.encode(false)).unwrap();
        assert_eq!(found[..3], [40, 40, 40]);
        assert_eq!(found[31 * 4..31 * 4 + 3], [220, 220, 220]);
    }

    #[test]
    fn frame_that_is_cut_off_anywhere_is_an_error_and_the_next_one_is_decoded() {
        let frame = bars(64, 48, Sampling::Yuv422).encode(false);
        let mut frames = JpegFrames::new(64, 48);
        for bytes in 0..frame.len() - 1 {
            let error = frames.decode(&frame[..bytes]).unwrap_err();
            assert!(error.is_truncated(), "{bytes}: {error}");
        }
        check_bars(frames.decode(&frame).unwrap(), 64, 48);
    }

    #[test]
    fn bytes_after_the_end_marker_are_ignored() {
        let mut frame = bars(64, 48, Sampling::Yuv422).encode(false);
        frame.extend([0, 0, 0xff, 0xc0, 0x12, 0xff]);
        check_bars(JpegFrames::new(64, 48).decode(&frame).unwrap(), 64, 48);
    }

    #[test]
    fn frame_of_another_size_is_refused() {
        let frame = bars(64, 48, Sampling::Yuv422).encode(true);
        let error = JpegFrames::new(1920, 1080).decode(&frame).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the JPEG frame is 64x48, and the camera's format is 1920x1080"
        );
    }

    #[test]
    fn progressive_frame_and_frame_of_several_scans_are_refused() {
        let good = bars(64, 48, Sampling::Yuv444).encode(true);
        let mut frames = JpegFrames::new(64, 48);
        let mut progressive = good.clone();
        let start = good.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        progressive[start + 1] = 0xc2;
        let error = frames.decode(&progressive).unwrap_err();
        assert!(matches!(error, JpegError::Unsupported(_)), "{error}");
        let mut scans = good[..good.len() - 2].to_vec();
        let scan = good.windows(2).position(|two| two == [0xff, 0xda]).unwrap();
        scans.extend_from_slice(&good[scan..]);
        let error = frames.decode(&scans).unwrap_err();
        assert!(matches!(error, JpegError::Unsupported(_)), "{error}");
    }

    #[test]
    fn frame_with_any_changed_byte_is_decoded_or_refused() {
        let good = bars(24, 17, Sampling::Yuv420).encode(true);
        let mut frames = JpegFrames::new(24, 17);
        for place in 0..good.len() {
            for value in [0, 0x7f, 0xff] {
                let mut frame = good.clone();
                frame[place] = value;
                if let Ok(picture) = frames.decode(&frame) {
                    assert_eq!(picture.len(), 24 * 17 * PIXEL_BYTES);
                }
            }
        }
        check_bars(frames.decode(&good).unwrap(), 24, 17);
    }
}
