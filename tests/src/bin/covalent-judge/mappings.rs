//! Samples the memory mappings of a process and its descendants until the process ends.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, ExitStatus};
use std::time::Duration;
use std::{fs, io};

use covalent_tests::judge::maps::{self, FrameMapping};
use covalent_tests::judge::process;
use serde::Serialize;

/// The frame mappings of the processes of one program.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ProgramMappings {
    /// The number of times that the mappings were read.
    #[serde(rename = "looks")]
    pub(crate) samples: u64,
    /// Each mapping of frame memory that was found in any sample.
    pub(crate) frame_mappings: BTreeSet<FrameMapping>,
}

/// Samples until `child` ends. Returns the mappings by the name of the program, and the exit status.
pub(crate) fn until_exit(
    mut child: Child,
    frame_bytes: u64,
) -> io::Result<(BTreeMap<String, ProgramMappings>, ExitStatus)> {
    let mut seen: BTreeMap<String, ProgramMappings> = BTreeMap::new();
    loop {
        for member in process::with_descendants(child.id()) {
            let Ok(name) = fs::read_to_string(format!("/proc/{member}/comm")) else {
                continue;
            };
            // The process may end after it was listed and before its mappings are read.
            let Ok(mappings) = maps::read(member, frame_bytes) else {
                continue;
            };
            let program = seen.entry(name.trim_end().to_owned()).or_default();
            program.samples += 1;
            program.frame_mappings.extend(mappings);
        }
        if let Some(status) = child.try_wait()? {
            return Ok((seen, status));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
