//! Reads the state of this machine into a [`Snapshot`]. A field whose value cannot be read stays empty: a check then reports no
//! problem, or reports that the value is not known.

mod acl;
mod device;
mod kernel;
mod node;
mod pipeline;
mod pools;
mod seat;
mod system;

use std::fs;
use std::path::Path;

use covalent_alloc::trial::Helper;

use super::snapshot::{Snapshot, VERSION};
use crate::input;

/// Reads all data of this machine that the checks use.
pub(super) fn snapshot() -> Snapshot {
    let nodes = node::nodes();
    let (cards, queues) = (device::cards(&nodes), device::queues(&nodes));
    let pipelines = pipeline::pipelines(&nodes);
    Snapshot {
        version: VERSION,
        kernel: kernel::kernel(),
        user: system::user(),
        container: system::container(),
        nodes,
        cards,
        queues,
        pipelines,
        unbound_devices: device::unbound_devices(Path::new("/sys/bus/pci/devices")),
        limits: system::limits(),
        udmabuf: system::udmabuf(),
        huge_pages: system::huge_pages(Path::new("/sys/kernel/mm/hugepages")),
        cma_kibibytes: system::cma_kibibytes(&text("/proc/meminfo")),
        vulkan: system::vulkan(),
        seat: Some(seat::seat()),
        missing_pools: pools::pools(),
        helper_error: Helper::find().err().map(|error| error.to_string()),
        distribution: system::distribution(&text("/etc/os-release")),
    }
}

/// The longest file that is read, in bytes. The list of modules has about a MiB, and `/etc/passwd` of a large site a few MiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads a whole file; returns an empty text if it cannot be read or is longer than [`MAX_FILE_BYTES`].
fn text(path: impl AsRef<Path>) -> String {
    input::read_file(path, MAX_FILE_BYTES).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// Reads a file that contains one number.
fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path).trim().parse().ok()
}

/// Returns the names in a folder, sorted.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
