//! Reports for programs: one JSON object each, which begins with the version of its schema in `docs/schema`.

use std::io::{self, Write as _};

use serde::Serialize;

/// The version of reports that have none of their own: it grows when a field goes or changes its meaning, not when one comes.
pub(crate) const VERSION: u32 = 1;

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    report: &'a T,
}

/// Prints a report, which has to be an object.
///
/// # Errors
/// Those of the standard output; a report that is no object.
pub(crate) fn print(report: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let versioned = Versioned {
        version: VERSION,
        report,
    };
    serde_json::to_writer_pretty(&mut out, &versioned)?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_stands_beside_the_fields_of_a_report() {
        #[derive(Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Either {
            Share(Inner),
        }
        #[derive(Serialize)]
        struct Inner {
            count: u32,
        }
        let versioned = Versioned {
            version: VERSION,
            report: &Either::Share(Inner { count: 3 }),
        };
        let text = serde_json::to_string(&versioned).unwrap();
        assert_eq!(text, r#"{"version":1,"share":{"count":3}}"#);
    }
}
