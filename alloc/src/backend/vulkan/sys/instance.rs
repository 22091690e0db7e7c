//! The loader and an instance.

use std::ffi::CStr;
use std::sync::Arc;

use ash::vk;

use super::super::validation::{Complaints, LAYER, Listening, Switches};
/// An instance: made here, with the loader, or the application's.
pub(crate) struct Instance {
    /// Keeps the library loaded; `None` for the application's instance, which the application destroys.
    entry: Option<ash::Entry>,
    pub(crate) raw: ash::Instance,
    listening: Option<Listening>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.end();
        }
        if self.entry.is_some() {
            // SAFETY: whatever was made of the instance holds an Arc of it, and is gone.
            unsafe { self.raw.destroy_instance(None) };
        }
    }
}

/// Why there is no instance.
pub(crate) enum NoInstance {
    /// The loader is not on this machine.
    Loader(ash::LoadingError),
    /// The loader is of Vulkan 1.0.
    Old,
    /// The validation layer was asked for and is not on this machine.
    NoLayer,
    /// A call failed.
    Call(vk::Result),
}

impl Instance {
    /// Loads the machine's Vulkan loader, and makes an instance of Vulkan 1.1: without layers and extensions, or with the
    /// validation layer, whose complaints go to a list.
    pub(crate) fn new(complaints: Option<&Complaints>) -> Result<Arc<Self>, NoInstance> {
        // SAFETY: the library is the system's loader by its fixed name, trusted as any library that a program links.
        let entry = unsafe { ash::Entry::load() }.map_err(NoInstance::Loader)?;
        // SAFETY: the entry is loaded.
        let version =
            unsafe { entry.try_enumerate_instance_version() }.map_err(NoInstance::Call)?;
        if version.is_none_or(|version| version < vk::API_VERSION_1_1) {
            return Err(NoInstance::Old);
        }
        let application = vk::ApplicationInfo::default()
            .application_name(c"covalent")
            .api_version(vk::API_VERSION_1_1);
        let mut info = vk::InstanceCreateInfo::default().application_info(&application);
        let mut switches = complaints.map(Switches::new);
        let layers = [LAYER.as_ptr()];
        let extensions = Switches::EXTENSIONS.map(CStr::as_ptr);
        if let Some(switches) = &mut switches {
            if !has_layer(&entry).map_err(NoInstance::Call)? {
                return Err(NoInstance::NoLayer);
            }
            info = info
                .enabled_layer_names(&layers)
                .enabled_extension_names(&extensions)
                .push_next(&mut switches.features)
                .push_next(&mut switches.messenger);
        }
        // SAFETY: the structures are complete and outlive the call.
        let raw = unsafe { entry.create_instance(&info, None) }.map_err(NoInstance::Call)?;
        let listened = complaints
            .map(|complaints| Listening::new(&entry, &raw, complaints.clone()))
            .transpose();
        // From here on a drop destroys the instance.
        let mut instance = Self {
            raw,
            listening: None,
            entry: Some(entry),
        };
        instance.listening = listened.map_err(NoInstance::Call)?;
        Ok(Arc::new(instance))
    }

    /// Wraps the application's instance, which is never destroyed here.
    pub(crate) fn adopted(raw: ash::Instance) -> Arc<Self> {
        Arc::new(Self {
            raw,
            listening: None,
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
