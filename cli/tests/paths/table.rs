//! Every option and argument that takes a path, with what becomes of the path.
//!
//! `args::tests` holds this against what clap knows: an option that is added has to be decided on here, and is tried by the tests
//! of `tests/paths.rs` then.

/// What becomes of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A regular file is read, or the standard input for `-`.
    Read,
    /// A regular file is read, from its end.
    ReadEnd,
    /// A regular file is read, or a folder.
    ReadTree,
    /// A regular file is made, or replaced.
    Write,
    /// It is replaced as well, at the end of work that only a machine with dma-bufs can do; what must stay is refused before.
    WriteLate,
    /// A folder is made, and files in it.
    Folder,
    /// A device node is opened.
    Node,
}

/// One option or argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathOption {
    /// The verbs before it.
    pub(crate) verbs: &'static [&'static str],
    /// Its name with dashes, or an argument's name without.
    pub(crate) name: &'static str,
    pub(crate) is: Use,
}

const fn option(verbs: &'static [&'static str], name: &'static str, is: Use) -> PathOption {
    PathOption { verbs, name, is }
}

pub(crate) const PATHS: &[PathOption] = &[
    option(&["bench"], "--plot", Use::WriteLate),
    option(&["diff"], "one", Use::Read),
    option(&["diff"], "two", Use::Read),
    option(&["doctor"], "--from", Use::Read),
    option(&["doctor"], "--record", Use::Write),
    option(&["facts", "export"], "--out", Use::Write),
    option(&["inspect"], "--png", Use::WriteLate),
    option(&["inspect"], "--report", Use::ReadEnd),
    option(&["man"], "folder", Use::Folder),
    option(&["matrix"], "--from", Use::Read),
    option(&["matrix"], "--svg", Use::Write),
    option(&["plan"], "--camera", Use::Node),
    option(&["plan"], "--devicetree", Use::ReadTree),
    option(&["plan"], "--display", Use::Node),
    option(&["plan"], "--from", Use::Read),
    option(&["plan"], "--gbm", Use::Node),
    option(&["plan"], "--machine", Use::Read),
    option(&["plan"], "--output", Use::Node),
    option(&["plan"], "--record", Use::Write),
    option(&["probe"], "--record", Use::Write),
];
