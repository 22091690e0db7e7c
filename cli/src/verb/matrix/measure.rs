//! One cell at a time: what the solver says of a pair, and what its drivers do.

use std::thread;
use std::time::Duration;

use covalent_alloc::constraint::{Field, Participant, Source};
use covalent_alloc::model::{Extent, FormatModifier};
use covalent_alloc::solve::{Request, Solution, Verdict, solve};
use covalent_alloc::trial::{
    Helper, Outcome, RefusalKind, Trial as _, TrialPlan, TrialResults, pair, plan_of,
};

use super::cell::{Cell, Said};
use super::declare::Declared;
use super::interrupt::Interrupt;
use super::judge::{self, Possible};
use crate::progress::Progress;

/// What cells are measured with.
pub(super) struct Measure<'a> {
    pub(super) declared: &'a Declared,
    pub(super) facts: &'a TrialResults,
    pub(super) possible: &'a Possible,
    pub(super) helper: &'a mut Helper,
    pub(super) progress: &'a Progress,
    pub(super) interrupt: &'a Interrupt,
}

/// So often is tried again what was refused for the moment only.
const TRIES: u32 = 3;
/// And so long is waited before.
const PAUSE: Duration = Duration::from_millis(200);

impl Measure<'_> {
    /// Measures one row, until it is done or interrupted.
    pub(super) fn source(
        &mut self,
        source: &Source,
        is_first: bool,
        formats: &[FormatModifier],
        cells: &mut Vec<Cell>,
    ) {
        for participant in &self.declared.participants {
            for format in formats {
                let (is_tried, is_listed) = Declared::is_tried(participant, *format, is_first);
                if !is_tried {
                    continue;
                }
                let cell = self.cell(source, participant, *format, is_listed);
                // Whoever was interrupted in the middle of a trial has seen nothing: a terminal's signal ends the helper too.
                if self.interrupt.code().is_some() {
                    return;
                }
                cells.push(cell);
                self.progress.advance();
            }
        }
    }

    fn cell(
        &mut self,
        source: &Source,
        participant: &Participant,
        format: FormatModifier,
        is_listed: bool,
    ) -> Cell {
        let size = self.declared.size;
        let request = self
            .facts
            .inform(&pair(participant, source, format, size))
            .request;
        let (said, reasons) = match solve(&request) {
            Solution::Share(plan) if plan.verdict() == Verdict::Guaranteed => {
                (Said::Guaranteed, Vec::new())
            }
            Solution::Share(plan) => (Said::Possible, plan.caveats().to_vec()),
            Solution::Split(split) => (
                Said::Impossible,
                split
                    .rejections()
                    .iter()
                    .map(|rejection| rejection.words.clone())
                    .collect(),
            ),
        };
        let outcome =
            forced(participant, source, format, size).map(|request| self.attempt(&request));
        let judgement = judge::judge(
            said,
            outcome.as_ref(),
            || self.possible.covers(&request),
            || self.possible.covers_luck(&request),
        );
        Cell {
            source: source.id.clone(),
            participant: participant.name.clone(),
            format,
            size,
            said,
            reasons,
            is_listed,
            outcome,
            judgement,
        }
    }

    /// Allocates and tries; again where the refusal was of the moment.
    fn attempt(&mut self, request: &Request) -> Outcome {
        let mut last = Outcome::Untestable("nothing was tried".to_owned());
        for number in 0..TRIES {
            if number > 0 {
                if self.interrupt.code().is_some() {
                    break;
                }
                thread::sleep(PAUSE);
            }
            last = self.attempt_once(request);
            let is_transient = last
                .refusal()
                .is_some_and(|refusal| refusal.kind == RefusalKind::Transient);
            if !is_transient {
                break;
            }
        }
        last
    }

    fn attempt_once(&mut self, request: &Request) -> Outcome {
        let nothing = || Outcome::Untestable("there is no plan to try".to_owned());
        let (Some(plan), Some(participant)) = (plan_of(request), request.participants.first())
        else {
            return nothing();
        };
        let planned = TrialPlan {
            request,
            plan: &plan,
        };
        match self.helper.allocate(planned) {
            Some(allocation) if allocation.outcome != Outcome::Proved => allocation.outcome,
            _ => self
                .helper
                .attempt(planned, participant, None)
                .unwrap_or_else(|| Outcome::Untestable("no trial is for this".to_owned())),
        }
    }
}

/// Demands that are given up one after another to have a buffer to try where the solver says that there is none: first
/// those of the memory, which a driver has to refuse by itself, then those of the picture, the source's too.
const GIVEN_UP: [&[Field]; 4] = [
    &[],
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

/// Returns the request of a pair with as little given up as has a plan; `None` where the source gives no such buffer at all.
fn forced(
    participant: &Participant,
    source: &Source,
    format: FormatModifier,
    size: Extent,
) -> Option<Request> {
    let mut relaxed = participant.clone();
    let mut source = source.clone();
    for fields in GIVEN_UP {
        for field in fields {
            relaxed.relax(*field);
            // A queue's own memory comes in its own sizes and formats: it has to refuse others by itself. How much there is
            // to be had is never given up.
            source.constraints.relax(*field);
        }
        let request = pair(&relaxed, &source, format, size);
        if plan_of(&request).is_some() {
            return Some(request);
        }
    }
    None
}
