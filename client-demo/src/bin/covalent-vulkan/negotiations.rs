//! What is known so far of devices, compositor and memory; what may be planned of it; and what was refused of the plans before.

use std::collections::BTreeSet;

use anyhow::anyhow;
use covalent_alloc::backend::vulkan::{Gpu, Purpose};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::{Participant, Source, SourceId};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Request};
use covalent_alloc::sources::Sources;
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::source_choice;
use covalent_client_demo::wishes::Wish;

use crate::gpus::called;
use crate::planner::Alternative;

/// One on the display, one about to replace it, one committed after that and one to draw into.
const BUFFERS: u32 = 4;

/// The parties and their terms.
pub(crate) struct Bargain {
    wanted: Option<String>,
    sources: Sources,
    /// Devices, uses and sources that did not go together.
    excluded: BTreeSet<(String, String, SourceId)>,
    pub(crate) refusals: Vec<String>,
}

/// Whom an alternative is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whom {
    /// The device, by its place in the list that was given.
    pub(crate) gpu: usize,
    /// What the compositor would do with the buffers, in words.
    pub(crate) use_in_words: String,
}

impl Bargain {
    /// Opens every source of memory; plans take it from `wanted` alone, where there is one.
    pub(crate) fn new(wanted: Option<&str>) -> Self {
        Self {
            wanted: wanted.map(str::to_owned),
            sources: Sources::discover(),
            excluded: BTreeSet::new(),
            refusals: Vec::new(),
        }
    }

    /// The sources of memory.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Forgets what was refused: the compositor wishes something else now.
    pub(crate) fn begin_anew(&mut self) {
        self.excluded.clear();
        self.refusals.clear();
    }

    /// Lists what may be planned, best first: each device, and of each the compositor's wishes in its own order.
    ///
    /// # Errors
    /// [`Exit::Usage`] for a source that is not there; [`Exit::Unexpected`] where a device does not say what it takes.
    pub(crate) fn alternatives(
        &mut self,
        gpus: &[&Gpu],
        wishes: &[Wish],
        extent: Extent,
    ) -> Result<Vec<(Whom, Alternative)>, Failure> {
        for card in wishes.iter().filter_map(|wish| wish.card.as_ref()) {
            self.sources.add_card(card);
        }
        let mut alternatives = Vec::new();
        for (place, gpu) in gpus.iter().enumerate() {
            let renderer = gpu
                .participant_for(Purpose::Render, extent, None)
                .map_err(|error| Failure::new(Exit::Unexpected, error))?;
            let own = gpu
                .source_of_size(extent)
                .map_err(|error| Failure::new(Exit::Unexpected, error))?;
            let declared: Vec<Source> =
                self.sources.declarations().into_iter().chain(own).collect();
            let allowed = source_choice::chosen(self.wanted.as_deref(), &declared)?;
            for wish in wishes {
                alternatives.push((
                    Whom {
                        gpu: place,
                        use_in_words: wish.use_in_words.to_owned(),
                    },
                    self.alternative(gpu, &renderer, &allowed, wish, extent),
                ));
            }
        }
        Ok(alternatives)
    }

    fn alternative(
        &self,
        gpu: &Gpu,
        renderer: &Participant,
        allowed: &[Source],
        wish: &Wish,
        extent: Extent,
    ) -> Alternative {
        let mut participants = vec![renderer.clone()];
        participants.extend(wish.participants.iter().cloned());
        let is_left = |source: &&Source| {
            let key = (
                gpu.name().to_owned(),
                wish.use_in_words.to_owned(),
                source.id.clone(),
            );
            !self.excluded.contains(&key)
        };
        Alternative {
            request: Request {
                count: BUFFERS,
                participants,
                sources: allowed.iter().filter(is_left).cloned().collect(),
                preferred_fourcc: Some(Fourcc::XRGB8888),
                ..Request::new(extent)
            },
            unproved: unproved(gpu, renderer),
            words: format!(
                "buffers that {} draws to and that can be {}",
                called(gpu),
                wish.use_in_words
            ),
        }
    }

    /// Allocates the buffers of a plan: from the device itself, or from a source of this machine.
    ///
    /// # Errors
    /// [`Exit::Allocation`].
    pub(crate) fn allocate(&self, gpu: &Gpu, plan: &Plan) -> Result<Vec<Buffer>, Failure> {
        let is_known = self
            .sources
            .declarations()
            .iter()
            .any(|source| source.id == *plan.source());
        if is_known {
            let allocated = self.sources.allocate(plan);
            allocated.map_err(|error| Failure::new(Exit::Allocation, error))
        } else {
            gpu.allocate(plan)
                .map_err(|error| Failure::new(Exit::Allocation, error))
        }
    }

    /// Takes a refusal into the terms: the next plan of this device for this use will not be for that source.
    pub(crate) fn refused(&mut self, gpu: &Gpu, use_in_words: &str, plan: &Plan, why: &str) {
        let source = plan.source_name();
        self.refusals.push(format!("{source} was tried: {why}"));
        self.excluded.insert((
            gpu.name().to_owned(),
            use_in_words.to_owned(),
            plan.source().clone(),
        ));
    }

    /// Ends because there is no plan, with all that was found out.
    pub(crate) fn no_plan(&self, explanations: &[String], closed: &[String]) -> Failure {
        let mut words = "no buffer serves a Vulkan device and the compositor".to_owned();
        let unavailable = self.sources.unavailable();
        let unavailable = unavailable
            .iter()
            .map(|source| format!("not asked: {source}"));
        let closed = closed.iter().map(|why| format!("not asked: {why}"));
        for line in explanations
            .iter()
            .cloned()
            .chain(self.refusals.iter().cloned())
            .chain(closed)
            .chain(unavailable)
        {
            words.push('\n');
            words.push_str(&line);
        }
        Failure::new(Exit::NoPlan, anyhow!(words))
    }
}

/// Whom a helper process has to try before this one does: drivers of hardware were seen to end the process that asked.
///
/// One that works on the processor maps memory as any program does.
pub(crate) fn unproved(gpu: &Gpu, participant: &Participant) -> Option<String> {
    (!gpu.is_processor()).then(|| participant.name.clone())
}
