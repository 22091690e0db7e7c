//! A kernel of an older Debian release for the PC's guest: the kernel, its initrd, and a disk with its modules.
//!
//! The guest's disk contains only the modules of the image's kernel. The modules of another kernel are on a second disk, which
//! the guest mounts over `/usr/lib/modules`. The second disk is built when it is first requested, and the image does not change.
//! The root file system's compiler compiles the modules that Debian leaves out from the source of the kernel. A module that
//! cannot be compiled for an old kernel is left out, and its name is stored with the reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::apt::Apt;
use super::cache::{Cache, CacheFolder, InUse, Lock};
use super::config::Config;
use super::image::{ImageError, file_error};
use super::initrd;
use super::kernel::Kernel;
use super::manifest::{self, Manifest, ManifestError};
use super::modules;
use super::packages::{Package, Resolution};
use super::platform::Platform;
use super::progress::Progress;
use super::root::Root;
use super::task::{Task, TaskError};

/// The version of the format of these kernels, which is a part of their key. It is increased if kernels of an earlier version
/// cannot be used although scripts and packages are the same.
const FORMAT: u32 = 1;
/// The packages that apt resolves. They depend on the packages of one kernel version, and have the same names in every Debian
/// release.
const NAMES: [&str; 3] = ["linux-image-amd64", "linux-headers-amd64", "linux-source"];
/// The beginnings of the names of the packages that are unpacked. The version follows in the name.
const UNPACKED: [&str; 6] = [
    "linux-image-",
    "linux-binary-",
    "linux-modules-",
    "linux-headers-",
    "linux-kbuild-",
    "linux-source-",
];
/// The scripts that unpack the packages, compile the modules, and make the disk with the modules.
const UNPACK: &str = include_str!("scripts/kernel-unpack.sh");
const MODULES: &str = include_str!("scripts/kernel-modules.sh");
const DISK: &str = include_str!("scripts/kernel-disk.sh");
/// The size of the disk with the modules, in bytes. Unused blocks take no space in the cache.
const DISK_BYTES: u64 = 1 << 30;
/// The time limit of each step. A step takes less than a minute on two cores; the limit allows for a machine that is ten times
/// slower.
const DEADLINE: Duration = Duration::from_secs(600);
/// The files of a kernel image.
const ARTEFACTS: [&str; 4] = ["kernel", "initrd", "modules", RECORD];
const RECORD: &str = "record.json";
/// The path in the root file system where a folder of the host is mounted.
const OUT: &str = "/run/covalent/out";

/// A complete kernel. While this value exists, no other run removes it.
#[derive(Debug)]
pub(super) struct KernelImage {
    pub(super) folder: PathBuf,
    pub(super) record: Record,
    _in_use: InUse,
}

/// The release of a complete kernel, and the modules that the kernel lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The kernel's release, as `uname -r` prints it.
    pub(super) release: String,
    /// The modules that a guest may need and this kernel lacks.
    pub(super) missing: Vec<MissingModule>,
}

/// A module that a kernel lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingModule {
    /// The module's name.
    pub name: String,
    /// The reason why the module is missing.
    pub reason: String,
}

/// Builds kernels of older Debian releases in the cache.
pub(super) struct KernelMaker<'a> {
    pub(super) kernel: Kernel,
    pub(super) cache: &'a Cache,
    pub(super) lock: &'a Lock,
    pub(super) progress: &'a Progress,
    /// The root file system with the tools, and its key.
    pub(super) root: &'a Root,
    pub(super) root_key: &'a str,
}

impl KernelMaker<'_> {
    /// Returns the names of the packages to resolve.
    pub(super) fn names() -> Vec<String> {
        NAMES.map(str::to_owned).to_vec()
    }

    /// Returns the kernel for `resolution`. Builds it if it is missing or damaged.
    pub(super) fn ensure(
        &self,
        apt: &Apt<'_>,
        resolution: &Resolution,
        in_full: bool,
    ) -> Result<KernelImage, ImageError> {
        let packages = unpacked(resolution);
        let folder = self
            .cache
            .subfolder(CacheFolder::Kernels)
            .join(key(self.root_key, &packages));
        match Manifest::check(&folder, in_full) {
            Ok(()) => return KernelImage::open(&folder),
            Err(ManifestError::Missing(_)) => {}
            Err(error) => {
                self.progress.note(&format!(
                    "the cached kernel is damaged and is built again: {error}"
                ));
                self.cache.discard(self.lock, &folder)?;
            }
        }
        apt.download_only(&packages, "download the kernel")?;
        self.make(&folder, &apt.archives())?;
        let kernel_image = KernelImage::open(&folder)?;
        for module in &kernel_image.record.missing {
            let MissingModule { name, reason } = module;
            self.progress.note(&format!(
                "Linux {} has no module {name}: {reason}",
                self.kernel
            ));
        }
        Ok(kernel_image)
    }

    /// Builds the kernel, its initrd and its modules from the downloaded packages.
    fn make(&self, folder: &Path, packages: &Path) -> Result<(), ImageError> {
        let partial = self.cache.partial_folder(self.lock, "kernel")?;
        let unpacked = self.cache.partial_folder(self.lock, "kernel-packages")?;
        let mut command = self.root.command("sh");
        command
            .args(["-c", UNPACK, "kernel-unpack", "/run/covalent/packages", OUT])
            .bind_read_only(packages, "/run/covalent/packages")
            .bind(&unpacked, OUT);
        self.run("unpack the kernel", "unpack", &mut command)?;

        let release = release(&unpacked)?;
        let kernel = unpacked.join("boot").join(format!("vmlinuz-{release}"));
        fs::copy(&kernel, partial.join("kernel")).map_err(file_error("copy", &kernel))?;

        let modules = unpacked.join("usr/lib/modules");
        let mut command = self.root.command("sh");
        command
            .args(["-c", MODULES, "kernel-modules", &release])
            .arg("/usr/lib/modules")
            .args(module_names())
            .bind_read_only(&unpacked.join("usr/src"), "/usr/src")
            .bind(&modules, "/usr/lib/modules");
        let log = self.run("compile kernel modules", "modules", &mut command)?;
        let text = fs::read_to_string(&log).map_err(file_error("read", &log))?;

        let mut command = initrd::command(self.root, Platform::Pc, &release, &partial);
        command.bind_read_only(&modules, "/usr/lib/modules");
        self.run("pack the initrd", "initrd", &mut command)?;

        let mut command = self.root.command("sh");
        command
            .args(["-c", DISK, "kernel-disk", &release])
            .arg(format!("{OUT}/modules"))
            .arg(format!("{}k", DISK_BYTES / 1024))
            .bind_read_only(&modules, "/usr/lib/modules")
            .bind(&partial, OUT);
        self.run("make the disk with the modules", "disk", &mut command)?;

        let record = Record {
            release,
            missing: parse_missing(&text),
        };
        let path = partial.join(RECORD);
        let text = serde_json::to_vec_pretty(&record).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text))
            .map_err(file_error("write", &path))?;
        Manifest::measure(&partial, &ARTEFACTS)?.write(&partial)?;
        let kernels = self.cache.subfolder(CacheFolder::Kernels);
        fs::create_dir_all(&kernels).map_err(file_error("make the folder", &kernels))?;
        fs::rename(&partial, folder).map_err(file_error("move to", folder))?;
        Ok(self.cache.discard(self.lock, &unpacked)?)
    }

    /// Runs a step in the root file system, and returns its log.
    fn run(
        &self,
        title: &str,
        log: &str,
        command: &mut super::root::RootCommand,
    ) -> Result<PathBuf, TaskError> {
        let step = self.progress.step(title);
        let log = logs(self.cache, self.kernel).join(format!("{log}.log"));
        Task {
            title,
            log: &log,
            deadline: DEADLINE,
        }
        .run_in_root(command, &step)?;
        step.done();
        Ok(log)
    }
}

impl KernelImage {
    fn open(folder: &Path) -> Result<Self, ImageError> {
        let path = folder.join(RECORD);
        let text = fs::read(&path).map_err(file_error("read", &path))?;
        let record = serde_json::from_slice(&text).map_err(io::Error::other);
        Ok(Self {
            folder: folder.to_owned(),
            record: record.map_err(file_error("parse", &path))?,
            _in_use: InUse::new(folder)?,
        })
    }
}

/// Returns the folder of apt's state for this kernel.
pub(super) fn packages(cache: &Cache, kernel: Kernel) -> PathBuf {
    cache.packages().join(format!("kernel-{kernel}"))
}

/// Returns the folder of the logs for this kernel.
pub(super) fn logs(cache: &Cache, kernel: Kernel) -> PathBuf {
    cache.logs().join(format!("kernel-{kernel}"))
}

/// Returns the packages of a resolution that belong to the kernel. The other packages are dependencies that only an installed
/// system would need.
fn unpacked(resolution: &Resolution) -> Vec<Package> {
    let is_versioned = |file: &str| {
        UNPACKED.iter().any(|beginning| {
            file.strip_prefix(beginning)
                .is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()))
        })
    };
    let mut packages = resolution.packages.clone();
    packages.retain(|package| is_versioned(&package.file));
    packages
}

/// Returns the names of the modules that guests load, and of the modules that are compiled for the image's kernel.
fn module_names() -> Vec<String> {
    let mut names: Vec<String> = Config::ALL
        .iter()
        .flat_map(|config| config.modules())
        .map(|module| module.name)
        .collect();
    names.extend(
        modules::names(Platform::Pc)
            .iter()
            .map(|name| (*name).to_owned()),
    );
    names.sort();
    names.dedup();
    names
}

/// Returns a digest of everything from which the kernel image is built.
fn key(root_key: &str, packages: &[Package]) -> String {
    let mut parts = vec![format!(
        "format {FORMAT}, disk {DISK_BYTES}, root {root_key}"
    )];
    let [initrd, init] = initrd::scripts(Platform::Pc);
    parts.extend([UNPACK, MODULES, DISK, initrd, init].map(str::to_owned));
    parts.extend(module_names());
    parts.extend(
        packages
            .iter()
            .map(|package| format!("{} {}", package.file, package.sum)),
    );
    manifest::key(&parts)
}

/// Returns the release of the kernel in a folder of unpacked packages.
fn release(unpacked: &Path) -> Result<String, ImageError> {
    let boot = unpacked.join("boot");
    let entries = fs::read_dir(&boot).map_err(file_error("list", &boot))?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .find_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()))
        .ok_or_else(|| file_error("find a kernel in", &boot)(io::ErrorKind::NotFound.into()))
}

/// Reads the lines about missing modules from the output of `kernel-modules.sh`.
fn parse_missing(text: &str) -> Vec<MissingModule> {
    text.lines()
        .filter_map(|line| {
            let (name, reason) = line.strip_prefix("left out: ")?.split_once(": ")?;
            Some(MissingModule {
                name: name.to_owned(),
                reason: reason.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::packages::tests::package;

    #[test]
    fn unpacked_packages_are_those_of_the_kernel_alone() {
        let kernel = [
            "linux-headers-6.1.0-49-common_6.1.176-1_all.deb",
            "linux-image-6.1.0-49-amd64_6.1.176-1_amd64.deb",
            "linux-kbuild-6.1_6.1.176-1_amd64.deb",
            "linux-source-6.1_6.1.176-1_all.deb",
        ];
        let others = [
            "gcc-12_12.2.0_amd64.deb",
            "linux-image-amd64_6.1.176-1_amd64.deb",
            "linux-libc-dev_6.1.176-1_amd64.deb",
        ];
        let resolution = Resolution {
            names: KernelMaker::names(),
            mirror: "http://m.example".to_owned(),
            at_seconds: 1,
            packages: kernel
                .iter()
                .chain(&others)
                .map(|file| package(file))
                .collect(),
        };
        let files: Vec<String> = unpacked(&resolution)
            .into_iter()
            .map(|package| package.file)
            .collect();
        assert_eq!(files, kernel);
    }

    #[test]
    fn key_of_another_kernel_or_root_differs() {
        let one = [package("linux-image-6.1.0-49-amd64_6.1.176-1_amd64.deb")];
        let other = [package("linux-image-6.1.0-57-amd64_6.1.192-3_amd64.deb")];
        assert_ne!(key("root", &one), key("root", &other));
        assert_ne!(key("root", &one), key("another", &one));
        assert_eq!(key("root", &one), key("root", &one));
    }

    #[test]
    fn missing_modules_are_read_with_their_reasons() {
        let text = "compile heaps\nERROR: modpost: undefined!\nleft out: cma_heap: it does not compile: modpost: x\n";
        let expected = MissingModule {
            name: "cma_heap".to_owned(),
            reason: "it does not compile: modpost: x".to_owned(),
        };
        assert_eq!(parse_missing(text), [expected]);
    }
}
