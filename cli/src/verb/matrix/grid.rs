//! The matrix as it is displayed: a summary of all formats and sizes for each pair of source and participant, and a numbered list
//! of the distinct reasons.

use std::collections::{HashMap, HashSet};

use covalent_alloc::model::{FormatModifier, Modifier};
use covalent_alloc::trial::Outcome;

use super::cell::{Cell, SolverVerdict};
use super::compare::Comparison;
use super::record::{MatrixParticipant, RecordedMatrix};

/// The status of a pair for one format and size, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum PairStatus {
    /// The solver guarantees that the pair can share, and the trial succeeded.
    Guaranteed,
    /// The solver can neither guarantee nor exclude that the pair can share.
    Possible,
    /// The solver guarantees that the pair can share, but no trial could be run.
    Untested,
    /// The buffer needs a layout that no device of this machine has, so no buffer can be tried.
    NeedsHardware,
    /// The solver finds that the pair cannot share, and gives the reason.
    Impossible,
    /// The outcome of the trial contradicts the solver's verdict.
    Disagrees,
}

/// The kind of modifier of the buffers in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ModifierKind {
    /// The modifier LINEAR.
    Linear,
    /// The modifier INVALID, for a tiling that only the driver knows.
    Implicit,
    /// A vendor's modifier, for a tiled or compressed layout.
    Vendor,
}

impl ModifierKind {
    fn of(format: FormatModifier) -> Self {
        match format.modifier {
            Modifier::LINEAR => Self::Linear,
            Modifier::INVALID => Self::Implicit,
            _ => Self::Vendor,
        }
    }
}

/// The summary of all cells of a pair of source and participant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PairSummary {
    /// The number of cells with each status; empty if the participant accepts no format of the row.
    pub(super) statuses: Vec<(PairStatus, usize)>,
    /// Indices into [`Grid::reasons`], in the order of the cells.
    pub(super) reasons: Vec<usize>,
    /// One line for each group of cells with the same status and reasons.
    pub(super) details: Vec<String>,
}

impl PairSummary {
    /// Returns the best and the worst status; `None` if the participant accepts no format of the row.
    pub(super) fn range(&self) -> Option<(PairStatus, PairStatus)> {
        let statuses = || self.statuses.iter().map(|(status, _)| *status);
        Some((statuses().min()?, statuses().max()?))
    }
}

/// A source, with one kind of modifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) modifiers: ModifierKind,
    pub(super) pairs: Vec<PairSummary>,
}

/// A participant, or several participants whose summaries are equal in every row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// Whether this column and the one before it are different kinds of participants. A gap is drawn between them.
    pub(super) begins_group: bool,
}

/// Sources as rows, participants as columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    pub(super) reasons: Vec<String>,
    /// Devices that could not be measured, with the reason.
    pub(super) not_measured: Vec<String>,
    /// The index of each reason in `reasons`. A recording may have one reason for each cell, so a linear search would be slow.
    reason_indices: HashMap<String, usize>,
}

/// The reason in the row of layouts that no device of the machine has.
const NEEDS_HARDWARE: &str = "no device here has layouts other than LINEAR (tiled, compressed): untested until this runs on a GPU that has them";
/// The name of the row for the layouts that no device of the machine has.
const NON_LINEAR: &str = "layouts other than LINEAR";

impl Grid {
    /// Summarises a recorded matrix.
    pub(super) fn of(recorded: &RecordedMatrix) -> Self {
        let mut cells_of_pair: HashMap<(&str, &str, ModifierKind), Vec<&Cell>> = HashMap::new();
        for cell in recorded.cells.iter().filter(|cell| cell.is_listed) {
            let key = (
                cell.source.as_str(),
                cell.participant.as_str(),
                ModifierKind::of(cell.format),
            );
            cells_of_pair.entry(key).or_default().push(cell);
        }
        let mut grid = Self {
            not_measured: recorded.unavailable.clone(),
            ..Self::default()
        };
        for source in &recorded.sources {
            let id = source.id.as_str();
            for modifiers in [
                ModifierKind::Linear,
                ModifierKind::Implicit,
                ModifierKind::Vendor,
            ] {
                // A row in which every implicit layout is impossible would contain no information, so it is omitted.
                let has_row = cells_of_pair.iter().any(|((source, _, kind), cells)| {
                    *source == id
                        && *kind == modifiers
                        && (modifiers != ModifierKind::Implicit
                            || cells
                                .iter()
                                .any(|cell| cell.verdict != SolverVerdict::Impossible))
                });
                if !has_row && modifiers != ModifierKind::Linear {
                    continue;
                }
                let pairs = recorded
                    .participants
                    .iter()
                    .map(|participant| {
                        cells_of_pair
                            .get(&(id, participant.name.as_str(), modifiers))
                            .map_or_else(PairSummary::default, |cells| {
                                grid.summary(cells, &source.name)
                            })
                    })
                    .collect();
                grid.rows.push(Row {
                    id: id.to_owned(),
                    name: source.name.clone(),
                    modifiers,
                    pairs,
                });
            }
        }
        grid.disambiguate_row_names();
        if recorded
            .sources
            .iter()
            .any(|source| source.may_allocate_tiled)
            && grid
                .rows
                .iter()
                .all(|row| row.modifiers != ModifierKind::Vendor)
        {
            grid.add_needs_hardware(&recorded.participants);
        }
        grid.columns = columns(&recorded.participants);
        grid.merge_columns();
        grid
    }

    /// Summarises the cells of one source and one participant.
    fn summary(&mut self, cells: &[&Cell], source: &str) -> PairSummary {
        let mut summary = PairSummary::default();
        let mut details: Vec<(String, Vec<String>)> = Vec::new();
        // `indices` maps each text in `details` to its index. `seen` contains the reasons that the summary already has.
        let mut indices: HashMap<String, usize> = HashMap::new();
        let mut seen: HashSet<usize> = HashSet::new();
        for cell in cells {
            let status = status(cell);
            match summary
                .statuses
                .iter_mut()
                .find(|(other, _)| *other == status)
            {
                Some((_, count)) => *count = count.saturating_add(1),
                None => summary.statuses.push((status, 1)),
            }
            let reasons = reasons(cell, status);
            for words in &reasons {
                let index = self.reason_index(&without_names(words, cell, source));
                if seen.insert(index) {
                    summary.reasons.push(index);
                }
            }
            let mut words = status_label(status).to_owned();
            if !reasons.is_empty() {
                words.push_str(": ");
                words.push_str(&reasons.join("; "));
            }
            let format = format_and_size(cell);
            let index = indices.get(&words).copied();
            match index.and_then(|index| details.get_mut(index)) {
                Some((_, formats)) => formats.push(format),
                None => {
                    indices.insert(words.clone(), details.len());
                    details.push((words, vec![format]));
                }
            }
        }
        summary.statuses.sort_unstable();
        summary.details = details
            .into_iter()
            .map(|(words, formats)| format!("{}: {words}", formats.join(", ")))
            .collect();
        summary
    }

    /// Adds one row for the layouts that no device of the machine has.
    fn add_needs_hardware(&mut self, participants: &[MatrixParticipant]) {
        let reason = self.reason_index(NEEDS_HARDWARE);
        let summary = PairSummary {
            statuses: vec![(PairStatus::NeedsHardware, 1)],
            reasons: vec![reason],
            details: vec![NEEDS_HARDWARE.to_owned()],
        };
        let pairs = participants
            .iter()
            .map(|participant| {
                if participant.supports_modifiers() {
                    summary.clone()
                } else {
                    PairSummary::default()
                }
            })
            .collect();
        self.rows.push(Row {
            id: NON_LINEAR.to_owned(),
            name: NON_LINEAR.to_owned(),
            modifiers: ModifierKind::Vendor,
            pairs,
        });
    }

    /// Returns the index of a reason, and adds the reason if the list does not have it.
    fn reason_index(&mut self, words: &str) -> usize {
        if let Some(index) = self.reason_indices.get(words) {
            return *index;
        }
        let index = self.reasons.len();
        self.reasons.push(words.to_owned());
        self.reason_indices.insert(words.to_owned(), index);
        index
    }

    /// If several sources have the same name, appends the location of the device to the names of their rows.
    fn disambiguate_row_names(&mut self) {
        let names: Vec<(String, String)> = self
            .rows
            .iter()
            .map(|row| (row.name.clone(), row.id.clone()))
            .collect();
        for row in &mut self.rows {
            let is_shared = names
                .iter()
                .any(|(name, id)| *name == row.name && *id != row.id);
            if let Some((_, location)) = row.id.split_once('@').filter(|_| is_shared) {
                row.name = format!("{} ({location})", row.name);
            }
        }
    }

    /// Merges adjacent columns of planes if their names differ only in a number and their summaries are equal. A card may have
    /// many overlay planes.
    fn merge_columns(&mut self) {
        let mut kept: Vec<(Column, usize)> = Vec::new();
        let mut dropped = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let same = kept.last_mut().filter(|(last, _)| {
                plane_kind(&last.name).is_some_and(|name| plane_kind(&column.name) == Some(name))
                    && self.rows.iter().all(|row| {
                        let before = index
                            .checked_sub(1)
                            .and_then(|before| row.pairs.get(before));
                        is_same_summary(before, row.pairs.get(index))
                    })
            });
            match same {
                Some((_, count)) => {
                    *count = count.saturating_add(1);
                    dropped.push(index);
                }
                None => kept.push((column.clone(), 1)),
            }
        }
        for row in &mut self.rows {
            let mut index = 0_usize;
            row.pairs.retain(|_| {
                let is_kept = !dropped.contains(&index);
                index = index.saturating_add(1);
                is_kept
            });
        }
        self.columns = kept
            .into_iter()
            .map(|(mut column, count)| {
                if count > 1 {
                    let name = plane_kind(&column.name).unwrap_or(&column.name).to_owned();
                    column.name = format!("{name}s ({count} alike)");
                }
                column
            })
            .collect();
    }
}

/// Replaces the names of devices and formats in a reason, so that the same reason has the same text in all cells.
fn without_names(words: &str, cell: &Cell, source: &str) -> String {
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

/// Replaces a name by `by`, except where the name is part of a longer name or of a path.
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

/// Returns whether two summaries look the same in the table and in the picture.
fn is_same_summary(one: Option<&PairSummary>, two: Option<&PairSummary>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one.statuses == two.statuses && one.reasons == two.reasons,
        _ => false,
    }
}

/// Returns the name of a plane without its number; `None` for a participant that is not a plane.
fn plane_kind(name: &str) -> Option<&str> {
    let (stem, number) = name.rsplit_once(' ')?;
    (stem.ends_with("plane") && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(stem)
}

/// Returns a column for each participant. Participants of one interface and driver form a group.
fn columns(participants: &[MatrixParticipant]) -> Vec<Column> {
    let kind = |participant: &MatrixParticipant| {
        let driver = participant.name.split(' ').next().unwrap_or_default();
        (participant.interface, driver.to_owned())
    };
    let mut last = None;
    participants
        .iter()
        .map(|participant| {
            let kind = kind(participant);
            let begins_group = last.as_ref().is_some_and(|last| *last != kind);
            last = Some(kind);
            Column {
                name: participant.name.clone(),
                begins_group,
            }
        })
        .collect()
}

/// Returns the status that a cell has in the table.
fn status(cell: &Cell) -> PairStatus {
    match (cell.comparison, cell.verdict, &cell.outcome) {
        (Comparison::Mismatch, _, _) => PairStatus::Disagrees,
        (_, SolverVerdict::Impossible, _) => PairStatus::Impossible,
        (_, SolverVerdict::Possible, _) => PairStatus::Possible,
        (_, SolverVerdict::Guaranteed, Some(Outcome::Accepted)) => PairStatus::Guaranteed,
        (_, SolverVerdict::Guaranteed, _) => PairStatus::Untested,
    }
}

/// Returns the reasons for a status that is not [`PairStatus::Guaranteed`].
fn reasons(cell: &Cell, status: PairStatus) -> Vec<String> {
    let outcome = || match &cell.outcome {
        Some(Outcome::Refused(refusal)) => format!("was refused ({})", refusal.in_short()),
        Some(Outcome::Untestable(why)) => format!("was not tried: {why}"),
        Some(_) => "works nevertheless".to_owned(),
        None => "was not tried: the source cannot allocate such a buffer".to_owned(),
    };
    match status {
        PairStatus::Guaranteed | PairStatus::NeedsHardware => Vec::new(),
        PairStatus::Untested => vec![outcome()],
        PairStatus::Disagrees => {
            let mut words = cell.reasons.clone();
            words.push(outcome());
            words
        }
        PairStatus::Possible | PairStatus::Impossible => cell.reasons.clone(),
    }
}

/// Returns the description of a status in tables.
pub(super) fn status_label(status: PairStatus) -> &'static str {
    match status {
        PairStatus::Guaranteed => "guaranteed, and it worked",
        PairStatus::Possible => "possible, but not guaranteed",
        PairStatus::Untested => "could not be tried here",
        PairStatus::NeedsHardware => "untested: no device here has a tiling",
        PairStatus::Impossible => "impossible",
        PairStatus::Disagrees => "solver and drivers disagree",
    }
}

/// Names the format and size of a cell. A linear layout is not mentioned.
fn format_and_size(cell: &Cell) -> String {
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
    fn name_within_a_path_is_not_replaced() {
        let words = "udmabuf needs /dev/udmabuf, udmabuf2 and udmabuf";
        assert_eq!(
            replaced(words, "udmabuf", "it"),
            "it needs /dev/udmabuf, udmabuf2 and it"
        );
        assert_eq!(replaced("a b", "", "it"), "a b");
    }

    #[test]
    fn planes_with_equal_summaries_are_one_column() {
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
            assert_eq!(row.pairs.len(), grid.columns.len(), "{}", row.id);
        }
    }

    #[test]
    fn planes_with_different_summaries_are_separate_columns() {
        let mut recorded = fixture::machine();
        let plane = "virtio_gpu overlay plane 36";
        recorded.cells.retain(|cell| cell.participant != plane);
        let grid = Grid::of(&recorded);
        assert!(grid.columns.iter().any(|column| column.name == plane));
    }

    #[test]
    fn reason_of_several_cells_is_listed_once() {
        let grid = Grid::of(&fixture::machine());
        let refused = grid
            .reasons
            .iter()
            .filter(|words| words.contains("RESOURCE_BLOB"))
            .count();
        assert_eq!(refused, 1, "{:?}", grid.reasons);
    }
}
