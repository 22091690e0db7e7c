//! Looks at the mappings of a family of processes until the first of them ends.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, ExitStatus};
use std::time::Duration;
use std::{fs, io};

use covalent_tests::judge::maps::{self, FrameMapping};
use covalent_tests::judge::process;
use serde::Serialize;

/// What was seen of one program.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Seen {
    /// How often its mappings were read.
    pub(crate) looks: u64,
    /// Each mapping of frame memory that was there at any look.
    pub(crate) frame_mappings: BTreeSet<FrameMapping>,
}

/// Looks until `child` ends; the result is by program name.
pub(crate) fn until_exit(
    mut child: Child,
    frame_bytes: u64,
) -> io::Result<(BTreeMap<String, Seen>, ExitStatus)> {
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    loop {
        for member in process::family(child.id()) {
            let Ok(name) = fs::read_to_string(format!("/proc/{member}/comm")) else {
                continue;
            };
            // A process that ends between the two reads has no mappings to be seen.
            let Ok(mappings) = maps::read(member, frame_bytes) else {
                continue;
            };
            let program = seen.entry(name.trim_end().to_owned()).or_default();
            program.looks += 1;
            program.frame_mappings.extend(mappings);
        }
        if let Some(status) = child.try_wait()? {
            return Ok((seen, status));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
