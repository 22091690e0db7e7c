//! Fields that a newer version wrote: kept, and believed to be demands.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields that this version does not know, by name, and those within fields that it does know.
///
/// Each is a demand that nothing can meet, because nobody here knows what it asks for; unless it is an object that says
/// `"optional": true`. All are written back where they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unknown {
    /// Fields of this very object.
    pub fields: BTreeMap<String, Value>,
    /// Fields of objects within it, by the name of the known field.
    pub within: BTreeMap<String, Unknown>,
}

/// The field whose keys are formats: they can be written in several ways, and none is unknown.
const BY_FORMAT: &str = "per_fourcc";

impl Unknown {
    /// Returns whether everything was known.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.within.is_empty()
    }

    /// Returns the names of those that must be met, like `stride.rotation`.
    pub fn required(&self) -> Vec<String> {
        let own = self
            .fields
            .iter()
            .filter(|(_, value)| value.get("optional").and_then(Value::as_bool) != Some(true))
            .map(|(name, _)| name.clone());
        let within = self.within.iter().flat_map(|(field, unknown)| {
            unknown
                .required()
                .into_iter()
                .map(move |name| format!("{field}.{name}"))
        });
        own.chain(within).collect()
    }

    /// Returns what `given` has that was not `understood`: the same, written back by this version.
    ///
    /// Lists and [`BY_FORMAT`] are not looked into: their items look after themselves.
    pub(crate) fn left_over(given: &Value, understood: &Value) -> Self {
        let mut left = Self::default();
        if let (Value::Object(given), Value::Object(understood)) = (given, understood) {
            for (name, value) in given {
                match understood.get(name) {
                    None => {
                        left.fields.insert(name.clone(), value.clone());
                    }
                    Some(_) if name == BY_FORMAT => {}
                    Some(known) => {
                        let within = Self::left_over(value, known);
                        if !within.is_empty() {
                            left.within.insert(name.clone(), within);
                        }
                    }
                }
            }
        }
        left
    }

    /// Puts the fields back to where they were read.
    pub(crate) fn put_back(&self, into: &mut Map<String, Value>) {
        for (name, value) in &self.fields {
            into.insert(name.clone(), value.clone());
        }
        for (name, unknown) in &self.within {
            if let Some(Value::Object(within)) = into.get_mut(name) {
                unknown.put_back(within);
            }
        }
    }
}

/// Reads and writes structures that keep what they do not know in a field `unknown`, at every depth.
///
/// The structure derives both traits with `remote = "Self"`, which leaves the traits themselves to be written here.
macro_rules! keeps_unknown {
    ($($name:ident),+) => {$(
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use serde::de::Error as _;
                let given = serde_json::Value::deserialize(deserializer)?;
                let mut read = $name::deserialize(&given).map_err(D::Error::custom)?;
                let understood = serde_json::to_value(&read).map_err(D::Error::custom)?;
                read.unknown = $crate::constraint::Unknown::left_over(&given, &understood);
                Ok(read)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::Error as _;
                if self.unknown.is_empty() {
                    return $name::serialize(self, serializer);
                }
                let mut known = $name::serialize(self, serde_json::value::Serializer)
                    .map_err(S::Error::custom)?;
                if let serde_json::Value::Object(fields) = &mut known {
                    self.unknown.put_back(fields);
                }
                known.serialize(serializer)
            }
        }
    )+};
}

pub(crate) use keeps_unknown;
