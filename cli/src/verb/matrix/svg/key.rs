//! What the colours and glyphs mean: those that are seen, and no others.

use super::document::Document;
use super::style;
use super::{Grid, Standing, text_width};

/// A sample of a cell, in pixels.
const SAMPLE_WIDTH: usize = 26;
const SAMPLE_HEIGHT: usize = 20;
const LINE_HEIGHT: usize = 28;

/// Draws the key from `top` on, and returns where it ends.
pub(super) fn draw(
    out: &mut Document,
    grid: &Grid,
    left: usize,
    top: usize,
    width: usize,
) -> usize {
    let marks = || grid.rows.iter().flat_map(|row| &row.marks);
    let (mut x, mut y) = (left, top);
    let mut place = |words: &str| {
        let needed = SAMPLE_WIDTH + 8 + text_width(words, 12) + 22;
        if x > left && x + needed > width.saturating_sub(left) {
            x = left;
            y += LINE_HEIGHT;
        }
        let at = (x, y);
        x += needed;
        at
    };
    for standing in super::STANDINGS {
        let is_seen = marks().any(|mark| mark.standings.iter().any(|(own, _)| *own == standing));
        if !is_seen {
            continue;
        }
        let (x, y) = place(words(standing));
        let class = style::class(standing);
        out.rect(class, x, y, SAMPLE_WIDTH, SAMPLE_HEIGHT);
        let (middle_x, middle_y) = (x + SAMPLE_WIDTH / 2, y + SAMPLE_HEIGHT / 2);
        out.glyph(style::glyph(standing), class, middle_x, middle_y, false);
        out.text("ink", x + SAMPLE_WIDTH + 8, y + 14, words(standing));
    }
    if marks().any(|mark| mark.standings.len() > 1) {
        const MIXED: &str = "some formats or sizes only";
        let (x, y) = place(MIXED);
        let (w, h) = (SAMPLE_WIDTH, SAMPLE_HEIGHT);
        out.rect("no", x, y, w, h);
        let corner = format!("M{x} {}V{}a4 4 0 0 1 4 -4H{}z", y + h - 4, y + 4, x + w - 2);
        out.path("yes", &corner);
        out.text("ink", x + SAMPLE_WIDTH + 8, y + 14, MIXED);
    }
    if marks().any(|mark| mark.standings.is_empty()) {
        const NONE: &str = "takes none of the formats tried";
        let (x, y) = place(NONE);
        out.circle("dot", x + SAMPLE_WIDTH / 2, y + SAMPLE_HEIGHT / 2);
        out.text("ink", x + SAMPLE_WIDTH + 8, y + 14, NONE);
    }
    y + LINE_HEIGHT
}

fn words(standing: Standing) -> &'static str {
    match standing {
        Standing::Guaranteed => "guaranteed, and it worked",
        Standing::Possible => "possible: by luck, nothing promises it",
        Standing::Impossible => "impossible",
        Standing::Untested => "could not be tried here",
        Standing::Unproved => "unproved until run on a GPU that has them",
        Standing::Disagrees => "solver and drivers disagree",
    }
}
