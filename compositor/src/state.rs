//! The state of the compositor, which all protocol handlers and event sources use.

use calloop::{LoopHandle, LoopSignal};
use smithay::input::pointer::PointerHandle;
use smithay::input::{Seat, SeatState};
use smithay::reexports::wayland_server::backend::{ClientData, ClientId, DisconnectReason};
use smithay::reexports::wayland_server::protocol::wl_shm;
use smithay::reexports::wayland_server::{Client, DisplayHandle};
use smithay::wayland::compositor::{CompositorClientState, CompositorState};
use smithay::wayland::output::OutputManagerState;
use smithay::wayland::presentation::PresentationState;
use smithay::wayland::selection::data_device::DataDeviceState;
use smithay::wayland::shell::xdg::XdgShellState;
use smithay::wayland::shm::{ShmState, fourcc_to_shm_format};
use smithay::wayland::viewporter::ViewporterState;

use crate::backend::Backend;
use crate::blocked_commits::BlockedCommits;
use crate::clock;
use crate::connection::Connections;
use crate::dmabuf::{self, Dmabuf, SupportedFormats};
use crate::input::Devices;
use crate::render::{PixelFormat, Renderer};
use crate::run::{Failure, exit};
use crate::screen::Screen;
use crate::stack::Stack;
use crate::syncobj::Syncobj;

/// The state of the compositor.
#[derive(Debug)]
pub struct State {
    /// The Wayland display.
    pub display: DisplayHandle,
    /// The event loop.
    pub handle: LoopHandle<'static, Self>,
    /// Stops the event loop.
    pub signal: LoopSignal,
    /// The connections of the clients.
    pub connections: Connections,
    /// Smithay's protocol states.
    pub protocols: Protocols,
    /// The state of linux-dmabuf.
    pub dmabuf: Dmabuf,
    /// The state of linux-drm-syncobj.
    pub syncobj: Syncobj,
    /// The commits that wait for an acquire point or fence.
    pub blocked_commits: BlockedCommits,
    /// The `wl_seat`.
    pub seat: Seat<Self>,
    /// The pointer of the seat.
    pub pointer: PointerHandle<Self>,
    /// The input devices; `None` on a virtual output.
    pub devices: Option<Devices>,
    /// The windows and surfaces.
    pub stack: Stack,
    /// The output with its frames.
    pub screen: Screen,
    /// The fatal error that stopped the event loop.
    pub failure: Option<Failure>,
}

/// Smithay's state of each protocol.
#[derive(Debug)]
#[allow(missing_docs)] // each field is named after its protocol
pub struct Protocols {
    pub compositor: CompositorState,
    pub shell: XdgShellState,
    pub shm: ShmState,
    pub seat: SeatState<State>,
    pub output: OutputManagerState,
    pub viewporter: ViewporterState,
    pub presentation: PresentationState,
    pub data_device: DataDeviceState,
}

/// The data of each client.
#[derive(Debug, Default)]
pub struct ClientState {
    /// Smithay's data.
    pub compositor: CompositorClientState,
    /// The process id of the client's socket. wayland-backend cannot provide it, because its socket is connected to this process.
    pub pid: Option<i32>,
}

impl ClientData for ClientState {
    fn initialized(&self, client: ClientId) {
        tracing::debug!(?client, "a client connected");
    }

    fn disconnected(&self, client: ClientId, reason: DisconnectReason) {
        tracing::debug!(?client, ?reason, "a client disconnected");
    }
}

impl State {
    /// Creates the globals for an output of `backend` whose frames `renderer` composes.
    ///
    /// # Errors
    ///
    /// When the format table cannot be created.
    pub fn new(
        display: DisplayHandle,
        handle: LoopHandle<'static, Self>,
        signal: LoopSignal,
        backend: Backend,
        renderer: Renderer,
    ) -> anyhow::Result<Self> {
        let formats = PixelFormat::ALL
            .into_iter()
            .filter(|format| format.planes() == 1)
            .filter_map(|format| format.fourcc().try_into().ok())
            .filter_map(fourcc_to_shm_format)
            .collect::<Vec<wl_shm::Format>>();
        let mut seat_state = SeatState::new();
        let mut seat = seat_state.new_wl_seat(&display, "seat0");
        let pointer = seat.add_pointer();
        // The keymap needs files of xkb-data. Without them the compositor works without a keyboard.
        if let Err(error) = seat.add_keyboard(Default::default(), 400, 25) {
            tracing::warn!(%error, "the keyboard is not available because the keymap cannot be loaded; install xkb-data");
        }
        let protocols = Protocols {
            compositor: CompositorState::new_v6::<Self>(&display),
            shell: XdgShellState::new::<Self>(&display),
            shm: ShmState::new::<Self>(&display, formats),
            seat: seat_state,
            output: OutputManagerState::new_with_xdg_output::<Self>(&display),
            viewporter: ViewporterState::new::<Self>(&display),
            presentation: PresentationState::new::<Self>(&display, clock::CLOCK_ID),
            data_device: DataDeviceState::new::<Self>(&display),
        };
        let supported = SupportedFormats {
            sampled: renderer.sampled(),
            ..backend.supported_formats()
        };
        let composed_only = SupportedFormats {
            scanout: Vec::new(),
            ..supported.clone()
        };
        let without_scanout = dmabuf::build_feedback(&composed_only)?;
        let dmabuf = Dmabuf::new(
            &display,
            dmabuf::build_feedback(&supported)?,
            without_scanout,
        )?;
        let syncobj = Syncobj::new(&display, backend.sync_device());
        let screen = Screen::new(&display, backend, renderer);
        Ok(Self {
            display,
            handle,
            signal,
            connections: Connections::default(),
            protocols,
            dmabuf,
            syncobj,
            blocked_commits: BlockedCommits::default(),
            seat,
            pointer,
            devices: None,
            stack: Stack::default(),
            screen,
            failure: None,
        })
    }

    /// Adds a client that connected.
    ///
    /// # Errors
    ///
    /// When the process has no file descriptors left, or the client has disconnected.
    pub fn add_client(
        &mut self,
        stream: std::os::unix::net::UnixStream,
    ) -> std::io::Result<Client> {
        self.connections
            .add(&mut self.display, &self.handle, stream)
    }

    /// Stops the event loop because of an error.
    pub fn fail(&mut self, error: anyhow::Error) {
        self.fail_with(exit::UNEXPECTED, error);
    }

    /// Stops the event loop because of an error that has an exit code of its own.
    pub fn fail_with(&mut self, code: u8, error: anyhow::Error) {
        tracing::error!("{error:#}");
        self.failure.get_or_insert(Failure { code, error });
        self.signal.stop();
    }

    /// Redraws if needed and flushes the clients' events, at the end of each event-loop iteration.
    pub fn after_dispatch(&mut self) {
        self.redraw();
        if let Err(error) = self.display.flush_clients() {
            tracing::warn!(%error, "events cannot be sent to clients");
        }
    }
}
