//! The planes of a card, which scan out framebuffers.

use drm::control::{Device as _, plane};
use drm::{ClientCapability, Device as _};

use super::{Card, DrmError, PlaneKind};
use crate::constraint::Participant;
use crate::model::FormatModifier;

/// The KMS object id of a plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlaneId(u32);

impl From<plane::Handle> for PlaneId {
    fn from(handle: plane::Handle) -> Self {
        Self(handle.into())
    }
}

impl From<PlaneId> for u32 {
    fn from(id: PlaneId) -> Self {
        id.0
    }
}

impl PlaneId {
    /// Makes an id from the kernel's object id; `None` for 0, which is not a valid id.
    #[must_use]
    pub fn new(id: u32) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    /// Returns the id as a handle of the crate `drm`. An id is never 0, because neither constructor allows that.
    pub(super) fn handle(self) -> Option<plane::Handle> {
        drm::control::from_u32(self.0)
    }
}

/// A plane of an open card.
#[derive(Clone, Debug)]
pub struct CardPlane {
    card: Card,
    id: PlaneId,
    kind: PlaneKind,
}

impl CardPlane {
    /// Returns the card of the plane.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Returns the KMS object id of the plane.
    #[must_use]
    pub fn id(&self) -> PlaneId {
        self.id
    }

    /// Returns the type of the plane.
    #[must_use]
    pub fn kind(&self) -> PlaneKind {
        self.kind
    }

    /// Returns the formats and modifiers of the plane; see [`Card::plane_formats`].
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn formats(&self) -> Result<Vec<FormatModifier>, DrmError> {
        self.card.plane_formats(self.id)
    }

    /// Declares the constraints of the plane; see [`Card::participant`].
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn participant(&self) -> Result<Participant, DrmError> {
        self.card.participant(self.id)
    }
}

impl Card {
    /// Lists the planes of the card; empty for a card without a display.
    ///
    /// # Errors
    /// [`DrmError::Request`] if the type of a plane cannot be read.
    pub fn planes(&self) -> Result<Vec<CardPlane>, DrmError> {
        // Without this client capability the kernel lists only overlay planes. If the card does not support it, its overlay
        // planes are listed.
        let _ = self.set_client_capability(ClientCapability::UniversalPlanes, true);
        // GETPLANERESOURCES fails for a card without a display.
        let handles = self.plane_handles().unwrap_or_default();
        handles
            .into_iter()
            .map(|handle| {
                Ok(CardPlane {
                    card: self.clone(),
                    id: handle.into(),
                    kind: self.plane_kind(handle)?,
                })
            })
            .collect()
    }

    /// Returns the card's first primary plane.
    ///
    /// # Errors
    /// [`DrmError::NoPlane`] for a card without a primary plane; the errors of [`Card::planes`].
    pub fn primary_plane(&self) -> Result<CardPlane, DrmError> {
        let mut planes = self.planes()?.into_iter();
        planes
            .find(|plane| plane.kind == PlaneKind::Primary)
            .ok_or_else(|| DrmError::NoPlane {
                card: self.path().to_owned(),
                driver: self.driver().to_owned(),
                kind: PlaneKind::Primary,
            })
    }

    /// Declares the card as a display: its first primary plane, or its PRIME import if it has no primary plane.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn display(&self) -> Result<Participant, DrmError> {
        match self.primary_plane() {
            Ok(plane) => plane.participant(),
            Err(DrmError::NoPlane { .. }) => Ok(self.importer()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plane_id_of_zero_is_invalid() {
        assert_eq!(PlaneId::new(0), None);
        let id = PlaneId::new(31).unwrap();
        assert_eq!(u32::from(id), 31);
        assert_eq!(id.handle().map(u32::from), Some(31));
    }
}
