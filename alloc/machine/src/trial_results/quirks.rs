//! The quirks that ship with this crate: driver behaviour that is documented and that no driver declares.

use super::result::TrialResult;

/// The quirks as JSON. Each quirk names the place in a driver's source that shows the behaviour.
const TEXT: &str = include_str!("quirks.json");

/// Returns the quirks that ship with this crate.
///
/// # Panics
/// If `quirks.json` is damaged. A test reads that file, so a released crate does not panic here.
pub(super) fn quirks() -> Vec<TrialResult> {
    serde_json::from_str(TEXT).expect("quirks.json in this crate is a valid list of trial results")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial_results::result::Origin;

    #[test]
    fn quirks_that_ship_are_readable_and_name_their_origin() {
        let quirks: Vec<TrialResult> = serde_json::from_str(TEXT).unwrap();
        let drivers: Vec<&str> = quirks
            .iter()
            .map(|quirk| quirk.participant.driver.as_str())
            .collect();
        assert_eq!(drivers, ["amdgpu", "i915", "xe"]);
        for quirk in quirks {
            let Origin::Quirk { reference } = &quirk.origin else {
                panic!("{quirk} has no reference")
            };
            // A reference names the project, a source file, a function in that file, and what the function does.
            let parts: Vec<&str> = reference.splitn(3, ", ").collect();
            let [project, file, rest] = parts[..] else {
                panic!("{quirk}: {reference}")
            };
            assert_eq!(project, "Linux", "{quirk}");
            assert!(file.starts_with("drivers/gpu/drm/"), "{quirk}: {file}");
            assert!(file.ends_with(".c"), "{quirk}: {file}");
            let (function, what) = rest.split_once(": ").unwrap();
            let is_name = |sign: char| sign.is_ascii_lowercase() || sign == '_';
            assert!(function.chars().all(is_name), "{quirk}: {function}");
            assert!(what.starts_with("linear "), "{quirk}: {what}");
            assert_eq!(quirk.expires, None, "{quirk}");
        }
    }
}
