//! Rounds of measuring: each does everything once, in another order than the one before, so that what changes with time meets
//! all alike.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use covalent_alloc::buffer::{AccessError, Buffer, CpuAccess, Mapping};
use covalent_alloc::constraint::Participant;
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_alloc::trial::{Helper, MeasuredCycle, Outcome, Trial as _, TrialPlan, plan_of};

use super::report::{LeftOut, Operation, PLAIN, Row, What};
use super::spread::Spread;

/// One source, alone and with everybody who imports its buffers.
pub(super) struct Subject {
    pub(super) source: String,
    pub(super) alone: Planning,
    pub(super) imports: Vec<(Participant, Planning)>,
}

/// A request with its only plan.
pub(super) struct Planning {
    request: Request,
    plan: Plan,
}

impl Planning {
    /// Solves a request.
    ///
    /// # Errors
    /// Why there is no plan, in words.
    pub(super) fn of(request: Request) -> Result<Self, String> {
        if let Some(plan) = plan_of(&request) {
            return Ok(Self { request, plan });
        }
        let rejections = match solve(&request) {
            Solution::Split(split) => split
                .rejections()
                .iter()
                .map(|rejection| rejection.words.clone())
                .collect(),
            _ => Vec::new(),
        };
        Err(if rejections.is_empty() {
            "no buffer of this kind serves it".to_owned()
        } else {
            rejections.join("; ")
        })
    }

    fn planned(&self) -> TrialPlan<'_> {
        TrialPlan {
            request: &self.request,
            plan: &self.plan,
        }
    }

    /// Bytes of all planes, padding included.
    pub(super) fn bytes(&self) -> u64 {
        let planes = self.plan.layout().planes().iter();
        planes.fold(0, |sum, plane| sum.saturating_add(plane.size_bytes))
    }
}

/// Times by what took them, and what could not be measured.
#[derive(Debug, Default)]
pub(super) struct Times {
    by_what: BTreeMap<What, (u64, Vec<u64>)>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Times {
    pub(super) fn leave_out(&mut self, what: What, why: String) {
        // What was measured before it failed is no account of it.
        self.by_what.remove(&what);
        self.left_out.push(LeftOut { what, why });
    }

    fn is_left_out(&self, what: &What) -> bool {
        self.left_out.iter().any(|left_out| left_out.what == *what)
    }

    fn add(&mut self, what: What, bytes: u64, time_ns: u64) {
        let (_, times) = self.by_what.entry(what).or_insert((bytes, Vec::new()));
        times.push(time_ns);
    }

    /// Forgets what was measured, as after a round that only warms up. What could not be measured stays.
    fn forget(&mut self) {
        self.by_what.clear();
    }

    /// Sums up.
    pub(super) fn rows(&self) -> Vec<Row> {
        let rows = self.by_what.iter().filter_map(|(what, (bytes, times))| {
            Some(Row {
                what: what.clone(),
                bytes: *bytes,
                spread: Spread::of(times)?,
            })
        });
        rows.collect()
    }
}

/// What measures.
pub(super) struct Measure<'a> {
    pub(super) helper: &'a mut Helper,
    pub(super) subjects: &'a [Subject],
    pub(super) times: Times,
}

impl Measure<'_> {
    /// Measures a round that does not count, and then as many as are asked for or there is time for, at least one; returns how
    /// many counted. `tell` is told how far it is.
    pub(super) fn run(
        &mut self,
        rounds: u32,
        limit: Duration,
        mut tell: impl FnMut(u32, &str),
    ) -> Result<u32> {
        let begun = Instant::now();
        let mut counted = 0;
        for round in 0..=rounds {
            if round == 1 {
                self.times.forget();
            }
            for place in 0..self.subjects.len() {
                if counted > 0 && begun.elapsed() > limit {
                    return Ok(counted);
                }
                let first = usize::try_from(round)?;
                let place = place.saturating_add(first) % self.subjects.len();
                let subjects = self.subjects;
                let subject = subjects.get(place).context("a source")?;
                tell(round, &subject.source);
                self.subject(subject);
            }
            self.plain();
            counted = round;
        }
        Ok(counted)
    }

    fn subject(&mut self, subject: &Subject) {
        let what = |operation| What {
            operation,
            participant: None,
            source: subject.source.clone(),
        };
        let bytes = subject.alone.bytes();
        let planned = subject.alone.planned();
        let allocate = what(Operation::Allocate);
        if self.times.is_left_out(&allocate) {
            return;
        }
        let turns = self.helper.measure_allocation(planned, 1);
        if !self.turns(turns, allocate, what(Operation::Free), bytes) {
            return;
        }
        if !self.times.is_left_out(&what(Operation::Map)) {
            match self
                .helper
                .allocate(planned)
                .map(|one| (one.outcome, one.buffer))
            {
                Some((Outcome::Proved, Some(buffer))) => {
                    if let Err(error) = self.processor(&buffer, what, bytes) {
                        self.times
                            .leave_out(what(Operation::Map), error.to_string());
                    }
                }
                Some((Outcome::Proved, None)) | None => self.times.leave_out(
                    what(Operation::Map),
                    "this process is not given the buffer".to_owned(),
                ),
                Some((outcome, _)) => self
                    .times
                    .leave_out(what(Operation::Map), outcome.to_string()),
            }
        }
        for (participant, planning) in &subject.imports {
            let of = |operation| What {
                participant: Some(participant.name.clone()),
                ..what(operation)
            };
            let import = of(Operation::Import);
            if self.times.is_left_out(&import) {
                continue;
            }
            let turns = self
                .helper
                .measure_import(planning.planned(), participant, 1);
            self.turns(turns, import, of(Operation::Release), planning.bytes());
        }
        // The next source finds every queue idle.
        self.helper.release();
    }

    /// Keeps times, or why there are none; false in that case.
    fn turns(
        &mut self,
        turns: Result<Vec<MeasuredCycle>, Outcome>,
        taken: What,
        given_back: What,
        bytes: u64,
    ) -> bool {
        match turns {
            Ok(turns) => {
                for cycle in turns {
                    self.times.add(taken.clone(), bytes, cycle.acquire_ns);
                    self.times.add(given_back.clone(), bytes, cycle.release_ns);
                }
                true
            }
            Err(outcome) => {
                self.times.by_what.remove(&given_back);
                self.times.leave_out(taken, outcome.to_string());
                false
            }
        }
    }

    /// What the processor does: all of it through the guard, its syncs included.
    fn processor(
        &mut self,
        buffer: &Buffer,
        what: impl Fn(Operation) -> What,
        bytes: u64,
    ) -> Result<(), AccessError> {
        let (mapped, time) = timed(|| buffer.map().map(drop));
        mapped?;
        self.times.add(what(Operation::Map), bytes, time);
        let planes = buffer.layout().planes();
        let most = planes.iter().map(|plane| plane.size_bytes).max();
        let most = usize::try_from(most.unwrap_or(0)).unwrap_or(0);
        let mut own = vec![0x5a_u8; most];
        let mapping = buffer.map()?;
        for operation in [Operation::FirstWrite, Operation::Write, Operation::Read] {
            let (moved, time) = timed(|| through(&mapping, operation, &mut own));
            moved?;
            self.times.add(what(operation), bytes, time);
        }
        Ok(())
    }

    /// The same with ordinary memory: what the copies above are held against.
    fn plain(&mut self) {
        let bytes = self.subjects.iter().map(|subject| subject.alone.bytes());
        let bytes = bytes.max().unwrap_or(0);
        let count = usize::try_from(bytes).unwrap_or(0);
        let (mut one, mut other) = (vec![0x5a_u8; count], vec![0xa5_u8; count]);
        for operation in [Operation::Write, Operation::Read] {
            let (from, into) = if operation == Operation::Write {
                (&one, &mut other)
            } else {
                (&other, &mut one)
            };
            let ((), time) = timed(|| {
                black_box(into.as_mut_slice()).copy_from_slice(black_box(from));
            });
            let what = What {
                operation,
                participant: None,
                source: PLAIN.to_owned(),
            };
            self.times.add(what, bytes, time);
        }
    }
}

/// Moves every byte of every plane once.
fn through(mapping: &Mapping, operation: Operation, own: &mut [u8]) -> Result<(), AccessError> {
    let access = match operation {
        Operation::Read => CpuAccess::Read,
        _ => CpuAccess::Write,
    };
    let guard = mapping.access(access)?;
    for (number, plane) in mapping.buffer().layout().planes().iter().enumerate() {
        let length = usize::try_from(plane.size_bytes).unwrap_or(usize::MAX);
        let part = own.get_mut(..length).unwrap_or_default();
        match access {
            CpuAccess::Read => guard.read(number, 0, black_box(part))?,
            _ => guard.write(number, 0, black_box(part))?,
        }
    }
    Ok(())
}

fn timed<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let begun = Instant::now();
    let done = act();
    let time = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    (done, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(operation: Operation) -> What {
        What {
            operation,
            participant: None,
            source: "heap:system".to_owned(),
        }
    }

    #[test]
    fn times_of_what_fails_later_are_no_account() {
        let mut times = Times::default();
        times.add(what(Operation::Allocate), 4, 9);
        times.add(what(Operation::Map), 4, 7);
        times.forget();
        times.add(what(Operation::Allocate), 4, 1);
        times.add(what(Operation::Map), 4, 3);
        times.leave_out(what(Operation::Allocate), "gone".to_owned());
        assert!(times.is_left_out(&what(Operation::Allocate)));
        let rows = times.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].spread.n, rows[0].spread.median_ns), (1, 3));
    }
}
