//! How pixels are arranged within a plane, and pairs of format and arrangement.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Fourcc;

/// A DRM format modifier: the vendor in the upper 8 bits, its arrangement in the rest.
///
/// # References
///
/// `drm_fourcc.h`; the kernel's "Exchanging pixel buffers".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Modifier(pub u64);

/// A name that is no modifier's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no modifier; write LINEAR, INVALID or a number like 0x0100000000000002")]
pub struct ModifierError(String);

const VENDORS: [&str; 12] = [
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
];

impl Modifier {
    /// Row after row from the first byte on.
    pub const LINEAR: Self = Self(0);
    /// An arrangement that nobody has told: it is neither linear nor a wildcard.
    pub const INVALID: Self = Self(0x00ff_ffff_ffff_ffff);

    /// Returns whether the arrangement is one that only the driver knows.
    pub fn is_implicit(self) -> bool {
        self == Self::INVALID
    }

    /// Returns the name of who defines the arrangement; `None` for a vendor that this crate does not know.
    pub fn vendor(self) -> Option<&'static str> {
        let vendor = usize::try_from(self.0 >> 56).ok()?;
        VENDORS.get(vendor).copied()
    }
}

/// Writes `LINEAR`, `INVALID`, or the number in hexadecimal, with the vendor in the alternate form.
impl fmt::Display for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, self.vendor()) {
            (Self::LINEAR, _) => f.pad("LINEAR"),
            (Self::INVALID, _) => f.pad("INVALID"),
            (Self(number), Some(vendor)) if f.alternate() => write!(f, "{vendor}({number:#018x})"),
            (Self(number), _) => write!(f, "{number:#018x}"),
        }
    }
}

impl fmt::Debug for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Modifier({self:#})")
    }
}

impl FromStr for Modifier {
    type Err = ModifierError;

    fn from_str(text: &str) -> Result<Self, ModifierError> {
        match text {
            "LINEAR" => Ok(Self::LINEAR),
            "INVALID" => Ok(Self::INVALID),
            _ => text
                .strip_prefix("0x")
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .map(Self)
                .ok_or_else(|| ModifierError(text.to_owned())),
        }
    }
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

/// A format and how its pixels are arranged: what two devices must agree on, as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FormatModifier {
    /// The format.
    pub fourcc: Fourcc,
    /// The arrangement.
    pub modifier: Modifier,
}

impl FormatModifier {
    /// Pairs a format with an arrangement.
    pub const fn new(fourcc: Fourcc, modifier: Modifier) -> Self {
        Self { fourcc, modifier }
    }

    /// Pairs a format with [`Modifier::LINEAR`].
    pub const fn linear(fourcc: Fourcc) -> Self {
        Self::new(fourcc, Modifier::LINEAR)
    }
}

impl fmt::Display for FormatModifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:#}", self.fourcc, self.modifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifier_is_read_back_as_written() {
        for modifier in [
            Modifier::LINEAR,
            Modifier::INVALID,
            Modifier(0x0100_0000_0000_0002),
        ] {
            assert_eq!(modifier.to_string().parse(), Ok(modifier));
        }
        assert_eq!(
            format!("{:#}", Modifier(0x0100_0000_0000_0002)),
            "INTEL(0x0100000000000002)"
        );
        assert!("linear".parse::<Modifier>().is_err());
    }

    #[test]
    fn invalid_is_implicit_and_linear_is_not() {
        assert!(Modifier::INVALID.is_implicit());
        assert!(!Modifier::LINEAR.is_implicit());
    }
}
