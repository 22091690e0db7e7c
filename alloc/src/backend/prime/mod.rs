//! PRIME import of a card: whether the card imports the memory of other devices, and whether that memory must be contiguous. The
//! answer comes from queries of the card, and from what this crate knows of its driver's memory manager in the running kernel.
//! Every backend that imports through a DRM driver of the kernel uses this module.

mod sys;

use std::fmt;
#[cfg(any(feature = "drm", feature = "gbm"))]
use std::os::fd::AsFd;
#[cfg(any(feature = "drm", feature = "gbm"))]
use std::path::Path;

use covalent_machine::KernelVersion;
#[cfg(any(feature = "drm", feature = "gbm"))]
use covalent_machine::memory_manager::takes_scattered_pages;
use covalent_machine::memory_manager::{self, MemoryManager, reports_prime_for_all};
use drm::DriverCapability;
use serde::{Deserialize, Serialize};

#[cfg(any(feature = "drm", feature = "gbm"))]
use crate::constraint::Contiguity;
use crate::constraint::{Imports, Source};
use crate::model::DeviceIdentity;

const VIRTIO_GPU: &str = "virtio_gpu";

/// Whether a card imports the memory of other devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ImportAbility {
    /// The card imports the memory of other devices: it reports import, and no limit of its driver is known.
    Foreign,
    /// It is not known whether the card imports memory of other devices: this kernel reports import for every card, and this
    /// crate does not know the memory manager of the card's driver.
    Unknown {
        /// Why it is not known what the card imports.
        why: String,
    },
    /// The card imports only the memory that it allocated itself.
    OwnOnly {
        /// Why the card imports only its own memory.
        why: String,
    },
    /// The card imports nothing, not even its own memory.
    Nothing {
        /// Why the card imports nothing.
        why: String,
    },
}

impl fmt::Display for ImportAbility {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => out.write_str("it reports that it imports"),
            Self::Unknown { why } => write!(out, "it may import nothing: {why}"),
            Self::OwnOnly { why } => {
                write!(out, "it takes only buffers that it allocated itself: {why}")
            }
            Self::Nothing { why } => write!(out, "it imports nothing: {why}"),
        }
    }
}

impl ImportAbility {
    /// Returns whether the card imports only its own memory because it is a virtio-gpu that renders (`3D_FEATURES`). Then imports
    /// by Mesa have the same limit.
    pub(super) fn is_limited_by_rendering(&self) -> bool {
        matches!(self, Self::OwnOnly { why } if why.contains("3D_FEATURES"))
    }

    /// Returns the import constraint of a participant on the card `own`.
    pub(super) fn imports(&self, own: &DeviceIdentity) -> Imports {
        match self {
            Self::Foreign => Imports::Any,
            Self::Unknown { why } => Imports::Unknown {
                reason: why.clone(),
            },
            Self::OwnOnly { why } => Imports::only_from(own.clone(), why),
            Self::Nothing { why } => Imports::Nothing {
                reason: why.clone(),
            },
        }
    }
}

/// Returns [`Contiguity::Scattered`] if the card can import scattered pages; otherwise it is not known whether an imported buffer
/// must be contiguous.
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(super) fn contiguity(card: impl AsFd, driver: &str) -> Contiguity {
    if takes_scattered_pages(driver) || has_iommu(card) {
        Contiguity::Scattered
    } else {
        Contiguity::Unknown
    }
}

/// Returns whether the device has a shadow copy of the memory that it allocates; `None` if that is not known.
///
/// A virtio-gpu that renders has its textures on the host. Otherwise it displays the guest's memory, which the kernel transfers
/// to the host at each flip.
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(super) fn has_shadow_copy(card: impl AsFd, driver: &str) -> Option<bool> {
    if driver == VIRTIO_GPU {
        // A kernel without this parameter does not support rendering with virtio-gpu either.
        let renders = sys::virtgpu_parameter(card, sys::VIRTGPU_3D_FEATURES);
        return Some(renders.is_ok_and(|value| value != 0));
    }
    takes_scattered_pages(driver).then_some(false)
}

/// Whether the card is behind an IOMMU, which maps scattered pages to contiguous DMA addresses.
#[cfg(any(feature = "drm", feature = "gbm"))]
fn has_iommu(card: impl AsFd) -> bool {
    let Ok(status) = rustix::fs::fstat(card) else {
        return false;
    };
    let number = status.st_rdev;
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Path::new(&format!("/sys/dev/char/{major}:{minor}/device/iommu_group")).exists()
}

/// Returns the version of the running kernel; `None` if its release string does not begin with a version.
fn kernel() -> Option<KernelVersion> {
    let uname = rustix::system::uname();
    KernelVersion::of_release(&uname.release().to_string_lossy())
}

/// Returns whether this crate knows the memory manager of a card's driver in the running kernel.
#[cfg(feature = "vulkan")]
pub(super) fn knows_memory_manager(driver: &str) -> bool {
    kernel().is_some_and(|kernel| MemoryManager::of(driver, kernel).is_some())
}

/// Limits a source that allocates a card's own buffers to the devices that can import them in the running kernel.
pub(super) fn limit_source(source: &mut Source) {
    memory_manager::limit_source(source, kernel());
}

/// Returns the import ability of a card that reports DRM_PRIME_CAP_IMPORT, from its driver and the kernel's version.
fn ability_of_driver(driver: &str, kernel: Option<KernelVersion>) -> ImportAbility {
    let known = kernel.and_then(|kernel| MemoryManager::of(driver, kernel));
    if let Some(manager) = known {
        return match manager.import_limit() {
            Some(why) => ImportAbility::OwnOnly { why },
            None => ImportAbility::Foreign,
        };
    }
    match kernel {
        Some(kernel) if reports_prime_for_all(kernel) => ImportAbility::Unknown {
            why: format!(
                "Linux {kernel} reports import for every driver, and the memory manager of {driver} in this kernel is not known"
            ),
        },
        _ => ImportAbility::Foreign,
    }
}

/// Queries the import ability of a card.
///
/// # References
/// Linux, `drivers/gpu/drm/virtio/virtgpu_prime.c`: virtio-gpu imports a dma-buf of another device, as a guest blob, only if it
/// has RESOURCE_BLOB and does not render (a 3D context cannot use a guest blob of unknown layout).
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
                why: format!("the query of DRM_CAP_PRIME failed ({error})"),
            };
        }
    }
    if driver != VIRTIO_GPU {
        return ability_of_driver(driver, kernel());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_import_counts_only_where_the_kernel_or_the_driver_tells_more() {
        let of = |driver, release| ability_of_driver(driver, KernelVersion::of_release(release));
        assert_eq!(of("vkms", "6.12.117"), ImportAbility::Foreign);
        assert_eq!(of("bochs-drm", "7.3.4"), ImportAbility::Foreign);
        let ImportAbility::OwnOnly { why } = of("bochs-drm", "6.12.117+deb13-amd64") else {
            panic!("up to Linux 6.12, bochs-drm imports only its own buffers")
        };
        assert!(why.contains("VRAM"), "{why}");
        let unknown = of("newcomer", "6.12.0");
        let ImportAbility::Unknown { why } = &unknown else {
            panic!("since Linux 6.6 DRM_CAP_PRIME does not show whether a driver imports")
        };
        assert!(why.contains("newcomer"), "{why}");
        // Before Linux 6.6 each driver sets DRM_PRIME_CAP_IMPORT itself, so the capability can be relied on.
        assert_eq!(of("newcomer", "6.1.0"), ImportAbility::Foreign);
        let own = DeviceIdentity {
            driver: "newcomer".to_owned(),
            location: String::new(),
            node: String::new(),
        };
        assert!(matches!(unknown.imports(&own), Imports::Unknown { .. }));
    }
}
