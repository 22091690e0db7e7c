//! Whether a card can import what another device allocated, and in how many pieces: asked of the card, never judged by its
//! name alone. Every backend that imports through the card's driver asks here.

mod sys;

use std::fmt;
#[cfg(any(feature = "drm", feature = "gbm"))]
use std::os::fd::AsFd;
#[cfg(any(feature = "drm", feature = "gbm"))]
use std::path::Path;

use drm::DriverCapability;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "drm", feature = "gbm"))]
use crate::constraint::Contiguity;
use crate::constraint::Imports;
use crate::model::DeviceIdentity;

const VIRTIO_GPU: &str = "virtio_gpu";

/// Drivers that reach their memory page by page: through tables of their own, or with the processor's help. What is not
/// listed may need one run of addresses, and is said to be unknown.
#[cfg(any(feature = "drm", feature = "gbm"))]
const PAGED: [&str; 12] = [
    "amdgpu",
    "bochs-drm",
    "gud",
    "i915",
    "nouveau",
    "radeon",
    "simpledrm",
    "udl",
    "vgem",
    VIRTIO_GPU,
    "vkms",
    "xe",
];

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

impl ImportAbility {
    /// Whether it is limited because the card renders: then its driver does the importing, whoever asks.
    pub(super) fn is_of_a_renderer(&self) -> bool {
        matches!(self, Self::OwnOnly { why } if why.contains("3D_FEATURES"))
    }

    /// The same as a demand of a participant on the card `own`.
    pub(super) fn demand(&self, own: &DeviceIdentity) -> Imports {
        match self {
            Self::Foreign => Imports::Any,
            Self::OwnOnly { why } => Imports::only_from(own.clone(), why),
            Self::Nothing { why } => Imports::Nothing {
                reason: why.clone(),
            },
        }
    }
}

/// In how many pieces the card's driver takes memory.
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(super) fn contiguity(card: impl AsFd, driver: &str) -> Contiguity {
    if PAGED.contains(&driver) || has_iommu(card) {
        Contiguity::Scattered
    } else {
        Contiguity::Unknown
    }
}

/// Whether the card's device works on a copy of its own beside the memory that it allocates; none where nothing tells.
///
/// A virtio-gpu that renders has its textures on the host. Without that it shows the guest's memory, which the kernel brings to
/// the host at each flip.
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(super) fn has_shadow_copy(card: impl AsFd, driver: &str) -> Option<bool> {
    if driver == VIRTIO_GPU {
        // A kernel that does not know the question knows no rendering either.
        let renders = sys::virtgpu_parameter(card, sys::VIRTGPU_3D_FEATURES);
        return Some(renders.is_ok_and(|value| value != 0));
    }
    PAGED.contains(&driver).then_some(false)
}

/// Whether an IOMMU stands between the card and memory, so that scattered pages look contiguous to it.
#[cfg(any(feature = "drm", feature = "gbm"))]
fn has_iommu(card: impl AsFd) -> bool {
    let Ok(status) = rustix::fs::fstat(card) else {
        return false;
    };
    let number = status.st_rdev;
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Path::new(&format!("/sys/dev/char/{major}:{minor}/device/iommu_group")).exists()
}

/// Asks the card.
///
/// # References
/// Linux, `drivers/gpu/drm/virtio/virtgpu_prime.c`: a foreign dma-buf becomes a guest blob only where the device has
/// RESOURCE_BLOB, and only where it does not render (a 3D context cannot use a guest blob of unknown layout).
pub(super) fn import_ability(card: &impl drm::Device, driver: &str) -> ImportAbility {
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
    if driver != VIRTIO_GPU {
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
