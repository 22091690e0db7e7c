//! A camera whose buffers are textures: planned with the device, imported once, and queued again when the device is done.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use covalent_alloc::backend::BackendError;
use covalent_alloc::backend::v4l2::{
    Colours, Device, Direction, Encoding, FrameInfo, Queue, Stream,
};
use covalent_alloc::backend::vulkan::{Gpu, Purpose};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc, Layout};
use covalent_alloc::solve::Plan;
use covalent_alloc::sync::Party;
use covalent_client_demo::buffers::{Buffers, HandOverError, Holder, Produce};
use covalent_client_demo::camera_size;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::{Events, Ready};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::frame_stats::FrameStats;
use covalent_client_demo::negotiation::Negotiation;

use crate::gpus::display_name;
use crate::negotiations::{join, untried};
use crate::options::Options;
use crate::render::{Renderer, Texture};

/// The least number of buffers: one is drawn, one is next, and the camera has two.
const BUFFERS: u32 = 4;
/// What the device does with the buffers, in words.
pub(crate) const SAMPLED: &str = "sampled";
/// A camera that is silent this long is asked.
const LOOK: Duration = Duration::from_secs(1);
/// A camera with buffers and without a frame for this long is taken for gone.
const SILENCE: Duration = Duration::from_secs(10);

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

/// What is known of the camera and the device, before their buffers are.
pub(crate) struct Terms {
    queue: Queue,
    pub(crate) negotiation: Negotiation,
}

/// What camera and device made of a plan.
pub(crate) enum Taken {
    /// Both use its buffers.
    Both(Box<Camera>, Box<Renderer>),
    /// One of them refused its memory, and another plan may work.
    Refused(String),
}

impl Terms {
    /// Asks the camera and the device; the pictures are to have the size `wanted`, where the camera has that.
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
            .map_err(|error| Failure::new(Exit::Unexpected, error))?;
        let sampled = sampler.constraints().formats.clone().unwrap_or_default();
        let takes = |fourcc: Fourcc| {
            options.format.is_none_or(|format| format == fourcc) && sampled.contains_fourcc(fourcc)
        };
        let extent =
            camera_size::choose(&queue, takes, wanted).map_err(exit_code::camera_failure)?;
        // What need not be converted is drawn as it is.
        let mut collection = BufferCollection::new(extent)
            .with_count(BUFFERS)
            .with_format(Fourcc::XRGB8888);
        if let Some(format) = options.format {
            collection = collection.with_only_format(format);
        }
        collection.add(&queue).map_err(exit_code::backend_failure)?;
        join(&mut collection, gpu, Purpose::Sample)?;
        let untried = untried(&collection, gpu);
        let between = format!("the camera and {}", display_name(gpu));
        Ok(Self {
            queue,
            negotiation: Negotiation::new(collection, between).with_untried(untried),
        })
    }

    /// Allocates by the plan and begins to stream into textures.
    pub(crate) fn start_camera(
        &mut self,
        plan: &Plan,
        gpu: &Gpu,
        events: &mut Events,
    ) -> Result<Taken, Failure> {
        let mut stream = match self.stream(plan) {
            Ok(stream) => stream,
            Err(error) => {
                return Ok(Taken::Refused(
                    exit_code::as_import_refusal(error)?.to_string(),
                ));
            }
        };
        let colours = self.queue.colours().map_err(exit_code::camera_failure)?;
        let format = plan.layout().format();
        let mut renderer = Renderer::new(gpu, Some((format, colours)))
            .map_err(|error| Failure::new(Exit::Unexpected, error))?;
        let mut textures = Vec::new();
        for buffer in stream.buffers() {
            match renderer.texture(buffer) {
                Ok(texture) => textures.push(texture),
                Err(error) => return Ok(Taken::Refused(error.to_string())),
            }
        }
        let mut holders = Buffers::new(textures.len(), Party::new("the camera", []));
        for index in 0..textures.len() {
            filled(&mut holders, index)?;
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
        Ok(Taken::Both(Box::new(camera), Box::new(renderer)))
    }

    fn stream(&mut self, plan: &Plan) -> Result<Stream, BackendError> {
        let buffers = self.negotiation.allocate(plan)?;
        let mut stream = self.negotiation.import(&self.queue, &buffers)?;
        // Some drivers look at the memory only when it is queued.
        for index in 0..buffers.len() {
            stream.queue(index)?;
        }
        Ok(stream)
    }
}

impl Camera {
    /// What messages call it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The plan of its buffers.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Who allocated, in words.
    pub(crate) fn source_name(&self) -> &str {
        self.plan.source_name()
    }

    /// The dma-bufs, by their index in the queue.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        self.stream.buffers()
    }

    /// Where the planes really lie.
    pub(crate) fn layout(&self) -> &Layout {
        self.buffers()
            .first()
            .map_or_else(|| self.plan.layout(), Buffer::layout)
    }

    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let extent = self.layout().extent();
        (extent.width(), extent.height())
    }

    /// How numbers become colours, in words; `None` for RGB, which is drawn as it is.
    pub(crate) fn conversion(&self) -> Option<String> {
        let info = self.layout().format().fourcc.info()?;
        let is_ycbcr = info.planes.len() > 1
            || [Fourcc::YUYV, Fourcc::UYVY].contains(&self.layout().format().fourcc);
        is_ycbcr.then(|| {
            let encoding = match self.colours.encoding {
                Encoding::Bt709 => "BT.709",
                Encoding::Bt2020 => "BT.2020",
                _ => "BT.601",
            };
            let range = if self.colours.is_full_range {
                "full"
            } else {
                "narrow"
            };
            format!("{encoding} {range}")
        })
    }

    /// Takes every frame that the camera has, if there is any; the newest is kept to be drawn, and the others go back.
    pub(crate) fn capture(&mut self, stats: &mut FrameStats) -> Result<(), Failure> {
        // A camera that was unplugged may leave its fd silent; a request tells.
        if !self.ready.take() && self.last_frame.elapsed() < LOOK {
            return Ok(());
        }
        while let Some(frame) = self.stream.dequeue().map_err(exit_code::camera_failure)? {
            // DQBUF means that the camera is done.
            self.holders.produced(frame.index, None).map_err(kept)?;
            stats.captured(frame.sequence);
            self.last_frame = Instant::now();
            let passed_over = if frame.is_damaged {
                Some(frame)
            } else {
                self.newest.replace(frame)
            };
            if let Some(old) = passed_over {
                stats.skipped();
                self.give_back(old.index)?;
            }
        }
        self.check_silence()
    }

    /// Whether there is a picture to draw.
    pub(crate) fn has_picture(&self) -> bool {
        self.newest.is_some()
    }

    /// Takes the newest picture out, to be drawn; it is given back by [`Camera::give_back`].
    pub(crate) fn take_picture(&mut self) -> Option<(FrameInfo, Texture)> {
        let frame = self.newest.take()?;
        let texture = self.textures.get(frame.index)?.clone();
        Some((frame, texture))
    }

    /// Lets the camera write to a buffer again.
    pub(crate) fn give_back(&mut self, index: usize) -> Result<(), Failure> {
        filled(&mut self.holders, index)?;
        self.stream.queue(index).map_err(exit_code::camera_failure)
    }

    fn check_silence(&self) -> Result<(), Failure> {
        if self.holders.held_by(Holder::Producer) > 0 && self.last_frame.elapsed() > SILENCE {
            return Err(Failure::new(
                Exit::CameraGone,
                anyhow!(
                    "{}: no frame for {} s although it has buffers; check its cable, or that its source has a signal",
                    self.name,
                    SILENCE.as_secs()
                ),
            ));
        }
        Ok(())
    }
}

/// The size that a picture ought to have in a window, or on the screen.
pub(crate) fn wanted(compositor: &Compositor, size: (u32, u32)) -> Extent {
    let (width, height) = compositor.output.map_or(size, |mode| {
        (size.0.min(mode.width), size.1.min(mode.height))
    });
    Extent::new(width, height)
        .or_else(|_| Extent::new(640, 480))
        .unwrap_or_else(|_| unreachable!("a small size is a size"))
}

/// Gives a buffer to the camera. The compositor never has it, and the device is done with it by now.
fn filled(holders: &mut Buffers, index: usize) -> Result<(), Failure> {
    match holders.produce(index).map_err(kept)? {
        Produce::Now(_) => Ok(()),
        Produce::Wait(_) => Err(kept(HandOverError::Held {
            index,
            from: Holder::Client,
            to: Holder::Producer,
            actual: Holder::Compositor,
        })),
    }
}

fn kept(error: HandOverError) -> Failure {
    Failure::new(
        Exit::Unexpected,
        anyhow!(error).context("a camera's buffer is not where it should be"),
    )
}
