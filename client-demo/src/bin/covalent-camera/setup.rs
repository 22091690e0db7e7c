//! Sets up the stream: opens the camera and the window, plans and allocates buffers, and imports them into the camera's queue and
//! the compositor.

use anyhow::Context;
use covalent_alloc::backend::BackendError;
use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::backend::v4l2::{Direction, FormatDescription, Queue, Stream};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Solution, solve};
use covalent_client_demo::buffer_sets::BufferSets;
use covalent_client_demo::camera_size;
use covalent_client_demo::camera_stream::CameraStream;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::conversion_choice::ConversionChoice;
use covalent_client_demo::converted_camera::ConvertedCamera;
use covalent_client_demo::encoder::{Encoder, EncoderDevice};
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::frame_converter::{ConversionKind, ConversionReport};
use covalent_client_demo::frame_sharing::SHARED_BUFFERS;
use covalent_client_demo::negotiation::{NegotiatedBuffers, Negotiation, no_plan};
use covalent_client_demo::open_window::open_window;
use covalent_client_demo::print;
use covalent_client_demo::shm_copy::{CopyReport, ShmCopy, frame_reader};
use covalent_client_demo::source_choice;
use covalent_client_demo::tranche_request::{TrancheRequest, tranche_requests};
use covalent_client_demo::window::Window;
use covalent_client_demo::xrgb;

use crate::camera_buffers::CameraBuffers;
use crate::controls;
use crate::conversion;
use crate::display_buffers::DisplayBuffers;
use crate::options::Options;
use crate::rate;
use crate::replan::Replanner;

/// The minimum number of buffers. With fewer, the camera stalls as soon as the compositor releases a buffer one frame late.
const BUFFERS: u32 = 4;
/// The size of the window if the compositor suggests none.
const ANY_SIZE: (u32, u32) = (640, 480);

/// The connection, window, buffers and queues of a stream.
pub(crate) struct Setup {
    pub(crate) events: Events,
    pub(crate) compositor: Compositor,
    pub(crate) window: Window,
    pub(crate) camera_buffers: CameraBuffers,
    pub(crate) stream: CameraStream,
    pub(crate) display: DisplayBuffers,
    /// Why and how every frame is converted; `None` where the camera writes the buffers that are shown.
    pub(crate) converted: Option<ConversionReport>,
    pub(crate) encoder: Option<Encoder>,
    /// Replaces the buffers after new feedback; `None` where the buffers stay.
    pub(crate) replanner: Option<Replanner>,
}

/// Opens the window, plans, allocates, and imports the buffers into the camera's queue and the compositor.
pub(crate) fn setup(options: &Options) -> Result<Setup, Failure> {
    let device = controls::open(options)?;
    let queue = device
        .queue(Direction::Capture)
        .map_err(exit_code::camera_failure)?;
    let (mut events, mut compositor) = Events::connect().map_err(exit_code::compositor_failure)?;
    let (window, subscriptions) = open_window(
        &mut events,
        &mut compositor,
        "camera",
        options.fullscreen || !options.window,
    )?;
    let extent = extent(options, &queue, &compositor)?;
    let refresh = compositor.output.map(|mode| mode.refresh_millihertz);
    let choice = conversion::choose(options, &queue, &requests(&compositor), extent, refresh)?;
    if let Some(choice) = choice.as_ref().filter(|_| options.no_copy) {
        return Err(conversion::refused(options, choice));
    }
    let encoder = match &options.encode {
        Some(path) => {
            let device = EncoderDevice::open(options.encoder.as_deref());
            Some((device.map_err(Failure::unexpected)?, path))
        }
        None => None,
    };
    let devices = Devices {
        camera: &queue,
        conversion: choice.as_ref(),
        extent,
        encoder: encoder.as_ref().map(|(encoder, _)| encoder),
        // Buffers that other processes hold are not available to the camera and the display, so more are allocated.
        count: match options.share {
            Some(_) => BUFFERS.saturating_add(SHARED_BUFFERS),
            None => BUFFERS,
        },
    };
    let Planned {
        plan,
        buffers,
        streams,
        display,
        copies,
        summary,
        negotiation,
    } = plan(options, devices, &mut events, &mut compositor)?;
    let (stream, pictures) = streams;
    let encoder = match (encoder, pictures) {
        (Some((encoder, path)), Some(pictures)) => {
            let coded = plan.layout().extent();
            let encoder = encoder.start(pictures, coded, path);
            Some(encoder.map_err(Failure::unexpected)?)
        }
        _ => None,
    };
    let converted = match &choice {
        Some(choice) => Some(conversion::announce(choice, extent)?),
        None => None,
    };
    explain(options, &summary)?;
    if !display.is_copied() {
        window.crop(plan.layout());
    }
    window.fit(
        (extent.width(), extent.height()),
        compositor.configure.unwrap_or_default(),
    );
    set_frame_rate(options, &queue, &compositor)?;
    // The thread of a conversion has mapped the buffers that are shown, so they stay.
    let replanner = negotiation
        .filter(|_| choice.is_none())
        .and_then(|negotiation| Replanner::new(options, &queue, negotiation, subscriptions));
    let camera_buffers = CameraBuffers::new(&queue, plan, buffers, copies)?;
    let camera_buffers = match &choice {
        Some(_) => camera_buffers.with_full_range(),
        None => camera_buffers,
    };
    Ok(Setup {
        events,
        compositor,
        window,
        camera_buffers,
        stream,
        display,
        converted,
        encoder,
        replanner,
    })
}

/// Sets the frame rate of `--fps`, or the highest rate that the display can show.
pub(crate) fn set_frame_rate(
    options: &Options,
    queue: &Queue,
    compositor: &Compositor,
) -> Result<(), Failure> {
    match options.fps {
        Some(rate) => queue.set_frame_rate(rate),
        None => {
            let refresh = compositor.output.map(|mode| mode.refresh_millihertz);
            rate::set_best(queue, refresh)
        }
    }
    .map(|_| ())
    .map_err(exit_code::camera_failure)
}

/// The devices of this process that share the buffers.
#[derive(Clone, Copy)]
struct Devices<'a> {
    camera: &'a Queue,
    /// The conversion of the camera's frames. The processor then writes the buffers, and not the camera.
    conversion: Option<&'a ConversionChoice>,
    /// The size of the pictures.
    extent: Extent,
    encoder: Option<&'a EncoderDevice>,
    /// The minimum number of buffers that a plan has.
    count: u32,
}

impl Devices<'_> {
    /// Returns a collection with these devices as participants. `None` as format permits every format.
    fn collection(self, format: Option<Fourcc>) -> Result<BufferCollection, Failure> {
        let mut collection = match self.conversion {
            Some(_) => conversion::collection(self.extent, self.count)?,
            None => collection(self.camera, self.extent, format)?.with_count(self.count),
        };
        if let Some(encoder) = self.encoder {
            collection
                .add(encoder.queue())
                .map_err(exit_code::backend_failure)?;
        }
        Ok(collection)
    }

    /// Imports the buffers into the queues of the devices, and queues them in the camera. Buffers that the processor writes are
    /// mapped instead.
    fn import(
        self,
        collection: &mut BufferCollection,
        buffers: &[Buffer],
    ) -> Result<Streams, BackendError> {
        let stream = match self.conversion {
            Some(choice) => {
                let (format, kind) = (choice.pixel_format, choice.kind);
                let converted =
                    ConvertedCamera::new(self.camera, format, kind, self.extent, buffers)?;
                CameraStream::Converted(Box::new(converted))
            }
            None => CameraStream::Direct(import_and_queue(collection, self.camera, buffers)?),
        };
        let pictures = match self.encoder {
            Some(encoder) => Some(collection.import(encoder.queue(), buffers)?),
            None => None,
        };
        Ok((stream, pictures))
    }
}

/// The camera's stream, and the stream of the encoder's raw pictures.
type Streams = (CameraStream, Option<Stream>);

/// A plan, with its buffers imported into the camera's queue and the compositor.
struct Planned {
    plan: Plan,
    buffers: Vec<Buffer>,
    streams: Streams,
    display: DisplayBuffers,
    copies: Option<HostTransfer>,
    summary: String,
    /// The negotiation, with which a plan can be made again; `None` where every frame is copied.
    negotiation: Option<Negotiation>,
}

/// Negotiates buffers that the camera and the compositor share. If no plan for both exists and `--no-copy` is not given, plans
/// buffers for the camera alone; this process then copies their frames to shared memory.
fn plan(
    options: &Options,
    devices: Devices<'_>,
    events: &mut Events,
    compositor: &mut Compositor,
) -> Result<Planned, Failure> {
    let members = match (devices.conversion, devices.encoder) {
        (None, Some(_)) => "the camera, the encoder and the compositor",
        (None, None) => "the camera and the compositor",
        (Some(_), Some(_)) => "the processor, the encoder and the compositor",
        (Some(_), None) => "the processor and the compositor",
    };
    let collection = devices.collection(options.format)?;
    let mut negotiation =
        Negotiation::new(collection, members).with_only_source(options.source.as_deref());
    let negotiated = negotiation.negotiate(events, compositor, |collection, buffers| {
        devices.import(collection, buffers)
    });
    match negotiated {
        Ok(NegotiatedBuffers {
            plan,
            buffers,
            imported: streams,
            wl_buffers,
            copies,
            summary,
        }) => Ok(Planned {
            plan,
            buffers,
            streams,
            display: DisplayBuffers::Shared(BufferSets::new(wl_buffers)),
            copies,
            summary,
            negotiation: Some(negotiation),
        }),
        Err(failure) if failure.exit() == Exit::NoPlan && !options.no_copy => {
            let reason = negotiation.why_no_plan(compositor);
            plan_with_copy(options, devices, events, compositor, &failure, reason)
        }
        Err(failure) => Err(failure),
    }
}

/// Returns a collection with the camera as a participant. `None` as format permits every format.
pub(crate) fn collection(
    queue: &Queue,
    extent: Extent,
    format: Option<Fourcc>,
) -> Result<BufferCollection, Failure> {
    let mut collection = BufferCollection::new(extent)
        .with_count(BUFFERS)
        .with_format(format.unwrap_or(Fourcc::XRGB8888));
    if let Some(format) = format {
        collection = collection.with_only_format(format);
    }
    collection.add(queue).map_err(exit_code::backend_failure)?;
    Ok(collection)
}

/// Imports the buffers into the camera's queue and queues them.
pub(crate) fn import_and_queue(
    collection: &mut BufferCollection,
    queue: &Queue,
    buffers: &[Buffer],
) -> Result<Stream, BackendError> {
    let mut stream = collection.import(queue, buffers)?;
    // Some drivers check a buffer's memory only in VIDIOC_QBUF.
    for index in 0..buffers.len() {
        stream.queue(index)?;
    }
    Ok(stream)
}

/// Plans buffers for the camera alone, from which this process copies every frame to shared memory. If the camera cannot import
/// the buffers, it plans again without their source. `without_copy` is the failure that says why there is no plan without a copy,
/// and `reason` is its summary in one line.
fn plan_with_copy(
    options: &Options,
    devices: Devices<'_>,
    events: &Events,
    compositor: &Compositor,
    without_copy: &Failure,
    reason: String,
) -> Result<Planned, Failure> {
    let mut collection = devices.collection(options.format)?;
    collection
        .add(&frame_reader())
        .map_err(exit_code::backend_failure)?;
    let mut request = collection.request();
    request.sources = source_choice::chosen(options.source.as_deref(), &request.sources)?;
    let mut refusals = Vec::new();
    // Each source is tried at most once, so the loop ends.
    let (plan, buffers, streams) = loop {
        let plan = match solve(&request) {
            Solution::Share(plan) => plan,
            other => {
                let mut lines = vec![without_copy.to_string()];
                lines.append(&mut refusals);
                lines.push(other.explain());
                return Err(no_plan("the camera and shared memory", &lines));
            }
        };
        let imported = collection.allocate(&plan).and_then(|buffers| {
            let streams = devices.import(&mut collection, &buffers)?;
            Ok((buffers, streams))
        });
        match imported {
            Ok((buffers, streams)) => break (plan, buffers, streams),
            Err(error) => {
                let refusal = exit_code::as_import_refusal(error)?;
                refusals.push(format!("{} was tried: {refusal}", plan.source_name()));
                request.sources.retain(|source| source.id != *plan.source());
            }
        }
    };
    let colours = devices
        .camera
        .colours()
        .map_err(exit_code::camera_failure)?;
    let handle = events.handle();
    let copy = ShmCopy::new(compositor, &handle, &buffers, colours, (0, BUFFERS))
        .map_err(|error| Failure::new(Exit::Allocation, error))?;
    let report = CopyReport::new(reason, &copy, plan.layout());
    report.print("covalent-camera")?;
    let summary = format!(
        "{without_copy}\n\nThe frames in these buffers are copied into shared memory.\n{}",
        plan.explain()
    );
    Ok(Planned {
        plan,
        buffers,
        streams,
        display: DisplayBuffers::Copied(Box::new(copy), report),
        copies: None,
        summary,
        negotiation: None,
    })
}

/// Returns the compositor's tranches as participants of a plan.
fn requests(compositor: &Compositor) -> Vec<TrancheRequest> {
    compositor
        .current_feedback()
        .map(|feedback| tranche_requests(feedback, compositor.crop()))
        .unwrap_or_default()
}

/// Returns the size of the frames: the size of `--size`, or the camera's size that suits the screen best in a format that the
/// compositor supports. Where the camera and the compositor have no format in common, every frame will be copied, and the formats
/// count that this process can copy. Where there is none of those either, the formats count that it can convert.
pub(crate) fn extent(
    options: &Options,
    queue: &Queue,
    compositor: &Compositor,
) -> Result<Extent, Failure> {
    if let Some(extent) = options.size {
        return Ok(extent);
    }
    let requests = requests(compositor);
    let is_wanted = |fourcc: Fourcc| options.format.is_none_or(|format| format == fourcc);
    let is_shared = |fourcc: Fourcc| {
        is_wanted(fourcc) && requests.iter().any(|request| request.supports(fourcc))
    };
    let is_copied = |fourcc: Fourcc| is_wanted(fourcc) && xrgb::FORMATS.contains(&fourcc);
    let formats = queue.formats().map_err(exit_code::camera_failure)?;
    let has = |is_supported: &dyn Fn(Fourcc) -> bool| {
        let mut fourccs = formats.iter().filter_map(|format| format.fourcc);
        fourccs.any(is_supported)
    };
    let is_converted = |format: &FormatDescription| {
        is_wanted(Fourcc(format.pixel_format.0))
            && ConversionKind::of(format.pixel_format).is_some()
    };
    let wanted = preferred_extent(options, compositor);
    let chosen = if has(&is_shared) {
        camera_size::choose(queue, is_shared, wanted)
    } else if has(&is_copied) {
        camera_size::choose(queue, is_copied, wanted)
    } else {
        camera_size::choose_among(queue, is_converted, wanted)
    };
    chosen.map_err(exit_code::camera_failure)
}

/// Returns the size that the frames should have: the size of the display's mode, or with `--window` the size of a fullscreen
/// configure. Without either it is [`ANY_SIZE`].
fn preferred_extent(options: &Options, compositor: &Compositor) -> Extent {
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
        .unwrap_or_else(|_| unreachable!("640x480 is a valid size"))
}

/// Prints the summary of the negotiation where `--explain` was given.
pub(crate) fn explain(options: &Options, summary: &str) -> Result<(), Failure> {
    if !options.explain {
        return Ok(());
    }
    print::text(&format!("{summary}\n"), options.json)
        .context("printing the plan")
        .map_err(Failure::unexpected)
}
