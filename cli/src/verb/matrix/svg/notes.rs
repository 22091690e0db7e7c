//! The numbered list of reasons below the cells.

use super::document::Document;
use super::{Grid, text_width};
use crate::text::wrap;

/// The distance between two lines, in pixels.
const LINE_HEIGHT: usize = 17;
/// The width of the column with the numbers, in pixels.
const NUMBER_WIDTH: usize = 24;

/// Writes the reasons from `top` on, then the devices that were not measured, and returns the y coordinate of the end.
pub(super) fn draw(
    out: &mut Document,
    grid: &Grid,
    left: usize,
    top: usize,
    width: usize,
) -> usize {
    let letters = width.saturating_sub(2 * left + NUMBER_WIDTH + 8) / text_width("m", 12).max(1);
    let column = left + NUMBER_WIDTH;
    let mut y = top;
    let mut note = |y: &mut usize, mark: &str, words: &str| {
        out.text("mark ink", column, *y, mark);
        for line in wrap(words, letters.max(20)) {
            out.text("faint", column + 8, *y, &line);
            *y += LINE_HEIGHT;
        }
        *y += 3;
    };
    if !grid.reasons.is_empty() {
        note(&mut y, "why", HOW);
        y += 2;
    }
    for (number, reason) in (1_usize..).zip(&grid.reasons) {
        note(&mut y, &number.to_string(), reason);
    }
    for words in &grid.not_measured {
        note(&mut y, "–", &format!("not measured: {words}"));
    }
    y.saturating_sub(LINE_HEIGHT)
}

/// How the grid and the reasons are to be read.
const HOW: &str =
    "The number in a cell refers to its first reason. “The source” is the row, “it” the column.";
