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
        "the devicetree has {bytes} bytes, and at most {} can be read",
        Tree::MAXIMUM_BYTES
    )]
    TooLong {
        /// The length of the input in bytes.
        bytes: usize,
    },
    /// The input does not begin with the magic number of a flattened tree.
    #[error(
        "the input is not a flattened devicetree: it does not begin with d00dfeed; `dtc -O dtb` compiles a source to one, and /sys/firmware/fdt contains the running kernel's"
    )]
    NoTree,
    /// The tree has a format version that this crate does not read.
    #[error(
        "the flattened devicetree has version {version} and is compatible with version {compatible}; only versions 16 and 17 can be read"
    )]
    Version {
        /// The format version of the devicetree blob.
        version: u32,
        /// The oldest format version whose readers can read the blob (`last_comp_version`).
        compatible: u32,
    },
    /// The tree is malformed: a value is not valid, an offset points outside of the tree, or the tree ends too early.
    #[error("the tree is damaged at byte {at}: expected {expected}, found {found}")]
    Damaged {
        /// The value or token that the format requires at this offset.
        expected: String,
        /// The value or token that the blob has at this offset.
        found: String,
        /// The offset in bytes from the beginning of the blob.
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
        /// The token that is expected on this line.
        expected: String,
        /// The text that is on this line instead.
        found: String,
    },
    /// The tree has more nodes, properties or other entries than this crate reads.
    #[error(
        "the devicetree has more than {most} {what}: the first one beyond this limit is {place}"
    )]
    TooMany {
        /// The kind of entry, such as `nodes`.
        what: &'static str,
        /// The maximum number of entries of this kind that are read.
        most: usize,
        /// The first entry beyond the limit: a byte offset, or the path of a node.
        place: String,
    },
}
