//! Explicit synchronisation by linux-drm-syncobj: acquire and release points of each commit.
//!
//! All acquire points are on one timeline, because frames are committed in order. The first point of this timeline is signalled
//! when the timeline is created. It is the acquire point of every frame that is complete when it is committed, such as a frame
//! that a camera's queue returned. Each buffer has its own timeline for its release points, because buffers are released out of
//! order and signalling a point signals all earlier points of its timeline. Each buffer has one eventfd for all of its release
//! points.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;

use covalent_alloc::backend::drm::Card;
use covalent_alloc::sync::{Point, SyncDevice, Timeline, TimelineError, TimelineEventfd, Until};
use wayland_client::QueueHandle;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::{
    wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1,
    wp_linux_drm_syncobj_surface_v1::WpLinuxDrmSyncobjSurfaceV1,
    wp_linux_drm_syncobj_timeline_v1::WpLinuxDrmSyncobjTimelineV1,
};

use crate::compositor::Compositor;
use crate::events::{Events, EventsError, SourceId};

/// The number of the acquire point of frames that are complete when they are committed.
const COMPLETE: u64 = 1;

/// The synchronisation between this program and the compositor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SyncKind {
    /// Explicit if the compositor and a card support it, otherwise implicit.
    #[default]
    Auto,
    /// Explicit, by timeline points (linux-drm-syncobj).
    Explicit,
    /// Implicit, by the fences of the dma-bufs.
    Implicit,
}

/// Why explicit synchronisation is not available, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplicitSyncError {
    /// The compositor lacks linux-drm-syncobj.
    #[error(
        "the compositor does not offer wp_linux_drm_syncobj_manager_v1, because it or its card has no timelines; use --sync implicit"
    )]
    NotOffered,
    /// No render node supports timeline syncobjs with an eventfd.
    #[error(
        "no render node of this machine has timeline syncobjs with eventfd (Linux 6.6); use --sync implicit"
    )]
    NoDevice,
    /// An operation on a timeline failed.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The event loop cannot watch a release point.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// There is no buffer of this index.
    #[error("buffer {0} has no timeline for its release points")]
    Index(usize),
}

/// A timeline that the compositor has imported.
#[derive(Debug)]
struct SharedTimeline {
    timeline: Timeline,
    proxy: WpLinuxDrmSyncobjTimelineV1,
    last: u64,
}

impl SharedTimeline {
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

    /// Returns the value of the next point on the timeline.
    fn next(&mut self) -> u64 {
        self.last = self.last.saturating_add(1);
        self.last
    }
}

impl Drop for SharedTimeline {
    fn drop(&mut self) {
        self.proxy.destroy();
    }
}

/// The release points of one buffer.
#[derive(Debug)]
struct ReleasePoints {
    shared: SharedTimeline,
    eventfd: Rc<TimelineEventfd>,
    source: SourceId,
}

/// The timelines of one surface and its buffers.
#[derive(Debug)]
pub struct ExplicitSync {
    manager: WpLinuxDrmSyncobjManagerV1,
    device: SyncDevice,
    /// The object of the surface; `None` while the surface's commits have no points.
    object: Option<WpLinuxDrmSyncobjSurfaceV1>,
    surface: WlSurface,
    handle: QueueHandle<Compositor>,
    acquire: SharedTimeline,
    releases: BTreeMap<usize, ReleasePoints>,
}

impl ExplicitSync {
    /// Creates the timelines for `count` buffers of `surface`. Returns `None` with [`SyncKind::Implicit`], and with
    /// [`SyncKind::Auto`] if explicit synchronisation is not available.
    ///
    /// # Errors
    ///
    /// [`ExplicitSyncError`] with [`SyncKind::Explicit`]; [`ExplicitSyncError::Timeline`] if a timeline cannot be created.
    pub fn create(
        kind: SyncKind,
        events: &mut Events,
        compositor: &mut Compositor,
        surface: &WlSurface,
        count: usize,
    ) -> Result<Option<Self>, ExplicitSyncError> {
        let available = match kind {
            SyncKind::Implicit => return Ok(None),
            SyncKind::Auto | SyncKind::Explicit => compositor
                .globals
                .syncobj
                .clone()
                .ok_or(ExplicitSyncError::NotOffered)
                .and_then(|manager| {
                    Ok((
                        manager,
                        open_syncobj_device().ok_or(ExplicitSyncError::NoDevice)?,
                    ))
                }),
        };
        let (manager, device) = match available {
            Ok(available) => available,
            Err(error) if kind == SyncKind::Auto => {
                tracing::info!("implicit synchronisation: {error}");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let handle = &events.handle();
        let mut acquire = SharedTimeline::new(&manager, handle, &device)?;
        acquire.timeline.point(COMPLETE)?.signal()?;
        acquire.last = COMPLETE;
        compositor.ignore_releases();
        let mut explicit = Self {
            object: Some(manager.get_surface(surface, handle, ())),
            surface: surface.clone(),
            handle: handle.clone(),
            manager,
            device,
            acquire,
            releases: BTreeMap::new(),
        };
        for index in 0..count {
            explicit.add(events, index)?;
        }
        Ok(Some(explicit))
    }

    /// Creates the timeline of another buffer. The event loop queues [`Event::Released`](crate::compositor::Event::Released) with
    /// `index` for each of its release points.
    ///
    /// # Errors
    ///
    /// [`ExplicitSyncError::Timeline`], [`ExplicitSyncError::Events`].
    pub fn add(&mut self, events: &mut Events, index: usize) -> Result<(), ExplicitSyncError> {
        let shared = SharedTimeline::new(&self.manager, &events.handle(), &self.device)?;
        let eventfd = Rc::new(shared.timeline.eventfd()?);
        let source = events.watch_release_points(Rc::clone(&eventfd), index)?;
        let points = ReleasePoints {
            shared,
            eventfd,
            source,
        };
        self.releases.insert(index, points);
        Ok(())
    }

    /// Destroys the timeline of a buffer that is no longer committed. The compositor still signals its pending release points.
    pub fn remove(&mut self, events: &mut Events, index: usize) {
        if let Some(points) = self.releases.remove(&index) {
            events.unwatch(points.source);
        }
    }

    /// Makes the surface's next commit one without points. linux-drm-syncobj does not support `wl_shm` buffers: a commit of one
    /// would be a protocol error while the surface has an object for points. The next commit with points creates the object
    /// again. The compositor still signals the release points of earlier commits.
    pub fn suspend(&mut self) {
        if let Some(object) = self.object.take() {
            object.destroy();
        }
    }

    /// Returns the object of the surface, and creates it where the last commit had no points.
    fn object(&mut self) -> &WpLinuxDrmSyncobjSurfaceV1 {
        let create = || self.manager.get_surface(&self.surface, &self.handle, ());
        self.object.get_or_insert_with(create)
    }

    /// Sets the acquire and release points of the surface's next commit, which attaches the buffer at `index`. The frame in the
    /// buffer is complete, so the acquire point is already signalled.
    ///
    /// # Errors
    ///
    /// [`ExplicitSyncError`]; then the caller must not commit.
    pub fn set_points(&mut self, index: usize) -> Result<(), ExplicitSyncError> {
        self.set_release_point(index)?;
        self.set_acquire_point(COMPLETE);
        Ok(())
    }

    /// Sets the acquire and release points of the surface's next commit, which attaches the buffer at `index`, and returns both.
    /// The frame in the buffer is not complete yet, so the caller has to signal the acquire point or attach a fence to it.
    ///
    /// # Errors
    ///
    /// [`ExplicitSyncError`]; then the caller must not commit.
    pub fn set_pending_points(
        &mut self,
        index: usize,
    ) -> Result<(Point, Point), ExplicitSyncError> {
        let released = self.set_release_point(index)?;
        let acquired = self.acquire.next();
        let acquire = self.acquire.timeline.point(acquired)?;
        self.set_acquire_point(acquired);
        Ok((acquire, released))
    }

    fn set_acquire_point(&mut self, point: u64) {
        let proxy = self.acquire.proxy.clone();
        let [high, low] = split_u64(point);
        self.object().set_acquire_point(&proxy, high, low);
    }

    /// Sets the release point of the next commit of the buffer at `index`. The event loop reports when the point is signalled.
    fn set_release_point(&mut self, index: usize) -> Result<Point, ExplicitSyncError> {
        let release = self
            .releases
            .get_mut(&index)
            .ok_or(ExplicitSyncError::Index(index))?;
        let released = release.shared.next();
        release.eventfd.arm(released, Until::Signalled)?;
        let point = release.shared.timeline.point(released)?;
        let proxy = release.shared.proxy.clone();
        let [high, low] = split_u64(released);
        self.object().set_release_point(&proxy, high, low);
        Ok(point)
    }
}

impl Drop for ExplicitSync {
    fn drop(&mut self) {
        self.suspend();
    }
}

/// Splits the number of a timeline point or a modifier into its high and low 32 bits, which the protocols send as two arguments.
#[must_use]
pub fn split_u64(number: u64) -> [u32; 2] {
    let [low, high] = [number & u64::from(u32::MAX), number >> 32];
    [high, low].map(|half| u32::try_from(half).unwrap_or(u32::MAX))
}

/// Opens a render node that supports timeline syncobjs with an eventfd. Any render node works, because a syncobj can be used with
/// fences of every device.
#[must_use]
pub fn open_syncobj_device() -> Option<SyncDevice> {
    Card::list()
        .iter()
        .filter_map(|card| File::open(Card::render_node(card)?).ok())
        .filter_map(|node| SyncDevice::new(node).ok())
        .find(|device| device.support().eventfd)
}

wayland_client::delegate_noop!(Compositor: WpLinuxDrmSyncobjManagerV1);
wayland_client::delegate_noop!(Compositor: WpLinuxDrmSyncobjSurfaceV1);
wayland_client::delegate_noop!(Compositor: WpLinuxDrmSyncobjTimelineV1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_of_64_bits_is_split_with_the_high_half_first() {
        assert_eq!(split_u64(0x0000_0001_8000_0002), [1, 0x8000_0002]);
    }
}
