//! A disk for the PC's guest with programs of other projects. Covalent is compared with them, and some of them run on its
//! compositor.
//!
//! The guest's first disk contains none of these programs, because most runs do not need them. The second disk contains the files
//! of those packages that the root file system lacks. The guest mounts them as an overlay over its own `/usr`. The second disk is
//! built when it is first requested, and the image does not change.
//!
//! The packages are unpacked but not installed, so none of their scripts runs. `scripts/peers.sh` performs the steps of these
//! scripts that the programs need.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::apt::Apt;
use super::cache::{Cache, CacheFolder, InUse, Lock};
use super::image::{ImageError, file_error};
use super::manifest::{self, Manifest, ManifestError};
use super::packages::{Package, Resolution};
use super::progress::Progress;
use super::root::Root;
use super::task::Task;

/// The version of the disk's format, which is a part of its key. It is increased if disks of an earlier version cannot be used
/// although script and packages are the same.
const FORMAT: u32 = 1;
/// The names of the packages, without their dependencies. The comment before each group states its use.
const NAMES: &[&str] = &[
    // Compositors.
    "weston",
    "sway",
    "cage",
    "labwc",
    // Camera and video programs.
    "gstreamer1.0-tools",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-gl",
    "ffmpeg",
    "mpv",
    // Programs that use several toolkits.
    "foot",
    "glmark2-es2-wayland",
    "gtk-4-examples",
    "libsdl2-tests",
    // The fonts and icons that these programs draw.
    "fonts-dejavu-core",
    "adwaita-icon-theme",
];
const SCRIPT: &str = include_str!("scripts/peers.sh");
/// The size of the disk in bytes. Unused blocks take no space in the cache.
const DISK_BYTES: u64 = 3 << 30;
/// The time limit to unpack the packages. Unpacking 400 packages takes a minute on one core; the limit allows for a machine that
/// is ten times slower.
const DEADLINE: Duration = Duration::from_secs(900);
const DISK: &str = "disk";

/// A complete disk with the programs of other projects. While this value exists, no other run removes the disk.
#[derive(Debug)]
pub(super) struct PeersDisk {
    pub(super) disk: PathBuf,
    _in_use: InUse,
}

/// Builds disks with the programs of other projects in the cache.
pub(super) struct PeersMaker<'a> {
    pub(super) cache: &'a Cache,
    pub(super) lock: &'a Lock,
    pub(super) progress: &'a Progress,
    /// The root file system with the tools.
    pub(super) root: &'a Root,
    /// The packages that the root file system contains.
    pub(super) installed: &'a Resolution,
}

impl PeersMaker<'_> {
    /// Returns the names of the packages to resolve. They include those of the root file system, so that packages that both need
    /// have the same version.
    pub(super) fn names(&self) -> Vec<String> {
        let installed = self.installed.names.iter().cloned();
        let own = NAMES.iter().map(|name| (*name).to_owned());
        installed.chain(own).collect()
    }

    /// Returns the disk for `resolution`. Builds it if it is missing or damaged.
    pub(super) fn ensure(
        &self,
        apt: &Apt<'_>,
        resolution: &Resolution,
        in_full: bool,
    ) -> Result<PeersDisk, ImageError> {
        let packages = missing(&resolution.packages, &self.installed.packages);
        let disks = self.cache.subfolder(CacheFolder::Peers);
        let folder = disks.join(key(&packages));
        match Manifest::check(&folder, in_full) {
            Ok(()) => return PeersDisk::open(&folder),
            Err(ManifestError::Missing(_)) => {}
            Err(error) => {
                self.progress.note(&format!(
                    "the cached disk with other projects' programs is damaged and is built again: {error}"
                ));
                self.cache.discard(self.lock, &folder)?;
            }
        }
        apt.download_only(&packages, "download other projects' programs")?;
        let partial = self.cache.partial_folder(self.lock, "peers")?;
        self.make(&partial, &apt.archives())?;
        Manifest::measure(&partial, &[DISK])?.write(&partial)?;
        fs::create_dir_all(&disks).map_err(file_error("make the folder", &disks))?;
        fs::rename(&partial, &folder).map_err(file_error("move to", &folder))?;
        PeersDisk::open(&folder)
    }

    /// Builds the disk from the downloaded packages.
    fn make(&self, folder: &Path, packages: &Path) -> Result<(), ImageError> {
        let unpacked = self.cache.partial_folder(self.lock, "peers-packages")?;
        let title = "make the disk with other projects' programs";
        let step = self.progress.step(title);
        let mut command = self.root.command("sh");
        command
            .args(["-c", SCRIPT, "peers", "/run/covalent/packages"])
            .args(["/run/covalent/tree", "/run/covalent/out/disk"])
            .arg(format!("{}k", DISK_BYTES / 1024))
            .bind_read_only(packages, "/run/covalent/packages")
            .bind(&unpacked, "/run/covalent/tree")
            .bind(folder, "/run/covalent/out");
        Task {
            title,
            log: &logs(self.cache).join("disk.log"),
            deadline: DEADLINE,
        }
        .run_in_root(&mut command, &step)?;
        step.done();
        Ok(self.cache.discard(self.lock, &unpacked)?)
    }
}

impl PeersDisk {
    /// Opens the disk in a folder, and marks it as in use.
    fn open(folder: &Path) -> Result<Self, ImageError> {
        Ok(Self {
            disk: folder.join(DISK),
            _in_use: InUse::new(folder)?,
        })
    }
}

/// Returns the folder of apt's state for these packages.
pub(super) fn packages(cache: &Cache) -> PathBuf {
    cache.packages().join("peers")
}

/// Returns the folder of the logs for this disk.
pub(super) fn logs(cache: &Cache) -> PathBuf {
    cache.logs().join("peers")
}

/// Returns the packages of `all` that are not installed in the same version.
fn missing(all: &[Package], installed: &[Package]) -> Vec<Package> {
    let mut packages = all.to_vec();
    packages.retain(|package| !installed.contains(package));
    packages
}

/// Returns a digest of everything from which the disk is built.
fn key(packages: &[Package]) -> String {
    let mut parts = vec![
        format!("format {FORMAT}, disk {DISK_BYTES}"),
        SCRIPT.to_owned(),
    ];
    let name = |package: &Package| format!("{} {}", package.file, package.sum);
    parts.extend(packages.iter().map(name));
    manifest::key(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::packages::tests::package;

    #[test]
    fn missing_packages_are_those_that_the_root_has_not_in_this_version() {
        let all = [
            "libc6_2.41_amd64.deb",
            "libdrm2_2.5_amd64.deb",
            "weston_14_amd64.deb",
        ]
        .map(package);
        let installed = ["libc6_2.41_amd64.deb", "libdrm2_2.4_amd64.deb"].map(package);
        let names: Vec<_> = missing(&all, &installed)
            .into_iter()
            .map(|package| package.file)
            .collect();
        assert_eq!(names, ["libdrm2_2.5_amd64.deb", "weston_14_amd64.deb"]);
    }

    #[test]
    fn key_of_another_version_differs() {
        let [one, other] = [["weston_14_amd64.deb"], ["weston_15_amd64.deb"]];
        let key = |files: [&str; 1]| key(&files.map(package));
        assert_eq!(key(one), key(one));
        assert_ne!(key(one), key(other));
    }
}
