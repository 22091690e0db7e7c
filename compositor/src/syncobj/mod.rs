//! `linux-drm-syncobj`, version 1: commits that wait for a point on a timeline, and buffers that go back by one.
//!
//! Smithay 0.7 has a module for it, which is not used because it makes the protocol wrong: a release point is signalled by
//! the processor when the last reference to the buffer goes, also where a GPU still reads it; a `wl_buffer` that is committed
//! again leaves its new points to the next commit; a second object for a surface whose first one was destroyed is not
//! registered; a buffer without any point passes; and one timeline that was imported twice is taken for two.

mod release;
mod surface;
mod timelines;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use calloop::timer::{TimeoutAction, Timer};
use release::LateReleases;
use smithay::reexports::wayland_protocols::wp::linux_drm_syncobj::v1::server::{
    wp_linux_drm_syncobj_manager_v1::{self, WpLinuxDrmSyncobjManagerV1},
    wp_linux_drm_syncobj_timeline_v1::{self, WpLinuxDrmSyncobjTimelineV1},
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};
use smithay::wayland::compositor::with_states;

use crate::state::State;
use crate::transient::{Backoff, persist};
use timelines::{Imported, Quota};

pub use release::Release;
pub use surface::{HandOver, SurfaceObject, SurfacePoints, hand_over};
pub use timelines::{Point, PointWait, Points, Timelines};

/// The version of the protocol that is spoken.
const VERSION: u32 = 1;

/// Timelines that one client may have at a time: each costs the compositor a descriptor and a handle, which all clients share.
const TIMELINES_MAX: usize = 256;

/// Who knows clients' timelines; `None` where it cannot wait for their points by an event loop.
#[derive(Debug, Default)]
pub struct Syncobj {
    device: Option<Rc<dyn Timelines>>,
    held: HashMap<ClientId, Weak<Quota>>,
    late: LateReleases,
    delays: Backoff,
    late_planned: bool,
}

impl Syncobj {
    /// Announces the global to clients, where there is a device that can wait for points without blocking anybody.
    pub fn new(display: &DisplayHandle, device: Option<Rc<dyn Timelines>>) -> Self {
        if device.is_some() {
            display.create_global::<State, WpLinuxDrmSyncobjManagerV1, ()>(VERSION, ());
        }
        Self {
            device,
            ..Self::default()
        }
    }

    /// Tells whether `wl_shm` buffers have points too.
    pub(crate) fn supports_shm(&self) -> bool {
        self.device
            .as_ref()
            .is_some_and(|device| device.supports_shm())
    }

    /// Imports what a client sent as a timeline.
    fn import(&mut self, client: ClientId, file: OwnedFd) -> Result<Imported, String> {
        let device = self.device.as_ref().ok_or("the card has no timelines")?;
        let quota = match self.held.get(&client).and_then(Weak::upgrade) {
            Some(quota) => quota,
            None => {
                self.held.retain(|_, quota| quota.strong_count() > 0);
                let quota = Arc::new(Quota::default());
                self.held.insert(client, Arc::downgrade(&quota));
                quota
            }
        };
        let counted = quota.take(TIMELINES_MAX).ok_or_else(|| {
            format!("a client has {TIMELINES_MAX} timelines at most, those of points included that are set or owed")
        })?;
        let points = persist(|| device.import(&file)).map_err(|error| error.to_string())?;
        Ok(Imported::new(points, file, counted))
    }

    /// Owes a client a point.
    fn owe(&self, point: Point) -> Release {
        Release::new(point, self.late.clone())
    }
}

impl State {
    /// Sees to it that points are signalled for which the card had no memory when they were due.
    pub(crate) fn signal_late_releases(&mut self) {
        if self.syncobj.late_planned || self.syncobj.late.is_empty() {
            return;
        }
        let timer = Timer::from_duration(self.syncobj.delays.next_delay());
        let planned = self.handle.insert_source(timer, |_, (), state: &mut Self| {
            state.syncobj.late_planned = false;
            // What fails again is planned anew at the end of this round of the event loop.
            state.syncobj.late.signal_all();
            if state.syncobj.late.is_empty() {
                state.syncobj.delays.reset();
            }
            TimeoutAction::Drop
        });
        self.syncobj.late_planned = planned.is_ok();
    }
}

/// The timeline of an object; points that were set keep it when the object is destroyed. `None` where it could not be
/// imported, and the client is being disconnected.
#[derive(Debug)]
pub struct TimelineData(Mutex<Option<Imported>>);

impl TimelineData {
    fn timeline(&self) -> Option<Imported> {
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
                    let message = "the surface has such an object already".to_owned();
                    manager.post_error(Error::SurfaceExists, message);
                }
            }
            Request::ImportTimeline { id, fd } => {
                let (imported, error) = match state.syncobj.import(client.id(), fd) {
                    Ok(imported) => (Some(imported), None),
                    Err(error) => (None, Some(error)),
                };
                // The object first: an error may not leave its number without one.
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
