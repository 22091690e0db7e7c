//! All outputs, their positions on the desktop, and the data that they share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use smithay::output::Output;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::utils::{Logical, Point};

use crate::backend::Backend;
use crate::backend::kms::OpenCard;
use crate::copy_counter::CopyCounter;
use crate::dmabuf::ClientBuffer;
use crate::event_loop::WatchToken;
use crate::options::{Options, OutputConfig};
use crate::output_view::{OutputId, OutputView};
use crate::region::Rect;
use crate::render::Renderer;
use crate::report::Report;
use crate::screen::Screen;

/// A renderer that the outputs of a card share, so that a buffer is imported once.
pub type SharedRenderer = Rc<RefCell<Renderer>>;

/// The outputs, in the order in which they were connected.
#[derive(Debug, Default)]
pub struct Outputs {
    screens: Vec<Screen>,
    /// The names of all outputs so far. The index of a name is the identity of its output.
    names: Vec<String>,
    /// Smithay's output objects of removed outputs. They are kept, because Smithay panics if a client uses an output that was
    /// dropped.
    retired: Vec<Output>,
    /// The open cards, including those without a connected display.
    pub(crate) cards: Vec<OpenCard>,
    /// The watches of the cards' events in the event loop, by device number.
    pub(crate) card_watches: HashMap<u64, WatchToken>,
    /// The command line. Displays that are connected later are opened with these options.
    pub(crate) options: Options,
    /// The report, which gets a record of every presented frame of every output.
    pub(crate) report: Option<Report>,
    pub(crate) copy_counter: CopyCounter,
}

impl Outputs {
    /// Adds an output, and creates its `wl_output` global. [`arrange`](Self::arrange) gives it a position.
    pub fn add(
        &mut self,
        display: &DisplayHandle,
        backend: Backend,
        renderer: SharedRenderer,
        config: OutputConfig,
    ) -> OutputId {
        let id = self.identify(backend.name());
        let screen = Screen::new(display, id, backend, renderer, config);
        self.screens.push(screen);
        id
    }

    /// Returns the identity for a name. The same name always has the same identity.
    fn identify(&mut self, name: &str) -> OutputId {
        let index = self.names.iter().position(|known| known == name);
        let index = index.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        OutputId(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Removes an output from the desktop; returns its `wl_output` global, if it has one.
    pub fn remove(&mut self, id: OutputId) -> Option<GlobalId> {
        let index = self.screens.iter().position(|screen| screen.id() == id)?;
        let mut screen = self.screens.remove(index);
        self.retired.push(screen.output().clone());
        screen.withdraw()
    }

    /// Computes the positions of the outputs without a configured position: each is placed to the right of the others.
    pub fn arrange(&mut self) {
        let placed = self.screens.iter().filter(|screen| screen.is_placed());
        let mut right = placed.map(|screen| screen.view().logical.right()).max();
        for screen in &mut self.screens {
            if screen.is_placed() || !screen.is_connected() {
                continue;
            }
            screen.set_position((right.unwrap_or(0), 0));
            right = Some(screen.view().logical.right());
        }
    }

    /// Returns the views of the connected outputs. If none is connected, it returns the views of all outputs, so that the last
    /// output keeps its position.
    pub fn views(&self) -> Vec<OutputView> {
        let connected = self.screens.iter().filter(|screen| screen.is_connected());
        let views: Vec<OutputView> = connected.map(Screen::view).collect();
        if views.is_empty() {
            return self.screens.iter().map(Screen::view).collect();
        }
        views
    }

    /// Returns the identities of all outputs.
    pub fn ids(&self) -> Vec<OutputId> {
        self.screens.iter().map(Screen::id).collect()
    }

    /// Returns the output with this identity; `None` if it was removed.
    pub fn get(&self, id: OutputId) -> Option<&Screen> {
        self.screens.iter().find(|screen| screen.id() == id)
    }

    /// Returns the output with this identity, for changes; `None` if it was removed.
    pub fn get_mut(&mut self, id: OutputId) -> Option<&mut Screen> {
        self.screens.iter_mut().find(|screen| screen.id() == id)
    }

    /// Returns all outputs.
    pub fn iter(&self) -> impl Iterator<Item = &Screen> {
        self.screens.iter()
    }

    /// Returns all outputs.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Screen> {
        self.screens.iter_mut()
    }

    /// Returns the first output.
    pub fn first(&self) -> Option<&Screen> {
        self.screens.first()
    }

    /// Returns the first output.
    pub fn first_mut(&mut self) -> Option<&mut Screen> {
        self.screens.first_mut()
    }

    /// Schedules a frame of each output.
    pub fn schedule_redraw(&mut self) {
        for screen in &mut self.screens {
            screen.schedule_redraw();
        }
    }

    /// Sets the report, which gets a record of every presented frame.
    pub fn set_report(&mut self, report: Report) {
        self.report = Some(report);
    }

    /// Returns the output that shows a point of the desktop, or the first one.
    pub fn at(&self, point: Point<f64, Logical>) -> Option<OutputView> {
        let views = self.views();
        let shows = |view: &&OutputView| contains(view.logical, point);
        views.iter().find(shows).or_else(|| views.first()).copied()
    }

    /// Returns the nearest point that an output shows.
    pub fn clamp(&self, point: Point<f64, Logical>) -> Point<f64, Logical> {
        let views = self.views();
        let nearest = |rect: Rect| -> Point<f64, Logical> {
            let last = |edge: i32| f64::from(edge.saturating_sub(1));
            (
                point
                    .x
                    .clamp(f64::from(rect.x), last(rect.right().max(rect.x + 1))),
                point
                    .y
                    .clamp(f64::from(rect.y), last(rect.bottom().max(rect.y + 1))),
            )
                .into()
        };
        let distance =
            |to: Point<f64, Logical>| (to.x - point.x).powi(2) + (to.y - point.y).powi(2);
        if views.iter().any(|view| contains(view.logical, point)) {
            return point;
        }
        let points = views.iter().map(|view| nearest(view.logical));
        let nearest_point = points.min_by(|one, other| distance(*one).total_cmp(&distance(*other)));
        nearest_point.unwrap_or(point)
    }

    /// Returns whether each output can scan a buffer out.
    pub fn can_scan_out(&self, buffer: &ClientBuffer) -> bool {
        !self.screens.is_empty()
            && self
                .screens
                .iter()
                .all(|screen| screen.backend().can_scan_out(buffer))
    }

    /// Returns the total number of bytes that the CPU has written to textures and to output buffers in memory of this process.
    pub(crate) fn written_bytes(&mut self) -> u64 {
        let mut renderers: Vec<SharedRenderer> = Vec::new();
        let mut bytes: u64 = 0;
        for screen in &mut self.screens {
            bytes = bytes.saturating_add(screen.backend_mut().swapchain().written_bytes());
            let renderer = screen.renderer();
            if !renderers.iter().any(|known| Rc::ptr_eq(known, renderer)) {
                renderers.push(renderer.clone());
            }
        }
        renderers.iter().fold(bytes, |bytes, renderer| {
            bytes.saturating_add(renderer.borrow().uploaded_bytes())
        })
    }
}

fn contains(rect: Rect, point: Point<f64, Logical>) -> bool {
    (f64::from(rect.x)..f64::from(rect.right())).contains(&point.x)
        && (f64::from(rect.y)..f64::from(rect.bottom())).contains(&point.y)
}
