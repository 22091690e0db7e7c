//! The version series of a Linux kernel, which decides which interfaces it has.

use std::fmt;

/// A version series of Linux, such as 6.12. A distribution's release of 6.12, such as Debian's, counts as 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    major: u16,
    minor: u16,
}

impl KernelVersion {
    /// Makes a version from its major and minor number.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads a release, as `uname -r` prints it: `6.12.117+deb13-amd64` is 6.12. Returns `None` for another text.
    #[must_use]
    pub fn of_release(release: &str) -> Option<Self> {
        let mut rest = release.trim();
        // A recorded machine may state `Linux` before the release.
        rest = rest.strip_prefix("Linux ").unwrap_or(rest);
        let (major, rest) = rest.split_once('.')?;
        let digits = rest.find(|sign: char| !sign.is_ascii_digit());
        let minor = &rest[..digits.unwrap_or(rest.len())];
        Some(Self::new(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_distributions_are_read_as_their_series() {
        for (release, version) in [
            ("6.1.0-57-amd64", KernelVersion::new(6, 1)),
            ("6.12.117+deb13-amd64", KernelVersion::new(6, 12)),
            ("7.3.4", KernelVersion::new(7, 3)),
            ("6.6-rc1", KernelVersion::new(6, 6)),
            ("Linux 6.8", KernelVersion::new(6, 8)),
        ] {
            assert_eq!(KernelVersion::of_release(release), Some(version));
        }
        for release in ["", "6", "six.one", "6.x", "99999999.1"] {
            assert_eq!(KernelVersion::of_release(release), None, "{release}");
        }
    }

    #[test]
    fn versions_are_ordered_by_numbers() {
        assert!(KernelVersion::new(6, 9) < KernelVersion::new(6, 12));
        assert!(KernelVersion::new(6, 12) < KernelVersion::new(7, 0));
    }
}
