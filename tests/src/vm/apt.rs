//! apt with its own state in the cache: it resolves the versions of packages and downloads them.
//!
//! The host's apt state is neither read nor changed. The host's configuration of apt (proxies, certificates) applies, except its
//! hooks, which are for the host's own packages. All packages of trixie-backports are allowed, and not only Mesa, QEMU and the
//! kernel, because their dependencies in trixie-backports change from week to week.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::mirror;
use super::namespace::namespace;
use super::packages::{AptOutputError, Package, Resolution, parse_print_uris};
use super::platform::Platform;
use super::progress::{Progress, Step};
use super::task::{Task, TaskError};

/// The time limit to download the package lists, which have 10 MB. A mirror that needs longer is too slow for the 600 MB of
/// packages.
const LISTS_DEADLINE: Duration = Duration::from_secs(180);
/// The time limit to resolve the dependencies, which takes seconds.
const SOLVE_DEADLINE: Duration = Duration::from_secs(120);
/// The time limit to download the packages: 600 MB at 0.5 MB/s.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// The suites of Debian from which the packages of the root file system and of the board come.
const SUITES: &[&str] = &["trixie", "trixie-updates", "trixie-backports"];

/// apt's pattern for the essential packages of the native architecture.
const ESSENTIAL: &str = "?and(?essential,?architecture(native))";

/// The apt pin that gives backports the same priority as trixie, so that the newer version is installed.
const PREFERENCES: &str = "Package: *\nPin: release n=trixie-backports\nPin-Priority: 500\n";
/// The apt pin that takes compilers only from trixie. A compiler and the library of another architecture must have the same
/// version, and backports for different architectures are built on different days.
const COMPILER_PREFERENCES: &str =
    "\nPackage: src:rustc:any\nPin: release n=trixie-backports\nPin-Priority: -1\n";

/// The reason why the packages could not be resolved or downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AptError {
    /// Debian's signing keys are missing.
    #[error(
        "verify Debian's packages: this machine has no keys; install the package debian-archive-keyring"
    )]
    NoKeyring,
    /// No mirror has package lists whose signatures can be verified.
    #[error(
        "no mirror of Debian has {suites}; these mirrors were tried: {tried}. The error of the last mirror: {last}"
    )]
    NoMirror {
        /// The names of the suites, separated by commas.
        suites: String,
        /// The addresses of the mirrors, separated by commas.
        tried: String,
        /// The error of the last mirror.
        last: Box<TaskError>,
    },
    /// apt failed.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// apt's output cannot be parsed.
    #[error(transparent)]
    Output(#[from] AptOutputError),
    /// apt succeeded, but a package was not downloaded.
    #[error(
        "apt-get download: {0} is missing after the download; the network or the disk failed, try again"
    )]
    Missing(PathBuf),
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

/// The packages and package lists in the cache. The caller must hold the cache's lock.
#[derive(Debug)]
pub struct Apt<'a> {
    folder: PathBuf,
    platform: Platform,
    suites: &'static [&'static str],
    logs: &'a Path,
    progress: &'a Progress,
}

impl<'a> Apt<'a> {
    /// Creates an apt for `platform` whose state is in `folder`, and which writes its logs to the folder `logs`.
    #[must_use]
    pub fn new(folder: &Path, platform: Platform, logs: &'a Path, progress: &'a Progress) -> Self {
        Self {
            folder: folder.to_owned(),
            platform,
            suites: SUITES,
            logs,
            progress,
        }
    }

    /// Sets the suites of Debian from which packages are resolved, instead of those of the root file system.
    #[must_use]
    pub fn with_suites(mut self, suites: &'static [&'static str]) -> Self {
        self.suites = suites;
        self
    }

    /// Returns the folder of the downloaded packages.
    #[must_use]
    pub fn archives(&self) -> PathBuf {
        self.folder.join("archives")
    }

    /// Returns the folder of the package lists.
    #[must_use]
    pub fn lists(&self) -> PathBuf {
        self.folder.join("lists")
    }

    /// Returns the path of the sources list from which the package lists were downloaded.
    #[must_use]
    pub fn sources_list(&self) -> PathBuf {
        self.folder.join("sources.list")
    }

    /// Returns the path of the file with the pins.
    #[must_use]
    pub fn preferences(&self) -> PathBuf {
        self.folder.join("preferences")
    }

    /// Returns the stored resolution for the packages `names`, and whether it is less than a day old.
    #[must_use]
    pub fn stored_resolution(&self, names: &[String]) -> Option<(Resolution, bool)> {
        let text = fs::read(self.folder.join("answer.json")).ok()?;
        // A damaged file is ignored, and the next resolution replaces it.
        let answer: Resolution = serde_json::from_slice(&text).ok()?;
        (answer.names == names).then(|| {
            let fresh = answer.is_fresh();
            (answer, fresh)
        })
    }

    /// Resolves the packages and their dependencies to the current versions on the first mirror that answers, and stores the
    /// result.
    ///
    /// # Errors
    /// No mirror works, or the dependencies cannot be met.
    pub fn resolve(&self, names: &[String]) -> Result<Resolution, AptError> {
        let keyring = mirror::keyring().ok_or(AptError::NoKeyring)?;
        let step = self.progress.step("ask for versions");
        let mut tried = Vec::new();
        let mut last = None;
        for address in mirror::candidates(Path::new("/etc/apt")) {
            step.detail(&address);
            self.configure(&address, &keyring)?;
            let update = self.apt(&["update", "--error-on=any"]);
            let log = self.logs.join("lists.log");
            let task = Task {
                title: "apt-get update",
                log: &log,
                deadline: LISTS_DEADLINE,
            };
            match task.run(update, &step) {
                Ok(()) => {
                    let resolution = Resolution {
                        names: names.to_vec(),
                        mirror: address,
                        at_seconds: SystemTime::now()
                            .duration_since(UNIX_EPOCH)
                            .unwrap_or_default()
                            .as_secs(),
                        packages: self.solve(names, &step)?,
                    };
                    let path = self.folder.join("answer.json");
                    let text = serde_json::to_vec_pretty(&resolution).map_err(io::Error::other);
                    text.and_then(|text| fs::write(&path, text))
                        .map_err(file_error("write", &path))?;
                    step.done();
                    return Ok(resolution);
                }
                Err(error) => {
                    tried.push(address);
                    last = Some(error);
                }
            }
        }
        match last {
            Some(last) => Err(AptError::NoMirror {
                suites: self.suites.join(", "),
                tried: tried.join(", "),
                last: Box::new(last),
            }),
            None => Err(AptError::NoKeyring),
        }
    }

    /// Restores apt's configuration for `resolution`, after a newer resolution has failed.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn restore(&self, resolution: &Resolution) -> Result<(), AptError> {
        let keyring = mirror::keyring().ok_or(AptError::NoKeyring)?;
        self.configure(&resolution.mirror, &keyring)
    }

    /// Downloads the packages that are not in the cache yet. Files of an interrupted run are used.
    ///
    /// # Errors
    /// A call of apt fails or exceeds its deadline.
    pub fn download(&self, resolution: &Resolution) -> Result<(), AptError> {
        let archives = self.archives();
        let step = self
            .progress
            .step_bytes("download packages", resolution.size_bytes());
        let mut command = self.apt(&["-y", "-q", "--download-only", "install", ESSENTIAL, "apt"]);
        command.args(&resolution.names);
        let log = self.logs.join("download.log");
        let task = Task {
            title: "apt-get install --download-only",
            log: &log,
            deadline: DOWNLOAD_DEADLINE,
        };
        let mut polls = 0_u32;
        task.run_with_poll(command, || {
            // There are hundreds of files, so the sizes are summed up only at every tenth poll.
            if polls % 10 == 0 {
                step.bytes(downloaded_bytes(&archives, resolution));
            }
            polls = polls.wrapping_add(1);
        })?;
        check_sizes(&archives, &resolution.packages)?;
        self.remove_other_versions(resolution)?;
        step.done();
        Ok(())
    }

    /// Downloads `packages` of the resolution without their dependencies. `title` describes the step for a person.
    ///
    /// # Errors
    /// Those of [`Apt::download`].
    pub fn download_only(&self, packages: &[Package], title: &str) -> Result<(), AptError> {
        let archives = self.archives();
        let only = Resolution {
            names: Vec::new(),
            mirror: String::new(),
            at_seconds: 0,
            packages: packages.to_vec(),
        };
        let step = self.progress.step_bytes(title, only.size_bytes());
        // The name of a package file begins with the name of the package and an underscore.
        let names = packages
            .iter()
            .filter_map(|package| package.file.split('_').next());
        let mut command = self.apt(&["-q", "download"]);
        command.args(names).current_dir(&archives);
        let log = self.logs.join("download.log");
        let task = Task {
            title: "apt-get download",
            log: &log,
            deadline: DOWNLOAD_DEADLINE,
        };
        task.run_with_poll(command, || step.bytes(downloaded_bytes(&archives, &only)))?;
        check_sizes(&archives, packages)?;
        self.remove_other_versions(&only)?;
        step.done();
        Ok(())
    }

    /// Removes the downloaded packages that are not part of `resolution`, such as older versions.
    fn remove_other_versions(&self, resolution: &Resolution) -> Result<(), AptError> {
        let archives = self.archives();
        for entry in fs::read_dir(&archives).map_err(file_error("list", &archives))? {
            let path = entry.map_err(file_error("list", &archives))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let is_package = path.extension().is_some_and(|extension| extension == "deb");
            if is_package
                && !resolution
                    .packages
                    .iter()
                    .any(|package| package.file == name)
            {
                fs::remove_file(&path).map_err(file_error("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Asks apt which packages have to be installed for these names, with their addresses and checksums.
    fn solve(&self, names: &[String], step: &Step) -> Result<Vec<Package>, AptError> {
        // apt omits packages that it finds in its archive folder, so this call uses an empty folder.
        let empty = self.folder.join("nothing");
        fs::create_dir_all(empty.join("partial")).map_err(file_error("make the folder", &empty))?;
        let mut command = self.apt(&[
            "-y",
            "-q",
            "--print-uris",
            "-o",
            "Acquire::ForceHash=SHA256",
        ]);
        command
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", empty.display()));
        command.args(["install", ESSENTIAL, "apt"]).args(names);
        let log = self.logs.join("versions.log");
        Task {
            title: "apt-get --print-uris",
            log: &log,
            deadline: SOLVE_DEADLINE,
        }
        .run(command, step)?;
        Ok(parse_print_uris(
            &fs::read_to_string(&log).map_err(file_error("read", &log))?,
        )?)
    }

    /// Writes apt's configuration, its sources list and its preferences.
    fn configure(&self, address: &str, keyring: &Path) -> Result<(), AptError> {
        for folder in [
            self.archives().join("partial"),
            self.lists().join("partial"),
        ] {
            fs::create_dir_all(&folder).map_err(file_error("make the folder", &folder))?;
        }
        let mut sources = String::new();
        for suite in self.suites {
            // Writing to a String cannot fail.
            let _ = writeln!(
                sources,
                "deb [signed-by={}] {address} {suite} main",
                keyring.display()
            );
        }
        let folder = self.folder.display();
        let (foreign, preferences) = match self.platform.foreign_architecture() {
            Some(foreign) => (
                format!(" \"{foreign}\";"),
                format!("{PREFERENCES}{COMPILER_PREFERENCES}"),
            ),
            None => (String::new(), PREFERENCES.to_owned()),
        };
        let configuration = format!(
            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n\
             #clear Acquire::IndexTargets::deb::DEP-11;\n#clear APT::Architectures;\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\";{foreign} }};\n\
             APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n\
             Dir::State \"{folder}\";\nDir::State::lists \"{folder}/lists\";\nDir::State::status \"{folder}/status\";\n\
             Dir::Cache \"{folder}\";\nDir::Cache::archives \"{folder}/archives\";\n\
             Dir::Etc::sourcelist \"{folder}/sources.list\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::preferences \"{folder}/preferences\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Acquire::Languages \"none\";\nAcquire::Retries \"2\";\n\
             Acquire::http::Timeout \"20\";\nAcquire::https::Timeout \"20\";\n"
        );
        for (path, text) in [
            (self.sources_list(), sources),
            (self.preferences(), preferences),
            (self.folder.join("status"), String::new()),
            (self.folder.join("apt.conf"), configuration),
        ] {
            fs::write(&path, text).map_err(file_error("write", &path))?;
        }
        Ok(())
    }

    /// Returns the command for `apt-get` with its own state, in the namespaces of [`namespace`].
    fn apt(&self, args: &[&str]) -> Command {
        let namespace = namespace();
        let mut command = Command::new(namespace[0]);
        command.args(&namespace[1..]).arg("apt-get").args(args);
        // apt reads this file after the host's configuration, so this file takes precedence.
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .env("LC_ALL", "C");
        command
    }
}

/// Checks that the file of every package exists and has the expected size.
fn check_sizes(archives: &Path, packages: &[Package]) -> Result<(), AptError> {
    for package in packages {
        let path = archives.join(&package.file);
        let size_bytes = fs::metadata(&path)
            .map(|metadata| metadata.len())
            .unwrap_or_default();
        if size_bytes != package.size_bytes {
            // apt verifies the checksums of its downloads, but not of files that already exist. A file of the wrong size is
            // removed, so that the next run downloads it.
            let _ = fs::remove_file(&path);
            return Err(AptError::Missing(path));
        }
    }
    Ok(())
}

/// Returns how many bytes of the packages are downloaded, including incomplete files.
fn downloaded_bytes(archives: &Path, resolution: &Resolution) -> u64 {
    let size = |path: PathBuf| {
        fs::metadata(path)
            .map(|metadata| metadata.len())
            .unwrap_or_default()
    };
    let partial = archives.join("partial");
    resolution.packages.iter().fold(0, |sum: u64, package| {
        let whole = size(archives.join(&package.file));
        sum.saturating_add(if whole > 0 {
            whole
        } else {
            size(partial.join(&package.file))
        })
    })
}

/// Returns a function that makes the error of a failed operation on a file.
fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AptError {
    let path = path.to_owned();
    move |source| AptError::File {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_resolution_for_other_names_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let answer = Resolution {
            names: vec!["a".into()],
            mirror: mirror::DEFAULT.into(),
            at_seconds: 1,
            packages: vec![Package {
                file: "a_1_all.deb".into(),
                size_bytes: 1,
                sum: "SHA256:00".into(),
            }],
        };
        fs::write(
            scratch.path().join("answer.json"),
            serde_json::to_vec(&answer).unwrap(),
        )
        .unwrap();
        let progress = Progress::silent();
        let apt = Apt::new(scratch.path(), Platform::Pc, scratch.path(), &progress);
        assert_eq!(apt.stored_resolution(&["a".into()]), Some((answer, false)));
        assert_eq!(apt.stored_resolution(&["b".into()]), None);
    }
}
