//! An open DRM card.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drm::control::Device as _;
use drm::{Device as _, DriverCapability, buffer};
use rustix::fs::{major, minor};

use super::DrmError;
use crate::backend::node;
use crate::backend::prime::{self, ImportAbility};
use crate::model::DeviceIdentity;

/// The number of imports that use a GEM handle for longer than one call, by handle.
pub(super) type LastingImports = BTreeMap<u32, u32>;

/// An open DRM card. Clones share one file description, hence one set of GEM handles.
#[derive(Clone, Debug)]
pub struct Card {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    path: PathBuf,
    identity: DeviceIdentity,
    import: ImportAbility,
    modifiers: bool,
    /// The number of lasting imports that use each GEM handle. A thread holds the lock from the import of a dma-buf until it has
    /// closed the GEM handle or counted the import. Without the lock, an import of the same dma-buf by another thread could
    /// return this handle, which is then closed.
    handles: Mutex<LastingImports>,
}

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}
impl drm::Device for Card {}
impl drm::control::Device for Card {}

impl Card {
    /// Opens a card for allocations, imports and queries.
    ///
    /// A program that displays frames controls the card through the `drm` crate, which this module re-exports: a [`Card`] is a
    /// `drm::control::Device`, and `drm::Device::acquire_master_lock` makes it DRM master. `examples/screen` is a minimal
    /// example.
    ///
    /// Opening a card without a DRM master makes the opener its master, and a compositor that starts later would fail. So this
    /// function drops master at once.
    ///
    /// # Errors
    /// [`DrmError::Open`]; [`DrmError::NotCard`] if the file is not a DRM device.
    pub fn open(path: &Path) -> Result<Self, DrmError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| DrmError::Open {
                card: path.to_owned(),
                source,
            })?;
        let card = Self::from_fd(file.into(), path)?;
        // The call fails if another process is DRM master. This process is not master in that case, so the error is ignored.
        let _ = card.release_master_lock();
        Ok(card)
    }

    /// Lists the primary nodes of all cards, by number.
    #[must_use]
    pub fn list() -> Vec<PathBuf> {
        node::cards()
    }

    /// Returns the render node of a card's device; `None` for a card without one.
    ///
    /// Opening a render node needs no privileges, and never makes the opener DRM master.
    pub fn render_node(card: &Path) -> Option<PathBuf> {
        node::render_node(card)
    }

    /// Opens the primary node of the card with this device number, which may be the number of the card's primary node or of its
    /// render node.
    ///
    /// Dumb buffers are not permitted on render nodes, and Wayland protocols can name either node.
    ///
    /// # Errors
    /// The errors of [`Card::open`]; [`DrmError::NoSuchDevice`].
    pub fn open_by_device(device: u64) -> Result<Self, DrmError> {
        let (major, minor) = (major(device), minor(device));
        let nodes = format!("/sys/dev/char/{major}:{minor}/device/drm");
        let name = fs::read_dir(nodes)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .find(|name| name.starts_with("card") && !name.contains('-'))
            .ok_or(DrmError::NoSuchDevice { major, minor })?;
        Self::open(&Path::new("/dev/dri").join(name))
    }

    /// Wraps an open card without a change of its DRM master state, for a program that displays frames.
    ///
    /// # Errors
    /// [`DrmError::NotCard`] if the file is not a DRM device.
    pub fn from_fd(fd: OwnedFd, path: &Path) -> Result<Self, DrmError> {
        let identity = node::identity(fd.as_fd(), path).map_err(|source| DrmError::NotCard {
            card: path.to_owned(),
            source,
        })?;
        let inner = Inner {
            fd,
            path: path.to_owned(),
            identity,
            import: ImportAbility::Nothing {
                why: "not queried".to_owned(),
            },
            modifiers: false,
            handles: Mutex::default(),
        };
        let mut card = Self {
            inner: Arc::new(inner),
        };
        let import = prime::import_ability(&card, card.driver());
        let modifiers = card
            .get_driver_capability(DriverCapability::AddFB2Modifiers)
            .is_ok_and(|value| value != 0);
        if let Some(inner) = Arc::get_mut(&mut card.inner) {
            inner.import = import;
            inner.modifiers = modifiers;
        }
        Ok(card)
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

    /// Returns the driver, the location and the node of the device.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    /// Returns whether the card imports dma-bufs that other devices allocated.
    #[must_use]
    pub fn import_ability(&self) -> &ImportAbility {
        &self.inner.import
    }

    /// Whether framebuffers can have modifiers (DRM_CAP_ADDFB2_MODIFIERS).
    #[must_use]
    pub(crate) fn has_modifiers(&self) -> bool {
        self.inner.modifiers
    }

    /// Returns the device number of the device node that was opened.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn device_number(&self) -> Result<u64, DrmError> {
        Ok(rustix::fs::fstat(self)
            .map_err(|error| self.failed("fstat", error.into()))?
            .st_rdev)
    }

    pub(super) fn lock_handles(&self) -> MutexGuard<'_, LastingImports> {
        self.inner
            .handles
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes each distinct GEM handle once, except those of lasting imports. The list can contain a handle several times,
    /// because the imports of all planes in one dma-buf return the same handle.
    pub(super) fn close_each(&self, lasting: &LastingImports, mut opened: Vec<buffer::Handle>) {
        opened.retain(|handle| !lasting.contains_key(&u32::from(*handle)));
        opened.sort_unstable_by_key(|handle| u32::from(*handle));
        opened.dedup();
        for handle in opened {
            if let Err(error) = self.close_buffer(handle) {
                tracing::error!(%error, card = %self.path().display(), "GEM_CLOSE failed, so a GEM handle leaks");
            }
        }
    }

    /// Makes the error for an ioctl or system call on the card that failed.
    pub(super) fn failed(&self, operation: &'static str, source: io::Error) -> DrmError {
        DrmError::Request {
            card: self.path().to_owned(),
            driver: self.driver().to_owned(),
            operation,
            source,
        }
    }
}
