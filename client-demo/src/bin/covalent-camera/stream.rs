//! The event loop: commits captured frames to the compositor and queues released buffers in the camera again.
//!
//! Each frame is committed as soon as it is captured, and replaces one that was not presented yet. A buffer is queued in the camera
//! only after the compositor has released it.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use covalent_alloc::backend::v4l2::{FrameInfo, Stream};
use covalent_alloc::sync::{Accessor, SyncPoint};
use covalent_alloc::trace::now;
use covalent_client_demo::buffers::{
    BeginWrite, Buffers, COMPOSITOR_SILENCE, HandOverError, Holder,
};
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::events::{Events, Ready};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::explicit_sync::ExplicitSync;
use covalent_client_demo::frame_stats::{Ending, FrameStats};
use covalent_client_demo::frame_trace::FrameTrace;
use covalent_client_demo::print;
use covalent_client_demo::window::Window;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::options::Options;
use crate::report::Report;
use crate::setup::{CameraBuffers, setup};

/// How often the loop wakes up without an event.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a camera with queued buffers may deliver no frame until it is treated as gone.
const CAMERA_SILENCE: Duration = Duration::from_secs(10);

struct Session<'a> {
    options: &'a Options,
    events: Events,
    compositor: Compositor,
    window: Window,
    camera_buffers: CameraBuffers,
    stream: Stream,
    wl_buffers: Vec<WlBuffer>,
    ready: Ready,
    buffers: Buffers,
    explicit: Option<ExplicitSync>,
    stats: FrameStats,
    frame_trace: FrameTrace,
    closed: bool,
    last_frame: Instant,
    /// When the camera last had no buffer, or the compositor had not reported on a frame.
    camera_waited: Instant,
    warned: bool,
}

/// Runs the program with these options.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut session = Session::start(options)?;
    let end = session.run_loop();
    let ended = match &end {
        Ok(ended) => *ended,
        Err(_) => Ending::Failed,
    };
    let reported = session.report(ended);
    session.end();
    end.and(reported)
}

impl<'a> Session<'a> {
    fn start(options: &'a Options) -> Result<Self, Failure> {
        let mut setup = setup(options)?;
        let mut events = setup.events;
        let ready = events
            .watch(std::os::fd::AsFd::as_fd(&setup.stream))
            .map_err(exit_code::compositor_failure)?;
        let camera = setup.camera_buffers.camera_name();
        let explicit = ExplicitSync::create(
            options.sync,
            &mut setup.compositor,
            &events.handle(),
            setup.window.surface(),
            setup.wl_buffers.len(),
        )
        .map_err(|error| Failure::new(Exit::NoPlan, error))?;
        let frame_trace =
            FrameTrace::new("covalent-camera", camera, setup.camera_buffers.buffers());
        let mut session = Self {
            options,
            // A V4L2 queue supports no fences.
            buffers: Buffers::new(setup.wl_buffers.len(), Accessor::new(camera, [])),
            events,
            compositor: setup.compositor,
            window: setup.window,
            camera_buffers: setup.camera_buffers,
            stream: setup.stream,
            wl_buffers: setup.wl_buffers,
            ready,
            explicit,
            stats: FrameStats::default(),
            frame_trace,
            closed: false,
            last_frame: Instant::now(),
            camera_waited: Instant::now(),
            warned: false,
        };
        // The setup queued all buffers in the camera.
        for index in 0..session.wl_buffers.len() {
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
        session.stream.start().map_err(exit_code::camera_failure)?;
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
            self.check_timeouts()?;
        }
    }

    /// Dequeues every frame that is ready, commits the newest and queues the others again.
    fn capture(&mut self) -> Result<(), Failure> {
        let mut newest: Option<FrameInfo> = None;
        while let Some(frame) = self.stream.dequeue().map_err(exit_code::camera_failure)? {
            // After VIDIOC_DQBUF the camera no longer writes to the buffer.
            self.buffers
                .end_write(frame.index, None)
                .map_err(handover_failure)?;
            self.stats.captured(frame.sequence);
            self.last_frame = Instant::now();
            self.warned = false;
            let passed_over = if frame.is_damaged {
                Some(frame)
            } else {
                newest.replace(frame)
            };
            if let Some(old) = passed_over {
                self.stats.skipped();
                self.give_to_camera(old.index)?;
            }
        }
        match newest {
            Some(frame) if self.may_show() => self.show(frame),
            Some(frame) => {
                self.stats.skipped();
                self.give_to_camera(frame.index)
            }
            None => Ok(()),
        }
    }

    fn show(&mut self, frame: FrameInfo) -> Result<(), Failure> {
        #[cfg(feature = "planted-copy")]
        crate::planted::read(&self.camera_buffers, frame.index)?;
        let Some(wl_buffer) = self.wl_buffers.get(frame.index) else {
            return Err(handover_failure(HandOverError::Index {
                index: frame.index,
                count: self.wl_buffers.len(),
            }));
        };
        self.camera_buffers.publish(frame.index)?;
        let unexpected = |error| Failure::new(Exit::Unexpected, error);
        let back = match &self.explicit {
            Some(explicit) => Some(explicit.next_release(frame.index).map_err(unexpected)?),
            None => None,
        };
        self.buffers
            .show(frame.index, back.map(SyncPoint::from))
            .map_err(handover_failure)?;
        if let Some(explicit) = &mut self.explicit {
            let wait = explicit.set_points(frame.index).map_err(unexpected)?;
            self.frame_trace.signalled(frame.index, now());
            self.events
                .watch_release_point(wait, frame.index)
                .map_err(exit_code::compositor_failure)?;
        }
        let number = self.window.show(wl_buffer, &self.events.handle());
        tracing::trace!(number, ?frame, "shown");
        let timestamp = frame.is_monotonic.then_some(frame.timestamp);
        let now = now();
        self.stats.committed(number, timestamp, now);
        self.frame_trace
            .committed(number, frame.index, timestamp, now);
        Ok(())
    }

    fn handle_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(index) => {
                let buffer = self.camera_buffers.buffers().get(index);
                match self.buffers.released(index, buffer) {
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
                // The mode of the display may have changed.
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
        match self.buffers.begin_write(index).map_err(handover_failure)? {
            BeginWrite::Ready(_) => self.stream.queue(index).map_err(exit_code::camera_failure),
            // The compositor released the buffer while its GPU still reads it.
            BeginWrite::Wait(wait) => {
                self.frame_trace.wait_started(index, now());
                self.events
                    .watch_fence(wait, index)
                    .map_err(exit_code::compositor_failure)
            }
        }
    }

    /// Returns whether `--frames` allows another frame. A frame that may replace the last one before it is presented is not shown.
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

    /// Returns the presented frames, or the committed ones where the compositor lacks presentation-time.
    fn shown(&self) -> u64 {
        if self.window.is_timed() {
            self.stats.frames_presented()
        } else {
            self.stats.frames_committed()
        }
    }

    fn check_timeouts(&mut self) -> Result<(), Failure> {
        let silence = self.last_frame.elapsed();
        let kept = self.buffers.held_by(Holder::Compositor);
        if self.buffers.held_by(Holder::Producer) > 0 && silence > WAKE_INTERVAL {
            // The fd of an unplugged camera may never become readable; VIDIOC_DQBUF then returns the error.
            self.capture()?;
        }
        // A queue may keep some buffers, so a queued buffer alone does not mean that the camera is late. While the compositor has not
        // reported on a frame, the program waits for the compositor.
        if self.buffers.held_by(Holder::Producer) == 0 || self.stats.in_flight() > 0 {
            self.camera_waited = Instant::now();
            if silence > COMPOSITOR_SILENCE && !self.warned {
                self.warned = true;
                tracing::warn!(
                    "the compositor at {} keeps {kept} of {} buffers since {} s and says nothing of them; the camera waits",
                    self.events.socket(),
                    self.wl_buffers.len(),
                    COMPOSITOR_SILENCE.as_secs()
                );
            }
        } else if silence.min(self.camera_waited.elapsed()) > CAMERA_SILENCE {
            let device = self.options.device.display();
            return Err(Failure::new(
                Exit::CameraGone,
                anyhow!(
                    "{device}: no frame for {} s although it has buffers; check its cable, or that its source has a signal",
                    CAMERA_SILENCE.as_secs()
                ),
            ));
        }
        Ok(())
    }

    fn report(&self, ended: Ending) -> Result<(), Failure> {
        if !self.options.json {
            return Ok(());
        }
        let report = Report::new(
            &self.camera_buffers,
            &self.stats,
            self.explicit.is_some(),
            ended,
        );
        print::json(&report)
            .context("writing the report on stdout")
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }

    /// Destroys the surface before the buffers.
    fn end(self) {
        let Self {
            mut events,
            mut compositor,
            window,
            stream,
            wl_buffers,
            explicit,
            ..
        } = self;
        drop(stream);
        drop(explicit);
        drop(window);
        for wl_buffer in wl_buffers {
            wl_buffer.destroy();
        }
        if let Err(error) = events.roundtrip(&mut compositor) {
            tracing::debug!("the last roundtrip: {error}");
        }
    }
}

fn handover_failure(error: HandOverError) -> Failure {
    Failure::new(
        Exit::Unexpected,
        anyhow!(error).context("another holder has a buffer than this program expects"),
    )
}
