//! The committed lists of what may be skipped in a guest, and why nothing is lost by it.
//!
//! Two programs try many things in one case and tell of each in a [`Row`]. Each skip among them has to be on the list, for a
//! check that is skipped unnoticed shows nothing. What is on the list has to be skipped too, or the list grows old: an entry
//! that nothing needs any more would hide the next skip that resembles it.

use serde::Deserialize;

use super::Row;
use crate::verdict::Verdict;

/// Of the rows of `covalent-interop-check`.
const INTEROP: &str = include_str!("../../interop.toml");
/// Of the lines of `covalent-alloc-check`.
const CHECKS: &str = include_str!("../../checks.toml");

/// The list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skips {
    skip: Vec<Skip>,
}

/// One reason that a guest may have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// Behaviours, or themes of checks; all where there are none.
    #[serde(default, alias = "themes")]
    behaviours: Vec<String>,
    /// Configurations; all where there are none.
    #[serde(default)]
    configurations: Vec<String>,
    /// What the row's or the check's name holds.
    #[serde(default, alias = "check")]
    row: String,
    /// What the row's reason holds.
    reason: String,
    /// Why the guest cannot do it.
    because: String,
    /// What decides whether it is skipped, where that is not the guest alone. Without it the skip has to be seen.
    depends_on: Option<String>,
}

impl Skip {
    /// Whether it is about this behaviour on this configuration.
    fn is_about(&self, configuration: &str, behaviour: &str) -> bool {
        let among = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|listed| listed == name)
        };
        among(&self.behaviours, behaviour) && among(&self.configurations, configuration)
    }

    fn allows(&self, configuration: &str, row: &Row) -> bool {
        row.verdict == Verdict::Skipped
            && self.is_about(configuration, &row.behaviour)
            && row.row.contains(&self.row)
            && row.reason.contains(&self.reason)
    }
}

impl Skips {
    /// The list of `tests/interop.toml`: rows of `covalent-interop-check`.
    ///
    /// # Errors
    /// Where it is no list.
    pub fn of_interop() -> Result<Self, toml::de::Error> {
        toml::from_str(INTEROP)
    }

    /// The list of `tests/checks.toml`: lines of `covalent-alloc-check`.
    ///
    /// # Errors
    /// Where it is no list.
    pub fn of_checks() -> Result<Self, toml::de::Error> {
        toml::from_str(CHECKS)
    }

    /// The same list for a part of the rows, in which not everything that it expects occurs.
    #[must_use]
    pub fn for_part(mut self) -> Self {
        for skip in &mut self.skip {
            skip.depends_on
                .get_or_insert_with(|| "which rows are tried".to_owned());
        }
        self
    }

    /// Why a row may be skipped on a configuration; `None` where it may not.
    #[must_use]
    pub fn allows(&self, configuration: &str, row: &Row) -> Option<&str> {
        self.skip
            .iter()
            .find(|skip| skip.allows(configuration, row))
            .map(|skip| skip.because.as_str())
    }

    /// Judges all that was tried on a configuration, and returns how many rows were skipped.
    ///
    /// # Errors
    /// With the rows that failed, the skips that are not listed, and the entries of the list that are about one of these
    /// behaviours and that no row needed; also where no row passed.
    pub fn judge(&self, configuration: &str, rows: &[Row]) -> Result<usize, String> {
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
            let is_about = |row: &Row| skip.is_about(configuration, &row.behaviour);
            let is_stale = skip.depends_on.is_none()
                && rows.iter().any(is_about)
                && !rows.iter().any(|row| skip.allows(configuration, row));
            if is_stale {
                wrong.push(format!(
                    "nothing was skipped on {configuration} for {:?} (rows with {:?}): the list expects it, because {}",
                    skip.reason, skip.row, skip.because
                ));
            }
        }
        if !rows.iter().any(|row| row.verdict == Verdict::Passed) {
            wrong.push("nothing was tried that passed".to_owned());
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
    fn row_is_allowed_only_where_all_of_an_entry_holds() {
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
    fn skip_that_no_list_expects_is_an_error() {
        let told = "passed a NV12\nskipped a XR24: no card\nskipped a NV12: it rains\n";
        assert_eq!(
            list("").judge("vkms", &rows(told)).unwrap_err(),
            "skipped cards/a NV12: it rains (no list expects this skip)"
        );
        let told = "passed a NV12\nskipped a XR24: no card\n";
        assert_eq!(list("").judge("vkms", &rows(told)), Ok(1));
        // The same skip on a configuration of which nothing is listed.
        let words = list("").judge("full", &rows(told)).unwrap_err();
        assert!(
            words.starts_with("skipped cards/a XR24: no card"),
            "{words}"
        );
    }

    #[test]
    fn listed_skip_that_is_not_seen_is_an_error_where_the_guest_decides_it() {
        let told = rows("passed a NV12\npassed a XR24\n");
        assert_eq!(
            list("").judge("vkms", &told).unwrap_err(),
            "nothing was skipped on vkms for \"no card\" (rows with \"XR24\"): the list expects it, because there is none"
        );
        // It is about another configuration, or depends on more than the guest.
        assert_eq!(list("").judge("full", &told), Ok(0));
        let host = list("depends_on = \"the host's udmabuf\"\n");
        assert_eq!(host.judge("vkms", &told), Ok(0));
        assert_eq!(list("").for_part().judge("vkms", &told), Ok(0));
        // It is about another theme, of which nothing was tried here.
        let other: Vec<Row> = Row::parse("queues", "passed a").into_iter().collect();
        assert_eq!(list("").judge("vkms", &other), Ok(0));
    }

    #[test]
    fn failed_row_and_no_row_that_passed_are_errors() {
        let words = list("").judge("full", &rows("passed a\nfailed b: it broke\n"));
        assert_eq!(words.unwrap_err(), "failed cards/b: it broke");
        for told in ["", "skipped a XR24: no card\n", "passed\n"] {
            let words = list("").judge("vkms", &rows(told)).unwrap_err();
            assert!(words.ends_with("nothing was tried that passed"), "{words}");
        }
    }
}
