//! Frames from the camera to the compositor and their buffers back, in one event loop.
//!
//! The newest frame wins: each is given to the compositor as soon as it is captured, and one that has not come to the display
//! by then is replaced. A buffer goes back to the camera when the compositor has released it, never before.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use covalent_alloc::backend::v4l2::{FrameInfo, Stream};
use covalent_alloc::sync::{Behind, Party};
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

/// How often the loop looks around when nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// A camera with buffers and without a frame for this long is taken for gone.
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
    /// When the camera was last seen to wait for the compositor.
    camera_waited: Instant,
    complained: bool,
}

/// Shows the camera as the options say.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut session = Session::begin(options)?;
    let end = session.play();
    let ended = match &end {
        Ok(ended) => *ended,
        Err(_) => Ending::Failed,
    };
    let said = session.report(ended);
    session.end();
    end.and(said)
}

impl<'a> Session<'a> {
    fn begin(options: &'a Options) -> Result<Self, Failure> {
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
            // A queue of V4L2 knows no fences.
            buffers: Buffers::new(setup.wl_buffers.len(), Party::new(camera, [])),
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
            complained: false,
        };
        // The camera got all buffers while it was asked whether it takes them.
        for index in 0..session.wl_buffers.len() {
            let BeginWrite::Ready(_) = session.buffers.begin_write(index).map_err(kept)? else {
                return Err(kept(HandOverError::Held {
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

    fn play(&mut self) -> Result<Ending, Failure> {
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
                .dispatch(&mut self.compositor, Some(LOOK))
                .map_err(exit_code::compositor_failure)?;
            for event in self.compositor.take_events() {
                self.hear(event)?;
            }
            if self.ready.take() {
                self.capture()?;
            }
            self.look_around()?;
        }
    }

    /// Takes every frame that the camera has, shows the newest and gives the others back.
    fn capture(&mut self) -> Result<(), Failure> {
        let mut newest: Option<FrameInfo> = None;
        while let Some(frame) = self.stream.dequeue().map_err(exit_code::camera_failure)? {
            // DQBUF means that the camera is done.
            self.buffers.end_write(frame.index, None).map_err(kept)?;
            self.stats.captured(frame.sequence);
            self.last_frame = Instant::now();
            self.complained = false;
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
            return Err(kept(HandOverError::Index {
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
            .show(frame.index, back.map(Behind::from))
            .map_err(kept)?;
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

    fn hear(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(index) => {
                let buffer = self.camera_buffers.buffers().get(index);
                match self.buffers.released(index, buffer) {
                    Ok(()) => {
                        self.frame_trace.released(index, now());
                        self.give_to_camera(index)?;
                    }
                    Err(error @ HandOverError::Held { .. }) => {
                        tracing::warn!("the compositor released what it did not hold: {error}");
                    }
                    Err(error) => return Err(kept(error)),
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
                // The display's mode may be another one now.
                self.window.fit(
                    self.camera_buffers.size(),
                    self.compositor.configure.unwrap_or_default(),
                );
            }
            Event::Closed => self.closed = true,
            Event::InvalidData(what) => {
                return Err(exit_code::invalid_protocol_data(&self.events, &what));
            }
            other => tracing::debug!("{other:?} is not for this program"),
        }
        Ok(())
    }

    fn give_to_camera(&mut self, index: usize) -> Result<(), Failure> {
        match self.buffers.begin_write(index).map_err(kept)? {
            BeginWrite::Ready(_) => self.stream.queue(index).map_err(exit_code::camera_failure),
            // The compositor's GPU still reads it.
            BeginWrite::Wait(wait) => {
                self.frame_trace.wait_started(index, now());
                self.events
                    .watch_fence(wait, index)
                    .map_err(exit_code::compositor_failure)
            }
        }
    }

    /// What the frames that were asked for leave to be shown: the last one must not be replaced before it is seen.
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

    /// Frames that were shown, or given to a compositor that does not say what became of them.
    fn shown(&self) -> u64 {
        if self.window.is_timed() {
            self.stats.frames_presented()
        } else {
            self.stats.frames_committed()
        }
    }

    fn look_around(&mut self) -> Result<(), Failure> {
        let silence = self.last_frame.elapsed();
        let kept = self.buffers.held_by(Holder::Compositor);
        if self.buffers.held_by(Holder::Producer) > 0 && silence > LOOK {
            // A camera that was unplugged may leave its fd silent; a request tells.
            self.capture()?;
        }
        // A queue may need some buffers that it does not give: that the camera has one does not make it the one that is waited
        // for. A compositor that owes word of a frame is.
        if self.buffers.held_by(Holder::Producer) == 0 || self.stats.in_flight() > 0 {
            self.camera_waited = Instant::now();
            if silence > COMPOSITOR_SILENCE && !self.complained {
                self.complained = true;
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
        print::object(&report)
            .context("writing the report on stdout")
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }

    /// Takes the picture from the screen before the buffers go, where there still is a screen.
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
            tracing::debug!("saying goodbye: {error}");
        }
    }
}

fn kept(error: HandOverError) -> Failure {
    Failure::new(
        Exit::Unexpected,
        anyhow!(error).context("a buffer is not where it should be"),
    )
}
