//! One toplevel window of the client.

use covalent_alloc::model::Layout;
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_surface::{self, WlSurface};
use wayland_client::{Connection, Dispatch, QueueHandle};
use wayland_protocols::wp::presentation_time::client::wp_presentation::WpPresentation;
use wayland_protocols::wp::viewporter::client::wp_viewport::WpViewport;
use wayland_protocols::xdg::shell::client::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};

use crate::compositor::{Compositor, Event, MissingGlobal, require_global};

/// The size and state of the last configure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Configure {
    /// Size in surface coordinates; `None` if the client may choose.
    pub size: Option<(u32, u32)>,
    /// Whether the window is fullscreen.
    pub fullscreen: bool,
}

/// A toplevel window with one surface.
///
/// Configure events are acknowledged when they arrive; [`Compositor::configure`] has the latest one.
#[derive(Debug)]
pub struct Window {
    surface: WlSurface,
    shell_surface: XdgSurface,
    toplevel: XdgToplevel,
    viewport: Option<WpViewport>,
    presentation: Option<WpPresentation>,
    shown: u64,
}

/// The state of an `xdg_toplevel.configure` event until the `xdg_surface.configure` event that applies it.
#[derive(Debug, Default)]
pub struct Pending(std::sync::Mutex<Configure>);

impl Window {
    /// Creates a window and commits it without a buffer, which requests its first configure.
    ///
    /// # Errors
    ///
    /// [`MissingGlobal`] if the compositor lacks `wl_compositor` or `xdg_wm_base`.
    pub fn new(
        compositor: &Compositor,
        handle: &QueueHandle<Compositor>,
        title: &str,
        fullscreen: bool,
    ) -> Result<Self, MissingGlobal> {
        let globals = &compositor.globals;
        let surface = require_global(globals.compositor.as_ref(), 1)?.create_surface(handle, ());
        let shell_surface = match require_global(globals.shell.as_ref(), 1) {
            Ok(shell) => shell.get_xdg_surface(&surface, handle, Pending::default()),
            Err(missing) => {
                surface.destroy();
                return Err(missing);
            }
        };
        let toplevel = shell_surface.get_toplevel(handle, shell_surface.clone());
        toplevel.set_title(title.to_owned());
        toplevel.set_app_id(format!("org.covalent.{title}"));
        if fullscreen {
            toplevel.set_fullscreen(None);
        }
        let viewport = globals
            .viewporter
            .as_ref()
            .map(|viewporter| viewporter.get_viewport(&surface, handle, ()));
        surface.commit();
        Ok(Self {
            surface,
            shell_surface,
            toplevel,
            viewport,
            presentation: globals.presentation.clone(),
            shown: 0,
        })
    }

    /// Returns the surface.
    #[must_use]
    pub fn surface(&self) -> &WlSurface {
        &self.surface
    }

    /// Requests that the window becomes fullscreen, or stops being fullscreen.
    pub fn set_fullscreen(&self, fullscreen: bool) {
        if fullscreen {
            self.toplevel.set_fullscreen(None);
        } else {
            self.toplevel.unset_fullscreen();
        }
    }

    /// Scales pictures of `size` to fit a fullscreen window and keeps their aspect ratio.
    ///
    /// If the sizes are equal, no scaling is requested, because not every display can scan out a scaled buffer.
    pub fn fit(&self, size: (u32, u32), configure: Configure) {
        let Some(viewport) = &self.viewport else {
            return;
        };
        match configure {
            Configure {
                size: Some(bounds),
                fullscreen: true,
            } if bounds != size => {
                let (width, height) = fitted(size, bounds);
                viewport.set_destination(width, height);
            }
            _ => viewport.set_destination(-1, -1),
        }
    }

    /// Crops buffers of this layout to their visible rectangle (`wp_viewport.set_source`) from the next commit on. The surface
    /// gets the size of this rectangle, unless [`fit`](Self::fit) scales it.
    pub fn crop(&self, layout: &Layout) {
        let Some(viewport) = &self.viewport else {
            return;
        };
        match layout.is_cropped() {
            true => {
                let visible = layout.visible();
                let [x, y, width, height] =
                    [visible.x(), visible.y(), visible.width(), visible.height()].map(f64::from);
                viewport.set_source(x, y, width, height);
            }
            false => self.show_whole(),
        }
    }

    /// Shows whole buffers from the next commit on, without the crop of an earlier layout.
    pub fn show_whole(&self) {
        if let Some(viewport) = &self.viewport {
            // All coordinates at -1 unset the source rectangle.
            viewport.set_source(-1.0, -1.0, -1.0, -1.0);
        }
    }

    /// Commits a buffer with damage over its whole area. Returns the number of the frame, which [`Event::Presented`] and
    /// [`Event::Discarded`] report.
    pub fn show(&mut self, buffer: &WlBuffer, handle: &QueueHandle<Compositor>) -> u64 {
        let frame = self.shown;
        self.shown = self.shown.wrapping_add(1);
        self.surface.attach(Some(buffer), 0, 0);
        self.surface.damage(0, 0, i32::MAX, i32::MAX);
        if let Some(presentation) = &self.presentation {
            presentation.feedback(&self.surface, handle, frame);
        }
        self.surface.commit();
        frame
    }

    /// Returns whether the compositor supports presentation-time.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        self.presentation.is_some()
    }

    /// Requests a frame callback with the next commit, by [`show`](Self::show). The callback is reported as [`Event::Frame`].
    pub fn request_frame_callback(&self, handle: &QueueHandle<Compositor>) {
        self.surface.frame(handle, FrameCallback);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if let Some(viewport) = &self.viewport {
            viewport.destroy();
        }
        self.toplevel.destroy();
        self.shell_surface.destroy();
        self.surface.destroy();
    }
}

/// Returns the largest size with the aspect ratio of `size` that fits into `bounds`.
fn fitted(size: (u32, u32), bounds: (u32, u32)) -> (i32, i32) {
    let (width, height) = (u64::from(size.0.max(1)), u64::from(size.1.max(1)));
    let (bounds_width, bounds_height) = (u64::from(bounds.0), u64::from(bounds.1));
    let (fitted_width, fitted_height) = if bounds_width * height <= bounds_height * width {
        (bounds_width, bounds_width * height / width)
    } else {
        (bounds_height * width / height, bounds_height)
    };
    let side = |length: u64| i32::try_from(length.max(1)).unwrap_or(i32::MAX);
    (side(fitted_width), side(fitted_height))
}

/// The user data of a `wl_surface.frame` callback.
#[derive(Clone, Copy, Debug)]
pub struct FrameCallback;

impl Dispatch<wayland_client::protocol::wl_callback::WlCallback, FrameCallback> for Compositor {
    fn event(
        state: &mut Self,
        _: &wayland_client::protocol::wl_callback::WlCallback,
        event: wayland_client::protocol::wl_callback::Event,
        _: &FrameCallback,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wayland_client::protocol::wl_callback::Event::Done { .. } = event {
            state.push_event(Event::Frame);
        }
    }
}

impl Dispatch<WlSurface, ()> for Compositor {
    fn event(
        _: &mut Self,
        _: &WlSurface,
        _: wl_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        // The surface events `enter`, `leave` and the preferred scale are ignored.
    }
}

impl Dispatch<XdgSurface, Pending> for Compositor {
    fn event(
        state: &mut Self,
        shell_surface: &XdgSurface,
        event: xdg_surface::Event,
        pending: &Pending,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_surface::Event::Configure { serial } = event {
            shell_surface.ack_configure(serial);
            if let Ok(configure) = pending.0.lock() {
                state.configure = Some(*configure);
            }
            state.push_event(Event::Configured);
        }
    }
}

impl Dispatch<XdgToplevel, XdgSurface> for Compositor {
    fn event(
        state: &mut Self,
        _: &XdgToplevel,
        event: xdg_toplevel::Event,
        shell_surface: &XdgSurface,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use wayland_client::Proxy;
        match event {
            xdg_toplevel::Event::Configure {
                width,
                height,
                states,
            } => {
                let size = match (u32::try_from(width), u32::try_from(height)) {
                    (Ok(width @ 1..), Ok(height @ 1..)) => Some((width, height)),
                    _ => None,
                };
                let fullscreen = u32::from(xdg_toplevel::State::Fullscreen);
                let fullscreen = states
                    .chunks_exact(4)
                    .any(|state| state == fullscreen.to_ne_bytes());
                let pending = shell_surface.data::<Pending>();
                if let Some(Ok(mut pending)) = pending.map(|pending| pending.0.lock()) {
                    *pending = Configure { size, fullscreen };
                }
            }
            xdg_toplevel::Event::Close => state.push_event(Event::Closed),
            _ => {}
        }
    }
}

wayland_client::delegate_noop!(Compositor: ignore WpViewport);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_of_another_aspect_ratio_is_fitted_without_cropping() {
        assert_eq!(fitted((640, 480), (1280, 720)), (960, 720));
        assert_eq!(fitted((1280, 720), (640, 480)), (640, 360));
        assert_eq!(fitted((640, 480), (640, 480)), (640, 480));
        assert_eq!(fitted((u32::MAX, 1), (100, 100)), (100, 1));
    }
}
