//! The text of an explanation. Its length is bounded, unless the caller asks for the complete text.

use std::borrow::Cow;

use super::bounded_text::{cut, plain};

/// The maximum number of lines of an explanation.
pub const EXPLANATION_LINES: usize = 64;

/// The maximum number of bytes of an explanation.
pub const EXPLANATION_BYTES: usize = 8192;

/// The maximum number of bytes of one line. A list of eight modifiers with all their fields has fewer.
const LINE_BYTES: usize = 2048;

/// Limits on the number of lines and on the bytes of a line. They are tried one after another until an explanation is short
/// enough.
const SHORTER: [(usize, usize); 5] = [(64, 512), (48, 512), (32, 512), (32, 192), (24, 192)];

/// The last line of an explanation that was shortened.
const ENDING: &str =
    "this explanation is shortened; `covalent plan --all-reasons` and `explain_all` give all of it";

/// A list of lines of one kind, such as rejected sources.
pub(super) struct Section {
    indent: &'static str,
    /// The kind of the lines as a plural, which follows the number of lines that were left out.
    what: &'static str,
    lines: Vec<String>,
    /// The number of lines in the complete list.
    count: usize,
}

impl Section {
    /// Makes a list. `lines` are its first lines, and `count` is the number of lines in the complete list.
    ///
    /// Characters that are not printable are replaced here in every line of every explanation. A name in a request may contain
    /// anything, and a line break in a name would forge lines.
    pub(super) fn new(
        indent: &'static str,
        what: &'static str,
        lines: Vec<String>,
        count: usize,
    ) -> Self {
        Self {
            indent,
            what,
            lines: lines.into_iter().map(plain_line).collect(),
            count,
        }
    }

    /// Makes a list that consists of exactly these lines.
    pub(super) fn of<const N: usize>(
        indent: &'static str,
        what: &'static str,
        lines: [String; N],
    ) -> Self {
        Self::new(indent, what, lines.into(), N)
    }

    /// Returns the number of lines that the list takes if at most `most` entries are shown.
    fn height(&self, most: usize) -> usize {
        self.count.min(most.saturating_add(1))
    }

    fn write(&self, text: &mut String, most: usize, bytes: usize) {
        let shown = if self.count <= most.saturating_add(1) && self.lines.len() == self.count {
            self.count
        } else {
            most.min(self.lines.len())
        };
        for line in self.lines.iter().take(shown) {
            text.push_str(self.indent);
            text.push_str(&cut(line, bytes));
            text.push('\n');
        }
        let more = self.count.saturating_sub(shown);
        if more > 0 {
            text.push_str(self.indent);
            text.push_str(&format!("  … and {more} more {}\n", self.what));
        }
    }
}

fn plain_line(line: String) -> String {
    match plain(&line) {
        Cow::Owned(plain) => plain,
        Cow::Borrowed(_) => line,
    }
}

/// An explanation while it is being built.
pub(super) struct Text {
    sections: Vec<Section>,
    is_whole: bool,
}

impl Text {
    /// Starts an explanation of bounded length.
    pub(super) fn bounded() -> Self {
        Self {
            sections: Vec::new(),
            is_whole: false,
        }
    }

    /// Starts an explanation of any length.
    pub(super) fn whole() -> Self {
        Self {
            sections: Vec::new(),
            is_whole: true,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Collects at most as many lines as an explanation can show.
    pub(super) fn limited(&self, lines: impl Iterator<Item = String>) -> Vec<String> {
        let most = if self.is_whole {
            usize::MAX
        } else {
            EXPLANATION_LINES
        };
        lines.take(most).collect()
    }

    pub(super) fn add(&mut self, section: Section) {
        if section.count > 0 {
            self.sections.push(section);
        }
    }

    /// Joins all lists into one.
    pub(super) fn into_section(self) -> Section {
        let count = self.sections.iter().map(|section| section.count).sum();
        let lines = self.sections.into_iter().flat_map(|section| {
            let indent = section.indent;
            section
                .lines
                .into_iter()
                .map(move |line| format!("{indent}{line}"))
        });
        Section::new("", "lines about this group", lines.collect(), count)
    }

    /// Returns the explanation's text, shortened if necessary.
    pub(super) fn finish(self) -> String {
        let text = self.written(usize::MAX, usize::MAX);
        if self.is_whole || self.is_short(&text) {
            return text;
        }
        let mut shortest = String::new();
        for (lines, bytes) in SHORTER {
            // Every list shows the same number of entries. It is the largest number with which all lists fit. One more line is
            // needed to state that the text is shortened.
            let most = (0..lines).rev().find(|most| {
                let heights = self.sections.iter().map(|section| section.height(*most));
                heights.sum::<usize>() < lines
            });
            // If even that does not fit, each list states only how many entries it has.
            shortest = self.written(most.unwrap_or(0), bytes);
            shortest.push_str(ENDING);
            shortest.push('\n');
            if most.is_some() && shortest.len() <= EXPLANATION_BYTES {
                return shortest;
            }
        }
        // If there are so many lists that even these lines do not fit, only the first lists are shown.
        let mut first: String = shortest
            .split_inclusive('\n')
            .take(EXPLANATION_LINES.saturating_sub(1) >> 1)
            .collect();
        first.push_str(ENDING);
        first.push('\n');
        first
    }

    fn is_short(&self, text: &str) -> bool {
        let mut sections = self.sections.iter();
        sections.all(|section| section.lines.len() == section.count)
            && text.len() <= EXPLANATION_BYTES
            && text.lines().count() <= EXPLANATION_LINES
            && text.lines().all(|line| line.len() <= LINE_BYTES)
    }

    /// Writes all sections, each with at most `most` entries, in lines of at most `bytes` bytes.
    fn written(&self, most: usize, bytes: usize) -> String {
        let mut text = String::new();
        for section in &self.sections {
            section.write(&mut text, most, bytes);
        }
        text
    }
}
