//! The open files of shims, by their file descriptors. Duplicates of a file descriptor share the objects of the file.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use crate::driver::{self, Driver};
use crate::sys;

/// An open file of a shim's render node.
#[derive(Clone, Copy)]
pub(crate) struct OpenFile {
    pub(crate) id: u64,
    pub(crate) driver: &'static dyn Driver,
}

/// The open files. A file descriptor is examined at its first DRM ioctl.
#[derive(Default)]
pub(crate) struct Files {
    /// `None` for a file that is not a shim's.
    by_fd: BTreeMap<RawFd, Option<OpenFile>>,
    count: u64,
}

impl Files {
    pub(crate) const fn new() -> Self {
        Self {
            by_fd: BTreeMap::new(),
            count: 0,
        }
    }

    /// Returns the file that was examined before.
    pub(crate) fn known(&self, fd: RawFd) -> Option<OpenFile> {
        self.by_fd.get(&fd).copied().flatten()
    }

    /// Returns the file, and examines it if it is new.
    pub(crate) fn examine(&mut self, fd: RawFd) -> Option<OpenFile> {
        if let Some(known) = self.by_fd.get(&fd) {
            return *known;
        }
        let driver = sys::shim_driver(fd).and_then(|name| driver::find(&name));
        let file = driver.map(|driver| {
            self.count = self.count.saturating_add(1);
            OpenFile {
                id: self.count,
                driver,
            }
        });
        self.by_fd.insert(fd, file);
        file
    }

    /// Adds a duplicate of a file descriptor.
    pub(crate) fn duplicate(&mut self, fd: RawFd, new: RawFd) {
        match self.examine(fd) {
            Some(file) => self.by_fd.insert(new, Some(file)),
            None => self.by_fd.remove(&new),
        };
    }

    /// Removes a file descriptor. Returns the file if this was its last file descriptor.
    pub(crate) fn close(&mut self, fd: RawFd) -> Option<OpenFile> {
        let file = self.by_fd.remove(&fd)??;
        let is_open = self.by_fd.values().flatten().any(|own| own.id == file.id);
        (!is_open).then_some(file)
    }
}
