//! The matrix as text that fits 80 columns.

use std::fmt::Write as _;

use covalent_alloc::prove::Outcome;

use super::measure::{Cell, Said};

/// The widest line.
const WIDTH: usize = 80;
/// A letter and two spaces.
const COLUMN: usize = 3;
/// The widest name of a row; longer ones are cut.
const LABEL: usize = 40;

/// Renders sources down and participants across, in several tables where one is too wide.
pub(super) fn render(
    sources: &[String],
    participants: &[String],
    cells: &[Cell],
    verify: bool,
) -> String {
    let mut text = String::new();
    let label = sources
        .iter()
        .map(|name| name.chars().count().min(LABEL))
        .max()
        .unwrap_or(0);
    let across = WIDTH
        .saturating_sub(label)
        .checked_div(COLUMN)
        .unwrap_or(1)
        .clamp(1, 26);
    for group in participants.chunks(across) {
        let letters = || ('a'..='z').take(group.len());
        for (letter, name) in letters().zip(group) {
            line(&mut text, &format!("  {letter}  {name}"));
        }
        let heads: String = letters().map(|letter| format!("  {letter}")).collect();
        line(&mut text, &format!("{:label$}{heads}", ""));
        for source in sources {
            let marks: String = group
                .iter()
                .map(|participant| {
                    let own = cells.iter().filter(|cell| {
                        cell.source.as_str() == source && cell.participant == *participant
                    });
                    format!("  {}", mark(own, verify))
                })
                .collect();
            line(&mut text, &format!("{}{marks}", cut(source, label)));
        }
        text.push('\n');
    }
    text.push_str("+ works   ~ worked this time, which nothing promises   - refused\n");
    text.push_str("/ works in some formats or sizes   ? could not be tried   . no such picture\n");
    if verify {
        text.push_str("! the solver and the drivers disagree\n");
    }
    text
}

fn line(text: &mut String, words: &str) {
    let cut: String = words.chars().take(WIDTH).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", cut.trim_end());
}

fn cut(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return format!("{name:width$}");
    }
    let kept: String = name.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Returns one sign for all pictures of a pair that the participant has.
fn mark<'a>(cells: impl Iterator<Item = &'a Cell>, verify: bool) -> char {
    let mut seen = (0_usize, 0_usize, 0_usize, 0_usize);
    let mut wrong = false;
    for cell in cells {
        wrong |= verify && cell.is_wrong();
        if !cell.is_listed {
            continue;
        }
        let (sure, lucky, refused, untested) = &mut seen;
        let counter = match (&cell.outcome, cell.said) {
            (Some(Outcome::Proved), Said::Possible) => lucky,
            (Some(Outcome::Proved), _) => sure,
            (Some(Outcome::Refused(_)), _) => refused,
            _ => untested,
        };
        *counter = counter.saturating_add(1);
    }
    match seen {
        _ if wrong => '!',
        (0, 0, 0, 0) => '.',
        (1.., 0, 0, _) => '+',
        (0.., 1.., 0, _) => '~',
        (0, 0, 1.., _) => '-',
        (0, 0, 0, _) => '?',
        _ => '/',
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judgement;
    use super::*;
    use covalent_alloc::constraint::SourceId;
    use covalent_alloc::model::{Extent, FormatModifier, Fourcc};

    fn cell(source: &str, participant: &str, outcome: Outcome, judgement: Judgement) -> Cell {
        Cell {
            source: SourceId::new(source),
            participant: participant.to_owned(),
            format: FormatModifier::linear(Fourcc::XRGB8888),
            size: Extent::new(640, 480).unwrap(),
            said: Said::Guaranteed,
            reasons: Vec::new(),
            is_listed: true,
            outcome: Some(outcome),
            judgement,
        }
    }

    #[test]
    fn table_of_many_with_long_names_fits_the_terminal() {
        let sources: Vec<String> = (0..3)
            .map(|number| format!("v4l2:vivid@platform:a-very-long-name-of-a-bus-{number}:capture"))
            .collect();
        let participants: Vec<String> = (0..40)
            .map(|number| format!("{} {number}", "driver with a long name ".repeat(5)))
            .collect();
        let text = render(&sources, &participants, &[], true);
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(text.contains("  m"), "{text}");
    }

    #[test]
    fn sign_of_a_pair_tells_all_of_its_pictures() {
        let sources = ["heap:system".to_owned()];
        let participants = ["one".to_owned(), "two".to_owned(), "none".to_owned()];
        let no = Outcome::Untestable("busy".to_owned());
        let cells = [
            cell("heap:system", "one", Outcome::Proved, Judgement::Agrees),
            cell("heap:system", "two", no, Judgement::Mismatch),
        ];
        let row = |verify| {
            let text = render(&sources, &participants, &cells, verify);
            text.lines()
                .find(|line| line.starts_with("heap:system"))
                .map(str::to_owned)
        };
        assert_eq!(row(false).as_deref(), Some("heap:system  +  ?  ."));
        assert_eq!(row(true).as_deref(), Some("heap:system  +  !  ."));
    }
}
