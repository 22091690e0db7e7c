//! Everything the compositor knows; every protocol's handler and every event source works on it.

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

/// Everything the compositor knows.
#[derive(Debug)]
pub struct State {
    /// The Wayland display.
    pub display: DisplayHandle,
    /// The event loop.
    pub handle: LoopHandle<'static, Self>,
    /// Ends the event loop.
    pub signal: LoopSignal,
    /// What clients say and hear.
    pub connections: Connections,
    /// Protocols that Smithay speaks for us.
    pub protocols: Protocols,
    /// Clients' dma-bufs.
    pub dmabuf: Dmabuf,
    /// Explicit synchronisation.
    pub syncobj: Syncobj,
    /// Commits that wait for their buffers.
    pub blocked_commits: BlockedCommits,
    /// The one seat.
    pub seat: Seat<Self>,
    /// Its pointer.
    pub pointer: PointerHandle<Self>,
    /// Its devices; `None` on a virtual display.
    pub devices: Option<Devices>,
    /// Windows and surfaces.
    pub stack: Stack,
    /// The output and its frames.
    pub screen: Screen,
    /// What made the compositor end, if it was no request.
    pub failure: Option<Failure>,
}

/// The state that Smithay keeps for each protocol.
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

/// What is kept for each client.
#[derive(Debug, Default)]
pub struct ClientState {
    /// Smithay's part of it.
    pub compositor: CompositorClientState,
    /// The process that connected; wayland-backend, which has a socket of ours, would name the compositor.
    pub pid: Option<i32>,
}

impl ClientData for ClientState {
    fn initialized(&self, client: ClientId) {
        tracing::debug!(?client, "client connected");
    }

    fn disconnected(&self, client: ClientId, reason: DisconnectReason) {
        tracing::debug!(?client, ?reason, "client disconnected");
    }
}

impl State {
    /// Makes the globals that clients see, for an output that `backend` shows and `renderer` composes for.
    ///
    /// # Errors
    ///
    /// When the table of formats cannot be made.
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
        // Keymaps are files of the system; a system without any still shows pictures.
        if let Err(error) = seat.add_keyboard(Default::default(), 400, 25) {
            tracing::warn!(%error, "no keyboard: the keymap cannot be loaded; install xkb-data");
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

    /// Takes a client that connected.
    ///
    /// # Errors
    ///
    /// When the process has no descriptors left, or the client is gone already.
    pub fn add_client(
        &mut self,
        stream: std::os::unix::net::UnixStream,
    ) -> std::io::Result<Client> {
        self.connections
            .add(&mut self.display, &self.handle, stream)
    }

    /// Ends the event loop because of an error.
    pub fn fail(&mut self, error: anyhow::Error) {
        self.fail_with(exit::UNEXPECTED, error);
    }

    /// Ends the event loop because of an error that has an exit code of its own.
    pub fn fail_with(&mut self, code: u8, error: anyhow::Error) {
        tracing::error!("{error:#}");
        self.failure.get_or_insert(Failure { code, error });
        self.signal.stop();
    }

    /// Does what every round of the event loop ends with: draws what changed, and sends what was said to clients.
    pub fn after_dispatch(&mut self) {
        self.redraw();
        if let Err(error) = self.display.flush_clients() {
            tracing::warn!(%error, "events could not be sent to clients");
        }
    }
}
