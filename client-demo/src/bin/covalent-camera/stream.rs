//! The event loop: commits captured frames to the compositor and queues released buffers in the camera again.
//!
//! Each frame is committed as soon as it is captured, and replaces an earlier frame that was not presented yet. A buffer is
//! queued in the camera only after the compositor has released it.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use covalent_alloc::backend::v4l2::FrameInfo;
use covalent_alloc::buffer::{CpuTraffic, cpu_traffic};
use covalent_alloc::sync::Accessor;
use covalent_alloc::trace::now;
use covalent_client_demo::buffer_sets::ReleasedBuffer;
use covalent_client_demo::buffers::{
    BeginWrite, Buffers, COMPOSITOR_SILENCE, HandOverError, Holder,
};
use covalent_client_demo::camera_stream::{CameraStream, Captured};
use covalent_client_demo::color_representation::ColorRepresentation;
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::events::{Events, Ready};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::explicit_sync::ExplicitSync;
use covalent_client_demo::frame_converter::ConversionReport;
use covalent_client_demo::frame_interval::FrameInterval;
use covalent_client_demo::frame_size::is_incomplete;
use covalent_client_demo::frame_stats::{Ending, FrameStats};
use covalent_client_demo::frame_trace::FrameTrace;
use covalent_client_demo::window::Window;

use signal_hook::consts::SIGUSR2;

use crate::camera_buffers::CameraBuffers;
use crate::consumers::Consumers;
use crate::display_buffers::DisplayBuffers;
use crate::options::Options;
use crate::replan::Replanner;
use crate::report::{self, ReportInputs};
use crate::setup::setup;

/// The longest time that the event loop sleeps without an event.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a camera with queued buffers may deliver no frame before the program reports it as unplugged.
const CAMERA_SILENCE: Duration = Duration::from_secs(10);

/// The state of a stream that is shown by a compositor.
pub(crate) struct Session<'a> {
    pub(crate) options: &'a Options,
    pub(crate) events: Events,
    pub(crate) compositor: Compositor,
    pub(crate) window: Window,
    pub(crate) color_representation: ColorRepresentation,
    pub(crate) camera_buffers: CameraBuffers,
    /// The frames of the camera. It is missing only while the buffers are replaced.
    pub(crate) stream: Option<CameraStream>,
    pub(crate) display: DisplayBuffers,
    /// Why and how every frame is converted; `None` where the camera writes the buffers that are shown.
    converted: Option<ConversionReport>,
    /// Replaces the buffers after new feedback; `None` where the buffers stay.
    pub(crate) replanner: Option<Replanner>,
    ready: Ready,
    /// The flag that SIGUSR2 sets to request the statistics.
    statistics: Ready,
    pub(crate) buffers: Buffers,
    pub(crate) explicit: Option<ExplicitSync>,
    stats: FrameStats,
    /// The bytes that the CPU had copied in this process before this stream began.
    earlier_traffic: CpuTraffic,
    pub(crate) frame_interval: FrameInterval,
    pub(crate) frame_trace: FrameTrace,
    /// The trace of the frames in the buffers before the last replacement.
    pub(crate) earlier_trace: Option<FrameTrace>,
    /// The consumers of the frames besides the display: snapshots, recording, encoder and other processes.
    consumers: Consumers,
    closed: bool,
    pub(crate) last_frame: Instant,
    /// The last time at which no buffer was queued in the camera, or a committed frame had no presentation feedback. Until then
    /// the camera was not expected to deliver a frame.
    pub(crate) camera_waited: Instant,
    warned: bool,
}

/// Captures frames and commits them to the compositor until the stream ends.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut session = Session::start(options)?;
    let end = session.run_loop();
    let written = session.consumers.finish();
    let ended = match (&end, &written) {
        (Ok(ended), Ok(())) => *ended,
        _ => Ending::Failed,
    };
    let reported = session.report(ended);
    session.end();
    end.and(reported).and(written)
}

impl<'a> Session<'a> {
    /// Sets up the camera, the window and the consumers, and starts the stream.
    fn start(options: &'a Options) -> Result<Self, Failure> {
        let earlier_traffic = cpu_traffic();
        Consumers::check_paths(options)?;
        let mut setup = setup(options)?;
        let mut events = setup.events;
        let ready = events
            .watch(std::os::fd::AsFd::as_fd(&setup.stream))
            .map_err(exit_code::compositor_failure)?;
        let consumers =
            Consumers::start(options, &mut events, &setup.camera_buffers, setup.encoder)?;
        let statistics = events
            .watch_signal(SIGUSR2)
            .map_err(exit_code::compositor_failure)?;
        let camera = setup.camera_buffers.camera_name();
        let count = setup.display.count();
        let (explicit, producer, traced) = if setup.display.is_copied() {
            // linux-drm-syncobj does not support wl_shm buffers.
            (None, "the processor", Vec::new())
        } else {
            let (compositor, surface) = (&mut setup.compositor, setup.window.surface());
            let explicit =
                ExplicitSync::create(options.sync, &mut events, compositor, surface, count)
                    .map_err(|error| Failure::new(Exit::NoPlan, error))?;
            (explicit, camera, setup.camera_buffers.buffers().to_vec())
        };
        let frame_trace = FrameTrace::new("covalent-camera", camera, &traced);
        let mut session = Self {
            options,
            // A V4L2 queue can neither wait for fences nor create them.
            buffers: Buffers::new(count, Accessor::new(producer, [])),
            events,
            color_representation: ColorRepresentation::new(setup.window.surface()),
            compositor: setup.compositor,
            window: setup.window,
            camera_buffers: setup.camera_buffers,
            stream: Some(setup.stream),
            display: setup.display,
            converted: setup.converted,
            replanner: setup.replanner,
            ready,
            statistics,
            explicit,
            stats: FrameStats::default(),
            earlier_traffic,
            frame_interval: FrameInterval::default(),
            frame_trace,
            earlier_trace: None,
            consumers,
            closed: false,
            last_frame: Instant::now(),
            camera_waited: Instant::now(),
            warned: false,
        };
        // The import of the buffers has already queued all of them in the camera, or given them to the thread that converts its
        // frames.
        let queued = if session.display.is_copied() {
            0
        } else {
            count
        };
        begin_capture(&mut session.buffers, queued)?;
        session.set_colours();
        session.stream()?.start()?;
        Ok(session)
    }

    /// Tells the compositor how the YUV in the buffers that are shown is converted, from the next commit on. Frames that this
    /// process copies or converts are RGB.
    pub(crate) fn set_colours(&mut self) {
        if self.display.is_copied() {
            return;
        }
        let (fourcc, colours) = (
            self.camera_buffers.layout().format().fourcc,
            self.camera_buffers.colours(),
        );
        let handle = self.events.handle();
        let is_set = self
            .color_representation
            .set(&self.compositor, &handle, fourcc, colours);
        if !is_set {
            tracing::info!(
                "the compositor cannot be told that the picture has {colours}, so it may convert {fourcc} with other colours"
            );
        }
    }

    /// Returns the frames of the camera.
    fn stream(&mut self) -> Result<&mut CameraStream, Failure> {
        self.stream.as_mut().ok_or_else(|| {
            Failure::unexpected(anyhow!(
                "the camera's queue has no buffers, which is a bug of this program"
            ))
        })
    }

    fn run_loop(&mut self) -> Result<Ending, Failure> {
        loop {
            if self.events.is_interrupted() {
                return Ok(Ending::Interrupted);
            }
            if self.closed {
                return Ok(Ending::Closed);
            }
            if self.is_done() {
                return Ok(Ending::Done);
            }
            self.events
                .dispatch(&mut self.compositor, Some(WAKE_INTERVAL))
                .map_err(exit_code::compositor_failure)?;
            for event in self.compositor.take_events() {
                self.handle_event(event)?;
            }
            self.replan_if_needed()?;
            if self.ready.take() {
                self.capture()?;
            }
            for index in self.consumers.collect()? {
                self.requeue(index)?;
            }
            if self.statistics.take() {
                self.report(Ending::Running)?;
            }
            self.check_timeouts()?;
        }
    }

    /// Dequeues every frame that can be ready, commits the newest frame, and queues the buffers of the other frames again.
    pub(crate) fn capture(&mut self) -> Result<(), Failure> {
        let mut newest: Option<FrameInfo> = None;
        while let Some(Captured { info: frame, lost }) = self.stream()?.dequeue()? {
            // After VIDIOC_DQBUF the camera no longer writes to the buffer.
            if !self.display.is_copied() {
                self.buffers
                    .end_write(frame.index, None)
                    .map_err(handover_failure)?;
            }
            self.stats.lost_in_conversion(lost);
            self.stats.captured(frame.sequence);
            self.last_frame = Instant::now();
            self.warned = false;
            let timestamp = frame.is_monotonic.then_some(frame.timestamp);
            let has_successor = self
                .frame_interval
                .has_successor(frame.sequence, timestamp, now());
            let is_incomplete = is_incomplete(self.camera_buffers.layout(), frame.bytes_used);
            let skipped_frame = if frame.is_damaged || is_incomplete {
                Some(frame)
            } else {
                newest.replace(frame)
            };
            if let Some(old) = skipped_frame {
                match is_incomplete {
                    true => self.stats.incomplete(),
                    false => self.stats.skipped(),
                }
                self.requeue(old.index)?;
            }
            if !has_successor {
                break;
            }
        }
        match newest {
            Some(frame) if self.may_show() => self.show(frame),
            Some(frame) => {
                self.stats.skipped();
                self.requeue(frame.index)
            }
            None => Ok(()),
        }
    }

    /// Gives a captured frame to the consumers, and commits it to the compositor. If no buffer is free for it, it is skipped.
    fn show(&mut self, frame: FrameInfo) -> Result<(), Failure> {
        #[cfg(feature = "deliberate-copy")]
        crate::deliberate_copy::read_frame(&self.camera_buffers, frame.index)?;
        if self.display.is_copied() && self.buffers.free().is_none() {
            // The compositor holds all `wl_shm` buffers, so the frame cannot be shown. The consumers get only frames that are
            // shown.
            self.stats.skipped();
            return self.requeue(frame.index);
        }
        self.consumers.frame(&frame, &self.camera_buffers)?;
        let Some(index) = self.fill_display_buffer(frame.index)? else {
            return Ok(());
        };
        let Some(wl_buffer) = self.display.wl_buffer(index) else {
            return Err(handover_failure(HandOverError::Index {
                index,
                count: self.display.count(),
            }));
        };
        self.buffers.show(index, None).map_err(handover_failure)?;
        if let Some(explicit) = &mut self.explicit {
            explicit
                .set_points(self.display.number(index))
                .map_err(Failure::unexpected)?;
            self.frame_trace.signalled(index, now());
        }
        let number = self.window.show(wl_buffer, &self.events.handle());
        tracing::trace!(number, ?frame, "shown");
        let timestamp = frame.is_monotonic.then_some(frame.timestamp);
        let now = now();
        self.stats.committed(number, timestamp, now);
        self.frame_trace.committed(number, index, timestamp, now);
        if !self.window.is_timed() {
            self.stats.without_feedback(number);
            self.frame_trace.discarded(number);
        }
        Ok(())
    }

    /// Makes the frame in the camera's buffer `captured` readable for the compositor. Returns the index of the buffer to commit.
    /// Returns `None` if every frame is copied and no `wl_shm` buffer is free.
    fn fill_display_buffer(&mut self, captured: usize) -> Result<Option<usize>, Failure> {
        if !self.display.is_copied() {
            self.camera_buffers.publish(captured)?;
            return Ok(Some(captured));
        }
        let free = self.buffers.free();
        if let Some(index) = free {
            // Shared memory has no fences, so `begin_write` never returns a wait here.
            let _ = self.buffers.begin_write(index).map_err(handover_failure)?;
            self.display.copy(captured, index)?;
            self.buffers
                .end_write(index, None)
                .map_err(handover_failure)?;
        }
        self.requeue(captured)?;
        Ok(free)
    }

    /// Queues a buffer in the camera again, after the compositor has released it or if the compositor never had it.
    fn requeue(&mut self, index: usize) -> Result<(), Failure> {
        if self.display.is_copied() {
            if self.consumers.hold(index) {
                return Ok(());
            }
            return self.stream()?.queue(index);
        }
        self.give_to_camera(index)
    }

    /// Handles an event of the compositor.
    fn handle_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(number) => match self.display.released(number) {
                ReleasedBuffer::Current(index) => self.handle_released(index)?,
                ReleasedBuffer::Retired => {
                    if let Some(explicit) = &mut self.explicit {
                        explicit.remove(&mut self.events, number);
                    }
                }
                ReleasedBuffer::Unknown => {
                    tracing::warn!(
                        "the compositor released buffer {number}, which it did not hold"
                    );
                }
            },
            Event::BufferIdle(number) => {
                // The buffers may have been replaced meanwhile.
                if let Some(index) = self.display.index_of(number) {
                    self.buffers.wait_finished(index);
                    self.frame_trace.wait_ended(index, now());
                    self.give_to_camera(index)?;
                }
            }
            Event::Feedback => {
                if let Some(replanner) = &mut self.replanner {
                    replanner.request();
                }
            }
            Event::Created(number, wl_buffer) => self.handle_buffer_created(number, wl_buffer)?,
            Event::Refused(number) => self.handle_buffer_refused(number)?,
            Event::Presented(frame, shown) => {
                tracing::trace!(frame, ?shown, clock = self.compositor.clock, "presented");
                self.stats.presented(frame, shown, self.compositor.clock);
                for trace in self.traces() {
                    trace.presented(frame, shown.time);
                }
            }
            Event::Discarded(frame) => {
                self.stats.discarded(frame);
                for trace in self.traces() {
                    trace.discarded(frame);
                }
            }
            Event::Configured => {
                // The size of the screen may have changed with the display's mode.
                self.window.fit(
                    self.camera_buffers.size(),
                    self.compositor.configure.unwrap_or_default(),
                );
            }
            Event::Closed => self.closed = true,
            Event::InvalidData(what) => {
                return Err(exit_code::invalid_protocol_data(&self.events, &what));
            }
            other => tracing::debug!("{other:?} is ignored"),
        }
        Ok(())
    }

    /// Takes a buffer back that the compositor has released, and gives it to the camera.
    fn handle_released(&mut self, index: usize) -> Result<(), Failure> {
        // A release point is signalled after the compositor's last access; wl_buffer.release may come before it.
        let is_fenced = self.explicit.is_none() && !self.display.is_copied();
        let buffers = self.camera_buffers.buffers();
        let buffer = buffers.get(index).filter(|_| is_fenced);
        match self.buffers.released(index, buffer) {
            Ok(()) if self.display.is_copied() => Ok(()),
            Ok(()) => {
                self.frame_trace.released(index, now());
                self.give_to_camera(index)
            }
            Err(error @ HandOverError::Held { .. }) => {
                tracing::warn!("the compositor released a buffer that it did not hold: {error}");
                Ok(())
            }
            Err(error) => Err(handover_failure(error)),
        }
    }

    /// Returns the traces of the frames in the current buffers and in those before the last replacement.
    fn traces(&mut self) -> impl Iterator<Item = &mut FrameTrace> {
        std::iter::once(&mut self.frame_trace).chain(&mut self.earlier_trace)
    }

    fn give_to_camera(&mut self, index: usize) -> Result<(), Failure> {
        if self.consumers.hold(index) {
            return Ok(());
        }
        match self.buffers.begin_write(index).map_err(handover_failure)? {
            BeginWrite::Ready(_) => self.stream()?.queue(index),
            // The compositor has released the buffer, but its GPU still reads it.
            BeginWrite::Wait(wait) => {
                self.frame_trace.wait_started(index, now());
                self.events
                    .watch_fence(wait, self.display.number(index))
                    .map_err(exit_code::compositor_failure)
            }
        }
    }

    /// Returns whether another frame may be committed according to `--frames`. Committed frames without presentation feedback
    /// count as shown, so that no further frame replaces the last one before it is presented.
    fn may_show(&self) -> bool {
        self.options
            .frames
            .is_none_or(|frames| self.shown().saturating_add(self.stats.in_flight()) < frames)
    }

    /// Returns whether the number of frames of `--frames` is reached.
    fn is_done(&self) -> bool {
        self.options
            .frames
            .is_some_and(|frames| self.shown() >= frames)
    }

    /// Returns the number of presented frames, or of committed frames if the compositor lacks presentation-time.
    fn shown(&self) -> u64 {
        if self.window.is_timed() {
            self.stats.frames_presented()
        } else {
            self.stats.frames_committed()
        }
    }

    /// Warns if the compositor holds buffers for too long. Returns an error if the camera delivers no frames.
    fn check_timeouts(&mut self) -> Result<(), Failure> {
        let last_frame = self
            .stream()?
            .last_converted()
            .map_or(self.last_frame, |last| last.max(self.last_frame));
        let silence = last_frame.elapsed();
        let held_by_compositor = self.buffers.held_by(Holder::Compositor);
        let queued = self.stream()?.queued_count();
        if queued > 0 && silence > WAKE_INTERVAL {
            // The fd of an unplugged camera may never become readable; VIDIOC_DQBUF then returns the error.
            self.capture()?;
        }
        // A driver may keep some of its queued buffers, so a queued buffer alone does not mean that the camera is late. While a
        // committed frame has no presentation feedback, the compositor may be what delays the stream.
        if queued == 0 || self.stats.in_flight() > 0 {
            self.camera_waited = Instant::now();
            if silence > COMPOSITOR_SILENCE && !self.warned {
                self.warned = true;
                tracing::warn!(
                    "the compositor at {} has held {held_by_compositor} of {} buffers for {} s and sent no event for them; the camera waits for a free buffer",
                    self.events.socket(),
                    self.display.count(),
                    COMPOSITOR_SILENCE.as_secs()
                );
            }
        } else if silence.min(self.camera_waited.elapsed()) > CAMERA_SILENCE {
            let device = self.options.device.display();
            return Err(Failure::new(
                Exit::CameraGone,
                anyhow!(
                    "{device}: the camera delivered no frame for {} s although buffers are queued; check its cable, or that its source has a signal",
                    CAMERA_SILENCE.as_secs()
                ),
            ));
        }
        Ok(())
    }

    /// Prints the report of the stream.
    fn report(&self, ended: Ending) -> Result<(), Failure> {
        let inputs = ReportInputs {
            camera_buffers: &self.camera_buffers,
            stats: &self.stats,
            display: "wayland",
            sync: match self.explicit {
                Some(_) => "explicit",
                None => "implicit",
            },
            earlier_traffic: self.earlier_traffic,
            has_other_cameras: self.options.cameras.len() > 1,
            shm_bytes: self.display.written_bytes(),
            copied: self.display.copy_report().cloned(),
            converted: self.converted.clone(),
            consumers: self.consumers.reports(),
            reallocations: self.replanner.as_ref().map_or(0, Replanner::replaced),
            ended,
        };
        report::print(inputs, self.options.json).map_err(Failure::unexpected)
    }

    /// Destroys the surface, and then the buffers.
    fn end(self) {
        let Self {
            mut events,
            mut compositor,
            window,
            stream,
            display,
            explicit,
            color_representation,
            ..
        } = self;
        drop(stream);
        drop(explicit);
        drop(color_representation);
        drop(window);
        display.destroy();
        if let Err(error) = events.roundtrip(&mut compositor) {
            tracing::debug!("the last roundtrip to the compositor failed: {error}");
        }
    }
}

/// Records that the camera's queue has the first `count` buffers, none of which the compositor has held yet.
pub(crate) fn begin_capture(buffers: &mut Buffers, count: usize) -> Result<(), Failure> {
    for index in 0..count {
        let BeginWrite::Ready(_) = buffers.begin_write(index).map_err(handover_failure)? else {
            return Err(handover_failure(HandOverError::Held {
                index,
                from: Holder::Client,
                to: Holder::Producer,
                actual: Holder::Compositor,
            }));
        };
    }
    Ok(())
}

pub(crate) fn handover_failure(error: HandOverError) -> Failure {
    // A fence can fail without a bug of this program.
    if let HandOverError::Fence { .. } = error {
        return Failure::unexpected(error);
    }
    Failure::new(
        Exit::Unexpected,
        anyhow!(error).context(
            "the holder of a buffer is not the one that this program expects, which is a bug of this program",
        ),
    )
}
