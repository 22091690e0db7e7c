//! The memory budget for reading one file or request, and readers of lists, maps and values that stay within this budget.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Number, Value};

use super::reader::duplicate_key;

/// The maximum number of bytes of memory that the structures of one file or request may take together.
///
/// A structure may take a hundred times as many bytes as its text, as for `{}`, so a bound on the text alone is not enough. Real
/// files take less than a hundredth of this budget.
const MAXIMUM_BYTES: usize = 64 << 20;

/// The number of bytes that are charged for a JSON object with unknown fields. Its first field allocates a node of a `BTreeMap`
/// with room for 11 entries.
const VALUE_BYTES: usize = 700;

/// The maximum number of levels of nesting in a value of unknown structure.
const MAXIMUM_DEPTH: usize = 32;

thread_local! {
    /// The number of nested structures that this thread is reading, and the bytes that were charged for them.
    static CHARGED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// A guard for reading a structure. While it exists, memory is charged to the budget. The outermost guard resets the charged
/// bytes to 0.
pub struct BudgetScope;

impl BudgetScope {
    /// Begins to charge memory. If this thread is already reading an enclosing structure, both use the same budget.
    pub fn begin() -> Self {
        let (depth, bytes) = CHARGED.get();
        CHARGED.set((depth.saturating_add(1), if depth == 0 { 0 } else { bytes }));
        Self
    }
}

impl Drop for BudgetScope {
    fn drop(&mut self) {
        let (depth, bytes) = CHARGED.get();
        CHARGED.set((depth.saturating_sub(1), bytes));
    }
}

/// Charges memory to the budget, in bytes.
///
/// # Errors
/// The file or request takes more memory than the budget allows.
pub(crate) fn charge<E: Error>(bytes: usize) -> Result<(), E> {
    let (depth, taken) = CHARGED.get();
    let taken = taken.saturating_add(bytes);
    // Without a guard nothing is charged, because nothing would reset the count.
    if depth == 0 {
        return Ok(());
    }
    CHARGED.set((depth, taken));
    if taken > MAXIMUM_BYTES {
        return Err(E::custom(format!(
            "the structures of the file would take more than {} MiB of memory",
            MAXIMUM_BYTES >> 20
        )));
    }
    Ok(())
}

/// Charges memory for one item of a list. When a list grows, it has room for twice its items while the old allocation still
/// exists, so three times the item's size is charged.
pub fn charge_one<T, E: Error>() -> Result<(), E> {
    charge(size_of::<T>().saturating_mul(3))
}

/// Reads a list of at most `most` items. `what` names the items in the error.
///
/// # Errors
/// The list has more items, in which case the error states their number, or an item cannot be read.
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

/// Reads a map and refuses duplicate keys.
///
/// # Errors
/// A key occurs twice, or a key or value cannot be read.
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
                    return Err(duplicate_key(&mut map, &key));
                }
                if entries.is_empty() {
                    // The first entry allocates a node of the map with room for 11 entries.
                    let entry = size_of::<K>().saturating_add(size_of::<T>());
                    charge(entry.saturating_mul(12))?;
                }
                let value = map.next_value()?;
                entries.insert(key, value);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries(PhantomData))
}

/// Reads a JSON value of any structure within the budget.
///
/// # Errors
/// The value is nested too deeply, has a duplicate key, or takes too much memory.
pub fn value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let _scope = BudgetScope::begin();
    any_value().deserialize(deserializer)
}

/// Returns the seed for reading a value of any structure.
pub(super) fn any_value() -> AnyValue {
    AnyValue(0)
}

/// A seed for reading a value of any structure. The number is the value's level of nesting.
#[derive(Clone, Copy)]
pub(super) struct AnyValue(usize);

impl AnyValue {
    /// Returns the reader for a value that is nested one level deeper, or an error beyond [`MAXIMUM_DEPTH`] levels.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.0.saturating_add(1);
        if depth > MAXIMUM_DEPTH {
            return Err(E::custom(format!(
                "it is nested more than {MAXIMUM_DEPTH} levels deep"
            )));
        }
        Ok(Self(depth))
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
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
        // JSON has no notation for infinities and NaN, so such a number is refused.
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("it is not a finite number"))
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
            charge(size_of::<Value>().saturating_mul(3))?;
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(duplicate_key(&mut map, &name));
            }
            if fields.is_empty() {
                charge(VALUE_BYTES)?;
            }
            let value = map.next_value_seed(inner)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}
