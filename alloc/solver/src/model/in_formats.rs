//! The parser of the property `IN_FORMATS`, in which a KMS plane lists its formats and modifiers.

use thiserror::Error;

use super::{FormatModifier, Fourcc, Modifier};

/// The maximum number of pairs of format and modifier that are read. No card has a fraction of this number. A limit is needed
/// because an entry of 24 bytes names up to 64 pairs.
const MAXIMUM_PAIRS: usize = 1 << 16;

/// The size of an entry in bytes. An entry has a bit mask of formats, the index of the format that the first bit means, padding,
/// and the modifier.
const ENTRY_BYTES: usize = 24;

/// Why a blob is not a valid `IN_FORMATS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InFormatsError {
    /// The blob ends before a list or number to which it refers.
    #[error("IN_FORMATS of {bytes} bytes: expected {what} of {size} bytes at byte {at}")]
    Outside {
        /// The list or number that is missing.
        what: &'static str,
        /// The size of that list or number in bytes.
        size: usize,
        /// The offset of that list or number in the blob.
        at: usize,
        /// The size of the blob in bytes.
        bytes: usize,
    },
    /// An entry refers to a format that is not in the blob's list of formats.
    #[error("IN_FORMATS, at byte {at}: expected one of {formats} formats, found number {number}")]
    Format {
        /// The offset of the entry in the blob.
        at: usize,
        /// The index of the format to which the entry refers.
        number: usize,
        /// The number of formats in the blob's list.
        formats: usize,
    },
    /// The blob names more pairs of format and modifier than are read.
    #[error("IN_FORMATS, at byte {at}: more than {MAXIMUM_PAIRS} pairs of format and modifier")]
    TooMany {
        /// The offset of the entry that exceeds the limit.
        at: usize,
    },
}

/// Parses the property IN_FORMATS of a plane, `struct drm_format_modifier_blob`.
///
/// The result takes at most 43 bytes for each byte of the blob, because an entry of 24 bytes names up to 64 pairs. It never takes
/// more than 1 MiB.
///
/// # Errors
/// [`InFormatsError`] with the offset of the invalid entry, list or number.
///
/// # References
/// `drm_mode.h`: u32 version, flags, count_formats, formats_offset, count_modifiers, modifiers_offset; then u32 codes, then
/// entries of u64 formats (a bit a format), u32 offset (the index of the first bit's format), u32 padding, u64 modifier.
pub fn read_in_formats(blob: &[u8]) -> Result<Vec<FormatModifier>, InFormatsError> {
    let blob = BlobReader(blob);
    let (formats, formats_at) = (blob.usize_at(8)?, blob.usize_at(12)?);
    let (modifiers, modifiers_at) = (blob.usize_at(16)?, blob.usize_at(20)?);
    // Each list has to be inside the blob, so its length is bounded by the blob's size.
    blob.part(formats_at, formats.saturating_mul(4), "the formats")?;
    let size = modifiers.saturating_mul(ENTRY_BYTES);
    let entries = blob.part(modifiers_at, size, "the modifiers")?;
    let offsets = || (0..entries.len()).step_by(ENTRY_BYTES);
    let mut pairs = 0_usize;
    for offset in offsets() {
        let at = modifiers_at.saturating_add(offset);
        pairs = pairs.saturating_add(blob.u64_at(at)?.count_ones() as usize);
        if pairs > MAXIMUM_PAIRS {
            return Err(InFormatsError::TooMany { at });
        }
    }
    let mut found = Vec::with_capacity(pairs);
    for offset in offsets() {
        let at = modifiers_at.saturating_add(offset);
        let (bits, first) = (blob.u64_at(at)?, blob.usize_at(at.saturating_add(8))?);
        let modifier = Modifier(blob.u64_at(at.saturating_add(16))?);
        for bit in (0..64_usize).filter(|bit| bits >> bit & 1 == 1) {
            let number = first.saturating_add(bit);
            if number >= formats {
                return Err(InFormatsError::Format {
                    at,
                    number,
                    formats,
                });
            }
            let fourcc = Fourcc(blob.u32_at(formats_at.saturating_add(number.saturating_mul(4)))?);
            found.push(FormatModifier { fourcc, modifier });
        }
    }
    Ok(found)
}

/// Reads lists and numbers at offsets of the blob.
struct BlobReader<'bytes>(&'bytes [u8]);

impl<'bytes> BlobReader<'bytes> {
    /// Returns `size` bytes at the offset `at`. `what` names them in the error.
    fn part(
        &self,
        at: usize,
        size: usize,
        what: &'static str,
    ) -> Result<&'bytes [u8], InFormatsError> {
        let end = at.checked_add(size);
        let part = end.and_then(|end| self.0.get(at..end));
        part.ok_or(InFormatsError::Outside {
            what,
            size,
            at,
            bytes: self.0.len(),
        })
    }

    fn bytes_at<const N: usize>(&self, at: usize) -> Result<[u8; N], InFormatsError> {
        let bytes = self.0.get(at..).and_then(<[u8]>::first_chunk);
        bytes.copied().ok_or(InFormatsError::Outside {
            what: "a number",
            size: N,
            at,
            bytes: self.0.len(),
        })
    }

    fn u32_at(&self, at: usize) -> Result<u32, InFormatsError> {
        self.bytes_at(at).map(u32::from_ne_bytes)
    }

    fn u64_at(&self, at: usize) -> Result<u64, InFormatsError> {
        self.bytes_at(at).map(u64::from_ne_bytes)
    }

    fn usize_at(&self, at: usize) -> Result<usize, InFormatsError> {
        self.u32_at(at).map(|word| word as usize)
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
    fn in_formats_with_two_formats_lists_each_pair() {
        let both = [
            FormatModifier::linear(Fourcc::XRGB8888),
            FormatModifier::linear(Fourcc::NV12),
        ];
        assert_eq!(read_in_formats(&blob(0b11, 0)).unwrap(), both);
        assert_eq!(read_in_formats(&blob(0b1, 1)).unwrap(), both[1..]);
    }

    /// Writes a blob with one format and these entries of format bits and modifier.
    fn blob_of(entries: &[(u64, Modifier)]) -> Vec<u8> {
        let mut blob = Vec::new();
        let count = u32::try_from(entries.len()).unwrap();
        for word in [1, 0, 1, 24, count, 28] {
            blob.extend(u32::to_ne_bytes(word));
        }
        blob.extend(Fourcc::XRGB8888.0.to_ne_bytes());
        for (bits, modifier) in entries {
            blob.extend(bits.to_ne_bytes());
            blob.extend(0_u64.to_ne_bytes());
            blob.extend(modifier.0.to_ne_bytes());
        }
        blob
    }

    #[test]
    fn in_formats_without_linear_or_with_an_empty_modifier_lists_only_what_it_names() {
        let tiled = Modifier(0x0100_0000_0000_0001);
        let other = Modifier(0x0100_0000_0000_0002);
        let expected = FormatModifier {
            fourcc: Fourcc::XRGB8888,
            modifier: tiled,
        };
        let found = read_in_formats(&blob_of(&[(0, other), (1, tiled)])).unwrap();
        assert_eq!(found, [expected]);
        // A plane that lists no formats accepts none. The modifier `LINEAR` is not assumed.
        assert_eq!(read_in_formats(&blob_of(&[(0, tiled)])).unwrap(), []);
        assert_eq!(read_in_formats(&blob_of(&[])).unwrap(), []);
    }

    #[test]
    fn in_formats_with_an_invalid_part_is_an_error_with_the_offset() {
        let words = |blob: &[u8]| read_in_formats(blob).unwrap_err().to_string();
        assert_eq!(
            words(&blob(0b100, 0)),
            "IN_FORMATS, at byte 32: expected one of 2 formats, found number 2"
        );
        assert_eq!(
            words(&blob(1, 0)[..40]),
            "IN_FORMATS of 40 bytes: expected the modifiers of 24 bytes at byte 32"
        );
        // The blob has 1,025 entries with 64 formats each.
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
    fn in_formats_with_an_offset_outside_of_the_blob_is_refused() {
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
