//! How much memory what is read may take, and how it is read within that.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::reader::twice;

/// What the structures of one description take together, in bytes.
///
/// A structure may take a hundred times the bytes of its text, as `{}` does; so they are counted. Real descriptions take less than a
/// hundredth of this.
const MOST_BYTES: usize = 64 << 20;

/// What a value takes that nobody here knows: maps have room for 11 at once, with their names.
const VALUE_BYTES: usize = 700;

/// How deep a value may be that nobody here knows.
const DEEPEST: usize = 32;

thread_local! {
    /// How many structures are being read within one another on this thread, and what they took.
    static TAKEN: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Counts what is read while it lives; the outermost begins anew.
pub struct Reading;

impl Reading {
    /// Begins to count, or goes on where something else is being read around it.
    pub fn begin() -> Self {
        let (depth, bytes) = TAKEN.get();
        TAKEN.set((depth.saturating_add(1), if depth == 0 { 0 } else { bytes }));
        Self
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let (depth, bytes) = TAKEN.get();
        TAKEN.set((depth.saturating_sub(1), bytes));
    }
}

/// Counts bytes that something takes beyond its text.
///
/// # Errors
/// Where all that was read takes too much.
pub fn take<E: Error>(bytes: usize) -> Result<(), E> {
    let (depth, taken) = TAKEN.get();
    let taken = taken.saturating_add(bytes);
    // Outside of a description nothing is counted, because nothing would begin anew.
    if depth == 0 {
        return Ok(());
    }
    TAKEN.set((depth, taken));
    if taken > MOST_BYTES {
        return Err(E::custom(format!(
            "what is described would take more than {} MiB",
            MOST_BYTES >> 20
        )));
    }
    Ok(())
}

/// Counts a structure: a list that grows has room for it twice, and the old one beside it.
pub fn take_one<T, E: Error>() -> Result<(), E> {
    take(size_of::<T>().saturating_mul(3))
}

/// Reads a list of at most so many items, and counts the others.
///
/// # Errors
/// Where there are more, and those of the items.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
    most: usize,
    what: &'static str,
) -> Result<Vec<T>, D::Error> {
    struct Items<T>(usize, &'static str, PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let Self(most, what, _) = self;
            let mut items = Vec::new();
            while items.len() < most {
                match list.next_element()? {
                    Some(item) => items.push(item),
                    None => return Ok(items),
                }
            }
            let mut count = most;
            while list.next_element::<IgnoredAny>()?.is_some() {
                count = count.saturating_add(1);
            }
            if count > most {
                return Err(A::Error::custom(format!(
                    "there are {count} {what}, and at most {most} are read"
                )));
            }
            Ok(items)
        }
    }
    deserializer.deserialize_seq(Items(most, what, PhantomData))
}

/// Reads a map, each of whose keys is there once.
///
/// # Errors
/// Where one is there again, and those of keys and values.
pub fn map<'de, D, K, T>(deserializer: D) -> Result<BTreeMap<K, T>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord + fmt::Display,
    T: Deserialize<'de>,
{
    struct Entries<K, T>(PhantomData<(K, T)>);
    impl<'de, K: Deserialize<'de> + Ord + fmt::Display, T: Deserialize<'de>> Visitor<'de>
        for Entries<K, T>
    {
        type Value = BTreeMap<K, T>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<BTreeMap<K, T>, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some(key) = map.next_key::<K>()? {
                if entries.contains_key(&key) {
                    return Err(twice(&mut map, &key));
                }
                if entries.is_empty() {
                    // The first makes room for 11.
                    let entry = size_of::<K>().saturating_add(size_of::<T>());
                    take(entry.saturating_mul(12))?;
                }
                let value = map.next_value()?;
                entries.insert(key, value);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries(PhantomData))
}

/// Reads any value at all, within the same bounds.
///
/// # Errors
/// Where it is too deep, has a key twice or takes too much.
pub fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let _reading = Reading::begin();
    kept().deserialize(deserializer)
}

/// Reads a value that nobody here knows.
pub(super) fn kept() -> Kept {
    Kept(0)
}

/// A value that nobody here knows, so deep within another.
#[derive(Clone, Copy)]
pub(super) struct Kept(usize);

impl Kept {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.0.saturating_add(1);
        if depth > DEEPEST {
            return Err(E::custom(format!("it is more than {DEEPEST} deep")));
        }
        Ok(Self(depth))
    }
}

impl<'de> DeserializeSeed<'de> for Kept {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // What is no number could not be written again.
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("it is no finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(inner)? {
            take(size_of::<Value>().saturating_mul(3))?;
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(twice(&mut map, &name));
            }
            if fields.is_empty() {
                take(VALUE_BYTES)?;
            }
            let value = map.next_value_seed(inner)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}
