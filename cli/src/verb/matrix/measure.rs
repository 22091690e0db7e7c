//! Measures the cells of the matrix: the solver's verdict on each pair, and the outcome of its trial.

use std::thread;
use std::time::Duration;

use covalent_alloc::constraint::{Field, MemoryScope, Participant, Source};
use covalent_alloc::model::{Extent, FormatModifier};
use covalent_alloc::solve::{Plan, Request, Verdict, solve_shared};
use covalent_alloc::trial::{
    Outcome, RefusalKind, Trial as _, TrialPlan, TrialResults, pair, plan_of,
};

use super::cell::{Cell, SolverVerdict};
use super::compare::{self, KnownUncertainties};
use super::devices::DeclaredDevices;
use super::interrupt::Interrupt;
use super::trial_devices::TrialDevices;
use crate::progress::Progress;

/// The devices, trial results and options with which the cells of one size are measured.
pub(super) struct MatrixRun<'a> {
    pub(super) declared: &'a DeclaredDevices,
    pub(super) results: &'a TrialResults,
    pub(super) uncertainties: &'a KnownUncertainties,
    pub(super) devices: &'a mut TrialDevices,
    pub(super) progress: &'a Progress,
    pub(super) interrupt: &'a Interrupt,
}

/// The maximum number of attempts of a trial if each refusal is transient.
const MAX_ATTEMPTS: u32 = 3;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

impl MatrixRun<'_> {
    /// Measures the row of a source, until it is complete or a signal interrupts it.
    pub(super) fn source(
        &mut self,
        source: &Source,
        is_first: bool,
        formats: &[FormatModifier],
        cells: &mut Vec<Cell>,
    ) {
        for participant in &self.declared.participants {
            for format in formats {
                let (is_tried, is_listed) =
                    DeclaredDevices::is_tried(participant, *format, is_first);
                if !is_tried {
                    continue;
                }
                let cell = self.cell(source, participant, *format, is_listed);
                // A SIGINT from a terminal ends the helper process too, so the outcome of the trial that was interrupted is
                // discarded.
                if self.interrupt.code().is_some() {
                    return;
                }
                cells.push(cell);
                self.progress.advance();
            }
        }
    }

    /// Solves and tries one source, participant and format, and compares verdict and outcome.
    fn cell(
        &mut self,
        source: &Source,
        participant: &Participant,
        format: FormatModifier,
        is_listed: bool,
    ) -> Cell {
        let size = self.declared.size;
        let declared = pair(participant, source, format, size);
        let applied = self.results.apply(&declared);
        let is_unchanged = applied.results.is_empty();
        let request = applied.request;
        let solved = solve_shared(&request);
        let (verdict, reasons) = match &solved {
            Ok(plan) if plan.verdict() == Verdict::Guaranteed => {
                (SolverVerdict::Guaranteed, Vec::new())
            }
            Ok(plan) => (SolverVerdict::Possible, plan.caveats().to_vec()),
            Err(rejections) => {
                let words = rejections.iter().map(|rejection| rejection.words.clone());
                (SolverVerdict::Impossible, words.collect())
            }
        };
        // The trial tests whether a stored trial result still applies, so the plan for the trial ignores the stored results.
        let plan = if is_unchanged {
            solved.ok()
        } else {
            plan_of(&declared)
        };
        let trial = match plan {
            Some(plan) => Some(PlannedTrial {
                request: declared,
                plan,
            }),
            None => PlannedTrial::relaxed(participant, source, format, size),
        };
        let outcome = trial.map(|trial| self.attempt(&trial));
        let comparison = compare::compare(
            verdict,
            outcome.as_ref(),
            || self.uncertainties.covers(&request),
            || self.uncertainties.covers_unpromised(&request),
        );
        Cell {
            source: source.id.clone(),
            participant: participant.name.clone(),
            format,
            size,
            verdict,
            reasons,
            is_listed,
            outcome,
            comparison,
        }
    }

    /// Allocates a buffer and tries it on the participant. After a transient refusal, the allocation and the trial are repeated.
    fn attempt(&mut self, trial: &PlannedTrial) -> Outcome {
        let mut last = Outcome::Untestable("nothing was tried".to_owned());
        for number in 0..MAX_ATTEMPTS {
            if number > 0 {
                if self.interrupt.code().is_some() {
                    break;
                }
                thread::sleep(PAUSE);
            }
            last = self.attempt_once(trial);
            let is_transient = last
                .refusal()
                .is_some_and(|refusal| refusal.kind == RefusalKind::Transient);
            if !is_transient {
                break;
            }
        }
        last
    }

    /// Tries a plan's buffer on its participant in the helper process.
    fn attempt_once(&mut self, trial: &PlannedTrial) -> Outcome {
        let planned = TrialPlan {
            request: &trial.request,
            plan: &trial.plan,
        };
        let Some(participant) = trial.request.participants.first() else {
            return Outcome::Untestable(
                "the request has no participant that could import the buffer".to_owned(),
            );
        };
        match self.devices.allocate(planned) {
            Some(allocation) if allocation.outcome != Outcome::Accepted => allocation.outcome,
            _ => self
                .devices
                .attempt(planned, participant, None)
                .unwrap_or_else(|| {
                    Outcome::Untestable("there is no trial for this participant".to_owned())
                }),
        }
    }
}

/// The constraints that are relaxed step by step if the solver finds no plan, so that a buffer for the trial can be allocated.
/// Each step relaxes the participant and the source: first the constraints of memory and import, then the formats, then the
/// layout. The driver itself then has to refuse the buffer.
const RELAXATIONS: [&[Field]; 3] = [
    &[
        Field::Imports,
        Field::Contiguity,
        Field::Address,
        Field::Unknown,
    ],
    &[Field::Formats],
    &[
        Field::Extent,
        Field::Planes,
        Field::Stride,
        Field::Offset,
        Field::Size,
    ],
];

/// A request for one source and one participant, with the plan for the trial's buffer.
struct PlannedTrial {
    request: Request,
    plan: Plan,
}

impl PlannedTrial {
    /// Relaxes as few constraints as possible until the request for a source and a participant has a plan, and returns the
    /// request and the plan; `None` if the source cannot allocate such a buffer at all. The caller has found no plan with all
    /// constraints.
    fn relaxed(
        participant: &Participant,
        source: &Source,
        format: FormatModifier,
        size: Extent,
    ) -> Option<Self> {
        let mut relaxed = participant.clone();
        let mut source = source.clone();
        // The source's memory counts as importable by every device, because the driver itself has to refuse a buffer that it
        // cannot import.
        source.guarantees.scope = MemoryScope::Everybody;
        RELAXATIONS.iter().find_map(|fields| {
            for field in *fields {
                relaxed.relax(*field);
                // A queue allocates only buffers of its own sizes and formats, and has to refuse all others itself. The limit of
                // the memory that is available is never relaxed.
                source.constraints.relax(*field);
            }
            let request = pair(&relaxed, &source, format, size);
            let plan = plan_of(&request)?;
            Some(Self { request, plan })
        })
    }
}
