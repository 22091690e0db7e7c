//! The reader of a devicetree's source (`.dts`), as `dtc -O dts` prints it. The input is not trusted.
//!
//! Labels, references to labels in cells, comments and strings are read. Macros, includes, deletions and overlays are refused,
//! with their line, because they need a preprocessor or a merge of several trees. `dtc -I dtb -O dts` prints a tree without them.

use std::collections::{BTreeMap, BTreeSet};

use super::TreeError;
use super::tree::{Span, Tree, TreeBuildError, TreeBuilder, is_name};

/// The first phandle that the reader assigns. The reader assigns consecutive phandles to the nodes that have no phandle and to
/// whose label a cell refers.
const FIRST_PHANDLE: u32 = 0x7000_0000;

impl Tree {
    /// Reads the source of a tree, in time proportional to `n log n` and in memory of at most 16 `n` bytes.
    ///
    /// # Errors
    /// [`TreeError`], with the line where the source is malformed or exceeds a limit of [`Tree`].
    ///
    /// # References
    /// Devicetree specification, "Devicetree Source (DTS) Format".
    pub fn from_source(text: &str) -> Result<Self, TreeError> {
        if text.len() > Self::MAXIMUM_BYTES {
            return Err(TreeError::TooLong { bytes: text.len() });
        }
        let mut reader = Reader {
            bytes: text.as_bytes(),
            at: 0,
            line: 1,
            builder: TreeBuilder::new(Vec::new()),
            open: Vec::new(),
            wanted: referenced(text),
            phandles: BTreeMap::new(),
            references: Vec::new(),
            next_phandle: FIRST_PHANDLE,
            labels: Vec::new(),
            has_root: false,
        };
        reader.read()?;
        reader.finish()
    }
}

/// Returns the labels to which cells of the text refer. The reader remembers only the nodes of these labels.
fn referenced(text: &str) -> BTreeSet<&str> {
    let at = text.match_indices('&').map(|(at, _)| at.saturating_add(1));
    let names = at.filter_map(|at| {
        let rest = text.get(at..)?;
        let end = rest.find(|one: char| !one.is_ascii_alphanumeric() && one != '_');
        rest.get(..end.unwrap_or(rest.len()))
    });
    names.filter(|name| !name.is_empty()).collect()
}

struct Reader<'text> {
    bytes: &'text [u8],
    at: usize,
    line: usize,
    builder: TreeBuilder,
    open: Vec<OpenNode<'text>>,
    wanted: BTreeSet<&'text str>,
    /// The phandles of the nodes to whose labels cells refer, by label.
    phandles: BTreeMap<&'text str, u32>,
    /// The cells that refer to a label. Each entry has the cell's offset in the builder's text, the label and the line.
    references: Vec<(usize, &'text str, usize)>,
    next_phandle: u32,
    /// The labels that precede the next node or property.
    labels: Vec<&'text str>,
    has_root: bool,
}

struct OpenNode<'text> {
    /// The labels of this node to which cells refer.
    labels: Vec<&'text str>,
    phandle: Option<u32>,
}

impl<'text> Reader<'text> {
    /// Reads the tree from the source, up to its end.
    fn read(&mut self) -> Result<(), TreeError> {
        while let Some(byte) = self.peek()? {
            match byte {
                b'}' => {
                    self.at = self.at.saturating_add(1);
                    self.end()?;
                }
                b';' => self.at = self.at.saturating_add(1),
                b'/' => self.directive()?,
                b'&' => {
                    let expected = "the root node (a source that refers to nodes of another tree is an overlay)";
                    return Err(self.expected(expected));
                }
                _ => self.named()?,
            }
        }
        if self.builder.depth() > 0 {
            return Err(self.expected("`}` at the end of a node"));
        }
        if !self.has_root {
            return Err(self.expected("the root node, `/ {`"));
        }
        Ok(())
    }

    /// Writes the phandles into the cells that refer to labels, and returns the finished tree.
    fn finish(mut self) -> Result<Tree, TreeError> {
        for (at, label, line) in std::mem::take(&mut self.references) {
            let Some(phandle) = self.phandles.get(label) else {
                return Err(source(line, "a label of the tree", label));
            };
            let bytes = phandle.to_be_bytes();
            let cell = self.builder.text().get_mut(at..at.saturating_add(4));
            if let Some(cell) = cell {
                cell.copy_from_slice(&bytes);
            }
        }
        let line = self.line;
        let built = self.builder.finish();
        built.map_err(|error| with_position(error, line))?.checked()
    }

    /// Skips spaces and comments, and returns the next byte; `None` at the end.
    fn peek(&mut self) -> Result<Option<u8>, TreeError> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            match rest {
                [b'\n', ..] => {
                    self.line = self.line.saturating_add(1);
                    self.at = self.at.saturating_add(1);
                }
                [byte, ..] if byte.is_ascii_whitespace() => self.at = self.at.saturating_add(1),
                [b'/', b'/', ..] => {
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    self.at = self.at.saturating_add(end.unwrap_or(rest.len()));
                }
                [b'/', b'*', ..] => {
                    let end = rest.windows(2).skip(2).position(|pair| pair == b"*/");
                    let length =
                        end.ok_or_else(|| self.expected("`*/` at the end of a comment"))?;
                    let length = length.saturating_add(4);
                    let skipped = rest.get(..length).unwrap_or_default();
                    let lines = skipped.iter().filter(|byte| **byte == b'\n').count();
                    self.line = self.line.saturating_add(lines);
                    self.at = self.at.saturating_add(length);
                }
                [byte, ..] => return Ok(Some(*byte)),
                [] => return Ok(None),
            }
        }
    }

    /// Reads what begins with a slash: the start of the root node, or a directive, which is skipped.
    fn directive(&mut self) -> Result<(), TreeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        for skipped in ["/dts-v1/", "/plugin/", "/memreserve/"] {
            if rest.starts_with(skipped.as_bytes()) {
                let end = rest.iter().position(|byte| *byte == b';' || *byte == b'\n');
                self.at = self.at.saturating_add(end.unwrap_or(rest.len()));
                return Ok(());
            }
        }
        self.at = self.at.saturating_add(1);
        if self.peek()? != Some(b'{') || self.has_root {
            let expected =
                "one root node, `/ {`, without deletions and includes: dtc -O dts resolves them";
            return Err(self.expected(expected));
        }
        self.at = self.at.saturating_add(1);
        self.has_root = true;
        self.begin(TreeBuilder::span(0, 0))
    }

    /// Reads a label, a node or a property.
    fn named(&mut self) -> Result<(), TreeError> {
        let name = self.name()?;
        match self.peek()? {
            Some(b':') => {
                self.at = self.at.saturating_add(1);
                if self.wanted.contains(name) {
                    self.labels.push(name);
                }
                Ok(())
            }
            Some(b'{') => {
                self.at = self.at.saturating_add(1);
                let span = self.add_name(name)?;
                if self.builder.depth() == 0 {
                    return Err(self.expected("the root node, `/ {`, before other nodes"));
                }
                self.begin(span)
            }
            Some(b'=') => {
                self.at = self.at.saturating_add(1);
                let value = self.value()?;
                self.property(name, value)
            }
            Some(b';') => {
                let value = TreeBuilder::span(self.builder.text().len(), 0);
                self.property(name, value)
            }
            _ => Err(self.expected("`{`, `=`, `;` or `:` after a name")),
        }
    }

    fn name(&mut self) -> Result<&'text str, TreeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b",._+-*#?@".contains(byte);
        let end = rest.iter().position(|byte| !is_of_name(byte));
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let text = std::str::from_utf8(name).unwrap_or_default();
        if text.is_empty() || !is_name(name) {
            return Err(self.expected("a name of a node or a property"));
        }
        self.at = self.at.saturating_add(name.len());
        Ok(text)
    }

    fn add_name(&mut self, name: &str) -> Result<Span, TreeError> {
        self.check_length(name.len())?;
        let start = self.builder.text().len();
        self.builder.text().extend(name.as_bytes());
        Ok(TreeBuilder::span(start, name.len()))
    }

    /// Opens a node, which gets the labels before it.
    fn begin(&mut self, name: Span) -> Result<(), TreeError> {
        let line = self.line;
        self.builder
            .begin(name)
            .map_err(|error| with_position(error, line))?;
        self.open.push(OpenNode {
            labels: std::mem::take(&mut self.labels),
            phandle: None,
        });
        Ok(())
    }

    /// Adds a property to the open node. The value of `phandle` is also stored for the labels of the node.
    fn property(&mut self, name: &'text str, value: Span) -> Result<(), TreeError> {
        self.labels.clear();
        let Some(open) = self.open.last_mut() else {
            return Err(self.expected("the root node, `/ {`, before properties"));
        };
        if matches!(name, "phandle" | "linux,phandle") && value.length() == 4 {
            let start = value.start();
            let bytes = self.builder.text().get(start..start.saturating_add(4));
            let bytes: Option<[u8; 4]> = bytes.and_then(|bytes| bytes.try_into().ok());
            open.phandle = bytes.map(u32::from_be_bytes);
        }
        let name = self.add_name(name)?;
        let line = self.line;
        let added = self.builder.property(name, value);
        added.map_err(|error| with_position(error, line))
    }

    /// Ends a node. If the node has no phandle and a cell refers to its label, the node gets a phandle.
    fn end(&mut self) -> Result<(), TreeError> {
        let Some(open) = self.open.pop() else {
            return Err(self.expected("the begin of a node"));
        };
        if !open.labels.is_empty() {
            let phandle = match open.phandle {
                Some(phandle) => phandle,
                None => {
                    let phandle = self.next_phandle;
                    self.next_phandle = self.next_phandle.saturating_add(1);
                    let name = self.add_name("phandle")?;
                    let start = self.builder.text().len();
                    self.builder.text().extend(phandle.to_be_bytes());
                    let line = self.line;
                    let added = self.builder.property(name, TreeBuilder::span(start, 4));
                    added.map_err(|error| with_position(error, line))?;
                    phandle
                }
            };
            let labels = open.labels.into_iter();
            self.phandles.extend(labels.map(|label| (label, phandle)));
        }
        self.builder.end();
        Ok(())
    }

    /// Reads the values of a property, which end with a semicolon.
    fn value(&mut self) -> Result<Span, TreeError> {
        let start = self.builder.text().len();
        loop {
            match self.peek()? {
                Some(b'"') => self.string()?,
                Some(b'<') => self.cells(32)?,
                Some(b'[') => self.hexadecimal()?,
                Some(b'/') => self.bits()?,
                _ => return Err(self.expected("a string, <cells> or [bytes]")),
            }
            match self.peek()? {
                Some(b',') => self.at = self.at.saturating_add(1),
                Some(b';') => {
                    let end = self.builder.text().len();
                    return Ok(TreeBuilder::span(start, end.saturating_sub(start)));
                }
                _ => return Err(self.expected("`,` or `;` after a value")),
            }
        }
    }

    /// Reads a string in quotes, and appends its bytes and a zero byte to the text of the tree.
    fn string(&mut self) -> Result<(), TreeError> {
        self.at = self.at.saturating_add(1);
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let (byte, length) = match rest {
                [b'"', ..] => break,
                [b'\\', escaped, ..] => match escaped {
                    b'n' => (b'\n', 2),
                    b't' => (b'\t', 2),
                    b'0' => (0, 2),
                    other => (*other, 2),
                },
                [b'\n', ..] | [] => return Err(self.expected("`\"` at the end of a string")),
                [byte, ..] => (*byte, 1),
            };
            self.builder.text().push(byte);
            self.at = self.at.saturating_add(length);
        }
        self.at = self.at.saturating_add(1);
        self.builder.text().push(0);
        self.check_length(0)
    }

    /// Reads numbers of a given width, such as `/bits/ 64 <0x1 0x2>`.
    fn bits(&mut self) -> Result<(), TreeError> {
        let expected = "/bits/ with 8, 16, 32 or 64";
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(b"/bits/") {
            return Err(self.expected(expected));
        }
        self.at = self.at.saturating_add(6);
        self.peek()?;
        let bits = self.number()?;
        if ![8, 16, 32, 64].contains(&bits) || self.peek()? != Some(b'<') {
            return Err(self.expected(expected));
        }
        self.cells(u32::try_from(bits).unwrap_or(32))
    }

    /// Reads numbers and references in angle brackets, and appends them to the text of the tree with `bits` bits each.
    fn cells(&mut self, bits: u32) -> Result<(), TreeError> {
        self.at = self.at.saturating_add(1);
        loop {
            match self.peek()? {
                Some(b'>') => break,
                Some(b'&') if bits == 32 => {
                    self.at = self.at.saturating_add(1);
                    let label = self.name()?;
                    let at = self.builder.text().len();
                    self.references.push((at, label, self.line));
                    self.builder.text().extend([0; 4]);
                }
                Some(_) => {
                    let number = self.number()?;
                    let bytes = number.to_be_bytes();
                    let skipped = 8_usize.saturating_sub(usize::try_from(bits / 8).unwrap_or(8));
                    if bytes.iter().take(skipped).any(|byte| *byte != 0) {
                        return Err(self.expected(&format!("numbers of {bits} bits")));
                    }
                    let own = bytes.get(skipped..).unwrap_or_default();
                    self.builder.text().extend(own);
                }
                None => return Err(self.expected("`>` at the end of cells")),
            }
        }
        self.at = self.at.saturating_add(1);
        self.check_length(0)
    }

    /// Reads a number in decimal, in hexadecimal after `0x`, or in octal after `0`.
    fn number(&mut self) -> Result<u64, TreeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric());
        let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let text = std::str::from_utf8(word).unwrap_or_default();
        let plain = text.trim_end_matches(['U', 'L', 'u', 'l']);
        let (digits, radix) = match (plain.strip_prefix("0x"), plain.strip_prefix('0')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) if !digits.is_empty() => (digits, 8),
            _ => (plain, 10),
        };
        let expected = "a number, and no macro or expression: dtc -O dts resolves them";
        let number = u64::from_str_radix(digits, radix).map_err(|_| self.expected(expected))?;
        self.at = self.at.saturating_add(word.len());
        Ok(number)
    }

    /// Reads bytes in square brackets, and appends them to the text of the tree.
    fn hexadecimal(&mut self) -> Result<(), TreeError> {
        self.at = self.at.saturating_add(1);
        while self.peek()? != Some(b']') {
            let expected = "bytes as pairs of hexadecimal digits, and `]`";
            let pair = self.bytes.get(self.at..self.at.saturating_add(2));
            let text = pair.and_then(|pair| std::str::from_utf8(pair).ok());
            let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let byte = text.and_then(|text| u8::from_str_radix(text, 16).ok());
            let byte = byte.ok_or_else(|| self.expected(expected))?;
            self.builder.text().push(byte);
            self.at = self.at.saturating_add(2);
        }
        self.at = self.at.saturating_add(1);
        self.check_length(0)
    }

    /// Checks that the builder's text does not exceed the limit of a tree when `more` bytes are added.
    fn check_length(&mut self, more: usize) -> Result<(), TreeError> {
        let bytes = self.builder.text().len().saturating_add(more);
        if bytes > Tree::MAXIMUM_BYTES {
            return Err(TreeError::TooLong { bytes });
        }
        Ok(())
    }

    /// Makes the error for a text on the current line that is not `expected`.
    fn expected(&self, expected: &str) -> TreeError {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let line = line.get(..40).unwrap_or(line);
        source(self.line, expected, &String::from_utf8_lossy(line))
    }
}

fn source(line: usize, expected: &str, found: &str) -> TreeError {
    TreeError::Source {
        line,
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

fn with_position(error: TreeBuildError, line: usize) -> TreeError {
    match error {
        TreeBuildError::TooMany { what, most } => TreeError::TooMany {
            what,
            most,
            place: format!("line {line}"),
        },
        TreeBuildError::Duplicate { .. } => source(
            line,
            "each property of a node once",
            "the same property twice",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "/dts-v1/;\n\n/memreserve/ 0x0 0x1000;\n/ {\n\t#address-cells = <0x02>; // two\n\tmodel = \"A board\", \"b\";\n\tempty;\n\tpool: region@1 {\n\t\treg = <0x0 1 010 0xff>;\n\t\tbytes = [00 ff 1 2];\n\t};\n\t/* a\n\tcomment */\n\tuser {\n\t\tmemory-region = <&pool 7>;\n\t\twide = /bits/ 64 <1>;\n\t};\n};\n";

    #[test]
    fn source_has_the_nodes_and_values_of_its_text() {
        let tree = Tree::from_source(&TEXT.replace("1 2]", "12]")).unwrap();
        let root = tree.root();
        assert_eq!(root.cell("#address-cells"), Some(2));
        assert_eq!(root.texts("model").collect::<Vec<_>>(), ["A board", "b"]);
        assert!(root.has("empty"));
        let region = root.child("region").unwrap();
        assert_eq!(
            region.cells("reg").unwrap().collect::<Vec<_>>(),
            [0, 1, 8, 255]
        );
        assert_eq!(region.property("bytes"), Some(&[0, 0xff, 0x12][..]));
        let phandle = region.cell("phandle").unwrap();
        let user = root.child("user").unwrap();
        let cells: Vec<u32> = user.cells("memory-region").unwrap().collect();
        assert_eq!(cells, [phandle, 7]);
        assert_eq!(user.property("wide"), Some(&[0, 0, 0, 0, 0, 0, 0, 1][..]));
    }

    #[test]
    fn malformed_source_is_an_error_with_its_line() {
        for (text, line, words) in [
            (TEXT, 10, "pairs of hexadecimal digits"),
            ("/ {\n a = <X>;\n};", 2, "no macro"),
            ("/ {\n a = <&none>;\n};", 2, "a label of the tree"),
            ("/ {\n a = \"x\n\";};", 2, "at the end of a string"),
            ("/ {\n b {\n", 3, "at the end of a node"),
            ("\n&x { };", 2, "overlay"),
            ("/ { };\n/ { };", 2, "one root node"),
            ("/ {\n /delete-node/ a;\n};", 2, "without deletions"),
            ("a;", 1, "before properties"),
            ("/ { a; a; };", 1, "each property of a node once"),
            ("/* x", 1, "at the end of a comment"),
            ("", 1, "the root node"),
        ] {
            let error = Tree::from_source(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}:")), "{text}: {error}");
            assert!(error.contains(words), "{text}: {error}");
        }
        let deep = "/ {".to_owned() + &"a {".repeat(100);
        assert!(
            Tree::from_source(&deep)
                .unwrap_err()
                .to_string()
                .contains("levels")
        );
    }
}
