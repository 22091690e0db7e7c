//! An explanation, which is of bounded length unless all of it is asked for.

use std::borrow::Cow;

use super::bounded_text::{cut, plain};

/// The most lines of an explanation.
pub const EXPLANATION_LINES: usize = 64;

/// The most bytes of an explanation.
pub const EXPLANATION_BYTES: usize = 8192;

/// The most bytes of one of its lines, and fewer where it is shortened. A list of eight modifiers with all their fields fits.
const LINE_BYTES: usize = 2048;

/// To how many lines an explanation is shortened, and to how many bytes each, until it is short enough.
const SHORTER: [(usize, usize); 5] = [(64, 512), (48, 512), (32, 512), (32, 192), (24, 192)];

/// What stands below an explanation that was shortened.
const ENDING: &str =
    "this is shortened: `covalent plan --all-reasons` says all of it, and so does `explain_all`";

/// Lines about things of one kind.
pub(super) struct Section {
    indent: &'static str,
    /// What there are more of, where not all have a line.
    what: &'static str,
    lines: Vec<String>,
    /// How many lines there would be in all.
    count: usize,
}

impl Section {
    /// Begins with these lines what has so many in all.
    ///
    /// Here every line of every explanation is made, and made printable: names are whatever was put into the request, and one
    /// with a line break in it would forge lines.
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

    /// Has these lines and no more.
    pub(super) fn of<const N: usize>(
        indent: &'static str,
        what: &'static str,
        lines: [String; N],
    ) -> Self {
        Self::new(indent, what, lines.into(), N)
    }

    /// Returns how many lines it takes when at most so many things are told.
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

/// An explanation as it grows.
pub(super) struct Text {
    sections: Vec<Section>,
    is_whole: bool,
}

impl Text {
    /// Begins an explanation of bounded length.
    pub(super) fn bounded() -> Self {
        Self {
            sections: Vec::new(),
            is_whole: false,
        }
    }

    /// Begins one of any length.
    pub(super) fn whole() -> Self {
        Self {
            sections: Vec::new(),
            is_whole: true,
        }
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Makes no more lines than can be told.
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

    /// Makes one list of all of them.
    pub(super) fn into_section(self) -> Section {
        let count = self.sections.iter().map(|section| section.count).sum();
        let lines = self.sections.into_iter().flat_map(|section| {
            let indent = section.indent;
            section
                .lines
                .into_iter()
                .map(move |line| format!("{indent}{line}"))
        });
        Section::new("", "lines on these", lines.collect(), count)
    }

    /// Puts it together.
    pub(super) fn finish(self) -> String {
        let text = self.written(usize::MAX, usize::MAX);
        if self.is_whole || self.is_short(&text) {
            return text;
        }
        let mut shortest = String::new();
        for (lines, bytes) in SHORTER {
            // Every list has as many lines as fit for all of them; one line says that it is shortened.
            let most = (0..lines).rev().find(|most| {
                let heights = self.sections.iter().map(|section| section.height(*most));
                heights.sum::<usize>() < lines
            });
            // Where even that does not fit, each list says only how much it has.
            shortest = self.written(most.unwrap_or(0), bytes);
            shortest.push_str(ENDING);
            shortest.push('\n');
            if most.is_some() && shortest.len() <= EXPLANATION_BYTES {
                return shortest;
            }
        }
        // So many lists that not even their numbers fit: the first of them.
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

    fn written(&self, most: usize, bytes: usize) -> String {
        let mut text = String::new();
        for section in &self.sections {
            section.write(&mut text, most, bytes);
        }
        text
    }
}
