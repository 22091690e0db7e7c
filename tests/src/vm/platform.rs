//! What a guest is a machine of: a PC, or a board of another architecture.
//!
//! Both are made in the same stages and by the same hands; this is what differs. A platform has a root, an image and
//! packages of its own, so that who needs no board pays nothing for it.

use std::path::PathBuf;

use super::cache::{Cache, Shelf};

/// The modules that the board's first file system has, by the names that modprobe takes; what they need comes with them.
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

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Platform {
    /// An x86_64 PC with all of Debian on a disk.
    Pc,
    /// An aarch64 board, QEMU's `virt`: what it has is in its devicetree. Its system is small and lies in memory.
    Board,
}

impl Platform {
    /// Debian's name of an architecture that is installed beside that of the tools; `None` where the guest is of that one.
    #[must_use]
    pub fn foreign(self) -> Option<&'static str> {
        match self {
            Self::Pc => None,
            Self::Board => Some("arm64"),
        }
    }

    /// What compilers call the machine.
    #[must_use]
    pub fn triple(self) -> &'static str {
        match self {
            Self::Pc => "x86_64-unknown-linux-gnu",
            Self::Board => "aarch64-unknown-linux-gnu",
        }
    }

    /// The program that is the machine.
    #[must_use]
    pub fn qemu(self) -> &'static str {
        match self {
            Self::Pc => "qemu-system-x86_64",
            Self::Board => "qemu-system-aarch64",
        }
    }

    /// The package that has it, whose version is QEMU's.
    pub(super) fn qemu_package(self) -> &'static str {
        match self {
            Self::Pc => "qemu-system-x86",
            Self::Board => "qemu-system-arm",
        }
    }

    /// Files without which a root is of no use.
    pub(super) fn signs(self) -> &'static [&'static str] {
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

    /// The files of an image.
    pub(super) fn artefacts(self) -> &'static [&'static str] {
        match self {
            Self::Pc => &["kernel", "initrd", "disk"],
            Self::Board => &["kernel", "initrd"],
        }
    }

    /// The modules that the first file system has; those of the PC its script knows.
    pub(super) fn early_modules(self) -> &'static [&'static str] {
        match self {
            Self::Pc => &[],
            Self::Board => &BOARD_MODULES,
        }
    }

    /// Where the cache has its roots.
    #[must_use]
    pub fn roots(self) -> Shelf {
        match self {
            Self::Pc => Shelf::Roots,
            Self::Board => Shelf::BoardRoots,
        }
    }

    /// Where the cache has its images.
    #[must_use]
    pub fn images(self) -> Shelf {
        match self {
            Self::Pc => Shelf::Images,
            Self::Board => Shelf::BoardImages,
        }
    }

    /// Where the cache has its packages: of one platform nobody removes those of the other.
    #[must_use]
    pub fn packages(self, cache: &Cache) -> PathBuf {
        match self {
            Self::Pc => cache.packages(),
            Self::Board => cache.packages().join("board"),
        }
    }

    /// Where the tools' words go.
    #[must_use]
    pub fn logs(self, cache: &Cache) -> PathBuf {
        match self {
            Self::Pc => cache.logs(),
            Self::Board => cache.logs().join("board"),
        }
    }
}
