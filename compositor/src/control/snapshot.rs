//! Collects the state of the compositor for the control socket.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::text::{printable_bytes, printable_within};
use covalent_protocols::control::{
    Buffer, CLIENTS_MAX, Client, Frame, Output, ProcessHoldings, SURFACES_MAX, Snapshot, Surface,
    TEXT_MAX,
};
use smithay::reexports::wayland_server::Resource as _;
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::{get_parent, get_role, with_states};

use super::counter::SurfaceCounter;
use super::holdings;
use crate::clock::{self, nanoseconds};
use crate::commits::pending_commits;
use crate::content::Content;
use crate::render::Pixels as _;
use crate::report::{FramePath, FrameRecord, ShownBuffer};
use crate::screen::Screen;
use crate::state::{ClientState, State};
use crate::window::Window;

/// The maximum number of parents that are followed from a surface to its window.
const PARENTS_MAX: usize = 64;

impl State {
    /// Collects the state of the compositor. With `holdings`, it also counts what each client holds.
    pub fn snapshot(&self, holdings: bool) -> Snapshot {
        let now = clock::now();
        let mut ids: Vec<ClientId> = Vec::new();
        let handle = self.display.backend_handle();
        handle.with_all_clients(|id| ids.push(id));
        let clients_left_out = ids.len().saturating_sub(CLIENTS_MAX);
        ids.truncate(CLIENTS_MAX);
        let mut clients: Vec<Client> = ids.iter().map(|id| self.client(id, holdings)).collect();
        clients.sort_by_key(|client| client.client);
        let (surfaces, surfaces_left_out) = self.surfaces(now);
        Snapshot {
            time_ns: nanoseconds(now),
            pid: std::process::id(),
            outputs: self
                .outputs
                .iter()
                .map(|screen| output(screen, now))
                .collect(),
            clients,
            clients_left_out,
            surfaces,
            surfaces_left_out,
            skipped: 0,
            process: holdings.then(process_holdings),
        }
    }

    /// Describes a client, and with `with_holdings` what it holds.
    fn client(&self, id: &ClientId, with_holdings: bool) -> Client {
        let handle = self.display.backend_handle();
        let data = handle.get_client_data(id.clone()).ok();
        let data = data
            .as_ref()
            .and_then(|data| (**data).downcast_ref::<ClientState>());
        let pid = data.and_then(|data| data.pid);
        Client {
            client: data.map_or(0, |data| data.number.0),
            pid,
            name: pid.and_then(process_name),
            unreleased_buffers: data.map_or(0, |data| data.unreleased.count()),
            holdings: with_holdings.then(|| holdings::of_client(self, id)),
        }
    }

    /// Returns the listed surfaces, and the number of surfaces that are not listed.
    fn surfaces(&self, now: Duration) -> (Vec<Surface>, usize) {
        let visible: HashSet<ObjectId> = self.visible_surfaces();
        let mut all: Vec<(usize, WlSurface)> = self
            .stack
            .surface_ids()
            .filter_map(|id| WlSurface::from_id(&self.display, id.clone()).ok())
            .map(|surface| {
                let window = self.window_of(&surface);
                let order = window.and_then(|window| {
                    let same = |other: &Window| other.toplevel == window.toplevel;
                    self.stack.windows().iter().position(same)
                });
                // Surfaces without a window come last.
                (order.unwrap_or(usize::MAX), surface)
            })
            .collect();
        all.sort_by_key(|(order, surface)| (*order, surface.id().protocol_id()));
        let left_out = all.len().saturating_sub(SURFACES_MAX);
        all.truncate(SURFACES_MAX);
        let surfaces = all
            .iter()
            .map(|(_, surface)| {
                let is_visible = visible.contains(&surface.id());
                self.describe_surface(surface, is_visible, now)
            })
            .collect();
        (surfaces, left_out)
    }

    /// Returns the surfaces that are visible on an output.
    fn visible_surfaces(&self) -> HashSet<ObjectId> {
        let mut visible = HashSet::new();
        for view in self.outputs.views() {
            let scene = self.stack.scene(&view);
            let layers = scene.visible(view.pixels).into_iter();
            visible.extend(layers.map(|layer| layer.surface.id()));
        }
        visible
    }

    /// Describes a surface and the buffer that it shows.
    fn describe_surface(&self, surface: &WlSurface, visible: bool, now: Duration) -> Surface {
        let client = surface.client();
        let window = self.window_of(surface);
        let (title, app_id) = window.map(Window::title_and_app_id).unwrap_or_default();
        let state = self.stack.find(surface);
        let (width, height) = state.map_or((0, 0), |state| state.size());
        let (shared, pending_commits) = with_states(surface, |states| {
            let shared = states.data_map.get::<SurfaceCounter>().cloned();
            (shared, pending_commits(states).unapplied())
        });
        let shown = shared.as_ref().and_then(|shared| self.shown_buffer(shared));
        let counter = shared
            .map(|shared| shared.borrow().clone())
            .unwrap_or_default();
        Surface {
            id: surface.id().protocol_id(),
            client: client
                .and_then(|client| Some(client.get_data::<ClientState>()?.number.0))
                .unwrap_or(0),
            role: get_role(surface).map(str::to_owned),
            title: title.as_deref().map(text),
            app_id: app_id.as_deref().map(text),
            width: unsigned(width),
            height: unsigned(height),
            fullscreen: window.is_some_and(|window| window.fullscreen),
            visible,
            frames: counter.frames(),
            frames_per_second: counter.frames_per_second(now),
            latency: counter.latency(),
            pending_commits,
            plane: shown.and_then(|shown| shown.kms_plane.clone()),
            why_drawn: shown.and_then(|shown| Some(text(shown.why_drawn.as_deref()?))),
            buffer: state
                .and_then(|state| state.content())
                .map(|content| buffer(content)),
        }
    }

    /// Returns the record of a surface's buffer in a frame on a display, if the frame shows new content of the surface; `None`
    /// otherwise. The frame on the surface's main output is preferred.
    fn shown_buffer(&self, surface: &SurfaceCounter) -> Option<&ShownBuffer> {
        let records = self.outputs.iter().filter_map(Screen::displayed);
        let shown = records.flat_map(|record| std::iter::once(&record.shown).chain(&record.others));
        let own = shown.filter(|buffer| {
            buffer
                .counter
                .as_ref()
                .is_some_and(|own| Rc::ptr_eq(own, surface))
        });
        own.max_by_key(|buffer| buffer.is_main)
    }

    /// Returns the window of a surface, which is found through the parents of subsurfaces and popups.
    fn window_of(&self, surface: &WlSurface) -> Option<&Window> {
        let mut current = surface.clone();
        for _ in 0..PARENTS_MAX {
            if let Some(window) = self.stack.window(&current) {
                return Some(window);
            }
            let popup_parent =
                |surface: &WlSurface| self.stack.popup(surface)?.get_parent_surface();
            current = get_parent(&current).or_else(|| popup_parent(&current))?;
        }
        None
    }
}

/// Describes an output and the last frame that it presented.
fn output(screen: &Screen, now: Duration) -> Output {
    let mode = screen.mode();
    let presented = screen.presented();
    let device = screen.backend().device();
    Output {
        name: text(screen.backend().name()),
        device: device.map(|path| text(&path.to_string_lossy())),
        width: unsigned(mode.width),
        height: unsigned(mode.height),
        refresh_millihertz: mode.refresh_millihertz,
        renderer: screen.renderer().borrow().name().to_owned(),
        frames: presented.counter.frames(),
        scanned_out: presented.scanned_out,
        copied_bytes: presented.copied_bytes,
        retries: presented.retries,
        frames_per_second: presented.counter.frames_per_second(now),
        latency: presented.counter.latency(),
        last: screen.displayed().map(|record| frame(record, now)),
    }
}

/// Describes how a presented frame was shown.
fn frame(record: &FrameRecord, now: Duration) -> Frame {
    let path = match record.path {
        FramePath::Direct => "direct",
        FramePath::Composited => "composited",
    };
    Frame {
        age_ns: record
            .flipped
            .map_or(0, |flipped| nanoseconds(now.saturating_sub(flipped))),
        path: path.to_owned(),
        renderer: record.renderer.map(str::to_owned),
        why_not_direct: record.why_not_direct.as_deref().map(text),
        why_not_gles: record.why_not_gles.as_deref().map(text),
        retries: record.retries,
        left_out: record.left_out.iter().map(|name| text(name)).collect(),
        copied_bytes: record.cpu_copied_bytes,
    }
}

/// Describes the buffer of a surface.
fn buffer(content: &Content) -> Buffer {
    let memory = content.dmabuf().map(|dmabuf| dmabuf.buffer());
    let (width, height) = content.size();
    let pixels = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Buffer {
        kind: match memory {
            Some(_) => "dma-buf",
            None => "shm",
        }
        .to_owned(),
        format: content.format().name(),
        modifier: memory.map(|memory| memory.layout().format().modifier.to_string()),
        width: pixels(width),
        height: pixels(height),
        stride_bytes: content.stride_bytes(),
        inode: memory.map(|memory| memory.identity().0),
        explicit_sync: content.lock().release_point().is_some(),
    }
}

/// Returns the name of a process. The kernel truncates names to 15 bytes.
fn process_name(pid: i32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    Some(printable_bytes(name))
}

/// Returns the file descriptors and the memory that the compositor's process uses.
fn process_holdings() -> ProcessHoldings {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    // The second number of statm is the number of resident pages.
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    ProcessHoldings {
        // One of the descriptors belongs to the directory listing itself.
        descriptors: u64::try_from(open).unwrap_or(u64::MAX).saturating_sub(1),
        descriptors_max: limit.current,
        resident_bytes: pages.unwrap_or(0).saturating_mul(page),
    }
}

/// Makes a text from a client or device printable, and limits its length.
fn text(words: &str) -> String {
    printable_within(words, TEXT_MAX)
}

/// Converts a size; a negative one becomes 0.
fn unsigned(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}
