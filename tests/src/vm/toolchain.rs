//! The Rust compiler inside the root file system: the host's own compiler if it can be mounted there, otherwise Debian's
//! compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::platform::Platform;
use super::root::RootCommand;

/// The oldest version of the compiler that can build the workspace.
const OLDEST: (u32, u32) = parse_oldest(env!("CARGO_PKG_RUST_VERSION"));

/// The path in the root file system where the host's toolchain is mounted.
const MOUNT_PATH: &str = "/opt/rust";

/// The programs that a toolchain needs to build, check and document.
const PROGRAMS: [&str; 6] = [
    "cargo",
    "rustc",
    "rustdoc",
    "cargo-clippy",
    "clippy-driver",
    "rustfmt",
];

/// A Rust compiler for the root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Toolchain {
    /// A folder of the host with a complete toolchain. rustup's toolchains are linked with an old glibc, so they run in every
    /// root.
    Host(PathBuf),
    /// The packages of Debian's compiler, which are installed in the root file system.
    Debian,
}

impl Toolchain {
    /// Chooses the toolchain for the programs of a platform. This never fails, because Debian's packages always exist.
    #[must_use]
    pub fn find(platform: Platform) -> Self {
        let output = Command::new("rustc").args(["--print", "sysroot"]).output();
        let sysroot = output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end()));
        match sysroot {
            Some(sysroot) if is_usable(&sysroot) && has_library(&sysroot, platform) => {
                Self::Host(sysroot)
            }
            _ => Self::Debian,
        }
    }

    /// Prepares a cargo command on the host itself, with the same compiler as in the root file system; `None` if that one has
    /// Debian's compiler.
    ///
    /// The command can compile only packages that link no library of a backend, because the host may lack these libraries. As in
    /// the root file system, the host's settings for the compiler are overridden.
    #[must_use]
    pub(crate) fn host_cargo(&self) -> Option<Command> {
        let Self::Host(sysroot) = self else {
            return None;
        };
        let programs = sysroot.join("bin");
        let others = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(programs.clone()).chain(std::env::split_paths(&others));
        let mut command = Command::new(programs.join("cargo"));
        // `join_paths` fails only if the name of a folder contains a colon, and the names of rustup's folders contain none.
        command.env("PATH", std::env::join_paths(folders).unwrap_or(others));
        command.env("RUSTFLAGS", "").env("RUSTC_WRAPPER", "");
        command.env_remove("RUSTC");
        Some(command)
    }

    /// Returns whether the root file system needs Debian's packages of the compiler.
    #[must_use]
    pub fn is_debian(&self) -> bool {
        *self == Self::Debian
    }

    /// Mounts the toolchain in the root file system for `command`, and adds it to PATH.
    pub(crate) fn add_to(&self, command: &mut RootCommand) {
        let mut path = super::root::PATH.to_owned();
        if let Self::Host(sysroot) = self {
            command.bind_read_only(sysroot, MOUNT_PATH);
            path = format!("{MOUNT_PATH}/bin:{path}");
        }
        command.env("PATH", path);
    }
}

/// Returns whether a toolchain is complete, recent enough and in a folder that can be mounted.
fn is_usable(sysroot: &Path) -> bool {
    // The files of a distribution's compiler are spread over /usr, and need the distribution's libraries, so they cannot be
    // mounted.
    if !sysroot.is_absolute() || sysroot.starts_with("/usr") || sysroot == Path::new("/") {
        return false;
    }
    let complete = PROGRAMS
        .iter()
        .all(|program| sysroot.join("bin").join(program).is_file());
    complete && version(&sysroot.join("bin/rustc")).is_some_and(|version| version >= OLDEST)
}

/// Returns whether a toolchain contains the standard library for the target of the platform.
fn has_library(sysroot: &Path, platform: Platform) -> bool {
    sysroot.join("lib/rustlib").join(platform.triple()).is_dir()
}

/// Returns the major and minor version of a compiler.
fn version(rustc: &Path) -> Option<(u32, u32)> {
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Parses the release in the output of `rustc -vV`; returns `None` if the host triple is not that of the root file system.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    if field("host: ")? != "x86_64-unknown-linux-gnu" {
        return None;
    }
    let mut numbers = field("release: ")?.split(['.', '-']).map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Parses the major and minor version at compile time.
const fn parse_oldest(text: &str) -> (u32, u32) {
    let bytes = text.as_bytes();
    let mut numbers = [0_u32; 2];
    let mut part = 0;
    let mut index = 0;
    while index < bytes.len() && part < 2 {
        if bytes[index] == b'.' {
            part += 1;
        } else {
            numbers[part] = numbers[part] * 10 + (bytes[index] - b'0') as u32;
        }
        index += 1;
    }
    (numbers[0], numbers[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_oldest_reads_major_and_minor() {
        assert_eq!(parse_oldest("1.85"), (1, 85));
        assert_eq!(parse_oldest("2.7.1"), (2, 7));
    }

    #[test]
    fn parse_version_of_this_architecture_is_read() {
        let text =
            "rustc 1.95.0 (abc 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n";
        assert_eq!(parse_version(text), Some((1, 95)));
        assert_eq!(
            parse_version(&text.replace("1.95.0", "1.96.0-nightly")),
            Some((1, 96))
        );
    }

    #[test]
    fn parse_version_of_another_host_is_none() {
        assert_eq!(
            parse_version("host: x86_64-unknown-linux-musl\nrelease: 1.95.0\n"),
            None
        );
    }

    #[test]
    fn has_library_without_the_boards_target_is_false() {
        let sysroot = tempfile::tempdir().unwrap();
        let library = sysroot.path().join("lib/rustlib");
        std::fs::create_dir_all(library.join(Platform::Pc.triple())).unwrap();
        assert!(has_library(sysroot.path(), Platform::Pc));
        assert!(!has_library(sysroot.path(), Platform::Board));
    }

    #[test]
    fn host_cargo_of_a_hosts_toolchain_finds_its_programs_first() {
        let command = Toolchain::Host("/opt/x".into()).host_cargo().unwrap();
        assert_eq!(command.get_program(), "/opt/x/bin/cargo");
        let path = command.get_envs().find(|(name, _)| *name == "PATH");
        let path = path.unwrap().1.unwrap().to_str().unwrap();
        assert!(path.starts_with("/opt/x/bin"), "{path}");
        assert!(Toolchain::Debian.host_cargo().is_none());
    }

    #[test]
    fn is_usable_of_a_distribution_compiler_is_false() {
        assert!(!is_usable(Path::new("/usr")));
    }
}
