//! Compares the open files of two descriptors.

use std::os::fd::AsFd;

use super::sys;

/// Returns whether two descriptors refer to the same open file description, as after `dup` or after a transfer over a socket.
///
/// Returns `false` if the kernel cannot compare them. Two exports of one syncobj are two open files, so the result for them is
/// `false`.
///
/// # References
/// fcntl(2), F_DUPFD_QUERY; kcmp(2).
#[must_use]
pub fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    sys::is_same_file(one.as_fd(), other.as_fd())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn file_is_the_same_as_its_duplicate_and_no_other() {
        let null = File::open("/dev/null").unwrap();
        assert!(is_same_file(&null, null.try_clone().unwrap()));
        assert!(!is_same_file(&null, File::open("/dev/null").unwrap()));
    }
}
