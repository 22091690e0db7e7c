//! DRM's four-character codes of pixel formats.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::format::{self, FormatInfo};
use super::names::NAMES;

/// A DRM pixel format. V4L2 has its own codes, which the `v4l2` backend translates.
///
/// # References
/// `drm_fourcc.h`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fourcc(pub u32);

/// The error for a text that names no pixel format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} names no pixel format; write four characters such as XR24, or a DRM name such as XRGB8888"
)]
pub struct FourccError(String);

impl Fourcc {
    /// 32 bits, bytes in memory in the order blue, green, red, unused.
    pub const XRGB8888: Self = Self::of(*b"XR24");
    /// 32 bits, bytes in memory in the order blue, green, red, alpha.
    pub const ARGB8888: Self = Self::of(*b"AR24");
    /// 32 bits, bytes in memory in the order red, green, blue, unused.
    pub const XBGR8888: Self = Self::of(*b"XB24");
    /// 32 bits, bytes in memory in the order red, green, blue, alpha.
    pub const ABGR8888: Self = Self::of(*b"AB24");
    /// 32 bits, bytes in memory in the order unused, blue, green, red.
    pub const RGBX8888: Self = Self::of(*b"RX24");
    /// 32 bits, bytes in memory in the order alpha, blue, green, red.
    pub const RGBA8888: Self = Self::of(*b"RA24");
    /// 32 bits, bytes in memory in the order unused, red, green, blue.
    pub const BGRX8888: Self = Self::of(*b"BX24");
    /// 32 bits, bytes in memory in the order alpha, red, green, blue.
    pub const BGRA8888: Self = Self::of(*b"BA24");
    /// 24 bits, bytes in memory in the order blue, green, red.
    pub const RGB888: Self = Self::of(*b"RG24");
    /// 24 bits, bytes in memory in the order red, green, blue.
    pub const BGR888: Self = Self::of(*b"BG24");
    /// 16 bits, 5 red, 6 green, 5 blue from the high bit down.
    pub const RGB565: Self = Self::of(*b"RG16");
    /// 16 bits, 5 blue, 6 green, 5 red from the high bit down.
    pub const BGR565: Self = Self::of(*b"BG16");
    /// 16 bits, 1 unused, 5 red, 5 green, 5 blue from the high bit down.
    pub const XRGB1555: Self = Self::of(*b"XR15");
    /// 16 bits, 1 alpha, 5 red, 5 green, 5 blue from the high bit down.
    pub const ARGB1555: Self = Self::of(*b"AR15");
    /// 32 bits, 2 unused, 10 red, 10 green, 10 blue from the high bit down.
    pub const XRGB2101010: Self = Self::of(*b"XR30");
    /// 32 bits, 2 alpha, 10 red, 10 green, 10 blue from the high bit down.
    pub const ARGB2101010: Self = Self::of(*b"AR30");
    /// 32 bits, 2 unused, 10 blue, 10 green, 10 red from the high bit down.
    pub const XBGR2101010: Self = Self::of(*b"XB30");
    /// 32 bits, 2 alpha, 10 blue, 10 green, 10 red from the high bit down.
    pub const ABGR2101010: Self = Self::of(*b"AB30");
    /// 64 bits, memory order red, green, blue, unused, each a 16-bit float.
    pub const XBGR16161616F: Self = Self::of(*b"XB4H");
    /// 64 bits, memory order red, green, blue, alpha, each a 16-bit float.
    pub const ABGR16161616F: Self = Self::of(*b"AB4H");
    /// 8 bits of one channel.
    pub const R8: Self = Self::of(*b"R8  ");
    /// Packed 4:2:2, memory order Y, Cb, Y, Cr.
    pub const YUYV: Self = Self::of(*b"YUYV");
    /// Packed 4:2:2, memory order Y, Cr, Y, Cb.
    pub const YVYU: Self = Self::of(*b"YVYU");
    /// Packed 4:2:2, memory order Cb, Y, Cr, Y.
    pub const UYVY: Self = Self::of(*b"UYVY");
    /// Packed 4:2:2, memory order Cr, Y, Cb, Y.
    pub const VYUY: Self = Self::of(*b"VYUY");
    /// Two planes, 4:2:0, chroma Cb then Cr.
    pub const NV12: Self = Self::of(*b"NV12");
    /// Two planes, 4:2:0, chroma Cr then Cb.
    pub const NV21: Self = Self::of(*b"NV21");
    /// Two planes, 4:2:2, chroma Cb then Cr.
    pub const NV16: Self = Self::of(*b"NV16");
    /// Two planes, 4:2:2, chroma Cr then Cb.
    pub const NV61: Self = Self::of(*b"NV61");
    /// Three planes, 4:2:0, Y, Cb, Cr.
    pub const YUV420: Self = Self::of(*b"YU12");
    /// Three planes, 4:2:0, Y, Cr, Cb.
    pub const YVU420: Self = Self::of(*b"YV12");
    /// Three planes, 4:2:2, Y, Cb, Cr.
    pub const YUV422: Self = Self::of(*b"YU16");
    /// Three planes, 4:2:2, Y, Cr, Cb.
    pub const YVU422: Self = Self::of(*b"YV16");
    /// Two planes, 4:4:4, chroma Cb then Cr.
    pub const NV24: Self = Self::of(*b"NV24");
    /// Two planes, 4:4:4, chroma Cr then Cb.
    pub const NV42: Self = Self::of(*b"NV42");
    /// Three planes, 4:4:4, Y, Cb, Cr.
    pub const YUV444: Self = Self::of(*b"YU24");
    /// Three planes, 4:4:4, Y, Cr, Cb.
    pub const YVU444: Self = Self::of(*b"YV24");
    /// Two planes of 16-bit words with 10 bits in the upper bits, 4:2:0, chroma Cb then Cr.
    pub const P010: Self = Self::of(*b"P010");

    /// Makes a format code from its four characters.
    #[must_use]
    pub const fn of(characters: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(characters))
    }

    /// Returns the linear layout of the format; `None` if this crate does not know the format.
    #[must_use]
    pub fn info(self) -> Option<&'static FormatInfo> {
        format::table_index(self).map(|place| &format::TABLE[place])
    }

    /// Returns DRM's name of the format, such as `XRGB8888`; `None` if `drm_fourcc.h` does not name it.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(fourcc, _)| *fourcc == self)
            .map(|(_, name)| *name)
    }

    /// Iterates over all formats that DRM names, including those whose layout this crate does not know.
    pub fn named() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(fourcc, _)| *fourcc)
    }

    /// Returns the four characters of the code. The result is `None` if a character is not printable, or if the text would be
    /// parsed as another format or as a number.
    fn characters(self) -> Option<String> {
        let bytes = self.0.to_le_bytes();
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        let text = text.trim_end_matches(' ');
        (text.parse() == Ok(self)).then(|| text.to_owned())
    }
}

/// Writes the four characters of the code, or DRM's name if the characters contain spaces, or otherwise the number.
///
/// Each of these texts is parsed as the same format.
impl fmt::Display for Fourcc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.characters(), self.name()) {
            (Some(text), _) => out.pad(&text),
            (None, Some(name)) => out.pad(name),
            (None, None) => write!(out, "0x{:08x}", self.0),
        }
    }
}

impl fmt::Debug for Fourcc {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Fourcc {
    type Err = FourccError;

    fn from_str(text: &str) -> Result<Self, FourccError> {
        if let Some((fourcc, _)) = NAMES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text))
        {
            return Ok(*fourcc);
        }
        // `from_str_radix` would accept a sign too.
        if let Some(digits) = text.strip_prefix("0x") {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let code = u32::from_str_radix(digits, 16).ok();
            return code
                .filter(|_| is_number)
                .map(Self)
                .ok_or_else(|| FourccError(text.to_owned()));
        }
        let mut characters = *b"    ";
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > 4 || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(FourccError(text.to_owned()));
        }
        for (place, byte) in characters.iter_mut().zip(bytes) {
            *place = *byte;
        }
        Ok(Self::of(characters))
    }
}

impl From<Fourcc> for String {
    fn from(fourcc: Fourcc) -> Self {
        fourcc.to_string()
    }
}

impl TryFrom<String> for Fourcc {
    type Error = FourccError;

    fn try_from(text: String) -> Result<Self, FourccError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourcc_of_code_and_of_name_are_equal() {
        assert_eq!("XR24".parse(), Ok(Fourcc::XRGB8888));
        assert_eq!("XRGB8888".parse(), Ok(Fourcc::XRGB8888));
        assert_eq!("nv12".parse(), Ok(Fourcc::NV12));
        assert_eq!("R8".parse(), Ok(Fourcc::R8));
        assert!("".parse::<Fourcc>().is_err() && "12345".parse::<Fourcc>().is_err());
    }

    #[test]
    fn fourcc_of_any_number_survives_its_text() {
        for code in [
            0,
            1,
            u32::MAX,
            Fourcc::YUV420.0,
            0x2020_3852,
            0x2020_2020,
            0x3431_7830,
            0x3420_5258,
        ] {
            assert_eq!(Fourcc(code).to_string().parse(), Ok(Fourcc(code)));
        }
    }

    #[test]
    fn number_with_a_sign_or_without_digits_is_no_fourcc() {
        for text in ["0x+1", "0x-1", "0x", "0xgg", "0x100000000"] {
            assert_eq!(text.parse::<Fourcc>(), Err(FourccError(text.to_owned())));
        }
        // Characters that look like a malformed number are written as a number instead.
        let fourcc = Fourcc::of(*b"0x+1");
        assert_eq!(fourcc.to_string(), "0x312b7830");
        assert_eq!("0x312b7830".parse(), Ok(fourcc));
    }

    #[test]
    fn fourcc_that_drm_names_is_read_by_code_and_by_name() {
        for fourcc in Fourcc::named() {
            let name = fourcc.name().unwrap();
            assert_eq!(name.parse(), Ok(fourcc));
            assert_eq!(fourcc.to_string().parse(), Ok(fourcc), "{name}");
            assert!(!fourcc.to_string().starts_with("0x"), "{name}");
        }
        for info in FormatInfo::all() {
            assert_eq!(info.fourcc.name(), Some(info.name));
        }
        assert_eq!(Fourcc::of(*b"R  H").to_string(), "R16F");
    }

    #[test]
    fn fourcc_whose_characters_name_another_is_a_number() {
        for code in [*b"R16F", *b"nv12", *b"Y8  "] {
            let fourcc = Fourcc::of(code);
            assert!(fourcc.to_string().starts_with("0x"));
            assert_eq!(fourcc.to_string().parse(), Ok(fourcc));
        }
    }
}
