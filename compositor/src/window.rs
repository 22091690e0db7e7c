//! A toplevel window: its state, its title and its client.

use smithay::reexports::wayland_server::{Client, Resource};
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::{ToplevelSurface, XdgToplevelSurfaceData};

use crate::output_view::OutputId;

/// A toplevel window.
#[derive(Clone, Debug)]
pub struct Window {
    /// The `xdg_toplevel` of the window.
    pub toplevel: ToplevelSurface,
    /// Whether the window is fullscreen.
    pub fullscreen: bool,
    /// The output on which the window is placed or fullscreen. While this output is not connected, the window is on the first
    /// output.
    pub output: Option<OutputId>,
}

impl Window {
    /// Returns `title/app_id`, which is the name of the window in the report.
    pub fn name(&self) -> String {
        let (title, app_id) = self.title_and_app_id();
        format!(
            "{}/{}",
            title.unwrap_or_default(),
            app_id.unwrap_or_default()
        )
    }

    /// Returns the title and the application id, as the client set them.
    pub fn title_and_app_id(&self) -> (Option<String>, Option<String>) {
        with_states(self.toplevel.wl_surface(), |states| {
            let data = states.data_map.get::<XdgToplevelSurfaceData>();
            data.and_then(|data| {
                let data = data.lock().ok()?;
                Some((data.title.clone(), data.app_id.clone()))
            })
            .unwrap_or_default()
        })
    }

    /// Returns the client of the window, if it is still connected.
    pub fn client(&self) -> Option<Client> {
        self.toplevel.wl_surface().client()
    }
}
