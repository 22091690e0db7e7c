//! A compositor in this process whose clients execute scripts of bytes. The fuzz target uses it too.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use covalent_compositor::backend::Backend;
use covalent_compositor::backend::headless::Headless;
use covalent_compositor::event_loop::EventLoop;
use covalent_compositor::options::{ModeRequest, OutputConfig};
use covalent_compositor::render::Renderer;
use covalent_compositor::run::serve_clients;
use covalent_compositor::state::State;
use smithay::reexports::wayland_server::Display;

use crate::hostile::{ScriptedClient, ScriptedFiles};

/// The longest time that a script may take. It detects a hang, and does not measure speed.
const LIMIT: Duration = Duration::from_secs(60);

/// A compositor that serves the clients of one script after the other.
pub struct Compositor {
    event_loop: EventLoop,
    state: State,
    files: ScriptedFiles,
}

impl Compositor {
    pub fn new() -> Self {
        let event_loop = EventLoop::try_new().unwrap();
        let handle = event_loop.handle();
        let display: Display<State> = Display::new().unwrap();
        let mode = ModeRequest {
            width: 64,
            height: 48,
            refresh_millihertz: Some(1_000_000),
        };
        let backend = Backend::Headless(Headless::new(handle.clone(), Some(mode)));
        let state = State::new(
            display.handle(),
            handle.clone(),
            backend,
            Renderer::default(),
            OutputConfig::default(),
        )
        .unwrap();
        serve_clients(&handle, display).unwrap();
        Self {
            event_loop,
            state,
            files: ScriptedFiles::open().unwrap(),
        }
    }

    /// Runs one iteration of the event loop.
    fn round(&mut self, wait: Duration) {
        self.event_loop
            .dispatch(Some(wait), &mut self.state)
            .unwrap();
        self.state.after_dispatch();
    }

    fn synchronise(&mut self, client: &mut ScriptedClient) {
        let deadline = Instant::now() + LIMIT;
        while !client.synchronise() {
            assert!(Instant::now() < deadline, "a client is not answered");
            self.round(Duration::from_millis(1));
        }
    }

    /// Serves a client that sends the requests that the bytes of `script` select, until it has sent all of them or was
    /// disconnected. Checks that nothing of the client remains afterwards. Returns whether the client stayed connected.
    pub fn serve(&mut self, script: &[u8]) -> bool {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.state.add_client(theirs).unwrap();
        let mut client = ScriptedClient::start(ours, script).unwrap();
        self.synchronise(&mut client);
        client.bind(&self.files);
        self.synchronise(&mut client);
        assert!(!client.is_closed(), "the first requests are not permitted");
        let mut steps: u32 = 0;
        while client.step(&self.files) {
            self.round(Duration::ZERO);
            steps += 1;
            if steps % 16 == 0 {
                let place = (f64::from(steps % 64), f64::from(steps % 48));
                self.state.point_at(place.into(), 0);
            }
        }
        // The script may end inside of a message, which gets no reply. The event loop therefore runs for a fixed time.
        let deadline = Instant::now() + Duration::from_millis(1);
        while Instant::now() < deadline {
            self.round(Duration::ZERO);
        }
        let stayed = !client.is_closed();
        drop(client);
        self.check_empty();
        // The session stays locked when its client ends, and would hide the surfaces of later clients.
        if self.state.stack.session_lock.is_locked() {
            *self = Self::new();
        }
        stayed
    }

    /// Waits until the compositor has freed everything of the previous client. Panics after [`LIMIT`].
    fn check_empty(&mut self) {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.round(Duration::from_millis(1));
            let surfaces = self.state.stack.surface_ids().count();
            let left = (
                surfaces,
                self.state.stack.windows().len(),
                self.state.stack.popups().len(),
                self.state.blocked_commits.count(),
                self.state.connections.count(),
            );
            if left == (0, 0, 0, 0, 0) {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "surfaces, windows, popups, blocked commits and connections are left: {left:?}"
            );
        }
    }
}
