//! Frames to the compositor, in one event loop: plan, draw, show, and take buffers back.
//!
//! ```text
//!   feedback, size ──▶ plan ──▶ allocate, import ──▶ create wl_buffers ──▶ chain ──▶ retired
//!        ▲           (thread)                             (params)          │  ▲
//!        └──────── change ───────────────────────────────────────────────── │  │ released
//!                                                                     draw ─┴──┴─ show
//! ```
//! While the next chain is on its way the one before goes on; it is let go when nobody has its buffers any more.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::model::Extent;
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::explicit::Explicit;
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::frame_stats::{Ending, FrameStats};
use covalent_client_demo::negotiation::Negotiation;
use covalent_client_demo::print;
use covalent_client_demo::window::Window;

use crate::camera::Camera;
use crate::chain::Chain;
use crate::draw::PendingFrame;
use crate::options::Options;
use crate::planner::Planner;
use crate::render::Renderer;
use crate::report::{ChainReport, Facts, Report, Why};
use crate::setup::{PLANNED, Setup, extent, setup};
use crate::submission_tracker::SubmissionTracker;

/// How often the loop looks around when nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// How long the last frames may take when the program ends.
const END: Duration = Duration::from_secs(10);

/// A window, and whatever it takes to show frames in it.
pub(crate) struct Show<'a> {
    pub(crate) options: &'a Options,
    pub(crate) chain: Option<Chain>,
    /// Offered to the compositor, which has yet to answer.
    pub(crate) next: Option<(Chain, Why)>,
    pub(crate) retired: Vec<Chain>,
    pub(crate) submissions: SubmissionTracker,
    pub(crate) pending_frames: BTreeMap<u64, PendingFrame>,
    pub(crate) renderer: Renderer,
    pub(crate) camera: Option<Camera>,
    pub(crate) explicit: Option<Explicit>,
    pub(crate) window: Window,
    pub(crate) _subscriptions: [Subscription; 2],
    pub(crate) compositor: Compositor,
    pub(crate) events: Events,
    pub(crate) planner: Planner,
    pub(crate) negotiation: Negotiation,
    pub(crate) closed: Vec<String>,
    pub(crate) gpu: Gpu,
    /// What was asked of the planner, where it has yet to answer.
    pub(crate) asked: Option<(Vec<String>, Why)>,
    /// Why another plan is needed.
    pub(crate) stale: Option<Why>,
    pub(crate) planned_for: Extent,
    pub(crate) buffers_made: usize,
    pub(crate) stats: FrameStats,
    pub(crate) swapchains: Vec<ChainReport>,
    pub(crate) drawn: u64,
    pub(crate) committed: u64,
    pub(crate) imports_at_first_frame: u64,
    pub(crate) wanted: bool,
    /// How often a buffer of a swapchain that is gone came back and was still in use.
    pub(crate) waited: u64,
    pub(crate) was_made_window: bool,
    pub(crate) closed_by_user: bool,
}

/// Shows what the options ask for.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut show = Show::begin(options)?;
    let end = show.play();
    let ended = match &end {
        Ok(ended) => *ended,
        Err(_) => Ending::Failed,
    };
    let said = show.report(ended);
    show.end();
    end.and(said)
}

impl<'a> Show<'a> {
    fn begin(options: &'a Options) -> Result<Self, Failure> {
        let Setup {
            events,
            mut compositor,
            window,
            subscriptions,
            mailbox,
            planner,
            negotiation,
            closed,
            gpu,
            renderer,
            camera,
            first: (plan, usage_label),
        } = setup(options)?;
        let handle = events.handle();
        let explicit = Explicit::offer(options.sync, &mut compositor, &handle, window.surface(), 0)
            .map_err(|error| Failure::new(Exit::NoPlan, error))?;
        let planned_for = plan.layout().extent();
        let submissions = SubmissionTracker::new(&gpu, options.completion, mailbox)?;
        let mut show = Self {
            options,
            chain: None,
            next: None,
            retired: Vec::new(),
            submissions,
            pending_frames: BTreeMap::new(),
            renderer,
            camera,
            explicit,
            window,
            _subscriptions: subscriptions,
            compositor,
            events,
            planner,
            negotiation,
            closed,
            gpu,
            asked: None,
            stale: None,
            planned_for,
            buffers_made: 0,
            stats: FrameStats::default(),
            swapchains: Vec::new(),
            drawn: 0,
            committed: 0,
            imports_at_first_frame: 0,
            wanted: true,
            waited: 0,
            was_made_window: false,
            closed_by_user: false,
        };
        show.propose(plan, usage_label, Why::Begin)?;
        Ok(show)
    }

    fn play(&mut self) -> Result<Ending, Failure> {
        loop {
            if self.events.is_interrupted() {
                return Ok(Ending::Interrupted);
            }
            if self.closed_by_user {
                return Ok(Ending::Closed);
            }
            if !self.options.hold && self.is_done() {
                return Ok(Ending::Done);
            }
            self.draw()?;
            self.events
                .turn(&mut self.compositor, Some(LOOK))
                .map_err(exit_code::compositor_failure)?;
            self.hear_all()?;
            if let Some(camera) = &mut self.camera {
                camera.capture(&mut self.stats)?;
            }
            self.plan_anew()?;
        }
    }

    fn hear_all(&mut self) -> Result<(), Failure> {
        for event in self.compositor.take_events() {
            self.hear(event)?;
        }
        self.let_go();
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(number) => self.released(number),
            Event::Idle(number) => self.idle(number),
            Event::Created(number, wl_buffer) => self.created(number, wl_buffer)?,
            Event::Refused(number) => self.refused(number)?,
            Event::Over(PLANNED) => self.planned()?,
            Event::Over(number) => self.over(number)?,
            Event::Presented(frame, shown) => {
                self.stats.presented(frame, shown, self.compositor.clock);
                for chain in self.chains() {
                    chain.frame_trace.presented(frame, shown.time);
                }
                self.become_window();
            }
            Event::Discarded(frame) => {
                self.stats.discarded(frame);
                for chain in self.chains() {
                    chain.frame_trace.discarded(frame);
                }
            }
            Event::Frame => self.wanted = true,
            Event::Configured => self.configured()?,
            Event::Feedback => self.stale = Some(Why::Feedback),
            Event::Closed => self.closed_by_user = true,
            Event::InvalidData(what) => {
                return Err(exit_code::invalid_protocol_data(&self.events, &what));
            }
            other => tracing::debug!("{other:?} is not for this program"),
        }
        Ok(())
    }

    pub(crate) fn chains(&mut self) -> impl Iterator<Item = &mut Chain> {
        self.chain.iter_mut().chain(&mut self.retired)
    }

    fn configured(&mut self) -> Result<(), Failure> {
        let wanted = extent(self.options, &self.compositor)?;
        if wanted != self.planned_for && self.stale.is_none() {
            self.stale = Some(Why::Size);
        }
        if let Some(chain) = &self.chain {
            // The display's mode may be another one now; a chain of another size is on its way where the size is the window's.
            self.window
                .fit(chain.size(), self.compositor.configure.unwrap_or_default());
        }
        Ok(())
    }

    fn become_window(&mut self) {
        let is_time = self
            .options
            .window_after
            .is_some_and(|frames| self.shown() >= frames);
        if is_time && !self.was_made_window {
            self.was_made_window = true;
            self.window.set_fullscreen(false);
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.options
            .frames
            .is_some_and(|frames| self.shown() >= frames)
    }

    /// Frames that were shown, or given to a compositor that does not say what became of them.
    pub(crate) fn shown(&self) -> u64 {
        if self.window.is_timed() {
            self.stats.frames_presented()
        } else {
            self.committed
        }
    }

    fn report(&self, ended: Ending) -> Result<(), Failure> {
        if !self.options.json {
            return Ok(());
        }
        let report = Report::new(&Facts {
            gpu: &self.gpu,
            stats: &self.stats,
            camera: self.camera.as_ref(),
            chain: self.chain.as_ref(),
            swapchains: &self.swapchains,
            is_explicit: self.explicit.is_some(),
            completion: self.submissions.completion(),
            waits: self
                .chain
                .iter()
                .chain(&self.retired)
                .fold(self.waited, |sum, chain| sum.saturating_add(chain.waits())),
            imports: self.renderer.imports(),
            imports_at_first_frame: self.imports_at_first_frame,
            ended,
        });
        print::object(&report)
            .context("writing the report on stdout")
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }

    /// Takes the picture from the screen before the buffers go, where there still is a screen.
    fn end(mut self) {
        let submissions = &mut self.submissions;
        let done = self.events.until(
            &mut self.compositor,
            "draw the last frames",
            END,
            |compositor| {
                for event in compositor.take_events() {
                    if let Event::Over(number) = event {
                        // What failed now is shown to nobody.
                        let _ = submissions.complete(number);
                    }
                }
                submissions.pending() == 0
            },
        );
        if let Err(error) = done {
            tracing::debug!("the last frames: {error}");
        }
        let Self {
            mut events,
            mut compositor,
            window,
            explicit,
            chain,
            next,
            retired,
            submissions,
            camera,
            ..
        } = self;
        drop(submissions);
        drop(camera);
        drop(explicit);
        drop(window);
        drop((chain, next, retired));
        if let Err(error) = events.sync(&mut compositor) {
            tracing::debug!("saying goodbye: {error}");
        }
    }
}
