//! DRM device nodes: the identity of their devices, which all backends determine in the same way.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
#[cfg(any(feature = "drm", feature = "gbm"))]
use std::path::PathBuf;

use drm::Device as _;
use rustix::fs::{major, minor};

use crate::model::DeviceIdentity;

/// Returns the identity of an open node: its driver, and the name of the device's directory in sysfs, such as a PCI address.
pub(super) fn identity(node: BorrowedFd<'_>, path: &Path) -> io::Result<DeviceIdentity> {
    struct Probe<'fd>(BorrowedFd<'fd>);
    impl AsFd for Probe<'_> {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0
        }
    }
    impl drm::Device for Probe<'_> {}
    let driver = Probe(node).get_driver()?;
    Ok(DeviceIdentity {
        driver: driver.name().to_string_lossy().into_owned(),
        location: location(node).unwrap_or_default(),
        node: path.display().to_string(),
    })
}

/// Returns the name of the device in sysfs, such as its PCI address.
fn location(node: BorrowedFd<'_>) -> Option<String> {
    let number = rustix::fs::fstat(node).ok()?.st_rdev;
    let device = format!("/sys/dev/char/{}:{}/device", major(number), minor(number));
    fs::canonicalize(device)
        .ok()?
        .file_name()?
        .to_str()
        .map(str::to_owned)
}

/// Lists the primary nodes of all cards, in the order of their numbers.
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(crate) fn cards() -> Vec<PathBuf> {
    let mut cards: Vec<(u32, PathBuf)> = fs::read_dir("/dev/dri")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix("card")?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    cards.sort();
    cards.into_iter().map(|(_, path)| path).collect()
}

/// Returns the render node of a card; `None` if it has none.
#[cfg(any(feature = "drm", feature = "gbm"))]
pub(super) fn render_node(card: &Path) -> Option<PathBuf> {
    let number = rustix::fs::stat(card).ok()?.st_rdev;
    let nodes = format!(
        "/sys/dev/char/{}:{}/device/drm",
        major(number),
        minor(number)
    );
    let name = fs::read_dir(nodes)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .find(|name| name.starts_with("renderD"))?;
    Some(Path::new("/dev/dri").join(name))
}
