//! Prints the properties of all mode-setting objects of a card.

use std::collections::BTreeMap;

use covalent_tests::judge::kms_state::{KmsObject, KmsState};
use drm::Device as _;
use drm::control::{Device as _, ResourceHandle};

use crate::Card;

/// Prints the properties of all planes, CRTCs and connectors as JSON.
pub(crate) fn print(card: &Card) -> anyhow::Result<()> {
    // The process that opens a card without a DRM master becomes its master. This process only reads, so it drops master.
    let _ = card.release_master_lock();
    let resources = card.resource_handles()?;
    let planes = card.plane_handles()?.into_iter();
    let state = KmsState {
        planes: planes
            .map(|plane| object(card, plane))
            .collect::<anyhow::Result<_>>()?,
        crtcs: resources
            .crtcs()
            .iter()
            .map(|crtc| object(card, *crtc))
            .collect::<anyhow::Result<_>>()?,
        connectors: resources
            .connectors()
            .iter()
            .map(|connector| object(card, *connector))
            .collect::<anyhow::Result<_>>()?,
    };
    println!("{}", serde_json::to_string(&state)?);
    Ok(())
}

/// Reads the properties of a mode-setting object.
pub(crate) fn object(card: &Card, handle: impl ResourceHandle) -> anyhow::Result<KmsObject> {
    let mut properties = BTreeMap::new();
    for (property, value) in card.get_properties(handle)? {
        let info = card.get_property(property)?;
        properties.insert(info.name().to_string_lossy().into_owned(), value);
    }
    let handle: drm::control::RawResourceHandle = handle.into();
    Ok(KmsObject {
        id: handle.get(),
        properties,
    })
}
