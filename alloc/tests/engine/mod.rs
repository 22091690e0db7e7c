//! A small Vulkan engine, independent of Covalent: it creates an instance, a device and a queue, with the validation layer. It
//! lends them to Covalent, and records ownership transfers among its own commands.

mod record;
pub(crate) mod scenes;
mod shader;
mod sys;

use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

use covalent_alloc::backend::vulkan::ash::vk;
use covalent_alloc::backend::vulkan::{Capabilities, VulkanError};

pub(crate) use sys::Engine;

/// How an engine creates its device.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// `VkApplicationInfo::apiVersion`.
    pub(crate) api_version: u32,
    /// Whether VK_LAYER_KHRONOS_validation is enabled, with synchronisation validation.
    pub(crate) is_validated: bool,
    /// The capabilities that the engine needs. The engine enables the extensions and features that Covalent lists for them.
    pub(crate) wanted: Capabilities,
    /// The device extensions that the engine enables instead of those that Covalent lists; `None` to enable the listed ones.
    pub(crate) device_extensions: Option<&'static [&'static CStr]>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            api_version: vk::API_VERSION_1_2,
            is_validated: true,
            wanted: Capabilities::all(),
            device_extensions: None,
        }
    }
}

/// The messages of the validation layer for one engine.
#[derive(Clone, Default)]
pub(crate) struct ValidationMessages(Arc<Mutex<Vec<String>>>);

impl ValidationMessages {
    /// Returns and removes the messages that were added since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Returns an error of the engine itself.
pub(crate) fn engine_error(why: impl Into<String>) -> VulkanError {
    VulkanError::Unusable {
        device: "the engine".to_owned(),
        why: why.into(),
    }
}

/// Returns an error for a Vulkan call of the engine.
fn failed(operation: &'static str) -> impl Fn(vk::Result) -> VulkanError {
    move |result| VulkanError::Call {
        device: "the engine".to_owned(),
        operation,
        result,
        hint: String::new(),
    }
}
