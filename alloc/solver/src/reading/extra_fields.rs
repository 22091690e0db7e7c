//! JSON fields that a newer version wrote. They are kept, and each is a demand that nothing meets.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The JSON fields that this version does not know, by name. They include unknown fields nested in fields that it knows.
///
/// Each extra field is a demand that nothing meets, because this version cannot know its meaning. The exception is an object with
/// `"optional": true`, which may be ignored. When the structure is serialised, all extra fields are written at their original
/// place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraFields {
    /// The extra fields of the object itself.
    pub fields: BTreeMap<String, Value>,
    /// The extra fields of nested objects, by the name of the known field that contains the object.
    pub nested: BTreeMap<String, ExtraFields>,
}

impl ExtraFields {
    /// Returns whether there are no extra fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.nested.is_empty()
    }

    /// Returns the paths of the fields that are not optional, such as `stride.rotation`.
    pub fn required(&self) -> Vec<String> {
        let own = self
            .fields
            .iter()
            .filter(|(_, value)| value.get("optional").and_then(Value::as_bool) != Some(true))
            .map(|(name, _)| name.clone());
        let nested = self.nested.iter().flat_map(|(field, extra_fields)| {
            extra_fields
                .required()
                .into_iter()
                .map(move |name| format!("{field}.{name}"))
        });
        own.chain(nested).collect()
    }

    /// Adds the extra fields that were found in a known field.
    pub(super) fn add_nested(&mut self, field: &str, nested: Self) {
        if !nested.is_empty() {
            self.nested.insert(field.to_owned(), nested);
        }
    }

    /// Returns the name of the first extra field, or of the known field that contains it.
    pub fn first_name(&self) -> Option<&str> {
        self.fields
            .keys()
            .chain(self.nested.keys())
            .next()
            .map(String::as_str)
    }

    /// Writes the extra fields into a JSON object, each at its original place.
    pub fn merge_into(&self, into: &mut Map<String, Value>) {
        for (name, value) in &self.fields {
            into.insert(name.clone(), value.clone());
        }
        for (name, extra_fields) in &self.nested {
            if let Some(Value::Object(nested)) = into.get_mut(name) {
                extra_fields.merge_into(nested);
            }
        }
    }
}

/// Defines a structure that keeps the fields that it does not know, at every depth, in its field `extra_fields`.
///
/// The macro also defines a private copy of the structure, to which serde's attributes apply. Other code cannot name this copy,
/// so the structure cannot be deserialised in a way that drops fields. A structure that is marked `whole` has to be checked after
/// it was read. For such a structure the macro does not implement `Deserialize`; the caller implements it with `read_fields`.
#[doc(hidden)]
#[macro_export]
macro_rules! keeps_extra_fields {
    (whole $($structure:tt)+) => {
        $crate::keeps_extra_fields!(@define $($structure)+);
    };
    (@define
        $(#[doc = $doc:literal])*
        #[derive($($derive:ident),*)]
        $(#[serde($default:ident)])?
        pub struct $name:ident {$(
            $(#[doc = $field_doc:literal])*
            $(#[serde($($field_options:tt)*)])?
            $visibility:vis $field:ident: $type:ty,
        )*}
    ) => {
        $(#[doc = $doc])*
        #[derive($($derive),*)]
        pub struct $name {$(
            $(#[doc = $field_doc])*
            $visibility $field: $type,
        )*}

        const _: () = {
            type Described = $name;

            #[derive(serde::Serialize, serde::Deserialize)]
            #[serde(remote = "Described")]
            $(#[serde($default = "Default::default")])?
            struct Fields {$(
                $(#[serde($($field_options)*)])?
                $field: $type,
            )*}

            impl $name {
                /// Reads the fields, and keeps those that this version does not know.
                fn read_fields<'de, D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    let _scope = $crate::reading::budget::BudgetScope::begin();
                    $crate::reading::budget::charge_one::<Self, D::Error>()?;
                    let mut extra_fields = $crate::reading::ExtraFields::default();
                    let reader = $crate::reading::Reader::new(deserializer, &mut extra_fields);
                    let mut read = Fields::deserialize(reader)?;
                    read.extra_fields = extra_fields;
                    Ok(read)
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    use serde::ser::Error as _;
                    if self.extra_fields.is_empty() {
                        return Fields::serialize(self, serializer);
                    }
                    let mut known = Fields::serialize(self, serde_json::value::Serializer)
                        .map_err(S::Error::custom)?;
                    if let serde_json::Value::Object(fields) = &mut known {
                        self.extra_fields.merge_into(fields);
                    }
                    known.serialize(serializer)
                }
            }
        };
    };
    (@read $(#[$attribute:meta])* pub struct $name:ident $fields:tt) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::read_fields(deserializer)
            }
        }
    };
    ($($structure:tt)+) => {
        $crate::keeps_extra_fields!(@read $($structure)+);
        $crate::keeps_extra_fields!(@define $($structure)+);
    };
}
