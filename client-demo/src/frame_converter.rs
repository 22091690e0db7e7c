//! Converts the frames of formats that no display reads, JPEG and raw Bayer, to pictures in XRGB8888.

use covalent_alloc::backend::v4l2::{NegotiatedFormat, PixelFormat};
use covalent_alloc::buffer::{AccessError, CpuAccess, Mapping};
use covalent_alloc::model::Fourcc;

use crate::bayer::{BayerFormat, Demosaic};
use crate::jpeg::{JpegError, JpegFrames};

/// The format of the pictures.
pub const PICTURE_FORMAT: Fourcc = Fourcc::XRGB8888;

/// How the frames of a pixel format are converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversionKind {
    /// JPEG frames are decoded.
    Jpeg,
    /// The colours of raw Bayer frames are interpolated.
    Bayer(BayerFormat),
}

impl ConversionKind {
    /// Returns how frames of this pixel format are converted; `None` for all other formats.
    #[must_use]
    pub fn of(pixel_format: PixelFormat) -> Option<Self> {
        if [PixelFormat::MJPEG, PixelFormat::JPEG].contains(&pixel_format) {
            return Some(Self::Jpeg);
        }
        BayerFormat::of(pixel_format).map(Self::Bayer)
    }

    /// Returns what is done with each frame, as a phrase for messages.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Jpeg => "decoded",
            Self::Bayer(_) => "interpolated",
        }
    }
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Converted {
    /// The picture is complete.
    Complete,
    /// Bytes of the frame are missing. The picture is not written, or only in part.
    Short,
    /// The frame cannot be converted, for this reason. The picture is not written.
    Damaged(String),
}

/// Converts frames of one format and size.
#[derive(Debug)]
pub struct FrameConverter {
    method: Method,
}

#[derive(Debug)]
enum Method {
    Jpeg { frames: JpegFrames, bytes: Vec<u8> },
    Bayer(Demosaic),
}

impl FrameConverter {
    /// Creates the conversion of frames in the format that a driver has set.
    #[must_use]
    pub fn new(kind: ConversionKind, format: &NegotiatedFormat) -> Self {
        let picture = format.visible;
        let method = match kind {
            ConversionKind::Jpeg => Method::Jpeg {
                frames: JpegFrames::new(picture.width(), picture.height()),
                bytes: Vec::new(),
            },
            ConversionKind::Bayer(bayer) => {
                let stride = format.strides_bytes.first().copied().unwrap_or(0);
                Method::Bayer(Demosaic::new(bayer, picture, stride))
            }
        };
        Self { method }
    }

    /// Converts the frame in `from`, which has `bytes_used` bytes, and writes it to the picture in `to`.
    ///
    /// # Errors
    ///
    /// The [`AccessError`] of one of the buffers. A frame that is short or damaged is no error.
    pub fn convert(
        &mut self,
        from: &Mapping,
        bytes_used: u32,
        to: &Mapping,
    ) -> Result<Converted, AccessError> {
        let reader = from.access(CpuAccess::Read)?;
        let pixels = to.buffer().layout().visible_bytes(0);
        let (first_row, first_byte) =
            pixels.map_or((0, 0), |bytes| (bytes.first_row, bytes.first_byte));
        // bytes_used comes from the driver, so it is limited to the size of the buffer.
        let length = u64::from(bytes_used).min(from.buffer().layout().total_bytes());
        match &mut self.method {
            Method::Jpeg { frames, bytes } => {
                bytes.resize(usize::try_from(length).unwrap_or(0), 0);
                reader.read(0, 0, bytes)?;
                let picture = match frames.decode(bytes) {
                    Ok(picture) => picture,
                    Err(JpegError::Truncated { .. }) => return Ok(Converted::Short),
                    Err(error) => return Ok(Converted::Damaged(error.to_string())),
                };
                let writer = to.access(CpuAccess::Write)?;
                let row_bytes = pixels.map_or(0, |bytes| bytes.row_bytes);
                let row_bytes = usize::try_from(row_bytes).unwrap_or(0).max(1);
                for (row, pixels) in (first_row..).zip(picture.chunks_exact(row_bytes)) {
                    writer.write_row(0, row, first_byte.into(), pixels)?;
                }
            }
            Method::Bayer(demosaic) => {
                if length < demosaic.needed_bytes() {
                    return Ok(Converted::Short);
                }
                let writer = to.access(CpuAccess::Write)?;
                demosaic.convert(
                    |offset, row| reader.read(0, offset, row),
                    |row, pixels| {
                        let row = first_row.saturating_add(row);
                        writer.write_row(0, row, first_byte.into(), pixels)
                    },
                )?;
            }
        }
        Ok(Converted::Complete)
    }
}

/// Why frames are converted, and how many bytes of pictures are written.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConversionReport {
    /// The reason in one line.
    pub reason: String,
    /// The number of bytes per frame that are written to the picture.
    pub bytes_per_frame: u64,
    /// The format of the camera's frames.
    pub from: String,
    /// The format of the pictures.
    pub to: String,
    #[serde(skip)]
    kind: ConversionKind,
}

impl ConversionReport {
    /// Creates the report for frames of this pixel format and size.
    #[must_use]
    pub fn new(
        kind: ConversionKind,
        pixel_format: PixelFormat,
        (width, height): (u32, u32),
        reason: String,
    ) -> Self {
        let pixels = u64::from(width).saturating_mul(height.into());
        Self {
            reason,
            bytes_per_frame: pixels.saturating_mul(4),
            from: pixel_format.to_string(),
            to: PICTURE_FORMAT.to_string(),
            kind,
        }
    }

    /// Returns the line that the program prints on stderr.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "every frame is {} by the processor, {} bytes from {} to {}: {}; --no-copy makes this an error",
            self.kind.label(),
            self.bytes_per_frame,
            self.from,
            self.to,
            self.reason
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_names_the_formats_the_bytes_and_the_reason() {
        let report = |code: &[u8; 4]| {
            let format = PixelFormat::of(*code);
            let kind = ConversionKind::of(format).unwrap();
            ConversionReport::new(kind, format, (1920, 1080), "because".to_owned())
        };
        assert_eq!(
            report(b"MJPG").line(),
            "every frame is decoded by the processor, 8294400 bytes from MJPG to XR24: because; \
             --no-copy makes this an error"
        );
        let bayer = report(b"pBAA");
        assert!(
            bayer
                .line()
                .starts_with("every frame is interpolated by the processor")
        );
        let json = serde_json::to_string(&bayer).unwrap();
        assert_eq!(
            json,
            r#"{"reason":"because","bytes_per_frame":8294400,"from":"pBAA","to":"XR24"}"#
        );
        assert_eq!(ConversionKind::of(PixelFormat::of(*b"NV12")), None);
        assert_eq!(ConversionKind::of(PixelFormat::H264), None);
    }
}
