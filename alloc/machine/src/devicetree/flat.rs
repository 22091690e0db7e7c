//! The reader of flattened devicetrees (`.dtb`). The input is not trusted.

use std::fmt;

use super::TreeError;
use super::tree::{Span, Tree, TreeBuildError, TreeBuilder, is_name};

/// The magic number at the beginning of a flattened tree.
const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The bytes of a flattened tree, and the offset of the next token in its structure block.
struct Reader<'bytes> {
    bytes: &'bytes [u8],
    /// The offset of the strings block, which holds the names of properties.
    strings: usize,
    /// The end of the strings block.
    strings_end: usize,
    /// The offset of the next token.
    at: usize,
    /// The end of the structure block.
    end: usize,
}

impl Tree {
    /// Reads a flattened tree of version 16 or 17. The tree keeps a copy of the bytes.
    ///
    /// # Errors
    /// [`TreeError`], with the offset of the byte where the tree is malformed or exceeds a limit of [`Tree`].
    ///
    /// # References
    /// Devicetree specification, "Flattened Devicetree (DTB) Format".
    pub fn from_flat(bytes: &[u8]) -> Result<Self, TreeError> {
        if bytes.len() > Self::MAXIMUM_BYTES {
            return Err(TreeError::TooLong { bytes: bytes.len() });
        }
        let mut reader = Reader::open(bytes)?;
        let mut builder = TreeBuilder::new(reader.bytes.to_vec());
        loop {
            let at = reader.at;
            let placed = |error| with_position(error, at);
            match reader.word()? {
                BEGIN_NODE => {
                    let name = reader.name()?;
                    builder.begin(name).map_err(placed)?;
                }
                END_NODE => {
                    if !builder.end() {
                        return Err(damaged("the begin of a node", "the end of one", at));
                    }
                    if builder.depth() == 0 {
                        reader.finish()?;
                        let built = builder.finish();
                        return built.map_err(placed)?.checked();
                    }
                }
                PROPERTY => {
                    let (name, value) = reader.property()?;
                    if builder.depth() == 0 {
                        return Err(damaged("the begin of a node", "a property", at));
                    }
                    builder.property(name, value).map_err(placed)?;
                }
                NOP => {}
                token => {
                    let expected =
                        "the token of a node, a property, padding or an end (1, 2, 3, 4 or 9)";
                    return Err(damaged(expected, token, at));
                }
            }
        }
    }
}

impl<'bytes> Reader<'bytes> {
    fn open(bytes: &'bytes [u8]) -> Result<Self, TreeError> {
        let word = |place: usize| {
            let from = bytes.get(place.checked_mul(4)?..)?;
            from.first_chunk().map(|four| u32::from_be_bytes(*four))
        };
        if word(0) != Some(MAGIC) {
            return Err(TreeError::NoTree);
        }
        let header = |place: usize| {
            let short = || damaged("a header of 40 bytes", Length(bytes.len()), bytes.len());
            word(place).ok_or_else(short)
        };
        let (version, compatible) = (header(5)?, header(6)?);
        if version < 16 || compatible > 17 {
            return Err(TreeError::Version {
                version,
                compatible,
            });
        }
        let number = |place: usize| header(place).map(|number| number as usize);
        let total = number(1)?;
        let within = bytes
            .get(..total)
            .ok_or_else(|| damaged(Length(total), Length(bytes.len()), 4))?;
        // Makes the error for a header field that points outside of the tree. `place` is the index of the field.
        let outside = |what: &'static str, found: usize, place: usize| {
            damaged(what, found, place.saturating_mul(4))
        };
        let begin = number(2)?;
        let end = if version >= 17 {
            let size = number(9)?;
            let what = "a size of the structure block within the tree";
            begin
                .checked_add(size)
                .filter(|end| *end <= total)
                .ok_or_else(|| outside(what, size, 9))?
        } else {
            total
        };
        let (strings, size) = (number(3)?, number(8)?);
        let strings_end = strings
            .checked_add(size)
            .filter(|end| *end <= total)
            .ok_or_else(|| outside("a size of the strings block within the tree", size, 8))?;
        if strings > strings_end || begin % 4 != 0 || begin > end {
            let what = "an offset within the tree that is a multiple of 4 bytes";
            return Err(outside(what, begin, 2));
        }
        Ok(Self {
            bytes: within,
            strings,
            strings_end,
            at: begin,
            end,
        })
    }

    fn take(&mut self, count: usize) -> Result<&'bytes [u8], TreeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            let left = self.end.saturating_sub(self.at);
            return Err(damaged(Length(count), Length(left), self.at));
        };
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    /// Reads a big-endian 32-bit word, and moves to the byte after it.
    fn word(&mut self) -> Result<u32, TreeError> {
        let bytes = self.take(4)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// Skips the padding up to the next multiple of 4 bytes.
    fn align(&mut self) -> Result<(), TreeError> {
        let gap = self.at.next_multiple_of(4).saturating_sub(self.at);
        self.take(gap).map(|_| ())
    }

    fn name(&mut self) -> Result<Span, TreeError> {
        let name = self.name_at(self.at, self.end)?;
        // The zero byte that ends the name is skipped too.
        self.take(name.length().saturating_add(1))?;
        self.align()?;
        Ok(name)
    }

    /// Reads the length, the name and the value of a property. Returns the ranges of the name and of the value.
    fn property(&mut self) -> Result<(Span, Span), TreeError> {
        let (length, offset) = (self.word()?, self.word()?);
        let offset_at = self.at.saturating_sub(4);
        let (length, offset) = (length as usize, offset as usize);
        let name_at = self
            .strings
            .checked_add(offset)
            .filter(|place| *place < self.strings_end)
            .ok_or_else(|| {
                damaged(
                    "the offset of a name within the strings block",
                    offset,
                    offset_at,
                )
            })?;
        let name = self.name_at(name_at, self.strings_end)?;
        let value = TreeBuilder::span(self.at, length);
        self.take(length)?;
        self.align()?;
        Ok((name, value))
    }

    /// Reads a name that ends with a zero byte before `end`.
    ///
    /// The search stops at the longest allowed name. Otherwise many names that overlap would take time quadratic in the input.
    fn name_at(&self, at: usize, end: usize) -> Result<Span, TreeError> {
        let most = at
            .saturating_add(Tree::MAXIMUM_NAME_BYTES)
            .saturating_add(1);
        let rest = &self.bytes[at..end.min(most)];
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            let expected = "a name of at most 255 bytes that ends with a zero byte";
            return Err(damaged(expected, Length(rest.len()), at));
        };
        let mut letters = rest[..length].iter().enumerate();
        match letters.find(|(_, byte)| !is_name(&[**byte])) {
            None => Ok(TreeBuilder::span(at, length)),
            Some((place, odd)) => {
                let expected = "a name of printable ASCII characters other than /";
                Err(damaged(expected, Byte(*odd), at.saturating_add(place)))
            }
        }
    }

    /// Reads the tokens after the root node: only padding tokens (NOP) and the end token may follow.
    fn finish(mut self) -> Result<(), TreeError> {
        loop {
            let at = self.at;
            match self.word()? {
                NOP => {}
                END => return Ok(()),
                token => return Err(damaged("the end of the tree (9)", token, at)),
            }
        }
    }
}

/// Converts an error of the tree builder, which has no position, into a [`TreeError`] with the byte offset.
fn with_position(error: TreeBuildError, at: usize) -> TreeError {
    match error {
        TreeBuildError::TooMany { what, most } => TreeError::TooMany {
            what,
            most,
            place: format!("at byte {at}"),
        },
        // The token, the length and the offset of the name, of 4 bytes each, precede the value.
        TreeBuildError::Duplicate { value } => damaged(
            "each property of a node once",
            "a second property of the same name",
            value.start().saturating_sub(12),
        ),
    }
}

/// Displays a number of bytes, such as `40 bytes`.
struct Length(usize);

impl fmt::Display for Length {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} bytes", self.0)
    }
}

/// Displays a byte of the blob in hexadecimal digits.
struct Byte(u8);

impl fmt::Display for Byte {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:#04x}", self.0)
    }
}

/// Makes the error for a value or token at the offset `at` that the format does not permit there.
fn damaged(expected: impl fmt::Display, found: impl fmt::Display, at: usize) -> TreeError {
    TreeError::Damaged {
        expected: expected.to_string(),
        found: found.to_string(),
        at,
    }
}
