//! Sets up the stream: opens the camera and the window, plans and allocates buffers, and imports them into the camera's queue and
//! the compositor.

use anyhow::{Context, anyhow};
use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::backend::v4l2::{Device, Direction, Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc, Layout};
use covalent_alloc::solve::Plan;
use covalent_client_demo::camera_size;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::negotiation::{NegotiatedBuffers, Negotiation};
use covalent_client_demo::open_window::open_window;
use covalent_client_demo::print;
use covalent_client_demo::tranche_request::tranche_requests;
use covalent_client_demo::window::Window;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::options::Options;

/// The least number of buffers: with less the camera stalls as soon as the compositor is late by one frame.
const BUFFERS: u32 = 4;
/// The size of a window where the compositor suggests none.
const ANY_SIZE: (u32, u32) = (640, 480);

/// Everything that a stream needs.
pub(crate) struct Setup {
    pub(crate) events: Events,
    pub(crate) compositor: Compositor,
    pub(crate) window: Window,
    pub(crate) camera_buffers: CameraBuffers,
    pub(crate) stream: Stream,
    pub(crate) wl_buffers: Vec<WlBuffer>,
}

/// The camera's buffers, and the plan from which they were allocated.
#[derive(Debug)]
pub(crate) struct CameraBuffers {
    camera: String,
    plan: Plan,
    buffers: Vec<Buffer>,
    copies: Option<HostTransfer>,
}

impl CameraBuffers {
    /// Returns the name of the source that allocated the buffers.
    pub(crate) fn source_name(&self) -> String {
        self.plan.source_name().to_owned()
    }

    /// Returns the path of the camera's node.
    pub(crate) fn camera_name(&self) -> &str {
        &self.camera
    }

    /// Returns the layout of the first buffer as it was allocated. All buffers have the same layout.
    pub(crate) fn layout(&self) -> &Layout {
        self.buffers
            .first()
            .map_or_else(|| self.plan.layout(), Buffer::layout)
    }

    /// Returns the buffers, by their index in the camera's queue.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the size of the picture in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let extent = self.plan.layout().extent();
        (extent.width(), extent.height())
    }

    /// Copies what the camera wrote into the buffer at `index` to the host, where a virtual GPU keeps a copy of its own.
    pub(crate) fn publish(&self, index: usize) -> Result<(), Failure> {
        let Some(copies) = &self.copies else {
            return Ok(());
        };
        copies
            .update(index)
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }

    /// Returns the plan as JSON, or null where it cannot be serialised.
    pub(crate) fn plan_data(&self) -> serde_json::Value {
        serde_json::to_value(&self.plan).unwrap_or_default()
    }
}

/// Opens the window, plans, allocates, and imports the buffers into the camera's queue and the compositor.
pub(crate) fn setup(options: &Options) -> Result<Setup, Failure> {
    let device = Device::open(&options.device).map_err(exit_code::camera_failure)?;
    let queue = device
        .queue(Direction::Capture)
        .map_err(exit_code::camera_failure)?;
    let (mut events, mut compositor) = Events::connect().map_err(exit_code::compositor_failure)?;
    // The program plans once, so it drops the feedback objects and ignores later feedback.
    let (window, _) = open_window(
        &mut events,
        &mut compositor,
        "camera",
        options.fullscreen || !options.window,
    )?;
    let extent = extent(options, &queue, &compositor)?;
    let mut collection = BufferCollection::new(extent)
        .with_count(BUFFERS)
        .with_format(options.format.unwrap_or(Fourcc::XRGB8888));
    if let Some(format) = options.format {
        collection = collection.with_only_format(format);
    }
    collection.add(&queue).map_err(exit_code::backend_failure)?;
    let mut negotiation = Negotiation::new(collection, "the camera and the compositor")
        .with_only_source(options.source.as_deref());
    let NegotiatedBuffers {
        plan,
        buffers,
        imported: stream,
        wl_buffers,
        copies,
        summary,
    } = negotiation.negotiate(&mut events, &mut compositor, |collection, buffers| {
        let mut stream = collection.import(&queue, buffers)?;
        // Some drivers check the memory only in VIDIOC_QBUF.
        for index in 0..buffers.len() {
            stream.queue(index)?;
        }
        Ok(stream)
    })?;
    explain(options, &summary)?;
    window.fit(
        (extent.width(), extent.height()),
        compositor.configure.unwrap_or_default(),
    );
    if let Some(rate) = options.fps {
        queue
            .set_frame_rate(rate)
            .map_err(exit_code::camera_failure)?;
    }
    Ok(Setup {
        events,
        compositor,
        window,
        camera_buffers: CameraBuffers {
            camera: options.device.display().to_string(),
            plan,
            buffers,
            copies,
        },
        stream,
        wl_buffers,
    })
}

/// Returns the size of the frames: that of `--size`, or the one that suits the screen in a format that the compositor supports.
fn extent(options: &Options, queue: &Queue, compositor: &Compositor) -> Result<Extent, Failure> {
    if let Some(extent) = options.size {
        return Ok(extent);
    }
    let feedback = compositor.current_feedback().ok_or_else(|| {
        Failure::new(
            Exit::Unexpected,
            anyhow!("the compositor sent no dma-buf feedback"),
        )
    })?;
    let requests = tranche_requests(feedback);
    let takes = |fourcc| {
        options.format.is_none_or(|format| format == fourcc)
            && requests.iter().any(|request| request.supports(fourcc))
    };
    camera_size::choose(queue, takes, wanted(options, compositor))
        .map_err(exit_code::camera_failure)
}

/// Returns the size that fills this screen, or the window.
fn wanted(options: &Options, compositor: &Compositor) -> Extent {
    let configured = compositor
        .configure
        .and_then(|configure| configure.size.filter(|_| configure.fullscreen));
    let mode = compositor.output.map(|mode| (mode.width, mode.height));
    let sides = if options.window {
        configured.unwrap_or(ANY_SIZE)
    } else {
        mode.or(configured).unwrap_or(ANY_SIZE)
    };
    Extent::new(sides.0, sides.1)
        .or_else(|_| Extent::new(ANY_SIZE.0, ANY_SIZE.1))
        .unwrap_or_else(|_| unreachable!("a small size is a size"))
}

/// Prints the summary of the negotiation where `--explain` was given.
fn explain(options: &Options, summary: &str) -> Result<(), Failure> {
    if !options.explain {
        return Ok(());
    }
    print::text(&format!("{summary}\n"), options.json)
        .context("printing the plan")
        .map_err(|error| Failure::new(Exit::Unexpected, error))
}
