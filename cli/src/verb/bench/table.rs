//! Writes the report as text within 80 columns: a heading for each operation, with the fastest source first.

use std::fmt::Write as _;

use covalent_alloc::text::printable;

use super::report::{Operation, Report, Row, SkippedOperation, time};

/// The widest name of a source; longer names are shortened.
const NAME: usize = 30;

/// Returns the whole report as text.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    line(
        &mut text,
        &format!(
            "{} {}, {} rounds after a warm-up round, Linux {}",
            report.size, report.format, report.rounds, report.kernel
        ),
    );
    for (heading, rows) in groups(&report.rows) {
        line(&mut text, "");
        line(&mut text, &heading);
        for row in rows {
            let quartiles = row.quartiles;
            let middle_half = format!(
                "{} to {}",
                time(quartiles.lower_quartile_ns),
                time(quartiles.upper_quartile_ns)
            );
            line(
                &mut text,
                &format!(
                    "  {:NAME$} {:>8} {middle_half:>22} {:>12}",
                    shorten_name(&row.key.source),
                    time(quartiles.median_ns),
                    row.rate()
                ),
            );
        }
    }
    line(&mut text, "");
    line(
        &mut text,
        "Median, lower to upper quartile, and operations a second (bytes for copies).",
    );
    for (first, sources) in skipped(&report.skipped) {
        let who = match &first.key.participant {
            Some(participant) => format!("{} by {participant}", first.key.operation.title()),
            None => first.key.operation.title().to_owned(),
        };
        line(
            &mut text,
            &format!(
                "not measured: {who} ({}): {}",
                sources.join(", "),
                first.why
            ),
        );
    }
    text
}

/// Returns the rows under each heading, in the order of operations, with the fastest first. Rows about the release of an import
/// are omitted.
pub(super) fn groups(rows: &[Row]) -> Vec<(String, Vec<&Row>)> {
    // The time that a release takes matters little, and these rows would double the length of the table. Only the JSON has them.
    let shown = rows
        .iter()
        .filter(|row| row.key.operation != Operation::Release);
    let mut sorted: Vec<&Row> = shown.collect();
    sorted.sort_by_key(|row| {
        (
            row.key.operation,
            row.key.participant.clone(),
            row.quartiles.median_ns,
        )
    });
    sorted
        .chunk_by(|one, other| one.key.heading() == other.key.heading())
        .filter_map(|group| Some((group.first()?.key.heading(), group.to_vec())))
        .collect()
}

/// Groups the skipped operations: sources that were skipped for the same reason become one entry.
fn skipped(all: &[SkippedOperation]) -> Vec<(&SkippedOperation, Vec<&str>)> {
    let mut groups: Vec<(&SkippedOperation, Vec<&str>)> = Vec::new();
    for one in all {
        let same = groups.iter_mut().find(|(first, _)| {
            first.why == one.why
                && first.key.operation == one.key.operation
                && first.key.participant == one.key.participant
        });
        match same {
            Some((_, sources)) => sources.push(&one.key.source),
            None => groups.push((one, vec![&one.key.source])),
        }
    }
    groups
}

/// Appends a line to the report.
fn line(text: &mut String, words: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", printable(words.trim_end()));
}

/// Shortens a name by removing its middle, because the end distinguishes several devices of one driver.
fn shorten_name(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME {
        return name.to_owned();
    }
    let half = NAME / 2;
    let head: String = name.chars().take(half).collect();
    let tail: String = name
        .chars()
        .skip(count.saturating_sub(NAME.saturating_sub(half).saturating_sub(1)))
        .collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn table_of_a_report_matches_its_snapshot() {
        let text = render(&report());
        for line in text
            .lines()
            .filter(|line| !line.starts_with("not measured"))
        {
            assert!(line.chars().count() <= 80, "{line}");
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn long_name_keeps_both_ends() {
        let name = "vulkan:some_very_long_driver_name@0000:00:02.0";
        assert_eq!(shorten_name(name).chars().count(), NAME);
        assert!(
            shorten_name(name).ends_with("0000:00:02.0")
                && shorten_name(name).starts_with("vulkan:some")
        );
    }
}
