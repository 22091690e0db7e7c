//! From the compositor's wishes to the next swapchain: plan, allocate, import, offer, and let the one before go.

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::drm::HostCopies;
use covalent_alloc::solve::Plan;
use covalent_client_demo::blame;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::offers::offer_one;
use covalent_client_demo::print;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::bargain::Whom;
use crate::chain::Chain;
use crate::draw::unstamped;
use crate::planner::Alternative;
use crate::render::Target;
use crate::report::{ChainReport, Why};
use crate::settle::{current_wishes, extent};
use crate::show::Show;

/// How many plans of one swapchain may be refused.
const PLANS: usize = 6;

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
            self.bargain.begin_anew();
        }
        self.ask(why)
    }

    pub(crate) fn ask(&mut self, why: Why) -> Result<(), Failure> {
        self.planned_for = extent(self.options, &self.compositor)?;
        let wishes = current_wishes(&self.compositor);
        let alternatives = self
            .bargain
            .alternatives(&[&self.gpu], &wishes, self.planned_for)?;
        let (whom, alternatives): (Vec<Whom>, Vec<Alternative>) = alternatives.into_iter().unzip();
        self.planner.ask(alternatives);
        self.asked = Some((whom, why));
        Ok(())
    }

    pub(crate) fn planned(&mut self) -> Result<(), Failure> {
        let (Some(answer), Some((whom, why))) = (self.planner.answer(), self.asked.take()) else {
            return Ok(());
        };
        let Some((place, plan)) = answer.chosen else {
            return Err(self.bargain.no_plan(&answer.explanations, &self.closed));
        };
        let Some(whom) = whom.into_iter().nth(place) else {
            return Err(Failure::new(
                Exit::Unexpected,
                anyhow!("the planner chose what it was not asked"),
            ));
        };
        self.explain(&answer.explanations, &plan)?;
        self.propose(*plan, whom, why)
    }

    /// Allocates a plan's buffers, has the device take them, and offers them to the compositor.
    pub(crate) fn propose(&mut self, plan: Plan, whom: Whom, why: Why) -> Result<(), Failure> {
        if why == Why::Begin && self.bargain.refusals.is_empty() {
            self.explain(&[], &plan)?;
        }
        let buffers = self.bargain.allocate(&self.gpu, &plan)?;
        let targets: Result<Vec<Target>, _> = buffers
            .iter()
            .map(|buffer| self.renderer.target(buffer))
            .collect();
        let targets = match targets {
            Ok(targets) => targets,
            Err(error) => return self.try_another(&plan, &whom, why, &error.to_string()),
        };
        let copies = HostCopies::of(&plan, &buffers)
            .map_err(|error| Failure::new(Exit::Allocation, error))?;
        let chain = Chain::new(
            self.buffers_made,
            plan,
            whom.use_in_words,
            buffers,
            targets,
            copies,
            self.turns.party(&self.gpu),
        );
        self.buffers_made = chain.numbers().end;
        for (number, buffer) in chain.numbers().zip(chain.buffers()) {
            offer_one(&self.compositor, &self.events.handle(), number, buffer)
                .map_err(blame::offers)?;
        }
        self.next = Some((chain, why));
        Ok(())
    }

    pub(crate) fn try_another(
        &mut self,
        plan: &Plan,
        whom: &Whom,
        why: Why,
        reason: &str,
    ) -> Result<(), Failure> {
        self.bargain
            .refused(&self.gpu, &whom.use_in_words, plan, reason);
        if self.bargain.refusals.len() >= PLANS {
            let words = format!("{PLANS} plans were refused, which is the most that are tried");
            return Err(self.bargain.no_plan(&[words], &self.closed));
        }
        self.ask(why)
    }

    pub(crate) fn created(&mut self, number: usize, wire: WlBuffer) -> Result<(), Failure> {
        let place = self
            .next
            .as_ref()
            .and_then(|(chain, _)| chain.place(number));
        let (Some(place), Some((mut chain, why))) = (place, self.next.take()) else {
            // Of a chain of which another buffer was refused.
            wire.destroy();
            return Ok(());
        };
        if !chain.created(place, wire) {
            self.next = Some((chain, why));
            return Ok(());
        }
        if let Some(explicit) = &mut self.explicit {
            let handle = self.events.handle();
            for number in chain.numbers() {
                explicit.add(&handle, number).map_err(unstamped)?;
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
        let whom = Whom {
            gpu: 0,
            use_in_words: chain.use_in_words.clone(),
        };
        let reason = "the compositor refused its buffers (zwp_linux_buffer_params_v1.failed)";
        self.try_another(&chain.plan, &whom, why, reason)
    }

    /// Prints the plan where it was asked for.
    pub(crate) fn explain(&self, before: &[String], plan: &Plan) -> Result<(), Failure> {
        if !self.options.explain {
            return Ok(());
        }
        let mut text = String::new();
        for words in before.iter().chain(&self.bargain.refusals) {
            text.push_str(words);
            text.push_str("\n\n");
        }
        if let Some(camera) = self.camera.as_ref().filter(|_| self.swapchains.is_empty()) {
            let words = camera.plan().explain();
            text.push_str(&format!("The pictures of {}:\n{words}\n\n", camera.name()));
        }
        text.push_str(&plan.explain());
        text.push('\n');
        print::words(&text, self.options.json)
            .context("printing the plan")
            .map_err(|error| Failure::new(Exit::Unexpected, error))
    }
}
