//! DRM format modifiers, and pairs of format and modifier.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Fourcc;

mod family;
mod planes;
mod table;

pub use family::{DecodedModifier, ModifierField};

/// A DRM format modifier: the vendor in the upper 8 bits, and the vendor's tiling or compression in the rest.
///
/// # References
///
/// `drm_fourcc.h`; the kernel's "Exchanging pixel buffers".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Modifier(pub u64);

/// Why a text is not a modifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModifierError {
    /// No modifier has this name.
    #[error(
        "`{0}` is not a modifier; write LINEAR, INVALID, a name of drm_fourcc.h such as INTEL_Y_TILED or ARM_AFBC(16x16,SPARSE), or a number such as 0x0100000000000002"
    )]
    Name(String),
    /// The name is known, but the fields in the parentheses after it are not valid.
    #[error("a modifier {name}: {why}")]
    Field {
        /// The name before the parentheses.
        name: String,
        /// What is wrong with the fields, as a clause.
        why: String,
    },
}

const VENDORS: [&str; 13] = [
    "NONE",
    "INTEL",
    "AMD",
    "NVIDIA",
    "SAMSUNG",
    "QCOM",
    "VIVANTE",
    "BROADCOM",
    "ARM",
    "ALLWINNER",
    "AMLOGIC",
    "MTK",
    "APPLE",
];

/// Prefixes of macros in `drm_fourcc.h`, each with the prefix that this crate uses instead.
const PREFIXES: [(&str, &str); 2] = [("DRM_FORMAT_MOD_", ""), ("I915_FORMAT_MOD_", "INTEL_")];

impl Modifier {
    /// The pixels are in linear rows, which follow each other from the first byte on.
    pub const LINEAR: Self = Self(0);
    /// Stands for the modifier of a format that has none, because V4L2's code completely defines the pixel layout. DRM never uses
    /// this number.
    pub const NONE: Self = Self(u64::MAX);
    /// The implicit modifier (`DRM_FORMAT_MOD_INVALID`). The driver knows the layout and does not report it. It does not mean a
    /// linear layout, and does not match other modifiers.
    pub const INVALID: Self = Self(0x00ff_ffff_ffff_ffff);

    /// Returns whether this is the implicit modifier, whose layout only the driver knows.
    pub fn is_implicit(self) -> bool {
        self == Self::INVALID
    }

    /// Returns the name of the vendor; `None` if this crate does not know it.
    pub fn vendor(self) -> Option<&'static str> {
        let [vendor, ..] = self.0.to_be_bytes();
        VENDORS.get(usize::from(vendor)).copied()
    }

    /// Decodes a modifier; `None` if this crate does not know its name, a field or a value. [`LINEAR`](Self::LINEAR) and
    /// [`INVALID`](Self::INVALID) have no fields, so the result is `None` for them too.
    #[must_use]
    pub fn decode(self) -> Option<DecodedModifier> {
        table::FAMILIES
            .iter()
            .find_map(|family| family.decode(self))
    }

    /// Returns the name of the modifier with all fields; `None` if any bit is unknown.
    #[must_use]
    pub fn name(self) -> Option<String> {
        match self {
            Self::LINEAR => Some("LINEAR".to_owned()),
            Self::INVALID => Some("INVALID".to_owned()),
            _ => table::FAMILIES
                .iter()
                .find_map(|family| Some(family.text(self, &family.decode(self)?))),
        }
    }

    /// Iterates over the known families, with one modifier for each. Each of its fields, such as a block size, has its lowest
    /// value.
    pub fn named() -> impl Iterator<Item = Self> {
        table::FAMILIES.iter().map(family::Family::first)
    }
}

/// Writes the name of the modifier, or its number in hexadecimal if any bit is unknown. In the alternate form (`{:#}`), the
/// vendor's name precedes the number.
///
/// Both forms are parsed as the same modifier.
impl fmt::Display for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name(), self.vendor()) {
            (Some(name), _) => f.pad(&name),
            (None, Some(vendor)) if f.alternate() => write!(f, "{vendor}({:#018x})", self.0),
            (None, _) => write!(f, "{:#018x}", self.0),
        }
    }
}

impl fmt::Debug for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Modifier({self:#})")
    }
}

/// Parses the text that [`Display`](fmt::Display) writes, any number in hexadecimal, and the names of macros in `drm_fourcc.h`.
impl FromStr for Modifier {
    type Err = ModifierError;

    fn from_str(text: &str) -> Result<Self, ModifierError> {
        match text {
            "LINEAR" | "DRM_FORMAT_MOD_LINEAR" => return Ok(Self::LINEAR),
            "INVALID" | "DRM_FORMAT_MOD_INVALID" => return Ok(Self::INVALID),
            _ => {}
        }
        if let Some(modifier) = number(text) {
            return Ok(modifier);
        }
        let own = PREFIXES
            .iter()
            .find_map(|(prefix, own)| Some(format!("{own}{}", text.strip_prefix(prefix)?)))
            .unwrap_or_else(|| text.to_owned());
        let own = table::ALIASES
            .iter()
            .find(|(alias, _)| *alias == own)
            .map_or(own.as_str(), |(_, own)| own);
        let unknown = || ModifierError::Name(text.to_owned());
        let (name, words) = match own.split_once('(') {
            Some((name, rest)) => (name.trim_end(), rest.strip_suffix(')').ok_or_else(unknown)?),
            None => (own, ""),
        };
        // Several families may have the same name. The first family that can parse the text is used. If none can, the error of
        // the last family is returned.
        let mut outcome = Err(unknown());
        for family in table::FAMILIES.iter().filter(|family| family.name == name) {
            outcome = family.parse(words);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

/// Parses a number in hexadecimal, or such a number in parentheses after the vendor's name.
fn number(text: &str) -> Option<Modifier> {
    let (vendor, digits) = match text.split_once('(') {
        Some((vendor, rest)) => (Some(vendor), rest.strip_suffix(')')?),
        None => (None, text),
    };
    let digits = digits.strip_prefix("0x")?;
    // `from_str_radix` would accept a sign, which no modifier has.
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let modifier = Modifier(u64::from_str_radix(digits, 16).ok()?);
    (vendor.is_none() || vendor == modifier.vendor()).then_some(modifier)
}

impl TryFrom<String> for Modifier {
    type Error = ModifierError;

    fn try_from(text: String) -> Result<Self, ModifierError> {
        text.parse()
    }
}

impl From<Modifier> for String {
    fn from(modifier: Modifier) -> Self {
        modifier.to_string()
    }
}

impl From<u64> for Modifier {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Modifier> for u64 {
    fn from(modifier: Modifier) -> Self {
        modifier.0
    }
}

/// A pair of a pixel format and a modifier. Devices that share a buffer have to support the same pair.
///
/// A format that V4L2 defines and DRM does not has no modifier: V4L2's code completely defines the pixel layout
/// ([`FormatModifier::of_v4l2`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "WrittenFormat", try_from = "WrittenFormat")]
pub struct FormatModifier {
    /// The pixel format.
    pub fourcc: Fourcc,
    /// The modifier.
    pub modifier: Modifier,
}

impl FormatModifier {
    /// Makes a pair of a format and a modifier.
    pub const fn new(fourcc: Fourcc, modifier: Modifier) -> Self {
        Self { fourcc, modifier }
    }

    /// Makes the pair for a V4L2 pixel format code for which DRM has no format and modifier, such as `VT12`.
    ///
    /// # References
    /// `linux/videodev2.h`.
    pub const fn of_v4l2(code: u32) -> Self {
        Self::new(Fourcc(code), Modifier::NONE)
    }

    /// Returns the V4L2 pixel format code of a format that has no modifier; `None` for a format of DRM.
    #[must_use]
    pub fn v4l2_code(self) -> Option<u32> {
        (self.modifier == Modifier::NONE).then_some(self.fourcc.0)
    }

    /// Makes a pair of a format and [`Modifier::LINEAR`].
    pub const fn linear(fourcc: Fourcc) -> Self {
        Self::new(fourcc, Modifier::LINEAR)
    }
}

impl fmt::Display for FormatModifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.v4l2_code() {
            Some(_) => write!(f, "V4L2 {}", self.fourcc),
            None => write!(f, "{} {:#}", self.fourcc, self.modifier),
        }
    }
}

/// The JSON form of a pair. It has DRM's format and modifier, or only V4L2's code.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct WrittenFormat {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fourcc: Option<Fourcc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) modifier: Option<Modifier>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) v4l2: Option<Fourcc>,
}

impl From<FormatModifier> for WrittenFormat {
    fn from(format: FormatModifier) -> Self {
        let is_of_v4l2 = format.v4l2_code().is_some();
        Self {
            fourcc: Some(format.fourcc).filter(|_| !is_of_v4l2),
            modifier: Some(format.modifier).filter(|_| !is_of_v4l2),
            v4l2: Some(format.fourcc).filter(|_| is_of_v4l2),
        }
    }
}

impl TryFrom<WrittenFormat> for FormatModifier {
    type Error = &'static str;

    fn try_from(written: WrittenFormat) -> Result<Self, Self::Error> {
        match (written.fourcc, written.modifier, written.v4l2) {
            (_, Some(Modifier::NONE), _) => Err("0xffffffffffffffff is no modifier"),
            (Some(fourcc), Some(modifier), None) => Ok(Self::new(fourcc, modifier)),
            (None, None, Some(code)) => Ok(Self::of_v4l2(code.0)),
            (_, _, Some(_)) => Err("a format with `v4l2` has neither `fourcc` nor `modifier`"),
            (None, _, None) => Err("missing field `fourcc`"),
            (_, None, None) => Err("missing field `modifier`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, number: u64) {
        assert_eq!(text.parse(), Ok(Modifier(number)), "{text}");
        assert_eq!(Modifier(number).to_string(), text);
    }

    #[test]
    fn format_that_v4l2_alone_defines_has_a_code_and_no_modifier() {
        let tiles = FormatModifier::of_v4l2(u32::from_le_bytes(*b"VT12"));
        let text = serde_json::to_string(&tiles).unwrap();
        assert_eq!(text, r#"{"v4l2":"VT12"}"#);
        assert_eq!(
            serde_json::from_str::<FormatModifier>(&text).unwrap(),
            tiles
        );
        assert_eq!(tiles.to_string(), "V4L2 VT12");
        let rows = FormatModifier::linear(Fourcc::of(*b"VT12"));
        assert_ne!(tiles, rows);
        assert_eq!(rows.v4l2_code(), None);
        for (text, why) in [
            (r#"{"v4l2":"VT12","modifier":"LINEAR"}"#, "neither"),
            (r#"{"fourcc":"NV12"}"#, "modifier"),
            (r#"{"modifier":"LINEAR"}"#, "fourcc"),
            (
                r#"{"fourcc":"NV12","modifier":"0xffffffffffffffff"}"#,
                "no modifier",
            ),
        ] {
            let error = serde_json::from_str::<FormatModifier>(text).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn modifier_is_written_by_name_with_its_fields() {
        written("LINEAR", 0);
        written("INVALID", 0x00ff_ffff_ffff_ffff);
        written("INTEL_Y_TILED_GEN12_RC_CCS_CC", 0x0100_0000_0000_0008);
        written("INTEL_4_TILED_BMG_CCS", 0x0100_0000_0000_0011);
        written("ARM_AFBC(16x16,YTR,SPARSE)", 0x0800_0000_0000_0051);
        written("ARM_AFBC(32x8_64x4,SPARSE,TILED,SC)", 0x0800_0000_0000_0344);
        written(
            "ARM_AFRC(CU_SIZE_P0=24,CU_SIZE_P12=16,SCAN)",
            0x0820_0000_0000_0112,
        );
        written("ARM_AFRC(CU_SIZE_P0=32,ROT)", 0x0820_0000_0000_0003);
        written("ARM_16X16_BLOCK_U_INTERLEAVED", 0x0810_0000_0000_0001);
        written(
            "NVIDIA_BLOCK_LINEAR_2D(h=4,k=0x06,g=2,s=1,c=0)",
            0x0300_0000_0060_6014,
        );
        // The field for the sector layout consists of two ranges of bits.
        written(
            "NVIDIA_BLOCK_LINEAR_2D(h=0,k=0x06,g=2,s=3,c=0)",
            0x0300_0000_0460_6010,
        );
        written("NVIDIA_16BX2_BLOCK(v=4)", 0x0300_0000_0000_0014);
        written("BROADCOM_SAND128", 0x0700_0000_0000_0004);
        written("BROADCOM_SAND128(COL_HEIGHT=1632)", 0x0700_0000_0006_6004);
        written(
            "VIVANTE_SUPER_TILED(TS_128_4,DEC400)",
            0x0613_0000_0000_0002,
        );
        written("AMLOGIC_FBC(BASIC,MEM_SAVING)", 0x0a00_0000_0000_0101);
        written(
            "MTK(TILE=16L32S,10BIT_LAYOUT=LSBRASTER)",
            0x0b00_0000_0002_0001,
        );
        written("QCOM_COMPRESSED", 0x0500_0000_0000_0001);
        written("APPLE_GPU_TILED_COMPRESSED", 0x0c00_0000_0000_0002);
    }

    #[test]
    fn amd_modifier_is_written_with_compression_and_chip() {
        // This is a modifier for 16 pipes and 8 packers, as Navi 22 has.
        let retiled = "AMD(TILE_VERSION=GFX10_RBPLUS,TILE=64K_R_X,DCC,DCC_RETILE,DCC_INDEPENDENT_64B,DCC_INDEPENDENT_128B,DCC_MAX_COMPRESSED_BLOCK=64B,DCC_CONSTANT_ENCODE,PIPE_XOR_BITS=4,PACKERS=3)";
        let code = 0x02 << 56
            | 3
            | 27 << 8
            | 1 << 13
            | 1 << 14
            | 1 << 16
            | 1 << 17
            | 1 << 20
            | 4 << 21
            | 3 << 27;
        written(retiled, code);
        let decoded = Modifier(code).decode().unwrap();
        assert_eq!(decoded.field("PACKERS"), Some(3));
        assert_eq!(decoded.field("DCC_PIPE_ALIGN"), Some(0));
        assert_eq!(decoded.field("DECK"), None);
        written(
            "AMD(TILE_VERSION=GFX12,TILE=256K_2D)",
            0x0200_0000_0000_0405,
        );
        written(
            "AMD(TILE_VERSION=GFX6,TILE=2D_TILED_THIN1,MICROTILE=DISPLAY,PIPE_CONFIG=P2,TILE_SPLIT=256B,BANK_WIDTH=1,BANK_HEIGHT=4,MACRO_TILE_ASPECT=4:1,NUM_BANKS=16)",
            0x02 << 56 | 4 << 8 | 2 << 22 | 2 << 27 | 1 << 29 | 3 << 31,
        );
        written(
            "AMD(TILE_VERSION=GFX6,TILE=1D_TILED_THIN1,MICROTILE=THIN)",
            0x0200_0000_0000_4200,
        );
        // drm_info writes spaces around the equals sign.
        let spaced = "AMD(TILE_VERSION = GFX9, TILE = 64K_S)";
        assert_eq!(spaced.parse(), Ok(Modifier(0x0200_0000_0000_0901)));
    }

    #[test]
    fn modifier_with_a_bit_that_is_not_known_is_a_number() {
        for (number, with_vendor) in [
            (0x0100_0000_0000_0012, "INTEL(0x0100000000000012)"),
            // The first modifier is AFBC with a bit above the highest known bit. The second one is AFBC without a block size.
            (0x0800_0000_0000_2041, "ARM(0x0800000000002041)"),
            (0x0800_0000_0000_0040, "ARM(0x0800000000000040)"),
            (0x0830_0000_0000_0001, "ARM(0x0830000000000001)"),
            // The first modifier has a reserved generation of page kinds. The second one has a reserved tiling.
            (0x0300_0000_0030_6010, "NVIDIA(0x0300000000306010)"),
            (0x0200_0000_0000_0605, "AMD(0x0200000000000605)"),
            (0x0200_0010_0000_0105, "AMD(0x0200001000000105)"),
            (0x0200_0000_0000_0001, "AMD(0x0200000000000001)"),
            (0x00ff_ffff_ffff_fffe, "NONE(0x00fffffffffffffe)"),
            (0x7f00_0000_0000_0001, "0x7f00000000000001"),
        ] {
            let modifier = Modifier(number);
            assert_eq!(modifier.decode(), None);
            assert_eq!(modifier.to_string(), format!("{number:#018x}"));
            assert_eq!(format!("{modifier:#}"), with_vendor);
            for text in [modifier.to_string(), format!("{modifier:#}")] {
                assert_eq!(text.parse(), Ok(modifier), "{text}");
            }
        }
    }

    #[test]
    fn macros_and_other_names_are_read() {
        for (text, number) in [
            ("I915_FORMAT_MOD_Yf_TILED", 0x0100_0000_0000_0003),
            ("DRM_FORMAT_MOD_LINEAR", 0),
            ("DRM_FORMAT_MOD_QCOM_COMPRESSED", 0x0500_0000_0000_0001),
            ("DRM_FORMAT_MOD_GENERIC_16_16_TILE", 0x0400_0000_0000_0002),
            ("NVIDIA_16BX2_BLOCK_THIRTYTWO_GOB", 0x0300_0000_0000_0015),
            ("0x2", 2),
        ] {
            assert_eq!(text.parse(), Ok(Modifier(number)), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_modifier_is_refused_with_a_reason() {
        for text in [
            "",
            "linear",
            "0x",
            "0x+1",
            "0x10000000000000000",
            "ARM(0x0100000000000012)",
            "INTEL_Z_TILED",
            "ARM_AFBC(16x16",
            "AFBC(16x16)",
        ] {
            assert_eq!(
                text.parse::<Modifier>(),
                Err(ModifierError::Name(text.to_owned()))
            );
        }
        for (text, part) in [
            ("ARM_AFBC", "BLOCK_SIZE is missing"),
            ("ARM_AFBC(16x16,32x8)", "BLOCK_SIZE occurs twice"),
            ("ARM_AFBC(16x16,SPARES)", "16x16|32x8|64x4|32x8_64x4, YTR"),
            ("INTEL_X_TILED(1)", "whose fields are none"),
            ("NVIDIA_BLOCK_LINEAR_2D(h=16,k=0,g=0,s=0,c=0)", "`h=16`"),
            (
                "NVIDIA_BLOCK_LINEAR_2D(h=1,k=0x100,g=0,s=0,c=0)",
                "`k=0x100`",
            ),
            ("BROADCOM_SAND128(COL_HEIGHT=281474976710656)", "COL_HEIGHT"),
        ] {
            let error = text.parse::<Modifier>().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn invalid_is_implicit_and_linear_is_not() {
        assert!(Modifier::INVALID.is_implicit());
        assert!(!Modifier::LINEAR.is_implicit());
    }
}
