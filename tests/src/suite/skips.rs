//! The committed list of skips: which cases may be skipped, and why that is no loss.

use std::collections::BTreeMap;

use serde::Deserialize;

const COMMITTED: &str = include_str!("../../skips.toml");

/// The list.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    /// By the case's name: why it may be skipped.
    skip: BTreeMap<String, String>,
}

impl Skips {
    /// The list of `tests/skips.toml`.
    ///
    /// # Errors
    /// Where it is no list.
    pub fn committed() -> Result<Self, toml::de::Error> {
        Self::parse(COMMITTED)
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Whether the case `name` may be skipped.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.skip.contains_key(name)
    }

    /// The cases on the list.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.skip.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_allows_what_it_names_and_nothing_else() {
        let skips = Skips::parse("[skip]\n\"theme::case\" = \"no such device\"\n").unwrap();
        assert!(skips.allows("theme::case"));
        assert!(!skips.allows("theme::other"));
    }

    #[test]
    fn list_with_unknown_words_is_an_error() {
        assert!(Skips::parse("[skip]\n[skips]\n").is_err());
        assert!(Skips::parse("[skip]\n\"theme::case\" = 3\n").is_err());
    }
}
