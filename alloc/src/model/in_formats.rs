//! The blob in which a KMS plane lists what it takes.

use super::{FormatModifier, Fourcc, Modifier};

/// Reads a plane's property IN_FORMATS, `struct drm_format_modifier_blob`; `None` when its offsets lead outside of it.
///
/// # References
/// `drm_mode.h`: u32 version, flags, count_formats, formats_offset, count_modifiers, modifiers_offset; then u32 codes, then
/// entries of u64 formats (a bit a format), u32 offset (of the first bit), u32 padding, u64 modifier.
pub fn in_formats(blob: &[u8]) -> Option<Vec<FormatModifier>> {
    let word = |at: usize| {
        Some(u32::from_ne_bytes(
            blob.get(at..at.checked_add(4)?)?.try_into().ok()?,
        ))
    };
    let long = |at: usize| {
        Some(u64::from_ne_bytes(
            blob.get(at..at.checked_add(8)?)?.try_into().ok()?,
        ))
    };
    let index = |at: usize| word(at).and_then(|value| usize::try_from(value).ok());
    let (formats, formats_at) = (index(8)?, index(12)?);
    let (modifiers, modifiers_at) = (index(16)?, index(20)?);
    // A blob cannot hold more entries than bytes; a larger count is nonsense and would only cost time.
    if formats > blob.len() || modifiers > blob.len() {
        return None;
    }
    let mut found = Vec::new();
    for entry in 0..modifiers {
        let at = modifiers_at.checked_add(entry.checked_mul(24)?)?;
        let (bits, first, modifier) = (
            long(at)?,
            index(at.checked_add(8)?)?,
            long(at.checked_add(16)?)?,
        );
        for bit in (0..64_usize).filter(|bit| bits >> bit & 1 == 1) {
            let number = first.checked_add(bit)?;
            if number >= formats {
                return None;
            }
            let fourcc = Fourcc(word(formats_at.checked_add(number.checked_mul(4)?)?)?);
            found.push(FormatModifier {
                fourcc,
                modifier: Modifier(modifier),
            });
        }
    }
    Some(found)
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
        assert_eq!(in_formats(&blob(0b11, 0)).unwrap(), both);
        assert_eq!(in_formats(&blob(0b1, 1)).unwrap(), both[1..]);
    }

    #[test]
    fn in_formats_that_lead_outside_are_refused() {
        assert_eq!(in_formats(&blob(0b100, 0)), None);
        assert_eq!(in_formats(&blob(1, u32::MAX)), None);
        for length in 0..blob(1, 0).len() {
            assert_eq!(in_formats(&blob(1, 0)[..length]), None, "{length}");
        }
    }
}
