//! A small engine as its author writes it: an instance, a device and a queue of its own, with the validation layer, by nothing but
//! Vulkan. It lends them to Covalent, and records ownership transfers among commands of its own.

mod record;
pub(crate) mod scenes;
mod shader;
mod sys;

use std::ffi::CStr;
use std::sync::{Arc, Mutex, PoisonError};

use covalent_alloc::backend::vulkan::ash::vk;
use covalent_alloc::backend::vulkan::{Capabilities, VulkanError};

pub(crate) use sys::Engine;

/// How an engine makes its device.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    /// VkApplicationInfo::apiVersion.
    pub(crate) api_version: u32,
    /// Whether VK_LAYER_KHRONOS_validation watches, with its checks of synchronisation.
    pub(crate) is_validated: bool,
    /// What the engine wants to do; it enables what the list says for that.
    pub(crate) wanted: Capabilities,
    /// Extensions of the device that it enables in place of those.
    pub(crate) only: Option<&'static [&'static CStr]>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            api_version: vk::API_VERSION_1_2,
            is_validated: true,
            wanted: Capabilities::all(),
            only: None,
        }
    }
}

/// What the validation layer has said, a message each.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// Takes what was said since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Makes an error of what the engine found.
pub(crate) fn wrong(why: impl Into<String>) -> VulkanError {
    VulkanError::Unusable {
        device: "the engine".to_owned(),
        why: why.into(),
    }
}

/// Makes an error of what a call of the engine answered.
fn failed(operation: &'static str) -> impl Fn(vk::Result) -> VulkanError {
    move |result| VulkanError::Call {
        device: "the engine".to_owned(),
        operation,
        result,
        hint: String::new(),
    }
}
