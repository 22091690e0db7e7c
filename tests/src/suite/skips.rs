//! The committed list of cases that may be skipped, each with its reason.

use std::collections::BTreeMap;

use serde::Deserialize;

const COMMITTED: &str = include_str!("../../skips.toml");

/// The list of cases that may be skipped.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    /// The reason why a case may be skipped, by the name of the case.
    skip: BTreeMap<String, String>,
}

impl Skips {
    /// Parses `tests/skips.toml`.
    ///
    /// # Errors
    /// The file is not valid.
    pub fn committed() -> Result<Self, toml::de::Error> {
        Self::parse(COMMITTED)
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Returns whether the case `name` may be skipped.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.skip.contains_key(name)
    }

    /// Returns the names of the cases on the list.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.skip.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_is_true_for_listed_names_only() {
        let skips = Skips::parse("[skip]\n\"theme::case\" = \"no such device\"\n").unwrap();
        assert!(skips.allows("theme::case"));
        assert!(!skips.allows("theme::other"));
    }

    #[test]
    fn parse_with_unknown_keys_is_an_error() {
        assert!(Skips::parse("[skip]\n[skips]\n").is_err());
        assert!(Skips::parse("[skip]\n\"theme::case\" = 3\n").is_err());
    }
}
