//! Draws a [`Grid`] as one standalone SVG without scripts, fonts or links.
//!
//! Each status has a colour and a glyph, so that the picture can be read without colours. The colours also differ in lightness.
//! The text of each tooltip is repeated as a numbered note below the cells.

mod document;
mod legend;
mod notes;
mod style;

use super::grid::{Grid, ModifierKind, PairStatus, PairSummary, Row};
use document::Document;

/// The text above the cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) title: String,
    /// Lines below the title.
    pub(super) lines: Vec<String>,
}

/// The margin of the picture, in pixels.
const MARGIN: usize = 24;
/// The size of a cell, in pixels.
const CELL_WIDTH: usize = 38;
const CELL_HEIGHT: usize = 28;
/// The gaps between cells, and between groups of rows and columns.
const GAP: usize = 2;
const GROUP_GAP: usize = 8;
/// The gap between a row's name and its cells.
const LABEL_GAP: usize = 10;
/// The smallest width of the picture, which the title and the legend need.
const MIN_WIDTH: usize = 760;
/// The caption above the names of the rows.
const HINT: &str = "memory from ↓";
/// The longest name of a row or column in characters. Longer names are shortened, and their tooltips contain the whole name.
const LONGEST_NAME: usize = 44;

/// Returns the matrix as SVG. The same grid always gives the same text.
pub(super) fn draw(grid: &Grid, heading: &Heading) -> String {
    let frame = Frame::of(grid, heading);
    let mut out = Document::default();
    frame.heading(&mut out, heading);
    let after_legend = legend::draw(&mut out, grid, MARGIN, frame.legend_top, frame.width);
    let frame = frame.placed_below(after_legend);
    frame.column_names(&mut out, grid);
    for (index, row) in grid.rows.iter().enumerate() {
        frame.row(&mut out, grid, index, row);
    }
    let bottom = notes::draw(&mut out, grid, MARGIN, frame.bottom + 34, frame.width);
    let words = format!(
        "{} sources of memory down, {} participants across",
        grid.rows.len(),
        grid.columns.len()
    );
    out.finish(frame.width, bottom + MARGIN, &heading.title, &words)
}

/// The positions of all parts of the picture.
#[derive(Clone, Debug)]
struct Frame {
    width: usize,
    legend_top: usize,
    /// The left edge of each column.
    columns: Vec<usize>,
    /// The upper edge of each row.
    rows: Vec<usize>,
    /// The height of the slanted names above the cells.
    names_height: usize,
    bottom: usize,
}

impl Frame {
    fn of(grid: &Grid, heading: &Heading) -> Self {
        let label = grid
            .rows
            .iter()
            .map(|row| text_width(&row_name(row), 12))
            .max()
            .unwrap_or(0)
            .max(text_width(HINT, 12));
        let left = MARGIN + label + LABEL_GAP;
        let mut columns = Vec::new();
        let mut x = left;
        for column in &grid.columns {
            x += if column.begins_group { GROUP_GAP } else { 0 };
            columns.push(x);
            x += CELL_WIDTH + GAP;
        }
        // A slanted name extends to the right of its column.
        let right_end = |index: usize, name: &str| {
            let from = columns.get(index).copied().unwrap_or(left) + CELL_WIDTH / 2;
            from + slanted(name).0
        };
        let widest = grid
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| right_end(index, &shortened(&column.name)))
            .max()
            .unwrap_or(0);
        let names_height = grid
            .columns
            .iter()
            .map(|column| slanted(&shortened(&column.name)).1)
            .max()
            .unwrap_or(0);
        Self {
            width: (x.max(widest) + MARGIN).max(MIN_WIDTH),
            legend_top: MARGIN + 30 + heading.lines.len() * 18,
            columns,
            rows: Vec::new(),
            names_height,
            bottom: 0,
        }
        .with_rows(grid)
    }

    /// Lays out the rows from y = 0; [`Frame::placed_below`] moves them down.
    fn with_rows(mut self, grid: &Grid) -> Self {
        let mut y = 0;
        let mut last: Option<&str> = None;
        for row in &grid.rows {
            let kind = row.id.split([':', '@', ' ']).next().unwrap_or_default();
            y += if last.is_some_and(|last| last != kind) {
                GROUP_GAP
            } else {
                0
            };
            last = Some(kind);
            self.rows.push(y);
            y += CELL_HEIGHT + GAP;
        }
        self.bottom = y;
        self
    }

    /// Moves the grid down, so that it and the names of its columns are below `top`.
    fn placed_below(mut self, top: usize) -> Self {
        let down = top + 14 + self.names_height;
        for y in &mut self.rows {
            *y += down;
        }
        self.bottom += down;
        self
    }

    /// Draws the title and the lines below it.
    fn heading(&self, out: &mut Document, heading: &Heading) {
        out.text("title ink", MARGIN, MARGIN + 14, &heading.title);
        for (number, line) in heading.lines.iter().enumerate() {
            out.text("faint", MARGIN, MARGIN + 36 + number * 18, line);
        }
    }

    /// Draws the name of each column above the grid.
    fn column_names(&self, out: &mut Document, grid: &Grid) {
        let Some(first) = self.rows.first() else {
            return;
        };
        let end = self.columns.first().copied().unwrap_or(MARGIN) - LABEL_GAP;
        out.text("label hint", end, first - 26, "used by ↗");
        out.text("label hint", end, first - 10, HINT);
        for (column, x) in grid.columns.iter().zip(&self.columns) {
            out.slanted(
                x + CELL_WIDTH / 2,
                first - 8,
                &shortened(&column.name),
                &column.name,
            );
        }
    }

    /// Draws the name and the cells of a row, with tooltips.
    fn row(&self, out: &mut Document, grid: &Grid, index: usize, row: &Row) {
        let y = self.rows.get(index).copied().unwrap_or(0);
        let name = row_name(row);
        let end = self.columns.first().copied().unwrap_or(MARGIN) - LABEL_GAP;
        let class = if row.modifiers == ModifierKind::Linear {
            "label ink"
        } else {
            "label faint"
        };
        out.titled_text(class, end, y + CELL_HEIGHT / 2 + 4, &name, &row.id);
        for ((summary, column), x) in row.pairs.iter().zip(&grid.columns).zip(&self.columns) {
            let mut tooltip = format!("{} for {}", row.name, column.name);
            for detail in &summary.details {
                tooltip.push('\n');
                tooltip.push_str(detail);
            }
            cell(out, *x, y, summary, &tooltip);
        }
    }
}

/// Draws one cell. The cell has one colour, or is divided diagonally into two if its formats and sizes have different statuses.
fn cell(out: &mut Document, x: usize, y: usize, summary: &PairSummary, tooltip: &str) {
    let (w, h) = (CELL_WIDTH, CELL_HEIGHT);
    let Some((best, worst)) = summary.range() else {
        out.open(&format!("{tooltip}\nno such format"));
        out.circle("dot", x + w / 2, y + h / 2);
        out.close();
        return;
    };
    out.open(tooltip);
    let number = summary.reasons.first().map(|first| (first + 1).to_string());
    if best == worst {
        let class = style::class(best);
        out.rect(class, x, y, w, h);
        let x = if number.is_some() {
            x + w / 2 - 5
        } else {
            x + w / 2
        };
        out.glyph(style::glyph(best), class, x, y + h / 2, false);
    } else {
        let (one, two) = (style::class(best), style::class(worst));
        out.rect(two, x, y, w, h);
        out.path(
            one,
            &format!("M{x} {}V{}a4 4 0 0 1 4 -4H{}z", y + h - 4, y + 4, x + w - 2),
        );
        out.glyph(style::glyph(best), one, x + 10, y + 9, true);
        let left = if number.is_some() {
            x + w / 2 + 1
        } else {
            x + w - 11
        };
        out.glyph(style::glyph(worst), two, left, y + h - 8, true);
    }
    if let Some(number) = number {
        out.text(
            &format!("number {}", style::class(worst)),
            x + w - 3,
            y + h - 4,
            &number,
        );
    }
    out.close();
}

/// Names a row by its source and the kind of its layouts.
fn row_name(row: &Row) -> String {
    match row.modifiers {
        ModifierKind::Linear => shortened(&row.name),
        ModifierKind::Implicit => format!("{}, implicit layout", shortened(&row.name)),
        ModifierKind::Vendor if row.id == row.name => shortened(&row.name),
        ModifierKind::Vendor => format!("{}, vendor layouts", shortened(&row.name)),
    }
}

/// Returns the name with at most [`LONGEST_NAME`] characters.
fn shortened(name: &str) -> String {
    if name.chars().count() <= LONGEST_NAME {
        return name.to_owned();
    }
    let kept: String = name.chars().take(LONGEST_NAME - 1).collect();
    format!("{kept}…")
}

/// Returns an upper bound of the width in pixels of a text with this font size, in any font of the style sheet.
fn text_width(text: &str, size: usize) -> usize {
    // 0.56 em is the average character width of DejaVu Sans, the widest of these fonts.
    (text.chars().count() * size * 56).div_ceil(100)
}

/// Returns how far a column's name, which is slanted by 50 degrees, extends to the right and upwards, in pixels.
fn slanted(name: &str) -> (usize, usize) {
    let width = text_width(name, 12) + 6;
    ((width * 65).div_ceil(100), (width * 77).div_ceil(100) + 8)
}

/// All statuses, in the order of the legend.
const STATUSES: [PairStatus; 6] = [
    PairStatus::Guaranteed,
    PairStatus::Possible,
    PairStatus::Impossible,
    PairStatus::Untested,
    PairStatus::NeedsHardware,
    PairStatus::Disagrees,
];

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::grid::Grid;
    use super::*;

    fn heading() -> Heading {
        Heading {
            title: "Who can share with whom".to_owned(),
            lines: vec!["a machine, 640x480 in XR24".to_owned()],
        }
    }

    #[test]
    fn picture_of_a_fixed_matrix_matches_its_snapshot() {
        let text = draw(&Grid::of(&fixture::machine()), &heading());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn picture_of_an_empty_matrix_is_valid_svg() {
        let text = draw(&Grid::default(), &heading());
        assert!(text.starts_with("<svg "), "{text}");
        assert!(text.ends_with("</svg>\n"), "{text}");
    }

    #[test]
    fn name_with_markup_is_escaped() {
        let mut recorded = fixture::machine();
        let evil = "</text><script>alert('&')</script>\u{1}\"";
        recorded.participants[0].name = evil.to_owned();
        recorded.sources[0].name = evil.to_owned();
        for cell in &mut recorded.cells {
            cell.reasons = vec![evil.to_owned()];
        }
        let text = draw(&Grid::of(&recorded), &heading());
        assert!(!text.contains("<script"), "{text}");
        assert!(!text.contains('\u{1}'), "{text}");
        assert!(text.contains("&lt;script&gt;"), "{text}");
        well_formed(&text);
    }

    #[test]
    fn picture_is_well_formed_and_refers_to_no_other_file() {
        let text = draw(&Grid::of(&fixture::machine()), &heading());
        well_formed(&text);
        for foreign in [
            "http://www.w3.org/1999/xlink",
            "@import",
            "url(",
            "<script",
            "<image",
        ] {
            assert!(!text.contains(foreign), "{foreign}");
        }
        assert_eq!(text.matches("://").count(), 1, "the namespace alone");
    }

    /// Asserts that XML tags are closed in order, and that no unescaped `&` or `>` is between them.
    fn well_formed(text: &str) {
        let mut open = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            assert!(!before.contains('>'), "a bare > in {before}");
            for (start, _) in before.match_indices('&') {
                let end = before[start..]
                    .find(';')
                    .map(|end| &before[start + 1..start + end]);
                assert!(
                    matches!(end, Some("amp" | "lt" | "gt" | "quot" | "apos")),
                    "a bare & in {before}"
                );
            }
            let (tag, after) = after.split_once('>').expect("a tag that ends");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.to_owned()));
            } else if !tag.ends_with('/') {
                let name = tag.split(' ').next().unwrap_or_default();
                open.push(name.to_owned());
            }
            rest = after;
        }
        assert!(open.is_empty(), "{open:?}");
    }
}
