//! An open GBM device, and the formats that it has.

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

/// Pixels a side of the buffers that are made to see what a driver does.
pub(super) const SMALL: u32 = 64;

/// A file description of GBM's own.
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
    /// One call at a time: not every driver of Mesa can be called by two threads.
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
    /// Lists the primary nodes of all cards, by number.
    #[must_use]
    pub fn list() -> Vec<PathBuf> {
        node::cards()
    }

    /// Returns the primary node of the card that a node belongs to: itself, or the one whose render node it is.
    pub(crate) fn card_of(path: &Path) -> Option<PathBuf> {
        Self::list()
            .into_iter()
            .find(|card| card == path || node::render_node(card).is_some_and(|own| own == path))
    }

    /// Opens GBM for a card: on its render node where it has one, and else on the card's own, which is left without a master.
    ///
    /// A card that does not render may have a render node all the same (vgem has). Mesa then allocates and frees by dumb
    /// buffers, which a render node forbids: nothing can be made there, and what is imported is never let go. So one small
    /// buffer is made to see.
    ///
    /// # Errors
    /// [`GbmError::Open`]; [`GbmError::Device`] where Mesa has no driver for the card.
    pub fn open(card: &Path) -> Result<Self, GbmError> {
        if let Some(render) = node::render_node(card) {
            if let Ok(device) = Self::open_node(&render) {
                if device.makes_one() {
                    return Ok(device);
                }
            }
        }
        Self::open_node(card)
    }

    fn makes_one(&self) -> bool {
        let device = self.lock();
        let flags = BufferObjectFlags::RENDERING;
        device
            .create_buffer_object::<()>(SMALL, SMALL, gbm::Format::Xrgb8888, flags)
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
        // Fails on a render node, and where another process is master, which is as good.
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

    /// The node that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Which device it is.
    #[must_use]
    pub fn identity(&self) -> &DeviceIdentity {
        &self.inner.identity
    }

    pub(super) fn driver(&self) -> String {
        self.inner.identity.driver.clone()
    }

    /// What the card says of importing foreign memory.
    #[must_use]
    pub fn import_ability(&self) -> &ImportAbility {
        &self.inner.import
    }

    pub(super) fn contiguity(&self) -> Contiguity {
        self.inner.contiguity
    }

    /// Whether the device works on a copy of its own, as where the host renders for a virtio-gpu; none where nothing tells.
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
