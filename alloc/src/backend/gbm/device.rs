//! An open GBM device.

use std::fmt;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gbm::BufferObjectFlags;

use super::GbmError;
use crate::backend::node;
use crate::backend::prime::{self, ImportAbility};
use crate::constraint::Contiguity;
use crate::model::DeviceIdentity;

/// The width and height, in pixels, of the small buffers that are allocated to query a driver.
pub(super) const TEST_SIDE: u32 = 64;

/// The file descriptor of an open device node. Only GBM uses its file description.
pub(super) struct Node(OwnedFd);

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
impl drm::Device for Node {}

/// An open GBM device. Clones share it.
#[derive(Clone)]
pub struct Gbm {
    inner: Arc<Inner>,
}

struct Inner {
    /// Locked for each call, because not every driver of Mesa is thread-safe.
    device: Mutex<gbm::Device<Node>>,
    path: PathBuf,
    identity: DeviceIdentity,
    import: ImportAbility,
    contiguity: Contiguity,
    has_shadow_copy: Option<bool>,
}

impl fmt::Debug for Gbm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Gbm")
            .field("identity", &self.inner.identity)
            .finish_non_exhaustive()
    }
}

impl Gbm {
    /// Lists the primary nodes of all cards, in the order of their numbers.
    #[must_use]
    pub fn list() -> Vec<PathBuf> {
        node::cards()
    }

    /// Returns the primary node of the card to which a primary node or a render node belongs.
    pub(crate) fn card_of(path: &Path) -> Option<PathBuf> {
        Self::list()
            .into_iter()
            .find(|card| card == path || node::render_node(card).is_some_and(|own| own == path))
    }

    /// Opens GBM on a card: on its render node if it has one, otherwise on its primary node without becoming DRM master.
    ///
    /// A card that does not render can have a render node too, like vgem. For such a card Mesa uses the dumb-buffer ioctls, which
    /// are not permitted on a render node: allocations fail, and imports are never freed. So one small buffer is allocated to
    /// test the render node, and the primary node is used if that fails.
    ///
    /// # Errors
    /// [`GbmError::Open`]; [`GbmError::Device`] if Mesa has no driver for the card.
    pub fn open(card: &Path) -> Result<Self, GbmError> {
        if let Some(render) = node::render_node(card) {
            if let Ok(device) = Self::open_node(&render) {
                if device.can_allocate() {
                    return Ok(device);
                }
            }
        }
        Self::open_node(card)
    }

    fn can_allocate(&self) -> bool {
        let device = self.lock();
        let flags = BufferObjectFlags::RENDERING;
        device
            .create_buffer_object::<()>(TEST_SIDE, TEST_SIDE, gbm::Format::Xrgb8888, flags)
            .is_ok()
    }

    fn open_node(path: &Path) -> Result<Self, GbmError> {
        let failed = |source| GbmError::Open {
            node: path.to_owned(),
            source,
        };
        let flags = rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
            .open(path)
            .map_err(failed)?;
        let node = Node(file.into());
        // The call fails on a render node, and if another process is DRM master. In both cases this process is not master, so the
        // error is ignored.
        let _ = drm::Device::release_master_lock(&node);
        let identity = node::identity(node.as_fd(), path).map_err(failed)?;
        let import = prime::import_ability(&node, &identity.driver);
        let contiguity = prime::contiguity(&node, &identity.driver);
        let has_shadow_copy = prime::has_shadow_copy(&node, &identity.driver);
        let device = gbm::Device::new(node).map_err(|source| GbmError::Device {
            node: path.to_owned(),
            driver: identity.driver.clone(),
            source,
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                device: Mutex::new(device),
                path: path.to_owned(),
                identity,
                import,
                contiguity,
                has_shadow_copy,
            }),
        })
    }

    /// Returns the device node that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns the driver, the location and the node of the device.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    pub(super) fn driver(&self) -> String {
        self.inner.identity.driver.clone()
    }

    /// Returns whether the card imports the memory of other devices.
    #[must_use]
    pub fn import_ability(&self) -> &ImportAbility {
        &self.inner.import
    }

    pub(super) fn contiguity(&self) -> Contiguity {
        self.inner.contiguity
    }

    /// Returns whether the device has a shadow copy of its buffers, as a virtio-gpu that renders on the host has; `None` if that
    /// is not known.
    #[must_use]
    pub fn has_shadow_copy(&self) -> Option<bool> {
        self.inner.has_shadow_copy
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, gbm::Device<Node>> {
        self.inner
            .device
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
