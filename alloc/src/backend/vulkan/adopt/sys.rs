//! Handles that somebody else made.
#![allow(
    unsafe_code,
    reason = "whether handles of Vulkan are valid cannot be checked"
)]

use std::collections::BTreeSet;
use std::ffi::CStr;

use ash::{khr, vk};

use super::{ApplicationDevice, adopted, require};
use crate::backend::vulkan::requirement::{
    Capabilities, Enabled, Features, LEAST_API_VERSION, Offered,
};
use crate::backend::vulkan::{Gpu, VulkanError};

impl Offered {
    /// Asks a physical device what it has, before a device is made of it. `api_version` is what the instance was asked for.
    ///
    /// # Errors
    /// [`VulkanError::Call`].
    ///
    /// # Safety
    /// The physical device is of this instance, which lives and was made for this version of Vulkan.
    pub unsafe fn of(
        instance: &ash::Instance,
        physical_device: vk::PhysicalDevice,
        api_version: u32,
    ) -> Result<Self, VulkanError> {
        // SAFETY: by the caller.
        let plain = unsafe { instance.get_physical_device_properties(physical_device) };
        let name = plain.device_name_as_c_str().map_or_else(
            |_| String::new(),
            |name| name.to_string_lossy().into_owned(),
        );
        // SAFETY: by the caller.
        let listed = unsafe { instance.enumerate_device_extension_properties(physical_device) }
            .map_err(|answer| VulkanError::Call {
                device: name.clone(),
                operation: "vkEnumerateDeviceExtensionProperties",
                answer,
                hint: String::new(),
            })?;
        let extensions: BTreeSet<_> = listed
            .iter()
            .filter_map(|extension| extension.extension_name_as_c_str().ok())
            .map(CStr::to_owned)
            .collect();
        let version = plain.api_version.min(api_version);
        let mut features = Features::default();
        if version >= LEAST_API_VERSION {
            let mut ycbcr = vk::PhysicalDeviceSamplerYcbcrConversionFeatures::default();
            let mut timeline = vk::PhysicalDeviceTimelineSemaphoreFeatures::default();
            let mut chain = vk::PhysicalDeviceFeatures2::default().push_next(&mut ycbcr);
            if version >= vk::API_VERSION_1_2 || extensions.contains(khr::timeline_semaphore::NAME)
            {
                chain = chain.push_next(&mut timeline);
            }
            // SAFETY: by the caller; the chain holds structures of the version, or of an extension that the device has.
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

/// Checks that an instance and a device have everything for what is wanted. [`Gpu::adopt`] does so too.
///
/// # Errors
/// [`VulkanError::Missing`], which lists all that is missing, each with its reason and with what helps; [`VulkanError::Call`].
///
/// # Safety
/// The physical device is of this instance, which lives and was made for `enabled.api_version`.
pub unsafe fn check(
    instance: &ash::Instance,
    physical_device: vk::PhysicalDevice,
    wanted: Capabilities,
    enabled: &Enabled<'_>,
) -> Result<(), VulkanError> {
    // SAFETY: by the caller.
    let offered = unsafe { Offered::of(instance, physical_device, enabled.api_version) }?;
    require(wanted, enabled, &offered)
}

impl Gpu {
    /// Works on the application's own device: declares it, allocates, imports, copies and synchronises with it. Nothing of the
    /// application's is destroyed here.
    ///
    /// What the application has not enabled is not used: a device without VK_KHR_external_semaphore_fd, say, is adopted where
    /// [`Capabilities::SYNC_FILE`] is not `wanted`, and declares no sync_files.
    ///
    /// # Errors
    /// [`VulkanError::Missing`], which lists all that is missing. [`VulkanError::Unusable`] for a queue family that the device
    /// does not have or that copies no images. [`VulkanError::Call`].
    ///
    /// # Safety
    /// - Instance, physical device, device and queue are valid and belong together; the queue is of `queue_family`.
    /// - They live as long as this value, its clones and everything that is made of them: [`Image`](super::super::Image)s,
    ///   semaphores, fences, timelines, [`Submitted`](super::super::Submitted) work and what [`Gpu::finish`] waits for. An
    ///   `owner` is kept as long as that.
    /// - `enabled` lists nothing that was not enabled.
    /// - Whoever uses the queue, for vkQueueSubmit, vkQueuePresentKHR or vkQueueWaitIdle, does so in
    ///   [`QueueLock::with_queue`](super::super::QueueLock::with_queue) of this lock; and vkDeviceWaitIdle is called while no
    ///   work is being submitted.
    ///
    /// # References
    /// Vulkan, "Object Lifetime" and "Threading Behavior"; VUID-vkDestroyDevice-device-05137.
    pub unsafe fn adopt(
        application: ApplicationDevice<'_>,
        wanted: Capabilities,
    ) -> Result<Self, VulkanError> {
        // SAFETY: by the caller.
        let offered = unsafe {
            Offered::of(
                &application.instance,
                application.physical_device,
                application.enabled.api_version,
            )
        }?;
        adopted(application, wanted, &offered)
    }
}
