//! Explicit synchronisation: points on timelines that say when a buffer may be read, and when it is free again.
//!
//! One timeline for all acquire points, since frames are given in order; one of its own for each buffer's release points, since
//! buffers come back out of order and a point that is signalled signals all before it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;

use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Point, PointWait, SyncDevice, Timeline, TimelineError, Until};
use wayland_client::QueueHandle;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::{
    wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1,
    wp_linux_drm_syncobj_surface_v1::WpLinuxDrmSyncobjSurfaceV1,
    wp_linux_drm_syncobj_timeline_v1::WpLinuxDrmSyncobjTimelineV1,
};

use crate::compositor::Compositor;

/// How buffers are handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SyncKind {
    /// By points where the compositor and a card have them, else by the fences of the dma-bufs.
    #[default]
    Auto,
    /// By points on timelines (linux-drm-syncobj).
    Explicit,
    /// By the fences that the dma-bufs carry.
    Implicit,
}

/// Why there is no explicit synchronisation, or no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplicitError {
    /// The compositor does not speak it.
    #[error(
        "the compositor does not offer wp_linux_drm_syncobj_manager_v1, because it or its card has no timelines; use --sync implicit"
    )]
    NotOffered,
    /// No card here has timelines whose points an event loop can wait for.
    #[error(
        "no render node of this machine has timeline syncobjs with eventfd (Linux 6.6); use --sync implicit"
    )]
    NoDevice,
    /// A timeline does not do what it should.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// No such buffer.
    #[error("buffer {0} has no timeline")]
    Index(usize),
}

/// A timeline here and at the compositor.
#[derive(Debug)]
struct Shared {
    timeline: Timeline,
    proxy: WpLinuxDrmSyncobjTimelineV1,
    last: u64,
}

impl Shared {
    fn new(
        manager: &WpLinuxDrmSyncobjManagerV1,
        handle: &QueueHandle<Compositor>,
        device: &SyncDevice,
    ) -> Result<Self, TimelineError> {
        let timeline = Timeline::create(device)?;
        let file = timeline.export()?;
        let proxy = manager.import_timeline(file.as_fd(), handle, ());
        Ok(Self {
            timeline,
            proxy,
            last: 0,
        })
    }

    fn next(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.proxy.destroy();
    }
}

/// The points of one window's buffers.
#[derive(Debug)]
pub struct Explicit {
    manager: WpLinuxDrmSyncobjManagerV1,
    device: SyncDevice,
    object: WpLinuxDrmSyncobjSurfaceV1,
    acquire: Shared,
    releases: BTreeMap<usize, Shared>,
}

impl Explicit {
    /// Makes the timelines of `count` buffers that `surface` will show; `None` where `kind` asks for none, or leaves the choice
    /// and there are none to be had.
    ///
    /// # Errors
    ///
    /// [`ExplicitError`] where `kind` asks for points alone; [`ExplicitError::Timeline`] when a card that has timelines makes none.
    pub fn offer(
        kind: SyncKind,
        compositor: &mut Compositor,
        handle: &QueueHandle<Compositor>,
        surface: &WlSurface,
        count: usize,
    ) -> Result<Option<Self>, ExplicitError> {
        let found = match kind {
            SyncKind::Implicit => return Ok(None),
            SyncKind::Auto | SyncKind::Explicit => compositor
                .globals
                .syncobj
                .clone()
                .ok_or(ExplicitError::NotOffered)
                .and_then(|manager| Ok((manager, device().ok_or(ExplicitError::NoDevice)?))),
        };
        let (manager, device) = match found {
            Ok(found) => found,
            Err(error) if kind == SyncKind::Auto => {
                tracing::info!("implicit synchronisation: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let acquire = Shared::new(&manager, handle, &device)?;
        compositor.ignore_releases();
        let mut explicit = Self {
            object: manager.get_surface(surface, handle, ()),
            manager,
            device,
            acquire,
            releases: BTreeMap::new(),
        };
        for index in 0..count {
            explicit.add(handle, index)?;
        }
        Ok(Some(explicit))
    }

    /// Makes the timeline of another buffer.
    ///
    /// # Errors
    ///
    /// [`ExplicitError::Timeline`].
    pub fn add(
        &mut self,
        handle: &QueueHandle<Compositor>,
        index: usize,
    ) -> Result<(), ExplicitError> {
        let shared = Shared::new(&self.manager, handle, &self.device)?;
        self.releases.insert(index, shared);
        Ok(())
    }

    /// Lets the timeline of a buffer go that is shown no more. Points that were given are signalled all the same.
    pub fn remove(&mut self, index: usize) {
        self.releases.remove(&index);
    }

    /// The point behind which the buffer at `index` comes back from the next commit that shows it, for its ledger.
    ///
    /// # Errors
    ///
    /// [`ExplicitError`].
    pub fn next_release(&self, index: usize) -> Result<Point, ExplicitError> {
        let release = self
            .releases
            .get(&index)
            .ok_or(ExplicitError::Index(index))?;
        Ok(release.timeline.point(release.last.saturating_add(1))?)
    }

    /// Gives the surface the points of its next commit, which shows the buffer at `index`: what is in the buffer is finished by
    /// now. Returns what to wait for before anybody writes to it again.
    ///
    /// # Errors
    ///
    /// [`ExplicitError`]; nothing may be committed then.
    pub fn stamp(&mut self, index: usize) -> Result<PointWait, ExplicitError> {
        let (acquire, release) = self.stamp_ahead(index)?;
        acquire.signal()?;
        Ok(release)
    }

    /// Does as [`stamp`](Self::stamp) before what is in the buffer is finished: whoever finishes it signals the point that comes
    /// first, or gives it the fence that does.
    ///
    /// # Errors
    ///
    /// [`ExplicitError`]; nothing may be committed then.
    pub fn stamp_ahead(&mut self, index: usize) -> Result<(Point, PointWait), ExplicitError> {
        let release = self
            .releases
            .get_mut(&index)
            .ok_or(ExplicitError::Index(index))?;
        let (acquired, released) = (self.acquire.next(), release.next());
        let acquire = self.acquire.timeline.point(acquired)?;
        let wait = release.timeline.point(released)?.wait(Until::Signalled)?;
        let [high, low] = halves(acquired);
        self.object
            .set_acquire_point(&self.acquire.proxy, high, low);
        let [high, low] = halves(released);
        self.object.set_release_point(&release.proxy, high, low);
        Ok((acquire, wait))
    }
}

impl Drop for Explicit {
    fn drop(&mut self) {
        self.object.destroy();
    }
}

/// Splits a point or a modifier as the protocols carry it: the high half first.
#[must_use]
pub fn halves(number: u64) -> [u32; 2] {
    let [low, high] = [number & u64::from(u32::MAX), number >> 32];
    [high, low].map(|half| u32::try_from(half).unwrap_or(u32::MAX))
}

/// Opens a render node that has timelines; any will do, since a syncobj is nobody's memory.
#[must_use]
pub fn device() -> Option<SyncDevice> {
    Card::list()
        .iter()
        .filter_map(|card| File::open(Card::render_node(card)?).ok())
        .filter_map(|node| SyncDevice::new(node).ok())
        .find(|device| device.ability().eventfd)
}

wayland_client::delegate_noop!(Compositor: WpLinuxDrmSyncobjManagerV1);
wayland_client::delegate_noop!(Compositor: WpLinuxDrmSyncobjSurfaceV1);
wayland_client::delegate_noop!(Compositor: WpLinuxDrmSyncobjTimelineV1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_is_split_with_the_high_half_first() {
        assert_eq!(halves(0x0000_0001_8000_0002), [1, 0x8000_0002]);
    }
}
