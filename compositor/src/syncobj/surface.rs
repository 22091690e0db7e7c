//! `wp_linux_drm_syncobj_surface_v1`: the acquire and release points of a surface's commits, and their protocol errors.

use std::cell::RefCell;
use std::num::NonZeroU64;

use smithay::reexports::wayland_protocols::wp::linux_drm_syncobj::v1::server::{
    wp_linux_drm_syncobj_surface_v1::{Error, Request, WpLinuxDrmSyncobjSurfaceV1},
    wp_linux_drm_syncobj_timeline_v1::WpLinuxDrmSyncobjTimelineV1,
};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, Weak,
};
use smithay::wayland::compositor::{Cacheable, with_states};

use super::timelines::{ImportedTimeline, Point};
use super::{ReleasePoint, Syncobj, TimelineData};
use crate::state::State;

/// The user data of a `wp_linux_drm_syncobj_surface_v1`: its surface.
#[derive(Debug)]
pub struct SurfaceObject(pub(super) Weak<WlSurface>);

/// The `wp_linux_drm_syncobj_surface_v1` object of a surface; `None` if it has none.
#[derive(Debug, Default)]
pub(super) struct Association(pub(super) RefCell<Option<WpLinuxDrmSyncobjSurfaceV1>>);

/// A point that a client has set: the timeline and the number of the point.
#[derive(Clone, Debug)]
struct RequestedPoint {
    timeline: ImportedTimeline,
    value: u64,
}

impl RequestedPoint {
    /// Returns the point; `None` for number 0, which is always signalled.
    fn point(self) -> Option<Point> {
        let value = NonZeroU64::new(self.value)?;
        Some(Point::new(self.timeline, value))
    }
}

/// The points that were set for a surface since its last commit. They apply to the next commit.
#[derive(Debug, Default)]
pub struct SurfacePoints {
    acquire: Option<RequestedPoint>,
    release: Option<RequestedPoint>,
}

impl Cacheable for SurfacePoints {
    fn commit(&mut self, _display: &DisplayHandle) -> Self {
        Self::default()
    }

    fn merge_into(self, _into: &mut Self, _display: &DisplayHandle) {}
}

/// How a commit's buffer is synchronised.
#[derive(Debug)]
pub enum CommitSync {
    /// Implicit synchronisation by the fences of the dma-buf: the surface has no syncobj object.
    Implicit,
    /// No synchronisation: the commit attaches no buffer, or the client was disconnected with a protocol error.
    NoBuffer,
    /// Explicit synchronisation by the points that the client has set. `None` stands for point 0, which is always signalled.
    Explicit {
        /// The compositor may read the buffer when this point is signalled.
        acquire: Option<Point>,
        /// The compositor signals this point to release the buffer.
        release: Option<ReleasePoint>,
    },
}

/// Returns the points that were set for the current commit, which attaches `buffer`. Posts a protocol error if they are not
/// valid.
///
/// `is_supported` states whether the buffer supports explicit synchronisation.
pub fn take_sync_points(
    syncobj: &Syncobj,
    surface: &WlSurface,
    buffer: Option<&WlBuffer>,
    is_supported: bool,
) -> CommitSync {
    with_states(surface, |states| {
        let object = states
            .data_map
            .get::<Association>()
            .and_then(|association| association.0.borrow().clone());
        let mut points = states.cached_state.get::<SurfacePoints>();
        let points = points.pending();
        let (acquire, release) = (points.acquire.take(), points.release.take());
        let Some(object) = object else {
            return CommitSync::Implicit;
        };
        match validate_points(buffer.is_some(), is_supported, acquire, release) {
            Ok(None) => CommitSync::NoBuffer,
            Ok(Some((acquire, release))) => CommitSync::Explicit {
                acquire,
                release: release.map(|point| syncobj.release_point(point)),
            },
            Err((error, message)) => {
                object.post_error(error, message);
                CommitSync::NoBuffer
            }
        }
    })
}

/// The acquire and the release point; `None` stands for point 0.
type SyncPoints = (Option<Point>, Option<Point>);

/// Validates the points of a commit; returns them if the commit attaches a buffer.
fn validate_points(
    has_buffer: bool,
    is_supported: bool,
    acquire: Option<RequestedPoint>,
    release: Option<RequestedPoint>,
) -> Result<Option<SyncPoints>, (Error, String)> {
    if !has_buffer {
        return match (acquire, release) {
            (None, None) => Ok(None),
            _ => Err((
                Error::NoBuffer,
                "the commit sets a point and attaches no buffer".to_owned(),
            )),
        };
    }
    if !is_supported {
        let message = "explicit synchronisation supports only buffers of linux-dmabuf".to_owned();
        return Err((Error::UnsupportedBuffer, message));
    }
    let acquire = acquire.ok_or_else(|| {
        let message = "the commit attaches a buffer and sets no acquire point".to_owned();
        (Error::NoAcquirePoint, message)
    })?;
    let release = release.ok_or_else(|| {
        let message = "the commit attaches a buffer and sets no release point".to_owned();
        (Error::NoReleasePoint, message)
    })?;
    // The values are compared first, because comparing two timelines takes a system call.
    if acquire.value >= release.value && acquire.timeline.is_same(&release.timeline) {
        let message = format!(
            "the acquire point {} is not before the release point {} on the same timeline",
            acquire.value, release.value
        );
        return Err((Error::ConflictingPoints, message));
    }
    Ok(Some((acquire.point(), release.point())))
}

impl Dispatch<WpLinuxDrmSyncobjSurfaceV1, SurfaceObject> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        object: &WpLinuxDrmSyncobjSurfaceV1,
        request: Request,
        data: &SurfaceObject,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        let surface = data.0.upgrade().ok();
        let (timeline, high, low, is_acquire) = match request {
            Request::SetAcquirePoint {
                timeline,
                point_hi,
                point_lo,
            } => (timeline, point_hi, point_lo, true),
            Request::SetReleasePoint {
                timeline,
                point_hi,
                point_lo,
            } => (timeline, point_hi, point_lo, false),
            // Points that were set and not committed yet are discarded with the object.
            Request::Destroy => {
                if let Some(surface) = surface {
                    with_states(&surface, |states| {
                        if let Some(association) = states.data_map.get::<Association>() {
                            *association.0.borrow_mut() = None;
                        }
                        let mut points = states.cached_state.get::<SurfacePoints>();
                        let points = points.pending();
                        (points.acquire, points.release) = (None, None);
                    });
                }
                return;
            }
            _ => return,
        };
        let Some(surface) = surface else {
            let message =
                "the wl_surface of this object was destroyed, so no point can be set".to_owned();
            object.post_error(Error::NoSurface, message);
            return;
        };
        let Some(requested_point) = requested_point(&timeline, high, low) else {
            return;
        };
        with_states(&surface, |states| {
            let mut points = states.cached_state.get::<SurfacePoints>();
            let points = points.pending();
            if is_acquire {
                points.acquire = Some(requested_point);
            } else {
                points.release = Some(requested_point);
            }
        });
    }
}

/// Makes a point from the two words of its value; `None` if the timeline was not imported.
fn requested_point(
    timeline: &WpLinuxDrmSyncobjTimelineV1,
    high: u32,
    low: u32,
) -> Option<RequestedPoint> {
    let timeline = timeline.data::<TimelineData>()?.timeline()?;
    Some(RequestedPoint {
        timeline,
        value: u64::from(high) << 32 | u64::from(low),
    })
}
