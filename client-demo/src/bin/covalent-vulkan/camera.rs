//! A camera whose buffers are textures of the Vulkan device. The buffers are planned for the camera and the device, and imported
//! once. A buffer is queued in the camera again when the rendering that samples it is complete.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use covalent_alloc::backend::BackendError;
use covalent_alloc::backend::v4l2::{Colours, Device, Direction, FrameInfo, Queue, Stream};
use covalent_alloc::backend::vulkan::{Gpu, Purpose};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc, Layout};
use covalent_alloc::solve::Plan;
use covalent_alloc::sync::Accessor;
use covalent_client_demo::buffers::{BeginWrite, Buffers, HandOverError, Holder};
use covalent_client_demo::camera_size;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::{Events, Ready};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::frame_size::is_incomplete;
use covalent_client_demo::frame_stats::FrameStats;
use covalent_client_demo::negotiation::Negotiation;

use crate::gpus::display_name;
use crate::negotiations::{add_device, trial_participant};
use crate::options::Options;
use crate::render::{Renderer, Texture};

/// The minimum number of buffers: one that is sampled, one that is sampled next, and two in the camera's queue.
const BUFFERS: u32 = 4;
/// What the device does with the camera's buffers, as a phrase for messages.
pub(crate) const SAMPLED: &str = "sampled";
/// How long the camera may deliver no frame before the program tries VIDIOC_DQBUF without a poll event. The ioctl fails if the
/// camera was unplugged.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a camera with queued buffers may deliver no frame before the program reports it as unplugged.
const CAMERA_SILENCE: Duration = Duration::from_secs(10);

/// A camera that streams into textures.
#[derive(Debug)]
pub(crate) struct Camera {
    name: String,
    plan: Plan,
    colours: Colours,
    stream: Stream,
    textures: Vec<Texture>,
    ready: Ready,
    holders: Buffers,
    newest: Option<FrameInfo>,
    last_frame: Instant,
}

/// The camera's queue and the negotiation of its buffers with the device.
pub(crate) struct CameraNegotiation {
    queue: Queue,
    pub(crate) negotiation: Negotiation,
}

/// Whether the camera and the device could import the buffers of a plan.
pub(crate) enum CameraImport {
    /// The camera and the device imported the buffers.
    Imported(Box<Camera>, Box<Renderer>),
    /// The camera or the device rejected the buffers, for this reason. A plan with another source may work.
    Refused(String),
}

impl CameraNegotiation {
    /// Opens the camera and starts a negotiation with the camera and the device as participants. The camera captures at the size
    /// `wanted` if it supports that size.
    pub(crate) fn new(
        options: &Options,
        node: &Path,
        gpu: &Gpu,
        wanted: Extent,
    ) -> Result<Self, Failure> {
        let device = Device::open(node).map_err(exit_code::camera_failure)?;
        let queue = device
            .queue(Direction::Capture)
            .map_err(exit_code::camera_failure)?;
        let sampler = gpu
            .participant_for(Purpose::Sample, wanted, None)
            .map_err(Failure::unexpected)?;
        let sampled = sampler.constraints().formats.clone().unwrap_or_default();
        let takes = |fourcc: Fourcc| {
            options.format.is_none_or(|format| format == fourcc) && sampled.contains_fourcc(fourcc)
        };
        let extent =
            camera_size::choose(&queue, takes, wanted).map_err(exit_code::camera_failure)?;
        // XRGB8888 is preferred, because it needs no YUV conversion.
        let mut collection = BufferCollection::new(extent)
            .with_count(BUFFERS)
            .with_format(Fourcc::XRGB8888);
        if let Some(format) = options.format {
            collection = collection.with_only_format(format);
        }
        collection.add(&queue).map_err(exit_code::backend_failure)?;
        add_device(&mut collection, gpu, Purpose::Sample)?;
        let trial_participant = trial_participant(&collection, gpu);
        let participants_label = format!("the camera and {}", display_name(gpu));
        Ok(Self {
            queue,
            negotiation: Negotiation::new(collection, participants_label)
                .with_trial_import(trial_participant),
        })
    }

    /// Allocates the plan's buffers, imports them into the camera's queue and as textures, and starts the stream.
    pub(crate) fn start_camera(
        &mut self,
        plan: &Plan,
        gpu: &Gpu,
        events: &mut Events,
    ) -> Result<CameraImport, Failure> {
        let mut stream = match self.stream(plan) {
            Ok(stream) => stream,
            Err(error) => {
                return Ok(CameraImport::Refused(
                    exit_code::as_import_refusal(error)?.to_string(),
                ));
            }
        };
        let colours = self.queue.colours().map_err(exit_code::camera_failure)?;
        let format = plan.layout().format();
        let mut renderer =
            Renderer::new(gpu, Some((format, colours))).map_err(Failure::unexpected)?;
        let mut textures = Vec::new();
        for buffer in stream.buffers() {
            match renderer.texture(buffer) {
                Ok(texture) => textures.push(texture),
                Err(error) => return Ok(CameraImport::Refused(error.to_string())),
            }
        }
        let mut holders = Buffers::new(textures.len(), Accessor::new("the camera", []));
        for index in 0..textures.len() {
            queue_for_capture(&mut holders, index)?;
        }
        let ready = events
            .watch(stream.as_fd())
            .map_err(exit_code::compositor_failure)?;
        stream.start().map_err(exit_code::camera_failure)?;
        let camera = Camera {
            name: self.queue.device().path().display().to_string(),
            plan: plan.clone(),
            colours,
            stream,
            textures,
            ready,
            holders,
            newest: None,
            last_frame: Instant::now(),
        };
        Ok(CameraImport::Imported(Box::new(camera), Box::new(renderer)))
    }

    /// Allocates buffers for a plan, imports them into the camera's queue, and queues all of them.
    fn stream(&mut self, plan: &Plan) -> Result<Stream, BackendError> {
        let collection = self.negotiation.collection();
        let buffers = collection.allocate(plan)?;
        let mut stream = collection.import(&self.queue, &buffers)?;
        // Some drivers check a buffer's memory only in VIDIOC_QBUF.
        for index in 0..buffers.len() {
            stream.queue(index)?;
        }
        Ok(stream)
    }
}

impl Camera {
    /// Returns the path of the camera's device node.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the plan of the camera's buffers.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the name of the source that allocated the buffers.
    pub(crate) fn source_name(&self) -> &str {
        self.plan.source_name()
    }

    /// Returns the dma-bufs, by their index in the camera's queue.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        self.stream.buffers()
    }

    /// Returns the layout with which the buffers were allocated.
    pub(crate) fn layout(&self) -> &Layout {
        self.buffers()
            .first()
            .map_or_else(|| self.plan.layout(), Buffer::layout)
    }

    /// Returns width and height of the picture in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let extent = self.layout().visible().extent();
        (extent.width(), extent.height())
    }

    /// Returns the YUV matrix and the range of the pixels, for messages; `None` for RGB.
    pub(crate) fn conversion(&self) -> Option<String> {
        let info = self.layout().format().fourcc.info()?;
        info.is_yuv.then(|| {
            let encoding = self.colours.encoding;
            let range = if self.colours.is_full_range {
                "full"
            } else {
                "narrow"
            };
            format!("{encoding} {range}")
        })
    }

    /// Dequeues every frame that is ready. Keeps the newest frame for rendering, and queues the other buffers again.
    pub(crate) fn capture(&mut self, stats: &mut FrameStats) -> Result<(), Failure> {
        // The fd of an unplugged camera may never become readable; VIDIOC_DQBUF then returns the error.
        if !self.ready.take() && self.last_frame.elapsed() < PROBE_INTERVAL {
            return Ok(());
        }
        while let Some(frame) = self.stream.dequeue().map_err(exit_code::camera_failure)? {
            // After VIDIOC_DQBUF the camera no longer writes to the buffer.
            self.holders
                .end_write(frame.index, None)
                .map_err(handover_failure)?;
            stats.captured(frame.sequence);
            self.last_frame = Instant::now();
            let is_incomplete = is_incomplete(self.layout(), frame.bytes_used);
            let skipped_frame = if frame.is_damaged || is_incomplete {
                Some(frame)
            } else {
                self.newest.replace(frame)
            };
            if let Some(old) = skipped_frame {
                match is_incomplete {
                    true => stats.incomplete(),
                    false => stats.skipped(),
                }
                self.requeue(old.index)?;
            }
        }
        self.check_silence()
    }

    /// Returns whether a captured frame is ready to be sampled.
    pub(crate) fn has_picture(&self) -> bool {
        self.newest.is_some()
    }

    /// Takes the newest frame for rendering. The caller returns its buffer with [`Camera::requeue`].
    pub(crate) fn take_picture(&mut self) -> Option<(FrameInfo, Texture)> {
        let frame = self.newest.take()?;
        let texture = self.textures.get(frame.index)?.clone();
        Some((frame, texture))
    }

    /// Queues a buffer in the camera again.
    pub(crate) fn requeue(&mut self, index: usize) -> Result<(), Failure> {
        queue_for_capture(&mut self.holders, index)?;
        self.stream.queue(index).map_err(exit_code::camera_failure)
    }

    /// Returns an error if the camera delivers no frames although buffers are queued.
    fn check_silence(&self) -> Result<(), Failure> {
        if self.holders.held_by(Holder::Producer) > 0 && self.last_frame.elapsed() > CAMERA_SILENCE
        {
            return Err(Failure::new(
                Exit::CameraGone,
                anyhow!(
                    "{}: the camera delivered no frame for {} s although buffers are queued; check its cable, or that its source has a signal",
                    self.name,
                    CAMERA_SILENCE.as_secs()
                ),
            ));
        }
        Ok(())
    }
}

/// Returns the size that a camera frame should have in this window or on this screen.
pub(crate) fn preferred_size(compositor: &Compositor, size: (u32, u32)) -> Extent {
    let (width, height) = compositor.output.map_or(size, |mode| {
        (size.0.min(mode.width), size.1.min(mode.height))
    });
    Extent::new(width, height)
        .or_else(|_| Extent::new(640, 480))
        .unwrap_or_else(|_| unreachable!("640x480 is a valid size"))
}

/// Records that the camera writes the buffer at `index`. It fails if the device still uses the buffer.
fn queue_for_capture(holders: &mut Buffers, index: usize) -> Result<(), Failure> {
    match holders.begin_write(index).map_err(handover_failure)? {
        BeginWrite::Ready(_) => Ok(()),
        BeginWrite::Wait(_) => Err(handover_failure(HandOverError::Held {
            index,
            from: Holder::Client,
            to: Holder::Producer,
            actual: Holder::Compositor,
        })),
    }
}

/// Makes the failure for a camera's buffer whose holder is not the expected one.
fn handover_failure(error: HandOverError) -> Failure {
    Failure::new(
        Exit::Unexpected,
        anyhow!(error).context(
            "the holder of a camera's buffer is not the one that this program expects, which is a bug of this program",
        ),
    )
}
