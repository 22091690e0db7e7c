//! The points of a surface's commits, and the errors of those that lack some.

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

use super::timelines::{Imported, Point};
use super::{Release, Syncobj, TimelineData};
use crate::state::State;

/// The surface that an object is for.
#[derive(Debug)]
pub struct SurfaceObject(pub(super) Weak<WlSurface>);

/// The object of a surface, while there is one.
#[derive(Debug, Default)]
pub(super) struct Association(pub(super) RefCell<Option<WpLinuxDrmSyncobjSurfaceV1>>);

/// A point as a client names it: on which timeline, and its number.
#[derive(Clone, Debug)]
struct Named {
    timeline: Imported,
    value: u64,
}

impl Named {
    /// Returns the point; `None` for 0, which every timeline has reached from the start.
    fn point(self) -> Option<Point> {
        let value = NonZeroU64::new(self.value)?;
        Some(Point::new(self.timeline, value))
    }
}

/// Points of a surface that were set since the last commit, which takes them.
#[derive(Debug, Default)]
pub struct SurfacePoints {
    acquire: Option<Named>,
    release: Option<Named>,
}

impl Cacheable for SurfacePoints {
    fn commit(&mut self, _display: &DisplayHandle) -> Self {
        Self::default()
    }

    fn merge_into(self, _into: &mut Self, _display: &DisplayHandle) {}
}

/// How a commit's buffer is handed over.
#[derive(Debug)]
pub enum HandOver {
    /// The surface has no object, and the buffer's own fences count.
    Implicit,
    /// There is no buffer, or the client made an error and is gone.
    Nothing,
    /// By points; `None` for those that are reached from the start.
    Points {
        /// The buffer may be read from this one on.
        acquire: Option<Point>,
        /// The buffer goes back by this one.
        release: Option<Release>,
    },
}

/// Takes the points of the commit under way, which attaches `buffer`; what is wrong with them is told to the client.
///
/// `is_supported` tells whether the buffer supports explicit synchronisation.
pub fn hand_over(
    syncobj: &Syncobj,
    surface: &WlSurface,
    buffer: Option<&WlBuffer>,
    is_supported: bool,
) -> HandOver {
    with_states(surface, |states| {
        let object = states
            .data_map
            .get::<Association>()
            .and_then(|association| association.0.borrow().clone());
        let mut points = states.cached_state.get::<SurfacePoints>();
        let points = points.pending();
        let (acquire, release) = (points.acquire.take(), points.release.take());
        let Some(object) = object else {
            return HandOver::Implicit;
        };
        match judge(buffer.is_some(), is_supported, acquire, release) {
            Ok(None) => HandOver::Nothing,
            Ok(Some((acquire, release))) => HandOver::Points {
                acquire,
                release: release.map(|point| syncobj.owe(point)),
            },
            Err((error, message)) => {
                object.post_error(error, message);
                HandOver::Nothing
            }
        }
    })
}

/// Points of acquire and release; `None` for those that are reached from the start.
type Points = (Option<Point>, Option<Point>);

/// Checks a commit's points; returns them where there is a buffer.
fn judge(
    has_buffer: bool,
    is_supported: bool,
    acquire: Option<Named>,
    release: Option<Named>,
) -> Result<Option<Points>, (Error, String)> {
    if !has_buffer {
        return match (acquire, release) {
            (None, None) => Ok(None),
            _ => Err((Error::NoBuffer, "points without a buffer".to_owned())),
        };
    }
    if !is_supported {
        let message = "only buffers of linux-dmabuf have points".to_owned();
        return Err((Error::UnsupportedBuffer, message));
    }
    let acquire = acquire.ok_or_else(|| {
        let message = "a buffer without an acquire point".to_owned();
        (Error::NoAcquirePoint, message)
    })?;
    let release = release.ok_or_else(|| {
        let message = "a buffer without a release point".to_owned();
        (Error::NoReleasePoint, message)
    })?;
    if acquire.timeline.is_same(&release.timeline) && acquire.value >= release.value {
        let message = format!(
            "on one timeline the acquire point {} is not before the release point {}",
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
            // Points that were set and not committed go with the object.
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
            let message = "the surface of these points was destroyed".to_owned();
            object.post_error(Error::NoSurface, message);
            return;
        };
        let Some(named) = named(&timeline, high, low) else {
            return;
        };
        with_states(&surface, |states| {
            let mut points = states.cached_state.get::<SurfacePoints>();
            let points = points.pending();
            if is_acquire {
                points.acquire = Some(named);
            } else {
                points.release = Some(named);
            }
        });
    }
}

fn named(timeline: &WpLinuxDrmSyncobjTimelineV1, high: u32, low: u32) -> Option<Named> {
    let timeline = timeline.data::<TimelineData>()?.timeline()?;
    Some(Named {
        timeline,
        value: u64::from(high) << 32 | u64::from(low),
    })
}
