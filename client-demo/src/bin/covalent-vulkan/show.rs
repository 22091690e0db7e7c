//! The event loop: plans, renders, commits, and takes released buffers back.
//!
//! ```text
//!   feedback, size ──▶ plan ──▶ allocate, import ──▶ create wl_buffers ──▶ swapchain ──▶ retired
//!        ▲           (thread)                             (params)          │  ▲
//!        └──────── change ───────────────────────────────────────────────── │  │ released
//!                                                                     draw ─┴──┴─ show
//! ```
//! The current swapchain stays in use until the next one is complete. Then it is retired, and it is dropped when all of its
//! buffers are free.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use covalent_alloc::backend::vulkan::Gpu;
use covalent_alloc::model::Extent;
use covalent_client_demo::compositor::{Compositor, Event};
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::explicit_sync::ExplicitSync;
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::frame_stats::{Ending, FrameStats};
use covalent_client_demo::negotiation::Negotiation;
use covalent_client_demo::print;
use covalent_client_demo::shm_copy::CopyReport;
use covalent_client_demo::window::Window;

use crate::camera::Camera;
use crate::draw::PendingFrame;
use crate::options::Options;
use crate::planner::Planner;
use crate::render::Renderer;
use crate::report::{Report, ReportInputs, SwapchainReason, SwapchainReport};
use crate::setup::{PLAN_READY, Setup, extent, setup};
use crate::submission_tracker::SubmissionTracker;
use crate::swapchain::Swapchain;

/// The longest time that the event loop sleeps without an event.
const WAKE_INTERVAL: Duration = Duration::from_secs(1);
/// How long the program waits for pending submissions when it ends.
const LAST_FRAMES_TIMEOUT: Duration = Duration::from_secs(10);

/// The state of the event loop.
pub(crate) struct App<'a> {
    pub(crate) options: &'a Options,
    pub(crate) swapchain: Option<Swapchain>,
    /// The next swapchain, of which the compositor has not created all `wl_buffer`s yet.
    pub(crate) next: Option<(Swapchain, SwapchainReason)>,
    pub(crate) retired: Vec<Swapchain>,
    pub(crate) submissions: SubmissionTracker,
    pub(crate) pending_frames: BTreeMap<u64, PendingFrame>,
    pub(crate) renderer: Renderer,
    pub(crate) camera: Option<Camera>,
    pub(crate) explicit: Option<ExplicitSync>,
    pub(crate) window: Window,
    pub(crate) _subscriptions: Vec<Subscription>,
    pub(crate) compositor: Compositor,
    pub(crate) events: Events,
    pub(crate) planner: Planner,
    pub(crate) negotiation: Negotiation,
    pub(crate) unavailable_gpus: Vec<String>,
    pub(crate) gpu: Gpu,
    /// The pending request to the planner: the usage phrase of each alternative, in the same order, and the reason for the new
    /// plan.
    pub(crate) pending_plan: Option<(Vec<String>, SwapchainReason)>,
    /// Why a new plan has to be requested; `None` if no new plan is needed.
    pub(crate) replan_reason: Option<SwapchainReason>,
    /// Whether so many imports of plans without a copy have failed that no more are tried until the compositor sends new feedback.
    pub(crate) has_refused_all: bool,
    /// Why the frames of the current swapchain are copied to shared memory; `None` where they are not.
    pub(crate) copied: Option<CopyReport>,
    /// The bytes that were written to shared memory.
    pub(crate) shm_bytes: u64,
    pub(crate) planned_for: Extent,
    pub(crate) next_buffer_number: usize,
    pub(crate) stats: FrameStats,
    pub(crate) swapchain_reports: Vec<SwapchainReport>,
    pub(crate) drawn: u64,
    pub(crate) committed: u64,
    pub(crate) imports_at_first_frame: u64,
    pub(crate) frame_requested: bool,
    /// The total of [`Swapchain::waits`] of the swapchains that were dropped.
    pub(crate) retired_waits: u64,
    pub(crate) has_left_fullscreen: bool,
    pub(crate) closed_by_user: bool,
}

/// Renders frames and commits them to the compositor until all frames of `--frames` are shown.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut app = App::begin(options)?;
    let end = app.run_loop();
    let ended = match &end {
        Ok(ended) => *ended,
        Err(_) => Ending::Failed,
    };
    let reported = app.report(ended);
    app.end();
    end.and(reported)
}

impl<'a> App<'a> {
    /// Sets up the window, the GPU and the camera, and allocates the first swapchain.
    fn begin(options: &'a Options) -> Result<Self, Failure> {
        let Setup {
            mut events,
            mut compositor,
            window,
            subscriptions,
            completion_sender,
            planner,
            negotiation,
            unavailable_gpus,
            gpu,
            renderer,
            camera,
            first_plan: (plan, usage_label),
        } = setup(options)?;
        let explicit = ExplicitSync::create(
            options.sync,
            &mut events,
            &mut compositor,
            window.surface(),
            0,
        )
        .map_err(|error| Failure::new(Exit::NoPlan, error))?;
        let planned_for = plan.layout().visible().extent();
        let submissions = SubmissionTracker::new(&gpu, options.completion, completion_sender)?;
        let mut app = Self {
            options,
            swapchain: None,
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
            unavailable_gpus,
            gpu,
            pending_plan: None,
            replan_reason: None,
            has_refused_all: false,
            copied: None,
            shm_bytes: 0,
            planned_for,
            next_buffer_number: 0,
            stats: FrameStats::default(),
            swapchain_reports: Vec::new(),
            drawn: 0,
            committed: 0,
            imports_at_first_frame: 0,
            frame_requested: true,
            retired_waits: 0,
            has_left_fullscreen: false,
            closed_by_user: false,
        };
        app.allocate_swapchain(plan, usage_label, SwapchainReason::Begin)?;
        Ok(app)
    }

    /// Draws frames and handles events until the program ends. Returns why it ended.
    fn run_loop(&mut self) -> Result<Ending, Failure> {
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
                .dispatch(&mut self.compositor, Some(WAKE_INTERVAL))
                .map_err(exit_code::compositor_failure)?;
            self.handle_events()?;
            if let Some(camera) = &mut self.camera {
                camera.capture(&mut self.stats)?;
            }
            self.replan_if_needed()?;
        }
    }

    /// Handles the pending events of the compositor, and drops the swapchains that it has released.
    fn handle_events(&mut self) -> Result<(), Failure> {
        for event in self.compositor.take_events() {
            self.handle_event(event)?;
        }
        self.drop_retired();
        Ok(())
    }

    /// Handles an event of the compositor, the planner or the GPU.
    fn handle_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Released(number) => self.handle_buffer_released(number)?,
            Event::BufferIdle(number) => self.handle_buffer_idle(number),
            Event::Created(number, wl_buffer) => self.handle_buffer_created(number, wl_buffer)?,
            Event::Refused(number) => self.handle_buffer_refused(number)?,
            Event::Completed(PLAN_READY) => self.handle_plan()?,
            Event::Completed(number) => self.handle_frame_completed(number)?,
            Event::Presented(frame, shown) => {
                self.stats.presented(frame, shown, self.compositor.clock);
                for swapchain in self.all_swapchains() {
                    swapchain.frame_trace.presented(frame, shown.time);
                }
                self.become_window();
            }
            Event::Discarded(frame) => {
                self.stats.discarded(frame);
                for swapchain in self.all_swapchains() {
                    swapchain.frame_trace.discarded(frame);
                }
            }
            Event::Frame => {
                self.frame_requested = true;
                // Without presentation-time no other event says that a frame was shown.
                self.become_window();
            }
            Event::Configured => self.handle_configure()?,
            Event::Feedback => self.replan_reason = Some(SwapchainReason::Feedback),
            Event::Closed => self.closed_by_user = true,
            Event::InvalidData(what) => {
                return Err(exit_code::invalid_protocol_data(&self.events, &what));
            }
            other => tracing::debug!("{other:?} is ignored"),
        }
        Ok(())
    }

    /// Returns the current swapchain and the retired ones.
    pub(crate) fn all_swapchains(&mut self) -> impl Iterator<Item = &mut Swapchain> {
        self.swapchain.iter_mut().chain(&mut self.retired)
    }

    /// Requests a new plan if the size of the window has changed.
    fn handle_configure(&mut self) -> Result<(), Failure> {
        let wanted = extent(self.options, &self.compositor)?;
        if wanted != self.planned_for && self.replan_reason.is_none() {
            self.replan_reason = Some(SwapchainReason::Size);
        }
        if let Some(swapchain) = &self.swapchain {
            // The size of the screen may have changed with the display's mode. If the buffers follow the window's size, a new
            // swapchain is pending.
            self.window.fit(
                swapchain.size(),
                self.compositor.configure.unwrap_or_default(),
            );
        }
        Ok(())
    }

    /// Leaves fullscreen once, after the number of frames of `--window-after`.
    fn become_window(&mut self) {
        let is_time = self
            .options
            .window_after
            .is_some_and(|frames| self.shown() >= frames);
        if is_time && !self.has_left_fullscreen {
            self.has_left_fullscreen = true;
            self.window.set_fullscreen(false);
        }
    }

    /// Returns whether the number of frames of `--frames` is reached.
    pub(crate) fn is_done(&self) -> bool {
        self.options
            .frames
            .is_some_and(|frames| self.shown() >= frames)
    }

    /// Returns the number of presented frames, or of committed frames if the compositor lacks presentation-time.
    pub(crate) fn shown(&self) -> u64 {
        if self.window.is_timed() {
            self.stats.frames_presented()
        } else {
            self.committed
        }
    }

    /// Prints the report on stdout if `--json` was given.
    fn report(&self, ended: Ending) -> Result<(), Failure> {
        if !self.options.json {
            return Ok(());
        }
        let report = Report::new(&ReportInputs {
            gpu: &self.gpu,
            stats: &self.stats,
            camera: self.camera.as_ref(),
            swapchain: self.swapchain.as_ref(),
            swapchain_reports: &self.swapchain_reports,
            is_explicit: self.explicit.is_some(),
            completion: self.submissions.completion(),
            waits: self
                .swapchain
                .iter()
                .chain(&self.retired)
                .fold(self.retired_waits, |sum, swapchain| {
                    sum.saturating_add(swapchain.waits())
                }),
            imports: self.renderer.imports(),
            imports_at_first_frame: self.imports_at_first_frame,
            shm_bytes: self.shm_bytes,
            copied: self.copied.as_ref(),
            ended,
        });
        print::json(&report)
            .context("writing the report on stdout")
            .map_err(Failure::unexpected)
    }

    /// Completes the pending submissions and destroys the surface before the buffers.
    fn end(mut self) {
        let submissions = &mut self.submissions;
        let done = self.events.dispatch_until(
            &mut self.compositor,
            "draw the last frames",
            LAST_FRAMES_TIMEOUT,
            |compositor| {
                for event in compositor.take_events() {
                    if let Event::Completed(number) = event {
                        // An error of a frame that is no longer shown is ignored.
                        let _ = submissions.complete(number);
                    }
                }
                submissions.pending() == 0
            },
        );
        if let Err(error) = done {
            tracing::debug!("completing the last frames: {error}");
        }
        let Self {
            mut events,
            mut compositor,
            window,
            explicit,
            swapchain,
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
        drop((swapchain, next, retired));
        if let Err(error) = events.roundtrip(&mut compositor) {
            tracing::debug!("the last roundtrip to the compositor failed: {error}");
        }
    }
}
