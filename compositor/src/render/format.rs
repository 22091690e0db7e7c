//! The pixel formats that the CPU renderer reads.

/// A pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant is the fourcc of its name
pub enum PixelFormat {
    Xrgb8888,
    Argb8888,
    Xbgr8888,
    Abgr8888,
    Rgb565,
    Rgb888,
    Bgr888,
    Yuyv,
    Uyvy,
    Nv12,
    Nv21,
    Yuv420,
    P010,
}

/// Returns the number of a four-character code (fourcc).
pub const fn code(name: [u8; 4]) -> u32 {
    u32::from_le_bytes(name)
}

impl PixelFormat {
    /// All formats, in order of increasing cost of composition.
    pub const ALL: [Self; 13] = [
        Self::Xrgb8888,
        Self::Argb8888,
        Self::Xbgr8888,
        Self::Abgr8888,
        Self::Rgb565,
        Self::Rgb888,
        Self::Bgr888,
        Self::Yuyv,
        Self::Uyvy,
        Self::Nv12,
        Self::Nv21,
        Self::Yuv420,
        Self::P010,
    ];

    /// Returns the DRM fourcc.
    pub const fn fourcc(self) -> u32 {
        code(match self {
            Self::Xrgb8888 => *b"XR24",
            Self::Argb8888 => *b"AR24",
            Self::Xbgr8888 => *b"XB24",
            Self::Abgr8888 => *b"AB24",
            Self::Rgb565 => *b"RG16",
            Self::Rgb888 => *b"RG24",
            Self::Bgr888 => *b"BG24",
            Self::Yuyv => *b"YUYV",
            Self::Uyvy => *b"UYVY",
            Self::Nv12 => *b"NV12",
            Self::Nv21 => *b"NV21",
            Self::Yuv420 => *b"YU12",
            Self::P010 => *b"P010",
        })
    }

    /// Returns the format of a DRM fourcc; `None` if it is not supported.
    pub fn from_fourcc(fourcc: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.fourcc() == fourcc)
    }

    /// Returns the fourcc as text.
    pub fn name(self) -> String {
        name(self.fourcc())
    }

    /// Returns whether the format has an alpha channel.
    pub const fn has_alpha(self) -> bool {
        matches!(self, Self::Argb8888 | Self::Abgr8888)
    }

    /// Returns whether a pixel has 32 bits.
    pub const fn has_four_bytes(self) -> bool {
        matches!(
            self,
            Self::Xrgb8888 | Self::Argb8888 | Self::Xbgr8888 | Self::Abgr8888
        )
    }

    /// Returns whether the format is YUV.
    pub const fn is_yuv(self) -> bool {
        matches!(
            self,
            Self::Yuyv | Self::Uyvy | Self::Nv12 | Self::Nv21 | Self::Yuv420 | Self::P010
        )
    }

    /// Returns the number of planes.
    pub const fn planes(self) -> usize {
        match self {
            Self::Nv12 | Self::Nv21 | Self::P010 => 2,
            Self::Yuv420 => 3,
            _ => 1,
        }
    }

    /// Returns the number of columns and the number of rows that share one chroma sample.
    pub const fn subsampling(self) -> (usize, usize) {
        match self {
            Self::Yuyv | Self::Uyvy => (2, 1),
            Self::Nv12 | Self::Nv21 | Self::Yuv420 | Self::P010 => (2, 2),
            _ => (1, 1),
        }
    }
}

/// Formats a fourcc as text, or in hexadecimal if it is not printable.
pub fn name(fourcc: u32) -> String {
    let bytes = fourcc.to_le_bytes();
    if bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ')
    {
        bytes.iter().map(|byte| char::from(*byte)).collect()
    } else {
        format!("{fourcc:#010x}")
    }
}
