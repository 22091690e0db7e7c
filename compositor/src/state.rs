//! The state of the compositor, which all protocol handlers and event sources share.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use smithay::input::pointer::PointerHandle;
use smithay::input::{Seat, SeatState};
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::WmCapabilities;
use smithay::reexports::wayland_server::backend::{ClientData, ClientId, DisconnectReason};
use smithay::reexports::wayland_server::protocol::wl_shm;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, DisplayHandle, Resource};
use smithay::wayland::compositor::{CompositorClientState, CompositorState};
use smithay::wayland::cursor_shape::CursorShapeManagerState;
use smithay::wayland::output::OutputManagerState;
use smithay::wayland::pointer_gestures::PointerGesturesState;
use smithay::wayland::presentation::PresentationState;
use smithay::wayland::relative_pointer::RelativePointerManagerState;
use smithay::wayland::selection::data_device::DataDeviceState;
use smithay::wayland::selection::primary_selection::PrimarySelectionState;
use smithay::wayland::selection::{ext_data_control, wlr_data_control};
use smithay::wayland::shell::wlr_layer::WlrLayerShellState;
use smithay::wayland::shell::xdg::XdgShellState;
use smithay::wayland::shm::{ShmState, fourcc_to_shm_format};
use smithay::wayland::tablet_manager::TabletManagerState;
use smithay::wayland::viewporter::ViewporterState;
use smithay::wayland::xdg_activation::XdgActivationState;

use crate::backend::Backend;
use crate::blocked_commits::BlockedCommits;
use crate::capture::Captures;
use crate::clock;
use crate::commits::UnreleasedBuffers;
use crate::config::Configuration;
use crate::connection::{Connections, ShmPools};
use crate::control::{ClientNumber, Control};
use crate::cursor::Cursor;
use crate::dmabuf::{Dmabuf, SupportedFormats};
use crate::event_loop::LoopHandle;
use crate::handlers::{color_representation, pointer_constraints};
use crate::idle::{self, Idle};
use crate::input::{Devices, TabletClients, TouchScreens};
use crate::limits::{Limit, Usage};
use crate::options::OutputConfig;
use crate::outputs::Outputs;
use crate::pointer_constraints::PointerConstraints;
use crate::privilege::is_privileged;
use crate::region::Rect;
use crate::render::{PixelFormat, Renderer};
use crate::run::{Failure, exit};
use crate::scene::{Scene, SceneLayer};
use crate::screen::PendingCallbacks;
use crate::security_context::{self, SecurityContext, SecurityContexts};
use crate::selections::{SelectionAllowance, Selections};
use crate::session_lock;
use crate::shell::Shell;
use crate::shortcut_inhibitors::{self, ShortcutInhibitors};
use crate::stack::Stack;
use crate::syncobj::Syncobj;
use crate::toplevel_list::{self, ToplevelList};
use crate::user_acts::UserActs;

/// What this compositor can do with windows. It has no window menu.
const CAPABILITIES: [WmCapabilities; 3] = [
    WmCapabilities::Fullscreen,
    WmCapabilities::Maximize,
    WmCapabilities::Minimize,
];

/// The state of the compositor.
#[derive(Debug)]
pub struct State {
    /// The Wayland display.
    pub display: DisplayHandle,
    /// The event loop.
    pub handle: LoopHandle,
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
    /// The `wl_seat` that clients see.
    pub seat: Seat<Self>,
    /// The pointer of the seat.
    pub pointer: PointerHandle<Self>,
    /// The image of the pointer.
    pub cursor: Cursor,
    /// The constraints of the pointer.
    pub pointer_constraints: PointerConstraints,
    /// The inhibitors of key bindings.
    pub shortcut_inhibitors: ShortcutInhibitors,
    /// The notifications of an inactive user, and their inhibitors.
    pub idle: Idle,
    /// The lists of windows for task bars.
    pub toplevel_list: ToplevelList,
    /// The sockets of sandboxes.
    pub security_contexts: SecurityContexts,
    /// The sources and devices of the selections.
    pub selections: Selections,
    /// The key and button events that clients received.
    pub user_acts: UserActs,
    /// The input devices; `None` on a virtual output.
    pub devices: Option<Devices>,
    /// The clients that receive tablet tools.
    pub tablet_clients: TabletClients,
    /// The connected touch screens.
    pub touch_screens: TouchScreens,
    /// The windows and surfaces of all clients.
    pub stack: Stack,
    /// The state of the desktop shell.
    pub shell: Shell,
    /// The configuration file and what applies of it.
    pub configuration: Configuration,
    /// The outputs with their frames.
    pub outputs: Outputs,
    /// The frame callbacks that are not sent yet.
    pub callbacks: PendingCallbacks,
    /// The captures of outputs that clients requested.
    pub captures: Captures,
    /// The control socket.
    pub control: Control,
    /// The fatal error that stopped the event loop.
    pub failure: Option<Failure>,
}

/// Smithay's state of each protocol.
#[derive(Debug)]
#[allow(missing_docs)] // each field is named after its protocol
pub struct Protocols {
    pub compositor: CompositorState,
    pub shell: XdgShellState,
    pub layer_shell: WlrLayerShellState,
    pub shm: ShmState,
    pub seat: SeatState<State>,
    pub output: OutputManagerState,
    pub viewporter: ViewporterState,
    pub presentation: PresentationState,
    pub data_device: DataDeviceState,
    pub primary_selection: PrimarySelectionState,
    pub ext_data_control: ext_data_control::DataControlState,
    pub wlr_data_control: wlr_data_control::DataControlState,
    pub activation: XdgActivationState,
    pub cursor_shape: CursorShapeManagerState,
    pub relative_pointer: RelativePointerManagerState,
    pub pointer_gestures: PointerGesturesState,
    pub tablet_manager: TabletManagerState,
}

/// The data of each client.
#[derive(Debug, Default)]
pub struct ClientState {
    /// Smithay's data.
    pub compositor: CompositorClientState,
    /// The process id of the client's socket. wayland-backend cannot provide it, because its socket is connected to this process.
    pub pid: Option<i32>,
    /// How many selections the client may set now.
    pub selection_allowance: SelectionAllowance,
    /// The security context of the client. A client that has one sees no privileged protocol.
    pub security_context: Option<Arc<SecurityContext>>,
    /// The number by which the control socket identifies the client.
    pub number: ClientNumber,
    /// The committed buffers of the client that are not released yet.
    pub unreleased: UnreleasedBuffers,
    /// The amounts that count against the client's limits.
    pub usage: Arc<Usage>,
    /// The mapped `wl_shm` pools of the client.
    pub shm_pools: Arc<ShmPools>,
    /// Whether events for the client are queued, so that they have to be forwarded at the end of this event-loop iteration.
    pub expects_events: Arc<AtomicBool>,
}

/// Returns the amounts that count against a client's limits.
pub fn usage_of(client: &Client) -> Arc<Usage> {
    client
        .get_data::<ClientState>()
        .map(|data| data.usage.clone())
        .unwrap_or_default()
}

impl ClientData for ClientState {
    fn initialized(&self, client: ClientId) {
        tracing::debug!(?client, "a client connected");
    }

    fn disconnected(&self, client: ClientId, reason: DisconnectReason) {
        let used = self.usage.peaks();
        tracing::debug!(?client, ?reason, ?used, "a client disconnected");
    }
}

impl State {
    /// Creates the globals and the first output. `backend` shows the frames of the output, and `renderer` composes them.
    ///
    /// # Errors
    ///
    /// When the format table cannot be created.
    pub fn new(
        display: DisplayHandle,
        handle: LoopHandle,
        backend: Backend,
        renderer: Renderer,
        config: OutputConfig,
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
        // Loading the keymap needs the files of xkb-data. Without them the compositor runs without a keyboard.
        if let Err(error) = seat.add_keyboard(Default::default(), 400, 25) {
            tracing::warn!(%error, "the keyboard is not available because the keymap cannot be loaded; install xkb-data");
        }
        let primary_selection = PrimarySelectionState::new::<Self>(&display);
        let protocols = Protocols {
            compositor: CompositorState::new_v6::<Self>(&display),
            shell: XdgShellState::new_with_capabilities::<Self>(&display, CAPABILITIES),
            layer_shell: WlrLayerShellState::new_with_filter::<Self, _>(&display, is_privileged),
            shm: ShmState::new::<Self>(&display, formats),
            seat: seat_state,
            output: OutputManagerState::new_with_xdg_output::<Self>(&display),
            viewporter: ViewporterState::new::<Self>(&display),
            presentation: PresentationState::new::<Self>(&display, clock::CLOCK_ID),
            data_device: DataDeviceState::new::<Self>(&display),
            ext_data_control: ext_data_control::DataControlState::new::<Self, _>(
                &display,
                Some(&primary_selection),
                is_privileged,
            ),
            wlr_data_control: wlr_data_control::DataControlState::new::<Self, _>(
                &display,
                Some(&primary_selection),
                is_privileged,
            ),
            primary_selection,
            activation: XdgActivationState::new::<Self>(&display),
            cursor_shape: CursorShapeManagerState::new::<Self>(&display),
            relative_pointer: RelativePointerManagerState::new::<Self>(&display),
            pointer_gestures: PointerGesturesState::new::<Self>(&display),
            tablet_manager: TabletManagerState::new::<Self>(&display),
        };
        let supported = SupportedFormats {
            sampled: renderer.sampled(),
            ..backend.supported_formats()
        };
        let dmabuf = Dmabuf::new(&display, supported)?;
        color_representation::create_global(&display);
        session_lock::create_global(&display);
        pointer_constraints::create_global(&display);
        shortcut_inhibitors::create_global(&display);
        idle::create_globals(&display);
        toplevel_list::create_global(&display);
        security_context::create_global(&display);
        let syncobj = Syncobj::new(&display, backend.sync_device());
        let captures = Captures::new(&display);
        let mut state = Self {
            display,
            handle,
            connections: Connections::default(),
            protocols,
            dmabuf,
            syncobj,
            blocked_commits: BlockedCommits::default(),
            seat,
            pointer,
            cursor: Cursor::default(),
            pointer_constraints: PointerConstraints::default(),
            shortcut_inhibitors: ShortcutInhibitors::default(),
            idle: Idle::default(),
            toplevel_list: ToplevelList::default(),
            security_contexts: SecurityContexts::default(),
            selections: Selections::default(),
            user_acts: UserActs::default(),
            devices: None,
            tablet_clients: TabletClients::default(),
            touch_screens: TouchScreens::default(),
            stack: Stack::default(),
            shell: Shell::default(),
            configuration: Configuration::default(),
            outputs: Outputs::default(),
            callbacks: PendingCallbacks::default(),
            captures,
            control: Control::default(),
            failure: None,
        };
        state.add_output(backend, Rc::new(RefCell::new(renderer)), config);
        Ok(state)
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
            .add(&mut self.display, &self.handle, stream, None)
    }

    /// Disconnects the client of `surface` if `amount` exceeds a limit.
    pub fn check_limit(&self, surface: &WlSurface, limit: Limit, amount: u64) {
        let Some(client) = surface.client() else {
            return;
        };
        if let Err(exceeded) = usage_of(&client).check(limit, amount) {
            self.connections
                .disconnect(&self.display, &client, exceeded);
        }
    }

    /// Disconnects the clients whose visible surfaces have too many pixels in total, compared with the output. Drawing them would
    /// make each frame slow.
    pub fn check_frame_pixels(&self, visible: &[SceneLayer], output: Rect) {
        let area = output.area().max(1);
        for (client, pixels) in Scene::pixels_by_client(visible, output) {
            let Some(layer) = visible.iter().find(|layer| {
                let owner = layer.surface.client();
                owner.is_some_and(|owner| owner.id() == client)
            }) else {
                continue;
            };
            self.check_limit(&layer.surface, Limit::FramePixels, pixels.div_ceil(area));
        }
    }

    /// Stops the event loop because of an error.
    pub fn fail(&mut self, error: anyhow::Error) {
        self.fail_with(exit::UNEXPECTED, error);
    }

    /// Stops the event loop because of an error, and sets the exit code.
    pub fn fail_with(&mut self, code: u8, error: anyhow::Error) {
        tracing::error!("{error:#}");
        self.failure.get_or_insert(Failure { code, error });
        self.handle.stop();
    }

    /// Draws frames that are due, and flushes the clients' events. It is called at the end of each event-loop iteration.
    pub fn after_dispatch(&mut self) {
        self.update_pointer_constraint();
        self.update_shortcut_inhibitors();
        self.redraw();
        self.confirm_lock();
        self.send_hidden_callbacks();
        self.update_idle_inhibition();
        self.update_toplevel_list();
        if let Err(error) = self.display.flush_clients() {
            tracing::warn!(%error, "events cannot be sent to clients");
        }
        self.forward_expected_events();
    }
}
