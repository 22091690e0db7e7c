//! The planes of a card: what puts pictures on a display.

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
    /// Takes the number that the kernel knows the plane by; `None` for 0, which is no object.
    #[must_use]
    pub fn new(id: u32) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    /// Returns it as the crate `drm` has it. An id is never 0: neither constructor makes such a one.
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
    /// Returns the card that it belongs to.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Returns its KMS object id.
    #[must_use]
    pub fn id(&self) -> PlaneId {
        self.id
    }

    /// Returns what it is for.
    #[must_use]
    pub fn kind(&self) -> PlaneKind {
        self.kind
    }

    /// Returns the formats and modifiers that it shows; see [`Card::plane_formats`].
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn formats(&self) -> Result<Vec<FormatModifier>, DrmError> {
        self.card.plane_formats(self.id)
    }

    /// Declares what it shows; see [`Card::participant`].
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn participant(&self) -> Result<Participant, DrmError> {
        self.card.participant(self.id)
    }
}

impl Card {
    /// Lists the card's planes; none for a card without a display.
    ///
    /// # Errors
    /// [`DrmError::Request`] where a plane does not say of what kind it is.
    pub fn planes(&self) -> Result<Vec<CardPlane>, DrmError> {
        // Without this capability only overlays are listed; a card that lacks it lists what it can.
        let _ = self.set_client_capability(ClientCapability::UniversalPlanes, true);
        // A card that drives no display refuses the question.
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

    /// Returns the card's first primary plane: what shows a whole screen.
    ///
    /// # Errors
    /// [`DrmError::NoPlane`] for a card without one; those of [`Card::planes`].
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

    /// Declares the card as a display: its first primary plane, or what it imports as a whole where it has none.
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
    fn id_of_zero_is_no_plane() {
        assert_eq!(PlaneId::new(0), None);
        let id = PlaneId::new(31).unwrap();
        assert_eq!(u32::from(id), 31);
        assert_eq!(id.handle().map(u32::from), Some(31));
    }
}
