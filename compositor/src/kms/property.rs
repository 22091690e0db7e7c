//! The properties of a mode-setting object by their names.

use std::collections::HashMap;

use drm::control::{Device, RawResourceHandle, ResourceHandle, atomic::AtomicModeReq, property};

use super::{KmsError, kernel};

/// The properties of an object by name, with the values that they had when they were read.
#[derive(Debug)]
pub struct Properties {
    object: RawResourceHandle,
    kind: &'static str,
    by_name: HashMap<String, (property::Handle, u64)>,
}

impl Properties {
    /// Reads all properties of an object; messages call the object `kind`.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the request.
    pub fn read<H: ResourceHandle>(
        card: &impl Device,
        object: H,
        kind: &'static str,
    ) -> Result<Self, KmsError> {
        let mut by_name = HashMap::new();
        let values = card
            .get_properties(object)
            .map_err(kernel("reading properties"))?;
        for (handle, value) in values {
            let info = card
                .get_property(handle)
                .map_err(kernel("reading a property"))?;
            by_name.insert(info.name().to_string_lossy().into_owned(), (handle, value));
        }
        Ok(Self {
            object: object.into(),
            kind,
            by_name,
        })
    }

    /// Returns the value that a property had when it was read.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).map(|(_, value)| *value)
    }

    /// Returns whether the object has such a property.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Adds a property value to an atomic request.
    ///
    /// # Errors
    ///
    /// [`KmsError::NoProperty`] if the object has no such property.
    pub fn set(
        &self,
        request: &mut AtomicModeReq,
        name: &'static str,
        value: u64,
    ) -> Result<(), KmsError> {
        let (handle, _) = self.by_name.get(name).ok_or(KmsError::NoProperty {
            object: self.kind,
            name,
        })?;
        request.add_raw_property(self.object, *handle, value);
        Ok(())
    }

    /// Adds a property value to an atomic request if the object has the property.
    pub fn set_if_present(&self, request: &mut AtomicModeReq, name: &str, value: u64) {
        if let Some((handle, _)) = self.by_name.get(name) {
            request.add_raw_property(self.object, *handle, value);
        }
    }
}
