//! Builds the text of an SVG document. The function `escaped` escapes every text in it.

use std::fmt::Write as _;

use covalent_alloc::text::printable;

use super::style;

/// The SVG elements that were drawn so far.
#[derive(Debug, Default)]
pub(super) struct Document {
    body: String,
}

impl Document {
    /// Writes a text at a point. The CSS class determines whether the text begins or ends at the point.
    pub(super) fn text(&mut self, class: &str, x: usize, y: usize, words: &str) {
        self.line(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
            escaped(words)
        ));
    }

    /// Writes a text with a tooltip.
    pub(super) fn titled_text(
        &mut self,
        class: &str,
        x: usize,
        y: usize,
        words: &str,
        tooltip: &str,
    ) {
        self.line(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\"><title>{}</title>{}</text>",
            escaped(tooltip),
            escaped(words)
        ));
    }

    /// Writes a column's name slanted upwards from a point, with a tooltip.
    pub(super) fn slanted(&mut self, x: usize, y: usize, words: &str, tooltip: &str) {
        self.line(&format!(
            "<text class=\"ink\" transform=\"translate({x} {y}) rotate(-50)\"><title>{}</title>{}</text>",
            escaped(tooltip),
            escaped(words)
        ));
    }

    /// Opens a group of elements with a tooltip.
    pub(super) fn open(&mut self, tooltip: &str) {
        self.line(&format!("<g><title>{}</title>", escaped(tooltip)));
    }

    /// Closes the group.
    pub(super) fn close(&mut self) {
        self.line("</g>");
    }

    /// Adds a rectangle with rounded corners.
    pub(super) fn rect(&mut self, class: &str, x: usize, y: usize, width: usize, height: usize) {
        self.line(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\"/>"
        ));
    }

    /// Adds a path.
    pub(super) fn path(&mut self, class: &str, path: &str) {
        self.line(&format!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    /// Adds a small circle around a point.
    pub(super) fn circle(&mut self, class: &str, x: usize, y: usize) {
        self.line(&format!(
            "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"1.5\"/>"
        ));
    }

    /// Draws a glyph around a point, in the colour that contrasts with the class.
    pub(super) fn glyph(&mut self, glyph: &str, class: &str, x: usize, y: usize, is_small: bool) {
        let scale = if is_small { " scale(0.62)" } else { "" };
        self.line(&format!(
            "<path class=\"glyph {class}\" transform=\"translate({x} {y}){scale}\" d=\"{glyph}\"/>"
        ));
    }

    /// Returns the whole SVG.
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

    /// Adds a line of SVG.
    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.body, "{line}");
    }
}

/// Escapes a text for XML, line by line. Line breaks separate names, which contain none themselves.
fn escaped(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for (index, line) in words.split('\n').enumerate() {
        if index > 0 {
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
