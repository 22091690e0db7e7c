//! The data that one refresh prints.

use std::path::Path;

use covalent_alloc::text::printable_path;
use covalent_protocols::control::Snapshot;
use serde::Serialize;

use super::growth::{self, Growth};
use crate::json;
use crate::out::printable_names;

/// A snapshot, and the growth since the first snapshot.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// The version of the JSON.
    version: u32,
    /// The path of the control socket.
    pub(super) socket: String,
    /// The time since the first snapshot.
    pub(super) watched_ns: u64,
    /// The state of the compositor.
    pub(super) snapshot: Snapshot,
    /// The growth of each client's resources since the first snapshot.
    pub(super) growth: Vec<Growth>,
    /// The growth of the compositor's number of open file descriptors since the first snapshot.
    pub(super) descriptors_growth: i64,
    /// The growth of the compositor's resident memory since the first snapshot, in bytes.
    pub(super) resident_bytes_growth: i64,
}

impl Report {
    pub(super) fn new(socket: &Path, before: &Snapshot, now: Snapshot) -> Self {
        // covalent-compositor escapes all names, but another program may listen on the socket. The names are therefore escaped
        // here too.
        let now = printable_names(&now);
        let process = |snapshot: &Snapshot| snapshot.process.unwrap_or_default();
        let (old, new) = (process(before), process(&now));
        Self {
            version: json::VERSION,
            socket: printable_path(socket),
            watched_ns: now.time_ns.saturating_sub(before.time_ns),
            growth: growth::between(before, &now),
            descriptors_growth: growth::difference(old.descriptors, new.descriptors),
            resident_bytes_growth: growth::difference(old.resident_bytes, new.resident_bytes),
            snapshot: now,
        }
    }
}
