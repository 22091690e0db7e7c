//! The Vulkan loader and an instance.

use std::ffi::CStr;
use std::sync::Arc;

use ash::vk;

use super::super::validation::{DebugMessenger, LAYER, ValidationMessages, ValidationSettings};

/// A Vulkan instance that this crate created, or that belongs to an application.
pub(crate) struct Instance {
    /// The loaded Vulkan loader; `None` for an application's instance, which this crate does not destroy.
    entry: Option<ash::Entry>,
    pub(crate) raw: ash::Instance,
    messenger: Option<DebugMessenger>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(messenger) = &self.messenger {
            messenger.end();
        }
        if self.entry.is_some() {
            // SAFETY: every object of the instance holds an Arc of it and has been dropped.
            unsafe { self.raw.destroy_instance(None) };
        }
    }
}

/// Why no instance was created.
pub(crate) enum InstanceError {
    /// The loader is not on this machine.
    Loader(ash::LoadingError),
    /// The loader supports only Vulkan 1.0.
    Old,
    /// The validation layer was requested and is not on this machine.
    NoLayer,
    /// A call failed.
    Call(vk::Result),
}

impl Instance {
    /// Loads the machine's Vulkan loader and creates an instance of Vulkan 1.1. If `messages` is given, the instance has the
    /// validation layer, which adds its messages to that list; otherwise it has no layers and no extensions.
    pub(crate) fn new(messages: Option<&ValidationMessages>) -> Result<Arc<Self>, InstanceError> {
        // SAFETY: the library is the system's loader with its fixed name, which is trusted like any linked library.
        let entry = unsafe { ash::Entry::load() }.map_err(InstanceError::Loader)?;
        // SAFETY: the entry is loaded.
        let version =
            unsafe { entry.try_enumerate_instance_version() }.map_err(InstanceError::Call)?;
        if version.is_none_or(|version| version < vk::API_VERSION_1_1) {
            return Err(InstanceError::Old);
        }
        let application = vk::ApplicationInfo::default()
            .application_name(c"covalent")
            .api_version(vk::API_VERSION_1_1);
        let mut info = vk::InstanceCreateInfo::default().application_info(&application);
        let mut settings = messages.map(ValidationSettings::new);
        let layers = [LAYER.as_ptr()];
        let extensions = ValidationSettings::EXTENSIONS.map(CStr::as_ptr);
        if let Some(settings) = &mut settings {
            if !has_layer(&entry).map_err(InstanceError::Call)? {
                return Err(InstanceError::NoLayer);
            }
            info = info
                .enabled_layer_names(&layers)
                .enabled_extension_names(&extensions)
                .push_next(&mut settings.features)
                .push_next(&mut settings.messenger);
        }
        // SAFETY: the structures are complete and outlive the call.
        let raw = unsafe { entry.create_instance(&info, None) }.map_err(InstanceError::Call)?;
        let messenger = messages
            .map(|messages| DebugMessenger::new(&entry, &raw, messages.clone()))
            .transpose();
        // If a later call fails, the drop of this value destroys the instance.
        let mut instance = Self {
            raw,
            messenger: None,
            entry: Some(entry),
        };
        instance.messenger = messenger.map_err(InstanceError::Call)?;
        Ok(Arc::new(instance))
    }

    /// Wraps an application's instance, which this crate never destroys.
    pub(crate) fn adopted(raw: ash::Instance) -> Arc<Self> {
        Arc::new(Self {
            raw,
            messenger: None,
            entry: None,
        })
    }
}

fn has_layer(entry: &ash::Entry) -> Result<bool, vk::Result> {
    // SAFETY: the entry is loaded.
    let listed = unsafe { entry.enumerate_instance_layer_properties() }?;
    Ok(listed
        .iter()
        .any(|layer| layer.layer_name_as_c_str() == Ok(LAYER)))
}
