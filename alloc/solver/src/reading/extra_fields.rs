//! Fields that a newer version wrote: kept, and believed to be demands.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields that this version does not know, by name, and those within fields that it does know.
///
/// Each is a demand that nothing can meet, because nobody here knows what it asks for; unless it is an object that says
/// `"optional": true`. All are written back where they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraFields {
    /// Fields of this very object.
    pub fields: BTreeMap<String, Value>,
    /// Fields of objects within it, by the name of the known field.
    pub nested: BTreeMap<String, ExtraFields>,
}

impl ExtraFields {
    /// Returns whether everything was known.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.nested.is_empty()
    }

    /// Returns the names of those that must be met, like `stride.rotation`.
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

    /// Keeps what a known field has that nobody knows.
    pub(super) fn add_nested(&mut self, field: &str, nested: Self) {
        if !nested.is_empty() {
            self.nested.insert(field.to_owned(), nested);
        }
    }

    /// Returns the name of any of them, beginning with the field that it is within.
    pub fn first_name(&self) -> Option<&str> {
        self.fields
            .keys()
            .chain(self.nested.keys())
            .next()
            .map(String::as_str)
    }

    /// Puts the fields back to where they were read.
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

/// Defines structures that keep what they do not know in a field `unknown`, at every depth; they are read in one pass.
///
/// Reading and writing is the business of a mirror of the structure, which nobody else can name: so there is one way to read the
/// structure, and it keeps. Attributes of serde are those of the mirror. A structure that is defined as `whole` is checked as a
/// whole when it was read, and writes its `Deserialize` itself by what `read_fields` returns.
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
                /// Reads the fields, and keeps those that are unknown.
                fn read_fields<'de, D: serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> Result<Self, D::Error> {
                    let _reading = $crate::reading::budget::Reading::begin();
                    $crate::reading::budget::take_one::<Self, D::Error>()?;
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
