//! Fields that a newer version wrote: kept, and believed to be demands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Fields that this version does not know, by name.
///
/// Each is a demand that nothing can meet, because nobody here knows what it asks for; unless it is an object that says
/// `"optional": true`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unknown(pub BTreeMap<String, Value>);

impl Unknown {
    /// Returns the names of those that must be met.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|(_, value)| value.get("optional").and_then(Value::as_bool) != Some(true))
            .map(|(name, _)| name.as_str())
    }
}
