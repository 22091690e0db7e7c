//! Prints reports as JSON. Each report is one object whose first field is the version of its schema in `docs/schema`.

use std::io::{self, Write};

use covalent_alloc::text::printable_json;
use serde::Serialize;

/// The version of reports that have no version of their own. It grows when a field is removed or changes its meaning, not when
/// one is added.
pub(crate) const VERSION: u32 = 1;

/// A report with the version of its format.
#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    report: &'a T,
}

/// Prints a report with the version [`VERSION`]. The report must serialise as an object.
///
/// # Errors
/// The standard output cannot be written, or the report is not an object.
pub(crate) fn print(report: &impl Serialize) -> io::Result<()> {
    print_whole(&Versioned {
        version: VERSION,
        report,
    })
}

/// Prints a report that has its own version.
///
/// # Errors
/// The standard output cannot be written.
pub(crate) fn print_whole(report: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    print_text(&mut io::stdout().lock(), &text)
}

/// Prints a report that has its own version as one line, for a verb that prints several reports.
///
/// # Errors
/// The standard output cannot be written.
pub(crate) fn print_line(report: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_string(report)?;
    let mut out = io::stdout().lock();
    print_text(&mut out, &text)?;
    out.flush()
}

/// Prints JSON text. Characters that are not printable are escaped, because the output may be a terminal.
///
/// # Errors
/// The stream cannot be written.
pub(crate) fn print_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{}", printable_json(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_added_to_the_fields_of_a_report() {
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
