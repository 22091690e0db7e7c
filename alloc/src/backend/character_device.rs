//! Character devices of all kinds: their nodes by their device numbers.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the path of the character device with this device number; `None` if the kernel has none.
pub(super) fn path_of(major: u32, minor: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/sys/dev/char/{major}:{minor}/uevent")).ok()?;
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))?;
    Some(Path::new("/dev").join(name))
}
