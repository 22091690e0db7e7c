//! The legend: the meaning of the colours and glyphs that the picture contains.

use super::document::Document;
use super::style;
use super::{Grid, text_width};
use crate::verb::matrix::grid::status_label;

/// The size of a colour sample, and the distance between two lines, in pixels.
const SAMPLE_WIDTH: usize = 26;
const SAMPLE_HEIGHT: usize = 20;
const LINE_HEIGHT: usize = 28;

/// Draws the legend from `top` on, and returns the y coordinate of its end.
pub(super) fn draw(
    out: &mut Document,
    grid: &Grid,
    left: usize,
    top: usize,
    width: usize,
) -> usize {
    let pairs = || grid.rows.iter().flat_map(|row| &row.pairs);
    let (mut x, mut y) = (left, top);
    let mut next_position = |words: &str| {
        let needed = SAMPLE_WIDTH + 8 + text_width(words, 12) + 22;
        if x > left && x + needed > width.saturating_sub(left) {
            x = left;
            y += LINE_HEIGHT;
        }
        let position = (x, y);
        x += needed;
        position
    };
    for status in super::STATUSES {
        let is_used = pairs().any(|pair| pair.statuses.iter().any(|(other, _)| *other == status));
        if !is_used {
            continue;
        }
        let (x, y) = next_position(status_label(status));
        let class = style::class(status);
        out.rect(class, x, y, SAMPLE_WIDTH, SAMPLE_HEIGHT);
        let (middle_x, middle_y) = (x + SAMPLE_WIDTH / 2, y + SAMPLE_HEIGHT / 2);
        out.glyph(style::glyph(status), class, middle_x, middle_y, false);
        out.text("ink", x + SAMPLE_WIDTH + 8, y + 14, status_label(status));
    }
    if pairs().any(|pair| pair.statuses.len() > 1) {
        const MIXED: &str = "some formats or sizes only";
        let (x, y) = next_position(MIXED);
        let (w, h) = (SAMPLE_WIDTH, SAMPLE_HEIGHT);
        out.rect("no", x, y, w, h);
        let corner = format!("M{x} {}V{}a4 4 0 0 1 4 -4H{}z", y + h - 4, y + 4, x + w - 2);
        out.path("yes", &corner);
        out.text("ink", x + SAMPLE_WIDTH + 8, y + 14, MIXED);
    }
    if pairs().any(|pair| pair.statuses.is_empty()) {
        const NONE: &str = "takes none of the formats tried";
        let (x, y) = next_position(NONE);
        out.circle("dot", x + SAMPLE_WIDTH / 2, y + SAMPLE_HEIGHT / 2);
        out.text("ink", x + SAMPLE_WIDTH + 8, y + 14, NONE);
    }
    y + LINE_HEIGHT
}
