//! A mapped window of a hostile client, with the objects that were used to create it.

use std::time::Duration;

use super::connection::Connection;
use super::files::{Files, MEMORY_BYTES};
use super::message::Argument;

/// The longest time for a reply. A compositor that takes longer counts as hanging.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The format XRGB8888 of `wl_shm`.
const XRGB: u32 = 1;

/// The window's objects and the globals that a client needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) compositor: u32,
    pub(super) subcompositor: u32,
    pub(super) shell: u32,
    pub(super) shm: u32,
    pub(super) surface: u32,
    pub(super) toplevel: u32,
    pub(super) pool: u32,
    pub(super) buffer: u32,
    pub(super) size: (u32, u32),
}

impl Window {
    /// Binds all globals and maps a window of `size` pixels.
    pub(super) fn map(
        connection: &mut Connection,
        files: &Files,
        size: (u32, u32),
    ) -> anyhow::Result<Self> {
        connection.bind_all();
        let global = |connection: &Connection, name: &str| {
            let objects = connection.objects_of(name);
            objects
                .first()
                .copied()
                .ok_or_else(|| anyhow::anyhow!("the compositor has no {name}"))
        };
        let compositor = global(connection, "wl_compositor")?;
        let subcompositor = global(connection, "wl_subcompositor")?;
        let shell = global(connection, "xdg_wm_base")?;
        let shm = global(connection, "wl_shm")?;
        let pool = connection.call(
            shm,
            "create_pool",
            &[MEMORY_BYTES.into()],
            &[files.memory()],
        );
        let buffer = create_buffer(connection, pool, size);
        let surface = connection.call(compositor, "create_surface", &[], &[]);
        let role = connection.call(shell, "get_xdg_surface", &[surface.into()], &[]);
        let toplevel = connection.call(role, "get_toplevel", &[], &[]);
        let window = Self {
            compositor,
            subcompositor,
            shell,
            shm,
            surface,
            toplevel,
            pool,
            buffer,
            size,
        };
        window.commit(connection);
        anyhow::ensure!(
            connection.round_trip(ANSWER_LIMIT),
            "the window was not configured: {:?}",
            connection.error
        );
        window.acknowledge(connection);
        window.show(connection);
        Ok(window)
    }

    /// Acknowledges all configure events.
    pub(super) fn acknowledge(&self, connection: &mut Connection) {
        for (role, serial) in std::mem::take(&mut connection.configures) {
            connection.call(role, "ack_configure", &[serial.into()], &[]);
        }
    }

    /// Attaches the window's buffer, damages the whole surface and commits it.
    pub(super) fn show(&self, connection: &mut Connection) {
        attach(connection, self.surface, self.buffer);
        let (width, height) = self.size;
        let damage = [0, 0, width, height].map(Argument::Word);
        connection.call(self.surface, "damage_buffer", &damage, &[]);
        self.commit(connection);
    }

    /// Commits the surface.
    pub(super) fn commit(&self, connection: &mut Connection) {
        connection.call(self.surface, "commit", &[], &[]);
    }

    /// Creates a subsurface of `parent`. Returns the ids of its surface and of its `wl_subsurface`.
    pub(super) fn subsurface(&self, connection: &mut Connection, parent: u32) -> (u32, u32) {
        let surface = connection.call(self.compositor, "create_surface", &[], &[]);
        let arguments = [surface, parent].map(Argument::Word);
        let role = connection.call(self.subcompositor, "get_subsurface", &arguments, &[]);
        (surface, role)
    }
}

/// Creates a buffer at the start of a pool.
pub(super) fn create_buffer(connection: &mut Connection, pool: u32, size: (u32, u32)) -> u32 {
    let (width, height) = size;
    let arguments = [0, width, height, width.saturating_mul(4), XRGB].map(Argument::Word);
    connection.call(pool, "create_buffer", &arguments, &[])
}

/// Attaches a buffer to a surface.
pub(super) fn attach(connection: &mut Connection, surface: u32, buffer: u32) {
    let arguments = [buffer, 0, 0].map(Argument::Word);
    connection.call(surface, "attach", &arguments, &[]);
}
