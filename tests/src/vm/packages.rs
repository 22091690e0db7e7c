//! The packages of the root file system, and the resolution of their versions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::platform::Platform;
use super::toolchain::Toolchain;

/// The packages of the guest and the root file system, except the Rust compiler. The comment before each group states its use.
const NAMES: &[&str] = &[
    // The guest's kernel, and the tools that build the modules which Debian's kernel lacks.
    "linux-image-amd64",
    "linux-headers-amd64",
    "linux-source",
    "make",
    "xz-utils",
    "zstd",
    // The guest's graphics.
    "libgl1-mesa-dri",
    "mesa-vulkan-drivers",
    "libgbm1",
    "libegl1",
    "libegl-mesa0",
    "libgles2",
    "vulkan-tools",
    // Third-party checks: Vulkan's validation layer, and programs that present with Vulkan and EGL.
    "vulkan-validationlayers",
    "vkmark",
    "piglit",
    "libdrm-tests",
    "wayland-utils",
    // The unit tests that run in the root file system use the drivers of GPUs that this machine does not have.
    "mesa-drm-shim",
    // The guest's system.
    "udev",
    "kmod",
    "procps",
    "psmisc",
    "util-linux",
    "strace",
    "seatd",
    "v4l-utils",
    "xkb-data",
    "iproute2",
    // QEMU, and an X server for the window that QEMU draws with GL.
    "qemu-system-x86",
    "qemu-system-gui",
    "qemu-system-modules-opengl",
    "libvirglrenderer1",
    // The process that renders Venus for QEMU.
    "virgl-server",
    "xvfb",
    "xauth",
    // The tools that pack the guest's file systems. mke2fs reads a tar archive through libarchive.
    "busybox-static",
    "cpio",
    "e2fsprogs",
    "libarchive13t64",
    // The libraries and headers that the project's programs are compiled against.
    "gcc",
    "libc6-dev",
    "pkg-config",
    "libgbm-dev",
    "libdrm-dev",
    "libudev-dev",
    "libseat-dev",
    "libinput-dev",
    "libxkbcommon-dev",
    "libpixman-1-dev",
    "libegl-dev",
    "libgles-dev",
    "libwayland-dev",
];

/// The packages of the board's root: tools for this machine, and the board's own packages.
const BOARD_NAMES: &[&str] = &[
    // The board's kernel, and the tools that build the modules which Debian's kernel lacks.
    "linux-image-arm64:arm64",
    "linux-headers-arm64:arm64",
    "linux-source",
    "make",
    "kmod",
    "xz-utils",
    "zstd",
    // QEMU's program for the board, and the compiler for its devicetree.
    "qemu-system-arm",
    "device-tree-compiler",
    // The board's system.
    "busybox-static:arm64",
    "libgcc-s1:arm64",
    "cpio",
    // The compilers for the project's programs. Build scripts and procedural macros run on this machine.
    "gcc",
    "libc6-dev",
    "gcc-aarch64-linux-gnu",
    "libc6-dev:arm64",
];

/// The packages of Debian's Rust compiler, for hosts without a Rust compiler that can be mounted in the root file system.
const RUST_NAMES: &[&str] = &["rustc", "cargo", "rust-clippy", "rustfmt"];

/// The packages of Debian's Rust compiler for the board.
const BOARD_RUST_NAMES: &[&str] = &["rustc", "cargo", "libstd-rust-dev:arm64"];

/// The time for which a resolution is fresh.
const RESOLUTION_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// The error for a line of apt's output that is not an address, a name, a size and a checksum.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("apt-get --print-uris: a line that is not an address, a name, a size and a sum: {0:?}")]
pub struct AptOutputError(String);

/// A version of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// The file's name: package, version and architecture.
    pub file: String,
    /// The size of the file in bytes.
    pub size_bytes: u64,
    /// The checksum of the file, with the name of its algorithm and a colon before it.
    pub sum: String,
}

/// The exact versions of the packages from which a root file system is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// The names of the packages that were resolved.
    pub names: Vec<String>,
    /// The address of the mirror.
    pub mirror: String,
    /// The time of the resolution, in seconds since 1970.
    pub at_seconds: u64,
    /// The packages and their dependencies, sorted.
    pub packages: Vec<Package>,
}

impl Resolution {
    /// Returns the size of all packages together, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.packages
            .iter()
            .fold(0, |sum, package| sum.saturating_add(package.size_bytes))
    }

    /// Returns whether the resolution is less than a day old, so that no mirror has to be queried.
    pub(crate) fn is_fresh(&self) -> bool {
        let answered = UNIX_EPOCH.checked_add(Duration::from_secs(self.at_seconds));
        // A time in the future is caused by a wrong clock, so such a resolution is not fresh.
        answered
            .and_then(|answered| SystemTime::now().duration_since(answered).ok())
            .is_some_and(|age| age < RESOLUTION_LIFETIME)
    }
}

/// Returns the names of the packages to resolve.
#[must_use]
pub fn names(platform: Platform, toolchain: &Toolchain) -> Vec<String> {
    let (names, rust) = match platform {
        Platform::Pc => (NAMES, RUST_NAMES),
        Platform::Board => (BOARD_NAMES, BOARD_RUST_NAMES),
    };
    let rust = if toolchain.is_debian() { rust } else { &[] };
    names
        .iter()
        .chain(rust)
        .map(|name| (*name).to_owned())
        .collect()
}

/// Parses the output of `apt-get --print-uris`. It contains lines of `'address' file size checksum` among other lines.
pub(crate) fn parse_print_uris(text: &str) -> Result<Vec<Package>, AptOutputError> {
    let mut packages = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('\'')) {
        let wrong = || AptOutputError(line.to_owned());
        let mut words = line.split_whitespace().skip(1);
        let file = words.next().ok_or_else(wrong)?;
        let size_bytes = words
            .next()
            .and_then(|size| size.parse().ok())
            .ok_or_else(wrong)?;
        let sum = words.next().unwrap_or_default();
        if file.contains('/') || sum.is_empty() {
            return Err(wrong());
        }
        packages.push(Package {
            file: file.to_owned(),
            size_bytes,
            sum: sum.to_owned(),
        });
    }
    if packages.is_empty() {
        return Err(AptOutputError(
            text.lines().last().unwrap_or_default().to_owned(),
        ));
    }
    packages.sort();
    Ok(packages)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Creates a package with a file of one byte, for tests.
    pub(in crate::vm) fn package(file: &str) -> Package {
        Package {
            file: file.to_owned(),
            size_bytes: 1,
            sum: "SHA256:00".to_owned(),
        }
    }

    #[test]
    fn names_of_the_board_differ_and_include_the_compilers_library() {
        let host = Toolchain::Host("/opt/rust".into());
        let has = |platform, toolchain: &Toolchain, name: &str| {
            names(platform, toolchain).iter().any(|own| own == name)
        };
        assert!(has(Platform::Board, &host, "linux-image-arm64:arm64"));
        assert!(!has(Platform::Pc, &host, "linux-image-arm64:arm64"));
        let library = "libstd-rust-dev:arm64";
        assert!(!has(Platform::Board, &host, library));
        assert!(has(Platform::Board, &Toolchain::Debian, library));
    }

    #[test]
    fn parse_answer_among_other_lines_is_sorted() {
        let text = "Reading package lists...\nThe following NEW packages:\n  a b\n\
                    'http://m.example/b_1%3a2_amd64.deb' b_1%3a2_amd64.deb 20 SHA256:ff\n\
                    'http://m.example/a_1_all.deb' a_1_all.deb 10 MD5Sum:aa\n";
        let packages = parse_print_uris(text).unwrap();
        assert_eq!(
            packages[0],
            Package {
                file: "a_1_all.deb".into(),
                size_bytes: 10,
                sum: "MD5Sum:aa".into()
            }
        );
        assert_eq!(packages[1].file, "b_1%3a2_amd64.deb");
    }

    #[test]
    fn parse_answer_without_size_is_an_error() {
        assert!(matches!(
            parse_print_uris("'http://m.example/a.deb' a.deb many SHA256:ff"),
            Err(AptOutputError(_))
        ));
    }

    #[test]
    fn parse_answer_with_a_path_as_name_is_an_error() {
        assert!(matches!(
            parse_print_uris("'http://m.example/a.deb' ../a.deb 1 SHA256:ff"),
            Err(AptOutputError(_))
        ));
    }

    #[test]
    fn parse_answer_without_packages_is_an_error() {
        assert!(matches!(
            parse_print_uris("E: Unable to locate package"),
            Err(AptOutputError(_))
        ));
    }
}
