//! The loader, and a device that is open.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use ash::{ext, khr, vk};

use super::sys::{self, Device, Facts, NoInstance, Physical};
use super::{Complaints, VulkanError};
use crate::backend::prime::{self, ImportAbility};
use crate::backend::{machine, node};
use crate::model::DeviceIdentity;

/// What an image in a dma-buf needs.
const NEEDED: [&CStr; 3] = [
    khr::external_memory_fd::NAME,
    ext::external_memory_dma_buf::NAME,
    ext::image_drm_format_modifier::NAME,
];

/// What [`NEEDED`] depends on. Vulkan 1.2 has taken it in, but instances here are of 1.1, in which it is an extension still.
///
/// # References
/// VUID-vkCreateDevice-ppEnabledExtensionNames-01387.
const BELOW_NEEDED: [&CStr; 1] = [khr::image_format_list::NAME];

/// How moments come and go, where the driver has it.
const OF_MOMENTS: [&CStr; 2] = [
    khr::external_semaphore_fd::NAME,
    khr::external_fence_fd::NAME,
];

/// The machine's Vulkan loader.
#[derive(Clone)]
pub struct Vulkan {
    instance: Arc<sys::Instance>,
}

impl fmt::Debug for Vulkan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Vulkan").finish_non_exhaustive()
    }
}

impl Vulkan {
    /// Opens the machine's Vulkan loader.
    ///
    /// # Errors
    /// [`VulkanError::Loader`] where there is none; [`VulkanError::Lacks`] for one of Vulkan 1.0; [`VulkanError::Call`].
    pub fn load() -> Result<Self, VulkanError> {
        Self::load_with(None)
    }

    /// Opens it with VK_LAYER_KHRONOS_validation and its checks of synchronisation, for who checks this crate: every call takes
    /// several times as long.
    ///
    /// # Errors
    /// As [`Vulkan::load`]; [`VulkanError::Lacks`] where the layer is not on this machine.
    pub fn load_validated() -> Result<(Self, Complaints), VulkanError> {
        let complaints = Complaints::default();
        Ok((Self::load_with(Some(&complaints))?, complaints))
    }

    fn load_with(complaints: Option<&Complaints>) -> Result<Self, VulkanError> {
        let loader = || "the Vulkan loader".to_owned();
        match sys::Instance::new(complaints) {
            Ok(instance) => Ok(Self { instance }),
            Err(NoInstance::Loader(error)) => Err(VulkanError::Loader {
                why: error.to_string(),
            }),
            Err(NoInstance::Old) => Err(VulkanError::Lacks {
                device: loader(),
                lacks: "Vulkan 1.1".to_owned(),
            }),
            Err(NoInstance::NoLayer) => Err(VulkanError::Lacks {
                device: loader(),
                lacks: "VK_LAYER_KHRONOS_validation (Debian's package vulkan-validationlayers)"
                    .to_owned(),
            }),
            Err(NoInstance::Call(answer)) => Err(VulkanError::Call {
                device: loader(),
                operation: "vkCreateInstance",
                answer,
                hint: hint(answer),
            }),
        }
    }

    /// Opens every device that shares images, and says of the others why they do not.
    ///
    /// # Errors
    /// [`VulkanError::Call`] where the devices cannot be listed.
    pub fn gpus(&self) -> Result<(Vec<Gpu>, Vec<VulkanError>), VulkanError> {
        let listed = Physical::list(&self.instance).map_err(|answer| VulkanError::Call {
            device: "the Vulkan loader".to_owned(),
            operation: "vkEnumeratePhysicalDevices",
            answer,
            hint: hint(answer),
        })?;
        let mut open = Vec::new();
        let mut closed = Vec::new();
        for physical in listed {
            match Gpu::open(&physical) {
                Ok(gpu) => open.push(gpu),
                Err(error) => closed.push(error),
            }
        }
        Ok((open, closed))
    }
}

/// An open Vulkan device. Clones share it.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

struct Inner {
    device: Arc<Device>,
    name: String,
    identity: DeviceIdentity,
    /// What its card says of importing, where the driver imports through a card that limits it.
    import: Option<ImportAbility>,
    is_processor: bool,
    /// Who owns an image while others use it: VK_QUEUE_FAMILY_FOREIGN_EXT where the driver knows it.
    outside: u32,
}

impl fmt::Debug for Gpu {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gpu")
            .field("name", &self.inner.name)
            .field("identity", &self.inner.identity)
            .finish_non_exhaustive()
    }
}

impl Gpu {
    fn open(physical: &Physical) -> Result<Self, VulkanError> {
        let failed = |operation, device: &str| {
            let device = device.to_owned();
            move |answer| VulkanError::Call {
                device,
                operation,
                answer,
                hint: hint(answer),
            }
        };
        let extensions = physical.extensions().map_err(failed(
            "vkEnumerateDeviceExtensionProperties",
            "a Vulkan device",
        ))?;
        let facts = physical.facts(&extensions);
        let lacks = |what: &str| VulkanError::Lacks {
            device: facts.name.clone(),
            lacks: what.to_owned(),
        };
        if facts.api_version < vk::API_VERSION_1_1 {
            return Err(lacks("Vulkan 1.1"));
        }
        let mut wanted = NEEDED.to_vec();
        wanted.extend(BELOW_NEEDED.iter().filter(|name| {
            // A device of 1.2 that does not list it any more has it all the same.
            facts.api_version < vk::API_VERSION_1_2 || extensions.contains(**name)
        }));
        if let Some(missing) = wanted.iter().find(|name| !extensions.contains(**name)) {
            let why = absent(&facts.driver, facts.is_processor);
            return Err(lacks(&format!("{}{why}", missing.to_string_lossy())));
        }
        let has_foreign = extensions.contains(ext::queue_family_foreign::NAME);
        if has_foreign {
            wanted.push(ext::queue_family_foreign::NAME);
        }
        wanted.extend(OF_MOMENTS.iter().filter(|name| extensions.contains(**name)));
        if facts.moments.timeline {
            wanted.push(khr::timeline_semaphore::NAME);
        }
        let device = Device::open(physical, &wanted, &facts)
            .map_err(failed("vkCreateDevice", &facts.name))?;
        let (identity, import) = identity(&facts, &extensions);
        Ok(Self::of(device, facts, identity, import, has_foreign))
    }

    /// Wraps a device of which these facts are known.
    pub(super) fn of(
        device: Arc<Device>,
        facts: Facts,
        identity: DeviceIdentity,
        import: Option<ImportAbility>,
        has_foreign: bool,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                device,
                identity,
                import,
                name: facts.name,
                is_processor: facts.is_processor,
                outside: if has_foreign {
                    vk::QUEUE_FAMILY_FOREIGN_EXT
                } else {
                    vk::QUEUE_FAMILY_EXTERNAL
                },
            }),
        }
    }

    /// What the device calls itself to people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Which device it is: the DRM device where the driver tells (VK_EXT_physical_device_drm), and else the driver with the
    /// device's UUID.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    /// Whether the work is done on the processor.
    #[must_use]
    pub fn is_processor(&self) -> bool {
        self.inner.is_processor
    }

    /// What its card says of importing, where the driver imports through a card that limits it (Venus).
    #[must_use]
    pub fn import_ability(&self) -> Option<&ImportAbility> {
        self.inner.import.as_ref()
    }

    /// Whether both are one device, and not two that were made of one driver.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner.device, &other.inner.device)
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.inner.device
    }

    pub(super) fn outside(&self) -> u32 {
        self.inner.outside
    }

    pub(super) fn speaks_sync_file(&self) -> bool {
        let moments = self.device_sync();
        moments.semaphore_from_sync_file && moments.semaphore_to_sync_file
    }

    pub(super) fn failed(&self, operation: &'static str) -> impl Fn(vk::Result) -> VulkanError {
        let device = self.inner.name.clone();
        move |answer| VulkanError::Call {
            device: device.clone(),
            operation,
            answer,
            hint: hint(answer),
        }
    }
}

/// What may stand behind an answer that says nothing of its cause.
fn hint(answer: vk::Result) -> String {
    match answer {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY
        | vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
        | vk::Result::ERROR_TOO_MANY_OBJECTS
        | vk::Result::ERROR_INITIALIZATION_FAILED => machine::fds_are_out()
            .map_or_else(String::new, |error| {
                format!("; this process has no fds left ({error})")
            }),
        vk::Result::ERROR_INCOMPATIBLE_DRIVER => {
            "; no driver is installed (Debian's package mesa-vulkan-drivers brings Mesa's)"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// Says why a driver may lack what others have, where that is known.
///
/// # References
/// Mesa, `src/gallium/frontends/lavapipe`: dma-bufs are made by `/dev/udmabuf`; `src/virtio/vulkan`: extensions are those of the
/// host's driver.
fn absent(driver: &str, is_processor: bool) -> &'static str {
    if driver.contains("venus") {
        " (Venus has what the host's driver has: one that works on the processor needs /dev/udmabuf on the host)"
    } else if is_processor {
        " (drivers that work on the processor need /dev/udmabuf for it)"
    } else {
        ""
    }
}

pub(super) fn identity(
    facts: &Facts,
    extensions: &BTreeSet<CString>,
) -> (DeviceIdentity, Option<ImportAbility>) {
    // The render node first: whoever opens a primary node that nobody drives becomes its master.
    let nodes = [facts.render, facts.primary];
    if extensions.contains(ext::physical_device_drm::NAME) {
        for (major, minor) in nodes.into_iter().flatten() {
            if let Some(found) = of_node(major, minor) {
                return found;
            }
        }
    }
    let uuid: String = facts
        .uuid
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let identity = DeviceIdentity {
        driver: if facts.driver.is_empty() {
            "vulkan".to_owned()
        } else {
            facts.driver.clone()
        },
        location: format!("uuid:{uuid}"),
        node: String::new(),
    };
    (identity, None)
}

fn of_node(major: u32, minor: u32) -> Option<(DeviceIdentity, Option<ImportAbility>)> {
    let path = node::path_of(major, minor)?;
    let flags = rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(&path)
        .ok()?;
    let identity = node::identity(file.as_fd(), &path).ok()?;
    let import = prime::import_ability(&Node(file), &identity.driver);
    let import = import.is_of_a_renderer().then_some(import);
    Some((identity, import))
}

/// A DRM node that is open to be asked.
struct Node(File);

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
impl drm::Device for Node {}

#[cfg(test)]
mod tests {
    use super::super::sync::DeviceSync;
    use super::*;

    #[test]
    fn device_without_a_node_is_named_by_driver_and_uuid() {
        let facts = Facts {
            name: "llvmpipe (LLVM 19)".to_owned(),
            driver: "llvmpipe".to_owned(),
            api_version: vk::API_VERSION_1_3,
            uuid: [0xab; 16],
            is_processor: true,
            primary: None,
            render: None,
            has_ycbcr: true,
            speaks_syncobj: false,
            moments: DeviceSync::default(),
        };
        let (found, import) = identity(&facts, &BTreeSet::new());
        assert_eq!(import, None);
        assert_eq!(found.driver, "llvmpipe");
        assert_eq!(found.location, format!("uuid:{}", "ab".repeat(16)));
    }

    #[test]
    fn lack_of_an_extension_is_explained_where_its_cause_is_known() {
        assert!(absent("venus", true).contains("on the host"));
        assert!(absent("llvmpipe", true).contains("/dev/udmabuf"));
        assert_eq!(absent("radv", false), "");
    }

    #[test]
    fn answer_that_names_no_cause_has_none_invented() {
        assert_eq!(hint(vk::Result::ERROR_FORMAT_NOT_SUPPORTED), "");
        assert_eq!(hint(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY), "");
    }
}
