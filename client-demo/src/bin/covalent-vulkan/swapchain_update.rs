//! Creates the next swapchain from the compositor's feedback: plans, allocates, imports, creates `wl_buffer`s, and retires the
//! current swapchain.

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::backend::v4l2::{Colours, Encoding};
use covalent_alloc::solve::Plan;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::negotiation::{REFUSED, missing_formats};
use covalent_client_demo::print;
use covalent_client_demo::shm_copy::{COPIED, CopyReport, ShmCopy};
use covalent_client_demo::wl_buffers::create_wl_buffer;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::draw::sync_failure;
use crate::negotiations;
use crate::render::Target;
use crate::report::{SwapchainReason, SwapchainReport};
use crate::setup::{current_requests, extent};
use crate::show::App;
use crate::swapchain::Swapchain;

/// The colours of the render targets, which are RGB, so that the matrix has no meaning.
const RGB: Colours = Colours {
    encoding: Encoding::Bt709,
    is_full_range: true,
};

impl App<'_> {
    /// Requests a new plan if one is needed, unless a plan or a swapchain is pending.
    pub(crate) fn replan_if_needed(&mut self) -> Result<(), Failure> {
        if self.pending_plan.is_some() || self.next.is_some() {
            return Ok(());
        }
        let Some(why) = self.replan_reason.take() else {
            return Ok(());
        };
        if why == SwapchainReason::Feedback {
            self.negotiation.forget_refusals();
            self.has_refused_all = false;
        }
        self.request_plan(why)
    }

    /// Requests a plan for a new swapchain from the planner. `why` says why the current one is replaced.
    pub(crate) fn request_plan(&mut self, why: SwapchainReason) -> Result<(), Failure> {
        let extent = extent(self.options, &self.compositor)?;
        if extent != self.planned_for {
            negotiations::resize(&mut self.negotiation, &self.gpu, extent)?;
            self.planned_for = extent;
        }
        let requests = match self.has_refused_all {
            true => Vec::new(),
            false => current_requests(&self.compositor),
        };
        let mut alternatives = self.negotiation.alternatives(&requests)?;
        if !self.options.no_copy {
            alternatives.push(negotiations::copied(&mut self.negotiation)?);
        }
        let uses = alternatives.iter();
        let uses = uses.map(|alternative| alternative.usage_label.clone());
        self.pending_plan = Some((uses.collect(), why));
        self.planner.request(alternatives);
        Ok(())
    }

    /// Allocates a swapchain for the plan that the planner has chosen.
    pub(crate) fn handle_plan(&mut self) -> Result<(), Failure> {
        // The event of a plan that the setup has already received can arrive late. Then no result is ready, and the pending
        // request must be kept.
        let Some(planning_result) = self.planner.next_result() else {
            return Ok(());
        };
        let Some((uses, why)) = self.pending_plan.take() else {
            return Ok(());
        };
        let Some((index, plan)) = planning_result.chosen else {
            let unavailable = self
                .unavailable_gpus
                .iter()
                .map(|why| format!("not queried: {why}"));
            let missing = (self.compositor.current_feedback().is_none())
                .then(|| missing_formats(&self.compositor));
            let lines: Vec<String> = planning_result
                .explanations
                .into_iter()
                .chain(missing)
                .chain(unavailable)
                .collect();
            return Err(self.negotiation.no_plan(&lines));
        };
        let Some(usage_label) = uses.into_iter().nth(index) else {
            return Err(Failure::new(
                Exit::Unexpected,
                anyhow!("the planner chose an alternative that is not in its request"),
            ));
        };
        self.explain(&planning_result.explanations, &plan, &usage_label)?;
        self.allocate_swapchain(*plan, usage_label, why)
    }

    /// Allocates a plan's buffers, imports them into the device, and requests their `wl_buffer`s from the compositor.
    pub(crate) fn allocate_swapchain(
        &mut self,
        plan: Plan,
        usage_label: String,
        why: SwapchainReason,
    ) -> Result<(), Failure> {
        if why == SwapchainReason::Begin && self.negotiation.refusals().is_empty() {
            self.explain(&[], &plan, &usage_label)?;
        }
        let allocated = self.negotiation.collection().allocate(&plan);
        let buffers = allocated.map_err(exit_code::backend_failure)?;
        let targets: Result<Vec<Target>, _> = buffers
            .iter()
            .map(|buffer| self.renderer.target(buffer))
            .collect();
        let targets = match targets {
            Ok(targets) => targets,
            Err(error) => return self.replan_without(&plan, &usage_label, why, &error.to_string()),
        };
        let is_copied = usage_label == COPIED;
        // The host does not read a buffer whose frames are copied.
        let copies = match is_copied {
            true => None,
            false => HostTransfer::of(&plan, &buffers)
                .map_err(|error| Failure::new(Exit::Allocation, error))?,
        };
        let swapchain = Swapchain::new(
            self.next_buffer_number,
            plan,
            usage_label,
            buffers,
            targets,
            copies,
            self.submissions.accessor(&self.gpu),
        );
        self.next_buffer_number = swapchain.numbers().end;
        if is_copied {
            return self.start_copying(swapchain, why);
        }
        for (number, buffer) in swapchain.numbers().zip(swapchain.buffers()) {
            create_wl_buffer(&self.compositor, &self.events.handle(), number, buffer)
                .map_err(exit_code::wl_buffer_failure)?;
        }
        self.next = Some((swapchain, why));
        Ok(())
    }

    /// Creates the `wl_shm` buffers of a swapchain whose frames are copied, and makes it the current one. Prints why the frames
    /// are copied, unless the frames before were copied for the same reason.
    fn start_copying(
        &mut self,
        mut swapchain: Swapchain,
        why: SwapchainReason,
    ) -> Result<(), Failure> {
        let buffers = swapchain.buffers();
        let count = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
        let shm_copy = ShmCopy::new(
            &self.compositor,
            &self.events.handle(),
            buffers,
            RGB,
            (swapchain.numbers().start, count),
        )
        .map_err(|error| Failure::new(Exit::Allocation, error))?;
        let reason = self.negotiation.why_no_plan(&self.compositor);
        let report = CopyReport::new(reason, &shm_copy, swapchain.layout());
        if self.copied.as_ref() != Some(&report) {
            report.print("covalent-vulkan")?;
        }
        self.copied = Some(report);
        swapchain.set_shm_copy(shm_copy);
        self.make_current(swapchain, why)
    }

    pub(crate) fn replan_without(
        &mut self,
        plan: &Plan,
        usage_label: &str,
        why: SwapchainReason,
        reason: &str,
    ) -> Result<(), Failure> {
        match self.negotiation.refuse(usage_label, plan, reason) {
            Ok(()) => {}
            Err(failure) if self.options.no_copy || self.has_refused_all => return Err(failure),
            // Too many plans without a copy were tried, so that the frames are copied.
            Err(_) => self.has_refused_all = true,
        }
        self.request_plan(why)
    }

    /// Adds a `wl_buffer` to the next swapchain. When the swapchain has all its buffers, it replaces the current one.
    pub(crate) fn handle_buffer_created(
        &mut self,
        number: usize,
        wl_buffer: WlBuffer,
    ) -> Result<(), Failure> {
        let index = self
            .next
            .as_ref()
            .and_then(|(swapchain, _)| swapchain.index_of(number));
        let (Some(index), Some((mut swapchain, why))) = (index, self.next.take()) else {
            // The compositor refused another buffer of the same swapchain before, so the swapchain was dropped.
            wl_buffer.destroy();
            return Ok(());
        };
        if !swapchain.set_wl_buffer(index, wl_buffer) {
            self.next = Some((swapchain, why));
            return Ok(());
        }
        self.copied = None;
        self.make_current(swapchain, why)
    }

    /// Makes a swapchain with all of its `wl_buffer`s the current one, and retires the one before.
    fn make_current(&mut self, swapchain: Swapchain, why: SwapchainReason) -> Result<(), Failure> {
        let explicit = self.explicit.as_mut().filter(|_| !swapchain.is_copied());
        if let Some(explicit) = explicit {
            for number in swapchain.numbers() {
                explicit
                    .add(&mut self.events, number)
                    .map_err(sync_failure)?;
            }
        }
        let first_frame = self.frame_number();
        self.swapchain_reports
            .push(SwapchainReport::new(&swapchain, why, first_frame));
        self.retired.extend(self.swapchain.replace(swapchain));
        // No frame of this swapchain was committed, so no frame callback is pending for it.
        self.frame_requested = true;
        Ok(())
    }

    /// Drops the retired swapchains whose buffers are all free.
    pub(crate) fn drop_retired(&mut self) {
        let (explicit, events) = (&mut self.explicit, &mut self.events);
        let retired_waits = &mut self.retired_waits;
        self.retired.retain(|swapchain| {
            if swapchain.is_idle() {
                *retired_waits = retired_waits.saturating_add(swapchain.waits());
                if let Some(explicit) = explicit {
                    swapchain
                        .numbers()
                        .for_each(|number| explicit.remove(events, number));
                }
            }
            !swapchain.is_idle()
        });
    }

    /// Drops the next swapchain, because the compositor refused one of its buffers, and requests another plan.
    pub(crate) fn handle_buffer_refused(&mut self, number: usize) -> Result<(), Failure> {
        let is_next =
            |(swapchain, _): &(Swapchain, SwapchainReason)| swapchain.index_of(number).is_some();
        let Some((swapchain, why)) = self.next.take_if(|next| is_next(next)) else {
            return Ok(());
        };
        self.replan_without(&swapchain.plan, &swapchain.usage_label, why, REFUSED)
    }

    /// Prints the explanation of the plan if `--explain` was given.
    pub(crate) fn explain(
        &self,
        before: &[String],
        plan: &Plan,
        usage_label: &str,
    ) -> Result<(), Failure> {
        if !self.options.explain {
            return Ok(());
        }
        let mut text = String::new();
        if let Some(camera) = self
            .camera
            .as_ref()
            .filter(|_| self.swapchain_reports.is_empty())
        {
            let explanation = camera.plan().explain();
            text.push_str(&format!(
                "The buffers of {}:\n{explanation}\n\n",
                camera.name()
            ));
        }
        text.push_str(&self.negotiation.summary(before, usage_label, plan));
        text.push('\n');
        print::text(&text, self.options.json)
            .context("printing the plan")
            .map_err(Failure::unexpected)
    }
}
