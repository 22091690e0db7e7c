//! An open video device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::queue::{Direction, Queue};
use super::{Error, sys};
use crate::model::DeviceIdentity;

/// An open V4L2 device. Clones share one file, hence one owner of the queues.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    path: PathBuf,
    card: String,
    identity: DeviceIdentity,
    capabilities: u32,
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

impl Device {
    /// Opens a video device. Nothing on it ever blocks.
    ///
    /// # Errors
    /// [`Error::Open`] when there is no such file or no right to it; [`Error::NotVideo`] when it is something else.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let device = path.to_owned();
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = fs::open(path, flags, Mode::empty()).map_err(|source| match source {
            Errno::NXIO | Errno::NODEV | Errno::ISDIR => Error::NotVideo {
                device: device.clone(),
                source,
            },
            source => Error::Open {
                device: device.clone(),
                source,
            },
        })?;
        let capability = sys::query_capability(fd.as_fd()).map_err(|source| Error::NotVideo {
            device: device.clone(),
            source,
        })?;
        // `capabilities` is of the whole device with all its nodes; `device_caps` of this node.
        let capabilities = if capability.capabilities & sys::CAP_DEVICE_CAPS != 0 {
            capability.device_caps
        } else {
            capability.capabilities
        };
        let identity = DeviceIdentity {
            driver: text(&capability.driver),
            location: text(&capability.bus_info),
            node: path.display().to_string(),
        };
        let inner = Inner {
            fd,
            path: device,
            card: text(&capability.card),
            identity,
            capabilities,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The node that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Its driver, as the kernel names it.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.inner.identity.driver
    }

    /// Tells whether it only captures: a camera, and no codec or converter, which has a queue to read from as well.
    #[must_use]
    pub fn is_camera(&self) -> bool {
        self.queue(Direction::Capture).is_ok() && self.queue(Direction::Output).is_err()
    }

    /// What it calls itself to people.
    #[must_use]
    pub fn card(&self) -> &str {
        &self.inner.card
    }

    /// Where it sits.
    #[must_use]
    pub fn bus(&self) -> &str {
        &self.inner.identity.location
    }

    /// What tells a device that converts from others of its driver at the same place: the node's name in sysfs; `None` for one
    /// that does not convert.
    pub(super) fn converter_name(&self) -> Option<String> {
        if self.capabilities() & (sys::CAP_M2M | sys::CAP_M2M_MPLANE) == 0 {
            return None;
        }
        let node = std::fs::canonicalize(self.path()).ok()?;
        let folder = Path::new("/sys/class/video4linux").join(node.file_name()?);
        let name = std::fs::read_to_string(folder.join("name")).ok()?;
        Some(name.trim().replace(char::is_whitespace, "-"))
    }

    /// Which device it is.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    /// What this node can do, as `V4L2_CAP_` bits.
    #[must_use]
    pub(crate) fn capabilities(&self) -> u32 {
        self.inner.capabilities
    }

    /// The queue of one direction; the multi-planar one where the device has it.
    ///
    /// # Errors
    /// [`Error::NoQueue`].
    pub fn queue(&self, direction: Direction) -> Result<Queue, Error> {
        let has = |bits: u32| self.capabilities() & bits != 0;
        let kind = match direction {
            Direction::Capture if has(sys::CAP_CAPTURE_MPLANE | sys::CAP_M2M_MPLANE) => {
                Some(sys::CAPTURE_MPLANE)
            }
            Direction::Capture if has(sys::CAP_CAPTURE | sys::CAP_M2M) => Some(sys::CAPTURE),
            Direction::Output if has(sys::CAP_OUTPUT_MPLANE | sys::CAP_M2M_MPLANE) => {
                Some(sys::OUTPUT_MPLANE)
            }
            Direction::Output if has(sys::CAP_OUTPUT | sys::CAP_M2M) => Some(sys::OUTPUT),
            _ => None,
        };
        match kind.filter(|_| has(sys::CAP_STREAMING)) {
            Some(kind) => Ok(Queue::new(self.clone(), direction, kind)),
            None => Err(Error::NoQueue {
                device: self.path().to_owned(),
                driver: self.driver().to_owned(),
                direction,
                capabilities: self.capabilities(),
            }),
        }
    }

    /// Turns what the kernel answered into the error that says what to do.
    pub(super) fn failed(&self, operation: &'static str, source: Errno) -> Error {
        let (device, driver) = (self.path().to_owned(), self.driver().to_owned());
        match source {
            Errno::BUSY => Error::Busy {
                device,
                driver,
                operation,
            },
            Errno::NODEV | Errno::NXIO => Error::Gone {
                device,
                driver,
                operation,
                source,
            },
            source => Error::Request {
                device,
                driver,
                operation,
                source,
            },
        }
    }
}

/// Text that ends at the first zero, or nowhere.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_that_is_none_is_named_as_such() {
        let open = |path: &str| Device::open(Path::new(path)).unwrap_err();
        assert!(matches!(
            open("/nowhere/video0"),
            Error::Open {
                source: Errno::NOENT,
                ..
            }
        ));
        assert!(matches!(
            open("/dev/null"),
            Error::NotVideo {
                source: Errno::NOTTY,
                ..
            }
        ));
        assert!(matches!(open("/"), Error::NotVideo { .. }));
        assert!(open("/dev/null").to_string().contains("no V4L2 device"));
    }

    #[test]
    fn text_without_an_end_is_taken_whole() {
        assert_eq!(
            (text(b"vivid\0rest"), text(b"vivid"), text(b"")),
            ("vivid".into(), "vivid".into(), String::new())
        );
    }
}
