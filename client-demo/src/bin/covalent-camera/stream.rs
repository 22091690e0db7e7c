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
use covalent_client_demo::buffers::{
    BeginWrite, Buffers, COMPOSITOR_SILENCE, HandOverError, Holder,
};
use covalent_client_demo::camera_stream::{CameraStream, Captured};
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
use crate::report::{self, ReportInputs};
use crate::setup::setup;

/// The longest time that the event loop sleeps without an event.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a camera with queued buffers may deliver no frame before the program reports it as unplugged.
const CAMERA_SILENCE: Duration = Duration::from_secs(10);

struct Session<'a> {
    options: &'a Options,
    events: Events,
    compositor: Compositor,
    window: Window,
    camera_buffers: CameraBuffers,
    stream: CameraStream,
    display: DisplayBuffers,
    converted: Option<ConversionReport>,
    ready: Ready,
    /// The flag that SIGUSR2 sets to request the statistics.
    statistics: Ready,
    buffers: Buffers,
    explicit: Option<ExplicitSync>,
    stats: FrameStats,
    /// The bytes that the CPU had copied in this process before this stream began.
    earlier_traffic: CpuTraffic,
    frame_interval: FrameInterval,
    frame_trace: FrameTrace,
    /// The consumers of the frames besides the display: snapshots, recording, encoder and other processes.
    consumers: Consumers,
    closed: bool,
    last_frame: Instant,
    /// The last time at which no buffer was queued in the camera, or a committed frame had no presentation feedback. Until then
    /// the camera was not expected to deliver a frame.
    camera_waited: Instant,
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
            compositor: setup.compositor,
            window: setup.window,
            camera_buffers: setup.camera_buffers,
            stream: setup.stream,
            display: setup.display,
            converted: setup.converted,
            ready,
            statistics,
            explicit,
            stats: FrameStats::default(),
            earlier_traffic,
            frame_interval: FrameInterval::default(),
            frame_trace,
            consumers,
            closed: false,
            last_frame: Instant::now(),
            camera_waited: Instant::now(),
            warned: false,
        };
        // The import of the buffers has already queued all of them in the camera.
        let queued = if session.display.is_copied() {
            0
        } else {
            count
        };
        for index in 0..queued {
            let BeginWrite::Ready(_) = session
                .buffers
                .begin_write(index)
                .map_err(handover_failure)?
            else {
                return Err(handover_failure(HandOverError::Held {
                    index,
                    from: Holder::Client,
                    to: Holder::Producer,
                    actual: Holder::Compositor,
                }));
            };
        }
        session.stream.start()?;
        Ok(session)
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
    fn capture(&mut self) -> Result<(), Failure> {
        let mut newest: Option<FrameInfo> = None;
        while let Some(Captured { info: frame, lost }) = self.stream.dequeue()? {
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

    fn show(&mut self, frame: FrameInfo) -> Result<(), Failure> {
        #[cfg(feature = "planted-copy")]
        crate::planted::read(&self.camera_buffers, frame.index)?;
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
            explicit.set_points(index).map_err(Failure::unexpected)?;
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
    /// Returns `None` where every frame is copied and no `wl_shm` buffer is free.
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

    /// Queues a buffer in the camera again, after the compositor has released it or where the compositor never had it.
    fn requeue(&mut self, index: usize) -> Result<(), Failure> {
        if self.display.is_copied() {
            if self.consumers.hold(index) {
                return Ok(());
            }
            return self.stream.queue(index);
        }
        self.give_to_camera(index)
    }

    fn handle_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(index) => {
                // A release point is signalled after the compositor's last access; wl_buffer.release may come before it.
                let is_fenced = self.explicit.is_none() && !self.display.is_copied();
                let buffers = self.camera_buffers.buffers();
                let buffer = buffers.get(index).filter(|_| is_fenced);
                match self.buffers.released(index, buffer) {
                    Ok(()) if self.display.is_copied() => {}
                    Ok(()) => {
                        self.frame_trace.released(index, now());
                        self.give_to_camera(index)?;
                    }
                    Err(error @ HandOverError::Held { .. }) => {
                        tracing::warn!(
                            "the compositor released a buffer that it did not hold: {error}"
                        );
                    }
                    Err(error) => return Err(handover_failure(error)),
                }
            }
            Event::BufferIdle(index) => {
                self.buffers.wait_finished(index);
                self.frame_trace.wait_ended(index, now());
                self.give_to_camera(index)?;
            }
            Event::Presented(frame, shown) => {
                tracing::trace!(frame, ?shown, clock = self.compositor.clock, "presented");
                self.stats.presented(frame, shown, self.compositor.clock);
                self.frame_trace.presented(frame, shown.time);
            }
            Event::Discarded(frame) => {
                self.stats.discarded(frame);
                self.frame_trace.discarded(frame);
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

    fn give_to_camera(&mut self, index: usize) -> Result<(), Failure> {
        if self.consumers.hold(index) {
            return Ok(());
        }
        match self.buffers.begin_write(index).map_err(handover_failure)? {
            BeginWrite::Ready(_) => self.stream.queue(index),
            // The compositor has released the buffer, but its GPU still reads it.
            BeginWrite::Wait(wait) => {
                self.frame_trace.wait_started(index, now());
                self.events
                    .watch_fence(wait, index)
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

    fn is_done(&self) -> bool {
        self.options
            .frames
            .is_some_and(|frames| self.shown() >= frames)
    }

    /// Returns the number of presented frames, or of committed frames where the compositor lacks presentation-time.
    fn shown(&self) -> u64 {
        if self.window.is_timed() {
            self.stats.frames_presented()
        } else {
            self.stats.frames_committed()
        }
    }

    fn check_timeouts(&mut self) -> Result<(), Failure> {
        let silence = self.last_frame.elapsed();
        let held_by_compositor = self.buffers.held_by(Holder::Compositor);
        let queued = self.stream.queued_count();
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
            ..
        } = self;
        drop(stream);
        drop(explicit);
        drop(window);
        display.destroy();
        if let Err(error) = events.roundtrip(&mut compositor) {
            tracing::debug!("the last roundtrip to the compositor failed: {error}");
        }
    }
}

fn handover_failure(error: HandOverError) -> Failure {
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
