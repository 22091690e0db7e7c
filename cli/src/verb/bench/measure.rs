//! Measures in rounds. Each round performs every operation once, in another order than the round before, so that changes of the
//! machine over time affect all operations equally.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use covalent_alloc::buffer::{AccessError, Buffer, CpuAccess, Mapping};
use covalent_alloc::constraint::Participant;
use covalent_alloc::solve::{Plan, Request, solve_shared};
use covalent_alloc::trial::{Helper, MeasuredCycle, Outcome, Trial as _, TrialPlan};

use super::quartiles::Quartiles;
use super::report::{Operation, OperationKey, PLAIN_MEMORY, Row, SkippedOperation};

/// A source, and the participants whose imports of the source's buffers are measured.
pub(super) struct BenchSource {
    pub(super) id: String,
    /// The request for a buffer that only the CPU accesses, with its plan.
    pub(super) cpu_only: SolvedRequest,
    pub(super) imports: Vec<(Participant, SolvedRequest)>,
}

/// A request and the plan that the solver found for it.
pub(super) struct SolvedRequest {
    request: Request,
    plan: Plan,
}

impl SolvedRequest {
    /// Solves a request.
    ///
    /// # Errors
    /// A text that says why there is no plan.
    pub(super) fn of(request: Request) -> Result<Self, String> {
        let rejections: Vec<String> = match solve_shared(&request) {
            Ok(plan) => return Ok(Self { request, plan }),
            Err(rejections) => rejections.into_iter().map(|one| one.words).collect(),
        };
        Err(if rejections.is_empty() {
            "no buffer of this source meets its constraints".to_owned()
        } else {
            rejections.join("; ")
        })
    }

    /// Returns the plan with its request, for the helper process.
    fn planned(&self) -> TrialPlan<'_> {
        TrialPlan {
            request: &self.request,
            plan: &self.plan,
        }
    }

    /// The size of all planes in bytes, padding included.
    pub(super) fn bytes(&self) -> u64 {
        let planes = self.plan.layout().planes().iter();
        planes.fold(0, |sum, plane| sum.saturating_add(plane.size_bytes))
    }
}

/// Measured times of each operation, and the operations that could not be measured.
#[derive(Debug, Default)]
pub(super) struct Timings {
    /// The size of the buffer in bytes, and the measured times in nanoseconds.
    by_operation: BTreeMap<OperationKey, (u64, Vec<u64>)>,
    pub(super) skipped: Vec<SkippedOperation>,
}

impl Timings {
    /// Records that an operation cannot be measured, and removes its earlier times.
    pub(super) fn skip(&mut self, key: OperationKey, why: String) {
        // Times from before the failure would describe only the rounds in which the operation succeeded.
        self.by_operation.remove(&key);
        self.skipped.push(SkippedOperation { key, why });
    }

    /// Records that a source's buffers cannot be mapped or copied, and removes the earlier times of both.
    fn skip_cpu_access(&mut self, key: impl Fn(Operation) -> OperationKey, why: String) {
        for operation in [Operation::FirstWrite, Operation::Write, Operation::Read] {
            self.by_operation.remove(&key(operation));
        }
        self.skip(key(Operation::Map), why);
    }

    /// Returns whether the operation is not measured, because an earlier measurement of it failed.
    fn is_skipped(&self, key: &OperationKey) -> bool {
        self.skipped.iter().any(|skipped| skipped.key == *key)
    }

    /// Adds the time of one cycle of an operation on `bytes` bytes.
    fn add(&mut self, key: OperationKey, bytes: u64, time_ns: u64) {
        let (_, times) = self.by_operation.entry(key).or_insert((bytes, Vec::new()));
        times.push(time_ns);
    }

    /// Removes all times at the end of the warm-up round. The record of operations that could not be measured is kept.
    fn clear(&mut self) {
        self.by_operation.clear();
    }

    /// Returns a row with the quartiles of each operation.
    pub(super) fn rows(&self) -> Vec<Row> {
        let rows = self
            .by_operation
            .iter()
            .filter_map(|(key, (bytes, times))| {
                Some(Row {
                    key: key.clone(),
                    bytes: *bytes,
                    quartiles: Quartiles::of(times)?,
                })
            });
        rows.collect()
    }
}

/// One run of the benchmark.
pub(super) struct BenchRun<'a> {
    pub(super) helper: &'a mut Helper,
    pub(super) sources: &'a [BenchSource],
    pub(super) times: Timings,
}

impl BenchRun<'_> {
    /// Runs a warm-up round, whose times are discarded, then `rounds` rounds. Stops earlier when `limit` has passed and at least
    /// one measured round is complete. Calls `report_progress` with the round and the source. Returns the number of measured
    /// rounds.
    pub(super) fn run(
        &mut self,
        rounds: u32,
        limit: Duration,
        mut report_progress: impl FnMut(u32, &str),
    ) -> Result<u32> {
        let start = Instant::now();
        let mut counted = 0;
        for round in 0..=rounds {
            if round == 1 {
                self.times.clear();
            }
            for index in 0..self.sources.len() {
                if counted > 0 && start.elapsed() > limit {
                    return Ok(counted);
                }
                let first = usize::try_from(round)?;
                let index = index.saturating_add(first) % self.sources.len();
                let sources = self.sources;
                let source = sources.get(index).context("a source")?;
                report_progress(round, &source.id);
                self.measure_source(source);
            }
            self.measure_plain_memory();
            counted = round;
        }
        Ok(counted)
    }

    /// Measures the operations on the buffers of a source once.
    fn measure_source(&mut self, source: &BenchSource) {
        let key = |operation| OperationKey {
            operation,
            participant: None,
            source: source.id.clone(),
        };
        let bytes = source.cpu_only.bytes();
        let planned = source.cpu_only.planned();
        let allocate = key(Operation::Allocate);
        if self.times.is_skipped(&allocate) {
            return;
        }
        let cycles = self.helper.measure_allocation(planned, 1);
        if !self.record_cycles(cycles, allocate, key(Operation::Free), bytes) {
            return;
        }
        if !self.times.is_skipped(&key(Operation::Map)) {
            match self
                .helper
                .allocate(planned)
                .map(|one| (one.outcome, one.buffer))
            {
                Some((Outcome::Accepted, Some(buffer))) => {
                    if let Err(error) = self.measure_cpu_access(&buffer, key, bytes) {
                        self.times.skip_cpu_access(key, error.to_string());
                    }
                }
                Some((Outcome::Accepted, None)) | None => self.times.skip_cpu_access(
                    key,
                    "the helper process did not pass the buffer to this process".to_owned(),
                ),
                Some((outcome, _)) => self.times.skip_cpu_access(key, outcome.to_string()),
            }
        }
        for (participant, solved) in &source.imports {
            let of = |operation| OperationKey {
                participant: Some(participant.name.clone()),
                ..key(operation)
            };
            let import = of(Operation::Import);
            if self.times.is_skipped(&import) {
                continue;
            }
            let cycles = self.helper.measure_import(solved.planned(), participant, 1);
            self.record_cycles(cycles, import, of(Operation::Release), solved.bytes());
        }
        // Stops the queues that were used, so that the next source finds every queue idle.
        self.helper.release();
    }

    /// Records the times of an operation and of its reverse operation, such as import and release, for every cycle. Returns
    /// `false` if they could not be measured.
    fn record_cycles(
        &mut self,
        cycles: Result<Vec<MeasuredCycle>, Outcome>,
        forward: OperationKey,
        reverse: OperationKey,
        bytes: u64,
    ) -> bool {
        match cycles {
            Ok(cycles) => {
                for cycle in cycles {
                    self.times.add(forward.clone(), bytes, cycle.acquire_ns);
                    self.times.add(reverse.clone(), bytes, cycle.release_ns);
                }
                true
            }
            Err(outcome) => {
                self.times.by_operation.remove(&reverse);
                self.times.skip(forward, outcome.to_string());
                false
            }
        }
    }

    /// Measures CPU access: mapping the buffer, and copies through its map guard, which include DMA_BUF_IOCTL_SYNC.
    fn measure_cpu_access(
        &mut self,
        buffer: &Buffer,
        key: impl Fn(Operation) -> OperationKey,
        bytes: u64,
    ) -> Result<(), AccessError> {
        let (mapped, time) = timed(|| buffer.map().map(drop));
        mapped?;
        self.times.add(key(Operation::Map), bytes, time);
        let planes = buffer.layout().planes();
        let largest = planes.iter().map(|plane| plane.size_bytes).max();
        let largest = usize::try_from(largest.unwrap_or(0)).unwrap_or(0);
        let mut memory = vec![0x5a_u8; largest];
        let mapping = buffer.map()?;
        for operation in [Operation::FirstWrite, Operation::Write, Operation::Read] {
            let (copied, time) = timed(|| copy_planes(&mapping, operation, &mut memory));
            copied?;
            self.times.add(key(operation), bytes, time);
        }
        Ok(())
    }

    /// Measures the same copies with ordinary memory of this process, for comparison.
    fn measure_plain_memory(&mut self) {
        let bytes = self.sources.iter().map(|source| source.cpu_only.bytes());
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
            let key = OperationKey {
                operation,
                participant: None,
                source: PLAIN_MEMORY.to_owned(),
            };
            self.times.add(key, bytes, time);
        }
    }
}

/// Copies every byte of every plane once, from or to `memory`.
fn copy_planes(
    mapping: &Mapping,
    operation: Operation,
    memory: &mut [u8],
) -> Result<(), AccessError> {
    let access = match operation {
        Operation::Read => CpuAccess::Read,
        _ => CpuAccess::Write,
    };
    let guard = mapping.access(access)?;
    for (number, plane) in mapping.buffer().layout().planes().iter().enumerate() {
        let length = usize::try_from(plane.size_bytes).unwrap_or(usize::MAX);
        let part = memory.get_mut(..length).unwrap_or_default();
        match access {
            CpuAccess::Read => guard.read(number, 0, black_box(part))?,
            _ => guard.write(number, 0, black_box(part))?,
        }
    }
    Ok(())
}

/// Calls a function, and returns its result and its duration in nanoseconds.
fn timed<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let start = Instant::now();
    let done = act();
    let time = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    (done, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(operation: Operation) -> OperationKey {
        OperationKey {
            operation,
            participant: None,
            source: "heap:system".to_owned(),
        }
    }

    #[test]
    fn times_of_an_operation_that_fails_later_are_removed() {
        let mut times = Timings::default();
        times.add(key(Operation::Allocate), 4, 9);
        times.add(key(Operation::Map), 4, 7);
        times.clear();
        times.add(key(Operation::Allocate), 4, 1);
        times.add(key(Operation::Map), 4, 3);
        times.skip(key(Operation::Allocate), "gone".to_owned());
        assert!(times.is_skipped(&key(Operation::Allocate)));
        let rows = times.rows();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].quartiles.n, rows[0].quartiles.median_ns), (1, 3));
        times.add(key(Operation::Write), 4, 3);
        times.skip_cpu_access(key, "not mapped".to_owned());
        assert!(times.is_skipped(&key(Operation::Map)));
        assert!(times.rows().is_empty());
    }
}
