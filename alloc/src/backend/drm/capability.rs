//! Whether a card can import what another device allocated: asked of the card, never judged by its name alone.

use std::fmt;

use drm::{Device as _, DriverCapability};
use serde::{Deserialize, Serialize};

use super::card::Card;
use super::sys;

/// What a card says of importing foreign memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ImportAbility {
    /// It imports, as far as it says.
    Foreign,
    /// It takes back only what it allocated itself.
    OwnOnly {
        /// Why, in words.
        why: String,
    },
    /// It imports nothing, not even its own.
    Nothing {
        /// Why, in words.
        why: String,
    },
}

impl fmt::Display for ImportAbility {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => out.write_str("it says that it imports"),
            Self::OwnOnly { why } => {
                write!(out, "it takes only buffers that it allocated itself: {why}")
            }
            Self::Nothing { why } => write!(out, "it imports nothing: {why}"),
        }
    }
}

/// Asks the card.
///
/// # References
/// Linux, `drivers/gpu/drm/virtio/virtgpu_prime.c`: a foreign dma-buf becomes a guest blob only where the device has
/// RESOURCE_BLOB, and only where it does not render (a 3D context cannot use a guest blob of unknown layout).
pub(super) fn import_ability(card: &Card) -> ImportAbility {
    /// `DRM_PRIME_CAP_IMPORT`.
    const IMPORT: u64 = 1;
    match card.get_driver_capability(DriverCapability::Prime) {
        Ok(capability) if capability & IMPORT != 0 => {}
        Ok(_) => {
            return ImportAbility::Nothing {
                why: "DRM_CAP_PRIME lacks the import bit".to_owned(),
            };
        }
        Err(error) => {
            return ImportAbility::Nothing {
                why: format!("DRM_CAP_PRIME is not answered ({error})"),
            };
        }
    }
    if card.driver() != "virtio_gpu" {
        return ImportAbility::Foreign;
    }
    let parameter = |name| sys::virtgpu_parameter(card, name).is_ok_and(|value| value != 0);
    let blob = parameter(sys::VIRTGPU_RESOURCE_BLOB);
    let renders = parameter(sys::VIRTGPU_3D_FEATURES);
    match (blob, renders) {
        (true, false) => ImportAbility::Foreign,
        (false, _) => ImportAbility::OwnOnly {
            why: "this virtio-gpu has no RESOURCE_BLOB (QEMU: blob=on, which needs /dev/udmabuf on the host)".to_owned(),
        },
        (true, true) => ImportAbility::OwnOnly {
            why: "this virtio-gpu renders (3D_FEATURES), and its driver then imports no foreign memory".to_owned(),
        },
    }
}
