//! The properties of a mode-setting object by name.

use std::collections::HashMap;

use drm::control::property::ValueType;
use drm::control::{Device, RawResourceHandle, ResourceHandle, atomic::AtomicModeReq, property};

use super::{KmsError, kernel};

/// The properties of an object by name, with the values from the time when they were read.
#[derive(Debug)]
pub struct Properties {
    object: RawResourceHandle,
    kind: &'static str,
    by_name: HashMap<String, Property>,
}

/// One property of an object.
#[derive(Debug)]
struct Property {
    handle: property::Handle,
    value: u64,
    mutable: bool,
    values: Values,
}

/// The values that a property may have.
#[derive(Debug)]
enum Values {
    /// The names and numbers of an enumeration.
    Named(Vec<(String, u64)>),
    /// The minimum and the maximum of an unsigned range or a boolean.
    Range(u64, u64),
    /// The property has another type, such as a blob, an object or a signed range.
    Other,
}

impl Values {
    fn of(kind: &ValueType) -> Self {
        match kind {
            ValueType::Enum(values) => {
                let (_, named) = values.values();
                let named = named
                    .iter()
                    .map(|one| (one.name().to_string_lossy().into_owned(), one.value()));
                Self::Named(named.collect())
            }
            ValueType::Boolean => Self::Range(0, 1),
            ValueType::UnsignedRange(least, most) => Self::Range(*least, *most),
            _ => Self::Other,
        }
    }
}

impl Properties {
    /// Reads all properties of an object. Messages use the name `kind` for the object.
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
            let property = Property {
                handle,
                value,
                mutable: info.mutable(),
                values: Values::of(&info.value_type()),
            };
            by_name.insert(info.name().to_string_lossy().into_owned(), property);
        }
        Ok(Self {
            object: object.into(),
            kind,
            by_name,
        })
    }

    /// Returns the value of a property from the time when it was read.
    pub fn value(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).map(|property| property.value)
    }

    /// Returns whether the object has a property with this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Returns the number of a named value; `None` if the object lacks the property, or the property lacks the value.
    pub fn named_value(&self, name: &str, value: &str) -> Option<u64> {
        let Values::Named(values) = &self.by_name.get(name)?.values else {
            return None;
        };
        let found = values.iter().find(|(other, _)| other == value);
        found.map(|(_, number)| *number)
    }

    /// Returns the minimum and the maximum of a property; `None` if the property is immutable, or has no range.
    pub fn range(&self, name: &str) -> Option<(u64, u64)> {
        let property = self.by_name.get(name)?;
        match property.values {
            Values::Range(least, most) if property.mutable => Some((least, most)),
            _ => None,
        }
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
        let property = self.by_name.get(name).ok_or(KmsError::NoProperty {
            object: self.kind,
            name,
        })?;
        request.add_raw_property(self.object, property.handle, value);
        Ok(())
    }

    /// Adds a property value to an atomic request, unless the object lacks the property or the property is immutable.
    pub fn set_if_present(&self, request: &mut AtomicModeReq, name: &str, value: u64) {
        if let Some(property) = self.by_name.get(name).filter(|property| property.mutable) {
            request.add_raw_property(self.object, property.handle, value);
        }
    }
}
