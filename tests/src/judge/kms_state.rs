//! The KMS state of a card, which `covalent-kms-state print` prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The value of the property `type` of a cursor plane.
const CURSOR: u64 = 2;

/// The KMS objects of a card, with their properties.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsState {
    /// The planes.
    pub planes: Vec<KmsObject>,
    /// The CRTCs.
    pub crtcs: Vec<KmsObject>,
    /// The connectors.
    pub connectors: Vec<KmsObject>,
}

/// A KMS object: a plane, CRTC or connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsObject {
    /// The object id.
    pub id: u32,
    /// The values of the object's properties, by name.
    pub properties: BTreeMap<String, u64>,
}

/// The KMS state that `covalent-kms-state leave` leaves behind, as the program prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftState {
    /// The properties that were set to unusual values: the id of the object, the name and the value.
    pub set: Vec<(u32, String, u64)>,
    /// The planes that show a framebuffer, except the primary plane.
    pub planes: Vec<u32>,
}

impl KmsObject {
    /// Returns the value of a property; `None` if the object has no such property.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        self.properties.get(name).copied()
    }

    /// Returns the value of a property whose type is a signed range; `None` if the object has no such property.
    #[must_use]
    pub fn signed(&self, name: &str) -> Option<i64> {
        let value = self.value(name)?;
        Some(i64::from_ne_bytes(value.to_ne_bytes()))
    }

    /// Returns whether the plane shows a framebuffer.
    #[must_use]
    pub fn shows_something(&self) -> bool {
        self.value("FB_ID").is_some_and(|id| id != 0)
    }
}

impl KmsState {
    /// Returns the planes that show a framebuffer.
    pub fn shown(&self) -> impl Iterator<Item = &KmsObject> {
        self.planes.iter().filter(|plane| plane.shows_something())
    }

    /// Returns the cursor plane; `None` if the card has none.
    #[must_use]
    pub fn cursor(&self) -> Option<&KmsObject> {
        let mut planes = self.planes.iter();
        planes.find(|plane| plane.value("type") == Some(CURSOR))
    }

    /// Returns the object with this id.
    #[must_use]
    pub fn object(&self, id: u32) -> Option<&KmsObject> {
        let all = self
            .planes
            .iter()
            .chain(&self.crtcs)
            .chain(&self.connectors);
        all.into_iter().find(|object| object.id == id)
    }
}
