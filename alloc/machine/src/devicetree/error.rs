//! The errors of reading a devicetree.

use thiserror::Error;

use covalent_solver::text::printable_within;

use super::Tree;

/// Why bytes cannot be read as a devicetree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The input is longer than [`Tree::MAXIMUM_BYTES`].
    #[error(
        "the tree has {bytes} bytes, and at most {} are read",
        Tree::MAXIMUM_BYTES
    )]
    TooLong {
        /// The length of the input.
        bytes: usize,
    },
    /// The input does not begin with the magic number of a flattened tree.
    #[error(
        "it is no flattened devicetree: it does not begin with d00dfeed; `dtc -O dtb` makes one of a source, and /sys/firmware/fdt is the kernel's own"
    )]
    NoTree,
    /// The tree has a format version that this crate does not read.
    #[error(
        "the tree is of version {version}, readable as {compatible}; versions 16 and 17 are read"
    )]
    Version {
        /// Its version.
        version: u32,
        /// The oldest version that it is compatible with.
        compatible: u32,
    },
    /// The tree is malformed: a value is not valid, an offset points outside of the tree, or the tree ends too early.
    #[error("the tree is damaged at byte {at}: expected {expected}, found {found}")]
    Damaged {
        /// What the format requires there.
        expected: String,
        /// What is there.
        found: String,
        /// The offset in bytes from the beginning.
        at: usize,
    },
    /// The source of a tree is malformed.
    #[error(
        "the devicetree's source, line {line}: expected {expected}, found \"{}\"",
        printable_within(found, 40)
    )]
    Source {
        /// The line, counted from 1.
        line: usize,
        /// What is expected there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The tree has more of something than is read.
    #[error("the tree has more than {most} {what}: the first that is too many is {place}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// How many there may be.
        most: usize,
        /// The first one beyond the limit: a byte offset, or the path of a node.
        place: String,
    },
}
