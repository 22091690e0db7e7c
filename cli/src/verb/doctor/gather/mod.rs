//! Looking at this machine. What cannot be found out is left out: a check then finds nothing, or says that it does not know.

mod device;
mod kernel;
mod node;
mod pools;
mod seat;
mod system;

use std::fs;
use std::path::Path;

use covalent_alloc::trial::Helper;

use super::snapshot::{Snapshot, VERSION};
use crate::input;

/// Looks at everything.
pub(super) fn snapshot() -> Snapshot {
    let nodes = node::nodes();
    let (cards, queues) = (device::cards(&nodes), device::queues(&nodes));
    Snapshot {
        version: VERSION,
        kernel: kernel::kernel(),
        user: system::user(),
        container: system::container(),
        nodes,
        cards,
        queues,
        driverless: device::driverless(Path::new("/sys/bus/pci/devices")),
        limits: system::limits(),
        udmabuf: system::udmabuf(),
        huge_pages: system::huge_pages(Path::new("/sys/kernel/mm/hugepages")),
        cma_kibibytes: system::cma_kibibytes(&text("/proc/meminfo")),
        vulkan: system::vulkan(),
        seat: Some(seat::seat()),
        lacking_pools: pools::pools(),
        no_helper: Helper::find().err().map(|error| error.to_string()),
        distribution: system::distribution(&text("/etc/os-release")),
    }
}

/// The longest file that is read. Lists of modules have a MiB, and those of users of a large site a few.
const LONGEST: u64 = 16 << 20;

/// Reads a file whole; nothing where it is not to be read, or longer than any of these files.
fn text(path: impl AsRef<Path>) -> String {
    input::whole(path, LONGEST).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// Reads a number that is all of a file.
fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path).trim().parse().ok()
}

/// Lists the names in a folder, in order.
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
