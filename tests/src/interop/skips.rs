//! The committed lists of the rows that may be skipped in a guest, with the reasons.
//!
//! `covalent-interop-check` and `covalent-alloc-check` report many [`Row`]s in one case of the suite. Each skipped row must match
//! an entry of the list; otherwise a check could be skipped unnoticed. Each entry must match a skipped row; otherwise an entry
//! that is no longer needed would hide a later skip.

use serde::Deserialize;

use super::Row;
use crate::verdict::Verdict;

/// The list for the rows of `covalent-interop-check`.
const INTEROP: &str = include_str!("../../interop.toml");
/// The list for the lines of `covalent-alloc-check`.
const CHECKS: &str = include_str!("../../checks.toml");

/// A list of rows that may be skipped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    skip: Vec<Skip>,
}

/// An entry of the list: the rows that it matches, and the reason why they may be skipped.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// The behaviours, or the themes of `covalent-alloc-check`, to which the entry applies; empty for all.
    #[serde(default, alias = "themes")]
    behaviours: Vec<String>,
    /// The guest configurations to which the entry applies; empty for all.
    #[serde(default)]
    configurations: Vec<String>,
    /// A text that the name of the row contains.
    #[serde(default, alias = "check")]
    row: String,
    /// A text that the reason of the skipped row contains.
    reason: String,
    /// The reason why the guest cannot run these rows.
    because: String,
    /// What decides whether the row is skipped, besides the guest's configuration, such as a property of the host. An entry with
    /// such a condition need not match a row.
    depends_on: Option<String>,
}

impl Skip {
    /// Returns whether the entry applies to a behaviour on a configuration.
    fn applies_to(&self, configuration: &str, behaviour: &str) -> bool {
        let among = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|listed| listed == name)
        };
        among(&self.behaviours, behaviour) && among(&self.configurations, configuration)
    }

    /// Returns whether the row was skipped and may be skipped in this configuration.
    fn allows(&self, configuration: &str, row: &Row) -> bool {
        row.verdict == Verdict::Skipped
            && self.applies_to(configuration, &row.behaviour)
            && row.row.contains(&self.row)
            && row.reason.contains(&self.reason)
    }
}

impl Skips {
    /// Parses `tests/interop.toml`, the list for rows of `covalent-interop-check`.
    ///
    /// # Errors
    /// The file is not a valid list.
    pub fn of_interop() -> Result<Self, toml::de::Error> {
        toml::from_str(INTEROP)
    }

    /// Parses `tests/checks.toml`, the list for lines of `covalent-alloc-check`.
    ///
    /// # Errors
    /// The file is not a valid list.
    pub fn of_checks() -> Result<Self, toml::de::Error> {
        toml::from_str(CHECKS)
    }

    /// Returns the list for a run with only some of the rows. No entry of this list has to match a row.
    #[must_use]
    pub fn for_part(mut self) -> Self {
        for skip in &mut self.skip {
            skip.depends_on
                .get_or_insert_with(|| "which rows are tried".to_owned());
        }
        self
    }

    /// Returns the reason why a row may be skipped on a configuration; `None` if no entry matches the row.
    #[must_use]
    pub fn allows(&self, configuration: &str, row: &Row) -> Option<&str> {
        self.skip
            .iter()
            .find(|skip| skip.allows(configuration, row))
            .map(|skip| skip.because.as_str())
    }

    /// Checks the rows of a configuration against the list. Returns the number of rows that were skipped.
    ///
    /// # Errors
    /// A row failed, a skip matches no entry, an entry for these behaviours matches no row, or no row passed. The message lists
    /// the rows and entries.
    pub fn check(&self, configuration: &str, rows: &[Row]) -> Result<usize, String> {
        let mut wrong: Vec<String> = Vec::new();
        for row in rows {
            match row.verdict {
                Verdict::Passed => {}
                Verdict::Failed => wrong.push(row.to_string()),
                Verdict::Skipped if self.allows(configuration, row).is_some() => {}
                Verdict::Skipped => wrong.push(format!("{row} (no list expects this skip)")),
            }
        }
        for skip in &self.skip {
            let applies = |row: &Row| skip.applies_to(configuration, &row.behaviour);
            let is_stale = skip.depends_on.is_none()
                && rows.iter().any(applies)
                && !rows.iter().any(|row| skip.allows(configuration, row));
            if is_stale {
                wrong.push(format!(
                    "no row whose name contains {:?} was skipped on {configuration} for a reason that contains {:?}; \
                     the list expects such a row, because {}",
                    skip.row, skip.reason, skip.because
                ));
            }
        }
        if !rows.iter().any(|row| row.verdict == Verdict::Passed) {
            wrong.push("no row passed".to_owned());
        }
        if wrong.is_empty() {
            let skipped = |row: &&Row| row.verdict == Verdict::Skipped;
            Ok(rows.iter().filter(skipped).count())
        } else {
            Err(wrong.join("\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::BEHAVIOURS;
    use crate::vm::config::Config;

    const LIST: &str = "[[skip]]\nthemes = [\"cards\"]\nconfigurations = [\"vkms\"]\ncheck = \"XR24\"\n\
                        reason = \"no card\"\nbecause = \"there is none\"\n";

    fn list(more: &str) -> Skips {
        toml::from_str(&format!("{LIST}{more}")).unwrap()
    }

    fn rows(lines: &str) -> Vec<Row> {
        lines
            .lines()
            .filter_map(|line| Row::parse("cards", line))
            .collect()
    }

    #[test]
    fn list_names_behaviours_and_configurations_that_exist() {
        let known = |name: &String| Config::ALL.iter().any(|config| config.name() == name);
        for (list, is_interop) in [(Skips::of_interop(), true), (Skips::of_checks(), false)] {
            for skip in list.unwrap().skip {
                let given = [
                    Some(&skip.reason),
                    Some(&skip.because),
                    skip.depends_on.as_ref(),
                ];
                assert!(
                    !given.into_iter().flatten().any(String::is_empty),
                    "{skip:?}"
                );
                assert!(skip.configurations.iter().all(known), "{skip:?}");
                if is_interop {
                    let known = |name: &String| BEHAVIOURS.contains(&name.as_str());
                    assert!(skip.behaviours.iter().all(known), "{skip:?}");
                } else {
                    assert!(!skip.behaviours.is_empty(), "{skip:?} is of every theme");
                }
            }
        }
    }

    #[test]
    fn row_is_allowed_only_where_every_field_of_an_entry_matches() {
        let skips = list("");
        let mut row = Row {
            behaviour: "cards".to_owned(),
            row: "a XR24".to_owned(),
            verdict: Verdict::Skipped,
            reason: "there is no card here".to_owned(),
        };
        assert_eq!(skips.allows("vkms", &row), Some("there is none"));
        assert_eq!(skips.allows("full", &row), None);
        row.row = "a NV12".to_owned();
        assert_eq!(skips.allows("vkms", &row), None);
        row.row = "a XR24".to_owned();
        row.verdict = Verdict::Failed;
        assert_eq!(skips.allows("vkms", &row), None);
        row.verdict = Verdict::Skipped;
        row.behaviour = "queues".to_owned();
        assert_eq!(skips.allows("vkms", &row), None);
    }

    #[test]
    fn skip_without_an_entry_is_an_error() {
        let lines = "passed a NV12\nskipped a XR24: no card\nskipped a NV12: it rains\n";
        assert_eq!(
            list("").check("vkms", &rows(lines)).unwrap_err(),
            "skipped cards/a NV12: it rains (no list expects this skip)"
        );
        let lines = "passed a NV12\nskipped a XR24: no card\n";
        assert_eq!(list("").check("vkms", &rows(lines)), Ok(1));
        // The list has no entry for the configuration in which this row is skipped.
        let message = list("").check("full", &rows(lines)).unwrap_err();
        assert!(
            message.starts_with("skipped cards/a XR24: no card"),
            "{message}"
        );
    }

    #[test]
    fn entry_without_a_skip_is_an_error_unless_it_has_a_condition() {
        let lines = rows("passed a NV12\npassed a XR24\n");
        assert_eq!(
            list("").check("vkms", &lines).unwrap_err(),
            "no row whose name contains \"XR24\" was skipped on vkms for a reason that contains \"no card\"; \
             the list expects such a row, because there is none"
        );
        // No row has to match an entry for another configuration, or an entry with a condition.
        assert_eq!(list("").check("full", &lines), Ok(0));
        let host = list("depends_on = \"the host's udmabuf\"\n");
        assert_eq!(host.check("vkms", &lines), Ok(0));
        assert_eq!(list("").for_part().check("vkms", &lines), Ok(0));
        // The entry applies to another theme, of which no check ran, so it need not match.
        let other: Vec<Row> = Row::parse("queues", "passed a").into_iter().collect();
        assert_eq!(list("").check("vkms", &other), Ok(0));
    }

    #[test]
    fn failed_row_and_missing_passed_row_are_errors() {
        let result = list("").check("full", &rows("passed a\nfailed b: it broke\n"));
        assert_eq!(result.unwrap_err(), "failed cards/b: it broke");
        for lines in ["", "skipped a XR24: no card\n", "passed\n"] {
            let message = list("").check("vkms", &rows(lines)).unwrap_err();
            assert!(message.ends_with("no row passed"), "{message}");
        }
    }
}
