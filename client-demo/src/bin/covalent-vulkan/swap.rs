//! Creates the next swapchain from the compositor's feedback: plan, allocate, import, create `wl_buffer`s, and retire the swapchain
//! before it.

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::drm::HostCopies;
use covalent_alloc::solve::Plan;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::negotiation::REFUSED;
use covalent_client_demo::print;
use covalent_client_demo::wl_buffers::create_wl_buffer;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::chain::Chain;
use crate::draw::sync_failure;
use crate::negotiations;
use crate::render::Target;
use crate::report::{ChainReport, Why};
use crate::setup::{current_requests, extent};
use crate::show::Show;

impl Show<'_> {
    /// Asks the planner where something changed and nothing is on its way.
    pub(crate) fn plan_anew(&mut self) -> Result<(), Failure> {
        if self.asked.is_some() || self.next.is_some() {
            return Ok(());
        }
        let Some(why) = self.stale.take() else {
            return Ok(());
        };
        if why == Why::Feedback {
            self.negotiation.forget_refusals();
        }
        self.ask(why)
    }

    pub(crate) fn ask(&mut self, why: Why) -> Result<(), Failure> {
        let extent = extent(self.options, &self.compositor)?;
        if extent != self.planned_for {
            negotiations::resize(&mut self.negotiation, &self.gpu, extent)?;
            self.planned_for = extent;
        }
        let requests = current_requests(&self.compositor);
        let alternatives = self.negotiation.alternatives(&requests)?;
        let uses = alternatives.iter();
        let uses = uses.map(|alternative| alternative.usage_label.clone());
        self.asked = Some((uses.collect(), why));
        self.planner.ask(alternatives);
        Ok(())
    }

    pub(crate) fn planned(&mut self) -> Result<(), Failure> {
        let (Some(answer), Some((uses, why))) = (self.planner.answer(), self.asked.take()) else {
            return Ok(());
        };
        let Some((place, plan)) = answer.chosen else {
            let closed = self.closed.iter().map(|why| format!("not asked: {why}"));
            let lines: Vec<String> = answer.explanations.into_iter().chain(closed).collect();
            return Err(self.negotiation.no_plan(&lines));
        };
        let Some(usage_label) = uses.into_iter().nth(place) else {
            return Err(Failure::new(
                Exit::Unexpected,
                anyhow!("the planner chose an alternative that is not in its request"),
            ));
        };
        self.explain(&answer.explanations, &plan, &usage_label)?;
        self.propose(*plan, usage_label, why)
    }

    /// Allocates a plan's buffers, has the device take them, and wl_buffers them to the compositor.
    pub(crate) fn propose(
        &mut self,
        plan: Plan,
        usage_label: String,
        why: Why,
    ) -> Result<(), Failure> {
        if why == Why::Begin && self.negotiation.refusals().is_empty() {
            self.explain(&[], &plan, &usage_label)?;
        }
        let allocated = self.negotiation.allocate(&plan);
        let buffers = allocated.map_err(exit_code::backend_failure)?;
        let targets: Result<Vec<Target>, _> = buffers
            .iter()
            .map(|buffer| self.renderer.target(buffer))
            .collect();
        let targets = match targets {
            Ok(targets) => targets,
            Err(error) => return self.try_another(&plan, &usage_label, why, &error.to_string()),
        };
        let copies = HostCopies::of(&plan, &buffers)
            .map_err(|error| Failure::new(Exit::Allocation, error))?;
        let chain = Chain::new(
            self.buffers_made,
            plan,
            usage_label,
            buffers,
            targets,
            copies,
            self.submissions.party(&self.gpu),
        );
        self.buffers_made = chain.numbers().end;
        for (number, buffer) in chain.numbers().zip(chain.buffers()) {
            create_wl_buffer(&self.compositor, &self.events.handle(), number, buffer)
                .map_err(exit_code::wl_buffer_failure)?;
        }
        self.next = Some((chain, why));
        Ok(())
    }

    pub(crate) fn try_another(
        &mut self,
        plan: &Plan,
        usage_label: &str,
        why: Why,
        reason: &str,
    ) -> Result<(), Failure> {
        self.negotiation.refuse(usage_label, plan, reason)?;
        self.ask(why)
    }

    pub(crate) fn created(&mut self, number: usize, wl_buffer: WlBuffer) -> Result<(), Failure> {
        let place = self
            .next
            .as_ref()
            .and_then(|(chain, _)| chain.place(number));
        let (Some(place), Some((mut chain, why))) = (place, self.next.take()) else {
            // Of a chain of which another buffer was refused.
            wl_buffer.destroy();
            return Ok(());
        };
        if !chain.created(place, wl_buffer) {
            self.next = Some((chain, why));
            return Ok(());
        }
        if let Some(explicit) = &mut self.explicit {
            let handle = self.events.handle();
            for number in chain.numbers() {
                explicit.add(&handle, number).map_err(sync_failure)?;
            }
        }
        let first_frame = self.frame_number();
        self.swapchains
            .push(ChainReport::new(&chain, why, first_frame));
        self.retired.extend(self.chain.replace(chain));
        // The compositor asks for frames when it has shown one, and of this chain it has none.
        self.wanted = true;
        Ok(())
    }

    /// Lets go of swapchains that nobody has a buffer of any more.
    pub(crate) fn let_go(&mut self) {
        let explicit = &mut self.explicit;
        let waited = &mut self.waited;
        self.retired.retain(|chain| {
            if chain.is_idle() {
                *waited = waited.saturating_add(chain.waits());
                if let Some(explicit) = explicit {
                    chain.numbers().for_each(|number| explicit.remove(number));
                }
            }
            !chain.is_idle()
        });
    }

    pub(crate) fn refused(&mut self, number: usize) -> Result<(), Failure> {
        let is_next = |(chain, _): &(Chain, Why)| chain.place(number).is_some();
        let Some((chain, why)) = self.next.take_if(|next| is_next(next)) else {
            return Ok(());
        };
        self.try_another(&chain.plan, &chain.usage_label, why, REFUSED)
    }

    /// Prints the plan where it was asked for.
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
        if let Some(camera) = self.camera.as_ref().filter(|_| self.swapchains.is_empty()) {
            let words = camera.plan().explain();
            text.push_str(&format!("The pictures of {}:\n{words}\n\n", camera.name()));
        }
        text.push_str(&self.negotiation.summary(before, usage_label, plan));
        text.push('\n');
        print::words(&text, self.options.json)
            .context("printing the plan")
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }
}
