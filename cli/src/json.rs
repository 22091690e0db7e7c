//! Reports for programs: one JSON object each, which begins with the version of its schema in `docs/schema`.

use std::io::{self, Write};

use covalent_alloc::text::printable_json;
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
    print_whole(&Versioned {
        version: VERSION,
        report,
    })
}

/// Prints a report that has its own version.
///
/// # Errors
/// Those of the standard output.
pub(crate) fn print_whole(report: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    print_text(&mut io::stdout().lock(), &text)
}

/// Prints JSON that is text already. Characters that are not visible are escaped: it may be a terminal that reads it.
///
/// # Errors
/// Those of the stream.
pub(crate) fn print_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", printable_json(text))
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
