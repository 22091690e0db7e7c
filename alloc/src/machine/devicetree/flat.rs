//! Flattened trees (`.dtb`), whoever wrote them.

use std::collections::BTreeMap;

use thiserror::Error;

use super::tree::{Node, Tree};

/// Why bytes are no devicetree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// They are more than any board's.
    #[error(
        "the tree has {bytes} bytes, and at most {} are read",
        Tree::MAXIMUM_BYTES
    )]
    TooLong {
        /// How many.
        bytes: usize,
    },
    /// They do not begin as a tree.
    #[error(
        "it is no flattened devicetree: it does not begin with d00dfeed; `dtc -O dtb` makes one of a source, and /sys/firmware/fdt is the kernel's own"
    )]
    NoTree,
    /// It is of a version that this crate does not read.
    #[error(
        "the tree is of version {version}, readable as {compatible}; versions 16 and 17 are read"
    )]
    Version {
        /// Its version.
        version: u32,
        /// The oldest that it can be read as.
        compatible: u32,
    },
    /// It leads outside of itself, or ends too early.
    #[error("the tree is damaged: {what} at byte {at}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// It is larger than any board's.
    #[error("the tree has more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
    },
}

/// What every tree begins with.
const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
const END: u32 = 9;

/// The bytes of a tree, and the next place in its structure.
struct Reader<'bytes> {
    bytes: &'bytes [u8],
    /// The names of properties.
    strings: &'bytes [u8],
    at: usize,
    /// Where the structure ends.
    end: usize,
}

impl Tree {
    /// Reads a flattened tree.
    ///
    /// # Errors
    /// [`TreeError`].
    ///
    /// # References
    /// Devicetree specification, "Flattened Devicetree (DTB) Format".
    pub fn from_flat(bytes: &[u8]) -> Result<Self, TreeError> {
        if bytes.len() > Self::MAXIMUM_BYTES {
            return Err(TreeError::TooLong { bytes: bytes.len() });
        }
        let mut reader = Reader::open(bytes)?;
        // The node that is open, and those above it.
        let mut open: Vec<Node> = Vec::new();
        let (mut nodes, mut properties) = (0_usize, 0_usize);
        loop {
            let at = reader.at;
            match reader.word()? {
                BEGIN_NODE => {
                    nodes = counted(nodes, "nodes")?;
                    if open.len() >= Self::MAXIMUM_DEPTH {
                        return Err(TreeError::TooMany {
                            what: "levels",
                            most: Self::MAXIMUM_DEPTH,
                        });
                    }
                    let name = reader.name()?;
                    open.push(Node {
                        name,
                        ..Node::default()
                    });
                }
                END_NODE => {
                    let done = open.pop().ok_or(TreeError::Damaged {
                        what: "a node ends that never began",
                        at,
                    })?;
                    match open.last_mut() {
                        Some(above) => above.children.push(done),
                        None => return reader.finish(done),
                    }
                }
                PROPERTY => {
                    properties = counted(properties, "properties")?;
                    let (name, value) = reader.property()?;
                    let node = open.last_mut().ok_or(TreeError::Damaged {
                        what: "a property of no node",
                        at,
                    })?;
                    insert(&mut node.properties, name, value, at)?;
                }
                NOTHING => {}
                _ => {
                    return Err(TreeError::Damaged {
                        what: "neither a node nor a property",
                        at,
                    });
                }
            }
        }
    }
}

impl<'bytes> Reader<'bytes> {
    fn open(bytes: &'bytes [u8]) -> Result<Self, TreeError> {
        let word = |place: usize| {
            let from = place.checked_mul(4)?;
            let four = bytes.get(from..from.checked_add(4)?)?;
            Some(u32::from_be_bytes(four.try_into().ok()?))
        };
        if word(0) != Some(MAGIC) {
            return Err(TreeError::NoTree);
        }
        let header = |place: usize| {
            word(place).ok_or(TreeError::Damaged {
                what: "the header ends too early",
                at: bytes.len(),
            })
        };
        let (version, compatible) = (header(5)?, header(6)?);
        if version < 16 || compatible > 17 {
            return Err(TreeError::Version {
                version,
                compatible,
            });
        }
        let outside = |what: &'static str, place: usize| TreeError::Damaged {
            what,
            at: place.saturating_mul(4),
        };
        let number = |place: usize, what: &'static str| {
            usize::try_from(header(place)?).map_err(|_| outside(what, place))
        };
        let total = number(1, "the size is none")?;
        let within = bytes
            .get(..total)
            .ok_or_else(|| outside("the tree is shorter than it says", 1))?;
        let begin = number(2, "the structure is outside")?;
        let end = if version >= 17 {
            begin
                .checked_add(number(9, "the structure is outside")?)
                .filter(|end| *end <= total)
                .ok_or_else(|| outside("the structure is outside", 9))?
        } else {
            total
        };
        let strings_at = number(3, "the names are outside")?;
        let strings_end = strings_at
            .checked_add(number(8, "the names are outside")?)
            .ok_or_else(|| outside("the names are outside", 8))?;
        let strings = within
            .get(strings_at..strings_end)
            .ok_or_else(|| outside("the names are outside", 3))?;
        if begin % 4 != 0 || begin > end {
            return Err(outside("the structure is outside", 2));
        }
        Ok(Self {
            bytes: within,
            strings,
            at: begin,
            end,
        })
    }

    fn damaged<T>(&self, what: &'static str) -> Result<T, TreeError> {
        Err(TreeError::Damaged { what, at: self.at })
    }

    fn take(&mut self, count: usize) -> Result<&'bytes [u8], TreeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return self.damaged("it ends too early");
        };
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, TreeError> {
        let bytes = self.take(4)?;
        match bytes.try_into() {
            Ok(four) => Ok(u32::from_be_bytes(four)),
            Err(_) => self.damaged("it ends too early"),
        }
    }

    /// Goes on to where a number may stand.
    fn align(&mut self) -> Result<(), TreeError> {
        let gap = self.at.next_multiple_of(4).saturating_sub(self.at);
        self.take(gap).map(|_| ())
    }

    fn name(&mut self) -> Result<String, TreeError> {
        let rest = self.bytes.get(self.at..self.end).unwrap_or_default();
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return self.damaged("a name without an end");
        };
        let name = self.take(length)?;
        let Some(name) = text(name) else {
            return self.damaged("a name that is no text");
        };
        self.take(1)?;
        self.align()?;
        Ok(name)
    }

    fn property(&mut self) -> Result<(String, Vec<u8>), TreeError> {
        let (length, name_at) = (self.word()?, self.word()?);
        let (Ok(length), Ok(name_at)) = (usize::try_from(length), usize::try_from(name_at)) else {
            return self.damaged("a property that is too long");
        };
        let rest = self.strings.get(name_at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0);
        let Some(name) = end.and_then(|end| text(rest.get(..end)?)) else {
            return self.damaged("a property without a name");
        };
        let value = self.take(length)?.to_vec();
        self.align()?;
        Ok((name, value))
    }

    /// Takes the root, behind which nothing but the end may stand.
    fn finish(mut self, root: Node) -> Result<Tree, TreeError> {
        loop {
            match self.word()? {
                NOTHING => {}
                END => return Ok(Tree { root }),
                _ => return self.damaged("more than one root"),
            }
        }
    }
}

/// A name, which a path can be made of.
fn text(bytes: &[u8]) -> Option<String> {
    let printable = bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b'/');
    printable
        .then(|| String::from_utf8(bytes.to_vec()).ok())
        .flatten()
}

fn counted(count: usize, what: &'static str) -> Result<usize, TreeError> {
    let most = Tree::MAXIMUM_NODES;
    count
        .checked_add(1)
        .filter(|count| *count <= most)
        .ok_or(TreeError::TooMany { what, most })
}

fn insert(
    properties: &mut BTreeMap<String, Vec<u8>>,
    name: String,
    value: Vec<u8>,
    at: usize,
) -> Result<(), TreeError> {
    match properties.insert(name, value) {
        None => Ok(()),
        Some(_) => Err(TreeError::Damaged {
            what: "a property is there twice",
            at,
        }),
    }
}
