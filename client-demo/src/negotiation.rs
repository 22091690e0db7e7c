//! Negotiates buffers that this process's devices and the compositor can share.
//!
//! ```text
//!   tranches ──▶ plan ──▶ allocate ──▶ import here ──▶ import in the compositor ──▶ wl_buffers
//!                 ▲                        │ refused     │ refused
//!                 └──── without the source ┴─────────────┘
//! ```
//! The tranches of the compositor's feedback are tried in the compositor's order. The buffers of a scanout tranche have to be
//! importable by the display's card too. For the other tranches only the compositor has to import the buffers. The negotiation
//! succeeds when the compositor has created a `wl_buffer` of every buffer. When an import fails, the source is excluded for that
//! tranche and the negotiation plans again.
//!
//! [`Negotiation::negotiate`] does all steps and blocks. A program that must not block takes the steps one by one, as
//! `covalent-vulkan` does: [`Negotiation::alternatives`], [`Planning::decide`] on a thread, [`BufferCollection::allocate`],
//! [`create_wl_buffer`](crate::wl_buffers::create_wl_buffer), and [`Negotiation::refuse`] if an import failed.

use std::collections::BTreeSet;

use anyhow::anyhow;
use covalent_alloc::backend::BackendError;
use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{Participant, SourceId};
use covalent_alloc::solve::Plan;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::compositor::Compositor;
use crate::dmabuf::LOWEST_VERSION;
use crate::events::Events;
use crate::exit::{Exit, Failure};
use crate::exit_code;
use crate::planning::{Alternative, Planning, PlanningResult};
use crate::source_choice;
use crate::tranche_request::{TrancheRequest, tranche_requests};
use crate::wl_buffers::{ImportResult, import_wl_buffers};

/// The maximum number of plans that are tried.
const PLANS: usize = 6;
/// The reason that is recorded when the compositor fails to import a buffer.
pub const REFUSED: &str =
    "the compositor could not import the buffers (zwp_linux_buffer_params_v1.failed)";

/// The state of a negotiation: its participants, and the sources whose buffers were refused.
#[derive(Debug)]
pub struct Negotiation {
    collection: BufferCollection,
    /// The participants, as a phrase for messages.
    participants_label: String,
    only_source: Option<String>,
    trial_participant: Option<String>,
    /// Pairs of a usage phrase and a source whose buffers were refused for that usage.
    refused: BTreeSet<(String, SourceId)>,
    refusals: Vec<String>,
}

/// The buffers of a plan that every participant has imported, and their imports.
#[derive(Debug)]
pub struct NegotiatedBuffers<I> {
    /// The plan from which the buffers were allocated.
    pub plan: Plan,
    /// The allocated dma-bufs.
    pub buffers: Vec<Buffer>,
    /// The imports into this process's devices.
    pub imported: I,
    /// The compositor's `wl_buffer`s, in the order of `buffers`.
    pub wl_buffers: Vec<WlBuffer>,
    /// Transfers new contents to the host if a virtual GPU has a shadow copy of the buffers there; `None` otherwise.
    pub copies: Option<HostTransfer>,
    /// The explanation of the plan and of the earlier attempts.
    pub summary: String,
}

impl Negotiation {
    /// Starts a negotiation. `collection` has this process's devices as participants. `participants_label` names all participants
    /// in messages, for example `the camera and the compositor`.
    #[must_use]
    pub fn new(collection: BufferCollection, participants_label: impl Into<String>) -> Self {
        Self {
            collection,
            participants_label: participants_label.into(),
            only_source: None,
            trial_participant: None,
            refused: BTreeSet::new(),
            refusals: Vec::new(),
        }
    }

    /// Restricts plans to one source, by its identifier or its name.
    #[must_use]
    pub fn with_only_source(mut self, source: Option<&str>) -> Self {
        self.only_source = source.map(str::to_owned);
        self
    }

    /// Makes this participant import each plan's buffers in a helper process first, because its driver may crash the importing
    /// process.
    #[must_use]
    pub fn with_trial_import(mut self, participant: Option<String>) -> Self {
        self.trial_participant = participant;
        self
    }

    /// Returns the collection with this process's devices and the sources.
    pub fn collection(&mut self) -> &mut BufferCollection {
        &mut self.collection
    }

    /// Returns a message for each plan whose import has failed so far.
    #[must_use]
    pub fn refusals(&self) -> &[String] {
        &self.refusals
    }

    /// Returns one line that says why there is no plan without a copy.
    #[must_use]
    pub fn why_no_plan(&self, compositor: &Compositor) -> String {
        if compositor.globals.dmabuf.is_none() {
            return missing_formats(compositor);
        }
        match self.refusals.last() {
            Some(refusal) => refusal.clone(),
            None => format!(
                "no buffer can be shared by {} (--explain prints the reasons)",
                self.participants_label
            ),
        }
    }

    /// Permits the sources again that were excluded after failed imports. Call this when the compositor has sent new feedback.
    pub fn forget_refusals(&mut self) {
        self.refused.clear();
        self.refusals.clear();
    }

    /// Returns the request to the solver for each tranche, in the same order. [`Planning::decide`] chooses the first that has a
    /// plan.
    ///
    /// # Errors
    /// [`Exit::Usage`] if the source that the command line names does not exist.
    pub fn alternatives(
        &mut self,
        requests: &[TrancheRequest],
    ) -> Result<Vec<Alternative>, Failure> {
        requests
            .iter()
            .map(|request| self.alternative(request.usage_label, &request.participants))
            .collect()
    }

    /// Returns the request to the solver for one usage of the buffers, with the phrases that describe it in messages. The
    /// participants are those of the collection and `others`. Sources whose buffers were refused for this usage are left out.
    ///
    /// # Errors
    /// [`Exit::Usage`] if the source that the command line names does not exist.
    pub fn alternative(
        &mut self,
        usage_label: &str,
        others: &[Participant],
    ) -> Result<Alternative, Failure> {
        let mut request = self.collection.request_with(others);
        request.sources = source_choice::chosen(self.only_source.as_deref(), &request.sources)?;
        request.sources.retain(|source| {
            let key = (usage_label.to_owned(), source.id.clone());
            !self.refused.contains(&key)
        });
        Ok(Alternative {
            request,
            trial_participant: self.trial_participant.clone(),
            participants_label: self.participants_label.clone(),
            usage_label: usage_label.to_owned(),
        })
    }

    /// Excludes the plan's source for this usage, because an import failed.
    ///
    /// # Errors
    /// [`Exit::NoPlan`] if the maximum number of plans was tried.
    pub fn refuse(&mut self, usage_label: &str, plan: &Plan, why: &str) -> Result<(), Failure> {
        self.refusals
            .push(format!("{} was tried: {why}", plan.source_name()));
        self.refused
            .insert((usage_label.to_owned(), plan.source().clone()));
        if self.refusals.len() < PLANS {
            return Ok(());
        }
        let message = format!("the imports of {PLANS} plans failed; no more plans are tried");
        Err(self.no_plan(&[message]))
    }

    /// Returns the failure that says that no plan works, with all explanations and refusals.
    #[must_use]
    pub fn no_plan(&self, explanations: &[String]) -> Failure {
        let unavailable = self.collection.unavailable().iter();
        let unavailable = unavailable.map(|source| format!("not queried: {source}"));
        let lines = explanations.iter().chain(&self.refusals).cloned();
        let lines: Vec<String> = lines.chain(unavailable).collect();
        no_plan(&self.participants_label, &lines)
    }

    /// Returns the explanation of the plan and of the earlier attempts.
    #[must_use]
    pub fn summary(&self, explanations: &[String], usage_label: &str, plan: &Plan) -> String {
        let mut text = String::new();
        for line in explanations {
            text.push_str(line);
            text.push_str("\n\n");
        }
        for refusal in &self.refusals {
            text.push_str(refusal);
            text.push('\n');
        }
        text.push_str(&format!("These buffers can be {usage_label}.\n"));
        text.push_str(&plan.explain());
        text
    }

    /// Plans, allocates, and imports into this process's devices with `import` and into the compositor, until every import
    /// succeeds.
    ///
    /// # Errors
    /// [`Exit::NoPlan`] if no plan exists, or the imports of all plans fail. Other errors are failures of a device or the
    /// compositor.
    pub fn negotiate<I>(
        &mut self,
        events: &mut Events,
        compositor: &mut Compositor,
        mut import: impl FnMut(&mut BufferCollection, &[Buffer]) -> Result<I, BackendError>,
    ) -> Result<NegotiatedBuffers<I>, Failure> {
        let mut planning = Planning::open();
        let requests = compositor
            .current_feedback()
            .map(|feedback| tranche_requests(feedback, compositor.crop()))
            .unwrap_or_default();
        loop {
            let alternatives = self.alternatives(&requests)?;
            let PlanningResult {
                chosen,
                explanations,
            } = planning.decide(&alternatives);
            let chosen = chosen.and_then(|(place, plan)| Some((alternatives.get(place)?, plan)));
            let Some((alternative, plan)) = chosen else {
                return Err(if requests.is_empty() {
                    self.no_plan(&[missing_formats(compositor)])
                } else {
                    self.no_plan(&explanations)
                });
            };
            let usage_label = &alternative.usage_label;
            let allocated = self.collection.allocate(&plan).and_then(|buffers| {
                let imported = import(&mut self.collection, &buffers)?;
                Ok((buffers, imported))
            });
            let (buffers, imported) = match allocated {
                Ok(allocated) => allocated,
                Err(error) => {
                    let refusal = exit_code::as_import_refusal(error)?;
                    self.refuse(usage_label, &plan, &refusal.to_string())?;
                    continue;
                }
            };
            match import_wl_buffers(events, compositor, &buffers)
                .map_err(exit_code::wl_buffer_failure)?
            {
                ImportResult::Imported(wl_buffers) => {
                    let copies = HostTransfer::of(&plan, &buffers)
                        .map_err(|error| Failure::new(Exit::Allocation, error))?;
                    let summary = self.summary(&explanations, usage_label, &plan);
                    return Ok(NegotiatedBuffers {
                        plan: *plan,
                        buffers,
                        imported,
                        wl_buffers,
                        copies,
                        summary,
                    });
                }
                ImportResult::Refused => self.refuse(usage_label, &plan, REFUSED)?,
            }
        }
    }
}

/// Returns why there is no tranche to plan for, in one line.
#[must_use]
pub fn missing_formats(compositor: &Compositor) -> String {
    match compositor.globals.dmabuf {
        Some(_) => "the compositor's dma-buf feedback has no tranche".to_owned(),
        None => format!(
            "the compositor does not offer zwp_linux_dmabuf_v1 version {LOWEST_VERSION}, so it reads shared memory only"
        ),
    }
}

/// Returns the failure that says that no plan works for these participants. Each element of `lines` is an explanation.
#[must_use]
pub fn no_plan(participants_label: &str, lines: &[String]) -> Failure {
    let mut message = format!("no buffer can be shared by {participants_label}");
    for line in lines {
        message.push('\n');
        message.push_str(line);
    }
    Failure::new(Exit::NoPlan, anyhow!(message))
}
