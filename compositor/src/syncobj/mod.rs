//! `linux-drm-syncobj`, version 1: commits with an acquire point and a release point.
//!
//! Smithay 0.7 implements this protocol incorrectly, so this module replaces its implementation. Smithay signals a release point
//! from the CPU when the last reference to the buffer is dropped, even while a GPU still reads it. If a `wl_buffer` is committed
//! again, Smithay applies the new points only to the commit after that. It does not register a second syncobj object for a
//! surface after the first one was destroyed. It accepts a buffer without points, and treats one timeline that was imported twice
//! as two timelines.

mod release;
mod surface;
mod timelines;

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use calloop::timer::TimeoutAction;
use release::DeferredReleases;
use smithay::reexports::wayland_protocols::wp::linux_drm_syncobj::v1::server::{
    wp_linux_drm_syncobj_manager_v1::{self, WpLinuxDrmSyncobjManagerV1},
    wp_linux_drm_syncobj_timeline_v1::{self, WpLinuxDrmSyncobjTimelineV1},
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};
use smithay::wayland::compositor::with_states;

use crate::limits::Limit;
use crate::state::{State, usage_of};
use crate::transient::{Backoff, retry_transient};
use timelines::ImportedTimeline;

pub use release::ReleasePoint;
pub use surface::{CommitSync, SurfaceObject, SurfacePoints, take_sync_points};
pub use timelines::{Point, PointWait, SyncTimeline, TimelineDevice};

/// The version of the protocol that is implemented.
const VERSION: u32 = 1;

/// The state of the `wp_linux_drm_syncobj_manager_v1` global. `device` is `None` if the card cannot signal an eventfd for a
/// timeline point; then the global is not created.
#[derive(Debug, Default)]
pub struct Syncobj {
    device: Option<Rc<dyn TimelineDevice>>,
    deferred: DeferredReleases,
    delays: Backoff,
    retry_scheduled: bool,
}

impl Syncobj {
    /// Creates the global, if there is a device whose points an event loop can wait for.
    pub fn new(display: &DisplayHandle, device: Option<Rc<dyn TimelineDevice>>) -> Self {
        if device.is_some() {
            display.create_global::<State, WpLinuxDrmSyncobjManagerV1, ()>(VERSION, ());
        }
        Self {
            device,
            ..Self::default()
        }
    }

    /// Returns whether `wl_shm` buffers support explicit synchronisation.
    pub(crate) fn supports_shm(&self) -> bool {
        self.device
            .as_ref()
            .is_some_and(|device| device.supports_shm())
    }

    /// Imports a syncobj file descriptor of a client as a timeline, and counts it against the client's limit.
    fn import(&self, client: &Client, file: OwnedFd) -> Result<ImportedTimeline, String> {
        let device = self
            .device
            .as_ref()
            .ok_or("the card does not support syncobj timelines")?;
        let charge = usage_of(client)
            .charge(Limit::Timelines, 1)
            .map_err(|exceeded| exceeded.to_string())?;
        let timeline =
            retry_transient(|| device.import(&file)).map_err(|error| error.to_string())?;
        Ok(ImportedTimeline::new(timeline, file, charge))
    }

    /// Creates the value that signals a release point when it is dropped.
    fn release_point(&self, point: Point) -> ReleasePoint {
        ReleasePoint::new(point, self.deferred.clone())
    }
}

impl State {
    /// Schedules another attempt to signal the release points whose signalling failed transiently.
    pub(crate) fn signal_deferred_releases(&mut self) {
        if self.syncobj.retry_scheduled || self.syncobj.deferred.is_empty() {
            return;
        }
        self.syncobj.retry_scheduled = true;
        let delay = self.syncobj.delays.next_delay();
        self.handle.add_timer(delay, |state| {
            state.syncobj.retry_scheduled = false;
            // If signalling fails again, another attempt is scheduled at the end of this event-loop iteration.
            state.syncobj.deferred.signal_all();
            if state.syncobj.deferred.is_empty() {
                state.syncobj.delays.reset();
            }
            TimeoutAction::Drop
        });
    }
}

/// The user data of a timeline object: the imported timeline. Points that were set keep the timeline after the object is
/// destroyed. It is `None` if the import failed and the client is being disconnected.
#[derive(Debug)]
pub struct TimelineData(Mutex<Option<ImportedTimeline>>);

impl TimelineData {
    /// Returns the imported timeline; `None` if the import has failed.
    fn timeline(&self) -> Option<ImportedTimeline> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl GlobalDispatch<WpLinuxDrmSyncobjManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<WpLinuxDrmSyncobjManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }
}

impl Dispatch<WpLinuxDrmSyncobjManagerV1, ()> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        manager: &WpLinuxDrmSyncobjManagerV1,
        request: wp_linux_drm_syncobj_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        use wp_linux_drm_syncobj_manager_v1::{Error, Request};
        match request {
            Request::GetSurface { id, surface } => {
                let object = data_init.init(id, SurfaceObject(surface.downgrade()));
                let is_taken = with_states(&surface, |states| {
                    let association = states.data_map.get_or_insert(surface::Association::default);
                    let mut association = association.0.borrow_mut();
                    let is_taken = association.is_some();
                    if !is_taken {
                        *association = Some(object);
                    }
                    is_taken
                });
                if is_taken {
                    let message =
                        "the surface already has a wp_linux_drm_syncobj_surface_v1 object"
                            .to_owned();
                    manager.post_error(Error::SurfaceExists, message);
                }
            }
            Request::ImportTimeline { id, fd } => {
                let (imported, error) = match state.syncobj.import(client, fd) {
                    Ok(imported) => (Some(imported), None),
                    Err(error) => (None, Some(error)),
                };
                // The object has to be initialised even if the import failed, because wayland-server requires data for each new
                // id.
                data_init.init(id, TimelineData(Mutex::new(imported)));
                if let Some(error) = error {
                    manager.post_error(Error::InvalidTimeline, error);
                }
            }
            _ => {}
        }
    }
}

impl Dispatch<WpLinuxDrmSyncobjTimelineV1, TimelineData> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _timeline: &WpLinuxDrmSyncobjTimelineV1,
        _request: wp_linux_drm_syncobj_timeline_v1::Request,
        _data: &TimelineData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
    }

    fn destroyed(
        _state: &mut Self,
        _client: ClientId,
        _timeline: &WpLinuxDrmSyncobjTimelineV1,
        data: &TimelineData,
    ) {
        data.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
