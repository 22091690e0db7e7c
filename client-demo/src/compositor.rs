//! The client's copy of the compositor's state, and the queue of its events.
//!
//! [`Compositor`] is the state of the Wayland event queue. It answers pings and configures immediately. It stores all other data
//! in its fields, and as [`Event`]s, which the program takes after each dispatch.

use std::collections::VecDeque;

use covalent_alloc::constraint::Crop;
use covalent_protocols::feedback::{Collector, Feedback};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_shm::{self, WlShm};
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, WEnum};
use wayland_protocols::wp::color_representation::v1::client::wp_color_representation_manager_v1::WpColorRepresentationManagerV1;
use wayland_protocols::wp::linux_dmabuf::zv1::client::zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1;
use wayland_protocols::wp::linux_drm_syncobj::v1::client::wp_linux_drm_syncobj_manager_v1::WpLinuxDrmSyncobjManagerV1;
use wayland_protocols::wp::presentation_time::client::wp_presentation::WpPresentation;
use wayland_protocols::wp::viewporter::client::wp_viewporter::WpViewporter;
use wayland_protocols::xdg::shell::client::xdg_wm_base::{self, XdgWmBase};

use crate::color_representation::SupportedColours;
use crate::dmabuf::LOWEST_VERSION;
use crate::listed_formats::ListedFormats;
use crate::presentation::PresentationInfo;
use crate::window::Configure;

/// An event that the program has to handle.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The compositor released the buffer at this index, by `wl_buffer.release` or by its release point.
    Released(usize),
    /// The fence that [`Events::watch_fence`](crate::events::Events::watch_fence) watched for the buffer at this index is
    /// signalled.
    BufferIdle(usize),
    /// The compositor created a `wl_buffer` of the dma-buf at this index.
    Created(usize, WlBuffer),
    /// The compositor failed to import the dma-buf at this index.
    Refused(usize),
    /// The frame of this number was presented.
    Presented(u64, PresentationInfo),
    /// The frame of this number was discarded: it is never presented.
    Discarded(u64),
    /// The frame callback arrived: it is time to draw the next frame.
    Frame,
    /// The fence or timeline point that the program watches under this number is signalled, or another thread sent this number.
    Completed(u64),
    /// The compositor sent new dma-buf feedback for the window; [`Compositor::current_feedback`] returns it.
    Feedback,
    /// The window was configured; [`Compositor::configure`] has its size and state.
    Configured,
    /// The user closed the window.
    Closed,
    /// The compositor sent protocol data that is not valid; the text describes it.
    InvalidData(String),
}

/// The current mode of an output: its size in physical pixels, and its refresh rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputMode {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Refresh rate in millihertz; 0 if it is unknown.
    pub refresh_millihertz: u32,
}

/// An output that the compositor offers.
#[derive(Debug)]
struct Output {
    /// The name of the global in the registry.
    name: u32,
    proxy: WlOutput,
    /// The current mode; `None` until the compositor has sent it.
    mode: Option<OutputMode>,
}

/// The globals that this client binds.
#[derive(Debug, Default)]
pub struct Globals {
    /// Creates surfaces.
    pub compositor: Option<WlCompositor>,
    /// Creates windows.
    pub shell: Option<XdgWmBase>,
    /// Scales surfaces.
    pub viewporter: Option<WpViewporter>,
    /// Reports when frames are presented.
    pub presentation: Option<WpPresentation>,
    /// Creates `wl_buffer`s of dma-bufs.
    pub dmabuf: Option<ZwpLinuxDmabufV1>,
    /// Explicit synchronisation by timeline points.
    pub syncobj: Option<WpLinuxDrmSyncobjManagerV1>,
    /// Sets the matrix and the range of YUV buffers.
    pub color_representation: Option<WpColorRepresentationManagerV1>,
    /// Creates `wl_buffer`s of shared memory.
    pub shm: Option<WlShm>,
}

/// Which surfaces a feedback object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackOf {
    /// Any surface.
    Any,
    /// This client's window.
    Window,
}

/// The compositor's state as its events report it.
#[derive(Debug, Default)]
pub struct Compositor {
    /// The globals that this client has bound.
    pub globals: Globals,
    /// The mode of the first output that is connected, if there is one.
    pub output: Option<OutputMode>,
    /// The size and state of the window's last configure.
    pub configure: Option<Configure>,
    /// The clock id of presentation times (`wp_presentation.clock_id`).
    pub clock: Option<u32>,
    /// The default dma-buf feedback.
    pub feedback: Option<Feedback>,
    /// The dma-buf feedback of the window's surface.
    pub window_feedback: Option<Feedback>,
    pub(crate) collectors: [Collector; 2],
    pub(crate) listed_formats: ListedFormats,
    pub(crate) supported_colours: SupportedColours,
    outputs: Vec<Output>,
    releases_by_points: bool,
    synced: u32,
    events: VecDeque<Event>,
}

/// A global that this program needs and the compositor does not offer in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the compositor does not offer {interface} version {version}, which this program needs; use a compositor that has it"
)]
pub struct MissingGlobal {
    /// Name of the interface.
    pub interface: &'static str,
    /// The lowest version that the program can use.
    pub version: u32,
}

impl Compositor {
    /// Returns which part of a buffer the compositor can show: any rectangle if it supports wp_viewporter.
    #[must_use]
    pub fn crop(&self) -> Crop {
        match self.globals.viewporter {
            Some(_) => Crop::Anywhere,
            None => Crop::None,
        }
    }

    /// Takes the events since the last call, oldest first.
    pub fn take_events(&mut self) -> VecDeque<Event> {
        std::mem::take(&mut self.events)
    }

    /// Returns the number of answered [`wl_display.sync`](wayland_client::protocol::wl_display) requests.
    #[must_use]
    pub fn synced(&self) -> u32 {
        self.synced
    }

    /// Ignores `wl_buffer.release` of dma-bufs from now on: with explicit synchronisation the release points say which buffer is
    /// free. linux-drm-syncobj does not support `wl_shm` buffers, so their `wl_buffer.release` stays valid.
    pub(crate) fn ignore_releases(&mut self) {
        self.releases_by_points = true;
    }

    /// Handles the `wl_buffer.release` of a `wl_shm` buffer (`is_shm`) or of a dma-buf.
    pub(crate) fn released(&mut self, index: usize, is_shm: bool) {
        if is_shm || !self.releases_by_points {
            self.push_event(Event::Released(index));
        }
    }

    /// Queues an event for the program.
    pub(crate) fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Binds a global if the program uses its interface, at a version that the program knows.
    fn bind(
        &mut self,
        registry: &WlRegistry,
        name: u32,
        interface: &str,
        version: u32,
        handle: &QueueHandle<Self>,
    ) {
        let known = |highest: u32| version.min(highest);
        match interface {
            "wl_compositor" => {
                self.globals.compositor = Some(registry.bind(name, known(6), handle, ()));
            }
            "xdg_wm_base" => self.globals.shell = Some(registry.bind(name, known(5), handle, ())),
            "wp_viewporter" => {
                self.globals.viewporter = Some(registry.bind(name, 1, handle, ()));
            }
            "wp_presentation" => {
                self.globals.presentation = Some(registry.bind(name, 1, handle, ()));
            }
            "zwp_linux_dmabuf_v1" if version >= LOWEST_VERSION => {
                self.globals.dmabuf = Some(registry.bind(name, known(5), handle, ()));
            }
            "wp_linux_drm_syncobj_manager_v1" => {
                self.globals.syncobj = Some(registry.bind(name, 1, handle, ()));
            }
            "wp_color_representation_manager_v1" => {
                let manager = registry.bind(name, 1, handle, ());
                self.globals.color_representation = Some(manager);
            }
            "wl_shm" => self.globals.shm = Some(registry.bind(name, 1, handle, ())),
            "wl_output" => {
                self.outputs.push(Output {
                    name,
                    proxy: registry.bind(name, known(4), handle, name),
                    mode: None,
                });
            }
            _ => {}
        }
    }
}

impl Compositor {
    /// Removes the output with this name in the registry, if there is one.
    fn remove_output(&mut self, name: u32) {
        /// The first version of `wl_output` that has the request `release`.
        const RELEASE_VERSION: u32 = 3;
        for output in &self.outputs {
            if output.name == name && output.proxy.version() >= RELEASE_VERSION {
                output.proxy.release();
            }
        }
        self.outputs.retain(|output| output.name != name);
        self.update_output();
    }

    /// Sets the mode by which programs choose their sizes: that of the first output.
    fn update_output(&mut self) {
        self.output = self.outputs.first().and_then(|output| output.mode);
    }
}

impl Dispatch<WlRegistry, ()> for Compositor {
    fn event(
        state: &mut Self,
        registry: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        match event {
            wl_registry::Event::Global {
                name,
                interface,
                version,
            } => state.bind(registry, name, &interface, version, handle),
            wl_registry::Event::GlobalRemove { name } => state.remove_output(name),
            _ => {}
        }
    }
}

impl Dispatch<WlCallback, ()> for Compositor {
    fn event(
        state: &mut Self,
        _: &WlCallback,
        event: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_callback::Event::Done { .. } = event {
            state.synced = state.synced.wrapping_add(1);
        }
    }
}

impl Dispatch<WlOutput, u32> for Compositor {
    fn event(
        state: &mut Self,
        _: &WlOutput,
        event: wl_output::Event,
        name: &u32,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_output::Event::Mode {
            flags: WEnum::Value(flags),
            width,
            height,
            refresh,
        } = event
        {
            let is_current = flags.contains(wl_output::Mode::Current);
            let own = state.outputs.iter_mut().find(|own| own.name == *name);
            if let (true, Some(own), Ok(width), Ok(height)) =
                (is_current, own, u32::try_from(width), u32::try_from(height))
            {
                own.mode = Some(OutputMode {
                    width,
                    height,
                    refresh_millihertz: u32::try_from(refresh).unwrap_or_default(),
                });
                state.update_output();
            }
        }
    }
}

impl Dispatch<XdgWmBase, ()> for Compositor {
    fn event(
        _: &mut Self,
        shell: &XdgWmBase,
        event: xdg_wm_base::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_wm_base::Event::Ping { serial } = event {
            shell.pong(serial);
        }
    }
}

impl Dispatch<WlShm, ()> for Compositor {
    fn event(
        _: &mut Self,
        _: &WlShm,
        _: wl_shm::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        // The formats are ignored: this client uses XRGB8888, which every compositor has to support.
    }
}

wayland_client::delegate_noop!(Compositor: ignore WlCompositor);
wayland_client::delegate_noop!(Compositor: ignore WpViewporter);

/// Returns a global of at least this version, or the error that it is missing.
///
/// # Errors
///
/// [`MissingGlobal`] when the compositor does not offer it.
pub fn require_global<G: Proxy>(global: Option<&G>, version: u32) -> Result<&G, MissingGlobal> {
    global
        .filter(|global| global.version() >= version)
        .ok_or(MissingGlobal {
            interface: G::interface().name,
            version,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_of_shared_memory_counts_although_those_of_dmabufs_are_ignored() {
        let mut compositor = Compositor::default();
        compositor.released(1, false);
        compositor.ignore_releases();
        compositor.released(2, false);
        compositor.released(3, true);
        let released: Vec<usize> = compositor
            .take_events()
            .into_iter()
            .filter_map(|event| match event {
                Event::Released(index) => Some(index),
                _ => None,
            })
            .collect();
        assert_eq!(released, [1, 3]);
    }
}
