//! The facts that ship with this crate.

use super::fact::TrialResult;

/// They are data, with where each can be looked up.
const TEXT: &str = include_str!("known.json");

/// Returns them.
///
/// # Panics
/// Where the file in this crate is damaged: a test reads it.
pub(super) fn facts() -> Vec<TrialResult> {
    serde_json::from_str(TEXT).expect("known.json in this crate is what TrialResult writes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::fact::Origin;

    #[test]
    fn facts_that_ship_are_readable_and_name_their_origin() {
        let facts: Vec<TrialResult> = serde_json::from_str(TEXT).unwrap();
        let drivers: Vec<&str> = facts
            .iter()
            .map(|fact| fact.participant.driver.as_str())
            .collect();
        assert_eq!(drivers, ["amdgpu", "i915", "xe"]);
        for fact in facts {
            let Origin::WellKnown { reference } = &fact.origin else {
                panic!("{fact} is not known from anywhere")
            };
            // A project, a file of its source, a function in it, and what it does.
            let parts: Vec<&str> = reference.splitn(3, ", ").collect();
            let [project, file, rest] = parts[..] else {
                panic!("{fact}: {reference}")
            };
            assert_eq!(project, "Linux", "{fact}");
            assert!(file.starts_with("drivers/gpu/drm/"), "{fact}: {file}");
            assert!(file.ends_with(".c"), "{fact}: {file}");
            let (function, what) = rest.split_once(": ").unwrap();
            let is_name = |sign: char| sign.is_ascii_lowercase() || sign == '_';
            assert!(function.chars().all(is_name), "{fact}: {function}");
            assert!(what.starts_with("linear "), "{fact}: {what}");
            assert_eq!(fact.expires, None, "{fact}");
        }
    }
}
