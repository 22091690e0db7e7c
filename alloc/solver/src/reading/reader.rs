//! A deserialiser that collects the fields that a structure does not have.
//!
//! A [`Reader`] wraps the deserialiser that a structure's own `Deserialize` reads from. It passes the fields of the structure to
//! that `Deserialize`, and stores all other fields in [`ExtraFields`]. It does the same for structures that are directly nested
//! in a field. The items of lists and maps are not wrapped, because their types implement `Deserialize` with their own reader.
//! The text is read once, at any depth, so an error has the position where the text is wrong.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess,
    VariantAccess, Visitor,
};

use super::budget::any_value;
use super::extra_fields::ExtraFields;

/// A deserialiser that passes on the fields of a structure and stores all other fields in `extra_fields`.
pub struct Reader<'u, D> {
    inner: D,
    extra_fields: &'u mut ExtraFields,
}

impl<'u, D> Reader<'u, D> {
    /// Makes a reader that wraps the deserialiser `inner`.
    pub fn new(inner: D, extra_fields: &'u mut ExtraFields) -> Self {
        Self {
            inner,
            extra_fields,
        }
    }
}

macro_rules! forward {
    ($($method:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Reader<'_, D> {
    type Error = D::Error;

    forward! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(length: usize);
        deserialize_tuple_struct(name: &'static str, length: usize);
        deserialize_map();
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // A structure is read only from a map, and not from a list. A list would have values in the order of this version's
        // fields, and the fields of a newer version would be dropped without an error.
        self.inner.deserialize_map(FieldsVisitor {
            visitor,
            fields,
            extra_fields: self.extra_fields,
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(InnerVisitor {
            visitor,
            extra_fields: self.extra_fields,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let extra_fields = self.extra_fields;
        self.inner.deserialize_newtype_struct(
            name,
            InnerVisitor {
                visitor,
                extra_fields,
            },
        )
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        let extra_fields = self.extra_fields;
        self.inner.deserialize_enum(
            name,
            variants,
            InnerVisitor {
                visitor,
                extra_fields,
            },
        )
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Reads the content of an option, a newtype or an enum through a reader.
struct InnerVisitor<'u, V> {
    visitor: V,
    extra_fields: &'u mut ExtraFields,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for InnerVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(out)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        self.visitor
            .visit_some(Reader::new(inner, self.extra_fields))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let reader = Reader::new(inner, self.extra_fields);
        self.visitor.visit_newtype_struct(reader)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Variants {
            data,
            extra_fields: self.extra_fields,
        })
    }
}

/// Reads the variants of an enum. Extra fields are stored under the name of the variant.
struct Variants<'u, A> {
    data: A,
    extra_fields: &'u mut ExtraFields,
}

impl<'de, 'u, A: EnumAccess<'de>> EnumAccess<'de> for Variants<'u, A> {
    type Error = A::Error;
    type Variant = Variant<'u, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, data) = self.data.variant_seed(PhantomData::<String>)?;
        let known: StrDeserializer<'_, A::Error> = name.as_str().into_deserializer();
        let value = seed.deserialize(known)?;
        let extra_fields = self.extra_fields;
        Ok((
            value,
            Variant {
                data,
                name,
                extra_fields,
            },
        ))
    }
}

struct Variant<'u, A> {
    data: A,
    name: String,
    extra_fields: &'u mut ExtraFields,
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Variant<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.data.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let mut nested = ExtraFields::default();
        let value = self.data.newtype_variant_seed(NestedSeed {
            seed,
            extra_fields: &mut nested,
        })?;
        self.extra_fields.add_nested(&self.name, nested);
        Ok(value)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.data.tuple_variant(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let mut nested = ExtraFields::default();
        let value = self.data.struct_variant(
            fields,
            FieldsVisitor {
                visitor,
                fields,
                extra_fields: &mut nested,
            },
        )?;
        self.extra_fields.add_nested(&self.name, nested);
        Ok(value)
    }
}

/// Reads a structure's fields from a map.
struct FieldsVisitor<'u, V> {
    visitor: V,
    fields: &'static [&'static str],
    extra_fields: &'u mut ExtraFields,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for FieldsVisitor<'_, V> {
    type Value = V::Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(out)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(FieldAccess {
            map,
            fields: self.fields,
            extra_fields: self.extra_fields,
            seen: 0,
            field: "",
        })
    }
}

struct FieldAccess<'u, A> {
    map: A,
    fields: &'static [&'static str],
    extra_fields: &'u mut ExtraFields,
    /// A bit for each field that was read. No structure of these crates has as many as 128 fields.
    seen: u128,
    field: &'static str,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FieldAccess<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.map.next_key::<String>()? {
            let mut fields = self.fields.iter().enumerate();
            let Some((place, field)) = fields.find(|(_, field)| **field == name) else {
                if self.extra_fields.fields.contains_key(&name) {
                    return Err(duplicate_key(&mut self.map, &name));
                }
                let value = self.map.next_value_seed(any_value())?;
                self.extra_fields.fields.insert(name, value);
                continue;
            };
            debug_assert!(place < 128, "a structure has at most 128 fields");
            let bit = 1_u128 << (place & 127);
            if self.seen & bit != 0 {
                return Err(duplicate_key(&mut self.map, &name));
            }
            self.seen |= bit;
            self.field = field;
            let key: StrDeserializer<'_, A::Error> = field.into_deserializer();
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let mut nested = ExtraFields::default();
        let value = self.map.next_value_seed(NestedSeed {
            seed,
            extra_fields: &mut nested,
        })?;
        self.extra_fields.add_nested(self.field, nested);
        Ok(value)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// Returns the error for a duplicate key, at that key's position in the text.
pub(super) fn duplicate_key<'de, A: MapAccess<'de>>(
    map: &mut A,
    key: &impl fmt::Display,
) -> A::Error {
    let words = format!("the key {key} occurs twice");
    match map.next_value_seed(ErrorSeed(&words)) {
        Err(error) => error,
        Ok(()) => A::Error::custom(words),
    }
}

/// A seed that fails with this message instead of reading a value.
struct ErrorSeed<'w>(&'w str);

impl<'de> DeserializeSeed<'de> for ErrorSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom(self.0))
    }
}

/// A seed that reads a value through a reader, which stores the value's extra fields separately.
struct NestedSeed<'u, S> {
    seed: S,
    extra_fields: &'u mut ExtraFields,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for NestedSeed<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Reader::new(inner, self.extra_fields))
    }
}

/// Reads a complete file or request, and prefixes an error with the path of the value, as in
/// `participants[3].constraints.image.stride.alignment: …`.
///
/// # Errors
/// The errors of `read`, prefixed with the path.
pub fn with_path<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(serde_path_to_error::Deserializer<'_, '_, D>) -> Result<T, D::Error>,
) -> Result<T, D::Error> {
    let mut track = serde_path_to_error::Track::new();
    read(serde_path_to_error::Deserializer::new(
        deserializer,
        &mut track,
    ))
    .map_err(|error| match track.path().to_string() {
        // An error about the complete file has no path.
        place if place == "." => error,
        place => D::Error::custom(format!("{place}: {error}")),
    })
}
