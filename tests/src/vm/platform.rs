//! The platforms of guests: a PC, and a board of another architecture.
//!
//! Both platforms are built in the same stages, and this module contains the differences. Each platform has its own root, image
//! and packages, so a run that needs no board does not build anything for it.

use std::path::PathBuf;

use super::cache::{Cache, CacheFolder};

/// The modules in the board's initial RAM file system, as modprobe accepts them. Their dependencies are added.
const BOARD_MODULES: [&str; 10] = [
    "9p",
    "9pnet_virtio",
    "configfs",
    "bochs",
    "vgem",
    "dma-heap",
    "system_heap",
    "cma_heap",
    "virtio_rng",
    "board_camera",
];

/// A kind of machine that QEMU emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// An x86_64 PC with Debian on a disk.
    Pc,
    /// An aarch64 board, QEMU's `virt`, whose devicetree describes its devices. Its small file system is in memory.
    Board,
}

impl Platform {
    /// Returns Debian's name for the guest's architecture if it is not the architecture of the tools in the root file system.
    #[must_use]
    pub fn foreign_architecture(self) -> Option<&'static str> {
        match self {
            Self::Pc => None,
            Self::Board => Some("arm64"),
        }
    }

    /// Returns the target triple of the compilers.
    #[must_use]
    pub fn triple(self) -> &'static str {
        match self {
            Self::Pc => "x86_64-unknown-linux-gnu",
            Self::Board => "aarch64-unknown-linux-gnu",
        }
    }

    /// Returns QEMU's program.
    #[must_use]
    pub fn qemu(self) -> &'static str {
        match self {
            Self::Pc => "qemu-system-x86_64",
            Self::Board => "qemu-system-aarch64",
        }
    }

    /// Returns the name of the package that contains QEMU's program. Its version is QEMU's version.
    pub(super) fn qemu_package(self) -> &'static str {
        match self {
            Self::Pc => "qemu-system-x86",
            Self::Board => "qemu-system-arm",
        }
    }

    /// Returns the paths of files that every usable root file system contains.
    pub(super) fn required_files(self) -> &'static [&'static str] {
        match self {
            Self::Pc => &[
                "usr/bin/qemu-system-x86_64",
                "usr/bin/gcc",
                "usr/lib/x86_64-linux-gnu/libc.so.6",
            ],
            Self::Board => &[
                "usr/bin/qemu-system-aarch64",
                "usr/bin/aarch64-linux-gnu-gcc",
                "usr/bin/fdtoverlay",
                "usr/lib/aarch64-linux-gnu/libc.so.6",
            ],
        }
    }

    /// Returns the names of an image's files.
    pub(super) fn artefacts(self) -> &'static [&'static str] {
        match self {
            Self::Pc => &["kernel", "initrd", "disk"],
            Self::Board => &["kernel", "initrd"],
        }
    }

    /// Returns the modules that are passed to the script that packs the initial RAM file system. The PC's script lists its
    /// modules itself, so for the PC there are none.
    pub(super) fn early_modules(self) -> &'static [&'static str] {
        match self {
            Self::Pc => &[],
            Self::Board => &BOARD_MODULES,
        }
    }

    /// Returns the cache folder of the platform's roots.
    #[must_use]
    pub fn roots(self) -> CacheFolder {
        match self {
            Self::Pc => CacheFolder::Roots,
            Self::Board => CacheFolder::BoardRoots,
        }
    }

    /// Returns the cache folder of the platform's images.
    #[must_use]
    pub fn images(self) -> CacheFolder {
        match self {
            Self::Pc => CacheFolder::Images,
            Self::Board => CacheFolder::BoardImages,
        }
    }

    /// Returns the folder of the platform's packages. Each platform has its own folder, so that removing old packages of one
    /// platform does not affect the other.
    #[must_use]
    pub fn packages(self, cache: &Cache) -> PathBuf {
        match self {
            Self::Pc => cache.packages(),
            Self::Board => cache.packages().join("board"),
        }
    }

    /// Returns the folder of the tools' logs.
    #[must_use]
    pub fn logs(self, cache: &Cache) -> PathBuf {
        match self {
            Self::Pc => cache.logs(),
            Self::Board => cache.logs().join("board"),
        }
    }
}
