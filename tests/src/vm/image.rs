//! The guest's image. It is built in stages. Each stage is built in a separate folder, which is moved to its final path when it
//! is complete.
//!
//! ```text
//! packages ─▶ root ─▶ modules ─▶ record      keyed by packages and their exact versions, modules' recipe
//!                                  └─▶ kernel, initrd, disk ─▶ manifest     keyed by that, and their recipes
//! ```
//! The run after an interrupted run continues at the incomplete stage. Damaged files are built again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::apt::{Apt, AptError};
use super::cache::{Cache, CacheError, CacheFolder, InUse, Lock};
use super::initrd;
use super::kernel::Kernel;
pub use super::kernel_image::MissingModule;
use super::kernel_image::{self, KernelImage, KernelMaker};
use super::manifest::{self, Manifest, ManifestError};
use super::namespace::{self, NamespaceError};
use super::packages::{self, Resolution};
use super::peers::{self, PeersDisk, PeersMaker};
use super::platform::Platform;
use super::progress::Progress;
use super::root::Root;
use super::task::{Task, TaskError};
use super::toolchain::Toolchain;
use super::tree::{Tree, TreeError, TreeMaker};
use crate::wire::SecondDisk;

pub use super::tree::Versions;

/// The version of the format of images, which is a part of their key. It is increased if images of an earlier version cannot be
/// used although scripts and packages are the same.
const FORMAT: u32 = 2;
/// The number of images and roots that stay in the cache: the current one and the previous one.
const KEPT_ITEMS: usize = 2;
/// The size of the guest's disk in bytes. Unused blocks take no space in the cache.
const DISK_BYTES: u64 = 2 << 30;
const DISK_SCRIPT: &str = include_str!("scripts/disk.sh");
/// The time limit to build the disk, which takes ten seconds on an idle machine.
const DISK_DEADLINE: Duration = Duration::from_secs(300);

/// The name of a file in the image's folder. If the file exists, the next run reads every byte of the image.
const FULL_CHECK_FILE: &str = "suspect";

/// The reason why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The architecture of this machine is not supported.
    #[error("build the image: its tools run only on x86_64, and this machine is {0}")]
    Architecture(&'static str),
    /// This machine does not allow namespaces and mounts.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// An operation on the cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The packages could not be resolved or downloaded.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// The root file system could not be built.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A stage of the build failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A file of the image is damaged.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file operation failed.
    #[error("{operation} {path}: {source}")]
    File {
        /// The file operation that failed.
        operation: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

/// A complete image. While this value exists, no other run removes the image.
#[derive(Debug)]
pub struct Image {
    /// The platform.
    pub platform: Platform,
    /// The kernel, for QEMU's `-kernel`.
    pub kernel: PathBuf,
    /// The initial RAM file system, for `-initrd`.
    pub initrd: PathBuf,
    /// The disk, an ext4 file system without partitions. It is never written to: QEMU uses it with `snapshot=on`. The board has
    /// none.
    pub disk: Option<PathBuf>,
    /// The content and the path of the guest's second disk; `None` if it has only one disk.
    pub second_disk: Option<(SecondDisk, PathBuf)>,
    /// The modules that guests need and this kernel lacks.
    pub missing_modules: Vec<MissingModule>,
    /// The root file system, which contains QEMU and the compilers.
    pub root: Root,
    /// The versions of kernel, Mesa and QEMU.
    pub versions: Versions,
    folder: PathBuf,
    _in_use: InUse,
    _tree: Tree,
    _kernel: Option<KernelImage>,
    _peers: Option<PeersDisk>,
}

/// The options of [`ensure_with`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The kernel that the PC's guest boots. An older kernel is built beside the image when it is first requested.
    pub kernel: Kernel,
    /// Whether the guest gets a disk with the programs of other projects, with which Covalent is compared. This is possible only
    /// with the image's own kernel.
    pub peers: bool,
    /// Whether every byte of the image is checked, and not only a sample.
    pub verify: bool,
    /// Whether the versions of packages are resolved even if the stored resolution is less than a day old.
    pub refresh: bool,
}

/// Builds the PC's image if it is missing or damaged, and checks it if it exists.
///
/// # Errors
/// The cache, the network or a stage fails; each error states a remedy.
pub fn ensure(progress: &Progress) -> Result<Image, ImageError> {
    ensure_with(Platform::Pc, Options::default(), progress)
}

/// Builds and checks the image of a platform as [`ensure`] does, with options.
///
/// # Errors
/// Those of [`ensure`].
pub fn ensure_with(
    platform: Platform,
    options: Options,
    progress: &Progress,
) -> Result<Image, ImageError> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(ImageError::Architecture(std::env::consts::ARCH));
    }
    namespace::check()?;
    let cache = Cache::from_environment()?;
    let lock = cache.lock(progress)?;
    cache.discard_partial(&lock)?;
    let logs = platform.logs(&cache);
    let apt = Apt::new(&platform.packages(&cache), platform, &logs, progress);
    let names = packages::names(platform, &Toolchain::find(platform));
    let resolution = resolve(&apt, &names, options.refresh, progress)?;

    let maker = ImageMaker {
        platform,
        cache: &cache,
        lock: &lock,
        progress,
    };
    let trees = TreeMaker {
        platform,
        cache: &cache,
        lock: &lock,
        apt: &apt,
        progress,
    };
    let mut verify = options.verify;
    let mut tree = trees.ensure(&resolution, verify)?;
    let folder = cache
        .subfolder(platform.images())
        .join(key(platform, &tree.key));
    if !verify && folder.join(FULL_CHECK_FILE).exists() {
        progress.note("the last guest did not boot, so every byte of the image is checked");
        verify = true;
        drop(tree);
        tree = trees.ensure(&resolution, verify)?;
    }
    maker.ensure(&folder, &tree, verify)?;
    let mut image = Image::open(platform, &folder, tree)?;
    if let Some(suites) = options.kernel.suites().filter(|_| platform == Platform::Pc) {
        let logs = kernel_image::logs(&cache, options.kernel);
        let apt = Apt::new(
            &kernel_image::packages(&cache, options.kernel),
            platform,
            &logs,
            progress,
        )
        .with_suites(suites);
        let resolution = resolve(&apt, &KernelMaker::names(), options.refresh, progress)?;
        let kernels = KernelMaker {
            kernel: options.kernel,
            cache: &cache,
            lock: &lock,
            progress,
            root: &image.root,
            root_key: &image._tree.key,
        };
        let kernel = kernels.ensure(&apt, &resolution, verify)?;
        image.use_kernel(kernel);
        let kept = Kernel::OLDER.len().saturating_mul(KEPT_ITEMS);
        cache.keep_newest(&lock, CacheFolder::Kernels, kept, progress)?;
    } else if options.peers && platform == Platform::Pc {
        let logs = peers::logs(&cache);
        let apt = Apt::new(&peers::packages(&cache), platform, &logs, progress);
        let peers = PeersMaker {
            cache: &cache,
            lock: &lock,
            progress,
            root: &image.root,
            installed: &resolution,
        };
        let resolution = resolve(&apt, &peers.names(), options.refresh, progress)?;
        let disk = peers.ensure(&apt, &resolution, verify)?;
        image.use_peers(disk);
        cache.keep_newest(&lock, CacheFolder::Peers, KEPT_ITEMS, progress)?;
    }
    cache.keep_newest(&lock, platform.images(), KEPT_ITEMS, progress)?;
    cache.keep_newest(&lock, platform.roots(), KEPT_ITEMS, progress)?;
    cache.discard_partial(&lock)?;
    cache.remove_discarded()?;
    Ok(image)
}

/// Returns the stored resolution if it is fresh or if no mirror answers, and a new one otherwise.
fn resolve(
    apt: &Apt<'_>,
    names: &[String],
    refresh: bool,
    progress: &Progress,
) -> Result<Resolution, ImageError> {
    let stored = apt.stored_resolution(names);
    if let Some((answer, true)) = &stored {
        if !refresh {
            return Ok(answer.clone());
        }
    }
    match (apt.resolve(names), stored) {
        (Ok(answer), _) => Ok(answer),
        (Err(error), Some((answer, _))) if !refresh => {
            let reason = error.to_string();
            let reason = reason.lines().next().unwrap_or_default();
            progress.note(&format!(
                "resolve the packages' versions: {reason}; using the stored versions"
            ));
            apt.restore(&answer)?;
            Ok(answer)
        }
        (Err(error), _) => Err(error.into()),
    }
}

impl Image {
    fn open(platform: Platform, folder: &Path, tree: Tree) -> Result<Self, ImageError> {
        let has_disk = platform.artefacts().contains(&"disk");
        Ok(Self {
            platform,
            kernel: folder.join("kernel"),
            initrd: folder.join("initrd"),
            disk: has_disk.then(|| folder.join("disk")),
            second_disk: None,
            missing_modules: Vec::new(),
            root: tree.root.clone(),
            versions: tree.versions.clone(),
            folder: folder.to_owned(),
            _in_use: InUse::new(folder)?,
            _tree: tree,
            _kernel: None,
            _peers: None,
        })
    }

    /// Sets a kernel for guests of this image that is not the kernel of the image's disk.
    fn use_kernel(&mut self, kernel: KernelImage) {
        self.kernel = kernel.folder.join("kernel");
        self.initrd = kernel.folder.join("initrd");
        self.second_disk = Some((SecondDisk::Modules, kernel.folder.join("modules")));
        self.missing_modules.clone_from(&kernel.record.missing);
        self.versions.kernel.clone_from(&kernel.record.release);
        self._kernel = Some(kernel);
    }

    /// Sets the disk with the programs of other projects as the guest's second disk.
    fn use_peers(&mut self, peers: PeersDisk) {
        self.second_disk = Some((SecondDisk::Peers, peers.disk.clone()));
        self._peers = Some(peers);
    }

    /// Returns the folder of the image.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the next [`ensure`] check every byte of the image. This is called after a failed boot, because the usual check reads
    /// only a sample.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn request_full_check(&self) -> Result<(), ImageError> {
        let path = self.folder.join(FULL_CHECK_FILE);
        fs::write(&path, "").map_err(file_error("write", &path))
    }
}

/// Returns the key of the image that is built from the root file system with the key `tree_key`.
fn key(platform: Platform, tree_key: &str) -> String {
    let first = format!("format {FORMAT}, disk {DISK_BYTES}, root {tree_key}");
    let [script, init] = initrd::scripts(platform);
    let last = match platform {
        Platform::Pc => DISK_SCRIPT.to_owned(),
        Platform::Board => platform.early_modules().join(" "),
    };
    let scripts = [script.to_owned(), init.to_owned(), last];
    manifest::key(&[&[first], scripts.as_slice()].concat())
}

/// Checks and builds the image of a platform.
struct ImageMaker<'a> {
    platform: Platform,
    cache: &'a Cache,
    lock: &'a Lock,
    progress: &'a Progress,
}

impl ImageMaker<'_> {
    /// Builds the image in `folder` if it is missing or damaged. With `verify`, every byte of an existing image is checked.
    fn ensure(&self, folder: &Path, tree: &Tree, verify: bool) -> Result<(), ImageError> {
        match Self::check(folder, verify, self.progress) {
            Ok(()) => return Ok(()),
            Err(ManifestError::Missing(_)) => {}
            Err(error) => {
                self.progress.note(&format!(
                    "the cached image is damaged and is built again: {error}"
                ));
                self.cache.discard(self.lock, folder)?;
            }
        }
        self.make(folder, tree)
    }

    /// Checks the size, the time and a sample of each file of an image; with `in_full` also every byte.
    fn check(folder: &Path, in_full: bool, progress: &Progress) -> Result<(), ManifestError> {
        let manifest = Manifest::read(folder)?;
        manifest.check_quickly(folder)?;
        if in_full {
            let step = progress.step("read the image");
            manifest.check_in_full(folder)?;
            let request = folder.join(FULL_CHECK_FILE);
            if request.exists() {
                fs::remove_file(&request).map_err(|source| ManifestError::File {
                    path: request,
                    source,
                })?;
            }
            step.done();
        }
        Ok(())
    }

    /// Builds the image from the root file system.
    fn make(&self, folder: &Path, tree: &Tree) -> Result<(), ImageError> {
        let partial = self.cache.partial_folder(self.lock, "image")?;
        let release = &tree.versions.kernel;
        let kernel = tree
            .root
            .folder()
            .join("boot")
            .join(format!("vmlinuz-{release}"));
        fs::copy(&kernel, partial.join("kernel")).map_err(file_error("copy", &kernel))?;
        let log = self.platform.logs(self.cache).join("initrd.log");
        initrd::build(
            &tree.root,
            self.platform,
            release,
            &partial,
            &log,
            self.progress,
        )?;
        let artefacts = self.platform.artefacts();
        if artefacts.contains(&"disk") {
            self.make_disk(&tree.root, &partial)?;
        }
        let step = self.progress.step("measure the image");
        Manifest::measure(&partial, artefacts)?.write(&partial)?;
        step.done();
        let images = self.cache.subfolder(self.platform.images());
        fs::create_dir_all(&images).map_err(file_error("make the folder", &images))?;
        if folder.exists() {
            self.cache.discard(self.lock, folder)?;
        }
        fs::rename(&partial, folder).map_err(file_error("move to", folder))
    }

    /// Builds the image's disk from the root file system.
    fn make_disk(&self, root: &Root, folder: &Path) -> Result<(), ImageError> {
        let step = self.progress.step("make the disk");
        let mut command = root.command("sh");
        command.args(["-c", DISK_SCRIPT, "disk", "/run/covalent/out/disk"]);
        command
            .arg(format!("{}k", DISK_BYTES / 1024))
            .bind(folder, "/run/covalent/out");
        let log = self.cache.logs().join("disk.log");
        Task {
            title: "make the disk",
            log: &log,
            deadline: DISK_DEADLINE,
        }
        .run_in_root(&mut command, &step)?;
        step.done();
        Ok(())
    }
}

/// Returns a function that makes the error of a failed operation on a file.
pub(super) fn file_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    move |source| ImageError::File {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_another_root_differs() {
        let key = |root| key(Platform::Pc, root);
        assert_ne!(key("a"), key("b"));
        assert_eq!(key("a"), key("a"));
    }

    #[test]
    fn key_of_another_platform_differs() {
        assert_ne!(key(Platform::Pc, "a"), key(Platform::Board, "a"));
    }

    #[test]
    fn check_of_a_folder_without_manifest_is_missing() {
        let scratch = tempfile::tempdir().unwrap();
        let result = ImageMaker::check(scratch.path(), false, &Progress::silent());
        assert!(matches!(result, Err(ManifestError::Missing(_))));
    }

    #[test]
    fn check_in_full_removes_the_request_for_it() {
        let scratch = tempfile::tempdir().unwrap();
        let artefacts = Platform::Pc.artefacts();
        for name in artefacts {
            fs::write(scratch.path().join(name), name).unwrap();
        }
        Manifest::measure(scratch.path(), artefacts)
            .unwrap()
            .write(scratch.path())
            .unwrap();
        let request = scratch.path().join(FULL_CHECK_FILE);
        fs::write(&request, "").unwrap();
        ImageMaker::check(scratch.path(), false, &Progress::silent()).unwrap();
        assert!(request.exists());
        ImageMaker::check(scratch.path(), true, &Progress::silent()).unwrap();
        assert!(!request.exists());
    }
}
