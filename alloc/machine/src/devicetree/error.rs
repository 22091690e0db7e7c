//! Why something is no devicetree.

use thiserror::Error;

use super::Tree;

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
    #[error("the tree is damaged at byte {at}: expected {expected}, found {found}")]
    Damaged {
        /// What should stand there.
        expected: String,
        /// What stands there.
        found: String,
        /// Where, in bytes from the beginning.
        at: usize,
    },
    /// It is larger than any board's.
    #[error("the tree has more than {most} {what}: the first that is too many is {place}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        most: usize,
        /// Where the first stands that is too many: a byte, or a node's path.
        place: String,
    },
}
