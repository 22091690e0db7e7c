//! Compiles the project inside the root file system (the Debian tree in the cache), against the guest's own libraries.
//!
//! The checkout is mounted as `/src`, and its folder `target/guest` as `/target`. The host's own compiled files cannot be used in
//! the root file system.

use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::c_example;
use super::cross;
use super::image::Image;
use super::platform::Platform;
use super::progress::{Progress, has_bars};
use super::root::{Root, RootCommand};
use super::toolchain::Toolchain;

/// The cargo profile for programs that run on an emulated CPU.
pub(super) const PROFILE: &str = "guest";

/// The cargo features of the programs that are compiled in the root file system, which has the libraries of all backends. Some of
/// them are not default features, because a developer's machine may not have these libraries.
pub const FEATURES: &str = "covalent-cli/gbm,covalent-cli/vulkan,covalent-client-demo/vulkan,covalent-tests/gbm,covalent-tests/vulkan";

/// Returns the features with which the checks compile: [`FEATURES`] and the harness, which runs on the host.
#[must_use]
pub fn checked_features() -> String {
    format!("{FEATURES},covalent-tests/harness")
}

/// The programs of a guest that shows a camera on a display: its first process, the compositor and the client.
const PIPELINE: [&str; 3] = ["covalent-guest", "covalent-compositor", "covalent-camera"];

/// The examples of the library and of the clients that the suite runs.
const EXAMPLES: [&str; 11] = [
    "camera",
    "camera-to-encoder",
    "camera-to-kms",
    "camera-to-process",
    "camera-to-vulkan",
    "decoder-to-gpu",
    "plan-on-paper",
    "read-frames",
    "share-with-process",
    "vulkan-to-kms",
    "why-no-plan",
];

/// The library that `covalent-prime-trial` preloads, which is beside it in the guest.
const PRELOADED: &str = "libcovalent_prime.so";

/// The packages that only unit tests use.
const TEST_PACKAGES: [&str; 2] = ["covalent-machine-tests", "covalent-solver-tests"];

/// The longest time that cargo needs on a busy machine to find that nothing has changed.
const QUIET_LIMIT: Duration = Duration::from_secs(8);

/// The time limit of a build. A full build with Debian's compiler on two busy cores took 20 minutes.
const DEADLINE: Duration = Duration::from_secs(40 * 60);

/// The files in which distributions keep trusted certificates.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The variables that configure network access.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// The reason why the project was not compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The compiler reported an error.
    #[error("the project does not compile for the guest; the compiler's errors are above")]
    Compile,
    /// The build exceeded its deadline and was ended.
    #[error(
        "the project was not compiled after {seconds} s; the machine may be very busy, or the network unreachable"
    )]
    Deadline {
        /// The deadline in seconds.
        seconds: u64,
    },
    /// Cargo's output cannot be parsed.
    #[error("cargo --message-format=json: {0}")]
    CargoOutput(String),
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

/// Returns the folder of the checkout in which this package was compiled.
#[must_use]
pub fn checkout() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// Compiles the programs for guests of this image, and returns the folder that is shared with the guest.
///
/// # Errors
/// Those of [`binaries`] and of [`cross::binaries`].
pub fn programs(image: &Image, features: &[&str]) -> Result<PathBuf, BuildError> {
    match image.platform {
        Platform::Pc => binaries(&image.root, features),
        Platform::Board => cross::binaries(&image.root, features),
    }
}

/// Compiles the workspace's programs with `features`, each written `package/feature`. Returns the folder whose subfolder `bin`
/// contains them.
///
/// # Errors
/// The compiler fails, or a file cannot be copied.
pub fn binaries(root: &Root, features: &[&str]) -> Result<PathBuf, BuildError> {
    let list = features.join(",");
    let examples = EXAMPLES.iter().flat_map(|name| ["--example", *name]);
    let args: Vec<&str> = ["--bins", "--lib"].into_iter().chain(examples).collect();
    let share = build(root, PROFILE, &args, &list, &list)?;
    c_example::build(root, &share)?;
    Ok(share)
}

/// Compiles one program with one more feature, written `package/feature`, and returns its path.
///
/// # Errors
/// Those of [`binaries`].
pub fn variant(root: &Root, name: &str, feature: &str) -> Result<PathBuf, BuildError> {
    // The variant is compiled without optimisation and with the features of unit tests, so that cargo can use what the unit tests
    // have compiled.
    let features = format!("{},{feature}", checked_features());
    let args = [
        "build",
        "--workspace",
        "--locked",
        "--bin",
        name,
        "--features",
        &features,
    ];
    let target = target(Platform::Pc)?;
    let share = compile(root, cargo(root, &args), &target, feature)?;
    Ok(share.join("bin").join(name))
}

/// Compiles only the programs that show a camera on a display, and returns a separate folder with them that is shared with a
/// guest.
///
/// Cargo nevertheless selects the whole workspace: the selected packages determine the features of dependencies, and with equal
/// features both builds share their compiled files.
///
/// # Errors
/// Those of [`binaries`].
pub fn pipeline(root: &Root) -> Result<PathBuf, BuildError> {
    let args: Vec<&str> = PIPELINE.iter().flat_map(|name| ["--bin", *name]).collect();
    build(root, PROFILE, &args, "", "pipeline")
}

/// Compiles the programs with the profile `release`, without the checks that programs of the suite have, and returns a separate
/// folder with them that is shared with a guest.
///
/// # Errors
/// Those of [`binaries`].
pub fn release_programs(root: &Root) -> Result<PathBuf, BuildError> {
    build(root, "release", &["--bins"], "", "release")
}

/// Builds the workspace's programs for the PC. `share` names the folder for them.
fn build(
    root: &Root,
    profile: &str,
    programs: &[&str],
    features: &str,
    share: &str,
) -> Result<PathBuf, BuildError> {
    let mut args = vec!["build", "--workspace", "--profile", profile, "--locked"];
    args.extend(TEST_PACKAGES.iter().flat_map(|name| ["--exclude", *name]));
    args.extend(programs);
    let all = format!("{FEATURES},{features}");
    args.extend(["--features", all.trim_end_matches(',')]);
    let target = target(Platform::Pc)?;
    compile(root, cargo(root, &args), &target, share)
}

/// Runs a `cargo build` in the root file system. Returns the folder with its programs: `share`, or `share-NAME` if `name` is not
/// empty.
pub(super) fn compile(
    root: &Root,
    mut command: RootCommand,
    target: &Path,
    name: &str,
) -> Result<PathBuf, BuildError> {
    command.arg("--message-format=json-render-diagnostics");
    // Cargo's progress is left out if stderr is not a terminal, or if progress bars of other steps are shown. Errors of the
    // compiler are still printed.
    let quiet = !io::stderr().is_terminal() || has_bars();
    if quiet {
        command.arg("--quiet");
    }
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .spawn()
        .map_err(file_error("start cargo in", root.folder()))?;
    let answer = wait(child, quiet, root.folder())?;
    let programs = parse_programs(&answer)?;
    // A build with other features uses another folder, so that the programs of a running guest do not change.
    let share = target.join(if name.is_empty() {
        "share".to_owned()
    } else {
        format!("share-{}", folder_name(name))
    });
    let bin = share.join("bin");
    fs::create_dir_all(&bin).map_err(file_error("make the folder", &bin))?;
    for program in &programs {
        let name = program.file_name().unwrap_or_default();
        let from = target.join(program);
        let (to, new) = (bin.join(name), share.join("new"));
        if is_newer(&to, &from) {
            continue;
        }
        // A running guest holds the old program open, so the new program is copied completely and then renamed.
        fs::copy(&from, &new).map_err(file_error("copy", &from))?;
        fs::rename(&new, &to).map_err(file_error("move to", &to))?;
    }
    remove_stale_programs(&bin, &programs)?;
    Ok(share)
}

/// Waits for cargo, and returns its stdout. If cargo prints no progress and takes long, reports progress itself.
fn wait(mut cargo: Child, quiet: bool, folder: &Path) -> Result<String, BuildError> {
    // Another thread reads stdout, so that cargo does not block on a full pipe while this thread waits for cargo.
    let pipe = cargo.stdout.take();
    let reader = thread::spawn(move || {
        let mut answer = String::new();
        pipe.map_or(Ok(0), |mut pipe| pipe.read_to_string(&mut answer))
            .map(|_| answer)
    });
    let started = Instant::now();
    let step = Progress::stderr().step("compile the programs");
    let status = loop {
        if let Some(status) = cargo
            .try_wait()
            .map_err(file_error("wait for cargo in", folder))?
        {
            break status;
        }
        if started.elapsed() > DEADLINE {
            // When the first process of the namespace is killed, the kernel kills all compilers in it too.
            let _ = cargo.kill();
            let _ = cargo.wait();
            return Err(BuildError::Deadline {
                seconds: DEADLINE.as_secs(),
            });
        }
        if quiet && started.elapsed() > QUIET_LIMIT {
            step.alive();
        }
        thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        return Err(BuildError::Compile);
    }
    if quiet && started.elapsed() > QUIET_LIMIT {
        step.done();
    }
    let answer = reader.join().unwrap_or_else(|_| {
        Err(io::Error::other(
            "the thread that reads cargo's output panicked",
        ))
    });
    answer.map_err(file_error("read what cargo wrote in", folder))
}

/// Prepares a cargo command in the root file system, such as `["clippy", "--workspace"]`.
#[must_use]
pub fn cargo(root: &Root, args: &[&str]) -> RootCommand {
    cargo_for(root, Platform::Pc, args)
}

/// Prepares a cargo command in the root file system of a platform.
pub(super) fn cargo_for(root: &Root, platform: Platform, args: &[&str]) -> RootCommand {
    let mut command = root.command("cargo");
    Toolchain::find(platform).add_to(&mut command);
    command.args(args).workdir("/src").bind(checkout(), "/src");
    // If the folder cannot be created, the bind mount fails with an error that names the folder.
    command.bind(
        &target(platform).unwrap_or_else(|_| target_folder(platform)),
        "/target",
    );
    command
        .env("CARGO_TARGET_DIR", "/target")
        .env("CARGO_HOME", "/cargo");
    // The host's configuration file is mounted for its registries. These variables override the compiler settings in it.
    command
        .env("RUSTFLAGS", "")
        .env("RUSTC_WRAPPER", "")
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "cc");
    // Incremental compilation is useless if no second build follows, and it takes a third of the disk space.
    if let Some(value) = incremental(std::env::var_os("CARGO_INCREMENTAL"), is_ci()) {
        command.env("CARGO_INCREMENTAL", value);
    }
    command.env("SSL_CERT_FILE", CERTIFICATES[0]);
    if let Some(home) = cargo_home() {
        for folder in ["registry", "git"] {
            let host = home.join(folder);
            // The folder is created on the host, so that downloads are shared with the host and with later runs.
            if fs::create_dir_all(&host).is_ok() {
                command.bind(&host, &format!("/cargo/{folder}"));
            }
        }
        if let Some(file) = ["config.toml", "config"]
            .iter()
            .map(|name| home.join(name))
            .find(|file| file.is_file())
        {
            command.bind_read_only(&file, "/cargo/config.toml");
        }
    }
    for file in ["/etc/resolv.conf", "/etc/hosts"] {
        if let Ok(host) = Path::new(file).canonicalize() {
            command.bind_read_only(&host, file);
        }
    }
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let certificates = named
        .into_iter()
        .chain(CERTIFICATES.iter().map(PathBuf::from));
    if let Some(file) = certificates
        .filter_map(|file| file.canonicalize().ok())
        .find(|file| file.is_file())
    {
        command.bind_read_only(&file, CERTIFICATES[0]);
    }
    let is_network = |name: &str| {
        PROXIES.contains(&name) || name.starts_with("CARGO_HTTP_") || name.starts_with("CARGO_NET_")
    };
    for (name, value) in std::env::vars_os() {
        if name.to_str().is_some_and(is_network) {
            command.env(name, value);
        }
    }
    command
}

/// Returns whether this program runs in continuous integration. Every such service sets `CI`.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Returns the value for `CARGO_INCREMENTAL`; `None` if the profile determines it.
fn incremental(named: Option<OsString>, is_ci: bool) -> Option<OsString> {
    named.or_else(|| is_ci.then(|| "0".into()))
}

/// Returns cargo's home folder.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let named = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Returns the target folder of the platform.
fn target_folder(platform: Platform) -> PathBuf {
    checkout().join(match platform {
        Platform::Pc => "target/guest",
        Platform::Board => "target/board",
    })
}

/// Creates the target folder of the platform if it is missing, and returns its path.
pub(super) fn target(platform: Platform) -> Result<PathBuf, BuildError> {
    let target = target_folder(platform);
    fs::create_dir_all(&target).map_err(file_error("make the folder", &target))?;
    Ok(target)
}

/// Parses cargo's JSON messages, and returns the paths of the programs, and of the preloaded library, relative to the target
/// folder.
fn parse_programs(text: &str) -> Result<Vec<PathBuf>, BuildError> {
    let mut programs = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let message: serde_json::Value = serde_json::from_str(line)
            .map_err(|error| BuildError::CargoOutput(error.to_string()))?;
        let files = message.get("filenames").and_then(|files| files.as_array());
        let mut paths = files.into_iter().flatten().filter_map(|path| path.as_str());
        let library = paths.find(|path| Path::new(path).ends_with(PRELOADED));
        let program = message.get("executable").and_then(|path| path.as_str());
        for path in program.into_iter().chain(library) {
            let path = Path::new(path)
                .strip_prefix("/target")
                .map_err(|_| BuildError::CargoOutput(format!("{path} is not in /target")))?;
            programs.push(path.to_owned());
        }
    }
    programs.sort();
    Ok(programs)
}

/// Returns a folder name for a list of features.
fn folder_name(list: &str) -> String {
    list.chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() {
                character
            } else {
                '-'
            }
        })
        .collect()
}

/// Returns whether the file `made` is at least as new as the file `from`.
pub(super) fn is_newer(made: &Path, from: &Path) -> bool {
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified());
    matches!((modified(made), modified(from)), (Ok(made), Ok(from)) if made >= from)
}

/// Removes programs from `bin` that the workspace no longer has.
fn remove_stale_programs(bin: &Path, programs: &[PathBuf]) -> Result<(), BuildError> {
    for entry in fs::read_dir(bin).map_err(file_error("list", bin))? {
        let path = entry.map_err(file_error("list", bin))?.path();
        let is_c = path.file_name().is_some_and(|name| name == c_example::NAME);
        if !is_c
            && !programs
                .iter()
                .any(|program| program.file_name() == path.file_name())
        {
            fs::remove_file(&path).map_err(file_error("remove", &path))?;
        }
    }
    Ok(())
}

/// Returns a function that makes the error of a failed operation on a file.
pub(super) fn file_error(
    operation: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::File {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_programs_among_other_messages_finds_them() {
        let text = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nwords\n\
                    {\"reason\":\"compiler-artifact\",\"executable\":\"/target/guest/covalent\"}\n\
                    {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            parse_programs(text).unwrap(),
            [PathBuf::from("guest/covalent")]
        );
    }

    #[test]
    fn parse_programs_finds_the_preloaded_library_and_no_other() {
        let text = r#"{"executable":null,"filenames":["/target/guest/libcovalent.so","/target/guest/libcovalent_prime.so"]}"#;
        assert_eq!(
            parse_programs(text).unwrap(),
            [PathBuf::from("guest/libcovalent_prime.so")]
        );
    }

    #[test]
    fn parse_programs_outside_the_target_folder_is_an_error() {
        assert!(matches!(
            parse_programs("{\"executable\":\"/bin/sh\"}"),
            Err(BuildError::CargoOutput(_))
        ));
    }

    #[test]
    fn incremental_in_ci_is_off_unless_named() {
        assert_eq!(incremental(None, true), Some("0".into()));
        assert_eq!(incremental(None, false), None);
        assert_eq!(incremental(Some("1".into()), true), Some("1".into()));
    }

    #[test]
    fn remove_stale_programs_keeps_current_ones() {
        let scratch = tempfile::tempdir().unwrap();
        for name in ["covalent", "old"] {
            fs::write(scratch.path().join(name), "").unwrap();
        }
        remove_stale_programs(scratch.path(), &[PathBuf::from("guest/covalent")]).unwrap();
        assert!(scratch.path().join("covalent").exists());
        assert!(!scratch.path().join("old").exists());
    }
}
