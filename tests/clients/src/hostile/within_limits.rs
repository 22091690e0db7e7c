//! Expensive requests that the protocols permit, with fewer objects than the compositor's limits allow.

use super::behaviour::Behaviour;
use super::connection::Connection;
use super::files::{Files, MEMORY_BYTES};
use super::message::Argument;
use super::random::Random;
use super::window::{Window, attach, create_buffer};

/// The number of subsurfaces in the tree.
const TREE_SURFACES: usize = 200;
/// The number of levels of nested subsurfaces.
const TREE_LEVELS: usize = 24;
/// The number of rectangles of each region.
const RECTANGLES: i32 = 400;
/// The number of captures that wait for a frame at the same time.
const CAPTURES: usize = 8;
/// The number of objects that are created and then destroyed together.
const OBJECTS: usize = 200;

/// A client that sends expensive requests within its limits.
#[derive(Debug)]
pub(super) struct ExpensiveClient {
    behaviour: Behaviour,
    window: Window,
    surfaces: Vec<u32>,
    objects: Vec<u32>,
    /// The layer surface of a client that changes the usable area, and its exclusive zone.
    panel: (u32, u32),
}

impl ExpensiveClient {
    /// Creates the objects that a behaviour needs.
    pub(super) fn start(
        behaviour: Behaviour,
        connection: &mut Connection,
        files: &Files,
    ) -> anyhow::Result<Self> {
        let window = Window::map(connection, files, (256, 256))?;
        let mut client = Self {
            behaviour,
            window,
            surfaces: Vec::new(),
            objects: Vec::new(),
            panel: (0, 0),
        };
        match behaviour {
            Behaviour::Trees => client.create_tree(connection, TREE_SURFACES),
            Behaviour::Pixels => client.create_layers(connection),
            Behaviour::Regions => client.create_tree(connection, 16),
            Behaviour::Focus => client.create_panel(connection),
            _ => {}
        }
        Ok(client)
    }

    /// Sends the next requests of the behaviour.
    pub(super) fn step(&mut self, connection: &mut Connection, files: &Files, random: &mut Random) {
        self.window.acknowledge(connection);
        match self.behaviour {
            Behaviour::Trees => self.commit_tree(connection, random),
            Behaviour::Regions => self.set_regions(connection),
            Behaviour::Pixels => self.commit_layers(connection),
            Behaviour::Objects => self.replace_objects(connection, files),
            _ => self.change_focus(connection),
        }
    }

    /// Creates synchronised subsurfaces with buffers, in chains of many levels.
    fn create_tree(&mut self, connection: &mut Connection, count: usize) {
        let mut parent = self.window.surface;
        for number in 0..count {
            if number % TREE_LEVELS == 0 {
                parent = self.window.surface;
            }
            let (surface, _) = self.window.subsurface(connection, parent);
            attach(connection, surface, self.window.buffer);
            connection.call(surface, "commit", &[], &[]);
            self.surfaces.push(surface);
            parent = surface;
        }
        self.window.commit(connection);
    }

    /// Commits all subsurfaces and then the window, so that the compositor applies the whole tree.
    fn commit_tree(&mut self, connection: &mut Connection, random: &mut Random) {
        for surface in &self.surfaces {
            if random.once_in(4) {
                let damage = [0, 0, 1, 1].map(Argument::Word);
                connection.call(*surface, "damage", &damage, &[]);
                connection.call(*surface, "commit", &[], &[]);
            }
        }
        for _ in 0..16 {
            self.window.commit(connection);
        }
    }

    /// Sets regions of crossing rectangles for all surfaces.
    fn set_regions(&mut self, connection: &mut Connection) {
        let region = connection.call(self.window.compositor, "create_region", &[], &[]);
        for place in 0..RECTANGLES / 2 {
            let column = [place * 2, 0, 1, 1000].map(Argument::from);
            let row = [0, place * 2, 1000, 1].map(Argument::from);
            connection.call(region, "add", &column, &[]);
            connection.call(region, "subtract", &row, &[]);
        }
        for surface in self.surfaces.iter().chain([&self.window.surface]) {
            for request in ["set_opaque_region", "set_input_region"] {
                connection.call(*surface, request, &[region.into()], &[]);
            }
            connection.call(*surface, "commit", &[], &[]);
        }
        self.window.commit(connection);
        connection.call(region, "destroy", &[], &[]);
    }

    /// Creates desynchronised subsurfaces that show a large buffer scaled by a viewport.
    fn create_layers(&mut self, connection: &mut Connection) {
        let viewporter = connection.objects_of("wp_viewporter");
        let buffer = create_buffer(connection, self.window.pool, (512, 512));
        for _ in 0..8 {
            let (surface, role) = self.window.subsurface(connection, self.window.surface);
            connection.call(role, "set_desync", &[], &[]);
            if let Some(viewporter) = viewporter.first() {
                let viewport = connection.call(*viewporter, "get_viewport", &[surface.into()], &[]);
                let size = [200, 150].map(Argument::Word);
                connection.call(viewport, "set_destination", &size, &[]);
            }
            attach(connection, surface, buffer);
            connection.call(surface, "commit", &[], &[]);
            self.surfaces.push(surface);
        }
        self.window.commit(connection);
    }

    /// Damages and commits the surfaces of all layers.
    fn commit_layers(&mut self, connection: &mut Connection) {
        for surface in &self.surfaces {
            let damage = [0, 0, 512, 512].map(Argument::Word);
            connection.call(*surface, "damage_buffer", &damage, &[]);
            connection.call(*surface, "commit", &[], &[]);
        }
        self.window.show(connection);
        self.capture(connection);
    }

    /// Requests a capture of a part of the output, and destroys the oldest one.
    fn capture(&mut self, connection: &mut Connection) {
        let managers = connection.objects_of("zwlr_screencopy_manager_v1");
        let outputs = connection.objects_of("wl_output");
        let (Some(manager), Some(output)) = (managers.first(), outputs.first()) else {
            return;
        };
        let (width, height) = self.window.size;
        let area = [1, *output, 0, 0, width, height].map(Argument::Word);
        let frame = connection.call(*manager, "capture_output_region", &area, &[]);
        connection.call(frame, "copy", &[self.window.buffer.into()], &[]);
        self.objects.push(frame);
        if self.objects.len() > CAPTURES {
            connection.call(self.objects.remove(0), "destroy", &[], &[]);
        }
    }

    /// Destroys the objects that the last call created, and creates as many new ones: surface feedback, pools with file
    /// descriptors, and data sources.
    fn replace_objects(&mut self, connection: &mut Connection, files: &Files) {
        for object in self.objects.drain(..) {
            connection.call(object, "destroy", &[], &[]);
        }
        let dmabuf = connection.objects_of("zwp_linux_dmabuf_v1");
        let manager = connection.objects_of("wl_data_device_manager");
        let surface = [self.window.surface.into()];
        for number in 0..OBJECTS {
            let object = match (number % 8, dmabuf.first(), manager.first()) {
                (0, _, _) => connection.call(
                    self.window.shm,
                    "create_pool",
                    &[MEMORY_BYTES.into()],
                    &[files.memory()],
                ),
                (1..5, Some(dmabuf), _) => {
                    connection.call(*dmabuf, "get_surface_feedback", &surface, &[])
                }
                (5, _, Some(manager)) => {
                    let source = connection.call(*manager, "create_data_source", &[], &[]);
                    connection.call(source, "offer", &["text/plain".into()], &[]);
                    source
                }
                (6, _, _) => connection.call(self.window.shell, "create_positioner", &[], &[]),
                _ => connection.call(self.window.compositor, "create_surface", &[], &[]),
            };
            self.objects.push(object);
        }
    }

    /// Creates a layer surface at the left edge that is narrower than the space beside the bystander's window.
    fn create_panel(&mut self, connection: &mut Connection) {
        let shell = connection.objects_of("zwlr_layer_shell_v1");
        let surface = connection.call(self.window.compositor, "create_surface", &[], &[]);
        let arguments = [surface.into(), 0.into(), 2.into(), "panel".into()];
        let shell = shell.first().copied().unwrap_or(0);
        let panel = connection.call(shell, "get_layer_surface", &arguments, &[]);
        connection.call(panel, "set_size", &[16.into(), 16.into()], &[]);
        connection.call(panel, "set_anchor", &[4.into()], &[]);
        connection.call(surface, "commit", &[], &[]);
        connection.round_trip(super::window::ANSWER_LIMIT);
        self.window.acknowledge(connection);
        let buffer = create_buffer(connection, self.window.pool, (16, 16));
        attach(connection, surface, buffer);
        connection.call(surface, "commit", &[], &[]);
        self.surfaces.push(surface);
        self.panel.0 = panel;
    }

    /// Changes the exclusive zone again and again, so that all windows are configured.
    fn change_zone(&mut self, connection: &mut Connection) {
        for _ in 0..64 {
            self.panel.1 = (self.panel.1 + 1) % 16;
            let zone = self.panel.1;
            connection.call(self.panel.0, "set_exclusive_zone", &[zone.into()], &[]);
            for surface in &self.surfaces {
                connection.call(*surface, "commit", &[], &[]);
            }
        }
    }

    /// Unmaps and maps the window, and changes its title and state, so that focus and stacking change each time.
    fn change_focus(&mut self, connection: &mut Connection) {
        self.change_zone(connection);
        let window = self.window;
        for request in ["set_maximized", "unset_maximized"] {
            connection.call(window.toplevel, request, &[], &[]);
        }
        connection.call(window.toplevel, "set_title", &["hostile".into()], &[]);
        attach(connection, window.surface, 0);
        window.commit(connection);
        // After this commit the compositor sends a configure event, which has to arrive before the window may be mapped.
        window.commit(connection);
        connection.round_trip(super::window::ANSWER_LIMIT);
        window.acknowledge(connection);
        window.show(connection);
    }
}
