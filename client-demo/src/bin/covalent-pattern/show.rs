//! Shows frames on the compositor: draws into a free buffer, commits it, and waits for its release.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::sync::Accessor;
use covalent_alloc::trace::now;
use covalent_client_demo::buffers::{
    BeginWrite, Buffers, COMPOSITOR_SILENCE, HandOverError, Holder,
};
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::events::{ANSWER_DEADLINE, Events};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::explicit_sync::ExplicitSync;
use covalent_client_demo::frame_trace::FrameTrace;
use covalent_client_demo::pattern::Pattern;
use covalent_client_demo::print;
use covalent_client_demo::shm::Pool;
use covalent_client_demo::window::Window;
use serde::Serialize;

use crate::frame_buffers::FrameBuffers;
use crate::options::Options;

/// The number of buffers: one on the display, one that replaces it at the next refresh, one that was committed after that, and
/// one that is drawn into.
const BUFFERS: u32 = 4;

/// The report that `--json` prints at the end.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The number of frames that were presented on the display.
    frames: u64,
    /// The number of committed frames.
    committed: u64,
    /// The number of frames that the compositor discarded.
    discarded: u64,
    /// The number of frames that were presented by direct scanout.
    zero_copy: u64,
    /// Size of the frames.
    size: String,
    /// The name of the source that allocated the buffers.
    source: String,
}

/// The window or screen that shows the pattern, with its buffers.
struct App<'a> {
    options: &'a Options,
    events: Events,
    compositor: Compositor,
    window: Window,
    /// Size of the buffers.
    size: (u32, u32),
    pattern: Pattern,
    frame_buffers: FrameBuffers,
    dmabufs: Vec<Buffer>,
    buffers: Buffers,
    explicit: Option<ExplicitSync>,
    frame_trace: FrameTrace,
    report: Report,
    frame_requested: bool,
    due: Instant,
    /// The time at which the compositor last released a buffer.
    released: Instant,
    warned: bool,
    closed: bool,
}

/// Draws frames and commits them to the compositor until all are shown.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut app = App::start(options)?;
    let end = app.run_loop();
    let printed = app.report();
    drop(app);
    end.and(printed)
}

impl<'a> App<'a> {
    /// Connects to the compositor, allocates the buffers, and creates the window.
    fn start(options: &'a Options) -> Result<Self, Failure> {
        let unexpected = |error: anyhow::Error| Failure::new(Exit::Unexpected, error);
        let (mut events, mut compositor) =
            Events::connect().map_err(exit_code::compositor_failure)?;
        let fullscreen = options.fullscreen || !options.window;
        let window = Window::new(&compositor, &events.handle(), "pattern", fullscreen)
            .map_err(|missing| unexpected(missing.into()))?;
        events
            .dispatch_until(
                &mut compositor,
                "configure the window",
                ANSWER_DEADLINE,
                |compositor| compositor.configure.is_some(),
            )
            .map_err(exit_code::compositor_failure)?;
        let configure = compositor.configure.unwrap_or_default();
        let size = options
            .size
            .map(|size| (size.width, size.height))
            .or(configure.size)
            .or(compositor.output.map(|mode| (mode.width, mode.height)))
            .unwrap_or((640, 480));
        let pattern = Pattern::new(size.0, size.1)
            .map_err(|error| Failure::new(Exit::Usage, anyhow!(error).context("--size")))?;
        let planned = options
            .dmabuf
            .then(|| FrameBuffers::plan(&mut events, &mut compositor, &window, size, BUFFERS))
            .transpose();
        let planned = match planned {
            Err(failure) if failure.exit() == Exit::NoPlan && !options.no_copy => {
                let line = format!(
                    "covalent-pattern: frames are drawn into wl_shm, because {}\n",
                    failure.to_string().replace('\n', "; ")
                );
                print::text(&line, true)
                    .context("printing why frames are in shared memory")
                    .map_err(unexpected)?;
                None
            }
            planned => planned?,
        };
        let frame_buffers = match planned {
            Some(planned) => planned,
            None => Pool::new(&compositor, &events.handle(), size, BUFFERS)
                .map(FrameBuffers::Shm)
                .map_err(|error| Failure::new(Exit::Allocation, error))?,
        };
        // The planning of dma-bufs may have received a newer configure.
        window.fit(size, compositor.configure.unwrap_or_default());
        let source = frame_buffers.source().to_owned();
        let dmabufs = frame_buffers.buffers();
        // linux-drm-syncobj does not support wl_shm buffers.
        let explicit = if !dmabufs.is_empty() {
            let count = dmabufs.len();
            let surface = window.surface();
            ExplicitSync::create(options.sync, &mut events, &mut compositor, surface, count)
                .map_err(|error| Failure::new(Exit::NoPlan, error))?
        } else {
            None
        };
        Ok(Self {
            options,
            events,
            compositor,
            window,
            size,
            pattern,
            explicit,
            frame_trace: FrameTrace::new("covalent-pattern", "processor", &dmabufs),
            frame_buffers,
            buffers: Buffers::new(
                usize::try_from(BUFFERS).unwrap_or_default(),
                Accessor::new("the processor", []),
            ),
            dmabufs,
            report: Report {
                size: format!("{}x{}", size.0, size.1),
                source,
                ..Report::default()
            },
            frame_requested: true,
            due: Instant::now(),
            released: Instant::now(),
            warned: false,
            closed: false,
        })
    }

    /// Draws frames and handles events until the program ends.
    fn run_loop(&mut self) -> Result<(), Failure> {
        while !(self.closed || self.events.is_interrupted() || self.is_over()) {
            self.draw_if_due()?;
            let timeout = self.timeout();
            self.events
                .dispatch(&mut self.compositor, timeout)
                .map_err(exit_code::compositor_failure)?;
            for event in self.compositor.take_events() {
                self.handle_event(event)?;
            }
            self.warn_of_held_buffers();
        }
        Ok(())
    }

    /// Logs one warning if the compositor holds all buffers for longer than [`COMPOSITOR_SILENCE`].
    fn warn_of_held_buffers(&mut self) {
        if self.buffers.free().is_none()
            && self.released.elapsed() > COMPOSITOR_SILENCE
            && !self.warned
        {
            self.warned = true;
            tracing::warn!(
                "the compositor at {} has held all {BUFFERS} buffers for {} s; this program waits",
                self.events.socket(),
                COMPOSITOR_SILENCE.as_secs()
            );
        }
    }

    /// Returns whether all frames of `--frames` were shown or discarded, unless `--hold` was given.
    fn is_over(&self) -> bool {
        let done = if self.window.is_timed() {
            self.report.frames.saturating_add(self.report.discarded)
        } else {
            self.report.committed
        };
        !self.options.hold && self.options.frames.is_some_and(|frames| done >= frames)
    }

    /// Returns the longest time that the event loop may sleep without an event.
    fn timeout(&self) -> Option<Duration> {
        if self.buffers.free().is_none() {
            return (!self.warned).then_some(COMPOSITOR_SILENCE);
        }
        (self.options.fps.is_some() && self.may_commit() && self.buffers.free().is_some())
            .then(|| self.due.saturating_duration_since(Instant::now()))
    }

    /// Returns whether another frame may be committed according to `--frames`.
    fn may_commit(&self) -> bool {
        self.options
            .frames
            .is_none_or(|frames| self.report.committed < frames)
    }

    /// Draws and commits the next frame if it is due and a buffer is free.
    fn draw_if_due(&mut self) -> Result<(), Failure> {
        let due = match self.options.fps {
            Some(_) => Instant::now() >= self.due,
            None => self.frame_requested,
        };
        let Some(index) = self.buffers.free().filter(|_| due && self.may_commit()) else {
            return Ok(());
        };
        let number = self.options.first.wrapping_add(
            // The pattern's numbers wrap far below 32 bits.
            u32::try_from(self.report.committed & u64::from(u32::MAX)).unwrap_or_default(),
        );
        let handover_failure =
            |error| Failure::new(Exit::Unexpected, anyhow!("buffer {index}: {error}"));
        if let BeginWrite::Wait(wait) = self.buffers.begin_write(index).map_err(handover_failure)? {
            // The compositor has released the buffer, but its GPU still reads it.
            self.frame_trace.wait_started(index, now());
            return self
                .events
                .watch_fence(wait, index)
                .map_err(exit_code::compositor_failure);
        }
        let draw_start = now();
        self.frame_buffers
            .draw(index, &self.pattern.rows(number))
            .map_err(Failure::unexpected)?;
        self.buffers
            .end_write(index, None)
            .map_err(handover_failure)?;
        let unexpected = |error| Failure::new(Exit::Unexpected, error);
        self.buffers.show(index, None).map_err(handover_failure)?;
        let handle = self.events.handle();
        if self.options.fps.is_none() {
            self.window.request_frame_callback(&handle);
        }
        if let Some(explicit) = &mut self.explicit {
            explicit.set_points(index).map_err(unexpected)?;
            self.frame_trace.signalled(index, now());
        }
        if let Some(buffer) = self.frame_buffers.buffer(index) {
            let frame = self.window.show(buffer, &handle);
            self.frame_trace
                .committed(frame, index, Some(draw_start), now());
        }
        self.report.committed = self.report.committed.saturating_add(1);
        self.frame_requested = false;
        if let Some(fps) = self.options.fps {
            let period = Duration::from_secs(1) / fps;
            // Frames that were due during a stall are skipped, not drawn later.
            let now = Instant::now();
            self.due = (self.due + period).max(now.checked_sub(period).unwrap_or(now));
        }
        Ok(())
    }

    /// Handles an event of the compositor.
    fn handle_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(index) => {
                self.frame_trace.released(index, now());
                self.released = Instant::now();
                self.warned = false;
                // A release point is signalled after the compositor's last access; wl_buffer.release may come before it.
                let buffer = self.dmabufs.get(index).filter(|_| self.explicit.is_none());
                match self.buffers.released(index, buffer) {
                    Ok(()) => {}
                    Err(error @ HandOverError::Held { .. }) => tracing::warn!(
                        "the compositor released a buffer that it did not hold: {error}"
                    ),
                    Err(error) => return Err(Failure::new(Exit::Unexpected, error)),
                }
            }
            Event::BufferIdle(index) => {
                self.buffers.wait_finished(index);
                self.frame_trace.wait_ended(index, now());
            }
            Event::Presented(frame, shown) => {
                self.frame_trace.presented(frame, shown.time);
                self.report.frames = self.report.frames.saturating_add(1);
                if shown.zero_copy {
                    self.report.zero_copy = self.report.zero_copy.saturating_add(1);
                }
            }
            Event::Discarded(frame) => {
                self.frame_trace.discarded(frame);
                self.report.discarded = self.report.discarded.saturating_add(1);
            }
            Event::Frame => self.frame_requested = true,
            Event::Configured => self
                .window
                .fit(self.size, self.compositor.configure.unwrap_or_default()),
            Event::Closed => self.closed = true,
            Event::InvalidData(what) => {
                return Err(exit_code::invalid_protocol_data(&self.events, &what));
            }
            other => tracing::debug!("{other:?} is ignored"),
        }
        tracing::trace!(held = self.buffers.held_by(Holder::Compositor));
        Ok(())
    }

    /// Prints the report on stdout if `--json` was given.
    fn report(&self) -> Result<(), Failure> {
        if !self.options.json {
            return Ok(());
        }
        print::json(&self.report)
            .context("writing the report on stdout")
            .map_err(Failure::unexpected)
    }
}
