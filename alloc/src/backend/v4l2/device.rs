//! An open video device.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use super::queue::{Direction, Queue};
use super::{Error, sys};
use crate::model::DeviceIdentity;

/// An open V4L2 device. Clones share one file description, so for the kernel they are one owner of the queues.
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
    /// Opens a video device with O_NONBLOCK.
    ///
    /// # Errors
    /// [`Error::Open`] if the file does not exist or may not be opened; [`Error::NotVideo`] if it is not a V4L2 device.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let device = path.to_owned();
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = fs::open(path, flags, Mode::empty()).map_err(|source| match source {
            Errno::NXIO | Errno::NODEV | Errno::ISDIR => Error::NotVideo {
                device: device.clone(),
                source: source.into(),
            },
            source => Error::Open {
                device: device.clone(),
                source: source.into(),
            },
        })?;
        let capability = sys::query_capability(fd.as_fd()).map_err(|source| Error::NotVideo {
            device: device.clone(),
            source: source.into(),
        })?;
        // `capabilities` describes all device nodes of the physical device together, and `device_caps` only this device node.
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

    /// Returns the device node that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the name of the kernel driver.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.inner.identity.driver
    }

    /// Returns the device's name for display (v4l2_capability::card).
    #[must_use]
    pub fn card(&self) -> &str {
        &self.inner.card
    }

    /// Returns the location of the device (v4l2_capability::bus_info).
    #[must_use]
    pub fn bus(&self) -> &str {
        &self.inner.identity.location
    }

    /// Returns the name of a memory-to-memory device in sysfs, which distinguishes it from other devices of its driver with the
    /// same bus_info; `None` for a device that is not memory-to-memory.
    pub(super) fn converter_name(&self) -> Option<String> {
        if self.capabilities() & (sys::CAP_M2M | sys::CAP_M2M_MPLANE) == 0 {
            return None;
        }
        let node = std::fs::canonicalize(self.path()).ok()?;
        let folder = Path::new("/sys/class/video4linux").join(node.file_name()?);
        let name = std::fs::read_to_string(folder.join("name")).ok()?;
        Some(name.trim().replace(char::is_whitespace, "-"))
    }

    /// Returns the driver, the location and the node of the device.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    /// Returns the `V4L2_CAP_` bits of this node.
    #[must_use]
    pub(crate) fn capabilities(&self) -> u32 {
        self.inner.capabilities
    }

    /// Returns the queue of one direction: the multi-planar queue if the device has one, otherwise the single-planar queue.
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

    /// Returns the error for a failed ioctl, by its errno.
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
                source: source.into(),
            },
            // After an error, videobuf2 returns EIO for both ioctls until the stream is stopped (vb2_queue_error). Drivers also
            // return EIO if they have lost the video signal.
            Errno::IO if matches!(operation, "VIDIOC_QBUF" | "VIDIOC_DQBUF") => {
                Error::StreamError {
                    device,
                    driver,
                    operation,
                    source: source.into(),
                }
            }
            source => Error::Request {
                device,
                driver,
                operation,
                source: source.into(),
            },
        }
    }
}

/// Converts a C string in an array. The string ends at the first zero byte, or at the end of the array.
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
    fn file_that_is_not_a_v4l2_device_is_reported_as_such() {
        let open = |path: &str| Device::open(Path::new(path)).unwrap_err();
        assert!(matches!(
            open("/nowhere/video0"),
            Error::Open { source, .. } if source == Errno::NOENT.into()
        ));
        assert!(matches!(
            open("/dev/null"),
            Error::NotVideo { source, .. } if source == Errno::NOTTY.into()
        ));
        assert!(matches!(open("/"), Error::NotVideo { .. }));
        assert!(open("/dev/null").to_string().contains("not a V4L2 device"));
    }

    #[test]
    fn text_without_a_terminator_is_converted_completely() {
        assert_eq!(
            (text(b"vivid\0rest"), text(b"vivid"), text(b"")),
            ("vivid".into(), "vivid".into(), String::new())
        );
    }
}
