//! The text of an SVG, piece by piece. All words go through one place, which makes text of them.

use std::fmt::Write as _;

use covalent_alloc::text::printable;

use super::style;

/// What is drawn so far.
#[derive(Debug, Default)]
pub(super) struct Document {
    body: String,
}

impl Document {
    /// Writes words that begin, or end, at a point, as their class says.
    pub(super) fn text(&mut self, class: &str, x: usize, y: usize, words: &str) {
        self.line(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
            escaped(words)
        ));
    }

    /// The same, with other words where the mouse rests.
    pub(super) fn titled_text(
        &mut self,
        class: &str,
        x: usize,
        y: usize,
        words: &str,
        hover: &str,
    ) {
        self.line(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\"><title>{}</title>{}</text>",
            escaped(hover),
            escaped(words)
        ));
    }

    /// Writes a column's name upwards from a point.
    pub(super) fn slanted(&mut self, x: usize, y: usize, words: &str, hover: &str) {
        self.line(&format!(
            "<text class=\"ink\" transform=\"translate({x} {y}) rotate(-50)\"><title>{}</title>{}</text>",
            escaped(hover),
            escaped(words)
        ));
    }

    /// Begins a group with words where the mouse rests.
    pub(super) fn open(&mut self, hover: &str) {
        self.line(&format!("<g><title>{}</title>", escaped(hover)));
    }

    /// Ends it.
    pub(super) fn close(&mut self) {
        self.line("</g>");
    }

    pub(super) fn rect(&mut self, class: &str, x: usize, y: usize, width: usize, height: usize) {
        self.line(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\"/>"
        ));
    }

    pub(super) fn path(&mut self, class: &str, path: &str) {
        self.line(&format!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    pub(super) fn circle(&mut self, class: &str, x: usize, y: usize) {
        self.line(&format!(
            "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"1.5\"/>"
        ));
    }

    /// Draws a glyph around a point, in the colour that stands out from a class.
    pub(super) fn glyph(&mut self, glyph: &str, class: &str, x: usize, y: usize, is_small: bool) {
        let scale = if is_small { " scale(0.62)" } else { "" };
        self.line(&format!(
            "<path class=\"glyph {class}\" transform=\"translate({x} {y}){scale}\" d=\"{glyph}\"/>"
        ));
    }

    /// Returns the whole.
    pub(super) fn finish(self, width: usize, height: usize, title: &str, words: &str) -> String {
        let (title, words) = (escaped(title), escaped(words));
        let style = style::SHEET;
        let body = self.body;
        let (inner_width, inner_height) = (width.saturating_sub(1), height.saturating_sub(1));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
             <title>{title}</title>\n<desc>{words}</desc>\n<style>\n{style}</style>\n\
             <rect class=\"paper\" x=\"0.5\" y=\"0.5\" width=\"{inner_width}\" height=\"{inner_height}\" rx=\"10\"/>\n\
             {body}</svg>\n"
        )
    }

    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{line}");
    }
}

/// Makes words that are text wherever they stand. The line breaks in them are those between names, which have none themselves.
fn escaped(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for (place, line) in words.split('\n').enumerate() {
        if place > 0 {
            text.push('\n');
        }
        for character in printable(line).chars() {
            match character {
                '&' => text.push_str("&amp;"),
                '<' => text.push_str("&lt;"),
                '>' => text.push_str("&gt;"),
                '"' => text.push_str("&quot;"),
                '\'' => text.push_str("&apos;"),
                other => text.push(other),
            }
        }
    }
    text
}
