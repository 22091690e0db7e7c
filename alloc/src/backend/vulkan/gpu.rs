//! The Vulkan loader, and an open device.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use ash::{ext, khr, vk};

use super::sys::{self, Device, DeviceProperties, InstanceError, Physical};
use super::{ValidationMessages, VulkanError};
use crate::backend::prime::{self, ImportAbility};
use crate::backend::{FormatFilter, character_device, meminfo, node};
use crate::model::DeviceIdentity;

/// The device extensions without which a device cannot import or export a dma-buf as an image.
const REQUIRED_EXTENSIONS: [&CStr; 3] = [
    khr::external_memory_fd::NAME,
    ext::external_memory_dma_buf::NAME,
    ext::image_drm_format_modifier::NAME,
];

/// The extensions on which [`REQUIRED_EXTENSIONS`] depend. They are a part of Vulkan 1.2, but this crate creates instances of
/// Vulkan 1.1, where they must be enabled.
///
/// # References
/// VUID-vkCreateDevice-ppEnabledExtensionNames-01387.
const REQUIRED_DEPENDENCIES: [&CStr; 1] = [khr::image_format_list::NAME];

/// Optional device extensions that import and export semaphores and fences.
const SYNC_EXTENSIONS: [&CStr; 2] = [
    khr::external_semaphore_fd::NAME,
    khr::external_fence_fd::NAME,
];

/// The Vulkan loader of this machine.
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
    /// Loads the Vulkan loader of this machine and creates an instance.
    ///
    /// # Errors
    /// [`VulkanError::Loader`] if the machine has no Vulkan loader; [`VulkanError::Lacks`] if the loader supports only Vulkan
    /// 1.0; [`VulkanError::Call`].
    pub fn load() -> Result<Self, VulkanError> {
        Self::load_with(None)
    }

    /// Creates an instance as [`Vulkan::load`] does, with VK_LAYER_KHRONOS_validation and its synchronization validation, for the
    /// tests of this crate. Every Vulkan call then takes several times as long.
    ///
    /// # Errors
    /// The errors of [`Vulkan::load`]; [`VulkanError::Lacks`] if the layer is not installed.
    pub fn load_validated() -> Result<(Self, ValidationMessages), VulkanError> {
        let messages = ValidationMessages::default();
        Ok((Self::load_with(Some(&messages))?, messages))
    }

    fn load_with(messages: Option<&ValidationMessages>) -> Result<Self, VulkanError> {
        let loader = || "the Vulkan loader".to_owned();
        match sys::Instance::new(messages) {
            Ok(instance) => Ok(Self { instance }),
            Err(InstanceError::Loader(error)) => Err(VulkanError::Loader {
                why: error.to_string(),
            }),
            Err(InstanceError::Old) => Err(VulkanError::Lacks {
                device: loader(),
                lacks: "Vulkan 1.1".to_owned(),
            }),
            Err(InstanceError::NoLayer) => Err(VulkanError::Lacks {
                device: loader(),
                lacks: "VK_LAYER_KHRONOS_validation (Debian's package vulkan-validationlayers)"
                    .to_owned(),
            }),
            Err(InstanceError::Call(result)) => Err(VulkanError::Call {
                device: loader(),
                operation: "vkCreateInstance",
                result,
                hint: result_hint(result),
            }),
        }
    }

    /// Opens every device that can share images as dma-bufs, and returns for each other device the reason why it cannot.
    ///
    /// # Errors
    /// [`VulkanError::Call`] if the devices cannot be listed.
    pub fn gpus(&self) -> Result<(Vec<Gpu>, Vec<VulkanError>), VulkanError> {
        let listed = Physical::list(&self.instance).map_err(|result| VulkanError::Call {
            device: "the Vulkan loader".to_owned(),
            operation: "vkEnumeratePhysicalDevices",
            result,
            hint: result_hint(result),
        })?;
        let mut open = Vec::new();
        let mut unavailable = Vec::new();
        for physical in listed {
            match Gpu::open(&physical) {
                Ok(gpu) => open.push(gpu),
                Err(error) => unavailable.push(error),
            }
        }
        Ok((open, unavailable))
    }
}

/// An open Vulkan device. Clones share it.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    /// The filter that excludes formats from queries of the driver when all its formats are listed.
    filter: FormatFilter,
}

struct Inner {
    device: Arc<Device>,
    name: String,
    identity: DeviceIdentity,
    /// The import limits of the DRM device, if the Vulkan driver imports through it (Venus through virtio-gpu).
    import: Option<ImportAbility>,
    is_cpu: bool,
    is_discrete: bool,
    /// The queue family that owns an image while other devices use it: VK_QUEUE_FAMILY_FOREIGN_EXT if the driver supports it,
    /// otherwise VK_QUEUE_FAMILY_EXTERNAL.
    external_family: u32,
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
            move |result| VulkanError::Call {
                device,
                operation,
                result,
                hint: result_hint(result),
            }
        };
        let extensions = physical.extensions().map_err(failed(
            "vkEnumerateDeviceExtensionProperties",
            "a Vulkan device",
        ))?;
        let properties = physical.properties(&extensions);
        let lacks = |what: &str| VulkanError::Lacks {
            device: properties.name.clone(),
            lacks: what.to_owned(),
        };
        if properties.api_version < vk::API_VERSION_1_1 {
            return Err(lacks("Vulkan 1.1"));
        }
        let mut wanted = REQUIRED_EXTENSIONS.to_vec();
        wanted.extend(REQUIRED_DEPENDENCIES.iter().filter(|name| {
            // A device of Vulkan 1.2 need not list an extension that is a part of Vulkan 1.2.
            properties.api_version < vk::API_VERSION_1_2 || extensions.contains(**name)
        }));
        if let Some(missing) = wanted.iter().find(|name| !extensions.contains(**name)) {
            let why = missing_extension_reason(&properties.driver, properties.is_cpu);
            return Err(lacks(&format!("{}{why}", missing.to_string_lossy())));
        }
        let has_foreign = extensions.contains(ext::queue_family_foreign::NAME);
        if has_foreign {
            wanted.push(ext::queue_family_foreign::NAME);
        }
        wanted.extend(
            SYNC_EXTENSIONS
                .iter()
                .filter(|name| extensions.contains(**name)),
        );
        if properties.sync.timeline {
            wanted.push(khr::timeline_semaphore::NAME);
        }
        let device = Device::open(physical, &wanted, &properties)
            .map_err(failed("vkCreateDevice", &properties.name))?;
        let (identity, import) = identity(&properties, &extensions);
        Ok(Self::of(device, properties, identity, import, has_foreign))
    }

    /// Wraps an open device with these properties.
    pub(super) fn of(
        device: Arc<Device>,
        properties: DeviceProperties,
        identity: DeviceIdentity,
        import: Option<ImportAbility>,
        has_foreign: bool,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                device,
                identity,
                import,
                name: properties.name,
                is_cpu: properties.is_cpu,
                is_discrete: properties.is_discrete,
                external_family: if has_foreign {
                    vk::QUEUE_FAMILY_FOREIGN_EXT
                } else {
                    vk::QUEUE_FAMILY_EXTERNAL
                },
            }),
            filter: FormatFilter::default(),
        }
    }

    /// Sets the filter that excludes formats from queries of the driver when all its formats are listed.
    #[must_use]
    pub fn with_format_filter(self, filter: FormatFilter) -> Self {
        Self { filter, ..self }
    }

    pub(super) fn filter(&self) -> &FormatFilter {
        &self.filter
    }

    /// Returns the device's name for display (VkPhysicalDeviceProperties::deviceName).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the identity of the device: the DRM device if the driver names it (VK_EXT_physical_device_drm), otherwise the
    /// driver's name with the device's UUID.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    /// Returns whether the device is a CPU (VK_PHYSICAL_DEVICE_TYPE_CPU), such as lavapipe.
    #[must_use]
    pub fn is_cpu(&self) -> bool {
        self.inner.is_cpu
    }

    /// Returns whether the device is a discrete GPU (VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU).
    pub(super) fn is_discrete(&self) -> bool {
        self.inner.is_discrete
    }

    /// Returns the import limits of the DRM device, if the Vulkan driver imports through it (Venus through virtio-gpu); `None`
    /// for other drivers.
    #[must_use]
    pub fn import_ability(&self) -> Option<&ImportAbility> {
        self.inner.import.as_ref()
    }

    /// Whether both values are clones of the same open device.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner.device, &other.inner.device)
    }

    pub(super) fn device(&self) -> &Arc<Device> {
        &self.inner.device
    }

    /// Returns the queue family that owns an image while other devices use it: VK_QUEUE_FAMILY_FOREIGN_EXT, or
    /// VK_QUEUE_FAMILY_EXTERNAL if the driver does not support the former.
    #[must_use]
    pub(crate) fn external_family(&self) -> u32 {
        self.inner.external_family
    }

    pub(super) fn supports_sync_file(&self) -> bool {
        let sync = self.device_sync();
        sync.semaphore_from_sync_file && sync.semaphore_to_sync_file
    }

    /// Returns a function that makes the error for a failed Vulkan call.
    pub(super) fn failed(&self, operation: &'static str) -> impl Fn(vk::Result) -> VulkanError {
        let device = self.inner.name.clone();
        move |result| VulkanError::Call {
            device: device.clone(),
            operation,
            result,
            hint: result_hint(result),
        }
    }
}

/// Returns the probable cause of a Vulkan result code, for the end of an error message; empty if none is known.
fn result_hint(result: vk::Result) -> String {
    match result {
        vk::Result::ERROR_OUT_OF_HOST_MEMORY
        | vk::Result::ERROR_OUT_OF_DEVICE_MEMORY
        | vk::Result::ERROR_TOO_MANY_OBJECTS
        | vk::Result::ERROR_INITIALIZATION_FAILED => meminfo::fd_limit_error()
            .map_or_else(String::new, |error| {
                format!("; this process has no file descriptors left ({error}): close some, or raise its limit (ulimit -n)")
            }),
        vk::Result::ERROR_INCOMPATIBLE_DRIVER => {
            "; no Vulkan driver is installed (Debian's package mesa-vulkan-drivers contains Mesa's drivers)"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// Returns the known reason why a driver lacks a required extension, for the end of an error message.
///
/// # References
/// Mesa, `src/gallium/frontends/lavapipe`: dma-bufs are created with `/dev/udmabuf`; `src/virtio/vulkan`: the extensions are
/// those of the host's driver.
fn missing_extension_reason(driver: &str, is_cpu: bool) -> &'static str {
    if driver.contains("venus") {
        " (Venus has the extensions of the host's driver: a driver that renders on the CPU needs /dev/udmabuf on the host)"
    } else if is_cpu {
        " (drivers that render on the CPU need /dev/udmabuf for it)"
    } else {
        ""
    }
}

/// Returns the identity of a physical device, and which memory its DRM device imports.
pub(super) fn identity(
    properties: &DeviceProperties,
    extensions: &BTreeSet<CString>,
) -> (DeviceIdentity, Option<ImportAbility>) {
    // The render node comes first, because a process that opens a primary node without a DRM master becomes DRM master.
    let nodes = [properties.render, properties.primary];
    if extensions.contains(ext::physical_device_drm::NAME) {
        for (major, minor) in nodes.into_iter().flatten() {
            if let Some(found) = of_node(major, minor) {
                return found;
            }
        }
    }
    let uuid: String = properties
        .uuid
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let identity = DeviceIdentity {
        driver: if properties.driver.is_empty() {
            "vulkan".to_owned()
        } else {
            properties.driver.clone()
        },
        location: format!("uuid:{uuid}"),
        node: String::new(),
    };
    (identity, None)
}

fn of_node(major: u32, minor: u32) -> Option<(DeviceIdentity, Option<ImportAbility>)> {
    let path = character_device::path_of(major, minor)?;
    let flags = rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(&path)
        .ok()?;
    let identity = node::identity(file.as_fd(), &path).ok()?;
    let import = prime::import_ability(&Node(file), &identity.driver);
    let import = import.is_limited_by_rendering().then_some(import);
    Some((identity, import))
}

/// An open DRM device node, which is used only for queries.
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
        let properties = DeviceProperties {
            name: "llvmpipe (LLVM 19)".to_owned(),
            driver: "llvmpipe".to_owned(),
            api_version: vk::API_VERSION_1_3,
            uuid: [0xab; 16],
            is_cpu: true,
            is_discrete: false,
            primary: None,
            render: None,
            has_ycbcr: true,
            has_syncobj_timelines: false,
            sync: DeviceSync::default(),
        };
        let (found, import) = identity(&properties, &BTreeSet::new());
        assert_eq!(import, None);
        assert_eq!(found.driver, "llvmpipe");
        assert_eq!(found.location, format!("uuid:{}", "ab".repeat(16)));
    }

    #[test]
    fn missing_extension_names_its_cause_only_when_it_is_known() {
        assert!(missing_extension_reason("venus", true).contains("on the host"));
        assert!(missing_extension_reason("llvmpipe", true).contains("/dev/udmabuf"));
        assert_eq!(missing_extension_reason("radv", false), "");
    }

    #[test]
    fn hint_of_a_result_without_a_known_cause_is_empty() {
        assert_eq!(result_hint(vk::Result::ERROR_FORMAT_NOT_SUPPORTED), "");
        assert_eq!(result_hint(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY), "");
    }
}
