//! The blob in which a KMS plane lists what it takes.

use thiserror::Error;

use super::{FormatModifier, Fourcc, Modifier};

/// The most pairs that are read: several times what any card has, since a blob names 64 formats in 24 bytes.
const MOST_PAIRS: usize = 1 << 16;

/// Bytes of an entry: formats, the first of them, padding, and the modifier.
const ENTRY_BYTES: usize = 24;

/// Why a blob is no list of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InFormatsError {
    /// It ends before what it leads to.
    #[error("IN_FORMATS of {bytes} bytes: expected {what} of {size} bytes at byte {at}")]
    Outside {
        /// What should be there.
        what: &'static str,
        /// How many bytes it has.
        size: usize,
        /// Where it should be.
        at: usize,
        /// How long the blob is.
        bytes: usize,
    },
    /// An entry names a format that is not in the list.
    #[error("IN_FORMATS, at byte {at}: expected one of {formats} formats, found number {number}")]
    Format {
        /// Where the entry begins.
        at: usize,
        /// Which format it names.
        number: usize,
        /// How many there are.
        formats: usize,
    },
    /// It names more pairs than any card has.
    #[error("IN_FORMATS, at byte {at}: more than {MOST_PAIRS} pairs of format and modifier")]
    TooMany {
        /// Where the entry begins that has the first that is too many.
        at: usize,
    },
}

/// Reads a plane's property IN_FORMATS, `struct drm_format_modifier_blob`.
///
/// What is read takes 43 bytes for each byte of the blob at most, and never more than a MiB: an entry of 24 bytes names up to 64
/// pairs.
///
/// # References
/// `drm_mode.h`: u32 version, flags, count_formats, formats_offset, count_modifiers, modifiers_offset; then u32 codes, then
/// entries of u64 formats (a bit a format), u32 offset (of the first bit), u32 padding, u64 modifier.
///
/// # Errors
/// [`InFormatsError`], with the byte.
pub fn read_in_formats(blob: &[u8]) -> Result<Vec<FormatModifier>, InFormatsError> {
    let blob = Blob(blob);
    let (formats, formats_at) = (blob.index(8)?, blob.index(12)?);
    let (modifiers, modifiers_at) = (blob.index(16)?, blob.index(20)?);
    // Each list is inside, so no count is larger than the blob.
    blob.span(formats_at, formats.saturating_mul(4), "the formats")?;
    let size = modifiers.saturating_mul(ENTRY_BYTES);
    let entries = blob.span(modifiers_at, size, "the modifiers")?;
    let places = || (0..entries.len()).step_by(ENTRY_BYTES);
    let mut pairs = 0_usize;
    for place in places() {
        let at = modifiers_at.saturating_add(place);
        pairs = pairs.saturating_add(blob.long(at)?.count_ones() as usize);
        if pairs > MOST_PAIRS {
            return Err(InFormatsError::TooMany { at });
        }
    }
    let mut found = Vec::with_capacity(pairs);
    for place in places() {
        let at = modifiers_at.saturating_add(place);
        let (bits, first) = (blob.long(at)?, blob.index(at.saturating_add(8))?);
        let modifier = Modifier(blob.long(at.saturating_add(16))?);
        for bit in (0..64_usize).filter(|bit| bits >> bit & 1 == 1) {
            let number = first.saturating_add(bit);
            if number >= formats {
                return Err(InFormatsError::Format {
                    at,
                    number,
                    formats,
                });
            }
            let fourcc = Fourcc(blob.word(formats_at.saturating_add(number.saturating_mul(4)))?);
            found.push(FormatModifier { fourcc, modifier });
        }
    }
    Ok(found)
}

/// The bytes, by place.
struct Blob<'bytes>(&'bytes [u8]);

impl<'bytes> Blob<'bytes> {
    fn span(
        &self,
        at: usize,
        size: usize,
        what: &'static str,
    ) -> Result<&'bytes [u8], InFormatsError> {
        let end = at.checked_add(size);
        let span = end.and_then(|end| self.0.get(at..end));
        span.ok_or(InFormatsError::Outside {
            what,
            size,
            at,
            bytes: self.0.len(),
        })
    }

    fn number<const N: usize>(&self, at: usize) -> Result<[u8; N], InFormatsError> {
        let bytes = self.0.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().ok_or(InFormatsError::Outside {
            what: "a number",
            size: N,
            at,
            bytes: self.0.len(),
        })
    }

    fn word(&self, at: usize) -> Result<u32, InFormatsError> {
        self.number(at).map(u32::from_ne_bytes)
    }

    fn long(&self, at: usize) -> Result<u64, InFormatsError> {
        self.number(at).map(u64::from_ne_bytes)
    }

    fn index(&self, at: usize) -> Result<usize, InFormatsError> {
        self.word(at).map(|word| word as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(bits: u64, first: u32) -> Vec<u8> {
        let mut blob = Vec::new();
        for word in [1, 0, 2, 24, 1, 32] {
            blob.extend(u32::to_ne_bytes(word));
        }
        blob.extend(Fourcc::XRGB8888.0.to_ne_bytes());
        blob.extend(Fourcc::NV12.0.to_ne_bytes());
        blob.extend(bits.to_ne_bytes());
        blob.extend(first.to_ne_bytes());
        blob.extend(0_u32.to_ne_bytes());
        blob.extend(0_u64.to_ne_bytes());
        blob
    }

    #[test]
    fn in_formats_lists_each_pair() {
        let both = [
            FormatModifier::linear(Fourcc::XRGB8888),
            FormatModifier::linear(Fourcc::NV12),
        ];
        assert_eq!(read_in_formats(&blob(0b11, 0)).unwrap(), both);
        assert_eq!(read_in_formats(&blob(0b1, 1)).unwrap(), both[1..]);
    }

    #[test]
    fn in_formats_that_are_damaged_say_where() {
        let words = |blob: &[u8]| read_in_formats(blob).unwrap_err().to_string();
        assert_eq!(
            words(&blob(0b100, 0)),
            "IN_FORMATS, at byte 32: expected one of 2 formats, found number 2"
        );
        assert_eq!(
            words(&blob(1, 0)[..40]),
            "IN_FORMATS of 40 bytes: expected the modifiers of 24 bytes at byte 32"
        );
        // 1,025 entries name 64 formats each.
        let mut many = Vec::new();
        for word in [1, 0, 64, 24, 1025, 24 + 256] {
            many.extend(u32::to_ne_bytes(word));
        }
        many.extend([0; 256]);
        for _ in 0..1025 {
            many.extend(u64::MAX.to_ne_bytes());
            many.extend([0; 16]);
        }
        let error = words(&many);
        assert!(
            error.contains("byte 24856: more than 65536 pairs"),
            "{error}"
        );
    }

    #[test]
    fn in_formats_that_lead_outside_are_refused() {
        assert_eq!(read_in_formats(&blob(0b100, 0)).ok(), None);
        assert_eq!(read_in_formats(&blob(1, u32::MAX)).ok(), None);
        for length in 0..blob(1, 0).len() {
            assert_eq!(
                read_in_formats(&blob(1, 0)[..length]).ok(),
                None,
                "{length}"
            );
        }
    }
}
