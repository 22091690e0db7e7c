//! What was measured as text that fits 80 columns: a heading an operation, the fastest first.

use std::fmt::Write as _;

use covalent_alloc::text::printable;

use super::report::{LeftOut, Operation, Report, Row, time};

/// The widest name of a source; longer ones are cut.
const NAME: usize = 30;

/// Renders all of it.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    line(
        &mut text,
        &format!(
            "{} {}, {} rounds after one that does not count, Linux {}",
            report.size, report.format, report.rounds, report.kernel
        ),
    );
    for (heading, rows) in groups(&report.rows) {
        line(&mut text, "");
        line(&mut text, &heading);
        for row in rows {
            let spread = row.spread;
            let quartiles = format!(
                "{} to {}",
                time(spread.lower_quartile_ns),
                time(spread.upper_quartile_ns)
            );
            line(
                &mut text,
                &format!(
                    "  {:NAME$} {:>8} {quartiles:>22} {:>12}",
                    cut(&row.what.source),
                    time(spread.median_ns),
                    row.rate()
                ),
            );
        }
    }
    line(&mut text, "");
    line(
        &mut text,
        "Median, the quartiles around it, and how often in a second (bytes for copies).",
    );
    for (first, sources) in left_out(&report.left_out) {
        let who = match &first.what.participant {
            Some(participant) => format!("{} by {participant}", first.what.operation.title()),
            None => first.what.operation.title().to_owned(),
        };
        line(
            &mut text,
            &format!("left out: {who} ({}): {}", sources.join(", "), first.why),
        );
    }
    text
}

/// The rows under each heading but those on letting go, in the order of operations, the fastest first.
pub(super) fn groups(rows: &[Row]) -> Vec<(String, Vec<&Row>)> {
    // How fast an import ends is of little interest, and would double what is shown: it is in the JSON alone.
    let shown = rows
        .iter()
        .filter(|row| row.what.operation != Operation::Release);
    let mut sorted: Vec<&Row> = shown.collect();
    sorted.sort_by_key(|row| {
        (
            row.what.operation,
            row.what.participant.clone(),
            row.spread.median_ns,
        )
    });
    sorted
        .chunk_by(|one, other| one.what.heading() == other.what.heading())
        .filter_map(|group| Some((group.first()?.what.heading(), group.to_vec())))
        .collect()
}

/// What was left out, those sources together that were for the same reason.
fn left_out(all: &[LeftOut]) -> Vec<(&LeftOut, Vec<&str>)> {
    let mut groups: Vec<(&LeftOut, Vec<&str>)> = Vec::new();
    for one in all {
        let same = groups.iter_mut().find(|(first, _)| {
            first.why == one.why
                && first.what.operation == one.what.operation
                && first.what.participant == one.what.participant
        });
        match same {
            Some((_, sources)) => sources.push(&one.what.source),
            None => groups.push((one, vec![&one.what.source])),
        }
    }
    groups
}

fn line(text: &mut String, words: &str) {
    // A String takes whatever is written to it.
    let _ = writeln!(text, "{}", printable(words.trim_end()));
}

/// The end of a name says more than its middle: which of several it is.
fn cut(name: &str) -> String {
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
    fn table_of_a_machine() {
        let text = render(&report());
        for line in text.lines().filter(|line| !line.starts_with("left out")) {
            assert!(line.chars().count() <= 80, "{line}");
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn name_that_is_long_keeps_both_ends() {
        let name = "vulkan:some_very_long_driver_name@0000:00:02.0";
        assert_eq!(cut(name).chars().count(), NAME);
        assert!(cut(name).ends_with("0000:00:02.0") && cut(name).starts_with("vulkan:some"));
    }
}
