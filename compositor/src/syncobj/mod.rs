//! `linux-drm-syncobj`, version 1: commits that wait for a point on a timeline, and buffers that go back by one.
//!
//! Smithay 0.7 has a module for it, which is not used because it makes the protocol wrong: a release point is signalled by
//! the processor when the last reference to the buffer goes, also where a GPU still reads it; a `wl_buffer` that is committed
//! again leaves its new points to the next commit; a second object for a surface whose first one was destroyed is not
//! registered; a buffer without any point passes; and one timeline that was imported twice is taken for two.

mod release;
mod surface;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use covalent_alloc::sync::{SyncDevice, Timeline};
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

pub use release::Release;
pub use surface::{Acquire, SurfaceObject, SurfacePoints, acquire, take_release};

/// The version of the protocol that is spoken.
const VERSION: u32 = 1;

/// Timelines that one client may have at a time: each costs the compositor a descriptor and a handle, which all clients share.
const TIMELINES_MAX: usize = 256;

/// The card that knows clients' timelines; `None` where it cannot wait for their points by an event loop.
#[derive(Debug, Default)]
pub struct Syncobj {
    device: Option<SyncDevice>,
    held: HashMap<ClientId, usize>,
}

impl Syncobj {
    /// Announces the global to clients, where the card can wait for points without blocking anybody.
    pub fn new(display: &DisplayHandle, device: Option<SyncDevice>) -> Self {
        let device = device.filter(|device| device.ability().eventfd);
        if device.is_some() {
            display.create_global::<State, WpLinuxDrmSyncobjManagerV1, ()>(VERSION, ());
        }
        Self {
            device,
            held: HashMap::new(),
        }
    }

    /// Imports what a client sent as a timeline.
    fn import(&mut self, client: ClientId, file: OwnedFd) -> Result<Imported, String> {
        let device = self.device.as_ref().ok_or("the card has no timelines")?;
        if self
            .held
            .get(&client)
            .is_some_and(|held| *held >= TIMELINES_MAX)
        {
            return Err(format!("a client has {TIMELINES_MAX} timelines at most"));
        }
        let timeline = Timeline::import(device, &file).map_err(|error| error.to_string())?;
        let held = self.held.entry(client).or_insert(0);
        *held = held.saturating_add(1);
        Ok(Imported {
            timeline,
            file: Arc::new(file),
        })
    }
}

/// A timeline that a client sent.
#[derive(Clone, Debug)]
struct Imported {
    timeline: Timeline,
    /// What it came as: the kernel gives each import a handle of its own, and only its file tells two of them for one.
    file: Arc<OwnedFd>,
}

impl Imported {
    fn is_same(&self, other: &Self) -> bool {
        covalent_alloc::sync::is_same_file(&self.file, &other.file)
    }
}

/// The timeline of an object; points that were set keep it when the object is destroyed. `None` where it could not be
/// imported, and the client is being disconnected.
#[derive(Debug)]
pub struct TimelineData(Option<Imported>);

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
                data_init.init(id, TimelineData(imported));
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
        state: &mut Self,
        client: ClientId,
        _timeline: &WpLinuxDrmSyncobjTimelineV1,
        data: &TimelineData,
    ) {
        if data.0.is_none() {
            return;
        }
        if let Entry::Occupied(mut held) = state.syncobj.held.entry(client) {
            *held.get_mut() = held.get().saturating_sub(1);
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}
