//! The formats and modifiers of a plane.

use std::io;

use drm::control::{Device as _, PlaneType, plane};
use drm::{ClientCapability, Device as _};

use super::card::Card;
use super::{DrmError, PlaneId};
pub use crate::constraint::PlaneKind;
use crate::model::{FormatModifier, Fourcc, Modifier, read_in_formats};

impl Card {
    /// Returns the type of a plane: primary, overlay or cursor.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn plane_kind(&self, plane: impl Into<PlaneId>) -> Result<PlaneKind, DrmError> {
        let plane = plane.into();
        let kind = self.plane_property(plane, b"type")?;
        Ok(match kind {
            Some(value) if value == PlaneType::Primary as u64 => PlaneKind::Primary,
            Some(value) if value == PlaneType::Cursor as u64 => PlaneKind::Cursor,
            _ => PlaneKind::Overlay,
        })
    }

    /// Returns the formats and modifiers of a plane: IN_FORMATS if the card has this property.
    ///
    /// A card without IN_FORMATS lists formats without modifiers. If the card does not render, its buffers can only be linear, so
    /// the formats are returned as linear. If it renders (virgl), it scans out linear dumb buffers and also rendered buffers with
    /// an implicit modifier, so each format is returned with both modifiers.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn plane_formats(
        &self,
        plane: impl Into<PlaneId>,
    ) -> Result<Vec<FormatModifier>, DrmError> {
        let plane = plane.into();
        if let Some(blob) = self
            .plane_property(plane, b"IN_FORMATS")?
            .filter(|_| self.has_modifiers())
        {
            let bytes = self
                .get_property_blob(blob)
                .map_err(|source| self.failed("GETPROPBLOB", source))?;
            match read_in_formats(&bytes) {
                Ok(listed) => return Ok(listed),
                Err(error) => tracing::warn!(
                    card = %self.path().display(),
                    plane = u32::from(plane),
                    "{error}; the formats of GETPLANE are used, as linear"
                ),
            }
        }
        let info = self
            .get_plane(self.plane_handle(plane)?)
            .map_err(|source| self.failed("GETPLANE", source))?;
        let modifiers: &[Modifier] = if self.renders_with_implicit_modifiers() {
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

    /// Returns the formats and modifiers of all planes of the card, with duplicates; empty for a card without planes.
    pub fn listed_formats(&self) -> Vec<FormatModifier> {
        // Without this client capability the kernel lists only overlay planes. If the card does not support it, its overlay
        // planes are listed.
        let _ = self.set_client_capability(ClientCapability::UniversalPlanes, true);
        self.plane_handles()
            .unwrap_or_default()
            .into_iter()
            .flat_map(|plane| self.plane_formats(plane).unwrap_or_default())
            .collect()
    }

    pub(super) fn renders_with_implicit_modifiers(&self) -> bool {
        self.import_ability().is_limited_by_rendering()
    }

    pub(super) fn plane_handle(&self, plane: PlaneId) -> Result<plane::Handle, DrmError> {
        let none = || self.failed("GETPLANE", io::Error::from(io::ErrorKind::NotFound));
        plane.handle().ok_or_else(none)
    }

    fn plane_property(&self, plane: PlaneId, name: &[u8]) -> Result<Option<u64>, DrmError> {
        let properties = self
            .get_properties(self.plane_handle(plane)?)
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
