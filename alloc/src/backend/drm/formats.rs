//! Which formats and modifiers a plane shows.

use drm::control::{Device as _, PlaneType, plane};
use drm::{ClientCapability, Device as _};

use super::DrmError;
use super::card::Card;
use crate::model::{FormatModifier, Fourcc, Modifier};

/// What a plane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneKind {
    /// The picture itself.
    Primary,
    /// Beside or above it.
    Overlay,
    /// The pointer.
    Cursor,
}

impl Card {
    /// What a plane is for.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn plane_kind(&self, plane: plane::Handle) -> Result<PlaneKind, DrmError> {
        let kind = self.plane_property(plane, b"type")?;
        Ok(match kind {
            Some(value) if value == PlaneType::Primary as u64 => PlaneKind::Primary,
            Some(value) if value == PlaneType::Cursor as u64 => PlaneKind::Cursor,
            _ => PlaneKind::Overlay,
        })
    }

    /// The formats and modifiers that a plane shows: IN_FORMATS where the card has it.
    ///
    /// A card without modifiers says nothing of layouts. Where it does not render, its buffers can only be linear, and
    /// that is what is listed. Where it renders (virgl) it shows its dumb buffers, which are linear, and what it rendered,
    /// whose layout and modifier are implicit: both are listed.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn plane_formats(&self, plane: plane::Handle) -> Result<Vec<FormatModifier>, DrmError> {
        if let Some(blob) = self
            .plane_property(plane, b"IN_FORMATS")?
            .filter(|_| self.has_modifiers())
        {
            let bytes = self
                .get_property_blob(blob)
                .map_err(|source| self.failed("GETPROPBLOB", source))?;
            if let Some(listed) = parse_in_formats(&bytes) {
                return Ok(listed);
            }
            tracing::warn!(card = %self.path().display(), "IN_FORMATS is not understood; taking the plain list");
        }
        let info = self
            .get_plane(plane)
            .map_err(|source| self.failed("GETPLANE", source))?;
        let modifiers: &[Modifier] = if self.renders_implicitly() {
            &[Modifier::LINEAR, Modifier::INVALID]
        } else {
            &[Modifier::LINEAR]
        };
        Ok(info
            .formats()
            .iter()
            .flat_map(|code| {
                modifiers.iter().map(|modifier| FormatModifier {
                    fourcc: Fourcc(*code),
                    modifier: *modifier,
                })
            })
            .collect())
    }

    /// Every pair that any plane of the card shows, more than once where several do; none for a card without planes.
    pub fn listed_formats(&self) -> Vec<FormatModifier> {
        // Without this only overlays are listed; a card that lacks it lists what it can.
        let _ = self.set_client_capability(ClientCapability::UniversalPlanes, true);
        self.plane_handles()
            .unwrap_or_default()
            .into_iter()
            .flat_map(|plane| self.plane_formats(plane).unwrap_or_default())
            .collect()
    }

    pub(super) fn renders_implicitly(&self) -> bool {
        self.import_ability().is_of_a_renderer()
    }

    fn plane_property(&self, plane: plane::Handle, name: &[u8]) -> Result<Option<u64>, DrmError> {
        let properties = self
            .get_properties(plane)
            .map_err(|source| self.failed("OBJ_GETPROPERTIES", source))?;
        for (handle, value) in &properties {
            let property = self
                .get_property(*handle)
                .map_err(|source| self.failed("GETPROPERTY", source))?;
            if property.name().to_bytes() == name {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// Reads `struct drm_format_modifier_blob`; `None` when its offsets lead outside of it.
///
/// # References
/// `drm_mode.h`: u32 version, flags, count_formats, formats_offset, count_modifiers, modifiers_offset; then u32 codes, then
/// entries of u64 formats (a bit a format), u32 offset (of the first bit), u32 padding, u64 modifier.
pub(super) fn parse_in_formats(blob: &[u8]) -> Option<Vec<FormatModifier>> {
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
        assert_eq!(parse_in_formats(&blob(0b11, 0)).unwrap(), both);
        assert_eq!(parse_in_formats(&blob(0b1, 1)).unwrap(), both[1..]);
    }

    #[test]
    fn in_formats_that_lead_outside_are_refused() {
        assert_eq!(parse_in_formats(&blob(0b100, 0)), None);
        assert_eq!(parse_in_formats(&blob(1, u32::MAX)), None);
        for length in 0..blob(1, 0).len() {
            assert_eq!(parse_in_formats(&blob(1, 0)[..length]), None, "{length}");
        }
    }
}
