//! A client whose requests a fuzzer's bytes determine. The client runs in the process of the compositor, so it never waits for a
//! reply.

use std::os::unix::net::UnixStream;

use super::connection::Connection;
use super::files::Files;
use super::message::Argument;
use super::random::Random;
use super::random_requests::send_any;

/// A client that sends one random request in each step.
#[derive(Debug)]
pub struct ScriptedClient {
    connection: Connection,
    random: Random,
    awaited: Option<u32>,
}

/// The files that [`ScriptedClient`]s send as file descriptors. All of these clients share them.
#[derive(Debug)]
pub struct ScriptedFiles(Files);

impl ScriptedFiles {
    /// Opens the files.
    ///
    /// # Errors
    ///
    /// The process has no file descriptors left.
    pub fn open() -> anyhow::Result<Self> {
        Files::open().map(Self)
    }
}

impl ScriptedClient {
    /// Requests the globals. [`synchronise`](Self::synchronise) returns whether they have arrived.
    ///
    /// # Errors
    ///
    /// The socket cannot be used.
    pub fn start(stream: UnixStream, script: &[u8]) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::start(stream)?,
            random: Random::of_bytes(script),
            awaited: None,
        })
    }

    /// Binds all globals, and creates an object of each kind that most other objects need.
    pub fn bind(&mut self, files: &ScriptedFiles) {
        let Self {
            connection, random, ..
        } = self;
        connection.bind_all();
        let global = |connection: &Connection, name: &str| {
            let objects = connection.objects_of(name);
            objects.first().copied().unwrap_or(0)
        };
        let compositor = global(connection, "wl_compositor");
        let shell = global(connection, "xdg_wm_base");
        let shm = global(connection, "wl_shm");
        let size = super::files::MEMORY_BYTES.into();
        let pool = connection.call(shm, "create_pool", &[size], &[files.0.memory()]);
        super::window::create_buffer(connection, pool, (32, 24));
        for _ in 0..2 {
            let surface = connection.call(compositor, "create_surface", &[], &[]);
            let role = connection.call(shell, "get_xdg_surface", &[surface.into()], &[]);
            connection.call(role, "get_toplevel", &[], &[]);
            connection.call(surface, "commit", &[], &[]);
        }
        let layer_shell = global(connection, "zwlr_layer_shell_v1");
        let surface = connection.call(compositor, "create_surface", &[], &[]);
        let arguments = [surface.into(), 0.into(), 2.into(), "scripted".into()];
        let panel = connection.call(layer_shell, "get_layer_surface", &arguments, &[]);
        connection.call(panel, "set_size", &[32.into(), 24.into()], &[]);
        connection.call(surface, "commit", &[], &[]);
        let surface = connection.call(compositor, "create_surface", &[], &[]);
        // A locked session hides the surfaces, so that fewer requests have an effect.
        if random.once_in(8) {
            let manager = global(connection, "ext_session_lock_manager_v1");
            let lock = connection.call(manager, "lock", &[], &[]);
            let output = global(connection, "wl_output");
            let arguments = [surface, output].map(Argument::Word);
            connection.call(lock, "get_lock_surface", &arguments, &[]);
        }
        connection.flush();
    }

    /// Sends the next request of the script. Returns whether the script contains further requests.
    pub fn step(&mut self, files: &ScriptedFiles) -> bool {
        let Self {
            connection, random, ..
        } = self;
        match random.below(16) {
            0 => {
                for (role, serial) in std::mem::take(&mut connection.configures) {
                    connection.call(role, "ack_configure", &[serial.into()], &[]);
                }
            }
            // Random requests rarely attach a buffer to a surface and commit the same surface afterwards, so this step does both.
            1 => {
                let surfaces = connection.objects_of("wl_surface");
                let buffers = connection.objects_of("wl_buffer");
                let surface = random.choose(&surfaces).copied().unwrap_or(0);
                let buffer = random.choose(&buffers).copied().unwrap_or(0);
                super::window::attach(connection, surface, buffer);
                connection.call(surface, "frame", &[], &[]);
                connection.call(surface, "commit", &[], &[]);
            }
            _ => send_any(connection, &files.0, random),
        }
        connection.flush();
        connection.read();
        // An incomplete message can be the last message of a script. The client sends nothing after it.
        !self.random.is_exhausted() && !self.is_closed()
    }

    /// Reads the events. Returns whether the compositor has handled all requests that were sent before the first call, or has
    /// closed the connection.
    pub fn synchronise(&mut self) -> bool {
        let callback = self.awaited.unwrap_or_else(|| self.connection.sync());
        self.awaited = Some(callback);
        self.connection.flush();
        self.connection.read();
        let is_done = self.connection.done.contains(&callback) || self.is_closed();
        if is_done {
            self.awaited = None;
            self.connection.done.clear();
        }
        is_done
    }

    /// Returns whether the compositor has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.connection.closed
    }
}
