//! The matrix as text that fits 80 columns.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::grid::{Grid, Layouts, Mark, Row, Standing, standing_words};
use crate::text::{shorten, wrap};

/// The widest line.
pub(super) const WIDTH: usize = 80;
/// A sign and the number of its reason, with a space before.
const COLUMN: usize = 4;
/// The widest name of a row; longer ones are cut.
const LABEL: usize = 34;
/// The letters of columns.
const LETTERS: std::ops::RangeInclusive<char> = 'a'..='z';

/// What a pair is seen as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    One(Standing),
    Mixed,
    Nothing,
}

impl Sign {
    const ALL: [Self; 8] = [
        Self::One(Standing::Guaranteed),
        Self::One(Standing::Possible),
        Self::Mixed,
        Self::One(Standing::Impossible),
        Self::One(Standing::Untested),
        Self::One(Standing::Unproved),
        Self::One(Standing::Disagrees),
        Self::Nothing,
    ];

    fn of(mark: &Mark) -> Self {
        match mark.range() {
            None => Self::Nothing,
            // What is wrong is never hidden behind what is right.
            Some((_, Standing::Disagrees)) => Self::One(Standing::Disagrees),
            Some((best, worst)) if best == worst => Self::One(best),
            Some(_) => Self::Mixed,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::One(Standing::Guaranteed) => '+',
            Self::One(Standing::Possible) => '~',
            Self::One(Standing::Untested) => '?',
            Self::One(Standing::Unproved) => '*',
            Self::One(Standing::Impossible) => '-',
            Self::One(Standing::Disagrees) => '!',
            Self::Mixed => '/',
            Self::Nothing => '.',
        }
    }

    fn style(self) -> Style {
        let colour = match self {
            Self::One(Standing::Guaranteed) => AnsiColor::Green,
            Self::One(Standing::Possible) | Self::Mixed => AnsiColor::Yellow,
            Self::One(Standing::Impossible) => AnsiColor::Red,
            Self::One(Standing::Untested | Standing::Unproved) => AnsiColor::Cyan,
            Self::One(Standing::Disagrees) => return AnsiColor::Magenta.on_default().bold(),
            Self::Nothing => return Style::new().dimmed(),
        };
        colour.on_default()
    }

    fn words(self) -> &'static str {
        match self {
            Self::One(standing) => standing_words(standing),
            Self::Mixed => "in some formats or sizes only",
            Self::Nothing => "takes none of the formats tried",
        }
    }
}

/// Renders sources down and participants across, in several tables where one is too wide, with colours.
///
/// Whoever writes it where colours are not wanted takes them out.
pub(super) fn render(grid: &Grid) -> String {
    let mut text = String::new();
    let label = grid
        .rows
        .iter()
        .map(|row| row_name(row).chars().count().min(LABEL))
        .max()
        .unwrap_or(0);
    let across = WIDTH.saturating_sub(label) / COLUMN;
    let across = across.clamp(1, LETTERS.count());
    let strong = Style::new().bold();
    let mut begin = 0_usize;
    for group in grid.columns.chunks(across) {
        for (letter, column) in LETTERS.zip(group) {
            for (place, line) in wrap(&column.name, WIDTH - 5).into_iter().enumerate() {
                let letter = if place == 0 { letter } else { ' ' };
                put(&mut text, &format!("  {strong}{letter}{strong:#}  {line}"));
            }
        }
        let heads: String = LETTERS
            .take(group.len())
            .map(|letter| format!(" {letter:<3}"))
            .collect();
        put(
            &mut text,
            &format!("{:label$}{strong}{}{strong:#}", "", heads.trim_end()),
        );
        for row in &grid.rows {
            let mut line = format!("{:label$}", shorten(&row_name(row), label));
            for mark in row.marks.iter().skip(begin).take(group.len()) {
                line.push_str(&entry(mark));
            }
            put(&mut text, line.trim_end());
        }
        text.push('\n');
        begin = begin.saturating_add(group.len());
    }
    key(&mut text, grid);
    reasons(&mut text, grid);
    left_out(&mut text, grid);
    text
}

/// A space, a sign and the number of its first reason, in [`COLUMN`] columns.
fn entry(mark: &Mark) -> String {
    let sign = Sign::of(mark);
    let style = sign.style();
    // A third digit has no room; such a reason is in the picture and in the JSON.
    let number = mark
        .reasons
        .first()
        .map(|place| place.saturating_add(1))
        .filter(|number| *number < 100)
        .map_or_else(String::new, |number| number.to_string());
    let blank = " ".repeat(COLUMN.saturating_sub(2).saturating_sub(number.len()));
    format!(" {style}{}{number}{style:#}{blank}", sign.letter())
}

/// Explains the signs that are seen.
fn key(text: &mut String, grid: &Grid) {
    let marks = || grid.rows.iter().flat_map(|row| &row.marks);
    for sign in Sign::ALL {
        if marks().any(|mark| Sign::of(mark) == sign) {
            let style = sign.style();
            put(
                text,
                &format!("{style}{}{style:#} {}", sign.letter(), sign.words()),
            );
        }
    }
}

fn reasons(text: &mut String, grid: &Grid) {
    const NUMBER: usize = 4;
    if grid.reasons.is_empty() {
        return;
    }
    text.push('\n');
    put(
        text,
        "Why, by number (the source is the row, `it` the column; the first of several):",
    );
    for (number, reason) in (1_usize..).zip(&grid.reasons) {
        for (place, line) in wrap(reason, WIDTH - NUMBER - 1).into_iter().enumerate() {
            if place == 0 {
                put(text, &format!("{number:NUMBER$} {line}"));
            } else {
                put(text, &format!("{:NUMBER$} {line}", ""));
            }
        }
    }
}

fn left_out(text: &mut String, grid: &Grid) {
    if !grid.left_out.is_empty() {
        text.push_str("\nLeft out:\n");
    }
    for words in &grid.left_out {
        for (place, line) in wrap(words, WIDTH - 4).into_iter().enumerate() {
            let indent = if place == 0 { "  " } else { "    " };
            put(text, &format!("{indent}{line}"));
        }
    }
}

fn row_name(row: &Row) -> String {
    match row.layouts {
        Layouts::Linear => row.id.clone(),
        Layouts::Implicit => format!("{} (untold)", shorten(&row.id, LABEL - 9)),
        // One row for all sources has a name of its own.
        Layouts::Vendor if row.id == row.name => row.id.clone(),
        Layouts::Vendor => format!("{} (others)", shorten(&row.id, LABEL - 9)),
    }
}

fn put(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::record::{Recorded, RecordedParticipant};
    use super::*;
    use anstream::adapter::strip_str;

    fn plain(recorded: &Recorded) -> String {
        strip_str(&render(&Grid::of(recorded))).to_string()
    }

    #[test]
    fn table_of_a_fixed_matrix_is_as_it_was() {
        insta::assert_snapshot!(plain(&fixture::machine()));
    }

    #[test]
    fn table_with_colours_is_as_it_was() {
        let text = render(&Grid::of(&fixture::machine()));
        insta::assert_snapshot!(text.replace('\u{1b}', "␛"));
    }

    #[test]
    fn table_of_many_with_long_names_fits_the_terminal() {
        let mut recorded = fixture::machine();
        for number in 0..40 {
            recorded.participants.push(RecordedParticipant {
                name: format!("{} {number}", "driver with a long name ".repeat(5)),
                ..recorded.participants[0].clone()
            });
        }
        recorded.sources[0].id = covalent_alloc::constraint::SourceId::new(
            "v4l2:vivid@platform:a-very-long-name-of-a-bus-1:capture",
        );
        let text = plain(&recorded);
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(text.contains("  k  "), "{text}");
    }

    #[test]
    fn picture_that_drivers_disagree_on_is_never_hidden() {
        let text = plain(&fixture::machine());
        let row = text.lines().find(|line| line.starts_with("dumb:"));
        assert!(row.is_some_and(|row| row.contains('!')), "{text}");
    }
}
