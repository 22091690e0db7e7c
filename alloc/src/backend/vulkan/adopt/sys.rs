//! Functions that take the Vulkan handles of an application.
#![allow(
    unsafe_code,
    reason = "the validity of an application's Vulkan handles cannot be checked"
)]

use std::collections::BTreeSet;
use std::ffi::CStr;

use ash::{khr, vk};

use super::{ApplicationDevice, adopted, require};
use crate::backend::vulkan::requirement::{
    Capabilities, Enabled, Features, MINIMUM_API_VERSION, Supported,
};
use crate::backend::vulkan::{Gpu, VulkanError};

impl Supported {
    /// Queries what a physical device supports, before a device is created. `api_version` is the version that the instance
    /// requested.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    ///
    /// # Safety
    /// The physical device is of this instance, which is valid and was created with this API version.
    pub unsafe fn of(
        instance: &ash::Instance,
        physical_device: vk::PhysicalDevice,
        api_version: u32,
    ) -> Result<Self, VulkanError> {
        // SAFETY: the caller guarantees that the handles are valid and belong together, as documented above.
        let plain = unsafe { instance.get_physical_device_properties(physical_device) };
        let name = plain.device_name_as_c_str().map_or_else(
            |_| String::new(),
            |name| name.to_string_lossy().into_owned(),
        );
        // SAFETY: the caller guarantees that the handles are valid and belong together, as documented above.
        let listed = unsafe { instance.enumerate_device_extension_properties(physical_device) }
            .map_err(|result| VulkanError::Call {
                device: name.clone(),
                operation: "vkEnumerateDeviceExtensionProperties",
                result,
                hint: String::new(),
            })?;
        let extensions: BTreeSet<_> = listed
            .iter()
            .filter_map(|extension| extension.extension_name_as_c_str().ok())
            .map(CStr::to_owned)
            .collect();
        let version = plain.api_version.min(api_version);
        let mut features = Features::default();
        if version >= MINIMUM_API_VERSION {
            let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default();
            let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
            let mut chain = vk::PhysicalDeviceFeatures2::default().push_next(&mut ycbcr);
            if version >= vk::API_VERSION_1_2 || extensions.contains(khr::timeline_semaphore::NAME)
            {
                chain = chain.push_next(&mut timeline);
            }
            // SAFETY: the caller guarantees that the handles are valid and belong together; the chain contains only structures of
            // the API version, or of an extension that the device supports.
            unsafe { instance.get_physical_device_features2(physical_device, &mut chain) };
            features = Features {
                timeline_semaphore: timeline.timeline_semaphore == vk::TRUE,
                sampler_ycbcr_conversion: ycbcr.sampler_ycbcr_conversion == vk::TRUE,
            };
        }
        Ok(Self {
            name,
            api_version: plain.api_version,
            extensions,
            features,
        })
    }
}

/// Checks that an instance and a device have everything that `wanted` requires. [`Gpu::adopt`] makes the same check.
///
/// # Errors
/// [`VulkanError::Missing`], which lists each missing requirement with its reason and remedy; [`VulkanError::Call`].
///
/// # Safety
/// The physical device is of this instance, which is valid and was created with `enabled.api_version`.
pub unsafe fn check(
    instance: &ash::Instance,
    physical_device: vk::PhysicalDevice,
    wanted: Capabilities,
    enabled: &Enabled<'_>,
) -> Result<(), VulkanError> {
    // SAFETY: the caller guarantees that the handles are valid and belong together, as documented above.
    let supported = unsafe { Supported::of(instance, physical_device, enabled.api_version) }?;
    require(wanted, enabled, &supported)
}

impl Gpu {
    /// Makes a [`Gpu`] of an application's device. No object of the application is destroyed by this crate.
    ///
    /// Extensions and features that the application has not enabled are not used. For example, a device without
    /// VK_KHR_external_semaphore_fd is accepted if [`Capabilities::SYNC_FILE`] is not `wanted`, and then does not declare
    /// sync_files.
    ///
    /// # Errors
    /// [`VulkanError::Missing`], which lists everything that is missing; [`VulkanError::Unusable`] for a queue family that the
    /// device does not have or that cannot copy images; [`VulkanError::Call`].
    ///
    /// # Safety
    /// - Instance, physical device, device and queue are valid and belong together; the queue is of `queue_family`.
    /// - These Vulkan objects are not destroyed before this value, its clones and every object that is created from them:
    ///   [`Image`](super::super::Image)s, semaphores, fences, timelines, [`Submitted`](super::super::Submitted) work and the work
    ///   that [`Gpu::finish`] waits for. The `owner` is dropped after all of these.
    /// - `enabled` lists nothing that was not enabled.
    /// - Every use of the queue (vkQueueSubmit, vkQueuePresentKHR, vkQueueWaitIdle) happens in
    ///   [`QueueLock::with_queue`](super::super::QueueLock::with_queue) of this lock, and vkDeviceWaitIdle is called while no
    ///   work is being submitted.
    ///
    /// # References
    /// Vulkan, "Object Lifetime" and "Threading Behavior"; VUID-vkDestroyDevice-device-05137.
    pub unsafe fn adopt(
        application: ApplicationDevice<'_>,
        wanted: Capabilities,
    ) -> Result<Self, VulkanError> {
        // SAFETY: the caller guarantees that the handles are valid and belong together, as documented above.
        let supported = unsafe {
            Supported::of(
                &application.instance,
                application.physical_device,
                application.enabled.api_version,
            )
        }?;
        adopted(application, wanted, &supported)
    }
}
