//! The layer's switches, its callback, and the work that it has to object to.
#![allow(
    unsafe_code,
    reason = "a callback from C, and calls of Vulkan through a table of functions that was loaded"
)]

use std::ffi::{CStr, c_void};
use std::sync::Arc;

use ash::{ext, vk};

use super::Complaints;
use crate::backend::vulkan::copy::{OneTime, Staging};
use crate::backend::vulkan::sys::Device;

/// The layer's name.
pub(in crate::backend::vulkan) const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

const ENABLED: [vk::ValidationFeatureEnableEXT; 1] =
    [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];

/// What an instance with the layer is made with.
pub(in crate::backend::vulkan) struct Switches<'a> {
    pub(in crate::backend::vulkan) features: vk::ValidationFeaturesEXT<'a>,
    pub(in crate::backend::vulkan) messenger: vk::DebugUtilsMessengerCreateInfoEXT<'a>,
}

impl Switches<'_> {
    /// Extensions of instances that these need.
    pub(in crate::backend::vulkan) const EXTENSIONS: [&'static CStr; 2] =
        [ext::debug_utils::NAME, ext::validation_features::NAME];

    /// `complaints` lives as long as the instance.
    pub(in crate::backend::vulkan) fn new(complaints: &Complaints) -> Self {
        Self {
            features: vk::ValidationFeaturesEXT::default().enabled_validation_features(&ENABLED),
            messenger: messenger(complaints),
        }
    }
}

fn messenger<'a>(complaints: &Complaints) -> vk::DebugUtilsMessengerCreateInfoEXT<'a> {
    // Of the loader's own words, which speak of other drivers, none is of interest.
    vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(
            vk::DebugUtilsMessageSeverityFlagsEXT::WARNING
                | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR,
        )
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(hear))
        .user_data(Arc::as_ptr(&complaints.list).cast_mut().cast())
}

/// The layer's words, from when the instance is made until it is destroyed.
pub(in crate::backend::vulkan) struct Listening {
    functions: ext::debug_utils::Instance,
    raw: vk::DebugUtilsMessengerEXT,
    // The layer has its address.
    _complaints: Complaints,
}

impl Listening {
    pub(in crate::backend::vulkan) fn new(
        entry: &ash::Entry,
        instance: &ash::Instance,
        complaints: Complaints,
    ) -> Result<Self, vk::Result> {
        let functions = ext::debug_utils::Instance::new(entry, instance);
        let info = messenger(&complaints);
        // SAFETY: the structure is complete, and the list that it points to lives as long as the messenger.
        let raw = unsafe { functions.create_debug_utils_messenger(&info, None) }?;
        Ok(Self {
            functions,
            raw,
            _complaints: complaints,
        })
    }

    /// Stops listening: before the instance goes, which tells what was left through the messenger that it was made with.
    pub(in crate::backend::vulkan) fn end(&self) {
        // SAFETY: the messenger is of this instance, and ended once, by the instance's drop.
        unsafe {
            self.functions.destroy_debug_utils_messenger(self.raw, None);
        }
    }
}

/// Adds a message to the list whose address was given along.
unsafe extern "system" fn hear(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the layer gives a message that lives until this returns, or nothing.
    let words = unsafe { data.as_ref() }
        .filter(|data| !data.p_message.is_null())
        // SAFETY: a message is a string that ends with a zero.
        .map(|data| unsafe { CStr::from_ptr(data.p_message) })
        .map(|words| words.to_string_lossy().into_owned());
    // SAFETY: the address is that of a list which lives as long as the messenger, and is only lent here.
    let list = unsafe { user.cast::<std::sync::Mutex<Vec<String>>>().as_ref() };
    if let (Some(words), Some(list)) = (words, list) {
        list.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(words);
    }
    // The call goes on as if nothing had been said.
    vk::FALSE
}

/// Two writes of one memory, and what they use.
pub(super) struct Planted {
    commands: OneTime,
    _staging: Staging,
}

/// Records two writes of one memory without a barrier between them.
pub(super) fn planted(device: &Arc<Device>) -> Result<(vk::CommandBuffer, Planted), vk::Result> {
    let staging = Staging::new(device, 64)?;
    let buffer = staging.buffer();
    let raw = &device.raw;
    let planted = Planted {
        commands: OneTime::new(device)?,
        _staging: staging,
    };
    let commands = planted.commands.raw;
    let begin =
        vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    // SAFETY: the command buffer is new, and the buffer has 64 bytes and may be written so. That nothing orders the writes is the
    // point: which of two values stays is not asked.
    unsafe {
        raw.begin_command_buffer(commands, &begin)?;
        raw.cmd_fill_buffer(commands, buffer, 0, 64, 1);
        raw.cmd_fill_buffer(commands, buffer, 0, 64, 2);
        raw.end_command_buffer(commands)?;
    }
    Ok((commands, planted))
}
