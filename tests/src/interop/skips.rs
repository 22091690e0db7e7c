//! The committed list of rows that may be skipped in a guest, and why nothing is lost by it.

use serde::Deserialize;

use super::Row;
use crate::suite::record::Verdict;

const COMMITTED: &str = include_str!("../../interop.toml");

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
    /// Behaviours; all where there are none.
    #[serde(default)]
    behaviours: Vec<String>,
    /// Configurations; all where there are none.
    #[serde(default)]
    configurations: Vec<String>,
    /// What the row's name holds.
    #[serde(default)]
    row: String,
    /// What the row's reason holds.
    reason: String,
    /// Why the guest cannot do it.
    because: String,
}

impl Skips {
    /// The list of `tests/interop.toml`.
    ///
    /// # Errors
    /// Where it is no list.
    pub fn committed() -> Result<Self, toml::de::Error> {
        toml::from_str(COMMITTED)
    }

    /// Why a row may be skipped on a configuration; `None` where it may not.
    #[must_use]
    pub fn allows(&self, configuration: &str, row: &Row) -> Option<&str> {
        let among = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|listed| listed == name)
        };
        self.skip
            .iter()
            .find(|skip| {
                row.verdict == Verdict::Skipped
                    && among(&skip.behaviours, &row.behaviour)
                    && among(&skip.configurations, configuration)
                    && row.row.contains(&skip.row)
                    && row.reason.contains(&skip.reason)
            })
            .map(|skip| skip.because.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::BEHAVIOURS;
    use crate::vm::config::Config;

    #[test]
    fn list_names_behaviours_and_configurations_that_exist() {
        for skip in Skips::committed().unwrap().skip {
            assert!(
                !skip.because.is_empty() && !skip.reason.is_empty(),
                "{skip:?}"
            );
            assert!(
                skip.behaviours
                    .iter()
                    .all(|name| BEHAVIOURS.contains(&name.as_str())),
                "{skip:?}"
            );
            let known = |name: &String| Config::ALL.iter().any(|config| config.name() == name);
            assert!(skip.configurations.iter().all(known), "{skip:?}");
        }
    }

    #[test]
    fn row_is_allowed_only_where_all_of_an_entry_holds() {
        let list = "[[skip]]\nbehaviours = [\"vulkan_and_gbm\"]\nconfigurations = [\"vkms\"]\n\
                    row = \"XR24\"\nreason = \"no card\"\nbecause = \"there is none\"\n";
        let skips: Skips = toml::from_str(list).unwrap();
        let mut row = Row {
            behaviour: "vulkan_and_gbm".to_owned(),
            row: "a XR24".to_owned(),
            verdict: Verdict::Skipped,
            reason: "there is no card here".to_owned(),
        };
        assert!(skips.allows("vkms", &row).is_some());
        assert!(skips.allows("full", &row).is_none());
        row.row = "a NV12".to_owned();
        assert!(skips.allows("vkms", &row).is_none());
        row.row = "a XR24".to_owned();
        row.verdict = Verdict::Failed;
        assert!(skips.allows("vkms", &row).is_none());
    }
}
