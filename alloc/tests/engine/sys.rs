//! The engine's instance, device and queue.
#![allow(
    unsafe_code,
    reason = "an engine calls Vulkan functions through pointers that are loaded at run time"
)]

use std::ffi::{CStr, CString, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use covalent_alloc::backend::vulkan::ash::{self, ext, vk};
use covalent_alloc::backend::vulkan::{
    ApplicationDevice, Capabilities, Enabled, Features, Gpu, Supported, VulkanError, check,
};

use super::{Setup, ValidationMessages, failed};

const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";
const ENABLED: [vk::ValidationFeatureEnableEXT; 1] =
    [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];

/// An instance with one device and one queue.
pub(crate) struct Engine {
    pub(crate) device: ash::Device,
    pub(crate) queue: Arc<Mutex<vk::Queue>>,
    pub(crate) family: u32,
    pub(crate) validation_messages: ValidationMessages,
    pub(crate) physical: vk::PhysicalDevice,
    pub(crate) supported: Supported,
    pub(crate) instance: ash::Instance,
    setup: Setup,
    enabled: Vec<CString>,
    features: Features,
    messenger: Option<(ext::debug_utils::Instance, vk::DebugUtilsMessengerEXT)>,
    // The Vulkan loader stays loaded as long as this value exists.
    _entry: ash::Entry,
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: all objects of the device are destroyed before the engine is dropped. The validation layer reports any that is
        // left.
        unsafe {
            let _ = self.device.device_wait_idle();
            self.device.destroy_device(None);
            if let Some((functions, messenger)) = self.messenger.take() {
                functions.destroy_debug_utils_messenger(messenger, None);
            }
            self.instance.destroy_instance(None);
        }
    }
}

impl Engine {
    /// Creates an engine on the physical device with this index; `None` after the last one.
    pub(crate) fn open(number: usize, setup: Setup) -> Result<Option<Self>, VulkanError> {
        // SAFETY: the library is the system's Vulkan loader, by its fixed name.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| VulkanError::Loader {
            why: error.to_string(),
        })?;
        let validation_messages = ValidationMessages::default();
        let application = vk::ApplicationInfo::default()
            .application_name(c"engine")
            .api_version(setup.api_version);
        let mut checks = vk::ValidationFeaturesEXT::default().enabled_validation_features(&ENABLED);
        let mut messages = messenger(&validation_messages);
        let layers = [LAYER.as_ptr()];
        let extensions = [
            ext::debug_utils::NAME.as_ptr(),
            ext::validation_features::NAME.as_ptr(),
        ];
        let mut info = vk::InstanceCreateInfo::default().application_info(&application);
        if setup.is_validated {
            info = info
                .enabled_layer_names(&layers)
                .enabled_extension_names(&extensions)
                .push_next(&mut checks)
                .push_next(&mut messages);
        }
        // SAFETY: the structures are complete and outlive the call.
        let instance =
            unsafe { entry.create_instance(&info, None) }.map_err(failed("vkCreateInstance"))?;
        // SAFETY: the instance was created and is not destroyed yet.
        let listed = unsafe { instance.enumerate_physical_devices() }
            .map_err(failed("vkEnumeratePhysicalDevices"))?;
        let Some(physical) = listed.get(number).copied() else {
            // SAFETY: the instance has no objects.
            unsafe { instance.destroy_instance(None) };
            return Ok(None);
        };
        // SAFETY: the physical device is of this instance, and of the version that it was created for.
        let supported = unsafe { Supported::of(&instance, physical, setup.api_version) }?;
        let names: Vec<CString> = match setup.device_extensions {
            Some(names) => names.iter().map(|name| (*name).to_owned()).collect(),
            // A required extension that the device does not support is not enabled, and [`check`] reports it.
            None => supported
                .to_enable(setup.wanted, setup.api_version)
                .filter(|name| supported.extensions.contains(*name))
                .map(CStr::to_owned)
                .collect(),
        };
        let features = if setup.device_extensions.is_some() {
            Features::default()
        } else {
            supported.features
        };
        // SAFETY: the physical device is of this instance.
        let families = unsafe { instance.get_physical_device_queue_family_properties(physical) };
        let family = families
            .iter()
            .position(|family| family.queue_flags.contains(vk::QueueFlags::GRAPHICS))
            .and_then(|family| u32::try_from(family).ok())
            .unwrap_or(0);
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(family)
            .queue_priorities(&[1.0])];
        let pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default()
            .sampler_ycbcr_conversion(features.sampler_ycbcr_conversion);
        let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default()
            .timeline_semaphore(features.timeline_semaphore);
        let mut info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&pointers);
        if features.sampler_ycbcr_conversion {
            info = info.push_next(&mut ycbcr);
        }
        if features.timeline_semaphore {
            info = info.push_next(&mut timeline);
        }
        // SAFETY: the structures are complete and outlive the call; extensions and features are those that the device has.
        let device = unsafe { instance.create_device(physical, &info, None) }
            .map_err(failed("vkCreateDevice"))?;
        // SAFETY: the device was created with one queue of this family.
        let queue = unsafe { device.get_device_queue(family, 0) };
        let messenger = setup
            .is_validated
            .then(|| {
                let functions = ext::debug_utils::Instance::new(&entry, &instance);
                // SAFETY: the structure is complete, and its pointers are valid as long as the engine lives.
                let raw = unsafe {
                    functions.create_debug_utils_messenger(&messenger(&validation_messages), None)
                };
                raw.map(|raw| (functions, raw))
            })
            .transpose()
            .map_err(failed("vkCreateDebugUtilsMessengerEXT"))?;
        Ok(Some(Self {
            device,
            queue: Arc::new(Mutex::new(queue)),
            family,
            validation_messages,
            physical,
            supported,
            instance,
            setup,
            enabled: names,
            features,
            messenger,
            _entry: entry,
        }))
    }

    /// Returns whether the Vulkan loader has the validation layer.
    pub(crate) fn has_layer() -> bool {
        // SAFETY: the library is the system's Vulkan loader, by its fixed name.
        let Ok(entry) = (unsafe { ash::Entry::load() }) else {
            return false;
        };
        // SAFETY: the entry is loaded.
        let listed = unsafe { entry.enumerate_instance_layer_properties() };
        listed.is_ok_and(|listed| {
            listed
                .iter()
                .any(|layer| layer.layer_name_as_c_str() == Ok(LAYER))
        })
    }

    /// Checks that the device has everything for these capabilities.
    pub(crate) fn check(&self, wanted: Capabilities) -> Result<(), VulkanError> {
        self.with_enabled(|enabled| {
            // SAFETY: the physical device is of this instance, and of the version that it was created for.
            unsafe { check(&self.instance, self.physical, wanted, &enabled) }
        })
    }

    /// Passes the device to Covalent. The returned [`Gpu`] keeps the engine alive.
    pub(crate) fn adopt(self: &Arc<Self>, wanted: Capabilities) -> Result<Gpu, VulkanError> {
        self.with_enabled(|enabled| {
            let application = ApplicationDevice {
                instance: self.instance.clone(),
                physical_device: self.physical,
                device: self.device.clone(),
                queue: Arc::clone(&self.queue) as _,
                queue_family: self.family,
                enabled,
                owner: Some(Arc::clone(self) as _),
            };
            // SAFETY: the handles are of this engine, which the device keeps alive. The queue is used only under its lock.
            unsafe { Gpu::adopt(application, wanted) }
        })
    }

    fn with_enabled<T>(&self, act: impl FnOnce(Enabled<'_>) -> T) -> T {
        let names: Vec<&CStr> = self.enabled.iter().map(CString::as_c_str).collect();
        act(Enabled {
            api_version: self.setup.api_version,
            instance_extensions: &[],
            device_extensions: &names,
            features: self.features,
        })
    }

    /// Waits until the queue is idle. The call succeeds only if Covalent has not destroyed the device.
    pub(crate) fn is_alive(&self) -> Result<(), VulkanError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the queue is of this device, and is used under its lock.
        unsafe { self.device.queue_wait_idle(*queue) }.map_err(failed("vkQueueWaitIdle"))
    }
}

fn messenger<'a>(
    validation_messages: &ValidationMessages,
) -> vk::DebugUtilsMessengerCreateInfoEXT<'a> {
    vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(
            vk::DebugUtilsMessageSeverityFlagsEXT::WARNING
                | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR,
        )
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(on_message))
        .user_data(Arc::as_ptr(&validation_messages.0).cast_mut().cast())
}

unsafe extern "system" fn on_message(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the layer passes a message that is valid until this function returns, or NULL.
    let message = unsafe { data.as_ref() }
        .filter(|data| !data.p_message.is_null())
        // SAFETY: a message is a string that ends with a zero.
        .map(|data| unsafe { CStr::from_ptr(data.p_message) })
        .map(|message| message.to_string_lossy().into_owned());
    // SAFETY: the address is that of a list that lives as long as the engine, and is only borrowed here.
    let list = unsafe { user.cast::<Mutex<Vec<String>>>().as_ref() };
    if let (Some(message), Some(list)) = (message, list) {
        list.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(message);
    }
    vk::FALSE
}
