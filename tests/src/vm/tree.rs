//! Builds the root file system: mmdebstrap installs Debian's packages, and the kernel modules that Debian's kernel lacks are
//! compiled.
//!
//! mmdebstrap uses the packages and lists that [`super::apt`] has downloaded, so it needs no network and installs exactly the
//! resolved versions. It runs with `--mode=root` for every user, because the namespace around it makes every user root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::apt::{Apt, AptError};
use super::cache::{Cache, CacheError, InUse, Lock};
use super::manifest;
use super::modules;
use super::namespace::namespace;
use super::packages::Resolution;
use super::platform::Platform;
use super::progress::Progress;
use super::root::Root;
use super::task::{Task, TaskError};

/// The version of the format of roots, which is a part of their key. It is increased if roots of an earlier version cannot be
/// used although scripts and packages are the same.
const FORMAT: u32 = 2;

/// The time limit of the installation, which takes three minutes on two busy cores. The limit allows for a slow disk.
const INSTALL_DEADLINE: Duration = Duration::from_secs(20 * 60);
/// The time limit to compute the digest, which reads 1.5 GB.
const DIGEST_DEADLINE: Duration = Duration::from_secs(300);

/// A shell script that gives mmdebstrap the downloaded packages and lists, and sets dpkg's options. The options exclude files
/// that no program of the project uses, because unpacking them costs time (piglit has two gigabytes, of which only a few tests
/// are used). mmdebstrap's own option to exclude files is not used, because it starts a filter in Python for each package.
const BEFORE_INSTALL: &str = r#"
set -eu
mkdir -p "$1/etc/apt/preferences.d" "$1/var/cache/apt/archives/partial" "$1/var/lib/apt/lists/partial"
cp "$COVALENT_PREFERENCES" "$1/etc/apt/preferences.d/covalent"
mkdir -p "$1/etc/dpkg/dpkg.cfg.d"
cat >"$1/etc/dpkg/dpkg.cfg.d/covalent" <<'OPTIONS'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-exclude=/usr/lib/*/piglit/*
path-include=/usr/lib/*/piglit/lib/*
path-include=/usr/lib/*/piglit/bin/ext_image_dma_buf_import*
force-unsafe-io
OPTIONS
cp -l "$COVALENT_ARCHIVES"/*.deb "$1/var/cache/apt/archives/"
find "$COVALENT_LISTS" -maxdepth 1 -type f ! -name lock -exec cp {} "$1/var/lib/apt/lists/" \;
"#;

/// A shell script that creates the mount points, and the files of a system that boots without questions.
const AFTER_INSTALL: &str = r#"
set -eu
mkdir -p "$1/src" "$1/target" "$1/cargo/registry" "$1/cargo/git" "$1/opt/rust" "$1/opt/covalent" "$1/out" "$1/etc/ssl/certs"
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /cargo/config.toml; do
    rm -f "$1$file"
    : >"$1$file"
done
echo covalent >"$1/etc/hostname"
: >"$1/etc/machine-id"
"#;

/// A shell command that prints one digest of all files. Empty files are left out, because a bind mount may leave an empty file at
/// its mount point.
const DIGEST: &str =
    "find / -xdev -type f -size +0 -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum";

/// The reason why a root file system could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// An operation on the cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The packages could not be resolved or downloaded.
    #[error(transparent)]
    Apt(#[from] AptError),
    /// A stage of the build failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The root file system is not complete.
    #[error("the root file system {0} was not built completely")]
    Unfinished(PathBuf),
    /// The root file system has changed since it was built.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The path of the root file system.
        path: PathBuf,
        /// The difference between the root file system and its record.
        what: String,
    },
    /// The root file system lacks a file or a package that this module expects.
    #[error(
        "the root file system has no {0}; tests/src/vm/tree.rs expects it, but Debian's packages have changed"
    )]
    Missing(String),
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

/// The versions of the main packages of a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The release of the kernel, as `uname -r` prints it.
    pub kernel: String,
    /// The version of Mesa's packages; empty for the board, which has no Mesa.
    pub mesa: String,
    /// The version of QEMU's packages.
    pub qemu: String,
}

/// A complete root file system. While this value exists, no other run removes it.
#[derive(Debug)]
pub(crate) struct Tree {
    platform: Platform,
    pub(crate) root: Root,
    pub(crate) key: String,
    pub(crate) versions: Versions,
    sha256: String,
    _in_use: InUse,
}

/// The record of a complete root file system. Its file is written last, so its existence shows that the root file system is
/// complete.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    versions: Versions,
    sha256: String,
}

/// Builds root file systems in the cache.
pub(crate) struct TreeMaker<'a> {
    pub(crate) platform: Platform,
    pub(crate) cache: &'a Cache,
    pub(crate) lock: &'a Lock,
    pub(crate) apt: &'a Apt<'a>,
    pub(crate) progress: &'a Progress,
}

impl TreeMaker<'_> {
    /// Returns the root file system for `resolution`. Builds it if it is missing or damaged.
    pub(crate) fn ensure(&self, resolution: &Resolution, in_full: bool) -> Result<Tree, TreeError> {
        let key = key(self.platform, resolution);
        let folder = self.cache.subfolder(self.platform.roots()).join(&key);
        match Tree::open(self.platform, &folder, &key)
            .and_then(|tree| tree.check(in_full, self.progress).map(|()| tree))
        {
            Ok(tree) => return Ok(tree),
            Err(TreeError::Unfinished(_)) => {}
            Err(error) => {
                self.progress
                    .note(&format!("the root file system is built again: {error}"));
                self.cache.discard(self.lock, &folder)?;
            }
        }
        self.make(&folder, resolution)?;
        Tree::open(self.platform, &folder, &key)
    }

    /// Builds the root file system and its modules, and writes its record. What an earlier run has finished is not built again.
    fn make(&self, folder: &Path, resolution: &Resolution) -> Result<(), TreeError> {
        fs::create_dir_all(folder).map_err(file_error("make the folder", folder))?;
        let root = Root::new(&folder.join("root"));
        if !root.folder().exists() {
            self.apt.download(resolution)?;
            self.install(root.folder(), resolution)?;
        }
        let release = kernel_release(&root)?;
        let built = folder.join("modules");
        if !built.exists() {
            let partial = self.cache.partial_folder(self.lock, "modules")?;
            modules::build(
                &root,
                self.platform,
                &release,
                &partial,
                &self.log("modules"),
                self.progress,
            )?;
            fs::rename(&partial, &built).map_err(file_error("move to", &built))?;
        }
        modules::install(
            &root,
            self.platform,
            &release,
            &built,
            &self.log("install"),
            self.progress,
        )?;
        let mesa = match self.platform {
            Platform::Pc => package_version(&root, "mesa-libgallium")?,
            Platform::Board => String::new(),
        };
        let record = Record {
            versions: Versions {
                kernel: release,
                mesa,
                qemu: package_version(&root, self.platform.qemu_package())?,
            },
            sha256: digest(&root, &self.log("digest"), self.progress)?,
        };
        let (path, new) = (folder.join("record.json"), folder.join("record.new"));
        let text = serde_json::to_vec_pretty(&record).map_err(io::Error::other);
        text.and_then(|text| fs::write(&new, text))
            .map_err(file_error("write", &new))?;
        fs::rename(&new, &path).map_err(file_error("move to", &path))
    }

    /// Installs the downloaded packages of the resolution with mmdebstrap.
    fn install(&self, folder: &Path, resolution: &Resolution) -> Result<(), TreeError> {
        let partial = self.cache.partial_folder(self.lock, "root")?;
        let temporary = self.cache.partial_folder(self.lock, "temporary")?;
        let step = self.progress.step("install the root file system");
        let args = namespace();
        let mut command = Command::new(args[0]);
        command.args(args[1..].iter().filter(|arg| **arg != "--"));
        command.args([
            "--mount-proc",
            "--",
            "mmdebstrap",
            "--mode=root",
            "--variant=apt",
            "--format=directory",
        ]);
        command.arg("--skip=update,download/empty,essential/unlink,check/empty");
        if let Some(foreign) = self.platform.foreign_architecture() {
            command.arg(format!("--architectures=amd64,{foreign}"));
        }
        command.args([
            "--aptopt=APT::Install-Recommends \"false\"",
            "--aptopt=Acquire::Languages \"none\"",
        ]);
        command.arg(format!("--setup-hook={BEFORE_INSTALL}"));
        command.arg(format!("--customize-hook={AFTER_INSTALL}"));
        command.arg(format!("--include={}", resolution.names.join(",")));
        command
            .arg("trixie")
            .arg(&partial)
            .arg(self.apt.sources_list());
        command.env("COVALENT_ARCHIVES", self.apt.archives());
        command.env("COVALENT_LISTS", self.apt.lists());
        command.env("COVALENT_PREFERENCES", self.apt.preferences());
        // If mmdebstrap is killed, its temporary files stay in this folder, and the next run removes them.
        command.env("TMPDIR", temporary);
        // This variable disables Debian's hooks that build an initrd, which take half a minute and whose result is not used.
        command.env("INITRD", "No");
        command
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", super::root::PATH);
        let log = self.log("root");
        Task {
            title: "mmdebstrap",
            log: &log,
            deadline: INSTALL_DEADLINE,
        }
        .run(command, &step)?;
        fs::rename(&partial, folder).map_err(file_error("move to", folder))?;
        step.done();
        Ok(())
    }

    /// Returns the path of a log.
    fn log(&self, name: &str) -> PathBuf {
        self.platform.logs(self.cache).join(format!("{name}.log"))
    }
}

impl Tree {
    /// Opens the root file system in a folder, and marks it as in use.
    fn open(platform: Platform, folder: &Path, key: &str) -> Result<Self, TreeError> {
        let path = folder.join("record.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(TreeError::Unfinished(folder.to_owned()));
            }
            Err(error) => return Err(file_error("read", &path)(error)),
        };
        let record: Record = serde_json::from_slice(&text).map_err(|error| TreeError::Damaged {
            path,
            what: error.to_string(),
        })?;
        Ok(Self {
            platform,
            root: Root::new(&folder.join("root")),
            key: key.to_owned(),
            versions: record.versions,
            sha256: record.sha256,
            _in_use: InUse::new(folder)?,
        })
    }

    /// Checks that the root file system has the files that guests need; with `in_full` also that no file has changed.
    fn check(&self, in_full: bool, progress: &Progress) -> Result<(), TreeError> {
        let folder = self.root.folder();
        let damaged = |what: String| {
            Err(TreeError::Damaged {
                path: folder.to_owned(),
                what,
            })
        };
        let mut required = self.platform.required_files().iter();
        if let Some(file) = required.find(|file| !folder.join(file).exists()) {
            return damaged(format!("the root file system has no {file}"));
        }
        if in_full
            && digest(&self.root, &folder.with_file_name("check.log"), progress)? != self.sha256
        {
            return damaged(
                "the files of the root file system have changed since it was built".to_owned(),
            );
        }
        Ok(())
    }
}

/// Returns the key of the root file system that is built from a resolution.
fn key(platform: Platform, resolution: &Resolution) -> String {
    let user = rustix::process::geteuid().as_raw();
    let mut parts = vec![format!("format {FORMAT}, user {user}")];
    let scripts = [
        BEFORE_INSTALL,
        AFTER_INSTALL,
        modules::script(platform),
        modules::INSTALL,
    ];
    parts.extend(scripts.map(str::to_owned));
    parts.extend(resolution.names.iter().cloned());
    parts.extend(
        resolution
            .packages
            .iter()
            .map(|package| format!("{} {}", package.file, package.sum)),
    );
    manifest::key(&parts)
}

/// Returns the release of the only kernel that is installed.
fn kernel_release(root: &Root) -> Result<String, TreeError> {
    let folder = root.folder().join("usr/lib/modules");
    let entries = fs::read_dir(&folder).map_err(file_error("list", &folder))?;
    let mut names: Vec<String> = Vec::new();
    for entry in entries {
        let entry = entry.map_err(file_error("list", &folder))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    match names.as_slice() {
        [release] => Ok(release.clone()),
        _ => Err(TreeError::Missing(format!("single kernel, but {names:?}"))),
    }
}

/// Returns the version of an installed package.
fn package_version(root: &Root, package: &str) -> Result<String, TreeError> {
    let path = root.folder().join("var/lib/dpkg/status");
    let status = fs::read_to_string(&path).map_err(file_error("read", &path))?;
    parse_version(&status, package).ok_or_else(|| TreeError::Missing(format!("package {package}")))
}

/// Returns the version of a package in the text of dpkg's status file.
fn parse_version(status: &str, package: &str) -> Option<String> {
    let field = format!("Package: {package}");
    let paragraph = status
        .split("\n\n")
        .find(|paragraph| paragraph.lines().any(|line| line == field))?;
    paragraph
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))
        .map(str::to_owned)
}

/// Returns a digest of all files of the root file system.
fn digest(root: &Root, log: &Path, progress: &Progress) -> Result<String, TreeError> {
    let step = progress.step("read the root file system");
    let mut command = root.command("sh");
    command.args(["-c", DIGEST]);
    Task {
        title: "read the root file system",
        log,
        deadline: DIGEST_DEADLINE,
    }
    .run_in_root(&mut command, &step)?;
    let text = fs::read_to_string(log).map_err(file_error("read", log))?;
    step.done();
    Ok(text
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// Returns a function that makes the error of a failed operation on a file.
fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TreeError {
    let path = path.to_owned();
    move |source| TreeError::File {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::packages::Package;

    fn resolution() -> Resolution {
        Resolution {
            names: vec!["qemu".into()],
            mirror: "http://a.example".into(),
            at_seconds: 1,
            packages: vec![Package {
                file: "qemu_1_amd64.deb".into(),
                size_bytes: 1,
                sum: "SHA256:aa".into(),
            }],
        }
    }

    fn pc(resolution: &Resolution) -> String {
        key(Platform::Pc, resolution)
    }

    #[test]
    fn key_of_same_packages_from_another_mirror_is_the_same() {
        let other = Resolution {
            mirror: "http://b.example".into(),
            at_seconds: 2,
            ..resolution()
        };
        assert_eq!(pc(&resolution()), pc(&other));
        assert_eq!(pc(&other).len(), 16);
    }

    #[test]
    fn key_of_another_version_or_name_differs() {
        let mut version = resolution();
        version.packages[0].file = "qemu_2_amd64.deb".into();
        let mut name = resolution();
        name.names.push("strace".into());
        assert_ne!(pc(&resolution()), pc(&version));
        assert_ne!(pc(&resolution()), pc(&name));
    }

    #[test]
    fn parse_version_of_a_package_among_others_finds_it() {
        let status =
            "Package: a\nVersion: 1\n\nPackage: ab\nStatus: install ok installed\nVersion: 2:3-4\n";
        assert_eq!(parse_version(status, "ab").as_deref(), Some("2:3-4"));
        assert_eq!(parse_version(status, "b"), None);
    }

    #[test]
    fn open_of_a_root_without_record_is_unfinished() {
        let scratch = tempfile::tempdir().unwrap();
        assert!(matches!(
            Tree::open(Platform::Pc, scratch.path(), "k"),
            Err(TreeError::Unfinished(_))
        ));
    }

    #[test]
    fn check_of_a_root_without_required_files_reports_damage() {
        let scratch = tempfile::tempdir().unwrap();
        let record = r#"{"versions":{"kernel":"7","mesa":"26","qemu":"11"},"sha256":""}"#;
        fs::write(scratch.path().join("record.json"), record).unwrap();
        let tree = Tree::open(Platform::Pc, scratch.path(), "k").unwrap();
        assert!(matches!(
            tree.check(false, &Progress::silent()),
            Err(TreeError::Damaged { .. })
        ));
    }
}
