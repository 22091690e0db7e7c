//! Frames to the compositor: draw into a buffer that nobody holds, show it, wait for its release.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::sync::{Behind, Party};
use covalent_alloc::trace::now;
use covalent_client_demo::buffers::{Buffers, COMPOSITOR_SILENCE, HandOverError, Holder, Produce};
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

use crate::canvas::Canvas;
use crate::options::Options;

/// One on the display, one about to replace it, one committed after that and one to draw into.
const BUFFERS: u32 = 4;

/// What the program says of itself at its end.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Frames that came to the display.
    frames: u64,
    /// Frames given to the compositor.
    committed: u64,
    /// Frames that a newer one replaced before they came to the display.
    discarded: u64,
    /// Frames whose buffer itself was put on the display.
    zero_copy: u64,
    /// Size of each.
    size: String,
    /// Where their memory comes from.
    source: String,
}

struct Show<'a> {
    options: &'a Options,
    events: Events,
    compositor: Compositor,
    window: Window,
    /// Of the buffers.
    size: (u32, u32),
    pattern: Pattern,
    canvas: Canvas,
    dmabufs: Vec<Buffer>,
    buffers: Buffers,
    explicit: Option<ExplicitSync>,
    frame_trace: FrameTrace,
    report: Report,
    wanted: bool,
    due: Instant,
    /// When a buffer came back the last time.
    released: Instant,
    complained: bool,
    closed: bool,
}

/// Shows what the options ask for.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut show = Show::begin(options)?;
    let end = show.play();
    let printed = show.report();
    drop(show);
    end.and(printed)
}

impl<'a> Show<'a> {
    fn begin(options: &'a Options) -> Result<Self, Failure> {
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
        let canvas = if options.dmabuf {
            Canvas::plan(&mut events, &mut compositor, &window, size, BUFFERS)?
        } else {
            Pool::new(&compositor, &events.handle(), size, BUFFERS)
                .map(Canvas::Shared)
                .map_err(|error| Failure::new(Exit::Allocation, error))?
        };
        window.fit(size, configure);
        let source = canvas.source().to_owned();
        let dmabufs = canvas.buffers();
        // Shared memory has no points.
        let explicit = if options.dmabuf {
            let count = dmabufs.len();
            let surface = window.surface();
            ExplicitSync::create(
                options.sync,
                &mut compositor,
                &events.handle(),
                surface,
                count,
            )
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
            canvas,
            buffers: Buffers::new(
                usize::try_from(BUFFERS).unwrap_or_default(),
                Party::new("the processor", []),
            ),
            dmabufs,
            report: Report {
                size: format!("{}x{}", size.0, size.1),
                source,
                ..Report::default()
            },
            wanted: true,
            due: Instant::now(),
            released: Instant::now(),
            complained: false,
            closed: false,
        })
    }

    fn play(&mut self) -> Result<(), Failure> {
        while !(self.closed || self.events.is_interrupted() || self.is_over()) {
            self.draw_if_due()?;
            let timeout = self.timeout();
            self.events
                .dispatch(&mut self.compositor, timeout)
                .map_err(exit_code::compositor_failure)?;
            for event in self.compositor.take_events() {
                self.handle(event)?;
            }
            self.look_around();
        }
        Ok(())
    }

    /// Says once of a silence that the compositor gives nothing back.
    fn look_around(&mut self) {
        if self.buffers.free().is_none()
            && self.released.elapsed() > COMPOSITOR_SILENCE
            && !self.complained
        {
            self.complained = true;
            tracing::warn!(
                "the compositor at {} keeps all of {BUFFERS} buffers since {} s; this program waits",
                self.events.socket(),
                COMPOSITOR_SILENCE.as_secs()
            );
        }
    }

    fn is_over(&self) -> bool {
        let done = if self.window.is_timed() {
            self.report.frames.saturating_add(self.report.discarded)
        } else {
            self.report.committed
        };
        !self.options.hold && self.options.frames.is_some_and(|frames| done >= frames)
    }

    /// How long nothing has to be done unless something happens.
    fn timeout(&self) -> Option<Duration> {
        if self.buffers.free().is_none() {
            return (!self.complained).then_some(COMPOSITOR_SILENCE);
        }
        (self.options.fps.is_some() && self.may_commit() && self.buffers.free().is_some())
            .then(|| self.due.saturating_duration_since(Instant::now()))
    }

    fn may_commit(&self) -> bool {
        self.options
            .frames
            .is_none_or(|frames| self.report.committed < frames)
    }

    fn draw_if_due(&mut self) -> Result<(), Failure> {
        let due = match self.options.fps {
            Some(_) => Instant::now() >= self.due,
            None => self.wanted,
        };
        let Some(index) = self.buffers.free().filter(|_| due && self.may_commit()) else {
            return Ok(());
        };
        let number = self.options.first.wrapping_add(
            // The pattern's numbers wrap far below 32 bits.
            u32::try_from(self.report.committed & u64::from(u32::MAX)).unwrap_or_default(),
        );
        let kept = |error| Failure::new(Exit::Unexpected, anyhow!("buffer {index}: {error}"));
        if let Produce::Wait(wait) = self.buffers.produce(index).map_err(kept)? {
            // The compositor's GPU still reads it.
            self.frame_trace.wait_started(index, now());
            return self
                .events
                .watch_fence(wait, index)
                .map_err(exit_code::compositor_failure);
        }
        let begun = now();
        self.canvas
            .draw(index, &self.pattern.rows(number))
            .map_err(|error| Failure::new(Exit::Unexpected, error))?;
        self.buffers.produced(index, None).map_err(kept)?;
        let unexpected = |error| Failure::new(Exit::Unexpected, error);
        let back = match &self.explicit {
            Some(explicit) => Some(explicit.next_release(index).map_err(unexpected)?),
            None => None,
        };
        self.buffers
            .show(index, back.map(Behind::from))
            .map_err(kept)?;
        let handle = self.events.handle();
        if self.options.fps.is_none() {
            self.window.ask_frame(&handle);
        }
        if let Some(explicit) = &mut self.explicit {
            let wait = explicit.set_points(index).map_err(unexpected)?;
            self.frame_trace.signalled(index, now());
            self.events
                .watch_release_point(wait, index)
                .map_err(exit_code::compositor_failure)?;
        }
        if let Some(buffer) = self.canvas.buffer(index) {
            let frame = self.window.show(buffer, &handle);
            self.frame_trace.committed(frame, index, Some(begun), now());
        }
        self.report.committed = self.report.committed.saturating_add(1);
        self.wanted = false;
        if let Some(fps) = self.options.fps {
            let period = Duration::from_secs(1) / fps;
            // After a stall the pace begins anew instead of catching up.
            let now = Instant::now();
            self.due = (self.due + period).max(now.checked_sub(period).unwrap_or(now));
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(index) => {
                self.frame_trace.released(index, now());
                self.released = Instant::now();
                self.complained = false;
                match self.buffers.released(index, self.dmabufs.get(index)) {
                    Ok(()) => {}
                    Err(error @ HandOverError::Held { .. }) => tracing::warn!(
                        "the compositor released a buffer that it did not hold: {error}"
                    ),
                    Err(error) => return Err(Failure::new(Exit::Unexpected, error)),
                }
            }
            Event::BufferIdle(index) => {
                self.buffers.idle(index);
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
            Event::Frame => self.wanted = true,
            Event::Configured => self
                .window
                .fit(self.size, self.compositor.configure.unwrap_or_default()),
            Event::Closed => self.closed = true,
            Event::InvalidData(what) => {
                return Err(exit_code::invalid_protocol_data(&self.events, &what));
            }
            other => tracing::debug!("{other:?} is not for this program"),
        }
        tracing::trace!(held = self.buffers.held_by(Holder::Compositor));
        Ok(())
    }

    fn report(&self) -> Result<(), Failure> {
        if !self.options.json {
            return Ok(());
        }
        print::object(&self.report)
            .context("writing the report on stdout")
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }
}
