//! The facts that ship with this crate.

use super::fact::Fact;

/// They are data, with where each can be looked up.
const TEXT: &str = include_str!("known.json");

/// Returns them; a text that is none of ours cannot be compiled in, since a test reads it.
pub(super) fn facts() -> Vec<Fact> {
    serde_json::from_str(TEXT).unwrap_or_else(|error| {
        tracing::error!(%error, "known.json is damaged");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::fact::Origin;

    #[test]
    fn facts_that_ship_are_readable_and_name_their_origin() {
        let facts: Vec<Fact> = serde_json::from_str(TEXT).unwrap();
        assert!(!facts.is_empty());
        for fact in facts {
            let Origin::WellKnown { reference } = &fact.origin else {
                panic!("{fact} is not known from anywhere")
            };
            assert!(reference.len() > 10, "{fact}");
            assert_eq!(fact.expires, None, "{fact}");
        }
    }
}
