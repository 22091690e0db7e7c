//! Runs cases: some guests side by side, each for the cases that need it; watches their time, and says how each ended.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::vm::build;
use crate::vm::guest::GuestError;
use crate::vm::image::Image;
use crate::vm::platform::Platform;

use super::bench::{Bench, Holder};
use super::lots::Lots;
use super::record::{Record, Verdict};
use super::skips::Skips;
use super::{Case, Needs, Outcome};

/// What to run, and what to tell.
#[derive(Debug)]
pub struct Runner<'a> {
    /// The image that guests are booted from.
    pub image: &'a Image,
    /// The board's, where a case needs it.
    pub board: Option<&'a Image>,
    /// What may be skipped.
    pub skips: &'a Skips,
    /// Where cases keep what a person should see.
    pub artefacts: PathBuf,
    /// Whether `--full` was asked for.
    pub full: bool,
    /// How many guests run side by side; see [`side_by_side`].
    pub guests: usize,
}

/// The programs that guests have, by platform and features: compiled once in a run, when the first case needs them.
#[derive(Debug, Default)]
struct Programs(Mutex<BTreeMap<(Platform, &'static [&'static str]), Compiled>>);

type Compiled = Arc<OnceLock<Result<PathBuf, String>>>;

impl Programs {
    /// Compiles them, or waits for the worker that does.
    fn of(&self, image: &Image, features: &'static [&'static str]) -> Result<PathBuf, String> {
        let key = (image.platform, features);
        let compiled = Arc::clone(lock(&self.0).entry(key).or_default());
        let compile = || build::programs(image, features).map_err(|error| error.to_string());
        compiled.get_or_init(compile).clone()
    }
}

/// The memory that a guest may need at most, QEMU's own and that of Venus's helper included.
const GUEST_BYTES: u64 = 5 << 30;

/// How many guests this machine carries side by side.
///
/// A guest has two processors and seldom keeps more than one of them busy: it boots on one, and waits for cameras and displays
/// that have a rate. So there are as many guests as processors, of which more than four would wait for one disk.
#[must_use]
pub fn side_by_side() -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let available = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    carried(processors, available_bytes(&available))
}

fn carried(processors: usize, available_bytes: u64) -> usize {
    let by_memory = usize::try_from(available_bytes / GUEST_BYTES).unwrap_or(usize::MAX);
    processors.min(by_memory).clamp(1, 4)
}

/// What the kernel says that programs can have; nothing where it does not say.
fn available_bytes(meminfo: &str) -> u64 {
    let kibibytes = |line: &str| {
        let line = line.strip_prefix("MemAvailable:")?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    meminfo
        .lines()
        .find_map(kibibytes)
        .map_or(0, |kibibytes| kibibytes.saturating_mul(1024))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Cases are caught when they panic; nothing else that holds one of these does.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner<'_> {
    /// Runs `cases` and tells each one's end as it comes.
    pub fn run(&self, cases: &[Case], mut tell: impl FnMut(Record)) {
        let lots = Mutex::new(Lots::new(cases));
        let programs = Programs::default();
        let (told, ended) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.guests.max(1) {
                let told = told.clone();
                let (lots, programs) = (&lots, &programs);
                scope.spawn(move || self.work(lots, programs, &told));
            }
            drop(told);
            for record in ended {
                tell(record);
            }
        });
    }

    /// One worker: a guest after the other, until no case is left that is worth one.
    fn work(&self, lots: &Mutex<Lots>, programs: &Programs, told: &mpsc::Sender<Record>) {
        loop {
            let chosen = lock(lots).choose();
            let Some(needs) = chosen else { return };
            let image = match (needs.config.platform(), self.board) {
                (Platform::Board, Some(board)) => board,
                _ => self.image,
            };
            // Who hears of it lives as long as all workers.
            let tell = |record| drop(told.send(record));
            let next = || lock(lots).next(&needs);
            match programs.of(image, needs.features) {
                Ok(share) => self.group(needs, image, &share, next, tell),
                Err(words) => std::iter::from_fn(next).for_each(|case| {
                    let guest = guest(&needs);
                    let failed = Verdict::Failed;
                    tell(Record::new(
                        case.name,
                        &guest,
                        failed,
                        Duration::ZERO,
                        &words,
                    ));
                }),
            }
        }
    }

    fn group(
        &self,
        needs: Needs,
        image: &Image,
        share: &Path,
        mut next: impl FnMut() -> Option<Case>,
        mut tell: impl FnMut(Record),
    ) {
        let holder = Holder::default();
        let mut bench = Bench::new(image, share, needs, self.full, Arc::clone(&holder));
        while let Some(case) = next() {
            bench.begin(&self.artefacts, case.name);
            let started = Instant::now();
            let result = watched(case.limit, &holder, || {
                catch_unwind(AssertUnwindSafe(|| (case.run)(&mut bench)))
            });
            let (verdict, words) = match result {
                Watched::InTime(Ok(Ok(Outcome::Passed))) => (Verdict::Passed, String::new()),
                Watched::InTime(Ok(Ok(Outcome::Skip(reason)))) => self.skip(case.name, reason),
                Watched::InTime(Ok(Err(error))) => match unavailable(&error) {
                    Some(reason) => self.skip(case.name, reason),
                    None => (Verdict::Failed, format!("{error:#}")),
                },
                Watched::InTime(Err(panic)) => (
                    Verdict::Failed,
                    format!("it panicked: {}", panicked(&*panic)),
                ),
                Watched::TooLate => (
                    Verdict::Failed,
                    format!(
                        "it took longer than {} s and its guest was ended",
                        case.limit.as_secs()
                    ),
                ),
            };
            if verdict == Verdict::Failed {
                // What such a case leaves behind is not known.
                bench.discard();
            }
            tell(Record {
                skipped_checks: bench.skipped_checks(),
                ..Record::new(
                    case.name,
                    &guest(&needs),
                    verdict,
                    started.elapsed(),
                    &words,
                )
            });
        }
        let started = Instant::now();
        if let Err(error) = bench.stop() {
            let name = format!("guest::stops_{}", needs.config);
            let words = format!("{error:#}");
            tell(Record::new(
                &name,
                &guest(&needs),
                Verdict::Failed,
                started.elapsed(),
                &words,
            ));
        }
    }

    fn skip(&self, name: &str, reason: String) -> (Verdict, String) {
        judge_skip(self.skips, name, reason)
    }
}

/// How a skip counts: one that is not on the committed list is a failure.
#[must_use]
pub fn judge_skip(skips: &Skips, name: &str, reason: String) -> (Verdict, String) {
    if skips.allows(name) {
        (Verdict::Skipped, reason)
    } else {
        let words = format!("skipped because {reason}; but tests/skips.toml does not list it");
        (Verdict::Failed, words)
    }
}

fn guest(needs: &Needs) -> String {
    let counted = if needs.counted { ", counted" } else { "" };
    format!(
        "{}, {}, {}{counted}",
        needs.config, needs.memory, needs.size
    )
}

fn unavailable(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<GuestError>() {
        Some(GuestError::Unavailable { reason, .. }) => Some(reason.clone()),
        _ => None,
    }
}

fn panicked(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
}

enum Watched<T> {
    InTime(T),
    TooLate,
}

/// Runs `work`; after `limit` its guest is ended, on which everything that waits for the guest fails at once.
fn watched<T>(limit: Duration, holder: &Holder, work: impl FnOnce() -> T) -> Watched<T> {
    let (done, wait) = mpsc::channel::<()>();
    let holder = Arc::clone(holder);
    let late = Arc::new(Mutex::new(false));
    let told = Arc::clone(&late);
    let watcher = thread::spawn(move || {
        if wait.recv_timeout(limit) != Err(mpsc::RecvTimeoutError::Timeout) {
            return;
        }
        *told.lock().unwrap_or_else(PoisonError::into_inner) = true;
        // Again and again: a case may be about to boot another.
        while wait.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            let held = holder.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(pid) = held.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    });
    let result = work();
    drop(done);
    // A watcher that died has watched nothing, and says nothing either.
    let _ = watcher.join();
    if *late.lock().unwrap_or_else(PoisonError::into_inner) {
        Watched::TooLate
    } else {
        Watched::InTime(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watched_work_beyond_its_limit_is_too_late() {
        let holder = Holder::default();
        let slow = watched(Duration::from_millis(20), &holder, || {
            thread::sleep(Duration::from_millis(60));
        });
        assert!(matches!(slow, Watched::TooLate));
        assert!(matches!(
            watched(Duration::from_secs(9), &holder, || 3),
            Watched::InTime(3)
        ));
    }

    #[test]
    fn machine_carries_as_many_guests_as_processors_and_memory_allow() {
        let mib = 1 << 20;
        assert_eq!(carried(2, 16_000 * mib), 2);
        assert_eq!(carried(1, 16_000 * mib), 1);
        assert_eq!(carried(2, 7_900 * mib), 1);
        assert_eq!(carried(64, u64::MAX), 4);
        // Where nothing is known there is one.
        assert_eq!(carried(8, available_bytes("")), 1);
        let told = "MemTotal:  24 kB\nMemAvailable:   20971520 kB\n";
        assert_eq!(available_bytes(told), 20 << 30);
    }

    #[test]
    fn judge_skip_unlisted_is_a_failure() {
        let skips = Skips::committed().unwrap();
        let (verdict, words) = judge_skip(&skips, "no::such_case", "of rain".to_owned());
        assert_eq!(verdict, Verdict::Failed);
        assert!(words.contains("of rain"));
        assert_eq!(
            judge_skip(&skips, "check::spelling", String::new()).0,
            Verdict::Skipped
        );
    }
}
