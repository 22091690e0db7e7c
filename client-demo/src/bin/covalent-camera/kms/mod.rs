//! `--display kms`: shows the frames on a display of a card, without a compositor.
//!
//! The buffers are planned for the camera and the primary plane. A page flip shows each captured frame at the next refresh. While
//! a page flip is pending, only the newest captured frame is kept; the next page flip shows it. The buffer on the display is
//! queued in the camera again after the page flip that replaces it, and after the other processes of `--share` have read it.

mod colours;
mod screen;

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::drm::{Card, CardPlane, Framebuffer, HostTransfer};
use covalent_alloc::backend::v4l2::{Direction, FrameInfo, Queue, Stream};
use covalent_alloc::buffer::{CpuTraffic, cpu_traffic};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::Plan;
use covalent_alloc::sync::Accessor;
use covalent_alloc::trace::now;
use covalent_client_demo::buffers::{BeginWrite, Buffers, HandOverError};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::frame_interval::FrameInterval;
use covalent_client_demo::frame_sharing::{FrameServer, SHARED_BUFFERS};
use covalent_client_demo::frame_size::is_incomplete;
use covalent_client_demo::frame_stats::{CLOCK_MONOTONIC, Ending, FrameStats};
use covalent_client_demo::poller::{Key, Poller, Trigger};
use covalent_client_demo::presentation::PresentationInfo;
use covalent_client_demo::readers::Readers;
use covalent_client_demo::signal_pipe::SignalPipe;
use covalent_client_demo::{camera_size, exit_code, print, source_choice};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR2};

use self::screen::Screen;
use crate::camera_buffers::CameraBuffers;
use crate::consumers::{ConsumerReports, Consumers};
use crate::controls;
use crate::options::Options;
use crate::report::{self, ReportInputs};

/// The minimum number of buffers: one is scanned out, one is in the pending flip, one waits for the flip, and one is filled by
/// the camera.
const BUFFERS: u32 = 4;
/// The maximum number of plans that are tried.
const PLANS: usize = 6;
/// How long a camera with queued buffers may deliver no frame before the program reports it as unplugged.
const CAMERA_SILENCE: Duration = Duration::from_secs(10);
/// The longest time that the event loop sleeps without an event.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);

/// A frame that was committed to the display.
#[derive(Clone, Copy, Debug)]
struct Committed {
    number: u64,
    index: usize,
}

/// A stream from the camera to a display, without a compositor.
struct Session<'a> {
    options: &'a Options,
    poller: Poller,
    camera_ready: Key,
    card_ready: Key,
    interrupted: Key,
    statistics_requested: Key,
    _interrupts: SignalPipe,
    statistics: SignalPipe,
    screen: Screen,
    framebuffers: Vec<Framebuffer>,
    stream: Stream,
    camera_buffers: CameraBuffers,
    buffers: Buffers,
    /// The server of `--share`, and its registration.
    server: Option<(FrameServer, Key)>,
    /// The other processes that read each buffer.
    readers: Readers,
    stats: FrameStats,
    /// The bytes that the CPU had copied in this process before this stream began.
    earlier_traffic: CpuTraffic,
    frame_interval: FrameInterval,
    /// The frame that the display scans out.
    on_screen: Option<Committed>,
    /// The frame of the pending page flip.
    flipping: Option<Committed>,
    /// The newest captured frame, which is committed after the pending page flip.
    waiting: Option<FrameInfo>,
    committed: u64,
    last_frame: Instant,
}

/// Captures frames and shows them on the display until the stream ends.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    for (is_given, option) in [
        (options.window, "--window"),
        (options.snapshot.is_some(), "--snapshot"),
        (options.record.is_some(), "--record"),
        (options.encode.is_some(), "--encode"),
    ] {
        if is_given {
            let error = anyhow!("{option} needs a compositor; leave out --display kms");
            return Err(Failure::new(Exit::Usage, error));
        }
    }
    Consumers::check_paths(options)?;
    let mut session = Session::start(options)?;
    let end = session.run_loop();
    let ended = match &end {
        Ok(ended) => *ended,
        Err(_) => Ending::Failed,
    };
    let reported = session.report(ended);
    end.and(reported)
}

impl<'a> Session<'a> {
    /// Opens the camera and the display, allocates the buffers, and starts the stream.
    fn start(options: &'a Options) -> Result<Self, Failure> {
        let earlier_traffic = cpu_traffic();
        let queue = controls::open(options)?
            .queue(Direction::Capture)
            .map_err(exit_code::camera_failure)?;
        let screen = Screen::open(open_card(options)?, |plane, extent| {
            is_supported(options, &queue, plane, extent)
        })?;
        let Planned {
            plan,
            camera_buffers,
            stream,
            framebuffers,
        } = plan(options, &queue, &screen)?;
        if camera_buffers.is_yuv() {
            let colours = camera_buffers.colours();
            if let Err(error) = colours::set(screen.card(), screen.plane(), colours) {
                tracing::warn!("the colours of the picture may be wrong: {error}");
            }
        }
        if options.explain {
            print::text(&format!("{}\n", plan.explain()), options.json)
                .context("printing the plan")
                .map_err(Failure::unexpected)?;
        }
        if let Some(rate) = options.fps {
            queue
                .set_frame_rate(rate)
                .map_err(exit_code::camera_failure)?;
        } else {
            let refresh = Some(screen.refresh().saturating_mul(1000));
            crate::rate::set_best(&queue, refresh).map_err(exit_code::camera_failure)?;
        }
        let watching = |error| Failure::unexpected(anyhow!("epoll_ctl failed: {error}"));
        let mut poller = Poller::new()
            .map_err(|error| Failure::unexpected(anyhow!("epoll_create failed: {error}")))?;
        let listen = |signals: &[i32]| {
            let pipe = SignalPipe::new(signals).context("listening for signals");
            pipe.map_err(Failure::unexpected)
        };
        let interrupts = listen(&[SIGINT, SIGTERM])?;
        let statistics = listen(&[SIGUSR2])?;
        let camera_ready = poller
            .add(stream.as_fd(), Trigger::Readable)
            .map_err(watching)?;
        let card_ready = poller
            .add(screen.card().as_fd(), Trigger::Readable)
            .map_err(watching)?;
        let interrupted = poller
            .add(&interrupts, Trigger::Readable)
            .map_err(watching)?;
        let statistics_requested = poller
            .add(&statistics, Trigger::Readable)
            .map_err(watching)?;
        let server = options.share.as_deref().map(|path| {
            let (buffers, colours) = (camera_buffers.buffers(), camera_buffers.colours());
            let server = FrameServer::new(path, buffers, colours).map_err(Failure::unexpected)?;
            let key = poller.add(&server, Trigger::Readable).map_err(watching)?;
            Ok((server, key))
        });
        let server = server.transpose()?;
        let camera = camera_buffers.camera_name();
        let mut buffers = Buffers::new(framebuffers.len(), Accessor::new(camera, []));
        // The import of the plan's buffers has already queued all of them in the camera.
        for index in 0..framebuffers.len() {
            let _ = buffers.begin_write(index).map_err(handover_failure)?;
        }
        let mut session = Self {
            options,
            poller,
            camera_ready,
            card_ready,
            interrupted,
            statistics_requested,
            _interrupts: interrupts,
            statistics,
            screen,
            framebuffers,
            stream,
            camera_buffers,
            buffers,
            server,
            readers: Readers::default(),
            stats: FrameStats::default(),
            earlier_traffic,
            frame_interval: FrameInterval::default(),
            on_screen: None,
            flipping: None,
            waiting: None,
            committed: 0,
            last_frame: Instant::now(),
        };
        session.stream.start().map_err(exit_code::camera_failure)?;
        Ok(session)
    }

    /// Handles events until the stream ends. Returns why it ended.
    fn run_loop(&mut self) -> Result<Ending, Failure> {
        loop {
            if self
                .options
                .frames
                .is_some_and(|frames| self.stats.frames_presented() >= frames)
            {
                return Ok(Ending::Done);
            }
            let ready = self
                .poller
                .wait(Some(WAKE_INTERVAL))
                .map_err(|error| Failure::unexpected(anyhow!("epoll_wait failed: {error}")))?;
            for key in &ready {
                if *key == self.interrupted {
                    return Ok(Ending::Interrupted);
                } else if *key == self.statistics_requested {
                    self.statistics.clear();
                    self.report(Ending::Running)?;
                } else if *key == self.card_ready {
                    self.flipped()?;
                } else if *key == self.camera_ready {
                    self.capture()?;
                }
            }
            self.serve_readers(&ready)?;
            if self.last_frame.elapsed() > WAKE_INTERVAL && self.stream.queued_count() > 0 {
                // The fd of an unplugged camera may never become readable; VIDIOC_DQBUF then returns the error.
                self.capture()?;
            }
            if self.last_frame.elapsed() > CAMERA_SILENCE {
                return Err(Failure::new(
                    Exit::CameraGone,
                    anyhow!(
                        "{}: the camera delivered no frame for {} s; check its cable, or that its source has a signal",
                        self.options.device.display(),
                        CAMERA_SILENCE.as_secs()
                    ),
                ));
            }
        }
    }

    /// Dequeues every frame that can be ready, and keeps the newest for the display.
    fn capture(&mut self) -> Result<(), Failure> {
        while let Some(frame) = self.stream.dequeue().map_err(exit_code::camera_failure)? {
            self.buffers
                .end_write(frame.index, None)
                .map_err(handover_failure)?;
            self.stats.captured(frame.sequence);
            self.last_frame = Instant::now();
            let timestamp = frame.is_monotonic.then_some(frame.timestamp);
            let has_successor = self
                .frame_interval
                .has_successor(frame.sequence, timestamp, now());
            let is_incomplete = is_incomplete(self.camera_buffers.layout(), frame.bytes_used);
            let skipped_frame = if frame.is_damaged || is_incomplete {
                Some(frame)
            } else {
                self.waiting.replace(frame)
            };
            if let Some(old) = skipped_frame {
                match is_incomplete {
                    true => self.stats.incomplete(),
                    false => self.stats.skipped(),
                }
                self.give_to_camera(old.index)?;
            }
            if !has_successor {
                break;
            }
        }
        self.show_waiting()
    }

    /// Commits the frame that waits, unless a page flip is pending.
    fn show_waiting(&mut self) -> Result<(), Failure> {
        if self.flipping.is_some() {
            return Ok(());
        }
        let Some(frame) = self.waiting.take() else {
            return Ok(());
        };
        #[cfg(feature = "deliberate-copy")]
        crate::deliberate_copy::read_frame(&self.camera_buffers, frame.index)?;
        self.camera_buffers.publish(frame.index)?;
        let framebuffer = self.framebuffers.get(frame.index).ok_or_else(|| {
            handover_failure(HandOverError::Index {
                index: frame.index,
                count: self.framebuffers.len(),
            })
        })?;
        // The display needs no fence: a V4L2 capture queue has none, and the camera has finished writing when VIDIOC_DQBUF
        // returns.
        self.buffers
            .show(frame.index, None)
            .map_err(handover_failure)?;
        let is_pending = self.screen.show(framebuffer)?;
        let committed = Committed {
            number: self.committed,
            index: frame.index,
        };
        self.committed = self.committed.saturating_add(1);
        let timestamp = frame.is_monotonic.then_some(frame.timestamp);
        self.stats.committed(committed.number, timestamp, now());
        if let Some((server, _)) = &mut self.server {
            for _ in 0..server.show(frame.index, frame.sequence, timestamp) {
                self.readers.begin(frame.index);
            }
        }
        self.flipping = Some(committed);
        if !is_pending {
            self.presented(now(), 0)?;
        }
        Ok(())
    }

    /// Handles the events of page flips.
    fn flipped(&mut self) -> Result<(), Failure> {
        for flip in self.screen.flips()? {
            self.presented(flip.duration, flip.frame.into())?;
        }
        self.show_waiting()
    }

    /// Records that the display now scans out the frame of the last commit, and queues the buffer of the frame before it in the
    /// camera.
    fn presented(&mut self, time: Duration, sequence: u64) -> Result<(), Failure> {
        let Some(shown) = self.flipping.take() else {
            return Ok(());
        };
        let presented = PresentationInfo {
            time,
            sequence,
            zero_copy: true,
        };
        self.stats
            .presented(shown.number, presented, Some(CLOCK_MONOTONIC));
        if let Some(before) = self.on_screen.replace(shown) {
            self.buffers
                .released(before.index, None)
                .map_err(handover_failure)?;
            self.give_to_camera(before.index)?;
        }
        Ok(())
    }

    /// Accepts other processes, and queues the buffers in the camera that these processes have read and the display no longer
    /// scans out.
    fn serve_readers(&mut self, ready: &[Key]) -> Result<(), Failure> {
        let Some((server, key)) = &mut self.server else {
            return Ok(());
        };
        if !ready.contains(key) && !server.is_due() {
            return Ok(());
        }
        for index in server.serve().map_err(Failure::unexpected)? {
            if self.readers.end(index) {
                self.give_to_camera(index)?;
            }
        }
        Ok(())
    }

    /// Queues a buffer in the camera that the display does not scan out. If another process still reads the buffer, it is queued
    /// when that process has finished ([`Self::serve_readers`]).
    fn give_to_camera(&mut self, index: usize) -> Result<(), Failure> {
        if self.readers.holds(index) {
            return Ok(());
        }
        match self.buffers.begin_write(index).map_err(handover_failure)? {
            BeginWrite::Ready(_) => self.stream.queue(index).map_err(exit_code::camera_failure),
            BeginWrite::Wait(_) => Err(Failure::unexpected(anyhow!(
                "buffer {index} has a fence although the display does not read it any more"
            ))),
        }
    }

    /// Prints the report of the stream.
    fn report(&self, ended: Ending) -> Result<(), Failure> {
        let inputs = ReportInputs {
            camera_buffers: &self.camera_buffers,
            stats: &self.stats,
            display: "kms",
            sync: "implicit",
            earlier_traffic: self.earlier_traffic,
            has_other_cameras: false,
            shm_bytes: 0,
            copied: None,
            converted: None,
            consumers: ConsumerReports {
                shared: self.server.as_ref().map(|(server, _)| server.shared()),
                ..ConsumerReports::default()
            },
            reallocations: 0,
            ended,
        };
        report::print(inputs, self.options.json).map_err(Failure::unexpected)
    }
}

/// Opens the card that `--card` names, or the first card that has a primary plane.
fn open_card(options: &Options) -> Result<Card, Failure> {
    let no_display = |error| Failure::new(Exit::NoCompositor, error);
    if let Some(path) = &options.card {
        return Card::open(path).map_err(|error| no_display(error.into()));
    }
    let mut causes = Vec::new();
    for path in Card::list() {
        match Card::open(&path).and_then(|card| card.primary_plane().map(|_| card)) {
            Ok(card) => return Ok(card),
            Err(error) => causes.push(error.to_string()),
        }
    }
    let causes = if causes.is_empty() {
        "this machine has no card".to_owned()
    } else {
        causes.join("; ")
    };
    Err(no_display(anyhow!("no card can drive a display: {causes}")))
}

/// Returns whether the camera captures this size in a format that the plane supports.
fn is_supported(
    options: &Options,
    queue: &Queue,
    plane: &CardPlane,
    extent: Extent,
) -> Result<bool, Failure> {
    if options.size.is_some_and(|size| size != extent) {
        return Ok(false);
    }
    let formats = plane
        .formats()
        .map_err(|error| Failure::new(Exit::NoCompositor, error))?;
    let takes = |fourcc| {
        options.format.is_none_or(|format| format == fourcc)
            && formats.iter().any(|format| format.fourcc == fourcc)
    };
    let chosen = camera_size::choose(queue, takes, extent).map_err(exit_code::camera_failure)?;
    Ok(chosen == extent)
}

/// The chosen plan, with its buffers imported into the camera and the display.
struct Planned {
    plan: Plan,
    camera_buffers: CameraBuffers,
    stream: Stream,
    framebuffers: Vec<Framebuffer>,
}

/// Plans and allocates buffers and imports them into the camera and the plane. Repeats this with another plan if one of the
/// imports fails.
fn plan(options: &Options, queue: &Queue, screen: &Screen) -> Result<Planned, Failure> {
    // Buffers that other processes hold are not available to the camera and the display, so more are allocated.
    let count = match options.share {
        Some(_) => BUFFERS.saturating_add(SHARED_BUFFERS),
        None => BUFFERS,
    };
    let mut collection = BufferCollection::new(screen.extent()?)
        .with_count(count)
        .with_format(options.format.unwrap_or(Fourcc::XRGB8888));
    if let Some(format) = options.format {
        collection = collection.with_only_format(format);
    }
    collection
        .add(queue)
        .and_then(|collection| collection.add(screen.plane()))
        .map_err(exit_code::backend_failure)?;
    if options.source.is_some() {
        let sources = collection.sources();
        let chosen = source_choice::chosen(options.source.as_deref(), &sources)?;
        if let Some(source) = chosen.first() {
            collection = collection.with_only_source(source.id.clone());
        }
    }
    let mut refusals: Vec<String> = Vec::new();
    for _ in 0..PLANS {
        let plan = collection.solve().possible().map_err(|error| {
            let refusals = refusals.join("\n");
            Failure::new(
                Exit::NoPlan,
                anyhow!(
                    "no buffer can be shared by the camera and the display\n{error}\n{refusals}"
                ),
            )
        })?;
        let imported = collection.allocate(&plan).and_then(|buffers| {
            let stream = crate::setup::import_and_queue(&mut collection, queue, &buffers)?;
            let framebuffers = collection.import(screen.plane(), &buffers)?;
            Ok((buffers, stream, framebuffers))
        });
        match imported {
            Ok((buffers, stream, framebuffers)) => {
                let copies = HostTransfer::of(&plan, &buffers)
                    .map_err(|error| Failure::new(Exit::Allocation, error))?;
                return Ok(Planned {
                    camera_buffers: CameraBuffers::new(queue, plan.clone(), buffers, copies)?,
                    plan,
                    stream,
                    framebuffers,
                });
            }
            Err(error) => {
                let refusal = exit_code::as_import_refusal(error)?;
                refusals.push(format!("{} was tried: {refusal}", plan.source_name()));
                collection.refuse(plan.source());
            }
        }
    }
    Err(Failure::new(
        Exit::NoPlan,
        anyhow!(
            "the imports of {PLANS} plans failed:\n{}",
            refusals.join("\n")
        ),
    ))
}

/// Makes the failure for a buffer whose holder is not the expected one.
fn handover_failure(error: HandOverError) -> Failure {
    Failure::unexpected(
        anyhow!(error).context(
            "the holder of a buffer is not the one that this program expects, which is a bug of this program",
        ),
    )
}
