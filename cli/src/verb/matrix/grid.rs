//! A matrix as it is looked at: one mark for all pictures of a pair, and every reason once, with a number.

use std::collections::{HashMap, HashSet};

use covalent_alloc::model::{FormatModifier, Modifier};
use covalent_alloc::trial::Outcome;

use super::cell::{Cell, Said};
use super::judge::Judgement;
use super::record::{Recorded, RecordedParticipant};

/// How a pair shares one kind of picture, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Standing {
    /// The solver guarantees it, and the drivers did it.
    Guaranteed,
    /// It works now and then, and nothing promises it.
    Possible,
    /// The solver says that it should work, and it could not be tried.
    Untested,
    /// No hardware that could show it was there.
    Unproved,
    /// It does not work, and why is known.
    Impossible,
    /// The drivers did not do what the solver says.
    Disagrees,
}

/// How the pixels of a row lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Layouts {
    /// Row after row.
    Linear,
    /// As a driver does it, which tells nobody how.
    Implicit,
    /// As a vendor has named it.
    Vendor,
}

impl Layouts {
    fn of(format: FormatModifier) -> Self {
        match format.modifier {
            Modifier::LINEAR => Self::Linear,
            Modifier::INVALID => Self::Implicit,
            _ => Self::Vendor,
        }
    }
}

/// What a pair is seen as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// How many pictures stand how; none where the participant has no such picture.
    pub(super) standings: Vec<(Standing, usize)>,
    /// Places in [`Grid::reasons`], the commonest first.
    pub(super) reasons: Vec<usize>,
    /// One line for each picture, or for all that are alike.
    pub(super) details: Vec<String>,
}

impl Mark {
    /// The best and the worst there is; `None` where the participant has no such picture.
    pub(super) fn range(&self) -> Option<(Standing, Standing)> {
        let standings = || self.standings.iter().map(|(standing, _)| *standing);
        Some((standings().min()?, standings().max()?))
    }
}

/// A source in one kind of layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) layouts: Layouts,
    pub(super) marks: Vec<Mark>,
}

/// A participant, or several that are alike in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// Where a gap helps the eye: another kind of participant begins.
    pub(super) begins_group: bool,
}

/// Sources down, participants across.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    pub(super) reasons: Vec<String>,
    /// What is there and could not be asked, and why.
    pub(super) left_out: Vec<String>,
    /// The place of each reason: a recording may have one for each cell.
    places: HashMap<String, usize>,
}

/// What is said of layouts that no device here has.
const UNPROVED: &str = "no device here has layouts other than LINEAR (tiled, compressed): unproved until this was run on a GPU that has them";
/// The row of these.
const OTHERS: &str = "layouts other than LINEAR";

impl Grid {
    /// Looks at a recording.
    pub(super) fn of(recorded: &Recorded) -> Self {
        let mut pairs: HashMap<(&str, &str, Layouts), Vec<&Cell>> = HashMap::new();
        for cell in recorded.cells.iter().filter(|cell| cell.is_listed) {
            let key = (
                cell.source.as_str(),
                cell.participant.as_str(),
                Layouts::of(cell.format),
            );
            pairs.entry(key).or_default().push(cell);
        }
        let mut grid = Self {
            left_out: recorded.unavailable.clone(),
            ..Self::default()
        };
        for source in &recorded.sources {
            let id = source.id.as_str();
            for layouts in [Layouts::Linear, Layouts::Implicit, Layouts::Vendor] {
                // That nobody can make a buffer whose layout nobody tells is no news.
                let is_seen = pairs.iter().any(|((own, _, its), cells)| {
                    *own == id
                        && *its == layouts
                        && (layouts != Layouts::Implicit
                            || cells.iter().any(|cell| cell.said != Said::Impossible))
                });
                if !is_seen && layouts != Layouts::Linear {
                    continue;
                }
                let marks = recorded
                    .participants
                    .iter()
                    .map(|participant| {
                        pairs
                            .get(&(id, participant.name.as_str(), layouts))
                            .map_or_else(Mark::default, |cells| grid.mark(cells, &source.name))
                    })
                    .collect();
                grid.rows.push(Row {
                    id: id.to_owned(),
                    name: source.name.clone(),
                    layouts,
                    marks,
                });
            }
        }
        grid.tell_rows_apart();
        if recorded.sources.iter().any(|source| source.arranges)
            && grid.rows.iter().all(|row| row.layouts != Layouts::Vendor)
        {
            grid.add_unproved(&recorded.participants);
        }
        grid.columns = columns(&recorded.participants);
        grid.merge_columns();
        grid
    }

    fn mark(&mut self, cells: &[&Cell], source: &str) -> Mark {
        let mut mark = Mark::default();
        let mut details: Vec<(String, Vec<String>)> = Vec::new();
        // Where words stand in the details, and which reasons are there.
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut seen: HashSet<usize> = HashSet::new();
        for cell in cells {
            let standing = standing(cell);
            match mark.standings.iter_mut().find(|(own, _)| *own == standing) {
                Some((_, count)) => *count = count.saturating_add(1),
                None => mark.standings.push((standing, 1)),
            }
            let why = why(cell, standing);
            for words in &why {
                let place = self.reason(&general(words, cell, source));
                if seen.insert(place) {
                    mark.reasons.push(place);
                }
            }
            let mut words = standing_words(standing).to_owned();
            if !why.is_empty() {
                words.push_str(": ");
                words.push_str(&why.join("; "));
            }
            let picture = picture(cell);
            let place = places.get(&words).copied();
            match place.and_then(|place| details.get_mut(place)) {
                Some((_, pictures)) => pictures.push(picture),
                None => {
                    places.insert(words.clone(), details.len());
                    details.push((words, vec![picture]));
                }
            }
        }
        mark.standings.sort_unstable();
        mark.details = details
            .into_iter()
            .map(|(words, pictures)| format!("{}: {words}", pictures.join(", ")))
            .collect();
        mark
    }

    /// Adds one row for all layouts that no device here has.
    fn add_unproved(&mut self, participants: &[RecordedParticipant]) {
        let reason = self.reason(UNPROVED);
        let unproved = Mark {
            standings: vec![(Standing::Unproved, 1)],
            reasons: vec![reason],
            details: vec![UNPROVED.to_owned()],
        };
        let marks = participants
            .iter()
            .map(|participant| {
                if participant.speaks_modifiers() {
                    unproved.clone()
                } else {
                    Mark::default()
                }
            })
            .collect();
        self.rows.push(Row {
            id: OTHERS.to_owned(),
            name: OTHERS.to_owned(),
            layouts: Layouts::Vendor,
            marks,
        });
    }

    fn reason(&mut self, words: &str) -> usize {
        if let Some(place) = self.places.get(words) {
            return *place;
        }
        let place = self.reasons.len();
        self.reasons.push(words.to_owned());
        self.places.insert(words.to_owned(), place);
        place
    }

    /// Gives sources of one name the places where their devices sit.
    fn tell_rows_apart(&mut self) {
        let names: Vec<(String, String)> = self
            .rows
            .iter()
            .map(|row| (row.name.clone(), row.id.clone()))
            .collect();
        for row in &mut self.rows {
            let is_shared = names
                .iter()
                .any(|(name, id)| *name == row.name && *id != row.id);
            if let Some((_, place)) = row.id.split_once('@').filter(|_| is_shared) {
                row.name = format!("{} ({place})", row.name);
            }
        }
    }

    /// Makes one column of neighbours that differ in a number alone: a card has many overlay planes.
    fn merge_columns(&mut self) {
        let mut kept: Vec<(Column, usize)> = Vec::new();
        let mut dropped = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            let same = kept.last_mut().filter(|(last, _)| {
                stem(&last.name).is_some_and(|own| stem(&column.name) == Some(own))
                    && self.rows.iter().all(|row| {
                        let before = place
                            .checked_sub(1)
                            .and_then(|before| row.marks.get(before));
                        looks_as(before, row.marks.get(place))
                    })
            });
            match same {
                Some((_, count)) => {
                    *count = count.saturating_add(1);
                    dropped.push(place);
                }
                None => kept.push((column.clone(), 1)),
            }
        }
        for row in &mut self.rows {
            let mut place = 0_usize;
            row.marks.retain(|_| {
                let is_kept = !dropped.contains(&place);
                place = place.saturating_add(1);
                is_kept
            });
        }
        self.columns = kept
            .into_iter()
            .map(|(mut column, count)| {
                if count > 1 {
                    let name = stem(&column.name).unwrap_or(&column.name).to_owned();
                    column.name = format!("{name}s ({count} alike)");
                }
                column
            })
            .collect();
    }
}

/// Says a reason so that it is the same for all of whom it is true: without names, and without which picture it is.
fn general(words: &str, cell: &Cell, source: &str) -> String {
    const PIECE: &str = " bytes of ";
    let words = replaced(words, &cell.participant, "it");
    let words = replaced(&words, source, "the source");
    let words = replaced(&words, &cell.format.to_string(), "the picture");
    match words.rsplit_once(PIECE) {
        Some((before, size)) if size.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{before} bytes")
        }
        _ => words,
    }
}

/// Puts other words in the place of a name, where it is not part of a longer one or of a path.
fn replaced(words: &str, name: &str, by: &str) -> String {
    let is_part =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '/' | '-' | '_' | ':');
    let mut text = String::with_capacity(words.len());
    let mut rest = words;
    while let Some((before, after)) = rest.split_once(name).filter(|_| !name.is_empty()) {
        let is_whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        text.push_str(before);
        text.push_str(if is_whole { by } else { name });
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Returns whether two marks cannot be told apart.
fn looks_as(one: Option<&Mark>, two: Option<&Mark>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one.standings == two.standings && one.reasons == two.reasons,
        _ => false,
    }
}

/// Returns a plane's name without its number; `None` for what has none.
fn stem(name: &str) -> Option<&str> {
    let (stem, number) = name.rsplit_once(' ')?;
    (stem.ends_with("plane") && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(stem)
}

fn columns(participants: &[RecordedParticipant]) -> Vec<Column> {
    let kind = |participant: &RecordedParticipant| {
        let driver = participant.name.split(' ').next().unwrap_or_default();
        (participant.interface, driver.to_owned())
    };
    let mut last = None;
    participants
        .iter()
        .map(|participant| {
            let own = kind(participant);
            let begins_group = last.as_ref().is_some_and(|last| *last != own);
            last = Some(own);
            Column {
                name: participant.name.clone(),
                begins_group,
            }
        })
        .collect()
}

fn standing(cell: &Cell) -> Standing {
    match (cell.judgement, cell.said, &cell.outcome) {
        (Judgement::Mismatch, _, _) => Standing::Disagrees,
        (_, Said::Impossible, _) => Standing::Impossible,
        (_, Said::Possible, _) => Standing::Possible,
        (_, Said::Guaranteed, Some(Outcome::Proved)) => Standing::Guaranteed,
        (_, Said::Guaranteed, _) => Standing::Untested,
    }
}

/// Says why a cell is not as one would wish; nothing for one that is.
fn why(cell: &Cell, standing: Standing) -> Vec<String> {
    let outcome = || match &cell.outcome {
        Some(Outcome::Refused(refusal)) => format!("was refused ({})", refusal.in_short()),
        Some(Outcome::Untestable(why)) => format!("was not tried: {why}"),
        Some(_) => "works all the same".to_owned(),
        None => "was not tried: no buffer of this kind could be made".to_owned(),
    };
    match standing {
        Standing::Guaranteed | Standing::Unproved => Vec::new(),
        Standing::Untested => vec![outcome()],
        Standing::Disagrees => {
            let mut words = cell.reasons.clone();
            words.push(outcome());
            words
        }
        Standing::Possible | Standing::Impossible => cell.reasons.clone(),
    }
}

pub(super) fn standing_words(standing: Standing) -> &'static str {
    match standing {
        Standing::Guaranteed => "guaranteed, and it worked",
        Standing::Possible => "possible, nothing promises it",
        Standing::Untested => "could not be tried here",
        Standing::Unproved => "unproved until run on a GPU that has them",
        Standing::Impossible => "impossible",
        Standing::Disagrees => "solver and drivers disagree",
    }
}

fn picture(cell: &Cell) -> String {
    if cell.format.modifier == Modifier::LINEAR {
        format!("{} {}", cell.format.fourcc, cell.size)
    } else {
        format!("{} {}", cell.format, cell.size)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn name_within_a_path_is_no_name() {
        let words = "udmabuf needs /dev/udmabuf, udmabuf2 and udmabuf";
        assert_eq!(
            replaced(words, "udmabuf", "it"),
            "it needs /dev/udmabuf, udmabuf2 and it"
        );
        assert_eq!(replaced("a b", "", "it"), "a b");
    }

    #[test]
    fn planes_that_are_alike_are_one_column() {
        let grid = Grid::of(&fixture::machine());
        let names: Vec<&str> = grid
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        assert!(
            names.contains(&"virtio_gpu overlay planes (2 alike)"),
            "{names:?}"
        );
        assert!(names.contains(&"virtio_gpu primary plane 34"), "{names:?}");
        for row in &grid.rows {
            assert_eq!(row.marks.len(), grid.columns.len(), "{}", row.id);
        }
    }

    #[test]
    fn planes_that_differ_stay_apart() {
        let mut recorded = fixture::machine();
        let plane = "virtio_gpu overlay plane 36";
        recorded.cells.retain(|cell| cell.participant != plane);
        let grid = Grid::of(&recorded);
        assert!(grid.columns.iter().any(|column| column.name == plane));
    }

    #[test]
    fn reason_of_many_stands_once() {
        let grid = Grid::of(&fixture::machine());
        let refused = grid
            .reasons
            .iter()
            .filter(|words| words.contains("RESOURCE_BLOB"))
            .count();
        assert_eq!(refused, 1, "{:?}", grid.reasons);
    }
}
