//! All options and arguments that take a path, with the way in which the tool uses the path.
//!
//! A test in `args` compares this table with the options in clap, so that a new option needs an entry. The tests of
//! `tests/paths.rs` run for each entry.

/// How the tool uses a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The tool reads a regular file, or the standard input for `-`.
    Read,
    /// The tool reads the end of a regular file.
    ReadEnd,
    /// The tool reads a regular file or a folder.
    ReadTree,
    /// The tool creates or replaces a regular file.
    Write,
    /// The tool creates or replaces a regular file after work that needs dma-bufs. If the path must not be replaced, the tool
    /// refuses it before the work.
    WriteLate,
    /// The tool creates a folder, and files in it.
    Folder,
    /// The tool opens a device node.
    Node,
    /// The tool connects to a socket.
    Socket,
}

/// An option or argument that takes a path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PathOption {
    /// The verbs, which precede the option on the command line.
    pub(crate) verbs: &'static [&'static str],
    /// The option with dashes, or the name of an argument.
    pub(crate) name: &'static str,
    pub(crate) path_use: Use,
}

const fn option(verbs: &'static [&'static str], name: &'static str, path_use: Use) -> PathOption {
    PathOption {
        verbs,
        name,
        path_use,
    }
}

pub(crate) const PATHS: &[PathOption] = &[
    option(&["bench"], "--plot", Use::WriteLate),
    option(&["diff"], "one", Use::Read),
    option(&["diff"], "two", Use::Read),
    option(&["doctor"], "--from", Use::Read),
    option(&["doctor"], "--record", Use::Write),
    option(&["facts", "export"], "--out", Use::Write),
    option(&["import"], "--out", Use::Write),
    option(&["import"], "files", Use::Read),
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
    option(&["report"], "--out", Use::WriteLate),
    option(&["watch"], "--socket", Use::Socket),
];
