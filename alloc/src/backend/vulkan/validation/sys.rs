//! The settings of the validation layer, its debug messenger, and commands with a deliberate write-after-write hazard.
#![allow(
    unsafe_code,
    reason = "a callback from C, and Vulkan functions that are called through pointers that are loaded at run time"
)]

use std::ffi::{CStr, c_void};
use std::sync::Arc;

use ash::{ext, vk};

use super::ValidationMessages;
use crate::backend::vulkan::copy::{OneTimeCommands, Staging};
use crate::backend::vulkan::sys::Device;

/// The layer's name.
pub(in crate::backend::vulkan) const LAYER: &CStr = c"VK_LAYER_KHRONOS_validation";

const ENABLED: [vk::ValidationFeatureEnableEXT; 1] =
    [vk::ValidationFeatureEnableEXT::SYNCHRONIZATION_VALIDATION];

/// The structures that enable the layer's checks and messages for an instance.
pub(in crate::backend::vulkan) struct ValidationSettings<'a> {
    pub(in crate::backend::vulkan) features: vk::ValidationFeaturesEXT<'a>,
    pub(in crate::backend::vulkan) messenger: vk::DebugUtilsMessengerCreateInfoEXT<'a>,
}

impl ValidationSettings<'_> {
    /// The instance extensions that these structures require.
    pub(in crate::backend::vulkan) const EXTENSIONS: [&'static CStr; 2] =
        [ext::debug_utils::NAME, ext::validation_features::NAME];

    /// Creates the settings for an instance that adds messages to `messages`, which must live as long as the instance.
    pub(in crate::backend::vulkan) fn new(messages: &ValidationMessages) -> Self {
        Self {
            features: vk::ValidationFeaturesEXT::default().enabled_validation_features(&ENABLED),
            messenger: messenger(messages),
        }
    }
}

/// Returns the parameters of a messenger that adds warnings and errors of the validation layer to `messages`.
fn messenger<'a>(messages: &ValidationMessages) -> vk::DebugUtilsMessengerCreateInfoEXT<'a> {
    // Only messages of the type VALIDATION are requested: the loader's GENERAL messages concern drivers that are not used.
    vk::DebugUtilsMessengerCreateInfoEXT::default()
        .message_severity(
            vk::DebugUtilsMessageSeverityFlagsEXT::WARNING
                | vk::DebugUtilsMessageSeverityFlagsEXT::ERROR,
        )
        .message_type(vk::DebugUtilsMessageTypeFlagsEXT::VALIDATION)
        .pfn_user_callback(Some(add_message))
        .user_data(Arc::as_ptr(&messages.list).cast_mut().cast())
}

/// A VkDebugUtilsMessengerEXT that adds the layer's messages to a list, from the creation of the instance to its destruction.
pub(in crate::backend::vulkan) struct DebugMessenger {
    functions: ext::debug_utils::Instance,
    raw: vk::DebugUtilsMessengerEXT,
    // The messages are kept here, because the messenger has the address of their list.
    _messages: ValidationMessages,
}

impl DebugMessenger {
    pub(in crate::backend::vulkan) fn new(
        entry: &ash::Entry,
        instance: &ash::Instance,
        messages: ValidationMessages,
    ) -> Result<Self, vk::Result> {
        let functions = ext::debug_utils::Instance::new(entry, instance);
        let info = messenger(&messages);
        // SAFETY: the structure is complete, and the list that it points to lives as long as the messenger.
        let raw = unsafe { functions.create_debug_utils_messenger(&info, None) }?;
        Ok(Self {
            functions,
            raw,
            _messages: messages,
        })
    }

    /// Destroys the messenger before the instance. Objects that were not destroyed are reported by the messenger that the
    /// instance itself was created with.
    pub(in crate::backend::vulkan) fn end(&self) {
        // SAFETY: the messenger is of this instance, and is destroyed once, when the instance is dropped.
        unsafe {
            self.functions.destroy_debug_utils_messenger(self.raw, None);
        }
    }
}

/// Adds a message to the list whose address is the user data.
unsafe extern "system" fn add_message(
    _: vk::DebugUtilsMessageSeverityFlagsEXT,
    _: vk::DebugUtilsMessageTypeFlagsEXT,
    data: *const vk::DebugUtilsMessengerCallbackDataEXT<'_>,
    user: *mut c_void,
) -> vk::Bool32 {
    // SAFETY: the layer passes a structure that is valid during the callback, or null.
    let message = unsafe { data.as_ref() }
        .filter(|data| !data.p_message.is_null())
        // SAFETY: a message is a zero-terminated string.
        .map(|data| unsafe { CStr::from_ptr(data.p_message) })
        .map(|message| message.to_string_lossy().into_owned());
    // SAFETY: the address is that of a list that lives as long as the messenger; it is only borrowed here.
    let list = unsafe { user.cast::<std::sync::Mutex<Vec<String>>>().as_ref() };
    if let (Some(message), Some(list)) = (message, list) {
        list.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(message);
    }
    // The return value FALSE lets the Vulkan call continue.
    vk::FALSE
}

/// A recorded write-after-write hazard, and the objects that it uses.
pub(super) struct WriteHazard {
    commands: OneTimeCommands,
    _staging: Staging,
}

/// Records two writes of one buffer without a barrier between them.
pub(super) fn record_hazard(
    device: &Arc<Device>,
) -> Result<(vk::CommandBuffer, WriteHazard), vk::Result> {
    let staging = Staging::new(device, 64)?;
    let buffer = staging.buffer();
    let raw = &device.raw;
    let hazard = WriteHazard {
        commands: OneTimeCommands::new(device)?,
        _staging: staging,
    };
    let commands = hazard.commands.raw;
    let begin =
        vk::CommandBufferBeginInfo::default().flags(vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT);
    // SAFETY: the command buffer is new, and the buffer has 64 bytes and TRANSFER_DST usage. The missing barrier is intended: the
    // resulting value is not read.
    unsafe {
        raw.begin_command_buffer(commands, &begin)?;
        raw.cmd_fill_buffer(commands, buffer, 0, 64, 1);
        raw.cmd_fill_buffer(commands, buffer, 0, 64, 2);
        raw.end_command_buffer(commands)?;
    }
    Ok((commands, hazard))
}
