//! The kernels that guests boot: the one of the image, and those of older Debian releases.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kernel of Debian that the PC's guest can boot. Everything else in the guest is the same for all kernels.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
pub enum Kernel {
    /// Linux 6.1 of Debian 12 (bookworm).
    #[value(name = "6.1")]
    Bookworm,
    /// Linux 6.12 of Debian 13 (trixie).
    #[value(name = "6.12")]
    Trixie,
    /// Linux 7.3 of trixie-backports, the kernel of the image.
    #[default]
    #[value(name = "7.3")]
    Backports,
}

impl Kernel {
    /// The kernels of older Debian releases.
    pub const OLDER: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// Returns the version series, as the command line names it.
    #[must_use]
    pub fn series(self) -> &'static str {
        match self {
            Self::Bookworm => "6.1",
            Self::Trixie => "6.12",
            Self::Backports => "7.3",
        }
    }

    /// Returns the suites of Debian that contain the kernel; `None` for the kernel of the image.
    pub(super) fn suites(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Bookworm => Some(&["bookworm"]),
            Self::Trixie => Some(&["trixie"]),
            Self::Backports => None,
        }
    }

    /// Returns whether `release`, in the form of `uname -r`, belongs to this series.
    #[must_use]
    pub fn is_of_series(self, release: &str) -> bool {
        let rest = release.strip_prefix(self.series());
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()))
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.series())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_is_compared_by_whole_numbers() {
        assert!(Kernel::Bookworm.is_of_series("6.1.0-57-amd64"));
        assert!(!Kernel::Bookworm.is_of_series("6.12.117+deb13-amd64"));
        assert!(Kernel::Trixie.is_of_series("6.12.117+deb13-amd64"));
        assert!(!Kernel::Backports.is_of_series("7.30.1"));
    }
}
