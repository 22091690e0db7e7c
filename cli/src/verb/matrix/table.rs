//! Writes the matrix as text within 80 columns.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::grid::{Grid, ModifierKind, PairStatus, PairSummary, Row, status_label};
use crate::text::{shorten, wrap};

/// The widest line, in columns.
pub(super) const WIDTH: usize = 80;
/// The width of an entry in columns: a space, a sign and the number of a reason.
const COLUMN: usize = 4;
/// The widest name of a row, in columns; longer names are shortened.
const LABEL: usize = 34;
/// The letters that name the columns.
const LETTERS: std::ops::RangeInclusive<char> = 'a'..='z';

/// The sign for a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    One(PairStatus),
    Mixed,
    Nothing,
}

impl Sign {
    const ALL: [Self; 8] = [
        Self::One(PairStatus::Guaranteed),
        Self::One(PairStatus::Possible),
        Self::Mixed,
        Self::One(PairStatus::Impossible),
        Self::One(PairStatus::Untested),
        Self::One(PairStatus::NeedsHardware),
        Self::One(PairStatus::Disagrees),
        Self::Nothing,
    ];

    fn of(pair: &PairSummary) -> Self {
        match pair.range() {
            None => Self::Nothing,
            // A mismatch is always shown, even if other formats agree.
            Some((_, PairStatus::Disagrees)) => Self::One(PairStatus::Disagrees),
            Some((best, worst)) if best == worst => Self::One(best),
            Some(_) => Self::Mixed,
        }
    }

    /// Returns the character that the table shows.
    fn letter(self) -> char {
        match self {
            Self::One(PairStatus::Guaranteed) => '+',
            Self::One(PairStatus::Possible) => '~',
            Self::One(PairStatus::Untested) => '?',
            Self::One(PairStatus::NeedsHardware) => '*',
            Self::One(PairStatus::Impossible) => '-',
            Self::One(PairStatus::Disagrees) => '!',
            Self::Mixed => '/',
            Self::Nothing => '.',
        }
    }

    /// Returns the colour of the character on a terminal.
    fn style(self) -> Style {
        let colour = match self {
            Self::One(PairStatus::Guaranteed) => AnsiColor::Green,
            Self::One(PairStatus::Possible) | Self::Mixed => AnsiColor::Yellow,
            Self::One(PairStatus::Impossible) => AnsiColor::Red,
            Self::One(PairStatus::Untested | PairStatus::NeedsHardware) => AnsiColor::Cyan,
            Self::One(PairStatus::Disagrees) => return AnsiColor::Magenta.on_default().bold(),
            Self::Nothing => return Style::new().dimmed(),
        };
        colour.on_default()
    }

    /// Returns the meaning of the character, for the legend.
    fn words(self) -> &'static str {
        match self {
            Self::One(status) => status_label(status),
            Self::Mixed => "in some formats or sizes only",
            Self::Nothing => "takes none of the formats tried",
        }
    }
}

/// Returns the matrix as text, with sources as rows and participants as columns. If the participants do not fit into 80 columns,
/// several tables are printed.
///
/// The text has colours; the stream that it is written to removes them if they are not wanted.
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
    let mut first = 0_usize;
    for group in grid.columns.chunks(across) {
        for (letter, column) in LETTERS.zip(group) {
            for (number, line) in wrap(&column.name, WIDTH - 5).into_iter().enumerate() {
                let letter = if number == 0 { letter } else { ' ' };
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
            for pair in row.pairs.iter().skip(first).take(group.len()) {
                line.push_str(&entry(pair));
            }
            put(&mut text, line.trim_end());
        }
        text.push('\n');
        first = first.saturating_add(group.len());
    }
    legend(&mut text, grid);
    reasons(&mut text, grid);
    not_measured(&mut text, grid);
    text
}

/// Returns a space, the sign and the number of the first reason, padded to [`COLUMN`] columns.
fn entry(pair: &PairSummary) -> String {
    let sign = Sign::of(pair);
    let style = sign.style();
    // There is no space for a number of three digits. Such a reason is only in the SVG and the JSON.
    let number = pair
        .reasons
        .first()
        .map(|index| index.saturating_add(1))
        .filter(|number| *number < 100)
        .map_or_else(String::new, |number| number.to_string());
    let blank = " ".repeat(COLUMN.saturating_sub(2).saturating_sub(number.len()));
    format!(" {style}{}{number}{style:#}{blank}", sign.letter())
}

/// Writes the meaning of each sign that the table contains.
fn legend(text: &mut String, grid: &Grid) {
    let pairs = || grid.rows.iter().flat_map(|row| &row.pairs);
    for sign in Sign::ALL {
        if pairs().any(|pair| Sign::of(pair) == sign) {
            let style = sign.style();
            put(
                text,
                &format!("{style}{}{style:#} {}", sign.letter(), sign.words()),
            );
        }
    }
}

/// Writes the numbered list of reasons.
fn reasons(text: &mut String, grid: &Grid) {
    /// The width of the column with the numbers, in characters.
    const NUMBER_WIDTH: usize = 4;
    if grid.reasons.is_empty() {
        return;
    }
    text.push('\n');
    put(
        text,
        "Reasons by number. `the source` is that of the row, `it` that of the column:",
    );
    for (number, reason) in (1_usize..).zip(&grid.reasons) {
        for (index, line) in wrap(reason, WIDTH - NUMBER_WIDTH - 1)
            .into_iter()
            .enumerate()
        {
            if index == 0 {
                put(text, &format!("{number:NUMBER_WIDTH$} {line}"));
            } else {
                put(text, &format!("{:NUMBER_WIDTH$} {line}", ""));
            }
        }
    }
}

/// Appends what was not measured, and why.
fn not_measured(text: &mut String, grid: &Grid) {
    if !grid.not_measured.is_empty() {
        text.push_str("\nNot measured:\n");
    }
    for words in &grid.not_measured {
        for (index, line) in wrap(words, WIDTH - 4).into_iter().enumerate() {
            let indent = if index == 0 { "  " } else { "    " };
            put(text, &format!("{indent}{line}"));
        }
    }
}

/// Names a row by the identifier of its source and the kind of its layouts.
fn row_name(row: &Row) -> String {
    match row.modifiers {
        ModifierKind::Linear => row.id.clone(),
        ModifierKind::Implicit => format!("{} (implicit)", shorten(&row.id, LABEL - 11)),
        // The row for the layouts that no device of the machine has does not belong to a source, so its name gets no suffix.
        ModifierKind::Vendor if row.id == row.name => row.id.clone(),
        ModifierKind::Vendor => format!("{} (vendor)", shorten(&row.id, LABEL - 9)),
    }
}

/// Appends a line to the text.
fn put(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::record::{MatrixParticipant, RecordedMatrix};
    use super::*;
    use anstream::adapter::strip_str;

    fn plain(recorded: &RecordedMatrix) -> String {
        strip_str(&render(&Grid::of(recorded))).to_string()
    }

    #[test]
    fn table_of_a_fixed_matrix_matches_its_snapshot() {
        insta::assert_snapshot!(plain(&fixture::machine()));
    }

    #[test]
    fn table_with_colours_matches_its_snapshot() {
        let text = render(&Grid::of(&fixture::machine()));
        insta::assert_snapshot!(text.replace('\u{1b}', "␛"));
    }

    #[test]
    fn table_of_many_long_names_fits_80_columns() {
        let mut recorded = fixture::machine();
        for number in 0..40 {
            recorded.participants.push(MatrixParticipant {
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
    fn pair_with_a_mismatch_is_always_marked() {
        let text = plain(&fixture::machine());
        let row = text.lines().find(|line| line.starts_with("dumb:"));
        assert!(row.is_some_and(|row| row.contains('!')), "{text}");
    }
}
