//! A compositor on a virtual display, and clients that talk to it, all driven by one test.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use calloop::EventLoop;
use covalent_compositor::backend::Backend;
use covalent_compositor::backend::headless::Headless;
use covalent_compositor::options::ModeRequest;
use covalent_compositor::render::Renderer;
use covalent_compositor::run::serve_clients;
use covalent_compositor::state::State;
use covalent_protocols::{Collector, Feedback};
use smithay::reexports::wayland_server::Display;
use wayland_client::backend::WaylandError;
use wayland_client::protocol::{
    wl_buffer::{self, WlBuffer},
    wl_callback::{self, WlCallback},
    wl_compositor::WlCompositor,
    wl_registry::{self, WlRegistry},
    wl_shm::{self, WlShm},
    wl_shm_pool::WlShmPool,
    wl_subcompositor::WlSubcompositor,
    wl_subsurface::WlSubsurface,
    wl_surface::WlSurface,
};
use wayland_client::{
    Connection, Dispatch, EventQueue, Proxy, QueueHandle, delegate_noop, event_created_child,
};
use wayland_protocols::wp::linux_dmabuf::zv1::client::{
    zwp_linux_buffer_params_v1::{self, ZwpLinuxBufferParamsV1},
    zwp_linux_dmabuf_feedback_v1::{self, ZwpLinuxDmabufFeedbackV1},
    zwp_linux_dmabuf_v1::ZwpLinuxDmabufV1,
};
use wayland_protocols::wp::presentation_time::client::{
    wp_presentation::{self, WpPresentation},
    wp_presentation_feedback::{self, WpPresentationFeedback},
};
use wayland_protocols::wp::viewporter::client::{
    wp_viewport::WpViewport, wp_viewporter::WpViewporter,
};
use wayland_protocols::xdg::shell::client::{
    xdg_popup::{self, XdgPopup},
    xdg_positioner::XdgPositioner,
    xdg_surface::{self, XdgSurface},
    xdg_toplevel::{self, XdgToplevel},
    xdg_wm_base::{self, XdgWmBase},
};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The compositor, and the loop that it shares with its clients.
pub struct Fixture {
    event_loop: EventLoop<'static, State>,
    pub state: State,
}

impl Fixture {
    /// Starts a compositor with an output of that size at 200 Hz.
    pub fn new(width: u16, height: u16) -> Self {
        let event_loop: EventLoop<'static, State> = EventLoop::try_new().unwrap();
        let handle = event_loop.handle();
        let display: Display<State> = Display::new().unwrap();
        let mode = ModeRequest {
            width,
            height,
            refresh_millihertz: Some(200_000),
        };
        let backend = Backend::Headless(Headless::new(handle.clone(), Some(mode)));
        let state = State::new(
            display.handle(),
            handle.clone(),
            event_loop.get_signal(),
            backend,
            Renderer::default(),
        )
        .unwrap();
        serve_clients(&handle, display).unwrap();
        Self { event_loop, state }
    }

    /// Connects a client, which has seen all globals when this returns.
    pub fn client(&mut self) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.state.add_client(theirs).unwrap();
        let connection = Connection::from_socket(ours).unwrap();
        let queue = connection.new_event_queue();
        let registry = connection.display().get_registry(&queue.handle(), ());
        let mut client = Client {
            connection,
            queue,
            registry,
            seen: Seen::default(),
        };
        self.round_trip(&mut client);
        client
    }

    /// Lets the compositor do one round, and the client read what came of it.
    pub fn step(&mut self, client: &mut Client) {
        let _ = client.connection.flush();
        self.event_loop
            .dispatch(Some(Duration::from_millis(1)), &mut self.state)
            .unwrap();
        self.state.after_dispatch();
        client.read();
    }

    /// Steps until `done`, or fails the test.
    #[track_caller]
    pub fn until(
        &mut self,
        client: &mut Client,
        what: &str,
        mut done: impl FnMut(&Self, &Client) -> bool,
    ) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self, client) {
            assert!(Instant::now() < deadline, "{what} did not happen");
            self.step(client);
        }
    }

    /// Steps until everything that the client sent was handled.
    #[track_caller]
    pub fn round_trip(&mut self, client: &mut Client) {
        let number = client.seen.synced + 1;
        client
            .connection
            .display()
            .sync(&client.queue.handle(), Marker::Sync);
        self.until(client, "a round trip", |_, client| {
            client.seen.synced >= number || client.seen.closed
        });
    }

    /// Steps until a frame that shows everything as it is now is on the display, and returns its colours.
    #[track_caller]
    pub fn picture(&mut self, client: &mut Client) -> Vec<u32> {
        self.round_trip(client);
        self.until(client, "a quiet display", |fixture, _| {
            fixture.state.screen.is_quiet()
        });
        self.state.screen.picture().unwrap().1
    }
}

/// A client as a test sees it.
pub struct Client {
    pub connection: Connection,
    queue: EventQueue<Seen>,
    registry: WlRegistry,
    pub seen: Seen,
}

/// Everything that the compositor told a client.
#[derive(Default)]
pub struct Seen {
    pub globals: HashMap<String, (u32, u32)>,
    pub shm_formats: Vec<u32>,
    pub released: Vec<WlBuffer>,
    pub configured: Vec<(i32, i32, Vec<xdg_toplevel::State>)>,
    pub popups: Vec<(i32, i32, i32, i32)>,
    pub frames: Vec<u32>,
    pub presented: Vec<(u64, wp_presentation_feedback::Kind)>,
    pub discarded: usize,
    pub clock: Option<u32>,
    pub created: Vec<WlBuffer>,
    pub failed: usize,
    pub feedback: Option<Feedback>,
    pub closed: bool,
    collector: Collector,
    synced: u32,
}

/// What a callback is for.
pub enum Marker {
    Sync,
    Frame,
}

impl Client {
    fn read(&mut self) {
        if self.seen.closed {
            return;
        }
        if let Some(guard) = self.queue.prepare_read() {
            match guard.read() {
                Ok(_) => {}
                Err(WaylandError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => self.seen.closed = true,
            }
        }
        if self.queue.dispatch_pending(&mut self.seen).is_err() {
            self.seen.closed = true;
        }
    }

    pub fn handle(&self) -> QueueHandle<Seen> {
        self.queue.handle()
    }

    /// Binds a global at the version that the compositor offers, or `most`.
    pub fn bind<I>(&self, most: u32) -> I
    where
        I: Proxy + 'static,
        Seen: Dispatch<I, ()>,
    {
        let (name, version) = self.seen.globals[I::interface().name];
        self.registry
            .bind(name, version.min(most), &self.handle(), ())
    }

    /// Returns interface and code of the error that ended the connection.
    pub fn error(&self) -> Option<(String, u32)> {
        let error = self.connection.protocol_error()?;
        Some((error.object_interface, error.code))
    }

    /// Makes a window, which shows nothing yet.
    pub fn window(&self) -> Window {
        let surface = self
            .bind::<WlCompositor>(6)
            .create_surface(&self.handle(), ());
        let shell = self
            .bind::<XdgWmBase>(6)
            .get_xdg_surface(&surface, &self.handle(), ());
        let toplevel = shell.get_toplevel(&self.handle(), ());
        toplevel.set_title("test".to_owned());
        surface.commit();
        Window {
            surface,
            shell,
            toplevel,
        }
    }

    /// Makes a `wl_shm` buffer of one colour in XRGB8888.
    pub fn colour(&self, width: i32, height: i32, colour: u32) -> WlBuffer {
        let pixels = usize::try_from(width * height).unwrap();
        let bytes: Vec<u8> = std::iter::repeat_n(colour.to_le_bytes(), pixels)
            .flatten()
            .collect();
        self.shm(width, height, width * 4, wl_shm::Format::Xrgb8888, &bytes)
            .0
    }

    /// Makes a `wl_shm` buffer of these bytes; the file is returned so that a test can spoil it.
    pub fn shm(
        &self,
        width: i32,
        height: i32,
        stride: i32,
        format: wl_shm::Format,
        bytes: &[u8],
    ) -> (WlBuffer, OwnedFd) {
        let file = memfd(bytes);
        let shm: WlShm = self.bind(1);
        let size = i32::try_from(bytes.len()).unwrap();
        let pool = shm.create_pool(file.as_fd(), size, &self.handle(), ());
        let buffer = pool.create_buffer(0, width, height, stride, format, &self.handle(), ());
        pool.destroy();
        (buffer, file)
    }
}

/// Makes a file in memory that holds these bytes.
pub fn memfd(bytes: &[u8]) -> OwnedFd {
    let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).unwrap();
        rest = &rest[written..];
    }
    file
}

/// A window of a client.
pub struct Window {
    pub surface: WlSurface,
    pub shell: XdgSurface,
    pub toplevel: XdgToplevel,
}

impl Window {
    /// Commits a buffer with all of it changed, and asks to be told when it is shown.
    pub fn show(&self, client: &Client, buffer: &WlBuffer) {
        self.surface.attach(Some(buffer), 0, 0);
        self.surface.damage_buffer(0, 0, i32::MAX, i32::MAX);
        self.surface.frame(&client.handle(), Marker::Frame);
        self.surface.commit();
    }
}

impl Dispatch<WlRegistry, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_registry::Event::Global {
            name,
            interface,
            version,
        } = event
        {
            seen.globals.insert(interface, (name, version));
        }
    }
}

impl Dispatch<WlCallback, Marker> for Seen {
    fn event(
        seen: &mut Self,
        _: &WlCallback,
        event: wl_callback::Event,
        marker: &Marker,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_callback::Event::Done { callback_data } = event {
            match marker {
                Marker::Sync => seen.synced += 1,
                Marker::Frame => seen.frames.push(callback_data),
            }
        }
    }
}

impl Dispatch<WlShm, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &WlShm,
        event: wl_shm::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_shm::Event::Format { format } = event {
            seen.shm_formats.push(format.into());
        }
    }
}

impl Dispatch<WlBuffer, ()> for Seen {
    fn event(
        seen: &mut Self,
        buffer: &WlBuffer,
        event: wl_buffer::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_buffer::Event::Release = event {
            seen.released.push(buffer.clone());
        }
    }
}

impl Dispatch<XdgWmBase, ()> for Seen {
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

impl Dispatch<XdgSurface, ()> for Seen {
    fn event(
        _: &mut Self,
        surface: &XdgSurface,
        event: xdg_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_surface::Event::Configure { serial } = event {
            surface.ack_configure(serial);
        }
    }
}

impl Dispatch<XdgToplevel, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &XdgToplevel,
        event: xdg_toplevel::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_toplevel::Event::Configure {
            width,
            height,
            states,
        } = event
        {
            let states = states
                .chunks_exact(4)
                .filter_map(|state| {
                    xdg_toplevel::State::try_from(u32::from_ne_bytes(state.try_into().ok()?)).ok()
                })
                .collect();
            seen.configured.push((width, height, states));
        }
    }
}

impl Dispatch<XdgPopup, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &XdgPopup,
        event: xdg_popup::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_popup::Event::Configure {
            x,
            y,
            width,
            height,
        } = event
        {
            seen.popups.push((x, y, width, height));
        }
    }
}

impl Dispatch<WpPresentation, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &WpPresentation,
        event: wp_presentation::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wp_presentation::Event::ClockId { clk_id } = event {
            seen.clock = Some(clk_id);
        }
    }
}

impl Dispatch<WpPresentationFeedback, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &WpPresentationFeedback,
        event: wp_presentation_feedback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wp_presentation_feedback::Event::Presented {
                tv_sec_lo,
                tv_nsec,
                flags,
                ..
            } => seen.presented.push((
                u64::from(tv_sec_lo) * 1_000_000_000 + u64::from(tv_nsec),
                flags.into_result().unwrap(),
            )),
            wp_presentation_feedback::Event::Discarded => seen.discarded += 1,
            _ => {}
        }
    }
}

impl Dispatch<ZwpLinuxBufferParamsV1, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &ZwpLinuxBufferParamsV1,
        event: zwp_linux_buffer_params_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            zwp_linux_buffer_params_v1::Event::Created { buffer } => seen.created.push(buffer),
            zwp_linux_buffer_params_v1::Event::Failed => seen.failed += 1,
            _ => {}
        }
    }

    event_created_child!(Seen, ZwpLinuxBufferParamsV1, [
        zwp_linux_buffer_params_v1::EVT_CREATED_OPCODE => (WlBuffer, ()),
    ]);
}

impl Dispatch<ZwpLinuxDmabufFeedbackV1, ()> for Seen {
    fn event(
        seen: &mut Self,
        _: &ZwpLinuxDmabufFeedbackV1,
        event: zwp_linux_dmabuf_feedback_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let Some(feedback) = seen.collector.event(event).unwrap() {
            seen.feedback = Some(feedback);
        }
    }
}

delegate_noop!(Seen: ignore WlCompositor);
delegate_noop!(Seen: ignore WlSubcompositor);
delegate_noop!(Seen: ignore WlSubsurface);
delegate_noop!(Seen: ignore WlSurface);
delegate_noop!(Seen: ignore WlShmPool);
delegate_noop!(Seen: ignore WpViewporter);
delegate_noop!(Seen: ignore WpViewport);
delegate_noop!(Seen: ignore XdgPositioner);
delegate_noop!(Seen: ignore ZwpLinuxDmabufV1);
